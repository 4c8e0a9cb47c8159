//! Certificates of terminals over TLS and WebSocket (RFC 5246 §7.4.6).

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use mcu_api::call::SrtpPolicy;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sip::Transport;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::web_socket::OPTIONS;
use super::*;
use crate::config::{CertificateFiles, ClientCertificates, SipListener};

/// Who issues certificates of terminals, and one of them with its key.
struct Authority {
    ca: String,
    certificate: String,
    key: String,
}

fn authority() -> Authority {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let mut terminal = CertificateParams::new(vec!["or-1.hospital.example".to_owned()]).unwrap();
    // Its own: OpenSSL takes one that has its issuer's name for signed by itself.
    terminal.distinguished_name.push(DnType::CommonName, "or-1");
    Authority {
        ca: ca_certificate.pem(),
        certificate: terminal.signed_by(&key, &issuer).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

struct Bench {
    dir: tempfile::TempDir,
    root: CertificateDer<'static>,
    server: std::net::IpAddr,
}

impl Bench {
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.dir.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    }

    /// Whether a client with this certificate is answered.
    async fn is_served(&self, port: u16, shown: Option<&Authority>) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match shown {
            None => builder.with_no_client_auth(),
            Some(shown) => {
                let certificate = CertificateDer::from_pem_slice(shown.certificate.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).unwrap();
                builder
                    .with_client_auth_cert(vec![certificate.unwrap()], key)
                    .unwrap()
            }
        };
        let stream = TcpStream::connect((self.server, port)).await.unwrap();
        let name = ServerName::try_from("server").unwrap();
        let Ok(mut stream) = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
        else {
            return false;
        };
        if port == WSS {
            let mut request = "wss://server/".into_client_request().unwrap();
            let name = "sec-websocket-protocol";
            request.headers_mut().insert(name, "sip".parse().unwrap());
            let Ok((mut client, _)) = client_async(request, stream).await else {
                return false;
            };
            client
                .send(Message::text(OPTIONS.replace("/WS", "/WSS")))
                .await
                .unwrap();
            let answer = timeout(LIMIT, client.next())
                .await
                .unwrap()
                .unwrap()
                .unwrap();
            return answer.into_text().unwrap().starts_with("SIP/2.0 200");
        }
        // A refusal of TLS 1.3 comes with the first bytes that are read.
        let _ = stream
            .write_all(OPTIONS.replace("/WS", "/TLS").as_bytes())
            .await;
        let mut buffer = [0; 4_096];
        let read = timeout(LIMIT, stream.read(&mut buffer)).await.unwrap();
        read.is_ok_and(|len| buffer[..len].starts_with(b"SIP/2.0 200"))
    }
}

const OPTIONAL: u16 = 25_081;
const REQUIRED: u16 = 25_082;
const WSS: u16 = 25_083;
/// For old terminals, by another library.
const LEGACY_OPTIONAL: u16 = 25_084;
const LEGACY_REQUIRED: u16 = 25_085;

#[tokio::test]
async fn certificates_of_terminals_are_verified_where_given_and_demanded_where_required() {
    let own = rcgen::generate_simple_self_signed(vec!["server".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let server = own_address(34);
    let root = own.cert.der().clone();
    let bench = Bench {
        dir,
        root,
        server: server.ip(),
    };
    let (ours, other) = (authority(), authority());
    let ca = bench.write("ca.pem", &ours.ca);
    let listener = |transport, port, required: Option<bool>| SipListener {
        transport,
        listen: SocketAddr::new(server.ip(), port),
        srtp: SrtpPolicy::Allowed,
        legacy_tls: [LEGACY_OPTIONAL, LEGACY_REQUIRED].contains(&port),
        clients: required.map(|required| ClientCertificates {
            ca: ca.clone(),
            required,
        }),
        origins: None,
    };
    let config = Config {
        sip_listeners: vec![
            listener(Transport::Tls, OPTIONAL, Some(false)),
            listener(Transport::Tls, REQUIRED, Some(true)),
            listener(Transport::Wss, WSS, Some(true)),
            listener(Transport::Tls, LEGACY_OPTIONAL, Some(false)),
            listener(Transport::Tls, LEGACY_REQUIRED, Some(true)),
        ],
        certificate: CertificateFiles {
            chain: bench.write("server.pem", &own.cert.pem()),
            key: bench.write("server.key", &own.signing_key.serialize_pem()),
        },
        ..config(bench.dir.path(), server)
    };
    let media = UnixListener::bind(bench.dir.path().join("media.sock")).unwrap();
    let controller = tokio::spawn(run(config));
    let _link = accept_media(&media, &[]).await;
    for (port, shown, served) in [
        (OPTIONAL, None, true),
        (OPTIONAL, Some(&ours), true),
        (OPTIONAL, Some(&other), false),
        (REQUIRED, None, false),
        (REQUIRED, Some(&ours), true),
        (REQUIRED, Some(&other), false),
        (WSS, None, false),
        (WSS, Some(&ours), true),
        (LEGACY_OPTIONAL, None, true),
        (LEGACY_OPTIONAL, Some(&ours), true),
        (LEGACY_OPTIONAL, Some(&other), false),
        (LEGACY_REQUIRED, None, false),
        (LEGACY_REQUIRED, Some(&ours), true),
        (LEGACY_REQUIRED, Some(&other), false),
    ] {
        let name = shown.map(|shown| std::ptr::eq(shown, &ours));
        assert_eq!(
            bench.is_served(port, shown).await,
            served,
            "{port} {name:?}"
        );
    }
    controller.abort();
}
