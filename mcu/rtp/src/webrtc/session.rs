//! One browser's session: what arrives goes to ICE, DTLS or SRTP; what they say comes out in order.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use mcu_api::plan::{Fingerprint, FingerprintHash, IceTerms, SrtpSuite, WebrtcTransport};
use thiserror::Error;

use super::certificate::Certificate;
use super::dtls::{Dtls, Peer};
use super::ice::Ice;
use crate::demux::{Kind, classify};
use crate::srtp::Srtp;

/// Outputs that wait to be taken. A datagram yields at most a handful, so this is only reached by
/// an owner that does not poll; then what is newest is dropped.
const OUTPUTS_MAX: usize = 256;

/// What the owner of the socket has to do, or learns.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this datagram.
    Transmit {
        /// To here.
        to: SocketAddr,
        /// The datagram.
        bytes: Bytes,
    },
    /// An authentic RTP packet arrived.
    Rtp(Bytes),
    /// An authentic compound RTCP packet arrived.
    Rtcp(Bytes),
    /// Keys are agreed: media can be sent. Once in a session.
    Connected,
    /// The session is over; nothing but this comes out afterwards. Once in a session.
    Failed(FailReason),
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FailReason {
    /// No authentic connectivity check came in time.
    #[error("no connectivity check arrived")]
    NoCheck,
    /// The browser stopped checking (RFC 7675).
    #[error("consent expired")]
    ConsentExpired,
    /// The browser did not answer our handshake messages.
    #[error("DTLS handshake timed out")]
    DtlsTimeout,
    /// The handshake failed.
    #[error("DTLS failed: {0}")]
    Dtls(String),
    /// The browser's certificate is not the one that SDP announced.
    #[error("certificate does not match the signalled fingerprint")]
    FingerprintMismatch,
    /// The browser does not do DTLS-SRTP with any profile of ours.
    #[error("no common SRTP profile")]
    NoSrtpProfile,
    /// The browser closed the association, or sent a fatal alert.
    #[error("closed by the browser")]
    ClosedByPeer,
}

/// A session cannot be made from what the plan says.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The DTLS library refused its configuration.
    #[error("DTLS configuration: {0}")]
    Dtls(String),
}

/// What was dropped, for the statistics of a leg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that came before the keys.
    pub early: u64,
    /// SRTP and SRTCP that failed authentication or came twice.
    pub unauthentic: u64,
    /// Datagrams from addresses that no authentic check came from, or that are no protocol of ours.
    pub unexpected: u64,
}

/// Transport of one browser. No sockets, no clock: `now` is the caller's.
pub struct WebrtcSession {
    certificate: Certificate,
    ice: Ice,
    dtls: Dtls,
    srtp: Option<Srtp>,
    /// Where handshake messages go while no pair is nominated: where the browser's came from.
    handshake_remote: Option<SocketAddr>,
    /// At most [`OUTPUTS_MAX`]; drops the newest.
    outputs: VecDeque<Output>,
    counters: Counters,
    ended: bool,
}

impl WebrtcSession {
    /// A session as the plan describes it, waiting for the browser's first check.
    ///
    /// # Errors
    /// Fails when the DTLS library cannot work with the certificate.
    pub fn new(
        now: Instant,
        transport: &WebrtcTransport,
        certificate: &Certificate,
    ) -> Result<Self, SessionError> {
        let peer = Peer {
            fingerprints: vec![Fingerprint {
                hash: FingerprintHash::Sha256,
                bytes: transport.remote_fingerprint_sha256.to_vec(),
            }],
            is_browser: true,
        };
        Ok(Self {
            certificate: certificate.clone(),
            ice: Ice::new(now, &terms(transport)),
            dtls: Dtls::new(certificate, transport.dtls_role, peer)?,
            srtp: None,
            handshake_remote: None,
            outputs: VecDeque::new(),
            counters: Counters::default(),
            ended: false,
        })
    }

    /// Takes new ICE credentials after an ICE restart (RFC 8839 §4.4.1.1). Keys and path stay.
    pub fn restart_ice(&mut self, now: Instant, transport: &WebrtcTransport) {
        self.ice.restart(now, &terms(transport));
    }

    /// Takes a datagram that arrived from `from`.
    pub fn handle_input(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        if self.ended {
            return;
        }
        match classify(datagram) {
            Kind::Stun => self.handle_stun(now, from, datagram),
            // Without an authentic check nobody may make us work or answer (RFC 8445 §12).
            _ if !self.ice.knows(from) => self.counters.unexpected += 1,
            Kind::Dtls => self.handle_dtls(now, from, datagram),
            Kind::Rtp => self.handle_srtp(from, datagram, false),
            Kind::Rtcp => self.handle_srtp(from, datagram, true),
            Kind::Other => self.counters.unexpected += 1,
        }
    }

    /// The TCP connection from `address` ended (RFC 6544 §7.3): nothing is sent there any more.
    pub fn lose_path(&mut self, now: Instant, address: SocketAddr) {
        self.ice.lose_path(now, address);
        self.handshake_remote = self.handshake_remote.filter(|remote| *remote != address);
    }

