//! What a leg of sound costs: 500 legs of G.711, 500 of G.722 and 200 of Opus in one room of a server that
//! this bench starts. Every leg sends its tone without pause and hears the mix; the loudest eight are
//! mixed.
//!
//! `cargo bench --bench voices`. Settings by environment: `CONSILIUM_BINARY` (a release binary; it is
//! built otherwise), `CONSILIUM_BENCH_VOICES` (`PCMU:500,G722:500,opus:200`), `CONSILIUM_BENCH_SECONDS`
//! (20), `CONSILIUM_BENCH_JSON` (a file for the figures).
//!
//! Figures are printed beside the bars that they should meet, and never asserted.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use benches::load::{AudioConfig, LegConfig, Load, LoadLeg, Report};
use benches::process::cpu_of;
use benches::server::{Server, binary};
use benches::tone;
use mcu_api::codec::AudioCodec;
use serde::Serialize;

const MEDIA_PORTS: (u16, u16) = (42_000, 44_999);
const ROOM: &str = "[limits]\nprocessors = 64\nlegs = 2000\nlegs_per_room = 1000\ncalls_per_source = 2000\n\
                    new_calls_per_source_per_s = 1000\nnew_calls_per_s = 1000\n\
                    [[rooms]]\nnumber = \"3000\"\nguests = true\ncaptions = false\n";
const WARM_UP: Duration = Duration::from_secs(5);

/// Codecs by their names in SDP, with the bar in per cent of a core for each leg where there is one.
const CODECS: [(&str, AudioCodec, Option<f64>); 4] = [
    ("PCMU", AudioCodec::Pcmu, Some(0.2)),
    ("PCMA", AudioCodec::Pcma, Some(0.2)),
    ("G722", AudioCodec::G722, None),
    ("opus", AudioCodec::Opus, Some(0.8)),
];

fn main() -> Result<()> {
    // Test runners start every target to ask what is in it.
    if !std::env::args().any(|arg| arg == "--bench") {
        return Ok(());
    }
    let wanted = setting("CONSILIUM_BENCH_VOICES", "PCMU:500,G722:500,opus:200");
    let seconds: u64 = setting("CONSILIUM_BENCH_SECONDS", "20").parse()?;
    let binary = binary()?;
    println!(
        "codec  legs  cores of media  % of a core a leg   bar  packets/s and leg  lost  gaps over 30 ms  longest ms  tones  cores of the load"
    );
    let mut rows = Vec::new();
    for kind in wanted.split(',') {
        let (name, legs) = kind
            .split_once(':')
            .context("a codec and a number of legs")?;
        let known = CODECS.iter().find(|(known, ..)| *known == name);
        let (_, codec, bar) = known.context("PCMU, PCMA, G722 or opus")?;
        let legs: usize = legs.parse()?;
        if !(1..=1000).contains(&legs) {
            bail!("legs are 1 to 1000");
        }
        let row = measure(&binary, (name, *codec), legs, Duration::from_secs(seconds))?;
        println!("{}", row.line(*bar));
        rows.push(row);
    }
    if let Some(path) = std::env::var_os("CONSILIUM_BENCH_JSON") {
        std::fs::write(path, serde_json::to_string_pretty(&rows)?)?;
    }
    Ok(())
}

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.into())
}

/// Figures of one run.
#[derive(Serialize)]
struct Row {
    codec: String,
    legs: usize,
    /// Of the media process.
    cores: f64,
    /// Of this process, which carries the load.
    load_cores: f64,
    /// Packets that came to a leg in a second.
    packet_rate: f64,
    /// Packets lost on the way to the legs, all together.
    lost: u64,
    /// Pauses over 30 ms between packets, all legs together.
    gaps: u64,
    longest_gap_ms: f64,
    /// Fewest tones heard at a leg.
    tones: usize,
}

fn measure(
    binary: &Path,
    (name, codec): (&str, AudioCodec),
    count: usize,
    span: Duration,
) -> Result<Row> {
    let server = Server::configured(binary, MEDIA_PORTS, ROOM)?;
    let load = Load::start()?;
    let legs = (0..count).map(|n| {
        let id = (n % usize::from(tone::IDS)) as u8 + 1;
        server.call(&load, &terminal(id, codec))
    });
    let legs = legs.collect::<Result<Vec<LoadLeg>>>()?;
    std::thread::sleep(WARM_UP);
    for leg in &legs {
        leg.reset()?;
    }
    let ids = [server.pid_of("media")?, std::process::id()];
    let (start, before) = (Instant::now(), ids.map(cpu_of));
    std::thread::sleep(span);
    let (after, elapsed) = (ids.map(cpu_of), start.elapsed().as_secs_f64());
    let reports = legs.iter().map(LoadLeg::report);
    let reports = reports.collect::<Result<Vec<Report>, _>>()?;
    let cores = |n: usize| (after[n] - before[n]).as_secs_f64() / elapsed;
    let audio = || reports.iter().map(|report| &report.audio);
    let row = Row {
        codec: name.into(),
        legs: count,
        cores: cores(0),
        load_cores: cores(1),
        packet_rate: reports
            .iter()
            .map(|r| r.audio.packets as f64 / r.seconds)
            .sum::<f64>()
            / count as f64,
        lost: audio().map(|a| a.lost).sum(),
        gaps: audio().map(|a| a.gaps_over_30_ms).sum(),
        longest_gap_ms: audio().map(|a| a.longest_gap_ms).fold(0.0, f64::max),
        tones: audio().map(|a| a.tones.len()).min().unwrap_or(0),
    };
    drop(legs);
    server.end_well();
    Ok(row)
}

fn terminal(id: u8, codec: AudioCodec) -> LegConfig {
    LegConfig {
        rtcp_mux: true,
        ..LegConfig::telephone(id, AudioConfig::codec(codec))
    }
}

impl Row {
    fn line(&self, bar: Option<f64>) -> String {
        let each = self.cores / self.legs as f64 * 100.0;
        let bar = bar.map_or("none".into(), |bar| {
            let verdict = if each <= bar { "met" } else { "MISSED" };
            format!("{bar} {verdict}")
        });
        format!(
            "{:<5} {:>5} {:>10.3} {:>12.3} {:>12} {:>12.2} {:>8} {:>8} {:>10.1} {:>6} {:>8.3}",
            self.codec,
            self.legs,
            self.cores,
            each,
            bar,
            self.packet_rate,
            self.lost,
            self.gaps,
            self.longest_gap_ms,
            self.tones,
            self.load_cores,
        )
    }
}
