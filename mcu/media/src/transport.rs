//! One transport of a leg: from datagrams to plain RTP and RTCP and back.

mod port;

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use mcu_api::ids::{LegId, RoomId};
use mcu_api::plan::{
    DtlsKeys, DtlsTerms, Fingerprint, SdesKeys, SrtpSource, Transport as Plan, UdpTransport,
};
use mcu_rtp::demux::{Kind, classify};
use mcu_rtp::framing::Urgency;
use mcu_rtp::header::RtpPacket;
use mcu_rtp::srtp::{Srtp, SrtpError};
use mcu_rtp::webrtc::{Certificate, Output, SessionError, WebrtcSession};
use mio::Token;

use self::port::Port;
use crate::network::{Purpose, Sockets};

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
    /// The DTLS association that the keys came by, which goes on without a handshake.
    origin: Option<Origin>,
    keys: SdesKeys,
    srtp: Srtp,
    /// Of the RTCP port, where DTLS gave it its own.
    rtcp: Option<(SdesKeys, Srtp)>,
}

impl Spare {
    fn fits(&self, plan: &UdpTransport) -> bool {
        let association = self.origin.as_ref().map(|origin| origin.association);
        let same_keys = match &plan.dtls {
            Some(dtls) => association == Some(dtls.association),
            None => association.is_none() && plan.sdes.as_ref() == Some(&self.keys),
        };
        same_keys && self.rtp_port == plan.rtp_port
    }
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
            (Self::Udp(udp), Plan::Udp(plan)) => udp.take_srtp(plan),
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

    /// Whether what comes from there is the peer's, as far as an address can tell.
    pub fn proves(&self, from: SocketAddr, on_rtcp_port: bool) -> bool {
        match self {
            Self::Udp(udp) => {
                let rtcp = udp.rtcp.as_ref().filter(|_| on_rtcp_port);
                rtcp.unwrap_or(&udp.rtp).proves(from)
            }
            Self::Webrtc(webrtc) => webrtc.session.knows(from),
        }
    }

