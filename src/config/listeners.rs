//! `[[sip.listeners]]`: where SIP is listened for besides `[sip] listen`.

use std::net::SocketAddr;
use std::path::Path;

use mcu_control::{CertificateFiles, SipListener};
use serde::Deserialize;
use sip::Transport;
use toml::Spanned;

use super::{Sip, dialplan};

/// `[[sip.listeners]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// What is spoken on it.
    protocol: Transport,
    /// Its address.
    listen: SocketAddr,
}

/// What no value alone can tell.
pub fn check(sip: &Sip) -> Result<(), dialplan::Wrong> {
    match (&sip.certificate, &sip.key) {
        (Some(file), None) => return Err((file.span(), "without key".into())),
        (None, Some(file)) => return Err((file.span(), "without certificate".into())),
        _ => {}
    }
    let mut taken = vec![(false, sip.listen), (true, sip.listen)];
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
