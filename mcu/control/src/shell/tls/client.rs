//! TLS of connections that we open: the server's certificate has to show the name that led to it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio_rustls::TlsConnector;

use super::{Error, Secured, certificates, wrong};

/// Shakes hands with servers.
#[derive(Clone, Debug)]
pub struct Client {
    /// PEM file of those whose certificates of servers are believed, looked at at each handshake.
    ca: PathBuf,
}

impl Client {
    /// Believes the issuers in this file, which need not be there yet.
    pub fn new(ca: PathBuf) -> Self {
        Self { ca }
    }

    /// Shakes hands with a server that has to be what `domain` says: the name that was asked for, and not
    /// one that DNS gave for it, which anybody may have forged (RFC 5922 §4, RFC 6125 §1.8).
    ///
    /// # Errors
    /// Where the certificate is of another name or of an issuer that is not believed.
    pub async fn connect(&self, domain: &str, stream: TcpStream) -> io::Result<Box<dyn Secured>> {
        let name = ServerName::try_from(domain.to_owned()).map_err(io::Error::other)?;
        let ca = self.ca.clone();
        let config = spawn_blocking(move || config(&ca)).await?;
        let connector = TlsConnector::from(Arc::new(config.map_err(io::Error::other)?));
        Ok(Box::new(connector.connect(name, stream).await?))
    }
}

fn config(ca: &Path) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    // A bundle of a system may hold some of a kind that rustls does not know.
    let (added, _) = roots.add_parsable_certificates(certificates(ca)?);
    if added == 0 {
        return Err(wrong(ca, "holds no certificate of use"));
    }
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    Ok(builder.with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::net::TcpListener;

    use crate::config::CertificateFiles;
    use crate::shell::tls::Tls;

    use super::*;

    /// A certificate of this name by itself, and its key.
    fn certificate(dir: &Path, name: &str) -> CertificateFiles {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        fs::create_dir_all(dir).unwrap();
        let files = CertificateFiles {
            chain: dir.join("cert.pem"),
            key: dir.join("key.pem"),
        };
        fs::write(&files.chain, made.cert.pem()).unwrap();
        fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        files
    }

    /// What becomes of a connection to `carrier.test` when the server shows a certificate of this name,
    /// and that of the other folder is believed.
    async fn connected(name: &str, believed: Option<&str>) -> Result<(), String> {
        let dir = tempfile::tempdir().unwrap();
        let files = certificate(dir.path(), name);
        let other = believed.map(|name| certificate(&dir.path().join("other"), name));
        let ca = other.as_ref().unwrap_or(&files).chain.clone();
        let tls = Tls::new(files, None, false);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let accepting = async {
            let (stream, _) = listener.accept().await.unwrap();
            tls.accept(stream).await.map(drop)
        };
        let client = Client::new(ca);
        let connecting = async {
            let stream = TcpStream::connect(at).await.unwrap();
            client.connect("carrier.test", stream).await.map(drop)
        };
        let (_, connected) = tokio::join!(accepting, connecting);
        connected.map_err(|error| error.to_string())
    }

    /// RFC 5922 §4: who forges DNS could otherwise name a server of its own, with a certificate for that.
    #[tokio::test]
    async fn a_server_shows_the_name_that_was_asked_for() {
        assert_eq!(connected("carrier.test", None).await, Ok(()));
        for other in ["pbx.carrier.test", "pbx.elsewhere.test", "test"] {
            let refused = connected(other, None).await.unwrap_err();
            assert!(refused.contains("not valid for name"), "{other}: {refused}");
        }
    }

    #[tokio::test]
    async fn a_certificate_of_an_issuer_that_is_not_believed_proves_nothing() {
        let refused = connected("carrier.test", Some("carrier.test")).await;
        assert!(refused.unwrap_err().contains("invalid peer certificate"));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await;
        let client = Client::new("/nowhere/ca.pem".into());
        let missing = client.connect("carrier.test", stream.unwrap()).await;
        assert!(missing.err().unwrap().to_string().contains("/nowhere"));
    }
}
