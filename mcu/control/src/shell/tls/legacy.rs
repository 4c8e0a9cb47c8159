//! TLS for old terminals, by OpenSSL: 1.0 and 1.1, and what they know of 1.2. Clients of today get the
//! same versions as elsewhere.

use std::io;
use std::pin::Pin;

use openssl::error::ErrorStack;
use openssl::pkey::{Id, PKey};
use openssl::ssl::{
    Ssl, SslAcceptor, SslContext, SslContextBuilder, SslMethod, SslOptions, SslSessionCacheMode,
    SslVerifyMode, SslVersion,
};
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyFlags;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;
use tracing::warn;

use super::{Error, Issuers, wrong};

/// Best first; those of RSA alone, whose recorded calls whoever gets the key can read, last. All are of
/// AES or ChaCha20: none is anonymous or without encryption, none of RC4, DES or for export.
const CIPHERS: &str = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:ECDHE+AES:DHE+AES:RSA+AES:\
    !aNULL:!eNULL:!DSS:!PSK:!SRP:!AESCCM:!AESCCM8";

/// What OpenSSL demands of handshakes: at 1 it takes neither TLS 1.0 nor 1.1, for their SHA-1 and MD5.
const LEVEL_OF_HANDSHAKES: u32 = 0;

/// What it demands of terminals' certificates: as elsewhere, RSA of 2,048 bits and SHA-256 (112 bits of
/// security).
const LEVEL_OF_CERTIFICATES: i32 = 2;

/// With this certificate, that of the server first, and its key.
pub fn context(
    chain: &[CertificateDer<'_>],
    key: &PrivateKeyDer<'_>,
    clients: Option<&Issuers>,
) -> Result<SslContext, Error> {
    // Without SSL 3 and compression, with fresh keys of ECDHE and DHE for each handshake, and with
    // what keeps the chained blocks of TLS 1.0 from being guessed.
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    builder.set_security_level(LEVEL_OF_HANDSHAKES);
    builder.clear_options(SslOptions::NO_TLSV1 | SslOptions::NO_TLSV1_1);
    builder.set_min_proto_version(Some(SslVersion::TLS1))?;
    builder.set_max_proto_version(None)?;
    builder.set_cipher_list(CIPHERS)?;
    builder.set_options(SslOptions::CIPHER_SERVER_PREFERENCE | SslOptions::NO_RENEGOTIATION);
    // Each handshake is a whole one: certificates of both sides are looked at, nothing is kept.
    builder.set_options(SslOptions::NO_TICKET);
    builder.set_num_tickets(0)?;
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    for (n, certificate) in chain.iter().enumerate() {
        let certificate = X509::from_der(certificate)?;
        match n {
            0 => builder.set_certificate(&certificate)?,
            _ => builder.add_extra_chain_cert(certificate)?,
        }
    }
    let key = PKey::private_key_from_der(key.secret_der())?;
    builder.set_private_key(&key)?;
    builder.check_private_key()?;
    if let Some(clients) = clients {
        let verified = verify(&mut builder, clients);
        verified.map_err(|error| wrong(&clients.file, error))?;
    }
    if key.id() != Id::RSA {
        warn!("the certificate for SIP over TLS has no RSA key: many old terminals know no other");
    }
    Ok(builder.build().into_context())
}

/// Verifies terminals' certificates.
fn verify(builder: &mut SslContextBuilder, clients: &Issuers) -> Result<(), ErrorStack> {
    let mut store = X509StoreBuilder::new()?;
    for certificate in &clients.certificates {
        let certificate = X509::from_der(certificate)?;
        builder.add_client_ca(&certificate)?;
        store.add_cert(certificate)?;
    }
    builder.set_verify_cert_store(store.build())?;
    let parameters = builder.verify_param_mut();
    parameters.set_auth_level(LEVEL_OF_CERTIFICATES);
    // An issuer that is believed need not have signed itself.
    parameters.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
    builder.set_verify(match clients.required {
        true => SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT,
        false => SslVerifyMode::PEER,
    });
    Ok(())
}

/// Shakes hands with a peer.
pub async fn accept(context: &SslContext, stream: TcpStream) -> io::Result<SslStream<TcpStream>> {
    let mut stream = SslStream::new(Ssl::new(context)?, stream)?;
    let done = Pin::new(&mut stream).accept().await;
    done.map_err(io::Error::other)?;
    Ok(stream)
}
