//! Tokens with which programs ask in a person's name (RFC 6750).

use axum::Json;
use axum::extract::{Path, State as StateOf};
use axum::http::StatusCode;
use mcu_api::secret::Redacted;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{Any, AnyConnection, Row, Transaction};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::people::{self, Name};
use super::session::{proved_oneself, refused, too_many};
use super::{Body, Problem};
use crate::State;
use crate::asker::LoggedIn;
use crate::audit::{self, Action, Change};
use crate::once::{Once, Place};
use crate::rights::{self, Right};
use crate::second_factor::{self, Verdict};
use crate::sessions;
use crate::store::{Error, new_id, now_ms};
use crate::tokens::{self, object};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// How long a token is good at most.
const LONGEST_MS: i64 = 366 * DAY_MS;
/// How long a login by a provider stands in for a password.
const FRESH_MS: i64 = 10 * 60 * 1000;
/// How long one that is good no more is listed.
const KEPT_MS: i64 = 30 * DAY_MS;
/// Tokens of one person, those that are good no more included.
const MAX_TOKENS: i64 = 100;

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(list_own, create))
        .routes(routes!(revoke_own))
        .routes(routes!(list))
        .routes(routes!(revoke))
}

/// One token.
#[derive(Debug, Serialize, ToSchema)]
struct Token {
    id: String,
    /// What its person calls it.
    name: String,
    /// What it may do at most.
    rights: Vec<Right>,
    created_ms: i64,
    /// From this moment on it is good no more.
    expires_ms: i64,
    revoked_ms: Option<i64>,
    /// When it was used last, to the minute.
    seen_ms: Option<i64>,
}

/// One's own tokens, newest first.
#[utoipa::path(get, path = "/session/tokens", tag = "session",
    responses((status = 200, body = [Token]), (status = 401, body = Problem), (status = 403, body = Problem)))]
async fn list_own(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
) -> Result<Json<Vec<Token>>, Problem> {
    let mut connection = state.store.pool()?.acquire().await?;
    Ok(Json(of_person(&mut connection, &who.person.id).await?))
}

/// A new token.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewToken)]
struct New {
    name: Name,
    /// What it may do at most: rights that the person holds somewhere, one at least.
    #[schema(min_items = 1)]
    rights: Vec<Right>,
    /// From this moment on it is good no more, in milliseconds since 1970: within a year.
    expires_ms: i64,
    /// One's own. Whom a provider proves has none here and proves it there anew instead, by `/login/oidc?anew`
    /// or `/login/saml?anew`, ten minutes before at most.
    #[schema(value_type = Option<String>)]
    password: Option<Redacted<String>>,
    /// Of the authenticator, or a recovery code, where a login asks for one.
    #[schema(value_type = Option<String>)]
    code: Option<Redacted<String>>,
}

/// A token as it is told once.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MadeToken)]
struct Made {
    id: String,
    /// What a program sends: `Authorization: Bearer TOKEN`.
    token: String,
}

/// Make a token for a program. Whoever finds a session left open makes none: the password is asked for.
#[utoipa::path(post, path = "/session/tokens", tag = "session", request_body = New,
    extensions(("x-once" = json!(true))),
    responses((status = 201, body = Made), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem), (status = 429, body = Problem)))]
