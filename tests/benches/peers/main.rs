//! Which peer talks to a room over which transport, family of addresses and keys, measured at both
//! far ends: a marker and a tone of the room's other terminal there, the peer's own here.
//!
//! `cargo bench --workspace --bench peers`, as root: it runs in a network namespace of its own with
//! both families, against a server to which nothing is told but its TLS listeners. Settings by
//! environment: `CONSILIUM_BINARY` (a release binary; it is built otherwise), `CONSILIUM_PEERS` (part
//! of the names of the cells to run, such as `pjsua2 tls IPv6`; all otherwise).
//!
//! What the peers wrote stays in `target/peers-calls`.
//!
//! The other terminal is the load generator's over IPv4, with the server's codecs but none of its
//! protocol code.

mod cell;
mod peer;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use benches::clip::{Clip, Config};
use benches::load::{LegConfig, Load, LoadLeg, Target, Watch};
use tests::namespace::Namespace;
use tests::server::Server;

use cell::{CANNOT, Peer, Row};
use peer::There;

const V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
/// Ports of SIP: the default, and that of the TLS listeners.
const SIP: u16 = 5060;
const SIP_TLS: u16 = 5061;

/// How long both ends may take to see and hear.
const PATIENCE: Duration = Duration::from_secs(12);
/// Source of the other terminal.
const OTHER: u8 = 1;
/// Sources of the peers, one after the other, so that none is taken for the last.
const PEERS: std::ops::RangeInclusive<u8> = 2..=7;

fn main() -> Result<()> {
    // Test runners start every target to ask what is in it.
    if !std::env::args().any(|arg| arg == "--bench") {
        return Ok(());
    }
    let wanted = std::env::var("CONSILIUM_PEERS").unwrap_or_default();
    // What needs the world goes before: the namespace leads nowhere.
    benches::server::binary()?;
    peer::python()?;
    let network = Namespace::with(&[
        &format!("address add {V4}/24 dev inside"),
        &format!("address add {V6}/64 dev inside nodad"),
        "route add default dev inside",
        "-6 route add default dev inside",
    ]);
    network.enter();
    let start = Instant::now();
    let room = Room::open()?;
    print!("over family keys");
    for peer in Peer::ALL {
        print!("  {:9}", peer.name());
    }
    println!();
    let (mut ids, mut calls, mut broken) = (PEERS.cycle(), 0, Vec::new());
    for row in Row::all() {
        print!("{row:16}");
        for peer in Peer::ALL {
            let name = format!("{} {row}", peer.name());
            let cell = match peer.cannot(row) {
                Some(reason) => format!("[{reason}]"),
                None if !name.contains(&wanted) => ".".into(),
                None => {
                    calls += 1;
                    let id = ids.next().unwrap_or(OTHER + 1);
                    // Peers' helpers are those of the tests, which panic.
                    let measured = catch_unwind(AssertUnwindSafe(|| room.measure(peer, row, id)));
                    let (cell, whole) = match measured {
                        Ok(Ok(seen)) => (seen.to_string(), seen.is_whole()),
                        Ok(Err(error)) => (format!("FAILED: {error:#}"), false),
                        Err(_) => ("FAILED: see above".into(), false),
                    };
                    if !whole {
                        broken.push(format!("{name}: {cell}"));
                    }
                    cell.chars().take(9).collect()
                }
            };
            print!("  {cell:9}");
        }
        println!();
    }
    println!(
        "M marker, T tone: < arrives at the room's other terminal, > at the peer, ! does not;"
    );
    println!("-- no pictures [6]");
    for (number, why) in (1..).zip(CANNOT) {
        println!("[{number}] {why}");
    }
    for line in &broken {
        println!("{line}");
    }
    ensure!(broken.is_empty(), "{} of {calls} calls", broken.len());
    let seconds = start.elapsed().as_secs();
    println!("{calls} calls, all whole, in {seconds} s");
    Ok(())
}

/// What was seen and heard at both ends.
#[derive(Debug, Default)]
struct Seen {
    has_video: bool,
    marker_here: bool,
    tone_here: bool,
    there: There,
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = |here: bool, there: bool| {
            let mark = |seen: bool, mark: char| if seen { mark } else { '!' };
            format!("{}{}", mark(here, '<'), mark(there, '>'))
        };
        let marker = match self.has_video {
            true => word(self.marker_here, self.there.marker),
            false => "--".into(),
        };
        let tone = word(self.tone_here, self.there.tone);
        f.pad(&format!("M{marker} T{tone}"))
    }
}

impl Seen {
    fn is_whole(&self) -> bool {
        let pictures = !self.has_video || self.marker_here && self.there.marker;
        pictures && self.tone_here && self.there.tone
    }
}

/// Room 3000 with the other terminal in it.
struct Room {
    server: Server,
    /// Files of the peers.
    calls: PathBuf,
    other: LoadLeg,
    _load: Load,
}

impl Room {
    fn open() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("consilium.toml");
        let tls = |at: std::net::IpAddr| {
            let at = std::net::SocketAddr::new(at, SIP_TLS);
            format!("[[sip.listeners]]\nprotocol = \"tls\"\nlisten = \"{at}\"\n")
        };
        let text = format!("demo = true\n{}{}", tls(V4.into()), tls(V6.into()));
        std::fs::write(&file, text)?;
        let file = file.to_str().unwrap_or_default();
        let server = Server::with_defaults(V4.into(), &["--config", file]);
        // A process that is started again would read it anew.
        let _ = dir.keep();
        let load = Load::start()?;
        let clip = Arc::new(Clip::load(&Config::cif(OTHER))?);
        let mut other = LegConfig::terminal(OTHER, clip);
        other.local_ip = V4.into();
        other.watch = Watch::Tiles;
        let other = load.call(&Target::number("3000", server.sip_address()), other)?;
        let calls = tests::root().join("target/peers-calls");
        // It is there if there was a run before.
        let _ = std::fs::remove_dir_all(&calls);
        Ok(Self {
            server,
            calls,
            other,
            _load: load,
        })
    }

    /// One call of a peer, from an empty room to an empty room.
    fn measure(&self, peer: Peer, row: Row, id: u8) -> Result<Seen> {
        let alone = || self.server.room().filter(|room| room.legs.len() == 1);
        tests::wait_for("the last peer has left", PATIENCE, alone);
        let silent = self
            .other
            .wait_until(PATIENCE, |report| report.heard().is_empty())?;
        ensure!(silent.is_ok(), "the last peer is still heard");
        self.other.reset()?;
        let dir = self
            .calls
            .join(format!("{} {row}", peer.name()).replace(' ', "-"));
        std::fs::create_dir_all(&dir)?;
        let mut running = peer::start(peer, row, id, &dir)?;
        let mut seen = Seen {
            has_video: peer.has_video(),
            ..Seen::default()
        };
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && running.goes_on() && !seen.is_whole() {
            self.look_here(peer, id, &mut seen)?;
            seen.there = running.look(OTHER);
            std::thread::sleep(Duration::from_millis(100));
        }
        seen.there = running.end(OTHER, row.keys, seen.there)?;
        if peer == Peer::Sipp {
            // What came back had got there.
            seen.there.tone = seen.tone_here;
        }
        Ok(seen)
    }

    fn look_here(&self, peer: Peer, id: u8, seen: &mut Seen) -> Result<()> {
        let report = self.other.report()?;
        seen.marker_here |= report.tile(id).is_some_and(|tile| tile.fresh > 5);
        // An echo has the other's own tone.
        let source = if peer == Peer::Sipp { OTHER } else { id };
        seen.tone_here |= report.heard() == [source];
        Ok(())
    }
}
