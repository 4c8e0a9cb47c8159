//! Who asks: what a request proves by the cookie of a session.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};

use crate::api::Problem;
use crate::rights::{self, Right};
use crate::store::{Error, Store};
use crate::{State, serve, sessions};

/// Somebody who did something, or the server itself.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    person: Option<Person>,
    source: Option<IpAddr>,
}

/// A person whom a session stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    /// Id.
    pub id: String,
    /// What they log in with.
    pub login: String,
    /// The organisation that they belong to.
    pub organisation: String,
    /// Id of the session.
    pub session: String,
}

impl Asker {
    /// Somebody who proved nothing.
    pub(crate) const fn unknown(source: IpAddr) -> Self {
        Self {
            person: None,
            source: Some(source),
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
}

/// A person who is logged in, as a handler's argument: 401 where a request proves none, and 403 where
/// a page of another origin may have sent it.
#[derive(Clone, Debug)]
pub(crate) struct LoggedIn {
    pub person: Person,
    source: IpAddr,
}

impl LoggedIn {
    /// As the record of what was done takes it.
    pub(crate) fn asker(&self) -> Asker {
        Asker::person(self.person.clone(), self.source)
    }

    /// # Errors
    /// 403 where the person holds this right nowhere.
    pub(crate) async fn need(&self, store: &Store, right: Right) -> Result<(), Problem> {
        let mut connection = store.pool()?.acquire().await.map_err(Error::from)?;
        match rights::holds_anywhere(&mut connection, &self.person.id, right).await? {
            true => Ok(()),
            false => Err(Problem::missing(right)),
        }
    }
}

impl FromRequestParts<State> for LoggedIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        let source = source(parts)?;
        let secret = cookie(&parts.headers).ok_or_else(Problem::not_logged_in)?;
        refuse_foreign(&parts.method, &parts.headers)?;
        let person = sessions::person_of(&state.store, &secret).await?;
        let person = person.ok_or_else(Problem::not_logged_in)?;
        Ok(Self { person, source })
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

/// The secret of the session.
pub(crate) fn cookie(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(header::COOKIE).into_iter();
    let pairs = cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'));
    pairs
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == sessions::COOKIE)
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
