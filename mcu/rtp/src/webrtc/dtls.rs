//! The DTLS 1.2 handshake of a browser's leg (RFC 5763, RFC 5764), by `rtc-dtls`.
//!
//! Only the handshake: no data channel is offered, so no application data is taken. The library
//! keeps what a peer sends before it knows the peer; the guard here bounds that.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use mcu_api::plan::{DtlsRole, SrtpSuite};
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_dtls::state::State;
use rtc_shared::TransportProtocol;
use rtc_shared::error::Error;
use rtc_srtp::config::LABEL_EXTRACTOR_DTLS_SRTP;

use super::certificate::{Certificate, sha256};
use super::guard::Guard;
use super::hello::{Flight, Hello};
use super::session::{FailReason, SessionError};
use crate::srtp::Srtp;

/// Time until a flight is sent again. The library keeps it constant and gives up after seven times,
/// so this is also one eighth of the time for a handshake.
const FLIGHT_INTERVAL: Duration = Duration::from_millis(750);
/// The library files associations by address. Ours has one peer, whose address may change within
/// the handshake; it goes by this name instead.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// SRTP profiles, the one we prefer first. The others of RFC 7714 and RFC 5764 add no peer.
const PROFILES: [SrtpProtectionProfile; 2] = [
    SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
    SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
];
/// How the check of the certificate says no through the library's error type.
const MISMATCH: &str = "certificate does not match the signalled fingerprint";

/// One handshake and the association it leaves.
pub(super) struct Dtls {
    endpoint: Endpoint,
    certificate: Certificate,
    remote_fingerprint: [u8; 32],
    guard: Guard,
    stage: Stage,
}

enum Stage {
    /// We are the client and have sent nothing yet.
    Idle(Arc<HandshakeConfig>),
    /// We are the server and wait for the ClientHello to be whole.
    Listening(Hello),
    Handshake,
    Established,
}

impl Dtls {
    pub(super) fn new(
        certificate: &Certificate,
        role: DtlsRole,
        remote_fingerprint: [u8; 32],
    ) -> Result<Self, SessionError> {
        let is_client = role == DtlsRole::Client;
        let config = config(certificate, is_client, remote_fingerprint, &PROFILES)
            .map_err(|error| SessionError::Dtls(error.to_string()))?;
        let config = Arc::new(config);
        let served = (!is_client).then(|| config.clone());
        Ok(Self {
            endpoint: Endpoint::new(PEER, TransportProtocol::UDP, served),
            certificate: certificate.clone(),
            remote_fingerprint,
            guard: Guard::default(),
            stage: match role {
                DtlsRole::Client => Stage::Idle(config),
                DtlsRole::Server => Stage::Listening(Hello::default()),
            },
        })
    }

    /// Sends the ClientHello, if that is our role and it has not left yet.
    pub(super) fn start(&mut self, now: Instant) -> Result<(), FailReason> {
        let Stage::Idle(config) = &self.stage else {
            return Ok(());
        };
        let config = config.clone();
        self.stage = Stage::Handshake;
        self.endpoint
            .connect(now, PEER, config, None)
            .map_err(|error| failure(&error))
    }

    /// Takes one datagram of records. Yields keys when the handshake has just finished.
    pub(super) fn handle_input(
        &mut self,
        now: Instant,
        datagram: &[u8],
    ) -> Result<Option<Srtp>, FailReason> {
        if !self.guard.admits(datagram) {
            return Ok(None);
        }
        match &mut self.stage {
            Stage::Idle(_) => Ok(None),
            Stage::Handshake | Stage::Established => self.read(now, datagram),
            Stage::Listening(hello) => {
                let Some(flight) = hello.push(datagram) else {
                    return Ok(None);
                };
                self.listen(now, &flight)
            }
        }
    }

    /// Settles the SRTP profile and hands the ClientHello on.
    fn listen(&mut self, now: Instant, flight: &Flight) -> Result<Option<Srtp>, FailReason> {
        self.stage = Stage::Handshake;
        if flight.offers_gcm {
            let config = config(
                &self.certificate,
                false,
                self.remote_fingerprint,
                &PROFILES[..1],
            )
            .map_err(|error| failure(&error))?;
            self.endpoint.set_server_config(Some(Arc::new(config)));
        }
        for datagram in &flight.datagrams {
            self.read(now, datagram)?;
        }
        Ok(None)
    }

