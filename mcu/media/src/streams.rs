//! TCP connections of browsers that no UDP reaches (RFC 6544), and the door by which they come.
//!
//! They are made to the page's own port. The manager, which listens there, looks at their first
//! bytes without taking them and hands the connection over as it is (SCM_RIGHTS, unix(7)). From then
//! on it is this process's alone: a manager that dies takes no media with it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::io::{self, ErrorKind, IoSliceMut, Read, Write};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mcu_rtp::framing::{Reader, Urgency, Writer};
use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use socket2::SockRef;

/// Connections of all browsers. One that comes when there are as many is closed.
const MAX_STREAMS: usize = 1_024;
/// Connections from one address: a hospital's browsers often share it. Further ones are closed.
const MAX_PER_SOURCE: usize = 100;

/// Connections on which no authentic check has come yet, of all and of one source. Further ones are
/// closed, so that strangers do not take the places of those who talk.
const MAX_UNPROVEN: usize = 512;
const MAX_UNPROVEN_PER_SOURCE: usize = 32;

/// Reads after which a packet must be whole: who sends nothing but empty frames is not to hold the
/// worker.
const MAX_READS: usize = 64;
/// Connections of one leg: one for each pair of addresses. Further ones are closed.
const MAX_PER_LEG: usize = 8;
/// Time for the first authentic check.
const PROOF: Duration = Duration::from_secs(10);
/// A connection by which nothing came for this long is closed: browsers check on the path in use
/// every 2.5 s, on others every 15 s or so.
const SILENCE: Duration = Duration::from_secs(40);
/// Time for the peer to read our goodbye and to close its side.
const LINGER: Duration = Duration::from_secs(3);
/// Bytes in the kernel that wait to be sent, beyond those on their way: what waits longer waits in
/// our queue, where pictures can be dropped.
const UNSENT: u32 = 32 << 10;
/// Bytes read at once.
const READ: usize = 16 << 10;

/// Where the manager hands connections over.
pub struct Door {
    socket: UnixDatagram,
}

impl Door {
    /// Opens the socket at `path`, replacing what a former life left there.
    pub fn open(path: &Path, registry: &Registry, token: Token) -> anyhow::Result<Self> {
        let _ = fs::remove_file(path);
        let socket =
            UnixDatagram::bind(path).with_context(|| format!("listen on {}", path.display()))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))
            .with_context(|| format!("close {} to others", path.display()))?;
        socket.set_nonblocking(true).context("do not block")?;
        registry
            .register(
                &mut SourceFd(&socket.as_raw_fd()),
                token,
                Interest::READABLE,
            )
            .context("wait for connections")?;
        Ok(Self { socket })
    }

    /// The next connection that was handed over; `None` when there is none now.
    pub fn take(&self) -> Option<OwnedFd> {
        loop {
            let mut byte = [0];
            let mut parts = [IoSliceMut::new(&mut byte)];
            let mut space = nix::cmsg_space!([RawFd; 1]);
            let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
            let message =
                match recvmsg::<()>(self.socket.as_raw_fd(), &mut parts, Some(&mut space), flags) {
                    Ok(message) => message,
                    Err(nix::Error::EINTR) => continue,
                    Err(_) => return None,
                };
            for control in message.cmsgs().into_iter().flatten() {
                if let ControlMessageOwned::ScmRights(sockets) = control
                    && let Some(socket) = sockets.first()
                {
                    // SAFETY: the kernel has just made this descriptor for us; there is room for one.
                    return Some(unsafe { OwnedFd::from_raw_fd(*socket) });
                }
            }
        }
    }
}

/// A connection that ended, of a leg that may know it as a path.
pub struct Ended {
    /// ICE user fragment of the leg.
    pub ufrag: String,
    /// The browser's address.
    pub peer: SocketAddr,
}

/// All connections, by token.
#[derive(Default)]
pub struct Streams {
    open: HashMap<Token, Stream>,
    /// Those from one address and port of a peer: it may have connected to several of our addresses.
    by_peer: HashMap<SocketAddr, Vec<Token>>,
    /// With something to write. Filled while packets are sent, emptied at the end of the turn, so that
    /// what one turn sends leaves in one write.
    unflushed: RefCell<Vec<Token>>,
    /// Since the worker last looked.
    ended: Vec<Ended>,
}

struct Stream {
    socket: TcpStream,
    local: SocketAddr,
    peer: SocketAddr,
    /// ICE user fragment of the leg, once a check named it.
    ufrag: Option<String>,
    /// An authentic check came.
    proven: bool,
    opened: Instant,
    heard: Instant,
    /// Its leg is gone: what waits is still written, what comes is thrown away.
    leaving: Option<Instant>,
    reader: Reader,
    /// Only ever borrowed for one push or one flush.
    out: RefCell<Out>,
}

