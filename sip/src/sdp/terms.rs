//! Transport and encryption of an accepted line.

use std::net::{IpAddr, SocketAddr};

use mcu_api::plan::{SdesKeys, UdpTransport};
use rand::CryptoRng;

use super::crypto::{self, CryptoLine};
use super::lines::MediaLine;
use super::{Direction, SrtpPolicy};

/// How a line is protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Security {
    Clear,
    Sdes(CryptoLine),
}

impl Security {
    /// What our policy makes of an offered line; `None` refuses it. Keys under RTP/AVP are the
    /// best-effort encryption of many terminals and are taken up.
    pub(super) fn of_offer(line: &MediaLine, policy: SrtpPolicy) -> Option<Self> {
        if !line.is_plain_rtp() {
            return None;
        }
        let keys = match policy {
            SrtpPolicy::Off => None,
            SrtpPolicy::Allowed | SrtpPolicy::Required => crypto::best(line),
        };
        let clear_is_fine = policy != SrtpPolicy::Required && !line.demands_srtp();
        keys.map(Self::Sdes)
            .or_else(|| clear_is_fine.then_some(Self::Clear))
    }
}

/// Our address and ports for one line.
#[derive(Clone, Copy, Debug)]
pub(super) struct LocalPorts {
    pub ip: IpAddr,
    pub rtp: u16,
    pub rtcp: u16,
    pub dscp: u8,
}

/// The transport of a line that the peer described, and what we may do on it.
pub(super) fn transport(
    line: &MediaLine,
    ports: LocalPorts,
    sdes: Option<SdesKeys>,
) -> (UdpTransport, Direction) {
    let mux = line.attribute("rtcp-mux").is_some();
    let same_family = |remote: &SocketAddr| remote.is_ipv4() == ports.ip.is_ipv4();
    let remote_rtp = line.remote_rtp().filter(same_family);
    let remote_rtcp = if mux {
        remote_rtp
    } else {
        line.remote_rtcp().filter(same_family)
    };
    let transport = UdpTransport {
        local_ip: ports.ip,
        rtp_port: ports.rtp,
        rtcp_port: (!mux).then_some(ports.rtcp),
        remote_rtp,
        remote_rtcp,
        sdes,
        srtp_sources: Vec::new(),
        dscp: ports.dscp,
    };
    (transport, line.our_direction())
}

/// The transport of a line that we answer. Our key is that of the last exchange while the peer's is,
/// so that a session refresh changes nothing.
pub(super) fn answered(
    line: &MediaLine,
    ports: LocalPorts,
    security: &Security,
    previous: Option<&UdpTransport>,
    rng: &mut impl CryptoRng,
) -> (UdpTransport, Direction) {
    let (mut transport, direction) = transport(line, ports, None);
    let Security::Sdes(offered) = security else {
        return (transport, direction);
    };
    let kept = previous
        .filter(|before| before.rtcp_port == transport.rtcp_port)
        .and_then(|before| before.sdes.clone())
        .filter(|keys| keys.suite == offered.suite && keys.remote == offered.key);
    transport.sdes = Some(kept.unwrap_or_else(|| SdesKeys {
        suite: offered.suite,
        local: crypto::new_key(offered.suite, rng),
        remote: offered.key.clone(),
    }));
    (transport, direction)
}

/// Our SSRC on a transport; `previous` is that of the last exchange with the SSRC there. A transport
/// with other keys, or with keys and other ports, is made anew, and its packets are counted from
/// zero: under the same key and SSRC a key stream would be used twice (RFC 3711 §9.1).
pub(super) fn ssrc(
    previous: Option<(&UdpTransport, u32)>,
    now: &UdpTransport,
    rng: &mut impl CryptoRng,
) -> u32 {
    let goes_on = |before: &UdpTransport| {
        let same_ports = now.sdes.is_none() || before.rtcp_port == now.rtcp_port;
        before.sdes == now.sdes && same_ports
    };
    match previous {
        Some((before, ssrc)) if goes_on(before) => ssrc,
        _ => rng.next_u32(),
    }
}
