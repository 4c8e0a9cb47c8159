//! Keys by DTLS (RFC 5763, RFC 5764): the client's side of one handshake for each line, for the one
//! suite that [`super::srtp`] knows. A terminal of this kind shares a port between RTP and RTCP.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::crypto_provider::{HashAlgorithm, RTCCryptoProvider, default_provider};
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use rtc_shared::error::Error;
use rtc_srtp::config::LABEL_EXTRACTOR_DTLS_SRTP;

use super::srtp::{MASTER_LEN, Master};

/// Until a flight is sent again. The line may begin before the server's port is open.
const RESEND: Duration = Duration::from_millis(100);

/// The library files its peers by address; a line has one.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// SHA-256 of a certificate.
pub(super) type Fingerprint = [u8; 32];

/// A leg's certificate: the same for all its lines, for as long as it lives.
#[derive(Clone)]
pub(super) struct Identity {
    provider: Arc<dyn RTCCryptoProvider>,
    certificate: Certificate,
    pub(super) fingerprint: Fingerprint,
}

impl Identity {
    pub(super) fn new() -> Option<Self> {
        let provider = default_provider().ok()?;
        let names = vec!["load".to_string()];
        let certificate = Certificate::generate_self_signed(names, provider.crypto()).ok()?;
        let der = certificate.certificate.first()?.as_ref();
        let fingerprint = sha256(provider.as_ref(), der)?;
        Some(Self {
            provider,
            certificate,
            fingerprint,
        })
    }

    fn config(&self, expected: Fingerprint) -> Option<HandshakeConfig> {
        let provider = self.provider.clone();
        let verify = move |chain: &[Vec<u8>], _: &[_]| {
            let shown = chain.first().and_then(|der| sha256(provider.as_ref(), der));
            match shown == Some(expected) {
                true => Ok(()),
                false => Err(Error::Other("another certificate".to_string())),
            }
        };
        ConfigBuilder::default()
            .with_crypto_provider(self.provider.clone())
            .with_certificates(vec![self.certificate.clone()])
            .with_srtp_protection_profiles(vec![SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80])
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            .with_flight_interval(RESEND)
            .with_insecure_skip_verify(true)
            .with_verify_peer_certificate(Some(Arc::new(verify)))
            .build(true, Some(PEER))
            .ok()
    }
}

fn sha256(provider: &dyn RTCCryptoProvider, der: &[u8]) -> Option<Fingerprint> {
    let hash = provider.crypto().hash(HashAlgorithm::Sha256, der).ok()?;
    hash.try_into().ok()
}

/// `a=fingerprint:sha-256 ...` (RFC 8122 §5).
pub(super) fn fingerprint_line(fingerprint: Fingerprint) -> String {
    let hex: Vec<String> = fingerprint
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    format!("a=fingerprint:sha-256 {}\r\n", hex.join(":"))
}

/// Reads [`fingerprint_line`]; `None` for another hash.
pub(super) fn read_fingerprint(line: &str) -> Option<Fingerprint> {
    let hex = line.strip_prefix("a=fingerprint:sha-256 ")?;
    let bytes: Option<Vec<u8>> = hex
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect();
    bytes?.try_into().ok()
}

/// Whether a datagram of the port is DTLS (RFC 7983 §7).
pub(super) fn is_dtls(bytes: &[u8]) -> bool {
    matches!(bytes.first(), Some(20..=63))
}

/// One handshake with the peer that has this certificate.
pub(super) struct Handshake {
    endpoint: Endpoint,
    pub(super) expected: Fingerprint,
}

/// Master keys of both directions.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) local: Master,
    pub(super) remote: Master,
}

impl Handshake {
    /// Begins: the ClientHello is the first output.
    pub(super) fn new(now: Instant, identity: &Identity, expected: Fingerprint) -> Option<Self> {
        let config = Arc::new(identity.config(expected)?);
        let mut endpoint = Endpoint::new(PEER, TransportProtocol::UDP, None);
        endpoint.connect(now, PEER, config, None).ok()?;
        Some(Self { endpoint, expected })
    }

