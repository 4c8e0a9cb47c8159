//! One transport of a leg: from datagrams to plain RTP and RTCP and back.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use mcu_api::ids::{LegId, RoomId};
use mcu_api::plan::{DtlsKeys, DtlsTerms, SdesKeys, SrtpSource, Transport as Plan, UdpTransport};
use mcu_rtp::demux::{Kind, classify};
use mcu_rtp::framing::Urgency;
use mcu_rtp::header::RtpPacket;
use mcu_rtp::srtp::{Srtp, SrtpError};
use mcu_rtp::webrtc::{
    Association, Certificate, FailReason, Output, Path, SessionError, WebrtcSession,
};
use mio::Token;

use crate::network::{Purpose, Sockets};

/// Packets that must come from one address before it is taken for the peer's (clear RTP has no
/// other proof).
const PROOF: u8 = 2;

/// Longest RTCP datagram that is taken: one packet of any network.
const MAX_RTCP: usize = 2_048;

/// What a datagram held.
#[derive(Debug)]
pub enum Incoming {
    /// An RTP packet, decrypted.
    Rtp(Bytes),
    /// A compound RTCP packet, decrypted.
    Rtcp(Bytes),
    /// Keys are agreed and the path is checked.
    Connected,
    /// The path or the handshake is lost.
    Failed,
}

