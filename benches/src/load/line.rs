//! One line of a leg: its ports, its keys, what is sent there and counted.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mio::net::UdpSocket;

use super::config::{LegConfig, SentReport};
use super::dtls::{Handshake, Identity, Keys};
use super::rtp::{self, Gaps, Packet, Received};
use super::sdp::Remote;
use super::srtp::{Master, Session};
use crate::impairment::{Relay, Tap};

/// Port pairs tried before the machine is taken to have none.
const PORT_TRIES: usize = 200;

const RTCP_INTERVAL: Duration = Duration::from_secs(1);

/// What audio and video have in common.
pub(super) struct Line {
    pub(super) rtp: UdpSocket,
    pub(super) rtcp: Option<UdpSocket>,
    pub(super) remote: Option<Remote>,
    pub(super) security: Security,
    pub(super) sending: bool,
    pub(super) ssrc: u32,
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
    pub(super) packets: u32,
    pub(super) bytes: u32,
    /// Next packet or frame: the `index`th after `start`.
    pub(super) start: Instant,
    pub(super) index: u64,
    pub(super) rtcp_at: Instant,
    pub(super) received: Received,
    pub(super) gaps: Gaps,
    pub(super) cname: Option<String>,
    /// The bad line that all goes over.
    relay: Option<(Arc<Relay>, Tap)>,
    pub(super) rtx_ssrc: u32,
    pub(super) rtx_sequence: u16,
}

/// What packets of a line are under.
pub(super) enum Security {
    Clear,
    /// Our key, said in SDP, and the packets under it.
    Sdes(Master, Box<Session>),
    /// Certificate, the handshake with the peer of now, and the packets under its keys once it is done.
    Dtls(Box<Dtls>),
}

pub(super) struct Dtls {
    pub(super) identity: Identity,
    handshake: Option<Handshake>,
    session: Option<Session>,
}

impl Security {
    fn new(config: &LegConfig, identity: Option<&Identity>) -> Option<Self> {
        if let Some(identity) = identity {
            let dtls = Dtls {
                identity: identity.clone(),
                handshake: None,
                session: None,
            };
            return Some(Self::Dtls(Box::new(dtls)));
        }
        if !config.sdes {
            return Some(Self::Clear);
        }
        let key = Master::random();
        Some(Self::Sdes(key, Box::new(Session::new(&key)?)))
    }

    /// Takes what the peer said of its keys.
    fn agree(&mut self, now: Instant, remote: &Remote) {
        match self {
            Self::Clear => {}
            Self::Sdes(_, session) => {
                if let Some(key) = remote.key {
                    session.set_remote(key);
                }
            }
            Self::Dtls(dtls) => dtls.agree(now, remote),
        }
    }

    /// Whether packets can be sent.
    fn is_keyed(&self) -> bool {
        match self {
            Self::Dtls(dtls) => dtls.session.is_some(),
            Self::Clear | Self::Sdes(..) => true,
        }
    }

    /// `None`: it cannot be sent.
    fn protect(&mut self, bytes: &[u8], rtcp: bool) -> Option<Vec<u8>> {
        self.session().map_or_else(
            || Some(bytes.to_vec()),
            |session| session?.protect(bytes, rtcp),
        )
    }

    /// The keys in force, if any are needed.
    pub(super) fn session(&mut self) -> Option<Option<&mut Session>> {
        match self {
            Self::Clear => None,
            Self::Sdes(_, session) => Some(Some(session)),
            Self::Dtls(dtls) => Some(dtls.session.as_mut()),
        }
    }
}

impl Dtls {
    /// A peer with another certificate wants another handshake; until it is done the old keys serve.
    fn agree(&mut self, now: Instant, remote: &Remote) {
        let Some(expected) = remote.fingerprint else {
            return;
        };
        let known = self.handshake.as_ref().map(|known| known.expected);
        if known != Some(expected) {
            self.handshake = Handshake::new(now, &self.identity, expected);
        }
    }

