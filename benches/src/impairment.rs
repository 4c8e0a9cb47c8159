//! A bad line in user space: what a network does to datagrams, repeatable by a seed.
//!
//! [`Path`] is one direction without I/O: it says of each datagram whether and when it arrives.
//! [`Relay`] stands between terminals and a server, with a path each way that all its ports share, as
//! a line is shared by the sound and the picture of a terminal.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token, Waker};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Bytes of IP and UDP before what a datagram carries: a line of a bounded rate has to carry them too.
const HEADER_BYTES: usize = 28;
/// Datagrams under way each direction. Beyond it they are lost.
const UNDER_WAY_MAX: usize = 16_384;
const WAKE: Token = Token(usize::MAX);
const DATAGRAM_MAX: usize = 2_048;

/// Which datagrams are lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// None.
    Never,
    /// Each with this probability, whatever became of the others.
    Random(f64),
    /// In bursts, after Gilbert: all are lost while the line is bad.
    Gilbert {
        /// Share lost in the long run.
        rate: f64,
        /// Mean length of a burst in datagrams, at least 1.
        burst: f64,
    },
}

/// What one direction of a line does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Impairment {
    /// Datagrams lost beside those that the queue does not hold.
    pub loss: Loss,
    /// Every datagram is under way for so long,
    pub delay: Duration,
    /// and for a random time up to this longer. None overtakes another.
    pub jitter: Duration,
    /// The line's rate in bit/s, IP and UDP headers included.
    pub rate_bps: Option<u32>,
    /// Time that a datagram may wait for its turn on a line of a bounded rate; else it is lost.
    pub queue: Duration,
    /// Of the random numbers.
    pub seed: u64,
}

impl Default for Impairment {
    /// A perfect line.
    fn default() -> Self {
        Self {
            loss: Loss::Never,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            rate_bps: None,
            queue: Duration::from_millis(200),
            seed: 1,
        }
    }
}

/// One direction of a line, without I/O.
#[derive(Debug)]
pub struct Path {
    is: Impairment,
    random: StdRng,
    /// Of [`Loss::Gilbert`]: within a burst.
    bad: bool,
    /// When the line has sent what was taken so far.
    free: Option<Instant>,
    /// When the last datagram arrives.
    last: Option<Instant>,
}

impl Path {
    /// A line that nothing has gone over yet.
    pub fn new(is: Impairment) -> Self {
        Self {
            is,
            random: StdRng::seed_from_u64(is.seed),
            bad: false,
            free: None,
            last: None,
        }
    }

    /// A datagram of so many bytes is sent; when it arrives, or `None` where it is lost.
    pub fn send(&mut self, now: Instant, len: usize) -> Option<Instant> {
        let sent = self.through_queue(now, len)?;
        if self.is_lost() {
            return None;
        }
        let jitter = self.is.jitter.mul_f64(self.random.random());
        let arrives = sent + self.is.delay + jitter;
        let arrives = self.last.map_or(arrives, |last| arrives.max(last));
        self.last = Some(arrives);
        Some(arrives)
    }

    fn through_queue(&mut self, now: Instant, len: usize) -> Option<Instant> {
        let Some(rate) = self.is.rate_bps else {
            return Some(now);
        };
        let begins = self.free.map_or(now, |free| free.max(now));
        if begins.saturating_duration_since(now) > self.is.queue {
            return None;
        }
        let bits = (len + HEADER_BYTES) as f64 * 8.0;
        let ends = begins + Duration::from_secs_f64(bits / f64::from(rate.max(1)));
        self.free = Some(ends);
        Some(ends)
    }

    fn is_lost(&mut self) -> bool {
        let chance: f64 = self.random.random();
        match self.is.loss {
            Loss::Never => false,
            Loss::Random(rate) => chance < rate,
            Loss::Gilbert { rate, burst } => {
                let leave = 1.0 / burst.max(1.0);
                let enter = leave * rate / (1.0 - rate).max(f64::EPSILON);
                self.bad = match self.bad {
                    true => chance >= leave,
                    false => chance < enter,
                };
                self.bad
            }
        }
    }
}

enum Command {
    Attach(Box<(UdpSocket, SocketAddr)>),
    Lead { port: usize, server: SocketAddr },
    Change { up: Impairment, down: Impairment },
    Stop,
}

/// A line between terminals and a server. Dropping it ends it.
pub struct Relay {
    commands: Sender<Command>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
    ports: std::sync::Mutex<usize>,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").finish_non_exhaustive()
    }
}

