//! Answers to challenges of others (RFC 3261 §22, RFC 7616), for requests of ours.

use mcu_api::call::Credentials;
use sipx_sip::auth::{self, Challenge};

use crate::message::{HeaderName, Headers};

/// Longest realm that is shown in the log, in characters: a peer writes it.
const SHOWN: usize = 64;

/// Why a challenge is not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unanswered {
    /// There is none that can be read, or its algorithm is not known.
    #[error("no challenge that we can answer")]
    Unreadable,
    /// Whoever challenges is not the server that the password is for.
    #[error("a challenge for realm {0:?}, for which the password is not configured")]
    Foreign(String),
    /// The proof that we sent was not taken, and its nonce was not too old.
    #[error("wrong user or password")]
    Refused,
}

/// The proofs that one request has been given so far; its next attempt carries all of them, as each
/// server on the way wants its own (RFC 3261 §22.3).
#[derive(Clone, Debug, Default)]
pub(crate) struct Proofs {
    /// One for each header and realm, at most two for each of [`Credentials::realms`].
    given: Vec<Proof>,
}

#[derive(Clone, Debug)]
struct Proof {
    realm: String,
    header: HeaderName,
    value: String,
}

impl Proofs {
    /// Answers the topmost challenge of each kind (RFC 8760 §2.4) that is for a realm of the
    /// credentials. A realm that did not take our proof gets another only when it says that the nonce
    /// was stale (RFC 3261 §22.1).
    ///
    /// # Errors
    /// When a challenge stays without an answer: then the request is not worth sending again.
    pub fn answer(
        &mut self,
        challenged: &Headers,
        credentials: &Credentials,
        (method, uri): (&str, &str),
        cnonce: &str,
    ) -> Result<(), Unanswered> {
        let mut answered = 0;
        let mut foreign = None;
        for (name, from_proxy) in [
            (HeaderName::WwwAuthenticate, false),
            (HeaderName::ProxyAuthenticate, true),
        ] {
            let values = challenged.get_all(&name);
            let read = values.filter_map(|header| Challenge::parse(&header.value(), from_proxy));
            let (ours, others): (Vec<_>, Vec<_>) = read.partition(|challenge| {
                let mut realms = credentials.realms.iter();
                realms.any(|realm| realm.eq_ignore_ascii_case(&challenge.realm))
            });
            foreign = foreign.or(others.into_iter().next());
            let Some(challenge) = auth::topmost_supported(ours) else {
                continue;
            };
            self.add(&challenge, credentials, (method, uri), cnonce)?;
            answered += 1;
        }
        match foreign {
            _ if answered > 0 => Ok(()),
            Some(foreign) => {
                let realm = foreign.realm.chars().take(SHOWN).collect();
                Err(Unanswered::Foreign(realm))
            }
            None => Err(Unanswered::Unreadable),
        }
    }

    fn add(
        &mut self,
        challenge: &Challenge,
        credentials: &Credentials,
        (method, uri): (&str, &str),
        cnonce: &str,
    ) -> Result<(), Unanswered> {
        let header = challenge.response_header();
        let same = |proof: &Proof| proof.header == header && proof.realm == challenge.realm;
        let before = self.given.iter().position(same);
        if before.is_some() && !challenge.stale {
            return Err(Unanswered::Refused);
        }
        if let Some(before) = before {
            self.given.remove(before);
        }
        let known = auth::Credentials::new(&credentials.user, &credentials.password.0);
        let value = auth::respond(challenge, &known, method, uri, 1, cnonce);
        self.given.push(Proof {
            realm: challenge.realm.clone(),
            header,
            value,
        });
        Ok(())
    }

    /// Headers for the next attempt.
    pub fn headers(&self) -> impl Iterator<Item = (HeaderName, String)> {
        let given = self.given.iter();
        given.map(|proof| (proof.header.clone(), proof.value.clone()))
    }
}