    /// Does what is due at `now`: retransmissions, and the end of consent.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.ended {
            return;
        }
        if now >= self.ice.deadline() {
            let checked = self.ice.was_checked();
            self.fail(if checked {
                FailReason::ConsentExpired
            } else {
                FailReason::NoCheck
            });
            return;
        }
        let result = self.dtls.handle_timeout(now);
        self.flush_dtls();
        if let Err(reason) = result {
            self.fail(reason);
        }
    }

    /// When [`Self::handle_timeout`] is next due; `None` once the session is over.
    pub fn next_timeout(&self) -> Option<Instant> {
        if self.ended {
            return None;
        }
        let consent = self.ice.deadline();
        Some(
            self.dtls
                .next_timeout()
                .map_or(consent, |flight| flight.min(consent)),
        )
    }

    /// What is to be done or known next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Protects an RTP packet; the datagram and where to send it. `None` before the session is
    /// connected and after it ended, or when the packet has no complete header.
    pub fn send_rtp(&mut self, packet: &[u8]) -> Option<(SocketAddr, Bytes)> {
        let to = self.remote().filter(|_| !self.ended)?;
        Some((to, self.srtp.as_mut()?.protect_rtp(packet).ok()?))
    }

    /// Protects a compound RTCP packet; the datagram and where to send it. `None` as in
    /// [`Self::send_rtp`].
    pub fn send_rtcp(&mut self, packet: &[u8]) -> Option<(SocketAddr, Bytes)> {
        let to = self.remote().filter(|_| !self.ended)?;
        Some((to, self.srtp.as_mut()?.protect_rtcp(packet).ok()?))
    }

    /// Says goodbye to the browser; its datagram is the last output.
    pub fn close(&mut self, now: Instant) {
        if !self.ended {
            self.dtls.close(now);
            self.flush_dtls();
            self.ended = true;
        }
    }

    /// Whether media can be sent.
    pub fn is_connected(&self) -> bool {
        self.srtp.is_some() && !self.ended
    }

    /// Whether an authentic check came from this address.
    pub fn knows(&self, address: SocketAddr) -> bool {
        !self.ended && self.ice.knows(address)
    }

    /// Where media is sent: the nominated pair, or, before a nomination, where the handshake is.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.ice.selected().or(self.handshake_remote)
    }

    /// The SRTP profile that was agreed.
    pub fn suite(&self) -> Option<SrtpSuite> {
        self.srtp.as_ref().map(Srtp::suite)
    }

    /// What was dropped so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn handle_stun(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        let crypto = self.certificate.provider.crypto();
        match self.ice.handle_input(now, from, datagram, crypto) {
            Some(answer) => self.push(Output::Transmit {
                to: from,
                bytes: answer.into(),
            }),
            None => self.counters.unexpected += 1,
        }
        if self.ice.selected().is_some() {
            let started = self.dtls.start(now);
            self.flush_dtls();
            if let Err(reason) = started {
                self.fail(reason);
            }
        }
    }

    fn handle_dtls(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        self.handshake_remote = Some(from);
        let result = self.dtls.handle_input(now, datagram);
        self.flush_dtls();
        match result {
            Ok(None) => {}
            Ok(Some(keys)) => match Srtp::from_sdes(&keys) {
                Ok(srtp) => {
                    self.srtp = Some(srtp);
                    self.push(Output::Connected);
                }
                Err(error) => self.fail(FailReason::Dtls(error.to_string())),
            },
            Err(reason) => self.fail(reason),
        }
    }

    fn handle_srtp(&mut self, from: SocketAddr, datagram: &[u8], is_rtcp: bool) {
        let Some(srtp) = &mut self.srtp else {
            self.counters.early += 1;
            return;
        };
        let plain = match is_rtcp {
            true => srtp.unprotect_rtcp(datagram).map(Output::Rtcp),
            false => srtp.unprotect_rtp(datagram).map(Output::Rtp),
        };
        match plain {
            Ok(output) => {
                self.ice.follow(from);
                self.push(output);
            }
            Err(_) => self.counters.unauthentic += 1,
        }
    }

    fn flush_dtls(&mut self) {
        let to = self.remote();
        while let Some(bytes) = self.dtls.poll_output() {
            if let Some(to) = to {
                self.push(Output::Transmit { to, bytes });
            }
        }
    }

    fn fail(&mut self, reason: FailReason) {
        self.push(Output::Failed(reason));
        self.ended = true;
    }

    fn push(&mut self, output: Output) {
        if self.outputs.len() < OUTPUTS_MAX {
            self.outputs.push_back(output);
        }
    }
}

fn terms(transport: &WebrtcTransport) -> IceTerms {
    IceTerms {
        local_ufrag: transport.local_ufrag.clone(),
        local_pwd: transport.local_pwd.clone(),
        remote_ufrag: transport.remote_ufrag.clone(),
        remote_pwd: transport.remote_pwd.clone(),
    }
}
