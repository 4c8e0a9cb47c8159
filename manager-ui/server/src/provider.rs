//! What logins by a provider have in common, whatever it speaks: who is under way to it, and whom it proved.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};

use crate::sessions::hash;
use crate::store::chain;

/// Longest that a request of ours to a provider takes.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long somebody may take at the provider.
const LONGEST: Duration = Duration::from_secs(600);
/// Logins that are under way at a time. One more takes the place of the oldest.
const MAX_BEGUN: usize = 1000;

/// Whom a provider proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proved {
    /// Who it is for ever, as `people.subject` holds it: the provider, and who that says it is.
    pub subject: String,
    /// What becomes the login of who comes first.
    pub login: String,
    /// The name, if it is told.
    pub name: Option<String>,
    /// They have just proved it, because that was asked for: no session with the provider stood for it.
    pub anew: bool,
}

/// Why a provider proved nobody.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The provider cannot be reached, or does not say what it should.
    #[error("the provider cannot be asked: {0}")]
    Away(String),
    /// No login is under way that this belongs to: it was used, is too old, or of another browser.
    #[error("no login is under way that this belongs to")]
    Unknown,
    /// The provider lets nobody in by this.
    #[error("the provider refuses: {0}")]
    Refused(String),
    /// What it says proves nothing.
    #[error("what the provider says proves nothing: {0}")]
    Token(String),
}

impl Error {
    /// As the record has it.
    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::Away(_) => "provider away",
            Self::Unknown => "no login under way",
            Self::Refused(_) => "provider refuses",
            Self::Token(_) => "token proves nothing",
        }
    }
}

/// Logins that are under way, each good once, for ten minutes, and for the browser alone that began it.
#[derive(Debug)]
pub(crate) struct UnderWay<T> {
    /// By hash of what the provider hands on. A lock, because it is held for a moment once a login.
    begun: Mutex<HashMap<String, Begun<T>>>,
}

#[derive(Debug)]
struct Begun<T> {
    /// Hash of what the browser holds.
    browser: String,
    at: Instant,
    what: T,
}

impl<T> Default for UnderWay<T> {
    fn default() -> Self {
        Self {
            begun: Mutex::default(),
        }
    }
}

impl<T> UnderWay<T> {
    /// Begins one: `state` goes to the provider and comes back, `browser` stays in the browser.
    pub(crate) fn keep(&self, state: &str, browser: &str, what: T) {
        let mut all = self.all();
        all.retain(|_, begun| begun.at.elapsed() < LONGEST);
        if all.len() >= MAX_BEGUN {
            let oldest = all.iter().min_by_key(|(_, begun)| begun.at);
            if let Some(oldest) = oldest.map(|(state, _)| state.clone()) {
                all.remove(&oldest);
            }
        }
        let begun = Begun {
            browser: hash(browser),
            at: Instant::now(),
            what,
        };
        all.insert(hash(state), begun);
    }

    /// What was begun, if it is good. It is good no more.
    pub(crate) fn take(&self, state: &str, browser: &str) -> Option<T> {
        let begun = self.all().remove(&hash(state))?;
        let is_good = begun.at.elapsed() < LONGEST && begun.browser == hash(browser);
        is_good.then_some(begun.what)
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Begun<T>>> {
        self.begun.lock().unwrap_or_else(|p| p.into_inner())
    }
}

/// How far clocks may differ.
const SKEW: TimeDelta = TimeDelta::seconds(60);

/// Whether somebody proved who they are since a login began, by what the provider says. Where that was asked
/// for, nothing less is taken: a session with the provider could stand for it without anybody there.
///
/// # Errors
/// [`Error::Token`].
pub(crate) fn just_now(
    began: Option<DateTime<Utc>>,
    proved: Option<DateTime<Utc>>,
) -> Result<bool, Error> {
    let Some(began) = began else {
        return Ok(false);
    };
    match proved.is_some_and(|proved| proved >= began - SKEW) {
        true => Ok(true),
        false => Err(Error::Token(
            "it does not say that somebody has just logged in".into(),
        )),
    }
}

/// Asks providers, who show a certificate of the system's issuers or of those in this PEM file.
///
/// # Errors
/// [`Error::Away`] where that cannot be read.
pub(crate) fn http(ca: Option<&Path>) -> Result<reqwest::Client, Error> {
    let failed = |error: &dyn std::error::Error| Error::Away(chain(error));
    // A redirection could lead us to what only this machine reaches.
    let mut http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE);
    if let Some(path) = ca {
        let pem = std::fs::read(path).map_err(|error| failed(&error))?;
        let issuers = reqwest::Certificate::from_pem_bundle(&pem);
        for issuer in issuers.map_err(|error| failed(&error))? {
            http = http.add_root_certificate(issuer);
        }
    }
    http.build().map_err(|error| failed(&error))
}
