//! Why settings are refused: file, line, key and reason, and never what a value is.

use std::ops::Range;
use std::path::{Path, PathBuf};

/// Every key. Nothing else before a `=` is shown: it may be the text of a password.
const KEYS: &[&str] = &[
    "accounts",
    "address",
    "addresses",
    "advertised",
    "audit",
    "backup_dir",
    "backup_hours",
    "backup_keep",
    "base",
    "bind_dn",
    "ca",
    "calls_per_source",
    "captions",
    "certificate",
    "claim",
    "client_ca",
    "client_certificates",
    "client_id",
    "clear_hosts",
    "client_secret",
    "data_dir",
    "database",
    "demo",
    "dialplan",
    "dns",
    "domain",
    "entity_id",
    "expires",
    "filter",
    "from_trunk",
    "group",
    "groups",
    "guest_pin",
    "guests",
    "http",
    "id",
    "issuer",
    "key",
    "layout",
    "ldap",
    "ldap.roles",
    "legacy_tls",
    "legs",
    "legs_per_room",
    "limits",
    "listen",
    "listeners",
    "log",
    "login",
    "max_frame_rate",
    "max_height",
    "max_legs",
    "media",
    "media.addresses",
    "metadata",
    "metrics",
    "name",
    "networks",
    "new_calls_per_s",
    "new_calls_per_source_per_s",
    "number",
    "off_after_s",
    "oidc",
    "organisation",
    "origins",
    "password",
    "pin",
    "ports",
    "processors",
    "prefix",
    "prepend",
    "private_hosts",
    "protocol",
    "realm",
    "refuse",
    "register",
    "requests_per_session_per_min",
    "requests_per_source_per_min",
    "retries_s",
    "role",
    "roles",
    "room",
    "rooms",
    "scopes",
    "saml",
    "secret",
    "sip",
    "sip.accounts",
    "sip.listeners",
    "sip.trunks",
    "sources",
    "srtp",
    "strip",
    "syslog",
    "syslog_atna",
    "syslog_ca",
    "syslog_certificate",
    "syslog_entries",
    "syslog_key",
    "tcp_port",
    "transport",
    "trunk",
    "trunks",
    "turn",
    "uri",
    "url",
    "urls",
    "user",
    "webhooks",
];

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {reason}", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// A key or value is wrong. The source line is not shown: it may hold a password.
    #[error("{}:{line}: {reason}", .file.display())]
    Parse {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Key and reason.
        reason: String,
    },
    /// The data folder cannot be made.
    #[error("data folder {}: {reason}", .dir.display())]
    DataDir {
        /// The folder.
        dir: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
}

impl ConfigError {
    /// What the parser refused of `text`.
    pub fn parse(file: &Path, text: &str, error: &toml::de::Error) -> Self {
        let reason = without_value(error.message());
        Self::at(file, text, error.span().unwrap_or(0..0), &reason)
    }

    /// A refusal of the value at `span` of `text`.
    pub fn at(file: &Path, text: &str, span: Range<usize>, reason: &str) -> Self {
        let line = line_of(text, span.start);
        Self::Parse {
            file: file.into(),
            line,
            reason: match key_before(text, span.start)
                .or_else(|| key_before(text, list_around(text, span.start)?))
                .or_else(|| key_at(text, line))
                .or_else(|| key_of_list(text, line))
            {
                Some(key) => format!("{key}: {reason}"),
                None => reason.into(),
            },
        }
    }
}

/// Whether a key may be shown.
#[cfg(test)]
pub fn is_known(key: &str) -> bool {
    KEYS.contains(&key)
}

/// Line of a byte offset, from 1.
pub fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    before.filter(|&&b| b == b'\n').count() + 1
}

/// Key of the value that begins here.
fn key_before(text: &str, offset: usize) -> Option<&str> {
    let before = text.get(..offset)?.trim_end().strip_suffix('=')?;
    let key = before
        .trim_end()
        .rsplit([' ', '{', ',', '.', '\n'])
        .next()?;
    Some(key).filter(|key| KEYS.contains(key))
}

/// Where the list on one line begins of which the value here is one.
fn list_around(text: &str, offset: usize) -> Option<usize> {
    let before = text.get(..offset)?;
    let start = before.rfind('[')?;
    let between = before.get(start..)?;
    (!between.contains([']', '{', '\n'])).then_some(start)
}

/// Key with which this line begins, or the table that it opens.
fn key_at(text: &str, line: usize) -> Option<&str> {
    let text = text.lines().nth(line - 1)?;
    let table = text.strip_prefix("[[").and_then(|t| t.split_once("]]"));
    let (key, _) = table.or_else(|| text.split_once('='))?;
    Some(key.trim()).filter(|key| KEYS.contains(key))
}

/// Key of the list that is open above, for a value on a line of its own.
fn key_of_list(text: &str, line: usize) -> Option<&str> {
    let above: Vec<&str> = text.lines().take(line - 1).map(str::trim).collect();
    let mut above = above.into_iter().rev();
    let opened = above.find(|text| text.ends_with('[') || text.starts_with(']'))?;
    let (key, _) = opened.split_once('=')?;
    Some(key.trim()).filter(|key| KEYS.contains(key))
}

/// serde's "invalid type: integer `5`, expected a string" without the value, which may be a secret.
fn without_value(message: &str) -> String {
    let quotes = ["invalid type: ", "invalid value: "];
    let (value, expected) = (message.find(['`', '"']), message.rfind(", expected "));
    match (value, expected) {
        (Some(value), Some(expected))
            if value < expected && quotes.iter().any(|start| message.starts_with(start)) =>
        {
            format!("{}{}", message[..value].trim_end(), &message[expected..])
        }
        _ => message.into(),
    }
}
