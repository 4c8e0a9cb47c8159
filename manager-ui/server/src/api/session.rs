//! Logging in and out, one's own sessions and password, and the first administrator.

use std::net::IpAddr;

use axum::Json;
use axum::extract::{Path, State as StateOf};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use mcu_api::secret::Redacted;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{FromRow, Row};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::people::{self, Name};
use super::{Body, Problem};
use crate::State;
use crate::asker::{Asker, LoggedIn, Person, Source};
use crate::audit::{self, Action, Change, Object};
use crate::password;
use crate::rights::{self, Right, SYSTEM_ADMINISTRATOR};
use crate::second_factor::{self, Verdict};
use crate::sessions::{self, Proof};
use crate::store::{Error, new_id, now_ms};

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(log_in, who_am_i, log_out))
        .routes(routes!(set_up))
        .routes(routes!(change_password))
        .routes(routes!(list))
        .routes(routes!(end))
}

/// Login and password, and a code where one is wanted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Credentials {
    login: String,
    #[schema(value_type = String)]
    password: Redacted<String>,
    /// Of the authenticator, or a recovery code. Whether one is wanted is told by 401 with
    /// `second_factor_wanted`.
    #[schema(value_type = Option<String>)]
    code: Option<Redacted<String>>,
}

/// Who is logged in.
#[derive(Debug, Serialize, ToSchema)]
struct Me {
    /// Id of the person.
    person: String,
    login: String,
    name: String,
    /// Id of the organisation that the person belongs to.
    organisation: String,
    /// What proves who it is: `local` a password here, `ldap` a directory, else a provider.
    source: String,
    /// Rights that are held somewhere.
    rights: Vec<Right>,
}

/// Log in. The answer sets the session's cookie.
#[utoipa::path(post, path = "/session", tag = "session", request_body = Credentials,
    responses((status = 204), (status = 401, body = Problem), (status = 429, body = Problem)))]
async fn log_in(
    StateOf(state): StateOf<State>,
    Source(source): Source,
    headers: HeaderMap,
    Body(given): Body<Credentials>,
) -> Result<Response, Problem> {
    let answer = try_log_in(&state, source, &headers, given).await;
    let outcome = match &answer {
        Ok(_) => "logged_in",
        Err(problem) => problem.code.unwrap_or("failed"),
    };
    state.watch.counts.login("password", outcome);
    answer
}

async fn try_log_in(
    state: &State,
    source: IpAddr,
    headers: &HeaderMap,
    given: Credentials,
) -> Result<Response, Problem> {
    if !state.logins.take(source) {
        return Err(too_many());
    }
    let asker = Asker::unknown(source);
    let proof = sessions::prove(
        &state.store,
        state.ldap.as_deref(),
        &asker,
        &given.login,
        given.password,
    );
    let proof = proof.await?;
    let login = sessions::login_key(&given.login);
    if matches!(proof, Proof::Unknown) && state.logins.is_unknown_closed(&login) {
        return Err(locked());
    }
    let person = proved(proof, StatusCode::UNAUTHORIZED)?;
    let mut tx = state.store.begin().await?;
    let code = given.code.as_ref().map(|code| code.0.as_str());
    let verdict = second_factor::check(&mut tx, &state.seal, &asker, &person, code).await?;
    if verdict != Verdict::Passed {
        tx.commit().await?;
        return Err(refused(verdict, StatusCode::UNAUTHORIZED));
    }
    let secret = sessions::begin(&mut tx, &asker, &agent(headers), person).await?;
    tx.commit().await?;
    Ok(with_cookie(&secret))
}

/// Why a code is not taken.
pub(super) fn refused(verdict: Verdict, refusal: StatusCode) -> Problem {
    let (status, title, code) = match verdict {
        Verdict::Wanted => (refusal, "A code is wanted", "second_factor_wanted"),
        Verdict::Passed | Verdict::Wrong => {
            (refusal, "The code is wrong or was used", "wrong_code")
        }
        Verdict::Locked => return locked(),
        Verdict::Unreadable => (
            StatusCode::SERVICE_UNAVAILABLE,
            "The server cannot read the authenticator's secret: use a recovery code",
            "no_key",
        ),
    };
    Problem::new(status, title).code(code)
}

/// The person, or why there is none.
pub(super) fn proved(proof: Proof, refusal: StatusCode) -> Result<Person, Problem> {
    match proof {
        Proof::Person(person) => Ok(person),
        Proof::Refused | Proof::Unknown => {
            let title = "Login or password is wrong";
            Err(Problem::new(refusal, title).code("wrong_password"))
        }
        Proof::Locked => Err(locked()),
        Proof::Away => {
            let title = "The directory is away: only people who are known here can log in";
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, title).code("directory_away"))
        }
    }
}