    fn read(&mut self, now: Instant, datagram: &[u8]) -> Result<Option<Srtp>, FailReason> {
        let events = self
            .endpoint
            .read(now, PEER, None, BytesMut::from(datagram));
        let events = match events {
            Ok(events) => events,
            Err(Error::ErrAlertFatalOrClose) => return Err(FailReason::ClosedByPeer),
            // Only an alert under the negotiated keys ends what is established.
            Err(_) if matches!(self.stage, Stage::Established) => return Ok(None),
            Err(error) => return Err(failure(&error)),
        };
        let mut keys = None;
        for event in events {
            match event {
                EndpointEvent::HandshakeComplete => keys = Some(self.finish()?),
                EndpointEvent::PeerClosed => return Err(FailReason::ClosedByPeer),
                _ => {}
            }
        }
        Ok(keys)
    }

    /// Sends again what was not answered.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<(), FailReason> {
        if self.next_timeout().is_none_or(|at| now < at) {
            return Ok(());
        }
        match self.endpoint.handle_timeout(PEER, now) {
            Err(Error::ErrInvalidFsmTransition) => Err(FailReason::DtlsTimeout),
            Err(error) => Err(failure(&error)),
            Ok(()) => Ok(()),
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.endpoint.poll_timeout(&PEER)
    }

    /// A datagram to be sent to the browser.
    pub(super) fn poll_output(&mut self) -> Option<Bytes> {
        self.endpoint
            .poll_transmit()
            .map(|message| message.message.freeze())
    }

    /// Says goodbye to the browser with close_notify (RFC 5246 §7.2.1).
    pub(super) fn close(&mut self, now: Instant) {
        self.endpoint.stop(now, PEER);
    }

    fn finish(&mut self) -> Result<Srtp, FailReason> {
        self.stage = Stage::Established;
        let broken = || FailReason::Dtls("no association".to_string());
        let state = self
            .endpoint
            .get_connection_state(PEER)
            .ok_or_else(broken)?;
        // The handshake checked this already; keys are worth nothing without it, so check again.
        let shown = state
            .peer_certificates
            .first()
            .map_or(&[][..], Vec::as_slice);
        if sha256(self.certificate.provider.as_ref(), shown) != Some(self.remote_fingerprint) {
            return Err(FailReason::FingerprintMismatch);
        }
        keys(state)
    }
}

fn keys(state: &State) -> Result<Srtp, FailReason> {
    let suite = match state.srtp_protection_profile() {
        SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => SrtpSuite::AeadAes128Gcm,
        SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => SrtpSuite::AesCm128HmacSha1_80,
        _ => return Err(FailReason::NoSrtpProfile),
    };
    let len = 2 * suite.key_and_salt_len();
    let material = state
        .export_keying_material(LABEL_EXTRACTOR_DTLS_SRTP, &[], len)
        .map_err(|error| failure(&error))?;
    Srtp::from_dtls(suite, material.as_ref(), state.is_client())
        .map_err(|error| FailReason::Dtls(error.to_string()))
}

fn config(
    certificate: &Certificate,
    is_client: bool,
    remote_fingerprint: [u8; 32],
    profiles: &[SrtpProtectionProfile],
) -> Result<HandshakeConfig, Error> {
    let provider = certificate.provider.clone();
    let verifier = provider.clone();
    let verify = move |chain: &[Vec<u8>], _: &[_]| {
        let shown = chain.first().map_or(&[][..], Vec::as_slice);
        match sha256(verifier.as_ref(), shown) == Some(remote_fingerprint) {
            true => Ok(()),
            false => Err(Error::Other(MISMATCH.to_string())),
        }
    };
    ConfigBuilder::default()
        .with_crypto_provider(provider)
        .with_certificates(vec![certificate.inner.clone()])
        .with_srtp_protection_profiles(profiles.to_vec())
        .with_client_auth(ClientAuthType::RequireAnyClientCert)
        .with_extended_master_secret(ExtendedMasterSecretType::Require)
        .with_flight_interval(FLIGHT_INTERVAL)
        // The fingerprint, not a chain of signatures, says who the peer is (RFC 8122 §6.2).
        .with_insecure_skip_verify(true)
        .with_verify_peer_certificate(Some(Arc::new(verify)))
        .build(is_client, Some(PEER))
}

fn failure(error: &Error) -> FailReason {
    match error {
        Error::Other(text) if text == MISMATCH => FailReason::FingerprintMismatch,
        other => FailReason::Dtls(other.to_string()),
    }
}
