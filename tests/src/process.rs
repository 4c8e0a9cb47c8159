//! A child process that is ended with its owner.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, getsockname, socket};
use nix::unistd::Pid;

/// A running peer. Dropping it ends it by SIGTERM, and by SIGKILL when it does not listen.
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts `command` with its output in `log`.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let out = File::create(log).expect("create a log");
        let err = out.try_clone().expect("share a log");
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        Self::start_as_is(command)
    }

    /// Starts `command` with the standard streams that it has.
    pub fn start_as_is(command: &mut Command) -> Self {
        let child = command
            .spawn()
            .unwrap_or_else(|e| panic!("start {command:?}: {e}"));
        Self { child }
    }

    /// Its id.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// The child, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.pid()), signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.is_running() {
            return;
        }
        self.signal(Signal::SIGTERM);
        for _ in 0..500 {
            if !self.is_running() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processes whose parent is `parent`, with the words of their command lines.
pub fn children(parent: i32) -> Vec<(i32, Vec<String>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("read /proc").flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        // Field 4, after the command name in parentheses (proc(5)).
        let ppid = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.split(' ').nth(1));
        if ppid.and_then(|p| p.parse::<i32>().ok()) != Some(parent) {
            continue;
        }
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words = line
            .split(|b| *b == 0)
            .map(|w| String::from_utf8_lossy(w).into_owned());
        found.push((pid, words.collect()));
    }
    found
}

/// A command for a program that takes no more than the last processor.
pub fn aside(program: &str) -> Command {
    let ours = sched_getaffinity(Pid::from_raw(0)).expect("its processors");
    let last = (0..CpuSet::count()).rfind(|cpu| ours.is_set(*cpu).is_ok_and(|set| set));
    let mut command = Command::new("taskset");
    command
        .args(["-c", &last.expect("a processor").to_string()])
        .arg(program);
    command
}

/// Where free ports are looked for: below those that the kernel gives to outgoing connections, and below
/// what servers get for media; above those of sipp's own.
const PORTS: Range<u16> = 9_000..12_000;
/// How far from where the process before it looked a process begins.
const AHEAD: u32 = 128;
/// Of those that this process looked at.
static LOOKED_AT: AtomicU32 = AtomicU32::new(0);

/// A free port of 127.0.0.1, for TCP and UDP alike, with the next one free as well. Neither is given to
/// this process again before all others were.
pub fn free_port() -> u16 {
    free_port_at(Ipv4Addr::LOCALHOST.into())
}

/// The same of another address.
pub fn free_port_at(ip: IpAddr) -> u16 {
    free_ports_at(ip, 2)
}

/// The first of so many in a row, each as [`free_port_at`].
pub fn free_ports_at(ip: IpAddr, count: u16) -> u16 {
    let steps = u32::from((PORTS.end - PORTS.start) / count);
    let free =
        |port: u16| UdpSocket::bind((ip, port)).is_ok() && TcpListener::bind((ip, port)).is_ok();
    let looked_at = (0..steps).map(|_| {
        let before = LOOKED_AT.fetch_add(count.into(), Ordering::Relaxed);
        let at = std::process::id().wrapping_mul(AHEAD).wrapping_add(before);
        PORTS.start + (at % u32::from(PORTS.end - PORTS.start)) as u16
    });
    let mut ranges = looked_at.map(|low| low..low + count);
    let found = ranges.find(|range| range.end <= PORTS.end && range.clone().all(free));
    let none = || panic!("{count} free ports of {PORTS:?} at {ip}");
    found.unwrap_or_else(none).start
}

/// A TCP port of 127.0.0.1 at which nobody listens, nor can while this is held.
pub struct DeadPort {
    /// Its number.
    pub number: u16,
    _socket: OwnedFd,
}

impl DeadPort {
    /// Takes one.
    pub fn take() -> Self {
        let socket = socket(
            AddressFamily::Inet,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC,
            None,
        );
        let socket = socket.expect("a socket");
        let any = SockaddrIn::new(127, 0, 0, 1, 0);
        bind(socket.as_raw_fd(), &any).expect("bind");
        let bound: SockaddrIn = getsockname(socket.as_raw_fd()).expect("address");
        Self {
            number: bound.port(),
            _socket: socket,
        }
    }
}

/// Whether somebody has bound this UDP port, as the kernel tells: trying to bind it could take it from
/// who is about to.
pub fn is_udp_port_taken(port: u16) -> bool {
    sockets(["/proc/net/udp", "/proc/net/udp6"]).any(|(taken, _)| taken == port)
}

/// Whether somebody listens on this TCP port: connecting would count as a caller.
pub fn is_tcp_port_taken(port: u16) -> bool {
    // The kernel's TCP_LISTEN.
    let listens = (port, 0x0a);
    sockets(["/proc/net/tcp", "/proc/net/tcp6"]).any(|socket| socket == listens)
}

/// Local ports and states of the sockets that the kernel lists.
fn sockets(files: [&str; 2]) -> impl Iterator<Item = (u16, u8)> {
    let listed = files.map(|file| std::fs::read_to_string(file).unwrap_or_default());
    let sockets = listed.map(|text| {
        let sockets = text.lines().skip(1).filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let port = u16::from_str_radix(fields.next()?.rsplit_once(':')?.1, 16).ok()?;
            Some((port, u8::from_str_radix(fields.nth(1)?, 16).ok()?))
        });
        sockets.collect::<Vec<_>>()
    });
    sockets.into_iter().flatten()
}