impl Relay {
    /// Starts one: `up` leads from terminals to the server.
    ///
    /// # Errors
    /// When there is no poll to be had.
    pub fn start(up: Impairment, down: Impairment) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let (commands, receiver) = mpsc::channel();
        let mut line = Line {
            poll,
            commands: receiver,
            ports: Vec::new(),
            up: Direction::new(up),
            down: Direction::new(down),
        };
        Ok(Self {
            commands,
            waker,
            thread: Some(std::thread::spawn(move || line.run())),
            ports: std::sync::Mutex::new(0),
        })
    }

    /// A port for a terminal's socket. What comes from there goes to the server, once it is known, and
    /// what comes from anywhere else goes there.
    ///
    /// # Errors
    /// When there is no socket to be had.
    pub fn attach(&self, terminal: SocketAddr) -> io::Result<Tap> {
        let socket = UdpSocket::bind(SocketAddr::new(terminal.ip(), 0))?;
        let address = socket.local_addr()?;
        // Commands keep the order of the numbers, since the lock is held.
        let mut ports = self.ports.lock().map_err(|_| io::ErrorKind::Other)?;
        let port = *ports;
        *ports += 1;
        self.tell(Command::Attach(Box::new((socket, terminal))))?;
        Ok(Tap { address, port })
    }

    /// The server's address for a port.
    ///
    /// # Errors
    /// When the relay has ended.
    pub fn lead(&self, tap: Tap, server: SocketAddr) -> io::Result<()> {
        let port = tap.port;
        self.tell(Command::Lead { port, server })
    }

    /// The line becomes another. What is under way arrives as it was to.
    ///
    /// # Errors
    /// When the relay has ended.
    pub fn change(&self, up: Impairment, down: Impairment) -> io::Result<()> {
        self.tell(Command::Change { up, down })
    }

    fn tell(&self, command: Command) -> io::Result<()> {
        let sent = self.commands.send(command);
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        self.waker.wake()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // A thread that has ended needs no telling.
        let _ = self.tell(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A port of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tap {
    /// Where the terminal sends to, and where it says that it is.
    pub address: SocketAddr,
    port: usize,
}

struct Port {
    socket: UdpSocket,
    terminal: SocketAddr,
    server: Option<SocketAddr>,
}

struct Direction {
    path: Path,
    under_way: BTreeMap<(Instant, u64), (usize, SocketAddr, Vec<u8>)>,
    count: u64,
}

impl Direction {
    fn new(is: Impairment) -> Self {
        Self {
            path: Path::new(is),
            under_way: BTreeMap::new(),
            count: 0,
        }
    }

    fn send(&mut self, now: Instant, port: usize, to: SocketAddr, datagram: &[u8]) {
        if self.under_way.len() >= UNDER_WAY_MAX {
            return;
        }
        if let Some(at) = self.path.send(now, datagram.len()) {
            self.count += 1;
            let item = (port, to, datagram.to_vec());
            self.under_way.insert((at, self.count), item);
        }
    }

    fn next(&self) -> Option<Instant> {
        self.under_way.first_key_value().map(|((at, _), _)| *at)
    }
}

struct Line {
    poll: Poll,
    commands: Receiver<Command>,
    ports: Vec<Port>,
    up: Direction,
    down: Direction,
}

impl Line {
    fn run(&mut self) {
        let mut events = Events::with_capacity(64);
        let mut buffer = vec![0; DATAGRAM_MAX];
        loop {
            let next = self.up.next().into_iter().chain(self.down.next()).min();
            let pause = next.map(|at| at.saturating_duration_since(Instant::now()));
            match self.poll.poll(&mut events, pause) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return,
                _ => {}
            }
            for token in events.iter().map(|event| event.token()) {
                if token != WAKE {
                    self.read(token.0, &mut buffer);
                }
            }
            while let Ok(command) = self.commands.try_recv() {
                match command {
                    Command::Attach(port) => self.add(*port),
                    Command::Lead { port, server } => {
                        if let Some(port) = self.ports.get_mut(port) {
                            port.server = Some(server);
                        }
                    }
                    Command::Change { up, down } => {
                        (self.up.path, self.down.path) = (Path::new(up), Path::new(down));
                    }
                    Command::Stop => return,
                }
            }
            self.deliver(Instant::now());
        }
    }

    fn add(&mut self, (mut socket, terminal): (UdpSocket, SocketAddr)) {
        let token = Token(self.ports.len());
        let registry = self.poll.registry();
        // A port that cannot be polled hears nothing: its terminal finds the line dead.
        let _ = registry.register(&mut socket, token, Interest::READABLE);
        self.ports.push(Port {
            socket,
            terminal,
            server: None,
        });
    }

    fn read(&mut self, number: usize, buffer: &mut [u8]) {
        let Some(port) = self.ports.get(number) else {
            return;
        };
        loop {
            let (len, from) = match port.socket.recv_from(buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // A refused earlier datagram shows here; what follows may be fine.
                Err(_) => continue,
            };
            let now = Instant::now();
            let datagram = &buffer[..len];
            if from != port.terminal {
                self.down.send(now, number, port.terminal, datagram);
            } else if let Some(server) = port.server {
                self.up.send(now, number, server, datagram);
            }
        }
    }

    fn deliver(&mut self, now: Instant) {
        for direction in [&mut self.up, &mut self.down] {
            while let Some(first) = direction.under_way.first_entry() {
                if first.key().0 > now {
                    break;
                }
                let (number, to, datagram) = first.remove();
                if let Some(port) = self.ports.get(number) {
                    // Lost like any datagram.
                    let _ = port.socket.send_to(&datagram, to);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Share lost, and the mean length of a burst, of 200,000 datagrams.
    fn losses(loss: Loss) -> (f64, f64) {
        let start = Instant::now();
        let mut path = Path::new(Impairment {
            loss,
            ..Impairment::default()
        });
        let (mut lost, mut bursts, mut before) = (0, 0, false);
        for _ in 0..200_000 {
            let is_lost = path.send(start, 100).is_none();
            lost += u32::from(is_lost);
            bursts += u32::from(is_lost && !before);
            before = is_lost;
        }
        let share = f64::from(lost) / 200_000.0;
        (share, f64::from(lost) / f64::from(bursts.max(1)))
    }

    #[test]
    fn loss_is_as_frequent_and_as_bursty_as_wanted() {
        for rate in [0.05, 0.1, 0.2, 0.3] {
            let (share, burst) = losses(Loss::Random(rate));
            assert!((share - rate).abs() < 0.005, "{share} of {rate}");
            assert!((burst - 1.0 / (1.0 - rate)).abs() < 0.03, "{burst}");
            let (share, burst) = losses(Loss::Gilbert { rate, burst: 3.0 });
            assert!((share - rate).abs() < 0.01, "{share} of {rate}");
            assert!((burst - 3.0).abs() < 0.1, "{burst}");
        }
    }

    #[test]
    fn jitter_delays_and_never_reorders() {
        let start = Instant::now();
        let mut path = Path::new(Impairment {
            delay: Duration::from_millis(75),
            jitter: Duration::from_millis(30),
            ..Impairment::default()
        });
        let mut last = start;
        for n in 0..1_000 {
            let sent = start + Duration::from_millis(n);
            let arrives = path.send(sent, 100).expect("nothing is lost");
            let took = arrives - sent;
            assert!(took >= Duration::from_millis(75) && took <= Duration::from_millis(105));
            assert!(arrives >= last);
            last = arrives;
        }
    }

    #[test]
    fn a_line_of_a_bounded_rate_carries_it_and_no_more() {
        let start = Instant::now();
        let mut path = Path::new(Impairment {
            rate_bps: Some(50_000),
            ..Impairment::default()
        });
        // 200 kbit/s for ten seconds.
        let arrived: usize = (0..1_000)
            .filter_map(|n| path.send(start + Duration::from_millis(10 * n), 222))
            .filter(|at| *at <= start + Duration::from_secs(10))
            .map(|_| 250)
            .sum();
        let bps = arrived as f64 * 8.0 / 10.0;
        assert!((49_000.0..=50_000.0).contains(&bps), "{bps}");
    }

    #[test]
    fn a_relay_leads_both_ways() {
        let bind = || {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            let patience = Some(Duration::from_secs(10));
            socket.set_read_timeout(patience).unwrap();
            (socket.local_addr().unwrap(), socket)
        };
        let ((terminal, inside), (server, outside)) = (bind(), bind());
        let relay = Relay::start(Impairment::default(), Impairment::default()).unwrap();
        let tap = relay.attach(terminal).unwrap();
        relay.lead(tap, server).unwrap();
        let mut buffer = [0; 16];
        inside.send_to(b"up", tap.address).unwrap();
        let (len, from) = outside.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..len], from), (&b"up"[..], tap.address));
        outside.send_to(b"down", from).unwrap();
        let (len, from) = inside.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..len], from), (&b"down"[..], tap.address));
    }
}
