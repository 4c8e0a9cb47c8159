//! `[[sip.listeners]]`: where SIP is listened for besides `[sip] listen`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use mcu_control::{CertificateFiles, ClientCertificates, SipListener};
use serde::Deserialize;
use sip::Transport;
use toml::Spanned;

use super::values::Listen;
use super::{Sip, Srtp, dialplan};
use crate::host;

/// SIP's own port.
const PORT: u16 = 5060;

/// `[[sip.listeners]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// What is spoken on it.
    protocol: Transport,
    /// Its address.
    listen: Listen,
    /// Whether media of calls by it is encrypted.
    #[serde(default)]
    srtp: Srtp,
    /// Whether TLS 1.0 and 1.1 are taken, too.
    legacy_tls: Option<Spanned<bool>>,
    /// PEM file of those whose certificates of terminals are believed.
    client_ca: Option<Spanned<PathBuf>>,
    /// Whether every terminal needs one.
    client_certificates: Option<Spanned<Clients>>,
    /// Web pages that may connect by WebSocket.
    origins: Option<Spanned<Vec<String>>>,
}

/// `client_certificates` of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Clients {
    /// Verified where there is one.
    Optional,
    /// No connection without one.
    Required,
}

impl Listener {
    /// Browsers know newer versions, so WebSocket has no use for it.
    fn check_legacy_tls(&self) -> Result<(), dialplan::Wrong> {
        match &self.legacy_tls {
            Some(legacy) if self.protocol != Transport::Tls => {
                Err((legacy.span(), "only over tls".into()))
            }
            _ => Ok(()),
        }
    }

    fn check_clients(&self) -> Result<(), dialplan::Wrong> {
        let ca = self.client_ca.as_ref();
        if let Some(ca) = ca.filter(|_| !self.protocol.is_secure()) {
            return Err((ca.span(), "only over tls and wss".into()));
        }
        match &self.client_certificates {
            Some(clients) if ca.is_none() => Err((clients.span(), "needs client_ca".into())),
            _ => Ok(()),
        }
    }

    fn check_origins(&self) -> Result<(), dialplan::Wrong> {
        let Some(origins) = &self.origins else {
            return Ok(());
        };
        let wrong = |reason: String| Err((origins.span(), reason));
        if !matches!(self.protocol, Transport::Ws | Transport::Wss) {
            return wrong("only over ws and wss".into());
        }
        match origins.get_ref().iter().find(|origin| !is_origin(origin)) {
            Some(origin) => wrong(format!(
                "{origin} is not written like https://host.example:8443"
            )),
            None => Ok(()),
        }
    }
}

/// As browsers send it, RFC 6454 §6.2.
fn is_origin(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, host)| {
        let is_strange = |c: char| matches!(c, '/' | '@' | '*') || c.is_whitespace();
        !scheme.is_empty() && !host.is_empty() && !host.contains(is_strange)
    })
}

/// Whether other servers reach us over TLS.
pub fn has_tls(sip: &Sip) -> bool {
    let mut listeners = sip.listeners.iter();
    listeners.any(|listener| listener.get_ref().protocol == Transport::Tls)
}

impl Sip {
    /// Where SIP is listened for over UDP and TCP. Unless it is named, that is every address of both
    /// families, or of IPv4 alone where a further listener takes IPv6 at the same port.
    pub fn listen(&self) -> SocketAddr {
        let further = self
            .listeners
            .iter()
            .map(|listener| listener.get_ref().listen.0);
        let v6_taken = further
            .into_iter()
            .any(|at| at.is_ipv6() && at.port() == PORT);
        self.listen
            .map(|listen| listen.0)
            .unwrap_or_else(|| match v6_taken {
                true => (Ipv4Addr::UNSPECIFIED, PORT).into(),
                false => SocketAddr::new(host::any(), PORT),
            })
    }
}

/// What no value alone can tell.
pub fn check(sip: &Sip) -> Result<(), dialplan::Wrong> {
    match (&sip.certificate, &sip.key) {
        (Some(file), None) => return Err((file.span(), "without key".into())),
        (None, Some(file)) => return Err((file.span(), "without certificate".into())),
        _ => {}
    }
    let first = sip.listen();
    let mut taken = vec![(false, first), (true, first)];
    if first.ip().is_unspecified() && first.is_ipv6() {
        let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, first.port()));
        taken.extend([(false, v4), (true, v4)]);
    }
    for listener in &sip.listeners {
        listener.get_ref().check_legacy_tls()?;
        listener.get_ref().check_clients()?;
        listener.get_ref().check_origins()?;
        let Listener {
            protocol,
            listen: Listen(listen),
            ..
        } = *listener.get_ref();
        let wrong = |reason: &str| Err((listener.span(), reason.into()));
        if listen.port() == 0 {
            return wrong("port 0 is no port that peers could know");
        }
        let place = (protocol.is_stream(), listen);
        if taken.contains(&place) {
            return wrong("another listener has this address");
        }
        taken.push(place);
    }
    Ok(())
}

/// For the controller.
pub fn config(sip: &Sip) -> Vec<SipListener> {
    let listeners = sip.listeners.iter().map(Spanned::get_ref);
    listeners
        .map(|listener| SipListener {
            transport: listener.protocol,
            listen: listener.listen.0,
            srtp: listener.srtp.policy(),
            legacy_tls: listener.legacy_tls.as_ref().map(Spanned::get_ref) == Some(&true),
            clients: listener.client_ca.as_ref().map(|ca| ClientCertificates {
                ca: ca.get_ref().clone(),
                required: listener.client_certificates.as_ref().map(Spanned::get_ref)
                    == Some(&Clients::Required),
            }),
            origins: listener.origins.clone().map(Spanned::into_inner),
        })
        .collect()
}

/// Those that are named, or else the page's, which the manager makes at its first start.
pub fn certificate(sip: &Sip, data_dir: &Path) -> CertificateFiles {
    match (&sip.certificate, &sip.key) {
        (Some(chain), Some(key)) => CertificateFiles {
            chain: chain.get_ref().clone(),
            key: key.get_ref().clone(),
        },
        _ => CertificateFiles {
            chain: data_dir.join("tls/cert.pem"),
            key: data_dir.join("tls/key.pem"),
        },
    }
}
