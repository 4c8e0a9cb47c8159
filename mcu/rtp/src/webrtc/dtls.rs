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
use rtc_dtls::crypto_provider::RTCCryptoProvider;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_dtls::state::State;
use rtc_shared::TransportProtocol;
use rtc_shared::error::Error;
use rtc_srtp::config::LABEL_EXTRACTOR_DTLS_SRTP;

use super::assembly::{Assembly, message};
use super::certificate::{Certificate, matches};
use super::cookie::{Cookie, WithCookie};
use super::guard::Guard;
use super::hello::{
    CLIENT_HELLO, Flight, HANDSHAKE, Hello, RECORD_HEADER_LEN, without_cookie, word,
};
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
    /// What a terminal brought back to the server that we are.
    cookie: Option<Cookie>,
    guard: Guard,
    stage: Stage,
    /// A terminal's first flight after the hellos, until the library has it.
    assembly: Option<Assembly>,
    /// The server that answers shows another certificate than was signalled.
    mismatch: bool,
    /// Records in clear that the library was given.
    clear_records: u64,
    /// Datagrams to be sent. One call adds a flight at most, and the session takes it at once.
    outputs: VecDeque<Bytes>,
    /// Our last flight, at most [`FLIGHT_MAX`] datagrams; further ones are not repeated.
    flight: Vec<Bytes>,
    resend_at: Option<Instant>,
    resend_interval: Duration,
    deadline: Option<Instant>,
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
        Self::with_cookie(certificate, role, peer, None)
    }

    /// The server of a terminal that has brought this cookie back.
    pub(super) fn answering(
        certificate: &Certificate,
        peer: Peer,
        cookie: Cookie,
    ) -> Result<Self, SessionError> {
        Self::with_cookie(certificate, DtlsRole::Server, peer, Some(cookie))
    }

    fn with_cookie(
        certificate: &Certificate,
        role: DtlsRole,
        peer: Peer,
        cookie: Option<Cookie>,
    ) -> Result<Self, SessionError> {
        let is_client = role == DtlsRole::Client;
        let config = config(certificate, is_client, &peer, cookie, &PROFILES)
            .map_err(|error| SessionError::Dtls(error.to_string()))?;
        let config = Arc::new(config);
        let served = (!is_client).then(|| config.clone());
        let assembly = match role {
            DtlsRole::Client => Assembly::of_server(),
            DtlsRole::Server => Assembly::of_client(),
        };
        Ok(Self {
            endpoint: Endpoint::new(PEER, TransportProtocol::UDP, served),
            certificate: certificate.clone(),
            // A browser's address is proved by ICE: nobody else has a say.
            assembly: (!peer.is_browser).then_some(assembly),
            peer,
            cookie,
            guard: Guard::default(),
            stage: match role {
                DtlsRole::Client => Stage::Idle(config),
                DtlsRole::Server => Stage::Listening(Hello::default()),
            },
            mismatch: false,
            clear_records: 0,
            outputs: VecDeque::new(),
            flight: Vec::new(),
            resend_at: None,
            resend_interval: RESEND_FIRST,
            deadline: None,
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
            Stage::Handshake | Stage::Established if self.peer.is_browser => {
                self.read(now, datagram)
            }
            Stage::Handshake | Stage::Established => self.sort(now, datagram),
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
            let profiles = &PROFILES[..1];
            let config = config(&self.certificate, false, &self.peer, self.cookie, profiles)
                .map_err(|error| failure(&error))?;
            self.endpoint.set_server_config(Some(Arc::new(config)));
        }
        if self.cookie.is_some() {
            return self.take_up(now, flight);
        }
        for datagram in &flight.datagrams {
            self.read(now, datagram)?;
        }
        Ok(None)
    }

    /// Has the library go through the exchange of the cookie that we held without it: it gets the
    /// ClientHello as it was before, asks for the cookie that we gave, and gets that.
    fn take_up(&mut self, now: Instant, flight: &Flight) -> Result<Option<SdesKeys>, FailReason> {
        let malformed = || FailReason::Dtls("malformed ClientHello".to_string());
        let again = flight.body.as_deref().ok_or_else(malformed)?;
        let before = without_cookie(again).ok_or_else(malformed)?;
        self.give(now, HANDSHAKE, &message(CLIENT_HELLO, 0, &before))?;
        // The terminal has that already.
        self.outputs.clear();
        self.give(now, HANDSHAKE, &message(CLIENT_HELLO, 1, again))
    }

    /// Takes records of a terminal: what is in clear once it is a whole flight, and then no more.
    fn sort(&mut self, now: Instant, datagram: &[u8]) -> Result<Option<SdesKeys>, FailReason> {
        let mut keys = None;
        let mut rest = datagram;
        while let Some(header) = rest.get(..RECORD_HEADER_LEN) {
            let (kind, epoch, len) = (header[0], word(&header[3..5]), word(&header[11..13]));
            let (record, behind) = rest.split_at(rest.len().min(RECORD_HEADER_LEN + len));
            let body = &record[RECORD_HEADER_LEN..];
            let taken = match (kind, epoch) {
                (HANDSHAKE, 0) => self.assemble(now, body)?,
                (_, 0) => self.give(now, kind, body)?,
                _ => self.read(now, record)?,
            };
            keys = taken.or(keys);
            rest = behind;
        }
        Ok(keys)
    }

    fn assemble(&mut self, now: Instant, body: &[u8]) -> Result<Option<SdesKeys>, FailReason> {
        let Some(assembly) = &mut self.assembly else {
            return Ok(None);
        };
        assembly.push(body);
        self.hand_on(now, false)
    }

    /// Gives the library the terminal's flight, if it is there.
    fn hand_on(&mut self, now: Instant, waited: bool) -> Result<Option<SdesKeys>, FailReason> {
        let assembly = self.assembly.as_mut();
        let whole = assembly.and_then(|flight| flight.take_whole(&self.peer.fingerprints, waited));
        let Some(whole) = whole else {
            return Ok(None);
        };
        // To a client, this may be forged, and the peer's still come.
        if !whole.is_signalled && self.cookie.is_none() {
            self.mismatch = true;
            return Ok(None);
        }
        self.assembly = None;
        let mut keys = None;
        for message in &whole.messages {
            keys = self.give(now, HANDSHAKE, message)?.or(keys);
        }
        Ok(keys)
    }

    /// Gives the library a record in clear under a number of ours. The peer's anybody can forge, and the
    /// highest would make all others old (RFC 6347 §4.1.2.6).
    fn give(
        &mut self,
        now: Instant,
        kind: u8,
        body: &[u8],
    ) -> Result<Option<SdesKeys>, FailReason> {
        let number = self.clear_records;
        self.clear_records += 1;
        self.read(now, &record(kind, number, body))
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
            return Err(self.too_late());
        }
        if self.resend_at.is_some_and(|at| at <= now) && !self.verify(now)? {
            self.resend_interval = (2 * self.resend_interval).min(RESEND_MAX);
            self.resend_at = Some(now + self.resend_interval);
            self.outputs.extend(self.flight.iter().cloned());
        }
        self.remake(now)
    }

    /// Answers a HelloVerifyRequest, if one came and nothing else did, or a flight that asks for no
    /// certificate: whoever forges one has the time until we would repeat ourselves to be found out.
    fn verify(&mut self, now: Instant) -> Result<bool, FailReason> {
        let Some(assembly) = &mut self.assembly else {
            return Ok(false);
        };
        if let Some(message) = assembly.take_verify() {
            return self.give(now, HANDSHAKE, &message).map(|_| true);
        }
        self.hand_on(now, true)?;
        Ok(self.assembly.is_none())
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
            Err(Error::ErrInvalidFsmTransition) => Err(self.too_late()),
            Err(error) => Err(failure(&error)),
            Ok(()) => Ok(()),
        }
    }

    fn too_late(&self) -> FailReason {
        match self.mismatch {
            true => FailReason::FingerprintMismatch,
            false => FailReason::DtlsTimeout,
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let remake_at = self.endpoint.poll_timeout(&PEER);
        [self.resend_at, remake_at, self.deadline]
            .into_iter()
            .flatten()
            .min()
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

/// A record in clear (RFC 6347 §4.1).
pub(super) fn record(kind: u8, number: u64, body: &[u8]) -> Vec<u8> {
    let number = &number.to_be_bytes()[2..];
    let len = (body.len() as u16).to_be_bytes();
    [&[kind, 0xFE, 0xFD, 0, 0], number, &len, body].concat()
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
    cookie: Option<Cookie>,
    profiles: &[SrtpProtectionProfile],
) -> Result<HandshakeConfig, Error> {
    let provider = certificate.provider.clone();
    let provider = cookie.map_or(provider.clone(), |cookie| {
        Arc::new(WithCookie::new(provider, cookie)) as Arc<dyn RTCCryptoProvider>
    });
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
