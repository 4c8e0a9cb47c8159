//! Who asks: what a request proves by the cookie of a session, or by a token.

use std::net::IpAddr;

use axum::extract::{FromRequestParts, MatchedPath};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};

use crate::api::Problem;
use crate::rights::{self, Right, Subject};
use crate::sessions::By;
use crate::store::{Error, Store};
use crate::{State, api, serve, sessions, tokens};

/// A header of requests that a page sends while nobody is at it.
const UNATTENDED: &str = "consilium-unattended";

/// Somebody who did something, or the server itself.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    person: Option<Person>,
    source: Option<IpAddr>,
}

/// A person whom a session or a token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    /// Id.
    pub id: String,
    /// What they log in with.
    pub login: String,
    /// The organisation that they belong to.
    pub organisation: String,
    /// Id of the session, or of the token.
    pub session: String,
    /// Whether it is a token, which may do no more than its scope.
    pub by_token: bool,
}

impl Person {
    fn subject(&self) -> Subject {
        match self.by_token {
            true => Subject::token(&self.session),
            false => Subject::person(&self.id),
        }
    }
}

impl Asker {
    /// Somebody who proved nothing.
    pub(crate) const fn unknown(source: IpAddr) -> Self {
        Self {
            person: None,
            source: Some(source),
        }
    }

    /// The server itself.
    pub(crate) const fn server() -> Self {
        Self {
            person: None,
            source: None,
        }
    }

    /// A person.
    pub(crate) const fn person(person: Person, source: IpAddr) -> Self {
        Self {
            person: Some(person),
            source: Some(source),
        }
    }

    /// Id of the person, if it is one.
    pub(crate) fn person_id(&self) -> Option<&str> {
        self.person.as_ref().map(|person| person.id.as_str())
    }

    /// As the record of what was done calls it.
    pub(crate) fn name(&self) -> &str {
        match (&self.person, self.source) {
            (Some(person), _) => &person.login,
            (None, Some(_)) => "unknown",
            (None, None) => "server",
        }
    }

    /// Where the request came from.
    pub(crate) const fn source(&self) -> Option<IpAddr> {
        self.source
    }

    /// Id of the token by which the request came, if it did.
    pub(crate) fn token(&self) -> Option<&str> {
        let person = self.person.as_ref().filter(|person| person.by_token);
        person.map(|person| person.session.as_str())
    }
}

/// A person who is logged in, as a handler's argument: 401 where a request proves none, and 403 where
/// a page of another origin may have sent it.
#[derive(Clone, Debug)]
pub(crate) struct LoggedIn {
    pub person: Person,
    /// Whose rights count. All that asks for a right asks for this one's.
    pub subject: Subject,
    source: IpAddr,
}

impl LoggedIn {
    /// As the record of what was done takes it.
    pub(crate) fn asker(&self) -> Asker {
        Asker::person(self.person.clone(), self.source)
    }

    /// Where the request came from.
    pub(crate) const fn source(&self) -> IpAddr {
        self.source
    }

    /// Whether what the request proved by is good still: the session goes on, or the token.
    ///
    /// # Errors
    /// Those of the database.
    pub(crate) async fn is_good(&self, store: &Store) -> Result<bool, Error> {
        match self.person.by_token {
            true => tokens::is_good(store, &self.person.session).await,
            false => sessions::is_good(store, &self.person.session).await,
        }
    }

    /// # Errors
    /// 403 where the person, or the token, holds this right nowhere.
    pub(crate) async fn need(&self, store: &Store, right: Right) -> Result<(), Problem> {
        let mut connection = store.pool()?.acquire().await.map_err(Error::from)?;
        match rights::holds_anywhere(&mut connection, &self.subject, right).await? {
            true => Ok(()),
            false => Err(Problem::missing(right)),
        }
    }
}

