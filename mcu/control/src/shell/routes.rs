//! Ways to peers: the sockets over UDP, and the addresses that peers outside know in place of ours.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use mcu_api::reach::MediaAddress;
use sip::{Flow, Transport};

use super::net;
use super::udp::{FIRST, Udp};
use crate::controller::address;

/// The sockets, at most as many as are configured.
pub struct Routes {
    udp: Vec<Udp>,
    /// Where peers reach us over TLS.
    tls: Vec<SocketAddr>,
    /// By our address, what peers are told, where that differs for some.
    translated: HashMap<IpAddr, Vec<MediaAddress>>,
}

impl Routes {
    /// Peers are told of these addresses what media tells them.
    pub fn new(udp: Vec<Udp>, tls: Vec<SocketAddr>, addresses: &[MediaAddress]) -> Self {
        let mut translated: HashMap<IpAddr, Vec<MediaAddress>> = HashMap::new();
        for address in addresses {
            let known = translated.entry(address.address).or_default();
            known.push(address.clone());
        }
        translated.retain(|_, known| known.iter().any(|a| a.advertised.is_some()));
        Self {
            udp,
            tls,
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

    /// A way from us to somebody who has not spoken to us.
    pub fn to(&self, transport: Transport, remote: SocketAddr) -> Option<Flow> {
        let mut sockets = self.udp.iter();
        let flow = match transport {
            Transport::Tls => self.tls_to(remote),
            _ => sockets.find_map(|udp| udp.flow_to(transport, remote)),
        };
        flow.map(|flow| self.named(flow))
    }

    /// One that has no connection yet, and gets its number when it has.
    fn tls_to(&self, remote: SocketAddr) -> Option<Flow> {
        let mut listeners = self.tls.iter();
        Some(Flow {
            id: FIRST,
            transport: Transport::Tls,
            local: listeners.find_map(|listen| net::own_side(*listen, remote))?,
            remote,
            advertised: None,
        })
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
}