/// Whether it is the one who is logged in: a directory may know the login as somebody else's by now.
pub(super) fn proved_oneself(proof: Proof, person: &Person) -> Result<(), Problem> {
    match proved(proof, StatusCode::UNPROCESSABLE_ENTITY)?.id == person.id {
        true => Ok(()),
        false => proved(Proof::Refused, StatusCode::UNPROCESSABLE_ENTITY).map(drop),
    }
}

fn locked() -> Problem {
    let title = "Too many wrong passwords or codes, try again in some minutes";
    Problem::new(StatusCode::TOO_MANY_REQUESTS, title).code("locked")
}

/// Who is logged in, and what they may do; of a token what it may do.
#[utoipa::path(get, path = "/session", tag = "session", extensions(("x-token" = json!(true))),
    responses((status = 200, body = Me), (status = 401, body = Problem)))]
async fn who_am_i(StateOf(state): StateOf<State>, who: LoggedIn) -> Result<Json<Me>, Problem> {
    let mut connection = state.store.pool()?.acquire().await?;
    let row = sqlx::query("SELECT name, source FROM people WHERE id = $1")
        .bind(&who.person.id)
        .fetch_one(&mut *connection)
        .await?;
    let rights = rights::of_subject(&mut connection, &who.subject).await?;
    Ok(Json(Me {
        person: who.person.id,
        login: who.person.login,
        name: row.try_get("name")?,
        organisation: who.person.organisation,
        source: row.try_get("source")?,
        rights,
    }))
}

/// Log out.
#[utoipa::path(delete, path = "/session", tag = "session",
    responses((status = 204), (status = 401, body = Problem)))]
async fn log_out(StateOf(state): StateOf<State>, who: LoggedIn) -> Result<Response, Problem> {
    let id = who.person.session.clone();
    end_session(&state, &who, &id).await?;
    let gone = format!("{}=; Path=/; Secure; HttpOnly; Max-Age=0", sessions::COOKIE);
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, gone)]).into_response())
}

/// Old and new password.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPassword {
    #[schema(value_type = String)]
    old: Redacted<String>,
    #[schema(value_type = String)]
    new: Redacted<String>,
}

/// Change one's own password. All other sessions end.
#[utoipa::path(put, path = "/session/password", tag = "session", request_body = NewPassword,
    responses((status = 204), (status = 401, body = Problem), (status = 422, body = Problem)))]
async fn change_password(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Body(given): Body<NewPassword>,
) -> Result<StatusCode, Problem> {
    // The old password is proved as at a login, so that a session left open guesses no better.
    let asker = who.asker();
    let person = who.person.clone();
    let source = asker.source().ok_or_else(Problem::not_logged_in)?;
    if !state.logins.take(source) {
        return Err(too_many());
    }
    people::need_password_here(&state.store, &person.id).await?;
    let proof = sessions::prove(&state.store, None, &asker, &person.login, given.old);
    proved(proof.await?, StatusCode::UNPROCESSABLE_ENTITY)?;
    people::accept_password(&given.new.0, &person.login)?;
    let hash = password::hash(given.new).await;
    let mut tx = state.store.begin().await?;
    // What was asked by a session that ended meanwhile, by a new password for one, comes too late.
    if !sessions::goes_on(&mut tx, &who.person.session).await? {
        return Err(Problem::not_logged_in());
    }
    people::write_password(&mut tx, &asker, &person.id, &person.organisation, &hash).await?;
    sessions::end_all(&mut tx, &person.id, Some(&person.session)).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A session of one's own.
#[derive(Debug, Serialize, FromRow, ToSchema)]
struct Session {
    id: String,
    /// Address that it was begun from.
    source: String,
    /// What the browser called itself.
    agent: String,
    created_ms: i64,
    seen_ms: i64,
    /// The one that asks.
    #[sqlx(try_from = "i64")]
    own: people::Flag,
}

/// One's own sessions.
#[utoipa::path(get, path = "/sessions", tag = "session",
    responses((status = 200, body = [Session]), (status = 401, body = Problem)))]
async fn list(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
) -> Result<Json<Vec<Session>>, Problem> {
    let rows = sqlx::query_as(
        "SELECT id, source, agent, created_ms, seen_ms, \
         CAST(CASE WHEN id = $2 THEN 1 ELSE 0 END AS BIGINT) AS own \
         FROM sessions WHERE person = $1 ORDER BY seen_ms DESC",
    )
    .bind(&who.person.id)
    .bind(&who.person.session)
    .fetch_all(state.store.pool()?)
    .await?;
    Ok(Json(rows))
}

/// End one of one's own sessions.
#[utoipa::path(delete, path = "/sessions/{id}", tag = "session", params(("id" = String, Path)),
    responses((status = 204), (status = 401, body = Problem), (status = 404, body = Problem)))]