    fn use_keys(&mut self, keys: &Keys) {
        self.session = Session::new(&keys.local).map(|mut session| {
            session.set_remote(keys.remote);
            session
        });
    }
}

/// Sequence numbers roll over after 100 packets, once the peer has surely heard some (RFC 3711
/// §3.3.1): what a receiver has to count happens in every run.
const FIRST_SEQUENCE: u16 = 0u16.wrapping_sub(100);

impl Line {
    pub(super) fn bind(config: &LegConfig, identity: Option<&Identity>) -> io::Result<Self> {
        let (rtp, rtcp) = bind_pair(config.local_ip, config.rtcp_mux)?;
        let security = Security::new(config, identity).ok_or(io::ErrorKind::Unsupported)?;
        let now = Instant::now();
        let relay = match &config.line {
            Some(_) if rtcp.is_some() => return Err(io::ErrorKind::Unsupported.into()),
            Some(relay) => Some((relay.clone(), relay.attach(rtp.local_addr()?)?)),
            None => None,
        };
        let line = Self {
            rtp,
            rtcp,
            remote: None,
            security,
            sending: true,
            ssrc: rand::random(),
            sequence: FIRST_SEQUENCE,
            timestamp: rand::random(),
            packets: 0,
            bytes: 0,
            start: now,
            index: 0,
            rtcp_at: now + RTCP_INTERVAL,
            received: Received::default(),
            gaps: Gaps::default(),
            cname: None,
            relay,
            rtx_ssrc: rand::random(),
            rtx_sequence: FIRST_SEQUENCE,
        };
        Ok(line)
    }

    pub(super) fn open(&mut self, remote: Option<Remote>, now: Instant, phase: Duration) {
        if self.remote.is_none() {
            self.start = now + phase;
            self.index = 0;
        }
        self.remote = remote;
        if let (Some((relay, tap)), Some(remote)) = (&self.relay, &mut self.remote) {
            // A relay that is gone is a dead line.
            let _ = relay.lead(*tap, remote.rtp);
            (remote.rtp, remote.rtcp) = (tap.address, tap.address);
        }
        if let Some(remote) = &remote {
            self.security.agree(now, remote);
        }
    }

    /// Takes a datagram of a handshake.
    pub(super) fn shake(&mut self, now: Instant, datagram: &[u8]) {
        let Security::Dtls(dtls) = &mut self.security else {
            return;
        };
        let Some(handshake) = &mut dtls.handshake else {
            return;
        };
        if let Some(keys) = handshake.handle_input(now, datagram) {
            // The first packet is due now, not when the call was answered.
            if dtls.session.is_none() {
                self.start = now;
                self.index = 0;
            }
            dtls.use_keys(&keys);
        }
    }

    /// Sends what the handshake has to say, again where it was not answered.
    pub(super) fn go_on_shaking(&mut self, now: Instant) {
        let Security::Dtls(dtls) = &mut self.security else {
            return;
        };
        let (Some(handshake), Some(remote)) = (&mut dtls.handshake, self.remote) else {
            return;
        };
        handshake.handle_timeout(now);
        while let Some(datagram) = handshake.poll_output() {
            // Lost like any datagram: it is sent again.
            let _ = self.rtp.send_to(&datagram, remote.rtp);
        }
    }

    pub(super) fn handshake_timeout(&self) -> Option<Instant> {
        match &self.security {
            Security::Dtls(dtls) => dtls.handshake.as_ref()?.poll_timeout(),
            Security::Clear | Security::Sdes(..) => None,
        }
    }

    /// When the `index`th packet or frame is due.
    pub(super) fn due(&self, interval: Duration) -> Instant {
        self.start + Duration::from_nanos(interval.as_nanos() as u64 * self.index)
    }

    pub(super) fn send(
        &mut self,
        marker: bool,
        payload: &[u8],
        scratch: &mut Vec<u8>,
        sent: &mut SentReport,
    ) {
        if let Some(remote) = self.remote {
            self.send_as(remote.payload_type, marker, payload, scratch, sent);
        }
    }