async fn create(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    once: Once,
    Body(mut new): Body<New>,
) -> Result<(StatusCode, Json<Made>), Problem> {
    new.rights.sort_unstable();
    new.rights.dedup();
    let now = now_ms();
    if !(now + 1..=now + LONGEST_MS).contains(&new.expires_ms) {
        return Err(unprocessable("It has to run out within a year", "expiry"));
    }
    if new.rights.is_empty() {
        return Err(unprocessable("It has to name a right", "rights"));
    }
    let mut tx = prove_anew(&state, &who, new.password, new.code).await?;
    // What was asked by a session that ended meanwhile, by a new password for one, comes too late.
    if !sessions::goes_on(&mut tx, &who.person.session).await? {
        return Err(Problem::not_logged_in());
    }
    for right in &new.rights {
        if !rights::holds_anywhere(&mut tx, &who.subject, *right).await? {
            return Err(Problem::missing(*right));
        }
    }
    make_room(&mut tx, &who.person.id, now).await?;
    let id = new_id();
    let (token, kept) = tokens::new();
    sqlx::query(
        "INSERT INTO tokens (id, secret_hash, person, name, created_ms, expires_ms) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(&id)
    .bind(kept)
    .bind(&who.person.id)
    .bind(new.name.as_str())
    .bind(now)
    .bind(new.expires_ms)
    .execute(&mut *tx)
    .await?;
    tokens::write_rights(&mut tx, &id, &new.rights).await?;
    let change = Change {
        before: None,
        after: Some(json!({ "name": new.name.as_str(), "rights": new.rights,
            "expires_ms": new.expires_ms })),
    };
    let object = object(&id, &who.person.organisation);
    audit::write(&mut tx, &who.asker(), Action::Create, object, change).await?;
    let made = Made { id, token: token.0 };
    once.keep(&mut tx, Place::Own, StatusCode::CREATED, &made)
        .await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Has somebody who is logged in prove who they are once more: as at a login, or to their provider just now,
/// which a session there did not do for them. Yields the transaction in which a code was used.
async fn prove_anew(
    state: &State,
    who: &LoggedIn,
    password: Option<Redacted<String>>,
    code: Option<Redacted<String>>,
) -> Result<Transaction<'static, Any>, Problem> {
    let (asker, person) = (who.asker(), &who.person);
    if people::is_proved_by_provider(&state.store, &person.id).await? {
        let mut tx = state.store.begin().await?;
        return match sessions::proved_within(&mut tx, &person.session, FRESH_MS).await? {
            true => Ok(tx),
            false => {
                let title = "The login is too long ago: log in again";
                Err(Problem::new(StatusCode::FORBIDDEN, title).code("login_too_old"))
            }
        };
    }
    if !state.logins.take(who.source()) {
        return Err(too_many());
    }
    let given = password.unwrap_or(Redacted(String::new()));
    let directory = state.ldap.as_deref();
    let proof = sessions::prove(&state.store, directory, &asker, &person.login, given);
    proved_oneself(proof.await?, person)?;
    let mut tx = state.store.begin().await?;
    let code = code.as_ref().map(|code| code.0.as_str());
    match second_factor::check(&mut tx, &state.seal, &asker, person, code).await? {
        Verdict::Passed => Ok(tx),
        verdict => {
            tx.commit().await?;
            Err(refused(verdict, StatusCode::UNPROCESSABLE_ENTITY))
        }
    }
}

/// Forgets tokens that are long good no more.
///
/// # Errors
/// 409 where there are too many all the same.
async fn make_room(
    tx: &mut Transaction<'static, Any>,
    person: &str,
    now: i64,
) -> Result<(), Problem> {
    sqlx::query("DELETE FROM tokens WHERE person = $1 AND (expires_ms < $2 OR revoked_ms < $2)")
        .bind(person)
        .bind(now - KEPT_MS)
        .execute(&mut **tx)
        .await?;
    let row = sqlx::query("SELECT COUNT(*) AS n FROM tokens WHERE person = $1")
        .bind(person)
        .fetch_one(&mut **tx)
        .await?;
    match row.try_get::<i64, _>("n")? < MAX_TOKENS {
        true => Ok(()),
        false => {
            let title = "There are too many tokens";
            Err(Problem::new(StatusCode::CONFLICT, title).code("too_many_tokens"))
        }
    }
}

/// Revoke one of one's own tokens.
#[utoipa::path(delete, path = "/session/tokens/{id}", tag = "session", params(("id" = String, Path)),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
async fn revoke_own(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let mut tx = state.store.begin().await?;
    let (person, home) = (&who.person.id, &who.person.organisation);
    end(&mut tx, &who, person, home, &id).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A person's tokens, newest first.
#[utoipa::path(get, path = "/people/{id}/tokens", tag = "people", params(("id" = String, Path)),
    extensions(("x-right" = json!("people.view"))),
    responses((status = 200, body = [Token]), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
async fn list(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path(id): Path<String>,
) -> Result<Json<Vec<Token>>, Problem> {
    let mut connection = state.store.pool()?.acquire().await?;
    people::seen(&mut connection, &who, &id, Right::PeopleView).await?;
    Ok(Json(of_person(&mut connection, &id).await?))
}

/// Revoke a token of somebody who holds no more rights than the asker.
#[utoipa::path(delete, path = "/people/{id}/tokens/{token}", tag = "people", params(("id" = String, Path), ("token" = String, Path)),
    extensions(("x-right" = json!("people.manage"))),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
async fn revoke(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path((id, token)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let mut tx = state.store.begin().await?;
    let person = people::managed(&mut tx, &who, &id).await?;
    end(&mut tx, &who, &id, &person.organisation, &token).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// # Errors
/// 404 where the person has no such token that was not revoked.
async fn end(
    tx: &mut Transaction<'static, Any>,
    who: &LoggedIn,
    person: &str,
    organisation: &str,
    token: &str,
) -> Result<(), Problem> {
    let ended = sqlx::query(
        "UPDATE tokens SET revoked_ms = $3 WHERE id = $1 AND person = $2 AND revoked_ms IS NULL",
    )
    .bind(token)
    .bind(person)
    .bind(now_ms())
    .execute(&mut **tx)
    .await?;
    if ended.rows_affected() == 0 {
        return Err(Problem::not_found());
    }
    let object = object(token, organisation);
    let asker = who.asker();
    Ok(audit::write(tx, &asker, Action::Revoke, object, Change::default()).await?)
}

async fn of_person(connection: &mut AnyConnection, person: &str) -> Result<Vec<Token>, Error> {
    let rows = sqlx::query(
        "SELECT id, name, created_ms, expires_ms, revoked_ms, seen_ms FROM tokens \
         WHERE person = $1 ORDER BY created_ms DESC, id DESC",
    )
    .bind(person)
    .fetch_all(&mut *connection)
    .await?;
    let named = sqlx::query(
        "SELECT x.token, x.right_name FROM token_rights x JOIN tokens t ON t.id = x.token \
         WHERE t.person = $1",
    )
    .bind(person)
    .fetch_all(connection)
    .await?;
    let mut tokens = Vec::with_capacity(rows.len());
    for row in rows {
        let id: String = row.try_get("id")?;
        let mut rights = Vec::new();
        for right in &named {
            if right.try_get::<String, _>("token")? == id {
                rights.extend(Right::from_name(&right.try_get::<String, _>("right_name")?));
            }
        }
        rights.sort_unstable();
        tokens.push(Token {
            id,
            name: row.try_get("name")?,
            rights,
            created_ms: row.try_get("created_ms")?,
            expires_ms: row.try_get("expires_ms")?,
            revoked_ms: row.try_get("revoked_ms")?,
            seen_ms: row.try_get("seen_ms")?,
        });
    }
    Ok(tokens)
}

fn unprocessable(title: &'static str, code: &'static str) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, title).code(code)
}
