//! Sockets of the worker: one for UDP shared by all browsers, one or two for each stream of a terminal,
//! and the TCP connections of browsers.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Instant;

use mcu_api::ids::{LegId, RoomId};
use mcu_rtp::framing::Urgency;
use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::streams::Streams;

/// Kernel buffer in bytes: a key frame of every leg may arrive at the shared socket at once.
const SHARED_BUFFER: usize = 4 << 20;
/// Kernel buffer in bytes of one stream's socket: two seconds at 1 Mbit/s.
const LEG_BUFFER: usize = 256 << 10;

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Every browser's packets.
    Shared,
    /// One browser's packets, by TCP.
    Stream,
    /// One transport of one leg.
    Leg {
        /// Room of the leg.
        room: RoomId,
        /// The leg.
        leg: LegId,
        /// Index into the plan's transports.
        transport: usize,
        /// RTCP only, on a port of its own.
        rtcp: bool,
    },
}

/// All sockets, by token.
pub struct Sockets {
    registry: Registry,
    open: HashMap<Token, (UdpSocket, Purpose)>,
    streams: Streams,
    next: usize,
}

impl Sockets {
    /// No socket yet; tokens start at `first`.
    pub fn new(registry: Registry, first: usize) -> Self {
        Self {
            registry,
            open: HashMap::new(),
            streams: Streams::default(),
            next: first,
        }
    }

    /// Binds a socket whose packets carry `dscp` (RFC 2474, 0 to 63).
    pub fn open(&mut self, local: SocketAddr, dscp: u8, purpose: Purpose) -> io::Result<Token> {
        let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
        if local.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        let buffer = if purpose == Purpose::Shared {
            SHARED_BUFFER
        } else {
            LEG_BUFFER
        };
        // The kernel caps these silently; what it grants is enough to start.
        socket.set_recv_buffer_size(buffer)?;
        socket.set_send_buffer_size(buffer)?;
        socket.set_nonblocking(true)?;
        socket.bind(&local.into())?;
        let mut socket = UdpSocket::from_std(socket.into());
        let token = Token(self.next);
        self.registry
            .register(&mut socket, token, Interest::READABLE)?;
        self.next += 1;
        self.open.insert(token, (socket, purpose));
        self.mark(token, dscp);
        Ok(token)
    }

    /// Changes the DSCP mark of what leaves by a socket. A kernel that refuses costs priority only.
    pub fn mark(&self, token: Token, dscp: u8) {
        let Some((socket, _)) = self.open.get(&token) else {
            return;
        };
        let tos = u32::from(dscp) << 2;
        let is_ipv6 = socket.local_addr().is_ok_and(|address| address.is_ipv6());
        let socket = SockRef::from(socket);
        // Linux takes an IPv4 mark for an IPv6 socket without a word, and without an effect.
        let _ = if is_ipv6 {
            socket.set_tclass_v6(tos)
        } else {
            socket.set_tos_v4(tos)
        };
    }

    /// Closes a socket.
    pub fn close(&mut self, token: Token) {
        if let Some((mut socket, _)) = self.open.remove(&token) {
            let _ = self.registry.deregister(&mut socket);
        }
    }

    /// What a socket is for; `None` when it was closed meanwhile.
    pub fn purpose(&self, token: Token) -> Option<Purpose> {
        let stream = || self.streams.has(token).then_some(Purpose::Stream);
        let socket = self.open.get(&token).map(|(_, purpose)| *purpose);
        socket.or_else(stream)
    }

    /// Next packet into `buffer`; `None` when there is none now.
    pub fn receive(
        &mut self,
        now: Instant,
        token: Token,
        buffer: &mut [u8],
    ) -> Option<(usize, SocketAddr)> {
        let Some((socket, _)) = self.open.get(&token) else {
            return self.streams.receive(now, token, buffer, &self.registry);
        };
        loop {
            match socket.recv_from(buffer) {
                Ok(received) => return Some(received),
                // ICMP errors of earlier sends (port unreachable) surface here: not about this socket.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }

    /// Sends a datagram. What the kernel has no room for is lost like any packet.
    pub fn send(&self, token: Token, datagram: &[u8], to: SocketAddr) {
        if let Some((socket, _)) = self.open.get(&token) {
            let _ = socket.send_to(datagram, to);
        }
    }

    /// Takes a browser's TCP connection over, or closes it.
    pub fn add_stream(&mut self, now: Instant, socket: OwnedFd) {
        let token = Token(self.next);
        self.next += 1;
        if let Err(reason) = self.streams.add(now, socket, token, &self.registry) {
            tracing::info!(%reason, "browser's connection refused");
        }
    }

    /// Closes a TCP connection: one that was a leg's after our goodbye.
    pub fn close_stream(&mut self, now: Instant, token: Token) {
        match self.streams.ufrag(token) {
            Some(_) => self.streams.leave(now, token, &self.registry),
            None => self.streams.remove(token, &self.registry),
        }
    }

    /// Writes the goodbyes to all TCP connections before the process ends.
    pub fn leave_streams(&mut self, now: Instant) {
        self.streams.leave_all(now, &self.registry);
    }

    /// The TCP connections, to look up and to name.
    pub fn streams(&mut self) -> &mut Streams {
        &mut self.streams
    }

    /// Queues a packet for a browser that is connected by TCP; `false` when this one is not.
    pub fn send_stream(
        &self,
        ufrag: &str,
        to: SocketAddr,
        packet: &[u8],
        urgency: Urgency,
    ) -> bool {
        self.streams.send(ufrag, to, packet, urgency)
    }

    /// Writes what waits for TCP connections.
    pub fn flush_streams(&mut self) {
        self.streams.flush(&self.registry);
    }

    /// Closes TCP connections that are of no use.
    pub fn sweep_streams(&mut self, now: Instant, is_leg: impl Fn(&str) -> bool) {
        self.streams.sweep(now, &self.registry, is_leg);
    }

    /// Open sockets.
    pub fn len(&self) -> usize {
        self.open.len() + self.streams.len()
    }
}
