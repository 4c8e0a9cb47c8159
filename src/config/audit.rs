//! `[audit]`

use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::str::FromStr;

use manager_ui_server::syslog::{Config, Entries};
use serde::Deserialize;
use toml::Spanned;

use super::dialplan::Wrong;

/// Port of syslog over TLS (RFC 5425 §4.1).
const PORT: u16 = 6514;

/// Where the record of what was done is told besides.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Audit {
    /// A log host.
    syslog: Option<LogHost>,
    /// PEM file of the issuers of its certificate.
    syslog_ca: Option<Spanned<PathBuf>>,
    /// PEM file of our certificate.
    syslog_certificate: Option<Spanned<PathBuf>>,
    /// PEM file of its key.
    syslog_key: Option<Spanned<PathBuf>>,
    /// Whether each entry is told besides, without what it is about.
    syslog_entries: Option<Spanned<bool>>,
    /// Whether each entry is told whole, as an audit record repository takes it.
    syslog_atna: Option<Spanned<bool>>,
}

/// `tls://HOST`, with a port or without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogHost {
    host: String,
    port: u16,
}

impl FromStr for LogHost {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refusal = "must be tls://HOST, with a port or without";
        let place = text.strip_prefix("tls://").ok_or(refusal)?;
        let (host, rest) = match place.strip_prefix('[') {
            Some(place) => {
                let (host, rest) = place.split_once(']').ok_or(refusal)?;
                host.parse::<Ipv6Addr>().map_err(|_| refusal)?;
                (host, rest)
            }
            None => {
                let end = place.find(':').unwrap_or(place.len());
                let (host, rest) = place.split_at(end);
                let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
                if host.is_empty() || !host.chars().all(is_host) {
                    return Err(refusal);
                }
                (host, rest)
            }
        };
        let port = match rest.strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|port| *port != 0),
            None => rest.is_empty().then_some(PORT),
        };
        Ok(Self {
            host: host.to_owned(),
            port: port.ok_or(refusal)?,
        })
    }
}

impl Audit {
    /// What no value alone can tell.
    pub fn check(&self) -> Result<(), Wrong> {
        match (&self.syslog_certificate, &self.syslog_key) {
            (Some(certificate), None) => {
                return Err((certificate.span(), "needs syslog_key".into()));
            }
            (None, Some(key)) => return Err((key.span(), "needs syslog_certificate".into())),
            _ => {}
        }
        let files = [&self.syslog_ca, &self.syslog_certificate];
        let file = files.into_iter().flatten().next().map(Spanned::span);
        let entries = [&self.syslog_entries, &self.syslog_atna];
        let entries = entries.into_iter().flatten().next().map(Spanned::span);
        let alone = file.or(entries);
        if is_on(&self.syslog_entries)
            && let Some(atna) = self.syslog_atna.as_ref().filter(|on| *on.get_ref())
        {
            return Err((
                atna.span(),
                "entries are told one way: not with syslog_entries".into(),
            ));
        }
        match alone.filter(|_| self.syslog.is_none()) {
            Some(span) => Err((span, "needs syslog".into())),
            None => Ok(()),
        }
    }

    fn entries(&self) -> Option<Entries> {
        match (is_on(&self.syslog_entries), is_on(&self.syslog_atna)) {
            (_, true) => Some(Entries::Atna),
            (true, false) => Some(Entries::Bare),
            (false, false) => None,
        }
    }

    /// The log host.
    pub fn syslog(&self) -> Option<Config> {
        let path = |file: &Option<Spanned<PathBuf>>| file.as_ref().map(|f| f.get_ref().clone());
        let LogHost { host, port } = self.syslog.clone()?;
        Some(Config {
            host,
            port,
            ca: path(&self.syslog_ca),
            client: path(&self.syslog_certificate).zip(path(&self.syslog_key)),
            entries: self.entries(),
        })
    }
}

fn is_on(key: &Option<Spanned<bool>>) -> bool {
    key.as_ref().is_some_and(|on| *on.get_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_host_is_told_inside_tls_alone() {
        for (text, host, port) in [
            ("tls://log.example", "log.example", 6514),
            ("tls://10.0.0.5:10514", "10.0.0.5", 10_514),
            ("tls://[2001:db8::5]:6515", "2001:db8::5", 6515),
            ("tls://[2001:db8::5]", "2001:db8::5", 6514),
        ] {
            let read: LogHost = text.parse().unwrap();
            assert_eq!((read.host.as_str(), read.port), (host, port));
        }
        for bad in [
            "log.example",
            "udp://log.example",
            "tcp://log.example:514",
            "tls://",
            "tls://log:0",
            "tls://log:x",
            "tls://u@log",
            "tls://log/x",
            "tls://2001:db8::5",
            "tls://[::1",
            "tls://[log]:6514",
        ] {
            assert!(bad.parse::<LogHost>().is_err(), "{bad}");
        }
    }
}
