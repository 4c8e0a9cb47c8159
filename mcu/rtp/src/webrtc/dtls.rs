//! The DTLS 1.2 handshake of a leg (RFC 5763, RFC 5764), by `rtc-dtls`.
//!
//! Only the handshake: no data channel is offered, so no application data is taken. The library
//! keeps what a peer sends before it knows the peer; the guard here bounds that.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use mcu_api::plan::{DtlsRole, Fingerprint, SdesKeys, SrtpSuite};
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_dtls::state::State;
use rtc_shared::TransportProtocol;
use rtc_shared::error::Error;
use rtc_srtp::config::LABEL_EXTRACTOR_DTLS_SRTP;

use super::certificate::{Certificate, matches};
use super::guard::Guard;
use super::hello::{Flight, Hello};
use super::session::{FailReason, SessionError};
use crate::srtp::dtls_keys;

/// Time until an unanswered flight is sent again, at first; it doubles up to [`RESEND_MAX`]. RFC
/// 6347 §4.2.4.1 advises a second, for want of knowing the path; ICE has just measured it, and
/// browsers begin with 50 ms.
const RESEND_FIRST: Duration = Duration::from_millis(100);
const RESEND_MAX: Duration = Duration::from_secs(2);
/// Time for the whole handshake, from the nomination of a pair.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Datagrams of a flight that are kept for sending again. Ours take one or two.
const FLIGHT_MAX: usize = 16;
/// Time until the library makes a flight anew, with records that are not replays: how a client gets
/// the server's last flight repeated. Too little alone: when part of a flight arrives, or the peer
/// repeats one, the library stops its timer and would wait forever. Hence our own, above.
const LIBRARY_INTERVAL: Duration = Duration::from_secs(1);
/// The library files associations by address. Ours has one peer, whose address may change within
/// the handshake; it goes by this name instead.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// SRTP profiles, the one we prefer first.
const PROFILES: [SrtpProtectionProfile; 4] = [
    SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
    SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
    SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm,
    SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_32,
];
const SERVER_HELLO: u8 = 2;
const HELLO_VERIFY_REQUEST: u8 = 3;
/// How the check of the certificate says no through the library's error type.
const MISMATCH: &str = "certificate does not match the signalled fingerprint";

/// Who is on the other side of a handshake.
#[derive(Clone)]
pub(super) struct Peer {
    /// Its certificate has one of these.
    pub fingerprints: Vec<Fingerprint>,
    /// It knows the extended master secret (RFC 7627), as every browser does. Terminals with an
    /// older library do not.
    pub is_browser: bool,
}

