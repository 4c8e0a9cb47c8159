//! `[webhooks]`: where events may be told, and how often it is tried.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use manager_ui_server::webhooks::Config;
use serde::Deserialize;

/// Most times that it is tried again.
const MAX_RETRIES: usize = 20;

/// Where events are told besides.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Webhooks {
    /// PEM file of the issuers of receivers' certificates.
    ca: Option<PathBuf>,
    /// Hosts that may have addresses of private networks.
    private_hosts: Vec<HostName>,
    /// Hosts that may be told without TLS.
    clear_hosts: Vec<HostName>,
    /// Seconds that it is waited after each failure.
    retries_s: Option<Retries>,
    /// Seconds after which a webhook is switched off to which nothing was delivered.
    off_after_s: Option<NonZeroU32>,
}

impl Webhooks {
    /// As the manager takes it.
    pub fn config(&self) -> Config {
        let usual = Config::default();
        let names = |names: &[HostName]| names.iter().map(|name| name.0.clone()).collect();
        let seconds = |s: NonZeroU32| Duration::from_secs(s.get().into());
        Config {
            ca: self.ca.clone(),
            private_hosts: names(&self.private_hosts),
            clear_hosts: names(&self.clear_hosts),
            retries: match &self.retries_s {
                Some(given) => given.0.iter().copied().map(seconds).collect(),
                None => usual.retries,
            },
            off_after: self.off_after_s.map_or(usual.off_after, seconds),
        }
    }
}

/// A name or an address, as it stands in a webhook's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(String);

impl FromStr for HostName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_known = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        match !text.is_empty() && text.chars().all(is_known) {
            true => Ok(Self(text.into())),
            false => Err("must be the name or the address of a host, without a port"),
        }
    }
}

/// One number at least, and not too many.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Vec<NonZeroU32>")]
struct Retries(Vec<NonZeroU32>);

impl TryFrom<Vec<NonZeroU32>> for Retries {
    type Error = &'static str;

    fn try_from(given: Vec<NonZeroU32>) -> Result<Self, Self::Error> {
        match (1..=MAX_RETRIES).contains(&given.len()) {
            true => Ok(Self(given)),
            false => Err("must be 1 to 20 numbers of seconds"),
        }
    }
}