#[derive(Default)]
struct Out {
    writer: Writer,
    /// The peer has not read for too long: to be closed at the next flush.
    given_up: bool,
}

impl Streams {
    /// Takes a connection over under this token.
    ///
    /// # Errors
    /// When it is no TCP connection, or there are too many.
    pub fn add(
        &mut self,
        now: Instant,
        socket: OwnedFd,
        token: Token,
        registry: &Registry,
    ) -> io::Result<()> {
        let socket = std::net::TcpStream::from(socket);
        // An IPv6 socket that takes IPv4, too, shows mapped addresses; checks are to name the real one.
        let canonical = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
        let (local, peer) = (
            canonical(socket.local_addr()?),
            canonical(socket.peer_addr()?),
        );
        if self.is_full(source(peer.ip())) {
            return Err(io::Error::other("too many connections"));
        }
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        // A kernel that refuses costs delay only.
        let _ = SockRef::from(&socket).set_tcp_notsent_lowat(UNSENT);
        let mut socket = TcpStream::from_std(socket);
        registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        // The same pair again: the former connection is dead, or soon will be.
        let same_pair = |token: &&Token| self.open.get(token).is_some_and(|s| s.local == local);
        let former = self.by_peer.get(&peer).into_iter().flatten();
        if let Some(former) = former.copied().find(|token| same_pair(&token)) {
            self.remove(former, registry);
        }
        self.by_peer.entry(peer).or_default().push(token);
        let stream = Stream {
            socket,
            local,
            peer,
            ufrag: None,
            proven: false,
            opened: now,
            heard: now,
            leaving: None,
            reader: Reader::default(),
            out: RefCell::default(),
        };
        self.open.insert(token, stream);
        Ok(())
    }

    /// Whether there is such a connection.
    pub fn has(&self, token: Token) -> bool {
        self.open.contains_key(&token)
    }

    /// The next packet into `buffer`; `None` when there is none now, or the connection has ended.
    pub fn receive(
        &mut self,
        now: Instant,
        token: Token,
        buffer: &mut [u8],
        registry: &Registry,
    ) -> Option<(usize, SocketAddr)> {
        let stream = self.open.get_mut(&token)?;
        if !stream.out.get_mut().writer.is_empty() {
            // Room to write may be what woke us.
            self.unflushed.get_mut().push(token);
        }
        let received = match stream.leaving {
            Some(_) => stream.discard(buffer).map(|()| None),
            None => stream.receive(buffer),
        };
        match received {
            Ok(Some(len)) => {
                stream.heard = now;
                Some((len, stream.peer))
            }
            Ok(None) => None,
            Err(reason) => {
                tracing::debug!(%reason, "browser's connection ended");
                self.remove(token, registry);
                None
            }
        }
    }

    /// The ICE user fragment by which a connection is known.
    pub fn ufrag(&self, token: Token) -> Option<&str> {
        self.open.get(&token)?.ufrag.as_deref()
    }

    /// Makes a connection a leg's. `false`: the leg has too many.
    pub fn bind(&mut self, token: Token, ufrag: &str) -> bool {
        let same = |stream: &&Stream| stream.ufrag.as_deref() == Some(ufrag);
        if self.open.values().filter(same).count() >= MAX_PER_LEG {
            return false;
        }
        if let Some(stream) = self.open.get_mut(&token) {
            stream.ufrag = Some(ufrag.to_owned());
        }
        true
    }

    fn is_full(&self, of: IpAddr) -> bool {
        let (mut here, mut unproven, mut unproven_here) = (0, 0, 0);
        for stream in self.open.values() {
            let is_here = source(stream.peer.ip()) == of;
            here += usize::from(is_here);
            unproven += usize::from(!stream.proven);
            unproven_here += usize::from(is_here && !stream.proven);
        }
        self.open.len() >= MAX_STREAMS
            || here >= MAX_PER_SOURCE
            || unproven >= MAX_UNPROVEN
            || unproven_here >= MAX_UNPROVEN_PER_SOURCE
    }

    /// An authentic check came by a connection.
    pub fn prove(&mut self, token: Token) {
        if let Some(stream) = self.open.get_mut(&token) {
            stream.proven = true;
        }
    }

    /// Queues a packet for a leg's peer; `false` when it has no connection from there. It leaves at
    /// the next [`Self::flush`].
    pub fn send(&self, ufrag: &str, to: SocketAddr, packet: &[u8], urgency: Urgency) -> bool {
        // Somebody else behind the same address may have the same port, over UDP. Of several connections
        // of the leg, the browser uses the one by which it speaks.
        let Some((token, stream)) = self
            .between(ufrag, to)
            .filter(|(_, stream)| stream.leaving.is_none())
            .max_by_key(|(_, stream)| stream.heard)
        else {
            return false;
        };
        let mut out = stream.out.borrow_mut();
        if out.writer.is_empty() {
            self.unflushed.borrow_mut().push(token);
        }
        out.given_up |= out.writer.push(packet, urgency).is_err();
        if out.given_up {
            self.unflushed.borrow_mut().push(token);
        }
        true
    }

