//! Ways to peers: the sockets over UDP, and the addresses that peers outside know in place of ours.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use mcu_api::call::Hop;
use mcu_api::reach::MediaAddress;
use sip::{Flow, Transport};

use super::net;
use super::udp::{FIRST, Udp};
use crate::controller::address;

/// The sockets, at most as many as are configured.
pub struct Routes {
    udp: Vec<Udp>,
    /// Where we take connections.
    streams: Vec<(Transport, SocketAddr)>,
    /// By our address, what peers are told, where that differs for some.
    translated: HashMap<IpAddr, Vec<MediaAddress>>,
}

impl Routes {
    /// The sockets, and the addresses at which we take connections. Peers are told of these addresses what
    /// media tells them.
    pub fn new(
        udp: Vec<Udp>,
        streams: Vec<(Transport, SocketAddr)>,
        addresses: &[MediaAddress],
    ) -> Self {
        let mut translated: HashMap<IpAddr, Vec<MediaAddress>> = HashMap::new();
        for address in addresses {
            let known = translated.entry(address.address).or_default();
            known.push(address.clone());
        }
        translated.retain(|_, known| known.iter().any(|a| a.advertised.is_some()));
        Self {
            udp,
            streams,
            translated,
        }
    }

    /// The flow with what this peer reaches our end of it at.
    pub fn named(&self, flow: Flow) -> Flow {
        let known = self.translated.get(&flow.local.ip());
        let told = known.and_then(|known| address::choose(known, flow.remote.ip()));
        Flow {
            advertised: told.and_then(|told| told.advertised),
            ..flow
        }
    }

    /// A way from us to somebody who has not spoken to us. None to ourselves, nor to what is no address of
    /// one host, whoever names them.
    pub fn to(&self, transport: Transport, remote: SocketAddr) -> Option<Flow> {
        if !is_of_a_host(remote) || self.is_ours(transport, remote) {
            return None;
        }
        let mut sockets = self.udp.iter();
        let flow = match transport {
            Transport::Tls => self.tls_to(remote),
            _ => sockets.find_map(|udp| udp.flow_to(transport, remote)),
        };
        flow.map(|flow| self.named(flow))
    }

    /// One that has no connection yet, and gets its number when it has.
    fn tls_to(&self, remote: SocketAddr) -> Option<Flow> {
        let listeners = self.streams.iter();
        let mut listeners = listeners.filter(|(transport, _)| *transport == Transport::Tls);
        Some(Flow {
            id: FIRST,
            transport: Transport::Tls,
            // By which the peer reaches us.
            local: listeners.find_map(|(_, listen)| net::own_side(*listen, remote))?,
            remote,
            advertised: None,
        })
    }

    /// The same to a server.
    pub fn to_hop(&self, hop: &Hop) -> Option<Flow> {
        self.to(hop.transport.into(), hop.address)
    }

    fn is_ours(&self, transport: Transport, remote: SocketAddr) -> bool {
        let udp = self.udp.iter().map(Udp::listen);
        let mut udp = udp.filter(|_| !transport.is_stream());
        let streams = self.streams.iter().map(|(_, listen)| *listen);
        let mut streams = streams.filter(|_| transport.is_stream());
        udp.any(|listen| hears(listen, remote)) || streams.any(|listen| hears(listen, remote))
    }

    /// A way from us to where a call goes. A socket of an earlier life may be gone, when the
    /// configuration has changed.
    pub fn by(&self, path: &sip::Path) -> Option<Flow> {
        let is_held = |flow: &Flow| flow.transport.is_stream() || self.socket(flow).is_some();
        let held = path.flow.filter(is_held).map(|flow| self.named(flow));
        held.or_else(|| self.to(path.transport, path.remote))
    }

    /// Sends a datagram.
    pub fn send(&self, flow: &Flow, bytes: &[u8]) {
        if let Some(udp) = self.socket(flow) {
            udp.send(flow, bytes);
        }
    }

    fn socket(&self, flow: &Flow) -> Option<&Udp> {
        self.udp.iter().find(|udp| udp.id() == flow.id)
    }
}

fn is_of_a_host(address: SocketAddr) -> bool {
    let is_host = match address.ip().to_canonical() {
        IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
    };
    is_host && address.port() != 0
}