    pub(super) fn send_as(
        &mut self,
        payload_type: u8,
        marker: bool,
        payload: &[u8],
        scratch: &mut Vec<u8>,
        sent: &mut SentReport,
    ) {
        let packet = self.next_packet(payload_type, marker, payload);
        self.send_packet(&packet, scratch, sent);
        self.sequence = self.sequence.wrapping_add(1);
        self.packets = self.packets.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(payload.len() as u32);
    }

    /// The packet that [`Self::send`] would send.
    pub(super) fn next_packet<'a>(
        &self,
        payload_type: u8,
        marker: bool,
        payload: &'a [u8],
    ) -> Packet<'a> {
        Packet {
            marker,
            payload_type,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
            payload,
        }
    }

    /// Sends a packet that is not counted.
    pub(super) fn send_packet(
        &mut self,
        packet: &Packet<'_>,
        scratch: &mut Vec<u8>,
        sent: &mut SentReport,
    ) {
        let Some(remote) = self.remote else { return };
        scratch.clear();
        packet.write(scratch);
        let went = match &mut self.security {
            Security::Clear => self.rtp.send_to(scratch, remote.rtp).is_ok(),
            security => security
                .protect(scratch, false)
                .is_some_and(|sealed| self.rtp.send_to(&sealed, remote.rtp).is_ok()),
        };
        sent.refused += u64::from(!went);
    }

    pub(super) fn send_rtcp(&mut self, bytes: &[u8]) {
        let Some(bytes) = self.security.protect(bytes, true) else {
            return;
        };
        if let Some(remote) = self.remote {
            // What is lost here is lost like any datagram: the next report comes in a second.
            let _ = self
                .rtcp
                .as_ref()
                .unwrap_or(&self.rtp)
                .send_to(&bytes, remote.rtcp);
        }
    }

    /// Where the peer finds it.
    pub(super) fn port(&self) -> io::Result<u16> {
        match &self.relay {
            Some((_, tap)) => Ok(tap.address.port()),
            None => self.rtp.local_addr().map(|address| address.port()),
        }
    }

    pub(super) fn report_to_peer(
        &mut self,
        now: Instant,
        id: u8,
        interval: Duration,
        clock_hz: u32,
    ) {
        if now < self.rtcp_at {
            return;
        }
        self.rtcp_at = now + RTCP_INTERVAL;
        // The next packet's timestamp belongs to the moment when it is due.
        let ahead = self.due(interval).saturating_duration_since(now);
        let ticks = (ahead.as_secs_f64() * f64::from(clock_hz)) as u32;
        let figures = rtp::SenderFigures {
            ssrc: self.ssrc,
            timestamp: self.timestamp.wrapping_sub(ticks),
            packets: self.packets,
            bytes: self.bytes,
        };
        let cname = format!("leg{id}@load");
        let report = rtp::sender_report(figures, &mut self.received, &cname, SystemTime::now());
        self.send_rtcp(&report);
    }
}

impl Line {
    pub(super) fn sends(&self) -> bool {
        self.sending && self.remote.is_some() && self.security.is_keyed()
    }

    pub(super) fn resume(&mut self, sending: bool, now: Instant) {
        if sending && !self.sending {
            self.start = now;
            self.index = 0;
        }
        self.sending = sending;
    }
}

/// An even port with the odd one above it (RFC 3550 §11), or any port when they are shared.
fn bind_pair(ip: IpAddr, mux: bool) -> io::Result<(UdpSocket, Option<UdpSocket>)> {
    for _ in 0..PORT_TRIES {
        let rtp = UdpSocket::bind(SocketAddr::new(ip, 0))?;
        let port = rtp.local_addr()?.port();
        if mux {
            return Ok((rtp, None));
        }
        if port % 2 == 0
            && let Ok(rtcp) = UdpSocket::bind(SocketAddr::new(ip, port + 1))
        {
            return Ok((rtp, Some(rtcp)));
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}
