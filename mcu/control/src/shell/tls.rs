//! TLS of SIP connections: the certificate, and how many may be at their handshake.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sip::source;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{info, warn};

use crate::config::CertificateFiles;

/// Handshakes of one source at a time. Further connections of it are closed at once: a terminal tries
/// again.
const HANDSHAKES_OF_SOURCE: usize = 32;

/// Handshakes of all sources at a time, in the same way.
const HANDSHAKES: usize = 512;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// A file cannot be read, or holds no certificate or no key.
    #[error("{file}: {reason}")]
    File { file: String, reason: String },
    /// Certificate and key do not fit each other or TLS.
    #[error("certificate or key is not usable: {0}")]
    Unusable(#[from] rustls::Error),
}

/// Makes TLS of connections; shared by all listeners.
#[derive(Clone, Debug)]
pub struct Tls {
    files: CertificateFiles,
    // Taken at each handshake, not for what comes after it.
    current: Arc<Mutex<Current>>,
    underway: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// What was read last.
#[derive(Debug, Default)]
struct Current {
    stamps: Option<[SystemTime; 2]>,
    config: Option<Arc<ServerConfig>>,
}

/// A handshake that is counted until this is dropped.
#[derive(Debug)]
pub struct Handshake {
    source: IpAddr,
    underway: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Tls {
    /// With these files, which need not be there yet.
    pub fn new(files: CertificateFiles) -> Self {
        Self {
            files,
            current: Arc::default(),
            underway: Arc::default(),
        }
    }

    /// A place for the handshake of this peer, if there is one.
    pub fn begin(&self, remote: IpAddr) -> Option<Handshake> {
        let source = source(remote.to_canonical());
        let mut underway = self.underway.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = underway.values().sum();
        let own = underway.get(&source).copied().unwrap_or_default();
        if all >= HANDSHAKES || own >= HANDSHAKES_OF_SOURCE {
            return None;
        }
        underway.insert(source, own + 1);
        Some(Handshake {
            source,
            underway: self.underway.clone(),
        })
    }

    /// Shakes hands with a peer.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = self.config().ok_or(io::ErrorKind::NotFound)?;
        TlsAcceptor::from(config).accept(stream).await
    }

    /// With the certificate that lies there now. One that cannot be read leaves the last in place.
    fn config(&self) -> Option<Arc<ServerConfig>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = self.stamps().ok();
        if current.config.is_none() || stamps != current.stamps {
            match self.load() {
                Ok(config) => {
                    info!("certificate for SIP over TLS read");
                    current.config = Some(config);
                }
                // Once for each change, but for every peer as long as there is none.
                Err(error) => warn!(%error, "no new certificate for SIP over TLS"),
            }
            current.stamps = stamps;
        }
        current.config.clone()
    }

    fn stamps(&self) -> io::Result<[SystemTime; 2]> {
        let of = |file: &Path| fs::metadata(file)?.modified();
        Ok([of(&self.files.chain)?, of(&self.files.key)?])
    }

    fn load(&self) -> Result<Arc<ServerConfig>, Error> {
        let wrong = |file: &Path, reason: String| Error::File {
            file: file.display().to_string(),
            reason,
        };
        let read = |file: &Path| fs::read(file).map_err(|error| wrong(file, error.to_string()));
        let CertificateFiles { chain, key } = &self.files;
        let certificates = CertificateDer::pem_slice_iter(&read(chain)?)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| wrong(chain, error.to_string()))?;
        let secret = PrivateKeyDer::from_pem_slice(&read(key)?)
            .map_err(|error| wrong(key, error.to_string()))?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(certificates, secret)?;
        Ok(Arc::new(config))
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let mut underway = self.underway.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = underway.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                underway.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_are_counted_by_source_and_in_all_while_they_last() {
        let tls = Tls::new(CertificateFiles::default());
        let begin = |n: usize| tls.begin(IpAddr::from([192, 0, 2, n as u8]));
        let mut held: Vec<Handshake> = (0..HANDSHAKES_OF_SOURCE).filter_map(|_| begin(1)).collect();
        assert_eq!(held.len(), HANDSHAKES_OF_SOURCE);
        assert!(begin(1).is_none());
        held.pop();
        held.extend(begin(1));
        assert!(begin(1).is_none());
        for n in 2..=HANDSHAKES / HANDSHAKES_OF_SOURCE {
            held.extend((0..HANDSHAKES_OF_SOURCE).filter_map(|_| begin(n)));
        }
        assert_eq!(held.len(), HANDSHAKES);
        assert!(begin(200).is_none());
        held.clear();
        assert!(tls.underway.lock().unwrap().is_empty());
    }
}
