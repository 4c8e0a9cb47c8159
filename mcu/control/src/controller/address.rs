//! Which of our addresses a peer is told to send its media to.

use std::cmp::Reverse;
use std::net::IpAddr;

use mcu_api::reach::MediaAddress;

/// Bits that two private addresses must share to count as one network: a hospital's sites usually
/// lie in one such block.
const NEAR_BITS: u32 = 8;

/// The address among `announced` (in order of preference) that a peer that was seen at `peer` most
/// likely reaches, of its own family: that for the narrowest network in which it is, else the best of
/// those for no particular network ([`choose_open`]).
pub fn choose(announced: &[MediaAddress], peer: IpAddr) -> Option<&MediaAddress> {
    let peer = peer.to_canonical();
    let of_family = announced
        .iter()
        .filter(|a| a.told().is_ipv4() == peer.is_ipv4());
    let named = of_family.filter_map(|a| Some((a.narrowest(peer)?, a)));
    // The first of equals: minimum of the reverse, where `max_by_key` would take the last.
    let named = named.min_by_key(|(bits, _)| Reverse(*bits));
    let named = named.map(|(_, address)| address);
    named.or_else(|| choose_open(announced, peer))
}

/// The same for a peer that says to be at `peer`, where it was not seen: what is for particular networks
/// it is not told. Loopback for loopback, the nearest private network for a private address, the first
/// public one otherwise, else the first. `None` when none is of this family.
pub fn choose_open(announced: &[MediaAddress], peer: IpAddr) -> Option<&MediaAddress> {
    let peer = peer.to_canonical();
    let is_open = |a: &&MediaAddress| a.networks.is_empty() && a.told().is_ipv4() == peer.is_ipv4();
    let open: Vec<&MediaAddress> = announced.iter().filter(is_open).collect();
    nearest(&open, peer)
}

fn nearest<'a>(family: &[&'a MediaAddress], peer: IpAddr) -> Option<&'a MediaAddress> {
    let scope = Scope::of(peer);
    let near = family
        .iter()
        .filter(|a| Scope::of(a.told()) == scope)
        .filter(|a| scope != Scope::Private || common_bits(a.told(), peer) >= NEAR_BITS)
        .min_by_key(|a| match scope {
            Scope::Private => Reverse(common_bits(a.told(), peer)),
            Scope::Loopback | Scope::Public => Reverse(0),
        });
    let far = || {
        family
            .iter()
            .find(|a| Scope::of(a.told()) != Scope::Loopback)
    };
    near.or_else(far).or(family.first()).copied()
}

/// The addresses among `announced` that a browser is told, which tries them all: those for networks in
/// which it was seen, at `peer`, and those for none in particular, of both families.
pub fn told(announced: &[MediaAddress], peer: Option<IpAddr>) -> Vec<IpAddr> {
    let fits = |a: &&MediaAddress| {
        a.networks.is_empty() || peer.is_some_and(|peer| a.narrowest(peer).is_some())
    };
    let mut told = Vec::new();
    let fitting = announced.iter().filter(fits).map(MediaAddress::told);
    for address in fitting {
        if !told.contains(&address) {
            told.push(address);
        }
    }
    told
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Loopback,
    Private,
    Public,
}

impl Scope {
    fn of(ip: IpAddr) -> Self {
        let private = match ip {
            IpAddr::V4(v4) => v4.is_private() || v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
        };
        match (ip.is_loopback(), private) {
            (true, _) => Self::Loopback,
            (false, true) => Self::Private,
            (false, false) => Self::Public,
        }
    }
}

