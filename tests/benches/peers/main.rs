//! Which peer talks to a room over which transport, family of addresses and keys, measured at both
//! far ends: a marker and a tone of the room's other terminal there, the peer's own here.
//!
//! `cargo bench --bench peers`. Settings by environment: `CONSILIUM_BINARY` (a release binary; it is
//! built otherwise), `CONSILIUM_PEERS` (part of the names of the rows to run; all otherwise).
//!
//! The other terminal is the load generator's, with the server's codecs but none of its protocol code.
//! `-` in a row is what the peer cannot by itself and why is said in `CANNOT`.

mod peer;

use std::panic::catch_unwind;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use benches::clip::{Clip, Config};
use benches::load::{LegConfig, Load, LoadLeg, Watch};
use benches::server::{Server, binary};
use peer::{Call, Keys, Peer, There, Transport};

const MEDIA_PORTS: (u16, u16) = (42_000, 42_399);
/// How long both ends may take to see and hear.
const PATIENCE: Duration = Duration::from_secs(12);
/// Source of the other terminal.
const OTHER: u8 = 1;

/// What a peer cannot, whatever the server can.
const CANNOT: &[(Peer, &str)] = &[
    (
        Peer::Sipp,
        "sipp 3.6 of Debian: no SRTP, no TLS; it echoes sound, so that the other terminal hears itself",
    ),
    (
        Peer::Pjsua2,
        "pjsua2-python 2.15: built without video; it plays and records sound",
    ),
];

fn main() -> Result<()> {
    // Test runners start every target to ask what is in it.
    if !std::env::args().any(|arg| arg == "--bench") {
        return Ok(());
    }
    let wanted = std::env::var("CONSILIUM_PEERS").unwrap_or_default();
    let binary = binary()?;
    let clip = Arc::new(Clip::load(&Config::cif(OTHER))?);
    println!(
        "{:8} {:4} {:6}  {:5} marker here/there  tone here/there",
        "peer", "over", "family", "keys"
    );
    for call in Call::all() {
        if !call.to_string().contains(&wanted) {
            continue;
        }
        // Peers' helpers are those of the tests, which panic.
        let measured = catch_unwind(|| measure(&binary, &clip, &call));
        match measured {
            Ok(Ok(seen)) => println!("{call}  {}", seen.line(&call)),
            Ok(Err(error)) => println!("{call}  FAILED: {error:#}"),
            Err(_) => println!("{call}  FAILED: see above"),
        }
    }
    for (peer, what) in CANNOT {
        println!("{}: {what}", peer.name());
    }
    Ok(())
}

/// What was seen and heard at both ends.
#[derive(Default)]
struct Seen {
    marker_here: bool,
    tone_here: bool,
    there: There,
}

impl Seen {
    fn line(&self, call: &Call) -> String {
        let word = |there: bool| if there { "yes" } else { "NO" };
        let marker = |seen| {
            if call.peer.has_video() {
                word(seen)
            } else {
                "-"
            }
        };
        format!(
            "{:>11}/{:5} {:>9}/{}",
            marker(self.marker_here),
            marker(self.there.marker),
            word(self.tone_here),
            word(self.there.tone)
        )
    }

    fn is_whole(&self, call: &Call) -> bool {
        let pictures = !call.peer.has_video() || self.marker_here && self.there.marker;
        pictures && self.tone_here && self.there.tone
    }
}

fn measure(binary: &Path, clip: &Arc<Clip>, call: &Call) -> Result<Seen> {
    let server = Server::demo(binary, MEDIA_PORTS)?;
    let load = Load::start()?;
    let other = LegConfig {
        watch: Watch::Tiles,
        ..LegConfig::terminal(OTHER, clip.clone())
    };
    let other = server.call(&load, &other)?;
    let mut peer = peer::start(call, &server, PATIENCE).context("start the peer")?;
    let mut seen = Seen::default();
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline && !seen.is_whole(call) {
        look_here(&other, call, &mut seen)?;
        seen.there = peer.look(OTHER);
        std::thread::sleep(Duration::from_millis(100));
    }
    seen.there = peer.end(OTHER, seen.there)?;
    drop(other);
    server.end_well();
    Ok(seen)
}

fn look_here(other: &LoadLeg, call: &Call, seen: &mut Seen) -> Result<()> {
    let report = other.report()?;
    let id = call.peer.source();
    seen.marker_here |= report.tile(id).is_some_and(|tile| tile.fresh > 5);
    seen.tone_here |= report.heard() == [id];
    Ok(())
}

/// Only what this tree's server offers: a row appears with the listener that it needs.
fn is_served(transport: Transport, keys: Keys) -> bool {
    matches!(transport, Transport::Udp | Transport::Tcp) && matches!(keys, Keys::Clear | Keys::Sdes)
}