    /// Connections of a leg from one address and port.
    fn between(&self, ufrag: &str, peer: SocketAddr) -> impl Iterator<Item = (Token, &Stream)> {
        let tokens = self.by_peer.get(&peer).into_iter().flatten();
        let streams = tokens.filter_map(|token| Some((*token, self.open.get(token)?)));
        streams.filter(move |(_, stream)| stream.ufrag.as_deref() == Some(ufrag))
    }

    /// Ends a connection whose leg is gone: the goodbye that waits is written, and our side closed. What
    /// the peer still sends is read, or else the kernel would reset the connection and take the goodbye
    /// with it. It is closed when the peer closes it, or after [`LINGER`].
    pub fn leave(&mut self, now: Instant, token: Token, registry: &Registry) {
        let Some(stream) = self.open.get_mut(&token) else {
            return;
        };
        stream.leaving.get_or_insert(now);
        let mut scrap = [0; 2_048];
        if stream
            .flush()
            .and_then(|()| stream.discard(&mut scrap))
            .is_err()
        {
            self.remove(token, registry);
        }
    }

    /// The process ends: what waits is written as far as the peers take it now.
    pub fn leave_all(&mut self, now: Instant, registry: &Registry) {
        for token in self.open.keys().copied().collect::<Vec<_>>() {
            self.leave(now, token, registry);
        }
    }

    /// Writes what waits, as far as the peers take it.
    pub fn flush(&mut self, registry: &Registry) {
        let tokens = self.unflushed.take();
        for token in tokens {
            let Some(stream) = self.open.get(&token) else {
                continue;
            };
            if let Err(reason) = stream.flush() {
                tracing::debug!(%reason, "browser's connection ended");
                self.remove(token, registry);
            }
        }
    }

    /// Closes a connection.
    pub fn remove(&mut self, token: Token, registry: &Registry) {
        let Some(mut stream) = self.open.remove(&token) else {
            return;
        };
        let _ = registry.deregister(&mut stream.socket);
        let peer = stream.peer;
        if let Some(tokens) = self.by_peer.get_mut(&peer) {
            tokens.retain(|other| *other != token);
            if tokens.is_empty() {
                self.by_peer.remove(&peer);
            }
        }
        if let Some(ufrag) = stream.ufrag
            && self.between(&ufrag, peer).next().is_none()
        {
            self.ended.push(Ended { ufrag, peer });
        }
    }

    /// Connections that ended since this was last asked.
    pub fn take_ended(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.ended)
    }

    /// Closes what proved nothing, fell silent, or belongs to a leg that is gone.
    pub fn sweep(&mut self, now: Instant, registry: &Registry, is_leg: impl Fn(&str) -> bool) {
        let over = |stream: &Stream| {
            !stream.proven && now.duration_since(stream.opened) > PROOF
                || now.duration_since(stream.heard) > SILENCE
                || stream
                    .leaving
                    .is_some_and(|since| now.duration_since(since) > LINGER)
        };
        let tokens = self.open.iter().filter(|(_, stream)| over(stream));
        for token in tokens.map(|(token, _)| *token).collect::<Vec<_>>() {
            self.remove(token, registry);
        }
        let orphan = |stream: &Stream| stream.ufrag.as_deref().is_some_and(|u| !is_leg(u));
        let tokens = self.open.iter().filter(|(_, stream)| orphan(stream));
        for token in tokens.map(|(token, _)| *token).collect::<Vec<_>>() {
            self.leave(now, token, registry);
        }
    }

    /// Open connections.
    pub fn len(&self) -> usize {
        self.open.len()
    }
}

/// One IPv6 site owns a whole /64 (RFC 6177), so its hosts count together.
fn source(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

impl Stream {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        for _ in 0..MAX_READS {
            if let Some(packet) = self.reader.next_packet().map_err(io::Error::other)? {
                let len = packet.len();
                buffer[..len].copy_from_slice(packet);
                return Ok(Some(len));
            }
            match self.socket.read(&mut buffer[..READ]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(len) => self.reader.push(&buffer[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("bytes and no packet"))
    }

    fn flush(&self) -> io::Result<()> {
        let mut out = self.out.borrow_mut();
        if out.given_up {
            return Err(io::Error::other("the peer does not read"));
        }
        while !out.writer.is_empty() {
            match (&self.socket).write(out.writer.pending()) {
                Ok(len) => out.writer.wrote(len),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        match self.leaving {
            Some(_) => self.socket.shutdown(Shutdown::Write),
            None => Ok(()),
        }
    }

    /// Reads what has come and throws it away.
    fn discard(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        for _ in 0..MAX_READS {
            match self.socket.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("bytes without end"))
    }
}

#[cfg(test)]
mod tests;
