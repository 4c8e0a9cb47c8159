//! Sockets bound for one family alone, the mark of signalling, and addresses as sockets of both families
//! give them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, setsockopt, socket, sockopt,
};

/// DSCP of signalling: class selector 5 (RFC 4594 §4.2).
const DSCP: u8 = 40;

/// Binds a socket that does not block. One of IPv6 takes no IPv4, so that each family can have a
/// listener at the same port.
pub fn bind(listen: SocketAddr, kind: SockType) -> nix::Result<OwnedFd> {
    let family = match listen {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(family, kind, flags, None)?;
    if listen.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    if kind == SockType::Stream {
        // A controller that comes back finds connections of its last life still closing.
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    }
    mark(&socket, listen.is_ipv6());
    nix::sys::socket::bind(socket.as_raw_fd(), &SockaddrStorage::from(listen))?;
    Ok(socket)
}

/// Marks what leaves by a socket as signalling (NSEC-01); connections that it accepts inherit that. A
/// kernel that refuses costs priority only.
pub fn mark(socket: &impl AsFd, is_ipv6: bool) {
    let tos = i32::from(DSCP) << 2;
    // One of IPv6 may carry IPv4, too, whose mark is another.
    let _ = setsockopt(socket, sockopt::Ipv4Tos, &tos);
    if is_ipv6 {
        let _ = setsockopt(socket, sockopt::Ipv6TClass, &tos);
    }
}

/// A peer's address as everything knows it: one of IPv4 that IPv6 maps is of IPv4, and a link-local one
/// keeps its interface, without which there is no way back (RFC 4007 §6).
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match (address, address.ip().to_canonical()) {
        (SocketAddr::V6(v6), IpAddr::V6(ip)) => {
            SocketAddrV6::new(ip, v6.port(), 0, v6.scope_id()).into()
        }
        (_, ip) => SocketAddr::new(ip, address.port()),
    }
}

/// The address that the kernel would send from to this peer; `None` where there is no way to it.
pub fn source_to(remote: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Connecting a UDP socket sends nothing: it only looks up the route.
    let probe = std::net::UdpSocket::bind((any, 0)).ok()?;
    probe.connect(remote).ok()?;
    Some(probe.local_addr().ok()?.ip())
}

/// Where we are for a peer that has not spoken to us: the address that the kernel would send from, at the
/// port on which we listen. `None` where a listener at this address does not reach it.
pub fn own_side(listen: SocketAddr, remote: SocketAddr) -> Option<SocketAddr> {
    let mut local = listen.ip().to_canonical();
    if local.is_unspecified() {
        local = source_to(remote)?;
    }
    let is_same_family = local.is_ipv4() == remote.is_ipv4();
    is_same_family.then(|| SocketAddr::new(local, listen.port()))
}

/// An address of ours for a socket that sends to a peer: at the peer's interface where it is link-local.
pub fn facing(local: IpAddr, remote: SocketAddr) -> SocketAddr {
    let mut local = SocketAddr::new(local, 0);
    if let (SocketAddr::V6(local), SocketAddr::V6(remote)) = (&mut local, remote) {
        local.set_scope_id(remote.scope_id());
    }
    local
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_of_ipv4_is_one_and_a_link_local_peer_keeps_its_interface() {
        for (given, known) in [
            ("[::ffff:192.0.2.1]:5060", "192.0.2.1:5060"),
            ("192.0.2.1:5060", "192.0.2.1:5060"),
            ("[2001:db8::1]:5060", "[2001:db8::1]:5060"),
            ("[fe80::1%7]:5060", "[fe80::1%7]:5060"),
        ] {
            assert_eq!(canonical(given.parse().unwrap()).to_string(), known);
        }
    }
}