/// A transport that a plan asks for and that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The port is taken or the address is not ours.
    #[error("bind {address}: {reason}")]
    Bind {
        /// Local address.
        address: SocketAddr,
        /// Why.
        reason: std::io::Error,
    },
    /// The keys do not fit the suite.
    #[error("SRTP keys: {0}")]
    Keys(#[from] SrtpError),
    /// No handshake is possible.
    #[error("WebRTC: {0}")]
    Webrtc(#[from] SessionError),
}

/// A leg's transport.
pub enum Transport {
    /// RTP and RTCP on ports of the leg's own.
    Udp(Box<Udp>),
    /// A bundle on the shared port.
    Webrtc(Box<Webrtc>),
}

/// SRTP state of a transport that is opened anew. If port and keys stay it goes on: under the same
/// keys no packet number may be used twice, and the peer's rollover counter is not set back
/// (RFC 3711 §3.3.1, §9.1).
pub struct Spare {
    rtp_port: u16,
    keys: SdesKeys,
    srtp: Srtp,
}

/// What all transports of a worker share.
pub struct Shared {
    /// Sockets of all browsers.
    pub doors: Doors,
    /// Shown in every handshake.
    pub certificate: Certificate,
}

/// The browsers' port, with a socket for each family of addresses that the processor has.
#[derive(Clone, Copy)]
pub struct Doors {
    /// IPv4.
    pub v4: Option<Token>,
    /// IPv6.
    pub v6: Option<Token>,
}

impl Doors {
    /// Sends a datagram by the socket of its destination's family; there is one, since the browser
    /// was heard there.
    fn send(self, bytes: &[u8], to: SocketAddr, sockets: &Sockets) {
        if let Some(token) = if to.is_ipv4() { self.v4 } else { self.v6 } {
            sockets.send(token, bytes, to);
        }
    }
}

impl Transport {
    /// Opens what the plan asks for; SRTP goes on from what is `spare` of the same port and keys.
    pub fn open(
        now: Instant,
        place: (RoomId, LegId, usize),
        plan: &Plan,
        spare: &mut Vec<Spare>,
        shared: &Shared,
        sockets: &mut Sockets,
    ) -> Result<Self, OpenError> {
        match plan {
            Plan::Udp(plan) => {
                let certificate = &shared.certificate;
                let mut udp = Udp::open(now, place, plan, spare, certificate, sockets)?;
                udp.begin(now, sockets);
                Ok(Self::Udp(Box::new(udp)))
            }
            Plan::Webrtc(plan) => {
                let session = WebrtcSession::new(now, plan, &shared.certificate)?;
                Ok(Self::Webrtc(Box::new(Webrtc {
                    session,
                    doors: shared.doors,
                    ufrag: plan.local_ufrag.clone(),
                    connected: false,
                })))
            }
        }
    }

    /// Takes a new plan for the same transport. `false`: it must be opened anew.
    pub fn update(&mut self, now: Instant, old: &Plan, new: &Plan, sockets: &Sockets) -> bool {
        match (self, old, new) {
            (_, old, new) if old == new => true,
            (Self::Udp(udp), Plan::Udp(old), Plan::Udp(new)) => udp.update(now, old, new, sockets),
            _ => false,
        }
    }

    /// Hands over the SRTP state of a transport that was planned so, before it is closed.
    pub fn take_srtp(&mut self, plan: &Plan) -> Option<Spare> {
        match (self, plan) {
            (Self::Udp(udp), Plan::Udp(plan)) => Some(Spare {
                rtp_port: plan.rtp_port,
                keys: plan.sdes.clone()?,
                srtp: udp.srtp.take()?,
            }),
            _ => None,
        }
    }

    /// Says goodbye where the protocol can, and closes the sockets that are its own.
    pub fn close(&mut self, now: Instant, sockets: &mut Sockets) {
        match self {
            Self::Udp(udp) => udp.close(now, sockets),
            Self::Webrtc(webrtc) => {
                webrtc.session.close(now);
                webrtc.drain(sockets, &mut Vec::new());
            }
        }
    }

    /// Our ICE user fragment, for a transport on the shared port.
    pub fn ufrag(&self) -> Option<&str> {
        match self {
            Self::Udp(_) => None,
            Self::Webrtc(webrtc) => Some(&webrtc.ufrag),
        }
    }

    /// Whether an authentic check came from this address of a browser.
    pub fn knows(&self, address: SocketAddr) -> bool {
        match self {
            Self::Udp(_) => false,
            Self::Webrtc(webrtc) => webrtc.session.knows(address),
        }
    }

    /// A browser's TCP connection ended: no path leads there any more.
    pub fn lose_path(&mut self, now: Instant, address: SocketAddr) {
        if let Self::Webrtc(webrtc) = self {
            webrtc.session.lose_path(now, address);
        }
    }

    /// Takes a datagram; what it held is appended to `out`.
    pub fn receive(
        &mut self,
        now: Instant,
        from: SocketAddr,
        on_rtcp_port: bool,
        datagram: &[u8],
        sockets: &Sockets,
        out: &mut Vec<Incoming>,
    ) {
        if classify(datagram) == Kind::Rtcp && datagram.len() > MAX_RTCP {
            return;
        }
        match self {
            Self::Udp(udp) => udp.handle(now, from, on_rtcp_port, datagram, sockets, out),
            Self::Webrtc(webrtc) => {
                webrtc.session.handle_input(now, from, datagram);
                webrtc.drain(sockets, out);
            }
        }
    }

    /// Does what time asks for: handshake and consent.
    pub fn handle_timeout(&mut self, now: Instant, sockets: &Sockets, out: &mut Vec<Incoming>) {
        match self {
            Self::Udp(udp) => udp.handle_timeout(now, sockets, out),
            Self::Webrtc(webrtc) => {
                webrtc.session.handle_timeout(now);
                webrtc.drain(sockets, out);
            }
        }
    }

    /// Sends an RTP packet; dropped while nobody is known to send it to. Returns the bytes sent.
    pub fn send_rtp(&mut self, packet: &[u8], urgency: Urgency, sockets: &Sockets) -> usize {
        match self {
            Self::Udp(udp) => udp.send(false, packet, sockets),
            Self::Webrtc(webrtc) => match webrtc.session.send_rtp(packet) {
                Some((to, bytes)) => {
                    webrtc.send(&bytes, to, urgency, sockets);
                    bytes.len()
                }
                None => 0,
            },
        }
    }

    /// Sends a compound RTCP packet.
    pub fn send_rtcp(&mut self, packet: &[u8], sockets: &Sockets) {
        match self {
            Self::Udp(udp) => {
                udp.send(true, packet, sockets);
            }
            Self::Webrtc(webrtc) => {
                if let Some((to, bytes)) = webrtc.session.send_rtcp(packet) {
                    webrtc.send(&bytes, to, Urgency::Other, sockets);
                }
            }
        }
    }

    /// How far the peer's SRTP sources have come that have rolled over.
    pub fn srtp_sources(&self) -> Vec<SrtpSource> {
        match self {
            Self::Udp(udp) => udp.srtp.as_ref().map_or_else(Vec::new, Srtp::rolled_over),
            Self::Webrtc(_) => Vec::new(),
        }
    }

    /// What DTLS agreed on, of a transport on ports of its own.
    pub fn dtls_keys(&self) -> Option<DtlsKeys> {
        match self {
            Self::Udp(udp) => udp.dtls_keys(),
            Self::Webrtc(_) => None,
        }
    }

    /// Whether media may flow to the peer.
    pub fn is_ready(&self) -> bool {
        match self {
            Self::Udp(udp) => udp.rtp.remote().is_some() && udp.has_keys(),
            Self::Webrtc(webrtc) => webrtc.connected,
        }
    }
}

/// A browser's transport.
pub struct Webrtc {
    session: WebrtcSession,
    doors: Doors,
    ufrag: String,
    connected: bool,
}

impl Webrtc {
    /// By the leg's TCP connection from there, or else by UDP. A browser whose two have the same
    /// address and port gets all by TCP.
    fn send(&self, bytes: &[u8], to: SocketAddr, urgency: Urgency, sockets: &Sockets) {
        if !sockets.send_stream(&self.ufrag, to, bytes, urgency) {
            self.doors.send(bytes, to, sockets);
        }
    }

    fn drain(&mut self, sockets: &Sockets, out: &mut Vec<Incoming>) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Transmit { to, bytes } => self.send(&bytes, to, Urgency::Other, sockets),
                Output::Rtp(packet) => out.push(Incoming::Rtp(packet)),
                Output::Rtcp(packet) => out.push(Incoming::Rtcp(packet)),
                Output::Connected => {
                    self.connected = true;
                    out.push(Incoming::Connected);
                }
                Output::Failed(reason) => {
                    self.connected = false;
                    tracing::info!(%reason, "browser transport failed");
                    out.push(Incoming::Failed);
                }
            }
        }
    }
}

