//! Transport and encryption of an accepted line.

use std::net::{IpAddr, SocketAddr};

use mcu_api::plan::{DtlsRole, SdesKeys, UdpTransport};
use rand::CryptoRng;

use super::crypto::{self, CryptoLine, KeyName};
use super::dtls::{self, Before, DtlsLine};
use super::lines::MediaLine;
use super::write::Writer;
use super::{Direction, LocalMedia, SrtpPolicy, ice};

/// How a line is protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Security {
    Clear,
    Sdes(CryptoLine),
    Dtls(dtls::Theirs),
}

impl Security {
    /// What our policy makes of an offered line; `None` refuses it. Keys under RTP/AVP are the
    /// best-effort encryption of many terminals (RFC 8643) and are taken up. DTLS goes before SDES,
    /// whose keys everybody reads who reads the signalling.
    pub(super) fn of_offer(line: &MediaLine, local: &LocalMedia) -> Option<Self> {
        if !line.is_rtp() {
            return None;
        }
        let policy = local.srtp;
        let secure = if policy == SrtpPolicy::Off {
            None
        } else {
            let dtls = local.dtls_fingerprint.and(dtls::Theirs::of_offer(line));
            let sdes = || crypto::best(line).filter(|_| !line.demands_dtls());
            dtls.map(Self::Dtls).or_else(|| sdes().map(Self::Sdes))
        };
        let clear_is_fine = policy != SrtpPolicy::Required && !line.demands_srtp();
        secure.or_else(|| clear_is_fine.then_some(Self::Clear))
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

impl LocalPorts {
    /// A transport whose peer is not known.
    pub fn bare(self) -> UdpTransport {
        UdpTransport {
            local_ip: self.ip,
            rtp_port: self.rtp,
            rtcp_port: Some(self.rtcp),
            remote_rtp: None,
            remote_rtcp: None,
            sdes: None,
            dtls: None,
            ice: None,
            srtp_sources: Vec::new(),
            srtcp_sources: Vec::new(),
            dscp: self.dscp,
        }
    }
}

/// The transport of a line that the peer described, and what we may do on it.
pub(super) fn transport(line: &MediaLine, ports: LocalPorts) -> (UdpTransport, Direction) {
    let mux = line.attribute("rtcp-mux").is_some();
    let same_family = |remote: &SocketAddr| remote.is_ipv4() == ports.ip.is_ipv4();
    let remote_rtp = line.remote_rtp().filter(same_family);
    let remote_rtcp = if mux {
        remote_rtp
    } else {
        line.remote_rtcp().filter(same_family)
    };
    let transport = UdpTransport {
        rtcp_port: (!mux).then_some(ports.rtcp),
        remote_rtp,
        remote_rtcp,
        ..ports.bare()
    };
    (transport, line.our_direction())
}

/// A line that we answer.
pub(super) struct Answered {
    pub transport: UdpTransport,
    pub direction: Direction,
    pub dtls: Option<DtlsLine>,
    pub key_name: Option<KeyName>,
    ice: ice::Theirs,
}

/// The transport of a line that we answer. Our key is that of the last exchange while the peer's is,
/// so that a session refresh changes nothing; so are association and ICE credentials.
pub(super) fn answered(
    line: &MediaLine,
    ports: LocalPorts,
    security: &Security,
    (ours, previous): (&LocalMedia, Option<Before<'_>>),
    rng: &mut impl CryptoRng,
) -> Answered {
    let (mut transport, mut direction) = transport(line, ports);
    let before = previous.map(|(transport, _)| transport);
    let same_ports = before.is_some_and(|before| before.rtcp_port == transport.rtcp_port);
    let theirs = ice::Theirs::of(line);
    transport.ice = ice::terms(&theirs, before, rng).map(Box::new);
    let (mut line, mut key_name) = (None, None);
    match security {
        Security::Clear => {}
        Security::Sdes(offered) => {
            let kept = before
                .filter(|_| same_ports)
                .and_then(|before| before.sdes.clone())
                .filter(|keys| keys.suite == offered.suite && keys.remote == offered.key);
            transport.sdes = Some(kept.unwrap_or_else(|| SdesKeys {
                suite: offered.suite,
                local: crypto::new_key(offered.suite, rng),
                remote: offered.key.clone(),
            }));
            key_name = Some(KeyName {
                tag: offered.tag.clone(),
                suite: offered.name.clone(),
            });
        }
        Security::Dtls(theirs) => {
            let fingerprint = ours.dtls_fingerprint.unwrap_or_default();
            let agreed = dtls::answered(theirs, fingerprint, previous, same_ports, rng);
            match agreed {
                Some((terms, said)) => (transport.dtls, line) = (Some(Box::new(terms)), Some(said)),
                None => {
                    // A line that waits for its keys: nobody can read anything on it.
                    direction = Direction::Inactive;
                    transport.dtls = Some(Box::new(dtls::unkeyed()));
                    line = Some(dtls::unmade(fingerprint));
                }
            }
        }
    }
    Answered {
        transport,
        direction,
        dtls: line,
        key_name,
        ice: theirs,
    }
}

impl Answered {
    /// Writes what the answer says of keys, RTCP, ICE and direction.
    pub(super) fn write(&self, writer: &mut Writer, security: &Security) {
        match (security, &self.transport.sdes, &self.dtls) {
            (Security::Sdes(offered), Some(keys), _) => {
                let value = crypto::value(&offered.tag, &offered.name, &keys.local);
                writer.attribute("crypto", value);
            }
            (Security::Dtls(theirs), _, Some(line)) => {
                let terms = self.transport.dtls.as_ref();
                let role = terms.map_or(DtlsRole::Server, |terms| terms.role);
                dtls::write(writer, line, dtls::answered_setup(theirs, role));
            }
            _ => {}
        }
        writer.rtcp(&self.transport);
        match (&self.ice, &self.transport.ice) {
            (ice::Theirs::Mismatch, _) => writer.line("a=ice-mismatch"),
            (_, Some(terms)) => ice::write(writer, terms, &self.transport),
            _ => {}
        }
    }
}

/// Whether a transport is encrypted.
pub(super) fn is_secure(transport: &UdpTransport) -> bool {
    transport.sdes.is_some() || transport.dtls.is_some()
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
        let same_ports = !is_secure(now) || before.rtcp_port == now.rtcp_port;
        before.sdes == now.sdes && before.dtls == now.dtls && same_ports
    };
    match previous {
        Some((before, ssrc)) if goes_on(before) => ssrc,
        _ => rng.next_u32(),
    }
}