/// Leading bits that are equal; 0 for addresses of two families.
fn common_bits(a: IpAddr, b: IpAddr) -> u32 {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_follows_the_peers_network() {
        let all = [
            "203.0.113.5",
            "192.168.7.1",
            "10.1.0.1",
            "10.2.0.1",
            "127.0.0.1",
            "2001:db8::5",
            "fd00::1",
        ];
        let first_private = ["10.2.0.1", "203.0.113.5"];
        for (announced, peer, expected) in [
            (&all[..], "127.0.0.1", Some("127.0.0.1")),
            (&all, "127.8.8.8", Some("127.0.0.1")),
            (&all, "10.1.44.9", Some("10.1.0.1")),
            (&all, "10.2.44.9", Some("10.2.0.1")),
            (&all, "10.2.0.1", Some("10.2.0.1")),
            (&all, "192.168.7.200", Some("192.168.7.1")),
            (&all, "172.16.3.3", Some("203.0.113.5")),
            (&all, "198.51.100.9", Some("203.0.113.5")),
            (&all, "::ffff:10.1.44.9", Some("10.1.0.1")),
            (&all, "2001:db8:1::9", Some("2001:db8::5")),
            (&all, "fd00::9", Some("fd00::1")),
            (&first_private, "198.51.100.9", Some("203.0.113.5")),
            (&["10.2.0.1"], "198.51.100.9", Some("10.2.0.1")),
            (&["127.0.0.1"], "198.51.100.9", Some("127.0.0.1")),
            (&["10.2.0.1"], "127.0.0.1", Some("10.2.0.1")),
            (&["10.2.0.1"], "2001:db8::9", None),
            (&[], "10.2.0.1", None),
        ] {
            let list: Vec<IpAddr> = announced.iter().map(|ip| ip.parse().unwrap()).collect();
            let list: Vec<MediaAddress> = list.into_iter().map(MediaAddress::from).collect();
            let chosen = choose(&list, peer.parse().unwrap());
            assert_eq!(
                chosen.map(|a| a.told().to_string()).as_deref(),
                expected,
                "peer {peer}"
            );
        }
    }

    /// A line of the region's hospitals, the hospital's own network, the internet by a translation of
    /// addresses, and IPv6.
    fn hospital() -> Vec<MediaAddress> {
        let address = |address: &str, advertised: Option<&str>, networks: &[&str]| MediaAddress {
            address: address.parse().unwrap(),
            advertised: advertised.map(|text| text.parse().unwrap()),
            networks: networks.iter().map(|text| text.parse().unwrap()).collect(),
        };
        vec![
            address("172.20.0.4", None, &["172.20.0.0/16", "10.64.0.0/10"]),
            address("192.168.7.4", None, &["192.168.0.0/16", "10.64.9.0/24"]),
            address("192.168.7.4", Some("203.0.113.7"), &[]),
            address("2001:db8::4", None, &["2001:db8::/32"]),
        ]
    }

    #[test]
    fn a_peer_is_told_the_address_for_its_network() {
        let all = hospital();
        for (peer, expected) in [
            ("172.20.200.1", "172.20.0.4"),
            ("10.64.8.1", "172.20.0.4"),
            ("10.64.9.1", "192.168.7.4"),
            ("::ffff:192.168.3.3", "192.168.7.4"),
            ("198.51.100.9", "203.0.113.7"),
            ("10.1.1.1", "203.0.113.7"),
            ("2001:db8::9", "2001:db8::4"),
        ] {
            let chosen = choose(&all, peer.parse().unwrap()).unwrap();
            assert_eq!(chosen.told().to_string(), expected, "peer {peer}");
        }
        let translated = choose(&all, "198.51.100.9".parse().unwrap()).unwrap();
        assert_eq!(translated.address.to_string(), "192.168.7.4");
    }

    /// Defect: who said to be in a private network, or was of a family without an open address, was told
    /// addresses that are for the peers of other networks alone (VSEC-05).
    #[test]
    fn an_address_for_networks_is_told_only_to_who_was_seen_in_them() {
        let all = hospital();
        let outside = "2001:db9::9".parse().unwrap();
        assert_eq!(choose(&all, outside), None);
        for claimed in ["172.20.200.1", "10.64.9.1", "192.168.3.3"] {
            let chosen = choose_open(&all, claimed.parse().unwrap()).unwrap();
            assert_eq!(chosen.told().to_string(), "203.0.113.7", "{claimed}");
        }
        assert_eq!(choose_open(&all, "2001:db8::9".parse().unwrap()), None);
    }

    #[test]
    fn a_browser_is_told_all_that_it_may_reach() {
        let all = hospital();
        for (peer, expected) in [
            (Some("172.20.200.1"), &["172.20.0.4", "203.0.113.7"][..]),
            (Some("198.51.100.9"), &["203.0.113.7"]),
            (Some("2001:db8::9"), &["203.0.113.7", "2001:db8::4"]),
            // Of the other family it is not known where they are.
            (Some("2001:db9::9"), &["203.0.113.7"]),
            (None, &["203.0.113.7"]),
        ] {
            let told = told(&all, peer.map(|text| text.parse().unwrap()));
            let told: Vec<String> = told.iter().map(ToString::to_string).collect();
            assert_eq!(told, expected, "peer {peer:?}");
        }
        let line = told(&all[..1], Some("198.51.100.9".parse().unwrap()));
        assert_eq!(line, [] as [IpAddr; 0], "not to a stranger");
    }
}
