//! `[saml]`: an identity provider that proves who people are.

use std::path::PathBuf;
use std::str::FromStr;

use manager_ui_server::saml::Config;
use serde::Deserialize;

use super::values::NonEmpty;

/// The provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saml {
    /// Where its metadata are.
    metadata: Metadata,
    /// PEM file of the issuers of its certificate.
    ca: Option<PathBuf>,
    /// Who we are there.
    entity_id: EntityId,
    /// Attribute that says who somebody is.
    id: Option<NonEmpty>,
    /// Attribute of the login.
    login: Option<NonEmpty>,
    /// Attribute of the name.
    name: Option<NonEmpty>,
    /// Where people appear.
    organisation: Option<NonEmpty>,
}

/// `https://…`, or a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata(String);

impl FromStr for Metadata {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_address = text.contains("://");
        let is_good = match is_address {
            true => text.starts_with("https://") && !text.contains([' ', '#', '@']),
            false => !text.is_empty(),
        };
        match is_good {
            true => Ok(Self(text.into())),
            false => Err("must be https://HOST/PATH or the path of a file"),
        }
    }
}

/// A URI of 1,024 characters at most (SAML core §8.3.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityId(String);

impl FromStr for EntityId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_uri = text.split_once(':').is_some_and(|(scheme, rest)| {
            !scheme.is_empty()
                && !rest.is_empty()
                && scheme.chars().all(|c| c.is_ascii_alphanumeric())
        });
        let is_known = |c: char| c.is_ascii_graphic() && !matches!(c, '<' | '>' | '&' | '"' | '\'');
        match is_uri && text.len() <= 1024 && text.chars().all(is_known) {
            true => Ok(Self(text.into())),
            false => Err("must be a URI, such as https://HOST"),
        }
    }
}

impl Saml {
    /// What the manager needs.
    pub fn config(&self) -> Config {
        let text = |value: &Option<NonEmpty>| value.as_ref().map(|value| value.0.clone());
        Config {
            metadata: self.metadata.0.clone(),
            ca: self.ca.clone(),
            entity_id: self.entity_id.0.clone(),
            id: text(&self.id),
            login: text(&self.login),
            name: text(&self.name).unwrap_or_else(|| "displayName".into()),
            organisation: text(&self.organisation),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_come_from_a_file_or_inside_tls() {
        for good in ["/etc/consilium/idp.xml", "https://id.example/metadata?x=1"] {
            assert!(good.parse::<Metadata>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "http://id.example/metadata",
            "file:///etc/idp.xml",
            "https://a@b",
        ] {
            assert!(bad.parse::<Metadata>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_entity_id_is_a_uri() {
        for good in ["https://mcu.hospital.example", "urn:consilium:mcu"] {
            assert!(good.parse::<EntityId>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "mcu",
            "https:",
            ":x",
            "https://a b",
            "https://a<b",
            "urn:a&b",
        ] {
            assert!(bad.parse::<EntityId>().is_err(), "{bad}");
        }
    }
}