async fn end(
    StateOf(state): StateOf<State>,
    who: LoggedIn,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    match end_session(&state, &who, &id).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found()),
    }
}

async fn end_session(state: &State, who: &LoggedIn, id: &str) -> Result<bool, Error> {
    let mut tx = state.store.begin().await?;
    let ended = sqlx::query("DELETE FROM sessions WHERE person = $1 AND id = $2")
        .bind(&who.person.id)
        .bind(id)
        .execute(&mut *tx)
        .await?;
    if ended.rows_affected() == 0 {
        return Ok(false);
    }
    let object = Object {
        kind: "session",
        id: Some(id),
        organisation: Some(&who.person.organisation),
    };
    audit::write(
        &mut tx,
        &who.asker(),
        Action::Logout,
        object,
        Change::default(),
    )
    .await?;
    tx.commit().await?;
    Ok(true)
}

/// The first administrator, with the secret of the link that the server wrote at its first start.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SetUp {
    #[schema(value_type = String)]
    secret: Redacted<String>,
    /// Name of the organisation at the root: a region, or the one hospital.
    organisation: Name,
    login: people::LoginName,
    name: Name,
    #[schema(value_type = String)]
    password: Redacted<String>,
}

/// Make the first administrator and the organisation at the root. The link is good once.
#[utoipa::path(post, path = "/setup", tag = "session", request_body = SetUp,
    responses((status = 204), (status = 403, body = Problem), (status = 422, body = Problem)))]
async fn set_up(
    StateOf(state): StateOf<State>,
    Source(source): Source,
    headers: HeaderMap,
    Body(given): Body<SetUp>,
) -> Result<Response, Problem> {
    if !state.logins.take(source) {
        return Err(too_many());
    }
    people::accept_password(&given.password.0, given.login.as_str())?;
    let hash = password::hash(given.password).await;
    let mut tx = state.store.begin().await?;
    let used = sqlx::query("DELETE FROM setup_links WHERE secret_hash = $1")
        .bind(sessions::hash(&given.secret.0))
        .execute(&mut *tx)
        .await?;
    if used.rows_affected() == 0 {
        let title = "The link is used or was never made";
        return Err(Problem::new(StatusCode::FORBIDDEN, title).code("link_used"));
    }
    let organisation = new_id();
    sqlx::query(
        "INSERT INTO organisations (id, parent, path, kind, name, created_ms) \
         VALUES ($1, NULL, $2, 'region', $3, $4)",
    )
    .bind(&organisation)
    .bind(format!("{organisation}/"))
    .bind(given.organisation.as_str())
    .bind(now_ms())
    .execute(&mut *tx)
    .await?;
    let id = new_id();
    let new = people::NewPerson {
        organisation: organisation.clone(),
        login: given.login,
        name: given.name,
        password: None,
    };
    people::insert(&mut tx, &id, &new, Some(&hash)).await?;
    people::allow(&mut tx, &id, SYSTEM_ADMINISTRATOR, &organisation).await?;
    let person = Person {
        id: id.clone(),
        login: new.login.as_str().to_owned(),
        organisation: organisation.clone(),
        session: new_id(),
        by_token: false,
    };
    let object = Object {
        kind: "person",
        id: Some(&id),
        organisation: Some(&organisation),
    };
    let change = Change {
        before: None,
        after: Some(json!({ "login": person.login, "role": SYSTEM_ADMINISTRATOR })),
    };
    let asker = Asker::unknown(source);
    audit::write(&mut tx, &asker, Action::Create, object, change).await?;
    let secret = sessions::begin(&mut tx, &asker, &agent(&headers), person).await?;
    tx.commit().await?;
    state.setup.done();
    Ok(with_cookie(&secret))
}

pub(super) fn too_many() -> Problem {
    let title = "Too many attempts, try again in a minute";
    Problem::new(StatusCode::TOO_MANY_REQUESTS, title).code("too_many")
}

/// The session's cookie, as a browser is told it.
pub(super) fn session_cookie(secret: &Redacted<String>) -> Redacted<String> {
    Redacted(format!(
        "{}={}; Path=/; Secure; HttpOnly; SameSite=Lax",
        sessions::COOKIE,
        secret.0
    ))
}

fn with_cookie(secret: &Redacted<String>) -> Response {
    let cookie = session_cookie(secret).0;
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Ok(mut value) = HeaderValue::from_str(&cookie) {
        value.set_sensitive(true);
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    response
}

pub(super) fn agent(headers: &HeaderMap) -> String {
    let agent = headers.get(header::USER_AGENT);
    let agent = agent.and_then(|value| value.to_str().ok());
    agent.unwrap_or_default().to_owned()
}
