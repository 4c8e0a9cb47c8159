//! TLS of SIP connections: the certificate, and how many may be at their handshake.

mod client;
mod legacy;

use std::collections::HashMap;
use std::fmt::Display;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use openssl::error::ErrorStack;
use openssl::ssl::SslContext;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use sip::source;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use crate::config::{CertificateFiles, ClientCertificates};
pub use client::Client;

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
    /// The same, where old terminals are served.
    #[error("certificate or key is not usable: {0}")]
    UnusableByOpenSsl(#[from] ErrorStack),
}

/// A connection inside TLS.
pub trait Secured: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Secured for S {}

/// Makes TLS of the connections of one listener.
#[derive(Clone, Debug)]
pub struct Tls {
    files: CertificateFiles,
    clients: Option<ClientCertificates>,
    legacy: bool,
    // Taken at each handshake, not for what comes after it.
    current: Arc<Mutex<Current>>,
}

/// How many connections are at their handshakes; shared by all listeners.
#[derive(Clone, Debug, Default)]
pub struct Handshakes {
    underway: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// What was read last.
#[derive(Debug, Default)]
struct Current {
    stamps: Option<Vec<SystemTime>>,
    server: Option<Server>,
}

/// What shakes hands.
#[derive(Clone, Debug)]
enum Server {
    /// With TLS 1.2 and 1.3, by rustls.
    Modern(Arc<ServerConfig>),
    /// With TLS 1.0 to 1.3, by OpenSSL.
    Legacy(SslContext),
}

/// A handshake that is counted until this is dropped.
#[derive(Debug)]
pub struct Handshake {
    source: IpAddr,
    underway: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Handshakes {
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
}

impl Tls {
    /// With these files, which need not be there yet; with TLS 1.0 and 1.1, too, where it is `legacy`.
    pub fn new(files: CertificateFiles, clients: Option<ClientCertificates>, legacy: bool) -> Self {
        Self {
            files,
            clients,
            legacy,
            current: Arc::default(),
        }
    }

    /// Shakes hands with a peer.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<Box<dyn Secured>> {
        match self.server().ok_or(io::ErrorKind::NotFound)? {
            Server::Modern(config) => {
                let stream = TlsAcceptor::from(config).accept(stream).await?;
                Ok(Box::new(stream))
            }
            Server::Legacy(context) => Ok(Box::new(legacy::accept(&context, stream).await?)),
        }
    }

    /// With the certificate that lies there now. One that cannot be read leaves the last in place.
    fn server(&self) -> Option<Server> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = self.stamps().ok();
        if current.server.is_none() || stamps != current.stamps {
            match self.load() {
                Ok(server) => {
                    info!("certificate for SIP over TLS read");
                    current.server = Some(server);
                }
                // Once for each change, but for every peer as long as there is none.
                Err(error) => warn!(%error, "no new certificate for SIP over TLS"),
            }
            current.stamps = stamps;
        }
        current.server.clone()
    }

    fn stamps(&self) -> io::Result<Vec<SystemTime>> {
        let ca = self.clients.as_ref().map(|clients| &clients.ca);
        let files = [&self.files.chain, &self.files.key].into_iter().chain(ca);
        files.map(|file| fs::metadata(file)?.modified()).collect()
    }

    fn load(&self) -> Result<Server, Error> {
        let CertificateFiles { chain, key } = &self.files;
        let secret = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|e| wrong(key, e))?;
        let chain = certificates(chain)?;
        let clients = self.clients.as_ref().map(Issuers::read).transpose()?;
        if self.legacy {
            let context = legacy::context(&chain, &secret, clients.as_ref())?;
            return Ok(Server::Legacy(context));
        }
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?;
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => builder.with_client_cert_verifier(clients.verifier(provider)?),
        };
        let config = builder.with_single_cert(chain, secret)?;
        Ok(Server::Modern(Arc::new(config)))
    }
}

/// Whose certificates of terminals are believed (RFC 5246 §7.4.6): one that is not of these issuers
/// ends the handshake, even where none is required.
#[derive(Debug)]
struct Issuers {
    /// Where they were read.
    file: PathBuf,
    /// At least one.
    certificates: Vec<CertificateDer<'static>>,
    required: bool,
}

impl Issuers {
    fn read(clients: &ClientCertificates) -> Result<Self, Error> {
        let issuers = Self {
            file: clients.ca.clone(),
            certificates: certificates(&clients.ca)?,
            required: clients.required,
        };
        Ok(issuers)
    }

    fn verifier(self, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates {
            let added = roots.add(certificate);
            added.map_err(|error| wrong(&self.file, error))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = match self.required {
            true => verifier.build(),
            false => verifier.allow_unauthenticated().build(),
        };
        verifier.map_err(|error| wrong(&self.file, error))
    }
}

/// Those of a file, which holds at least one.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let all = CertificateDer::pem_slice_iter(&read(file)?).collect::<Result<Vec<_>, _>>();
    match all.map_err(|error| wrong(file, error))? {
        none if none.is_empty() => Err(wrong(file, "holds no certificate")),
        some => Ok(some),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Error> {
    fs::read(file).map_err(|error| wrong(file, error))
}

fn wrong(file: &Path, reason: impl Display) -> Error {
    Error::File {
        file: file.display().to_string(),
        reason: reason.to_string(),
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

    /// Defect: the log blamed the server's own certificate or key.
    #[test]
    fn issuers_that_are_none_are_named_by_their_file() {
        let dir = tempfile::tempdir().unwrap();
        let own = rcgen::generate_simple_self_signed(["mcu.test".to_owned()]).unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        // Sound PEM of what is no certificate.
        let none = "-----BEGIN CERTIFICATE-----\nMAMCAQc=\n-----END CERTIFICATE-----\n";
        let ca = file("ca.pem", none);
        for legacy in [false, true] {
            let files = CertificateFiles {
                chain: file("chain.pem", &own.cert.pem()),
                key: file("key.pem", &own.signing_key.serialize_pem()),
            };
            let clients = ClientCertificates {
                ca: ca.clone(),
                required: true,
            };
            let error = Tls::new(files, Some(clients), legacy).load().unwrap_err();
            let text = error.to_string();
            assert!(text.starts_with(&ca.display().to_string()), "{text}");
        }
    }

    #[test]
    fn handshakes_are_counted_by_source_and_in_all_while_they_last() {
        let handshakes = Handshakes::default();
        let begin = |n: usize| handshakes.begin(IpAddr::from([192, 0, 2, n as u8]));
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
        assert!(handshakes.underway.lock().unwrap().is_empty());
    }
}