/// A terminal's transport.
pub struct Udp {
    rtp: Port,
    rtcp: Option<Port>,
    srtp: Option<Srtp>,
    /// Present where keys come by DTLS.
    dtls: Option<Dtls>,
}

/// Keys by DTLS, and how far they are. What is clear is neither taken nor sent meanwhile.
struct Dtls {
    association: u64,
    /// Of the RTP port, which may carry RTCP too; the [`Udp`] holds its SRTP.
    rtp_keys: Option<SdesKeys>,
    /// Of the RTCP port, if there is one: an association and an SRTP of its own (RFC 5764 §4).
    rtcp_keys: Option<SdesKeys>,
    rtcp_srtp: Option<Srtp>,
}

impl Udp {
    fn open(
        now: Instant,
        (room, leg, transport): (RoomId, LegId, usize),
        plan: &UdpTransport,
        spare: &mut Vec<Spare>,
        certificate: &Certificate,
        sockets: &mut Sockets,
    ) -> Result<Self, OpenError> {
        let same = |spare: &Spare| {
            spare.rtp_port == plan.rtp_port && Some(&spare.keys) == plan.sdes.as_ref()
        };
        let srtp = match spare.iter().position(same) {
            Some(place) => Some(spare.swap_remove(place).srtp),
            None => plan
                .rtp_keys()
                .map(|keys| srtp_of(keys, plan))
                .transpose()?,
        };
        let dtls = plan.dtls.as_deref().map(Dtls::new).transpose()?;
        let mut open = |port: u16, rtcp: bool| {
            let address = SocketAddr::new(plan.local_ip, port);
            let purpose = Purpose::Leg {
                room,
                leg,
                transport,
                rtcp,
            };
            sockets
                .open(address, plan.dscp, purpose)
                .map_err(|reason| OpenError::Bind { address, reason })
        };
        let rtp = Port::new(open(plan.rtp_port, false)?, plan.remote_rtp);
        let rtcp = match plan.rtcp_port.map(|port| open(port, true)).transpose() {
            Ok(token) => token.map(|token| Port::new(token, plan.remote_rtcp)),
            Err(error) => {
                sockets.close(rtp.token);
                return Err(error);
            }
        };
        let mut udp = Self {
            rtp,
            rtcp,
            srtp,
            dtls,
        };
        for port in std::iter::once(&mut udp.rtp).chain(udp.rtcp.as_mut()) {
            if let Err(error) = port.secure(now, plan, certificate) {
                udp.close(now, sockets);
                return Err(error.into());
            }
        }
        Ok(udp)
    }

    fn close(&mut self, now: Instant, sockets: &mut Sockets) {
        for port in std::iter::once(&mut self.rtp).chain(self.rtcp.as_mut()) {
            if let Some(association) = &mut port.association {
                association.close(now);
            }
            port.flush(sockets);
            sockets.close(port.token);
        }
    }