    /// Takes a datagram; yields keys when the handshake has just finished.
    pub(super) fn handle_input(&mut self, now: Instant, datagram: &[u8]) -> Option<Keys> {
        let events = self
            .endpoint
            .read(now, PEER, None, BytesMut::from(datagram))
            .ok()?;
        let done = |event: &EndpointEvent| matches!(event, EndpointEvent::HandshakeComplete);
        events.iter().any(done).then(|| self.keys())?
    }

    /// Sends again what was not answered.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|at| at <= now) {
            // A handshake that cannot go on yields no keys, and the leg no media: that shows.
            let _ = self.endpoint.handle_timeout(PEER, now);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.endpoint.poll_timeout(&PEER)
    }

    /// A datagram to be sent.
    pub(super) fn poll_output(&mut self) -> Option<BytesMut> {
        Some(self.endpoint.poll_transmit()?.message)
    }

    /// RFC 5764 §4.2: keys of client and server, then their salts.
    fn keys(&self) -> Option<Keys> {
        let state = self.endpoint.get_connection_state(PEER)?;
        let material = state
            .export_keying_material(LABEL_EXTRACTOR_DTLS_SRTP, &[], 2 * MASTER_LEN)
            .ok()?;
        let (local, remote) = Master::of_exported(material.as_ref())?;
        Some(Keys { local, remote })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_reads_back_and_another_hash_is_none() {
        let fingerprint = Identity::new().unwrap().fingerprint;
        let line = fingerprint_line(fingerprint);
        assert_eq!(read_fingerprint(line.trim_end()), Some(fingerprint));
        let other = line.replace("sha-256", "sha-1");
        assert_eq!(read_fingerprint(other.trim_end()), None);
        assert_eq!(read_fingerprint("a=fingerprint:sha-256 12:zz"), None);
    }

    /// Passes everything that waits at one side to the other.
    fn carry(now: Instant, client: &mut Handshake, server: &mut Endpoint) -> Option<Keys> {
        let mut keys = None;
        for _ in 0..20 {
            while let Some(datagram) = client.poll_output() {
                let _ = server.read(now, PEER, None, datagram);
            }
            while let Some(answer) = server.poll_transmit() {
                keys = keys.or(client.handle_input(now, &answer.message));
            }
        }
        keys
    }

    #[test]
    fn keys_are_those_of_the_server_that_has_the_certificate_and_of_no_other() {
        let now = Instant::now();
        let (ours, theirs) = (Identity::new().unwrap(), Identity::new().unwrap());
        for (expected, agree) in [(theirs.fingerprint, true), (ours.fingerprint, false)] {
            let config = ConfigBuilder::default()
                .with_crypto_provider(theirs.provider.clone())
                .with_certificates(vec![theirs.certificate.clone()])
                .with_srtp_protection_profiles(vec![
                    SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
                ])
                .with_client_auth(ClientAuthType::RequireAnyClientCert)
                .with_insecure_skip_verify(true)
                .build(false, Some(PEER))
                .unwrap();
            let mut server = Endpoint::new(PEER, TransportProtocol::UDP, Some(Arc::new(config)));
            let mut client = Handshake::new(now, &ours, expected).unwrap();
            let keys = carry(now, &mut client, &mut server);
            assert_eq!(keys.is_some(), agree);
            if let Some(keys) = keys {
                let state = server.get_connection_state(PEER).unwrap();
                let material = state
                    .export_keying_material(LABEL_EXTRACTOR_DTLS_SRTP, &[], 2 * MASTER_LEN)
                    .unwrap();
                let expected = Master::of_exported(material.as_ref());
                assert_eq!(expected, Some((keys.local, keys.remote)));
            }
        }
    }
}
