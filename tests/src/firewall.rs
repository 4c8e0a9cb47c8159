//! A closed network: a namespace of its own whose only way out is by TCP ports that the test carries
//! across. No UDP leaves it, nor any other TCP.

use std::io;
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, OnceLock};
use std::thread;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::namespace::Namespace;

/// The network. It lasts as long as this or a process in it.
pub struct ClosedNetwork(Namespace);

impl ClosedNetwork {
    /// A network from which these ports of 127.0.0.1 lead to the same of the host's, as `relay` carries
    /// each connection: its end inside, and one outside.
    pub fn with_ports(ports: &[u16], relay: fn(TcpStream, TcpStream)) -> Self {
        let network = Namespace::with(&[
            "address add 192.0.2.2/24 dev inside",
            "route add default via 192.0.2.1",
        ]);
        let listen = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).expect("listen inside");
        let listeners: Vec<_> = network.run(|| ports.iter().map(listen).collect());
        for listener in listeners {
            thread::spawn(move || {
                let address = listener.local_addr().expect("listens");
                for inside in listener.incoming().map_while(Result::ok) {
                    if let Ok(outside) = TcpStream::connect(address) {
                        thread::spawn(move || relay(inside, outside));
                    }
                }
            });
        }
        Self(network)
    }

    /// Does something in the network; processes that it starts are in it, too.
    pub fn run<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        self.0.run(act)
    }
}

/// A relay that carries bytes as they are.
pub fn forward(inside: TcpStream, outside: TcpStream) {
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    };
    let (Ok(inside_too), Ok(outside_too)) = (inside.try_clone(), outside.try_clone()) else {
        return;
    };
    let _ = (inside.set_nodelay(true), outside.set_nodelay(true));
    thread::spawn(move || copy(inside_too, outside_too));
    copy(outside, inside);
}

/// A relay as proxies are that look into TLS: it shows a certificate of its own and speaks TLS with the
/// server itself. What is no TLS does not pass.
pub fn inspect(inside: TcpStream, outside: TcpStream) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    // What ends on one side ends on the other; there is nobody to tell of it.
    let _ = runtime.block_on(async {
        let (inside, outside) = (from_std(inside)?, from_std(outside)?);
        let mut inside = TlsAcceptor::from(own_certificate()).accept(inside).await?;
        let name = ServerName::from(IpAddr::from([127, 0, 0, 1]));
        let connector = TlsConnector::from(trusting_all());
        let mut outside = connector.connect(name, outside).await?;
        tokio::io::copy_bidirectional(&mut inside, &mut outside).await
    });
}

fn from_std(stream: TcpStream) -> io::Result<tokio::net::TcpStream> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    tokio::net::TcpStream::from_std(stream)
}

fn own_certificate() -> Arc<ServerConfig> {
    static MADE: OnceLock<Arc<ServerConfig>> = OnceLock::new();
    let make = || {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).expect("made");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key);
        Arc::new(config.expect("a certificate"))
    };
    MADE.get_or_init(make).clone()
}

fn trusting_all() -> Arc<ClientConfig> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TrustAll(ring::default_provider())))
        .with_no_client_auth();
    Arc::new(config)
}

/// The servers of a test show certificates that nobody vouches for.
#[derive(Debug)]
struct TrustAll(CryptoProvider);

impl ServerCertVerifier for TrustAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