    /// Sends our ClientHello where that is our part and the peer's place is known.
    fn begin(&mut self, now: Instant, sockets: &Sockets) {
        for port in std::iter::once(&mut self.rtp).chain(self.rtcp.as_mut()) {
            port.begin(now, sockets);
        }
    }

    fn has_keys(&self) -> bool {
        self.dtls.is_none() || self.srtp.is_some()
    }

    fn dtls_keys(&self) -> Option<DtlsKeys> {
        let dtls = self.dtls.as_ref()?;
        // Half of them would leave the other half without a handshake.
        let whole = self.rtcp.is_none() || dtls.rtcp_keys.is_some();
        whole.then_some(DtlsKeys {
            association: dtls.association,
            rtp: dtls.rtp_keys.clone()?,
            rtcp: dtls.rtcp_keys.clone(),
        })
    }

    fn handle_timeout(&mut self, now: Instant, sockets: &Sockets, out: &mut Vec<Incoming>) {
        for port in std::iter::once(&mut self.rtp).chain(self.rtcp.as_mut()) {
            let Some(association) = &mut port.association else {
                continue;
            };
            if let Err(reason) = association.handle_timeout(now) {
                tracing::info!(%reason, "DTLS of a terminal failed");
                port.association = None;
                out.push(Incoming::Failed);
            }
            port.flush(sockets);
        }
    }

    /// Takes a datagram of any kind.
    fn handle(
        &mut self,
        now: Instant,
        from: SocketAddr,
        on_rtcp_port: bool,
        datagram: &[u8],
        sockets: &Sockets,
        out: &mut Vec<Incoming>,
    ) {
        match classify(datagram) {
            Kind::Rtp | Kind::Rtcp => out.extend(self.receive(from, on_rtcp_port, datagram)),
            Kind::Stun => {
                if let Some(port) = self.port(on_rtcp_port) {
                    port.check(now, from, datagram, sockets);
                }
            }
            Kind::Dtls => {
                let Some(port) = self.port(on_rtcp_port) else {
                    return;
                };
                match port.shake(now, from, datagram, sockets) {
                    Ok(Some(keys)) => self.take_keys(keys, on_rtcp_port, out),
                    Ok(None) => {}
                    Err(reason) => {
                        tracing::info!(%reason, "DTLS of a terminal failed");
                        out.push(Incoming::Failed);
                    }
                }
            }
            Kind::Other => {}
        }
    }

    fn port(&mut self, rtcp: bool) -> Option<&mut Port> {
        match rtcp {
            true => self.rtcp.as_mut(),
            false => Some(&mut self.rtp),
        }
    }

    /// The handshake of a port is over.
    fn take_keys(&mut self, keys: SdesKeys, of_rtcp_port: bool, out: &mut Vec<Incoming>) {
        let (Ok(srtp), Some(dtls)) = (Srtp::from_sdes(&keys), &mut self.dtls) else {
            return;
        };
        tracing::debug!(suite = ?keys.suite, of_rtcp_port, "DTLS of a terminal is done");
        if of_rtcp_port {
            (dtls.rtcp_keys, dtls.rtcp_srtp) = (Some(keys), Some(srtp));
        } else {
            (dtls.rtp_keys, self.srtp) = (Some(keys), Some(srtp));
            out.push(Incoming::Connected);
        }
    }

    fn update(
        &mut self,
        now: Instant,
        old: &UdpTransport,
        new: &UdpTransport,
        sockets: &Sockets,
    ) -> bool {
        let same_sockets = (old.local_ip, old.rtp_port, old.rtcp_port)
            == (new.local_ip, new.rtp_port, new.rtcp_port);
        // Keys that were not renewed keep their rollover counters, whatever the plan knows of them.
        let association = |plan: &UdpTransport| plan.dtls.as_ref().map(|dtls| dtls.association);
        let same_keys = old.sdes == new.sdes && association(old) == association(new);
        if !same_sockets || !same_keys || old.ice.is_some() != new.ice.is_some() {
            return false;
        }
        if old.remote_rtp != new.remote_rtp {
            self.rtp.moved(new.remote_rtp);
        }
        if let Some(rtcp) = &mut self.rtcp
            && old.remote_rtcp != new.remote_rtcp
        {
            rtcp.moved(new.remote_rtcp);
        }
        if let Some(terms) = new.ice.as_ref().filter(|_| old.ice != new.ice) {
            for port in std::iter::once(&mut self.rtp).chain(self.rtcp.as_mut()) {
                if let Some(path) = &mut port.path {
                    path.restart(now, terms);
                }
            }
        }
        self.begin(now, sockets);
        sockets.mark(self.rtp.token, new.dscp);
        if let Some(rtcp) = &self.rtcp {
            sockets.mark(rtcp.token, new.dscp);
        }
        true
    }