/// One handshake and the association it leaves.
pub(super) struct Dtls {
    endpoint: Endpoint,
    certificate: Certificate,
    peer: Peer,
    guard: Guard,
    stage: Stage,
    /// Datagrams to be sent. One call adds a flight at most, and the session takes it at once.
    outputs: VecDeque<Bytes>,
    /// Our last flight, at most [`FLIGHT_MAX`] datagrams; further ones are not repeated.
    flight: Vec<Bytes>,
    resend_at: Option<Instant>,
    resend_interval: Duration,
    deadline: Option<Instant>,
    proved: bool,
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
        peer: Peer,
    ) -> Result<Self, SessionError> {
        let is_client = role == DtlsRole::Client;
        let config = config(certificate, is_client, &peer, &PROFILES)
            .map_err(|error| SessionError::Dtls(error.to_string()))?;
        let config = Arc::new(config);
        let served = (!is_client).then(|| config.clone());
        Ok(Self {
            endpoint: Endpoint::new(PEER, TransportProtocol::UDP, served),
            certificate: certificate.clone(),
            peer,
            guard: Guard::default(),
            stage: match role {
                DtlsRole::Client => Stage::Idle(config),
                DtlsRole::Server => Stage::Listening(Hello::default()),
            },
            outputs: VecDeque::new(),
            flight: Vec::new(),
            resend_at: None,
            resend_interval: RESEND_FIRST,
            deadline: None,
            proved: false,
        })
    }

    /// A pair is nominated: time runs, and the ClientHello leaves if that is our role.
    pub(super) fn start(&mut self, now: Instant) -> Result<(), FailReason> {
        if !matches!(self.stage, Stage::Established) {
            self.deadline.get_or_insert(now + HANDSHAKE_TIMEOUT);
        }
        let Stage::Idle(config) = &self.stage else {
            return Ok(());
        };
        let config = config.clone();
        self.stage = Stage::Handshake;
        let result = self.endpoint.connect(now, PEER, config, None);
        self.collect(now);
        result.map_err(|error| failure(&error))
    }

    /// Takes one datagram of records. Yields keys when the handshake has just finished.
    pub(super) fn handle_input(
        &mut self,
        now: Instant,
        datagram: &[u8],
    ) -> Result<Option<SdesKeys>, FailReason> {
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
    fn listen(&mut self, now: Instant, flight: &Flight) -> Result<Option<SdesKeys>, FailReason> {
        self.stage = Stage::Handshake;
        if flight.offers_gcm {
            let config = config(&self.certificate, false, &self.peer, &PROFILES[..1])
                .map_err(|error| failure(&error))?;
            self.endpoint.set_server_config(Some(Arc::new(config)));
        }
        for datagram in &flight.datagrams {
            self.read(now, datagram)?;
        }
        Ok(None)
    }

    fn read(&mut self, now: Instant, datagram: &[u8]) -> Result<Option<SdesKeys>, FailReason> {
        let events = self
            .endpoint
            .read(now, PEER, None, BytesMut::from(datagram));
        self.collect(now);
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

    /// Sends again what was not answered. The records are the same as before: those that arrived
    /// are dropped there as replayed (RFC 6347 §4.1.2.6), those that were lost are new.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<(), FailReason> {
        if self.deadline.is_some_and(|at| at <= now) {
            return Err(FailReason::DtlsTimeout);
        }
        if self.resend_at.is_some_and(|at| at <= now) {
            self.resend_interval = (2 * self.resend_interval).min(RESEND_MAX);
            self.resend_at = Some(now + self.resend_interval);
            self.outputs.extend(self.flight.iter().cloned());
        }
        self.remake(now)
    }

    /// Lets the library make its flight anew when it wants to.
    fn remake(&mut self, now: Instant) -> Result<(), FailReason> {
        if self.endpoint.poll_timeout(&PEER).is_none_or(|at| now < at) {
            return Ok(());
        }
        let (interval, resend_at) = (self.resend_interval, self.resend_at);
        let result = self.endpoint.handle_timeout(PEER, now);
        self.collect(now);
        (self.resend_interval, self.resend_at) = (interval, resend_at);
        match result {
            Err(Error::ErrInvalidFsmTransition) => Err(FailReason::DtlsTimeout),
            Err(error) => Err(failure(&error)),
            Ok(()) => Ok(()),
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let remake_at = self.endpoint.poll_timeout(&PEER);
        [self.resend_at, remake_at, self.deadline]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether we are the server and our cookie came back: the peer is where it says
    /// (RFC 6347 §4.2.1).
    pub(super) fn has_proved(&self) -> bool {
        self.proved
    }

    /// A datagram to be sent to the peer.
    pub(super) fn poll_output(&mut self) -> Option<Bytes> {
        self.outputs.pop_front()
    }

    /// Takes what the library wants to send, and remembers it as our last flight.
    fn collect(&mut self, now: Instant) {
        let first = self.outputs.len();
        while let Some(message) = self.endpoint.poll_transmit() {
            self.outputs.push_back(message.message.freeze());
        }
        let message = self
            .outputs
            .get(first)
            .and_then(|datagram| message(datagram));
        self.proved |= message == Some(SERVER_HELLO);
        // Who has shown no cookie gets one datagram for each of its own (RFC 6347 §4.2.1). Browsers
        // have proved by ICE where they are.
        if message == Some(HELLO_VERIFY_REQUEST) && !self.peer.is_browser {
            return;
        }
        if self.outputs.len() > first && !matches!(self.stage, Stage::Established) {
            self.flight = self
                .outputs
                .iter()
                .skip(first)
                .take(FLIGHT_MAX)
                .cloned()
                .collect();
            self.resend_interval = RESEND_FIRST;
            self.resend_at = Some(now + RESEND_FIRST);
        }
    }

    /// Says goodbye to the peer with close_notify (RFC 5246 §7.2.1).
    pub(super) fn close(&mut self, now: Instant) {
        self.endpoint.stop(now, PEER);
        self.collect(now);
        self.settle();
    }

    /// Nothing is sent again unasked from now on.
    fn settle(&mut self) {
        self.stage = Stage::Established;
        self.flight.clear();
        self.resend_at = None;
        self.deadline = None;
    }

    fn finish(&mut self) -> Result<SdesKeys, FailReason> {
        self.settle();
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
        if !matches(&self.peer.fingerprints, shown) {
            return Err(FailReason::FingerprintMismatch);
        }
        keys(state)
    }
}

/// Type of the handshake message that a datagram of ours begins with.
fn message(datagram: &[u8]) -> Option<u8> {
    let is_clear = datagram.starts_with(&[22]) && datagram.get(3..5) == Some(&[0, 0]);
    datagram.get(13).copied().filter(|_| is_clear)
}

fn keys(state: &State) -> Result<SdesKeys, FailReason> {
    let suite = match state.srtp_protection_profile() {
        SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => SrtpSuite::AeadAes128Gcm,
        SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm => SrtpSuite::AeadAes256Gcm,
        SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => SrtpSuite::AesCm128HmacSha1_80,
        SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_32 => SrtpSuite::AesCm128HmacSha1_32,
        _ => return Err(FailReason::NoSrtpProfile),
    };
    let len = 2 * suite.key_and_salt_len();
    let material = state
        .export_keying_material(LABEL_EXTRACTOR_DTLS_SRTP, &[], len)
        .map_err(|error| failure(&error))?;
    dtls_keys(suite, material.as_ref(), state.is_client())
        .map_err(|error| FailReason::Dtls(error.to_string()))
}

fn config(
    certificate: &Certificate,
    is_client: bool,
    peer: &Peer,
    profiles: &[SrtpProtectionProfile],
) -> Result<HandshakeConfig, Error> {
    let provider = certificate.provider.clone();
    let fingerprints = peer.fingerprints.clone();
    let verify = move |chain: &[Vec<u8>], _: &[_]| {
        let shown = chain.first().map_or(&[][..], Vec::as_slice);
        match matches(&fingerprints, shown) {
            true => Ok(()),
            false => Err(Error::Other(MISMATCH.to_string())),
        }
    };
    ConfigBuilder::default()
        .with_crypto_provider(provider)
        .with_certificates(vec![certificate.inner.clone()])
        .with_srtp_protection_profiles(profiles.to_vec())
        .with_client_auth(ClientAuthType::RequireAnyClientCert)
        .with_extended_master_secret(match peer.is_browser {
            true => ExtendedMasterSecretType::Require,
            false => ExtendedMasterSecretType::Request,
        })
        .with_flight_interval(LIBRARY_INTERVAL)
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
