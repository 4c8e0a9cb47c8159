//! Logins by an OpenID Connect provider: the browser goes there from `/login/oidc`, and comes back to
//! `/login/oidc/callback` (WS/T 545: SW-04, SW-10).

use axum::Json;
use axum::extract::{Query, State as StateOf};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use mcu_api::secret::Redacted;
use serde::{Deserialize, Serialize};
use sqlx::Row;
use tracing::warn;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Problem;
use super::session::{agent, session_cookie, too_many};
use crate::State;
use crate::asker::{Asker, Person, Source, cookie_named};
use crate::newcomer::{self, Newcomer};
use crate::oidc::{self, Proved};
use crate::sessions::{self, note_failure};
use crate::store::{Error, chain, new_id};

/// What `people.source` holds for those whom the provider proves.
const SOURCE: &str = "oidc";
/// What a browser holds while it is at the provider.
const COOKIE: &str = "__Host-consilium-oidc";
/// Where it comes back to.
const CALLBACK: &str = "/login/oidc/callback";

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(methods))
}

/// Which ways to log in there are.
#[derive(Debug, Serialize, ToSchema)]
struct Methods {
    /// Login and password of people who are known here: always.
    password: bool,
    /// The same of people of a directory.
    directory: bool,
    /// A provider, from `/login/oidc`.
    oidc: bool,
}

/// Which ways to log in there are.
#[utoipa::path(get, path = "/login-methods", tag = "session",
    responses((status = 200, body = Methods)))]
async fn methods(StateOf(state): StateOf<State>) -> Json<Methods> {
    Json(Methods {
        password: true,
        directory: state.ldap.is_some(),
        oidc: state.oidc.is_some(),
    })
}

/// `GET /login/oidc`: to the provider.
pub(crate) async fn begin(
    StateOf(state): StateOf<State>,
    Source(source): Source,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let provider = state.oidc.as_ref().ok_or_else(Problem::not_found)?;
    if !provider.attempts.take(source) {
        return Err(too_many());
    }
    // A picture's or a script's address on a page elsewhere begins no login.
    let mode = headers.get("sec-fetch-mode");
    if mode.is_some_and(|mode| mode != "navigate") {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "A login is begun by going there",
        ));
    }
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let host = host.ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "No host"))?;
    match provider.begin(format!("https://{host}{CALLBACK}")).await {
        Ok((url, browser)) => {
            let held = format!(
                "{COOKIE}={}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=600",
                browser.0
            );
            Ok(go(&url, &[&Redacted(held)]))
        }
        Err(failure) => Ok(refuse(&state, &Asker::unknown(source), &failure).await?),
    }
}

/// What the provider has the browser bring.
#[derive(Debug, Deserialize)]
pub(crate) struct Brought {
    state: Option<Redacted<String>>,
    code: Option<Redacted<String>>,
}

/// `GET /login/oidc/callback`: back from the provider.
pub(crate) async fn finish(
    StateOf(state): StateOf<State>,
    Source(source): Source,
    headers: HeaderMap,
    Query(brought): Query<Brought>,
) -> Result<Response, Problem> {
    let provider = state.oidc.as_ref().ok_or_else(Problem::not_found)?;
    if !provider.attempts.take(source) {
        return Err(too_many());
    }
    let asker = Asker::unknown(source);
    let browser = cookie_named(&headers, COOKIE).unwrap_or_default();
    let told = brought.state.map(|state| state.0).unwrap_or_default();
    let proved = match brought.code {
        Some(code) => provider.finish(&told, code.0, &browser).await,
        None => Err(oidc::Error::Refused("there is no code".into())),
    };
    let proved = match proved {
        Ok(proved) => proved,
        Err(failure) => return Ok(refuse(&state, &asker, &failure).await?),
    };
    let mut tx = state.store.begin().await?;
    let organisation = provider.config.organisation.as_deref();
    let found = person_of(&mut tx, &asker, &proved, organisation).await?;
    match found {
        Ok(person) => {
            let secret = sessions::begin(&mut tx, &asker, &agent(&headers), person).await?;
            tx.commit().await?;
            state.watch.counts.login("oidc", "logged_in");
            let gone = Redacted(format!("{COOKIE}=; Path=/; Secure; HttpOnly; Max-Age=0"));
            Ok(go("/", &[&session_cookie(&secret), &gone]))
        }
        Err((person, reason)) => {
            // Rolled back: on PostgreSQL nothing can follow a row that could not be written.
            tx.rollback().await?;
            let mut tx = state.store.begin().await?;
            let (id, home) = match &person {
                Some(person) => (Some(person.id.as_str()), Some(person.organisation.as_str())),
                None => (None, None),
            };
            note_failure(&mut tx, &asker, id, home, reason).await?;
            tx.commit().await?;
            state.watch.counts.login("oidc", "refused");
            Ok(go("/login?problem=oidc_refused", &[]))
        }
    }
}

/// Who a subject is here, or who it is and why it may not log in.
async fn person_of(
    tx: &mut sqlx::Transaction<'static, sqlx::Any>,
    asker: &Asker,
    proved: &Proved,
    organisation: Option<&str>,
) -> Result<Result<Person, (Option<Person>, &'static str)>, Error> {
    let row =
        sqlx::query("SELECT id, login, organisation, disabled FROM people WHERE subject = $1")
            .bind(&proved.subject)
            .fetch_optional(&mut **tx)
            .await?;
    let Some(row) = row else {
        let newcomer = Newcomer {
            login: &proved.login,
            name: proved.name.as_deref(),
            source: SOURCE,
            subject: Some(&proved.subject),
            organisation,
        };
        let made = newcomer::make(tx, asker, newcomer).await?;
        return Ok(made.ok_or((None, "the provider's claims make no person")));
    };
    let person = Person {
        id: row.try_get("id")?,
        login: row.try_get("login")?,
        organisation: row.try_get("organisation")?,
        session: new_id(),
        by_token: false,
    };
    Ok(match row.try_get::<i64, _>("disabled")? {
        0 => Ok(person),
        _ => Err((Some(person), "disabled")),
    })
}

/// Notes why nobody was proved, and shows the page that says so.
async fn refuse(state: &State, asker: &Asker, failure: &oidc::Error) -> Result<Response, Error> {
    warn!(error = chain(failure), "no login by the provider");
    let mut tx = state.store.begin().await?;
    note_failure(&mut tx, asker, None, None, failure.reason()).await?;
    tx.commit().await?;
    let counts = &state.watch.counts;
    Ok(match failure {
        oidc::Error::Away(_) => {
            counts.login("oidc", "provider_away");
            go("/login?problem=oidc_away", &[])
        }
        _ => {
            counts.login("oidc", "refused");
            go("/login?problem=oidc_refused", &[])
        }
    })
}

/// Sends the browser on.
fn go(to: &str, cookies: &[&Redacted<String>]) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(header::LOCATION, to);
    }
    for cookie in cookies {
        if let Ok(mut value) = HeaderValue::from_str(&cookie.0) {
            value.set_sensitive(true);
            response.headers_mut().append(header::SET_COOKIE, value);
        }
    }
    response
}