    fn receive(
        &mut self,
        from: SocketAddr,
        on_rtcp_port: bool,
        datagram: &[u8],
    ) -> Option<Incoming> {
        let kind = classify(datagram);
        match kind {
            Kind::Rtp if !on_rtcp_port => {}
            Kind::Rtcp if on_rtcp_port || self.rtcp.is_none() => {}
            _ => return None,
        }
        let port = if on_rtcp_port {
            self.rtcp.as_mut()?
        } else {
            &mut self.rtp
        };
        if !port.admits(from) {
            return None;
        }
        let srtp = match &mut self.dtls {
            Some(dtls) if on_rtcp_port => Some(dtls.rtcp_srtp.as_mut()?),
            Some(_) => Some(self.srtp.as_mut()?),
            None => self.srtp.as_mut(),
        };
        let proved = srtp.is_some();
        let packet = match (srtp, kind) {
            (Some(srtp), Kind::Rtp) => srtp.unprotect_rtp(datagram).ok()?,
            (Some(srtp), _) => srtp.unprotect_rtcp(datagram).ok()?,
            (None, _) => Bytes::copy_from_slice(datagram),
        };
        if kind == Kind::Rtp {
            let header = RtpPacket::parse(&packet).ok()?.header;
            port.learn(from, header.ssrc, proved);
            return Some(Incoming::Rtp(packet));
        }
        if on_rtcp_port {
            port.learn(from, 0, proved);
        }
        Some(Incoming::Rtcp(packet))
    }

    fn send(&mut self, rtcp: bool, packet: &[u8], sockets: &Sockets) -> usize {
        let port = if rtcp {
            self.rtcp.as_ref().unwrap_or(&self.rtp)
        } else {
            &self.rtp
        };
        let Some(to) = port.remote() else { return 0 };
        let srtp = match &mut self.dtls {
            Some(dtls) if rtcp && self.rtcp.is_some() => dtls.rtcp_srtp.as_mut(),
            _ => self.srtp.as_mut(),
        };
        let Some(srtp) = srtp else {
            if self.dtls.is_some() {
                return 0;
            }
            sockets.send(port.token, packet, to);
            return packet.len();
        };
        let protected = if rtcp {
            srtp.protect_rtcp(packet)
        } else {
            srtp.protect_rtp(packet)
        };
        // Only a packet of our own making without a header could fail here.
        let Ok(bytes) = protected else { return 0 };
        sockets.send(port.token, &bytes, to);
        bytes.len()
    }
}

fn srtp_of(keys: &SdesKeys, plan: &UdpTransport) -> Result<Srtp, SrtpError> {
    let mut srtp = Srtp::from_sdes(keys)?;
    srtp.take_up(&plan.srtp_sources)?;
    Ok(srtp)
}

impl Dtls {
    /// With keys that an earlier processor agreed on, if the plan has them.
    fn new(terms: &DtlsTerms) -> Result<Self, SrtpError> {
        let keys = terms.keys.as_ref();
        let rtcp_keys = keys.and_then(|keys| keys.rtcp.clone());
        Ok(Self {
            association: terms.association,
            rtp_keys: keys.map(|keys| keys.rtp.clone()),
            rtcp_srtp: rtcp_keys.as_ref().map(Srtp::from_sdes).transpose()?,
            rtcp_keys,
        })
    }
}

/// A local port and the peer behind it: where SDP said first, then where packets came from
/// (symmetric RTP, RFC 4961), fixed once learnt.
struct Port {
    token: Token,
    announced: Option<SocketAddr>,
    learnt: Option<SocketAddr>,
    candidate: Option<(SocketAddr, u32, u8)>,
    /// DTLS of this port, while its keys are not known from elsewhere.
    association: Option<Association>,
    /// ICE of this port: it alone says then where the peer is.
    path: Option<Path>,
}

