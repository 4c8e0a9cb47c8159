//! `[ldap]`: a directory whose people may log in.

use std::path::PathBuf;
use std::str::FromStr;

use manager_ui_server::ldap::{Config, LOGIN};
use mcu_api::secret::Redacted;
use serde::Deserialize;
use toml::Spanned;

use super::dialplan::Wrong;
use super::values::NonEmpty;

/// The directory.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ldap {
    /// Where it is.
    url: DirectoryUrl,
    /// PEM file of the issuers of its certificate.
    ca: Option<PathBuf>,
    /// Who looks for people.
    bind_dn: Option<Spanned<NonEmpty>>,
    /// That one's password.
    password: Option<Spanned<Redacted<NonEmpty>>>,
    /// Where people are.
    base: NonEmpty,
    /// Which entry is whose.
    filter: Option<Spanned<NonEmpty>>,
    /// Attribute of the login.
    login: Option<Attribute>,
    /// Attribute that tells entries apart for ever.
    id: Option<Attribute>,
    /// Attribute of the name.
    name: Option<Attribute>,
    /// Attribute of the groups.
    groups: Option<Attribute>,
    /// Where people appear.
    organisation: Option<NonEmpty>,
    /// Who has which role there.
    #[serde(default)]
    roles: Vec<Role>,
}

/// `[[ldap.roles]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Role {
    /// DN of the group.
    group: NonEmpty,
    /// Id of the role.
    role: NonEmpty,
}

/// `ldaps://HOST` or `ldap://HOST`, with a port or without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryUrl(String);

impl FromStr for DirectoryUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refusal = "must be ldaps://HOST or ldap://HOST, with a port or without";
        let rest = text
            .strip_prefix("ldaps://")
            .or_else(|| text.strip_prefix("ldap://"))
            .ok_or(refusal)?;
        let (host, port) = rest.rsplit_once(':').unwrap_or((rest, "636"));
        let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        let is_port = port.parse::<u16>().is_ok_and(|port| port != 0);
        match !host.is_empty() && host.chars().all(is_host) && is_port {
            true => Ok(Self(text.into())),
            false => Err(refusal),
        }
    }
}

/// Name of an attribute (RFC 4512 §2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute(String);

impl FromStr for Attribute {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_known = |c: char| c.is_ascii_alphanumeric() || c == '-';
        match text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(is_known) {
            true => Ok(Self(text.into())),
            false => Err("must be the name of an attribute"),
        }
    }
}

impl Ldap {
    /// What no value alone can tell.
    pub fn check(&self) -> Result<(), Wrong> {
        match (&self.bind_dn, &self.password) {
            (Some(dn), None) => return Err((dn.span(), "needs password".into())),
            (None, Some(password)) => return Err((password.span(), "needs bind_dn".into())),
            _ => {}
        }
        let Some(filter) = &self.filter else {
            return Ok(());
        };
        let text = &filter.get_ref().0;
        let count = |c: char| text.chars().filter(|found| *found == c).count();
        if !text.contains(LOGIN) {
            return Err((filter.span(), format!("must hold {LOGIN}")));
        }
        match text.starts_with('(') && text.ends_with(')') && count('(') == count(')') {
            true => Ok(()),
            false => Err((filter.span(), "must be a filter in parentheses".into())),
        }
    }

    /// What the manager needs.
    pub fn config(&self) -> Config {
        let text = |value: &NonEmpty| value.0.clone();
        let attribute = |value: &Option<Attribute>, usual: &str| {
            let value = value.as_ref().map(|value| value.0.clone());
            value.unwrap_or_else(|| usual.to_owned())
        };
        let bind = self.bind_dn.as_ref().zip(self.password.as_ref());
        let login = attribute(&self.login, "uid");
        let usual = format!("(&(objectClass=person)({login}={LOGIN}))");
        Config {
            url: self.url.0.clone(),
            ca: self.ca.clone(),
            bind: bind.map(|(dn, password)| {
                let password = password.get_ref().0.0.clone();
                (text(dn.get_ref()), Redacted(password))
            }),
            base: text(&self.base),
            filter: self.filter.as_ref().map_or(usual, |f| text(f.get_ref())),
            login,
            id: attribute(&self.id, "entryUUID"),
            name: attribute(&self.name, "cn"),
            groups: attribute(&self.groups, "memberOf"),
            organisation: self.organisation.as_ref().map(text),
            roles: self
                .roles
                .iter()
                .map(|role| (text(&role.group), text(&role.role)))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_reached_inside_tls_alone() {
        for good in ["ldaps://d.example", "ldap://10.0.0.5:1389", "ldaps://d:636"] {
            assert!(good.parse::<DirectoryUrl>().is_ok(), "{good}");
        }
        for bad in [
            "d.example",
            "https://d.example",
            "ldapi:///run/slapd",
            "ldaps://",
            "ldaps://d:0",
            "ldaps://d:x",
            "ldaps://u@d",
            "ldaps://d/dc=x",
            "ldaps://[::1]",
        ] {
            assert!(bad.parse::<DirectoryUrl>().is_err(), "{bad}");
        }
    }
}
