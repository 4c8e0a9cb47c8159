//! What forwarding costs: one browser sends 720p, many others see it, once by a server that this bench
//! starts and once by Janus' video room (Debian's package `janus`), one after the other in the same run.
//!
//! `cargo bench --bench relay`. Settings by environment: `CONSILIUM_BINARY` (a release binary; it is
//! built otherwise), `CONSILIUM_BENCH_VIEWERS` (500), `CONSILIUM_BENCH_SECONDS` (20),
//! `CONSILIUM_BENCH_ROUNDS` (2), `CONSILIUM_BENCH_JSON` (a file for the figures).
//!
//! Every viewer is a peer with ICE, DTLS and SRTP of its own. One of them decrypts what comes and looks for
//! gaps, of the others packets are counted. They send checks and no reports, and ask for nothing again: no
//! packet is lost on the loopback interface unless a queue is full, which is then said. Each
//! server chooses the suite of SRTP, which is printed. Figures are printed beside the bar that they should
//! meet, and never asserted.

mod consilium;
mod janus;
mod peer;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use benches::clip::{self, Clip};
use benches::codec::EncodeSettings;
use benches::process::cpu_of;
use benches::server::binary;
use serde::Serialize;

use consilium::Consilium;
use janus::Janus;
use peer::{Group, Offer, Peer};

const WARM_UP: Duration = Duration::from_secs(5);
/// How many times as many packets for the same time as Janus.
const BAR: f64 = 3.0;
const RATE_BPS: u32 = 1_000_000;

fn main() -> Result<()> {
    // Test runners start every target to ask what is in it.
    if !std::env::args().any(|arg| arg == "--bench") {
        return Ok(());
    }
    let viewers: usize = setting("CONSILIUM_BENCH_VIEWERS", "500").parse()?;
    let seconds: u64 = setting("CONSILIUM_BENCH_SECONDS", "20").parse()?;
    let rounds: usize = setting("CONSILIUM_BENCH_ROUNDS", "2").parse()?;
    let clip = Arc::new(Clip::load(&clip_config())?);
    let binary = binary()?;
    let span = Duration::from_secs(seconds);
    let mut rows = Vec::new();
    println!(
        "One sender of 720p30 at 1 Mbit/s, {viewers} viewers, SRTP.\n\
         server     suite              cores of it  packets/s  packets a CPU second  lost %  gaps at one viewer  \
         cores of the load"
    );
    for _ in 0..rounds {
        let mut server = Consilium::start(&binary, viewers)?;
        rows.push(measure(&mut server, &clip, viewers, span)?);
        drop(server);
        match Janus::start(viewers) {
            Ok(mut server) => rows.push(measure(&mut server, &clip, viewers, span)?),
            Err(why) => println!("Janus is not measured: {why:#}"),
        }
    }
    print_verdict(&rows);
    if let Some(path) = std::env::var_os("CONSILIUM_BENCH_JSON") {
        std::fs::write(Path::new(&path), serde_json::to_string_pretty(&rows)?)?;
    }
    Ok(())
}

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.into())
}

fn clip_config() -> clip::Config {
    let hd = clip::Config::hd(1);
    clip::Config {
        encode: EncodeSettings {
            bitrate_bps: RATE_BPS,
            ..hd.encode
        },
        ..hd
    }
}

/// A server that forwards.
trait Forwards {
    const NAME: &'static str;
    /// The process whose time counts.
    fn pid(&self) -> Result<u32>;
    /// Takes who sends; yields the answer to its offer.
    fn publish(&mut self, offer: &Offer) -> Result<String>;
    /// Takes a viewer, who is there once this returns.
    fn view(&mut self) -> Result<Peer>;
}

/// Figures of one run.
#[derive(Serialize)]
struct Row {
    server: &'static str,
    /// Towards viewers.
    suite: String,
    cores: f64,
    load_cores: f64,
    packet_rate: f64,
    /// Packets that came for each second of the server's processor time.
    packets_a_cpu_second: f64,
    lost_percent: f64,
    /// Sequence numbers that were missing at the viewer who decrypts.
    gaps: u64,
}

fn measure<S: Forwards>(
    server: &mut S,
    clip: &Arc<Clip>,
    viewers: usize,
    span: Duration,
) -> Result<Row> {
    let offer = Offer::new()?;
    let answer = server.publish(&offer)?;
    let sender = offer.sends(&answer)?;
    let group = Group::start(sender, clip)?;
    let mut suite = String::new();
    for _ in 0..viewers {
        let viewer = server.view()?;
        suite = viewer.suite();
        group.add(viewer)?;
    }
    std::thread::sleep(WARM_UP);
    let pids = [server.pid()?, std::process::id()];
    let (start, before, counts) = (Instant::now(), pids.map(cpu_of), group.counts());
    std::thread::sleep(span);
    let (after, came) = (pids.map(cpu_of), group.counts());
    let elapsed = start.elapsed().as_secs_f64();
    let cpu = |n: usize| (after[n] - before[n]).as_secs_f64();
    let packets = (came.received - counts.received) as f64;
    let expected = (came.sent - counts.sent) as f64 * viewers as f64;
    let row = Row {
        server: S::NAME,
        suite,
        cores: cpu(0) / elapsed,
        load_cores: cpu(1) / elapsed,
        packet_rate: packets / elapsed,
        packets_a_cpu_second: packets / cpu(0),
        lost_percent: (1.0 - packets / expected) * 100.0,
        gaps: came.gaps - counts.gaps,
    };
    println!("{}", row.line());
    group.stop().context("the load ends")?;
    Ok(row)
}

impl Row {
    fn line(&self) -> String {
        format!(
            "{:<10} {:<18} {:>11.3} {:>10.0} {:>21.0} {:>7.2} {:>19} {:>18.3}",
            self.server,
            self.suite,
            self.cores,
            self.packet_rate,
            self.packets_a_cpu_second,
            self.lost_percent,
            self.gaps,
            self.load_cores,
        )
    }
}

fn print_verdict(rows: &[Row]) {
    let best = |name: &str| {
        let of = rows.iter().filter(|row| row.server == name);
        let mut all: Vec<f64> = of.map(|row| row.packets_a_cpu_second).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied()
    };
    if let (Some(ours), Some(theirs)) = (best(Consilium::NAME), best(Janus::NAME)) {
        let ratio = ours / theirs;
        let verdict = if ratio >= BAR { "met" } else { "MISSED" };
        println!("Janus' packets a CPU second, times at least {BAR}: {ratio:.2}, {verdict}");
    }
}
