//! One's own authenticator: the second factor of a login (RFC 6238).

use axum::Json;
use axum::extract::{Path, State as StateOf};
use axum::http::StatusCode;
use mcu_api::secret::Redacted;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::Row;
use tracing::error;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::session::{proved_oneself, refused, too_many};
use super::{Body, Problem, people};
use crate::State;
use crate::asker::{Asker, LoggedIn};
use crate::audit::{self, Action, Change};
use crate::second_factor::{self, Verdict, purpose};
use crate::sessions;
use crate::store::{chain, now_ms};
use crate::totp;

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(show, begin, confirm))
        .routes(routes!(remove_own))
        .routes(routes!(remove))
}

/// One's own authenticator.
#[derive(Debug, Serialize, ToSchema)]
struct Authenticator {
    /// Whether its codes are asked for at a login.
    confirmed: bool,
    /// Recovery codes that were not used yet.
    recovery_codes: i64,
}

/// Whether codes are asked for, and how many recovery codes are left.
#[utoipa::path(get, path = "/session/authenticator", tag = "session",
    responses((status = 200, body = Authenticator), (status = 401, body = Problem)))]
async fn show(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
) -> Result<Json<Authenticator>, Problem> {
    let mut tx = state.store.begin().await?;
    let confirmed = sqlx::query("SELECT 1 FROM authenticators WHERE person = $1 AND confirmed = 1")
        .bind(&who.person.id)
        .fetch_optional(&mut *tx)
        .await?;
    Ok(Json(Authenticator {
        confirmed: confirmed.is_some(),
        recovery_codes: second_factor::recovery_codes_left(&mut tx, &who.person.id).await?,
    }))
}

/// One's own password.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OwnPassword)]
struct Password {
    #[schema(value_type = String)]
    password: Redacted<String>,
}

/// What an authenticator is to know. It is told once.
#[derive(Debug, Serialize, ToSchema)]
struct Secret {
    /// To type: base32.
    secret: String,
    /// To show as a picture: `otpauth://totp/…`.
    uri: String,
}

/// Begin with an authenticator. Its codes are asked for once a first one was right.
#[utoipa::path(post, path = "/session/authenticator", tag = "session", request_body = Password,
    responses((status = 201, body = Secret), (status = 401, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem), (status = 429, body = Problem)))]
async fn begin(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Body(given): Body<Password>,
) -> Result<(StatusCode, Json<Secret>), Problem> {
    let (asker, person) = (who.asker(), &who.person);
    limit(&state, &asker)?;
    // Or whoever finds a session left open could shut its person out.
    let proof = sessions::prove(
        &state.store,
        state.ldap.as_deref(),
        &asker,
        &person.login,
        given.password,
    );
    proved_oneself(proof.await?, person)?;
    let secret = totp::new_secret();
    let sealed = state.seal.seal(&purpose(&person.id), &secret.0);
    let sealed = sealed.map_err(|failure| {
        error!(error = chain(&failure), "an authenticator is not taken");
        let title = "The server cannot keep a secret now";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, title).code("no_key")
    })?;
    let mut tx = state.store.begin().await?;
    let begun = sqlx::query(
        "INSERT INTO authenticators (person, secret, created_ms) VALUES ($1, $2, $3) \
         ON CONFLICT (person) DO UPDATE SET secret = $2, created_ms = $3 \
         WHERE authenticators.confirmed = 0",
    )
    .bind(&person.id)
    .bind(sealed)
    .bind(now_ms())
    .execute(&mut *tx)
    .await?;
    if begun.rows_affected() == 0 {
        return Err(has_one());
    }
    let change = Change {
        before: None,
        after: Some(json!({ "confirmed": false })),
    };
    let object = second_factor::object(person);
    audit::write(&mut tx, &asker, Action::Create, object, change).await?;
    tx.commit().await?;
    let told = Secret {
        secret: totp::as_text(&secret.0),
        uri: totp::as_uri(&secret.0, &person.login),
    };
    Ok((StatusCode::CREATED, Json(told)))
}

/// A code.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Code {
    /// Six digits of the authenticator, or a recovery code.
    #[schema(value_type = String)]
    code: Redacted<String>,
}

