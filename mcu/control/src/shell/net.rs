//! Sockets bound for one family alone.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, setsockopt, socket, sockopt,
};

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
    nix::sys::socket::bind(socket.as_raw_fd(), &SockaddrStorage::from(listen))?;
    Ok(socket)
}