/// Whether what is sent to this address comes to this listener of ours.
fn hears(listen: SocketAddr, remote: SocketAddr) -> bool {
    let (own, ip) = (listen.ip().to_canonical(), remote.ip().to_canonical());
    if listen.port() != remote.port() || own.is_ipv4() != ip.is_ipv4() {
        return false;
    }
    // All of 127.0.0.0/8 is this machine, and what it sends to an address of its own leaves from it.
    let is_local = || ip.is_loopback() || net::source_to(remote) == Some(ip);
    own == ip || (own.is_unspecified() && is_local())
}

#[cfg(test)]
mod tests {
    use sip::FlowId;

    use super::*;

    fn address(address: &str, advertised: Option<&str>, networks: &[&str]) -> MediaAddress {
        MediaAddress {
            address: address.parse().unwrap(),
            advertised: advertised.map(|text| text.parse().unwrap()),
            networks: networks.iter().map(|text| text.parse().unwrap()).collect(),
        }
    }

    /// Defect: terminals outside a translation of addresses were told the private address in Contact and
    /// Via, where no ACK or BYE of theirs arrives (VSEC-05).
    #[test]
    fn a_peer_is_told_what_media_tells_it_of_the_address_that_it_reached() {
        let routes = Routes::new(
            Vec::new(),
            Vec::new(),
            &[
                address("172.20.0.4", None, &["172.20.0.0/16"]),
                address("192.168.7.4", None, &["192.168.0.0/16"]),
                address("192.168.7.4", Some("203.0.113.7"), &[]),
                address("2001:db8::4", None, &[]),
            ],
        );
        for (local, remote, told) in [
            ("192.168.7.4:5060", "198.51.100.9:5060", "203.0.113.7:5060"),
            ("192.168.7.4:5061", "10.9.9.9:40000", "203.0.113.7:5061"),
            ("192.168.7.4:5060", "192.168.3.3:5060", "192.168.7.4:5060"),
            ("172.20.0.4:5060", "172.20.9.9:5060", "172.20.0.4:5060"),
            // An address that is for media of others is what SIP was dialled at all the same.
            ("172.20.0.4:5060", "198.51.100.9:5060", "172.20.0.4:5060"),
            (
                "[2001:db8::4]:5060",
                "[2001:db9::9]:5060",
                "[2001:db8::4]:5060",
            ),
            ("127.0.0.1:5060", "127.0.0.1:5070", "127.0.0.1:5060"),
        ] {
            let flow = routes.named(Flow {
                id: FlowId(0),
                transport: Transport::Udp,
                local: local.parse().unwrap(),
                remote: remote.parse().unwrap(),
                advertised: None,
            });
            assert_eq!(flow.told().to_string(), told, "{local} {remote}");
            assert_eq!(flow.local.to_string(), local, "where it is sent from");
        }
    }

    /// Defect: who answers for DNS had us call ourselves, and everybody in a network (RFC 3263 §4.2).
    #[tokio::test]
    async fn there_is_no_way_to_ourselves_nor_to_many() {
        let udp = Udp::bind("0.0.0.0:0".parse().unwrap()).await.unwrap();
        let port = udp.listen().port();
        let other = Udp::bind("127.0.0.9:0".parse().unwrap()).await.unwrap();
        let other_port = other.listen().port();
        let streams = vec![(Transport::Tcp, "0.0.0.0:5071".parse().unwrap())];
        let routes = Routes::new(vec![udp, other], streams, &[]);
        let is_there = |transport, ip: &str, port: u16| {
            let remote = SocketAddr::new(ip.parse().unwrap(), port);
            routes.to(transport, remote).is_some()
        };
        for ip in ["127.0.0.1", "127.3.2.1", "::ffff:127.0.0.1"] {
            assert!(!is_there(Transport::Udp, ip, port), "{ip}");
            assert!(!is_there(Transport::Tcp, ip, 5071), "{ip}");
        }
        assert!(!is_there(Transport::Udp, "127.0.0.9", other_port));
        for ip in ["0.0.0.0", "::", "224.0.0.1", "255.255.255.255", "ff02::1"] {
            assert!(!is_there(Transport::Udp, ip, 5062), "{ip}");
        }
        assert!(!is_there(Transport::Udp, "127.0.0.1", 0));
        // Another server on this machine.
        assert!(is_there(Transport::Udp, "127.0.0.1", 5071));
        assert!(is_there(Transport::Tcp, "127.0.0.1", 5072));
        assert!(is_there(Transport::Udp, "127.0.0.1", other_port));
    }
}