/// Recovery codes. They are told once, and each is good once.
#[derive(Debug, Serialize, ToSchema)]
struct RecoveryCodes {
    recovery_codes: Vec<String>,
}

/// Show that the authenticator knows its secret, by a first code. From then on a login asks for one.
#[utoipa::path(put, path = "/session/authenticator", tag = "session", request_body = Code,
    responses((status = 200, body = RecoveryCodes), (status = 401, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem), (status = 429, body = Problem)))]
async fn confirm(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Body(given): Body<Code>,
) -> Result<Json<RecoveryCodes>, Problem> {
    let (asker, person) = (who.asker(), &who.person);
    limit(&state, &asker)?;
    let mut tx = state.store.begin().await?;
    let row = sqlx::query("SELECT secret, confirmed FROM authenticators WHERE person = $1")
        .bind(&person.id)
        .fetch_optional(&mut *tx)
        .await?
        .ok_or_else(Problem::not_found)?;
    if row.try_get::<i64, _>("confirmed")? != 0 {
        return Err(has_one());
    }
    let sealed: String = row.try_get("secret")?;
    let secret = state.seal.open(&purpose(&person.id), &sealed);
    let secret = secret.map_err(|failure| {
        error!(
            error = chain(&failure),
            "an authenticator's secret is unreadable"
        );
        refused(Verdict::Unreadable, StatusCode::UNPROCESSABLE_ENTITY)
    })?;
    let step = totp::step_of(&secret.0, &given.code.0, now_ms(), 0);
    let step = step.ok_or_else(|| refused(Verdict::Wrong, StatusCode::UNPROCESSABLE_ENTITY))?;
    second_factor::use_step(&mut tx, &person.id, step).await?;
    let recovery_codes = second_factor::new_recovery_codes(&mut tx, &person.id).await?;
    let change = Change {
        before: Some(json!({ "confirmed": false })),
        after: Some(json!({ "confirmed": true, "recovery_codes": recovery_codes.len() })),
    };
    let object = second_factor::object(person);
    audit::write(&mut tx, &asker, Action::Change, object, change).await?;
    tx.commit().await?;
    Ok(Json(RecoveryCodes { recovery_codes }))
}

/// Do without an authenticator, by a last code of it or a recovery code.
#[utoipa::path(post, path = "/session/authenticator/removal", tag = "session", request_body = Code,
    responses((status = 204), (status = 401, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem), (status = 429, body = Problem)))]
async fn remove_own(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Body(given): Body<Code>,
) -> Result<StatusCode, Problem> {
    let (asker, person) = (who.asker(), &who.person);
    limit(&state, &asker)?;
    let mut tx = state.store.begin().await?;
    let code = Some(given.code.0.as_str());
    let verdict = second_factor::check(&mut tx, &state.seal, &asker, person, code).await?;
    let removed = verdict == Verdict::Passed
        && second_factor::remove(&mut tx, &asker, &person.id, &person.organisation).await?;
    tx.commit().await?;
    if verdict != Verdict::Passed {
        return Err(refused(verdict, StatusCode::UNPROCESSABLE_ENTITY));
    }
    match removed {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found()),
    }
}

/// Remove the authenticator of somebody who lost it, and who holds no more rights than the asker.
#[utoipa::path(delete, path = "/people/{id}/authenticator", tag = "people", params(("id" = String, Path)),
    extensions(("x-right" = json!("people.manage"))),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem)))]
async fn remove(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let mut tx = state.store.begin().await?;
    let person = people::managed(&mut tx, &who, &id).await?;
    if id == who.person.id {
        let title = "One's own authenticator is removed by a code";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, title).code("oneself"));
    }
    let asker = who.asker();
    if !second_factor::remove(&mut tx, &asker, &id, &person.organisation).await? {
        return Err(Problem::not_found());
    }
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

fn limit(state: &State, asker: &Asker) -> Result<(), Problem> {
    let source = asker.source().ok_or_else(Problem::not_logged_in)?;
    match state.logins.take(source) {
        true => Ok(()),
        false => Err(too_many()),
    }
}

fn has_one() -> Problem {
    let title = "There is an authenticator: remove it first";
    Problem::new(StatusCode::CONFLICT, title).code("taken")
}
