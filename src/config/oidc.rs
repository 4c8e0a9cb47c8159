//! `[oidc]`: a provider that proves who people are.

use std::path::PathBuf;
use std::str::FromStr;

use manager_ui_server::oidc::{Claim, Config};
use mcu_api::secret::Redacted;
use serde::Deserialize;

use super::values::NonEmpty;

/// The provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oidc {
    /// Its address.
    issuer: Issuer,
    /// PEM file of the issuers of its certificate.
    ca: Option<PathBuf>,
    /// Who we are there.
    client_id: NonEmpty,
    /// What proves it.
    client_secret: Option<Redacted<NonEmpty>>,
    /// What is asked for beside `openid`.
    scopes: Option<Vec<NonEmpty>>,
    /// What becomes the login.
    #[serde(default)]
    claim: Login,
    /// Where people appear.
    organisation: Option<NonEmpty>,
}

/// `claim`
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Login {
    #[default]
    PreferredUsername,
    Email,
    Sub,
}

/// `https://…`; without TLS on this machine alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer(String);

impl FromStr for Issuer {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let here = ["http://127.0.0.1:", "http://localhost:"];
        let is_good = text.len() > "https://".len() && text.starts_with("https://")
            || here.iter().any(|start| text.starts_with(start));
        match is_good && !text.contains(['?', '#', '@', ' ']) {
            true => Ok(Self(text.into())),
            false => Err("must be https://HOST, as the provider names itself"),
        }
    }
}

impl Oidc {
    /// What the manager needs.
    pub fn config(&self) -> Config {
        let usual = || vec!["profile".to_owned(), "email".to_owned()];
        let scopes = self.scopes.as_ref();
        Config {
            issuer: self.issuer.0.clone(),
            ca: self.ca.clone(),
            client_id: self.client_id.0.clone(),
            client_secret: self
                .client_secret
                .as_ref()
                .map(|secret| Redacted(secret.0.0.clone())),
            scopes: scopes.map_or_else(usual, |s| s.iter().map(|s| s.0.clone()).collect()),
            claim: match self.claim {
                Login::PreferredUsername => Claim::PreferredUsername,
                Login::Email => Claim::Email,
                Login::Sub => Claim::Subject,
            },
            organisation: self.organisation.as_ref().map(|id| id.0.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_reached_inside_tls_or_on_this_machine() {
        for good in ["https://id.example/realms/x", "http://127.0.0.1:9400"] {
            assert!(good.parse::<Issuer>().is_ok(), "{good}");
        }
        for bad in ["id.example", "http://id.example", "https://", "https://a@b"] {
            assert!(bad.parse::<Issuer>().is_err(), "{bad}");
        }
    }
}
