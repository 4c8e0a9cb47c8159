//! Which of our addresses a peer is told to send its media to.

use std::cmp::Reverse;
use std::net::IpAddr;

/// Bits that two private addresses must share to count as one network: a hospital's sites usually
/// lie in one such block.
const NEAR_BITS: u32 = 8;

/// The address among `announced` (in order of preference) that a peer at `peer` most likely
/// reaches: of its own family, loopback for loopback, the nearest private network for a private
/// address, the first public one otherwise, else the first of the family. `None` when none is of the
/// peer's family.
pub fn choose(announced: &[IpAddr], peer: IpAddr) -> Option<IpAddr> {
    let peer = peer.to_canonical();
    let family: Vec<IpAddr> = announced
        .iter()
        .copied()
        .filter(|ip| ip.is_ipv4() == peer.is_ipv4())
        .collect();
    let scope = Scope::of(peer);
    let near = family
        .iter()
        .filter(|ip| Scope::of(**ip) == scope)
        .filter(|ip| scope != Scope::Private || common_bits(**ip, peer) >= NEAR_BITS)
        // The first of equals: minimum of the reverse, where `max_by_key` would take the last.
        .min_by_key(|ip| match scope {
            Scope::Private => Reverse(common_bits(**ip, peer)),
            Scope::Loopback | Scope::Public => Reverse(0),
        });
    near.or_else(|| family.iter().find(|ip| Scope::of(**ip) != Scope::Loopback))
        .or(family.first())
        .copied()
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
            let chosen = choose(&list, peer.parse().unwrap());
            assert_eq!(
                chosen.map(|ip| ip.to_string()).as_deref(),
                expected,
                "peer {peer}"
            );
        }
    }
}