impl Port {
    fn new(token: Token, announced: Option<SocketAddr>) -> Self {
        Self {
            token,
            announced,
            learnt: None,
            candidate: None,
            association: None,
            path: None,
        }
    }

    /// Adds what the plan asks for of DTLS and ICE.
    fn secure(
        &mut self,
        now: Instant,
        plan: &UdpTransport,
        certificate: &Certificate,
    ) -> Result<(), SessionError> {
        let path = plan.ice.as_ref();
        self.path = path.map(|terms| Path::new(now, certificate, terms));
        let wanted = plan.dtls.as_ref().filter(|dtls| dtls.keys.is_none());
        self.association = wanted
            .map(|terms| Association::new(certificate, terms))
            .transpose()?;
        Ok(())
    }

    /// The peer says that it is elsewhere now.
    fn moved(&mut self, announced: Option<SocketAddr>) {
        self.announced = announced;
        self.learnt = None;
        self.candidate = None;
    }

    fn begin(&mut self, now: Instant, sockets: &Sockets) {
        if let (Some(to), Some(association)) = (self.remote(), &mut self.association) {
            // Only a broken library fails at the first message, and then at its repetition too.
            let _ = association.start(now, to);
            self.flush(sockets);
        }
    }

    /// Answers a connectivity check, if this port has ICE.
    fn check(&mut self, now: Instant, from: SocketAddr, datagram: &[u8], sockets: &Sockets) {
        let Some(path) = &mut self.path else {
            return;
        };
        if let Some(answer) = path.handle_input(now, from, datagram) {
            sockets.send(self.token, &answer, from);
        }
        self.begin(now, sockets);
    }

    /// Takes a datagram of the handshake; yields keys when it has just finished.
    fn shake(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        sockets: &Sockets,
    ) -> Result<Option<SdesKeys>, FailReason> {
        if !self.admits(from) {
            return Ok(None);
        }
        let Some(association) = &mut self.association else {
            return Ok(None);
        };
        let result = association.handle_input(now, from, datagram);
        self.flush(sockets);
        match result {
            Ok(Some(_)) => self.learn(from, 0, true),
            Ok(None) => {}
            Err(_) => self.association = None,
        }
        result
    }

    fn flush(&mut self, sockets: &Sockets) {
        let Some(association) = &mut self.association else {
            return;
        };
        while let Some((to, bytes)) = association.poll_output() {
            sockets.send(self.token, &bytes, to);
        }
    }

    fn remote(&self) -> Option<SocketAddr> {
        match &self.path {
            Some(path) => path.selected().or(self.learnt),
            None => self.learnt.or(self.announced),
        }
    }

    /// Once a source was learnt, others are strangers.
    fn admits(&self, from: SocketAddr) -> bool {
        match &self.path {
            Some(path) if path.selected().is_some() => path.knows(from),
            // ICE without a nomination: the peer's checks may have been answered by a media process
            // that died, and many terminals never check again. What they send shows where they are.
            _ => self.learnt.is_none_or(|learnt| learnt == from),
        }
    }

    /// A well-formed packet came from `from`; `proved` by its authentication tag.
    fn learn(&mut self, from: SocketAddr, ssrc: u32, proved: bool) {
        if self.learnt.is_some() {
            return;
        }
        let count = match self.candidate {
            Some((address, source, count)) if (address, source) == (from, ssrc) => count + 1,
            _ => 1,
        };
        self.candidate = Some((from, ssrc, count));
        if proved || self.announced == Some(from) || count >= PROOF {
            self.learnt = Some(from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn the_source_is_learnt_from_consistent_packets_and_then_fixed() {
        let mut port = Port::new(Token(1), Some(address(1000)));
        assert_eq!(port.remote(), Some(address(1000)));
        port.learn(address(2000), 7, false);
        assert_eq!(
            port.remote(),
            Some(address(1000)),
            "one packet proves nothing"
        );
        port.learn(address(3000), 8, false);
        port.learn(address(2000), 7, false);
        port.learn(address(2000), 7, false);
        assert_eq!(port.remote(), Some(address(2000)));
        assert!(!port.admits(address(3000)));
        port.learn(address(3000), 8, true);
        assert_eq!(port.remote(), Some(address(2000)), "learnt once, fixed");
    }

    #[test]
    fn an_authenticated_packet_is_proof_enough() {
        let mut port = Port::new(Token(1), None);
        port.learn(address(2000), 7, true);
        assert_eq!(port.remote(), Some(address(2000)));
    }
}