    /// Whether media was taken for which neither keys nor its address speak.
    pub fn took_from_anybody(&self) -> bool {
        matches!(self, Self::Udp(udp) if udp.strange)
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
            Self::Udp(udp) => udp.handle_timeout(now, sockets),
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
            Self::Udp(udp) => udp.srtp.as_ref().map_or_else(Vec::new, Srtp::reached),
            Self::Webrtc(_) => Vec::new(),
        }
    }

    /// How far the peer's sources of SRTCP have come.
    pub fn srtcp_sources(&self) -> Vec<SrtpSource> {
        match self {
            Self::Udp(udp) => udp.srtcp().map_or_else(Vec::new, Srtp::reached_rtcp),
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
    /// Media in clear was taken from where nothing but itself says that it is the peer's.
    strange: bool,
}

/// Keys by DTLS, and how far they are. What is clear is neither taken nor sent meanwhile.
struct Dtls {
    origin: Origin,
    /// Of the RTP port, which may carry RTCP too; the [`Udp`] holds its SRTP.
    rtp_keys: Option<SdesKeys>,
    /// Of the RTCP port, if there is one: an association and an SRTP of its own (RFC 5764 §4).
    rtcp_keys: Option<SdesKeys>,
    rtcp_srtp: Option<Srtp>,
}

/// What keys are of: an association, and the certificates at its ends.
#[derive(Clone)]
struct Origin {
    association: u64,
    local_fingerprint: Option<[u8; 32]>,
    remote_fingerprints: Vec<Fingerprint>,
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
        let place = spare.iter().position(|spare| spare.fits(plan));
        let (srtp, dtls) = match place.map(|place| spare.swap_remove(place)) {
            Some(spare) => {
                let (rtcp_keys, rtcp_srtp) = spare.rtcp.unzip();
                let dtls = spare.origin.map(|origin| Dtls {
                    origin,
                    rtp_keys: Some(spare.keys),
                    rtcp_keys,
                    rtcp_srtp,
                });
                (Some(spare.srtp), dtls)
            }
            None => {
                let keys = plan.rtp_keys().map(|keys| srtp_of(keys, plan));
                let ours = certificate.fingerprint_sha256();
                let dtls = plan.dtls.as_deref();
                let dtls = dtls.map(|terms| Dtls::new(terms, ours, &plan.srtcp_sources));
                (keys.transpose()?, dtls.transpose()?)
            }
        };
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
            strange: false,
        };
        if let Err(error) = udp.secure(now, plan, certificate) {
            udp.close(now, sockets);
            return Err(error.into());
        }
        Ok(udp)
    }

    /// Adds ICE, and DTLS for the ports that have no keys yet.
    fn secure(
        &mut self,
        now: Instant,
        plan: &UdpTransport,
        certificate: &Certificate,
    ) -> Result<(), SessionError> {
        self.rtp
            .secure(now, plan, self.srtp.is_some(), certificate)?;
        let dtls = self.dtls.as_ref();
        let rtcp_keyed = dtls.is_some_and(|dtls| dtls.rtcp_srtp.is_some());
        match &mut self.rtcp {
            Some(rtcp) => rtcp.secure(now, plan, rtcp_keyed, certificate),
            None => Ok(()),
        }
    }

    /// Hands over what a transport on the same port goes on with. An association that yielded keys says
    /// no goodbye then: for the peer it goes on.
    fn take_srtp(&mut self, plan: &UdpTransport) -> Option<Spare> {
        let srtp = self.srtp.take()?;
        let (origin, keys, rtcp) = match &mut self.dtls {
            Some(dtls) => {
                let rtcp = dtls.rtcp_keys.take().zip(dtls.rtcp_srtp.take());
                (Some(dtls.origin.clone()), dtls.rtp_keys.take()?, rtcp)
            }
            None => (None, plan.sdes.clone()?, None),
        };
        self.rtp.association = None;
        if let Some(port) = self.rtcp.as_mut().filter(|_| rtcp.is_some()) {
            port.association = None;
        }
        Some(Spare {
            rtp_port: plan.rtp_port,
            origin,
            keys,
            srtp,
            rtcp,
        })
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

    /// SRTP of what comes as RTCP.
    fn srtcp(&self) -> Option<&Srtp> {
        match &self.dtls {
            Some(dtls) if self.rtcp.is_some() => dtls.rtcp_srtp.as_ref(),
            _ => self.srtp.as_ref(),
        }
    }

    fn dtls_keys(&self) -> Option<DtlsKeys> {
        let dtls = self.dtls.as_ref()?;
        // Half of them would leave the other half without a handshake.
        let whole = self.rtcp.is_none() || dtls.rtcp_keys.is_some();
        whole.then_some(DtlsKeys {
            association: dtls.origin.association,
            local_fingerprint: dtls.origin.local_fingerprint,
            remote_fingerprints: dtls.origin.remote_fingerprints.clone(),
            rtp: dtls.rtp_keys.clone()?,
            rtcp: dtls.rtcp_keys.clone(),
        })
    }

    fn handle_timeout(&mut self, now: Instant, sockets: &Sockets) {
        for port in std::iter::once(&mut self.rtp).chain(self.rtcp.as_mut()) {
            port.handle_timeout(now, sockets);
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
                if let Some(keys) = port.shake(now, from, datagram, sockets) {
                    self.take_keys(keys, on_rtcp_port, out);
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
            self.strange = false;
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
            self.strange |= !proved && !port.proves(from);
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
    srtp.take_up_rtcp(&plan.srtcp_sources);
    Ok(srtp)
}

impl Dtls {
    /// With keys that an earlier processor agreed on, by its certificate, if the plan has them, or by
    /// ours.
    fn new(
        terms: &DtlsTerms,
        ours: [u8; 32],
        srtcp_sources: &[SrtpSource],
    ) -> Result<Self, SrtpError> {
        let keys = terms.keys.as_ref();
        let origin = Origin {
            association: terms.association,
            local_fingerprint: keys.map_or(Some(ours), |keys| keys.local_fingerprint),
            remote_fingerprints: keys.map_or_else(
                || terms.remote_fingerprints.clone(),
                |keys| keys.remote_fingerprints.clone(),
            ),
        };
        let rtcp_keys = keys.and_then(|keys| keys.rtcp.clone());
        let mut rtcp_srtp = rtcp_keys.as_ref().map(Srtp::from_sdes).transpose()?;
        if let Some(srtp) = &mut rtcp_srtp {
            srtp.take_up_rtcp(srtcp_sources);
        }
        Ok(Self {
            origin,
            rtp_keys: keys.map(|keys| keys.rtp.clone()),
            rtcp_srtp,
            rtcp_keys,
        })
    }
}
