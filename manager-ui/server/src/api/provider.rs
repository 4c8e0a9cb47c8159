//! Logins by a provider, whatever it speaks: who may begin one, and what becomes of whom it proved (WS/T 545:
//! SW-04, SW-10).

use std::net::IpAddr;

use axum::Json;
use axum::extract::State as StateOf;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use mcu_api::secret::Redacted;
use serde::{Deserialize, Serialize};
use sqlx::{Any, Row, Transaction};
use tracing::warn;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Problem;
use super::session::{agent, session_cookie, too_many};
use crate::State;
use crate::asker::{Asker, Person};
use crate::limits::Attempts;
use crate::newcomer::{self, Newcomer};
use crate::provider::{self, Proved};
use crate::sessions::{self, note_failure};
use crate::store::{Error, chain, new_id};

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
    /// An OpenID Connect provider, from `/login/oidc`.
    oidc: bool,
    /// A SAML identity provider, from `/login/saml`.
    saml: bool,
}

/// Which ways to log in there are.
#[utoipa::path(get, path = "/login-methods", tag = "session",
    responses((status = 200, body = Methods)))]
async fn methods(StateOf(state): StateOf<State>) -> Json<Methods> {
    Json(Methods {
        password: true,
        directory: state.ldap.is_some(),
        oidc: state.oidc.is_some(),
        saml: state.saml.is_some(),
    })
}

/// One of the ways.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way<'a> {
    /// As metrics and `people.source` name it.
    pub name: &'static str,
    /// The cookie that a browser holds while it is at the provider, without its value.
    pub cookie: &'static str,
    /// Whether it comes along with what a page of the provider has the browser do: `SameSite`.
    pub same_site: &'static str,
    /// Id of the organisation of those who come first.
    pub organisation: Option<&'a str>,
}

/// How a login begins.
#[derive(Debug, Deserialize)]
pub(crate) struct How {
    /// Whoever is there proves it anew, be there a session with the provider or not.
    anew: Option<String>,
}

impl How {
    pub(super) fn anew(&self) -> bool {
        self.anew.is_some()
    }
}

/// Whether a browser goes to the provider that is sent there: not too often, and by going there.
///
/// # Errors
/// 429 and 403.
pub(super) fn admit(
    attempts: &Attempts,
    source: IpAddr,
    headers: &HeaderMap,
) -> Result<(), Problem> {
    if !attempts.take(source) {
        return Err(too_many());
    }
    // A picture's or a script's address on a page elsewhere begins no login.
    let mode = headers.get("sec-fetch-mode");
    match mode.is_some_and(|mode| mode != "navigate") {
        true => {
            let title = "A login is begun by going there";
            Err(Problem::new(StatusCode::FORBIDDEN, title))
        }
        false => Ok(()),
    }
}

/// Sends the browser to the provider, with what it is to hold meanwhile, or notes why not.
pub(super) async fn leave(
    state: &State,
    source: IpAddr,
    way: Way<'_>,
    begun: Result<(String, Redacted<String>), provider::Error>,
) -> Result<Response, Problem> {
    match begun {
        Ok((url, browser)) => {
            let (cookie, same_site) = (way.cookie, way.same_site);
            let held = format!(
                "{cookie}={}; Path=/; Secure; HttpOnly; SameSite={same_site}; Max-Age=600",
                browser.0
            );
            Ok(go(&url, &[&Redacted(held)]))
        }
        Err(failure) => Ok(refuse(state, &Asker::unknown(source), way, &failure).await?),
    }
}

/// A path of this server as the browser knows it.
///
/// # Errors
/// 400 without a host.
pub(super) fn own_url(headers: &HeaderMap, path: &str) -> Result<String, Problem> {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let host = host.ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "No host"))?;
    Ok(format!("https://{host}{path}"))
}

/// Begins a session of whom the provider proved, or notes why there is none.
pub(super) async fn log_in(
    state: &State,
    asker: &Asker,
    headers: &HeaderMap,
    way: Way<'_>,
    proved: Result<Proved, provider::Error>,
) -> Result<Response, Problem> {
    let proved = match proved {
        Ok(proved) => proved,
        Err(failure) => return Ok(refuse(state, asker, way, &failure).await?),
    };
    let mut tx = state.store.begin().await?;
    match person_of(&mut tx, asker, &proved, way).await? {
        Ok(person) => {
            let session = person.session.clone();
            let secret = sessions::begin(&mut tx, asker, &agent(headers), person).await?;
            if proved.anew {
                sessions::note_proof(&mut tx, &session).await?;
            }
            tx.commit().await?;
            state.watch.counts.login(way.name, "logged_in");
            let gone = format!("{}=; Path=/; Secure; HttpOnly; Max-Age=0", way.cookie);
            Ok(go("/", &[&session_cookie(&secret), &Redacted(gone)]))
        }
        Err((person, reason)) => {
            // Rolled back: on PostgreSQL nothing can follow a row that could not be written.
            tx.rollback().await?;
            let mut tx = state.store.begin().await?;
            let (id, home) = match &person {
                Some(person) => (Some(person.id.as_str()), Some(person.organisation.as_str())),
                None => (None, None),
            };
            note_failure(&mut tx, asker, id, home, reason).await?;
            tx.commit().await?;
            state.watch.counts.login(way.name, "refused");
            Ok(go("/login?problem=provider_refused", &[]))
        }
    }
}

/// Who a subject is here, or who it is and why it may not log in.
async fn person_of(
    tx: &mut Transaction<'static, Any>,
    asker: &Asker,
    proved: &Proved,
    way: Way<'_>,
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
            source: way.name,
            subject: Some(&proved.subject),
            organisation: way.organisation,
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
async fn refuse(
    state: &State,
    asker: &Asker,
    way: Way<'_>,
    failure: &provider::Error,
) -> Result<Response, Error> {
    warn!(
        way = way.name,
        error = chain(failure),
        "no login by the provider"
    );
    let mut tx = state.store.begin().await?;
    note_failure(&mut tx, asker, None, None, failure.reason()).await?;
    tx.commit().await?;
    let counts = &state.watch.counts;
    Ok(match failure {
        provider::Error::Away(_) => {
            counts.login(way.name, "provider_away");
            go("/login?problem=provider_away", &[])
        }
        _ => {
            counts.login(way.name, "refused");
            go("/login?problem=provider_refused", &[])
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
