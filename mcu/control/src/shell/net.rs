//! Sockets bound for one family alone, and the mark of signalling.

use std::net::SocketAddr;
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