impl FromRequestParts<State> for LoggedIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        let source = source(parts)?;
        let person = match bearer(&parts.headers) {
            // No page of another site can have a browser send this header.
            Some(token) => tokens::person_of(&state.store, token, source).await?,
            None => {
                let secret = cookie(&parts.headers).ok_or_else(Problem::not_logged_in)?;
                refuse_foreign(&parts.method, &parts.headers)?;
                sessions::person_of(&state.store, &secret, asked_by(parts)).await?
            }
        };
        let Some(person) = person else {
            state.rates.is_bad(&parts.headers);
            return Err(Problem::not_logged_in());
        };
        state.rates.is_good(&parts.headers, source);
        let who = Self {
            subject: person.subject(),
            person,
            source,
        };
        if who.person.by_token {
            who.admit_token(parts, state).await?;
        }
        Ok(who)
    }
}

/// By whom a page of ours has something asked: it says so itself when nobody was at it for a while, and
/// browsers open streams of events anew by themselves. Whoever says so only ends the session sooner.
fn asked_by(parts: &Parts) -> By {
    let path = parts.extensions.get::<MatchedPath>();
    let listens = path.is_some_and(|path| path.as_str() == api::EVENTS);
    match listens || parts.headers.contains_key(UNATTENDED) {
        true => By::Timer,
        false => By::Somebody,
    }
}

impl LoggedIn {
    /// A token does what its scope names, and nothing that is for the person alone. Each handler asks
    /// for its right again, at the place where it is needed.
    async fn admit_token(&self, parts: &Parts, state: &State) -> Result<(), Problem> {
        match api::asks_for(&parts.method, parts.extensions.get::<MatchedPath>()) {
            api::Access::Right(right) => self.need(&state.store, right).await,
            api::Access::Anybody => Ok(()),
            api::Access::Person => {
                let title = "A token cannot do this, only the person";
                Err(Problem::new(StatusCode::FORBIDDEN, title).code("by_token"))
            }
        }
    }
}

/// Where a request that proves nothing comes from, as a handler's argument.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source(pub IpAddr);

impl FromRequestParts<State> for Source {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Self, Problem> {
        refuse_foreign(&parts.method, &parts.headers)?;
        source(parts).map(Self)
    }
}

fn source(parts: &Parts) -> Result<IpAddr, Problem> {
    let peer = parts.extensions.get::<serve::Peer>();
    let peer = peer.ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "No peer"))?;
    Ok(peer.0.ip().to_canonical())
}

/// The token that a program sends (RFC 6750 §2.1).
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

/// The secret of the session.
pub(crate) fn cookie(headers: &HeaderMap) -> Option<String> {
    cookie_named(headers, sessions::COOKIE)
}

/// A cookie.
pub(crate) fn cookie_named(headers: &HeaderMap, wanted: &str) -> Option<String> {
    let cookies = headers.get_all(header::COOKIE).into_iter();
    let pairs = cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'));
    pairs
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == wanted)
        .map(|(_, value)| value.to_owned())
}

/// A page of another site can have a browser send a request with our cookie. What changes something is
/// taken from our own page only: browsers name the page's origin then.
fn refuse_foreign(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    let changes = !matches!(*method, Method::GET | Method::HEAD);
    match changes && !same_origin(headers) {
        true => Err(Problem::new(
            StatusCode::FORBIDDEN,
            "The page comes from another origin",
        )),
        false => Ok(()),
    }
}

/// RFC 6454: whether the page that sent this came from the host that it was sent to.
pub(crate) fn same_origin(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match (text(header::ORIGIN), text(header::HOST)) {
        (Some(origin), Some(host)) => origin
            .strip_prefix("https://")
            .is_some_and(|o| o.eq_ignore_ascii_case(host)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_page_of_this_host_has_its_origin() {
        let headers = |origin: Option<&str>| {
            let mut map = HeaderMap::new();
            map.insert(header::HOST, "mcu.example:8443".parse().unwrap());
            if let Some(origin) = origin {
                map.insert(header::ORIGIN, origin.parse().unwrap());
            }
            map
        };
        assert!(same_origin(&headers(Some("https://mcu.example:8443"))));
        assert!(same_origin(&headers(Some("https://MCU.example:8443"))));
        assert!(!same_origin(&headers(Some("http://mcu.example:8443"))));
        assert!(!same_origin(&headers(Some("https://mcu.example"))));
        assert!(!same_origin(&headers(Some("null"))));
        assert!(!same_origin(&headers(None)));
    }
}
