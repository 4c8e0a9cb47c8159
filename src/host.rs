//! Addresses of this host.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::Path;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::SockaddrStorage;

/// An address of an interface.
struct Held {
    address: IpAddr,
    /// Of a bridge, which mostly leads to containers and virtual machines of this host alone.
    bridge: bool,
}

/// The wildcard address that takes both families; that of IPv4 on a host where none does.
pub fn any() -> IpAddr {
    let v6 = IpAddr::from(Ipv6Addr::UNSPECIFIED);
    let both = fs::read_to_string("/proc/sys/net/ipv6/bindv6only").is_ok_and(|on| on.trim() == "0");
    match both && UdpSocket::bind((v6, 0)).is_ok() {
        true => v6,
        false => Ipv4Addr::UNSPECIFIED.into(),
    }
}

/// Addresses at which peers may reach this host, the likeliest first; loopback on a host without
/// network.
pub fn addresses() -> Vec<IpAddr> {
    arrange(default_routes(), &held())
}

/// Those of default routes, then those of other interfaces. A bridge's counts only where there is
/// nothing else: many hosts have the same one, so that a peer could not tell them apart.
fn arrange(routes: Vec<IpAddr>, held: &[Held]) -> Vec<IpAddr> {
    let of = |bridge| {
        let held = held.iter().filter(move |held| held.bridge == bridge);
        held.map(|held| held.address)
    };
    let mut found = Vec::new();
    for address in routes.into_iter().chain(of(false)) {
        if is_reachable(address) && !found.contains(&address) {
            found.push(address);
        }
    }
    if found.is_empty() {
        found.extend(of(true).filter(|address| is_reachable(*address)));
    }
    if found.is_empty() {
        let v4 = IpAddr::from(Ipv4Addr::LOCALHOST);
        let mut addresses = held.iter().map(|held| held.address);
        let only_v6 = !addresses.clone().any(|ip| ip == v4);
        let v6 = addresses.find(|ip| ip.is_ipv6() && ip.is_loopback());
        found.push(v6.filter(|_| only_v6).unwrap_or(v4));
    }
    found
}

/// Whether peers in other networks may know it.
fn is_reachable(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !link_local && !address.is_loopback() && !address.is_unspecified()
}

/// Source addresses this host would use towards the world.
/// Nothing is sent: connecting a UDP socket only asks the routing table.
fn default_routes() -> Vec<IpAddr> {
    let towards = |local: &str, remote: &str| {
        let socket = UdpSocket::bind(local).ok()?;
        socket.connect(remote).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    [
        towards("0.0.0.0:0", "192.0.2.1:9"),
        towards("[::]:0", "[2001:db8::1]:9"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Addresses of all interfaces that are up.
fn held() -> Vec<Held> {
    let interfaces = getifaddrs().into_iter().flatten();
    interfaces
        .filter(|interface| interface.flags.contains(InterfaceFlags::IFF_UP))
        .filter_map(|interface| {
            Some(Held {
                address: ip_of(&interface.address?)?,
                bridge: Path::new("/sys/class/net")
                    .join(&interface.interface_name)
                    .join("bridge")
                    .exists(),
            })
        })
        .collect()
}

fn ip_of(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(text: &str, bridge: bool) -> Held {
        let address = text.parse().unwrap();
        Held { address, bridge }
    }

    fn arranged(routes: &[&str], held: &[Held]) -> Vec<String> {
        let routes = routes.iter().map(|text| text.parse().unwrap()).collect();
        let found = arrange(routes, held);
        found.iter().map(ToString::to_string).collect()
    }

    /// Defect: without a default route only loopback was found, though terminals of the same network
    /// reach the host.
    #[test]
    fn a_host_without_default_route_has_the_addresses_of_its_interfaces() {
        let interfaces = [
            held("127.0.0.1", false),
            held("10.1.2.3", false),
            held("172.17.0.1", true),
            held("fe80::1", false),
            held("fd00::3", false),
            held("169.254.7.7", false),
        ];
        assert_eq!(arranged(&[], &interfaces), ["10.1.2.3", "fd00::3"]);
        assert_eq!(
            arranged(&["fd00::3"], &interfaces),
            ["fd00::3", "10.1.2.3"],
            "the default route's comes first, and once"
        );
    }

    #[test]
    fn a_bridge_and_then_loopback_are_what_is_left() {
        let bridge = [held("127.0.0.1", false), held("172.17.0.1", true)];
        assert_eq!(arranged(&[], &bridge), ["172.17.0.1"]);
        assert_eq!(arranged(&[], &bridge[..1]), ["127.0.0.1"]);
        let both = [held("::1", false), held("127.0.0.1", false)];
        assert_eq!(arranged(&[], &both), ["127.0.0.1"]);
        assert_eq!(arranged(&[], &both[..1]), ["::1"]);
    }

    #[test]
    fn this_host_has_addresses_of_its_own() {
        let found = addresses();
        assert!(!found.is_empty());
        assert!(found.iter().all(|ip| UdpSocket::bind((*ip, 0)).is_ok()));
    }
}
