//! Answers to challenges of others (RFC 3261 §22, RFC 7616), for requests of ours.

use mcu_api::secret::Redacted;
use sipx_sip::auth::{self, Challenge};

use crate::message::{HeaderName, Headers};

/// A user of another server, and its password there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub user: String,
    /// Password.
    pub password: Redacted<String>,
}

/// The header that answers the first challenge that we can answer (RFC 8760 §2.4: the topmost one);
/// `None` when there is none.
pub(crate) fn answer(
    challenged: &Headers,
    credentials: &Credentials,
    (method, uri): (&str, &str),
    cnonce: &str,
) -> Option<(HeaderName, String)> {
    let of = |name: HeaderName, from_proxy: bool| {
        let values = challenged.get_all(&name);
        let read = values.filter_map(move |header| Challenge::parse(&header.value(), from_proxy));
        read.collect::<Vec<_>>()
    };
    let mut challenges = of(HeaderName::WwwAuthenticate, false);
    challenges.extend(of(HeaderName::ProxyAuthenticate, true));
    let challenge = auth::topmost_supported(challenges)?;
    let known = auth::Credentials::new(&credentials.user, &credentials.password.0);
    let value = auth::respond(&challenge, &known, method, uri, 1, cnonce);
    Some((challenge.response_header(), value))
}
