//! `[[sip.listeners]]`: where SIP is listened for besides `[sip] listen`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use mcu_control::{CertificateFiles, SipListener};
use serde::Deserialize;
use sip::Transport;
use toml::Spanned;

use super::{Sip, dialplan};
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
    listen: SocketAddr,
}

impl Sip {
    /// Where SIP is listened for over UDP and TCP. Unless it is named, that is every address of both
    /// families, or of IPv4 alone where a further listener takes IPv6 at the same port.
    pub fn listen(&self) -> SocketAddr {
        let further = self
            .listeners
            .iter()
            .map(|listener| listener.get_ref().listen);
        let v6_taken = further
            .into_iter()
            .any(|at| at.is_ipv6() && at.port() == PORT);
        self.listen.unwrap_or_else(|| match v6_taken {
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
        let Listener { protocol, listen } = *listener.get_ref();
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
            listen: listener.listen,
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
