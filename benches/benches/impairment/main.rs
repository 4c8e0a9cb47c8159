//! What loss does to what is seen and heard: a terminal behind a bad line and one behind a good one in
//! a room of a server that this bench starts, both speaking and moving.
//!
//! `cargo bench --bench impairment`. Settings by environment: `CONSILIUM_BINARY` (a release binary; it
//! is built otherwise), `CONSILIUM_BENCH_SECONDS` (20), `CONSILIUM_BENCH_LOSS` (`0,5,10,20,30`),
//! `CONSILIUM_BENCH_KINDS` (`plain,feedback`), `CONSILIUM_BENCH_LINES` (`near,far`),
//! `CONSILIUM_BENCH_CODECS` (`pcmu,opus`), `CONSILIUM_BENCH_JSON` (a file for the figures),
//! `CONSILIUM_BENCH_SPEECH` (WAV files in a folder; those of Debian's `alsa-utils` otherwise),
//! `CONSILIUM_BENCH_PYTHON` (a Python with the package `pesq`; else it is put into a virtual
//! environment in the target folder).
//!
//! "up" is what the other sees and hears of the terminal behind the bad line: the server receives, and
//! repairs or conceals. "down" is what that terminal sees and hears: the server sends, and answers
//! requests. Figures are printed beside the bars that they should meet, and never asserted.

mod speech;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use benches::clip::{self, Clip};
use benches::impairment::{Impairment, Loss, Relay};
use benches::load::{AudioConfig, LegConfig, Load, LoadLeg, Repair, Report, Sample, Watch};
use benches::quality;
use benches::server::{Server, binary};
use mcu_api::codec::AudioCodec;
use serde::Serialize;

use speech::{Judge, Speech};

const MEDIA_PORTS: (u16, u16) = (20_400, 20_799);
/// Without names: a tile is compared with what was sent.
const ROOM: &str = "[[rooms]]\nnumber = \"3000\"\nguests = true\ncaptions = false\n";
const WARM_UP: Duration = Duration::from_secs(4);
/// Mean length of a burst, in packets.
const BURST: f64 = 3.0;
/// Bytes of a slice.
const SLICE_MAX: u32 = 1_100;
const BAD: u8 = 1;
const GOOD: u8 = 2;

fn main() -> Result<()> {
    // Test runners start every target to ask what is in it.
    if !std::env::args().any(|arg| arg == "--bench") {
        return Ok(());
    }
    let seconds: u64 = setting("CONSILIUM_BENCH_SECONDS", "20").parse()?;
    let losses = setting("CONSILIUM_BENCH_LOSS", "0,5,10,20,30");
    let losses: Vec<u32> = losses
        .split(',')
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let binary = binary()?;
    let judge = Judge::new()?;
    let clips = [BAD, GOOD].map(|id| Clip::load(&in_slices(id)).map(Arc::new));
    let [bad, good] = clips;
    let clips = [bad?, good?];
    let mut rows = Vec::new();
    print_head();
    for codec in words("CONSILIUM_BENCH_CODECS", "pcmu,opus") {
        let speech = Speech::load(codec_named(&codec)?)?;
        for kind in words("CONSILIUM_BENCH_KINDS", "plain,feedback") {
            for line in words("CONSILIUM_BENCH_LINES", "near,far") {
                for model in ["random", "gilbert"] {
                    for percent in losses.iter().filter(|loss| model == "random" || **loss > 0) {
                        let case = Case {
                            codec: codec.clone(),
                            kind: kind.clone(),
                            line: line.clone(),
                            model,
                            percent: *percent,
                        };
                        let server = Server::configured(&binary, MEDIA_PORTS, ROOM)?;
                        let measured = measure(&server, &case, (&clips, &speech), seconds)?;
                        server.end_well();
                        for row in rows_of(case, measured, (&clips, &speech), &judge)? {
                            println!("{}", row.line());
                            rows.push(row);
                        }
                    }
                }
            }
        }
    }
    if let Some(path) = std::env::var_os("CONSILIUM_BENCH_JSON") {
        std::fs::write(path, serde_json::to_string_pretty(&rows)?)?;
    }
    Ok(())
}

/// Each slice fits a packet, as of most terminals.
fn in_slices(id: u8) -> clip::Config {
    let mut config = clip::Config::hd(id);
    config.encode.slice_len_max = Some(SLICE_MAX);
    config
}

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.into())
}

fn words(name: &str, default: &str) -> Vec<String> {
    let words = setting(name, default);
    words.split(',').map(str::to_owned).collect()
}

fn codec_named(name: &str) -> Result<AudioCodec> {
    match name {
        "pcmu" => Ok(AudioCodec::Pcmu),
        "g722" => Ok(AudioCodec::G722),
        "opus" => Ok(AudioCodec::Opus),
        _ => anyhow::bail!("no such codec here: {name}"),
    }
}

/// What is measured.
#[derive(Clone, Serialize)]
struct Case {
    codec: String,
    kind: String,
    line: String,
    model: &'static str,
    percent: u32,
}

impl Case {
    fn impairment(&self, seed: u64) -> Impairment {
        let rate = f64::from(self.percent) / 100.0;
        let loss = match self.model {
            _ if self.percent == 0 => Loss::Never,
            "gilbert" => Loss::Gilbert { rate, burst: BURST },
            _ => Loss::Random(rate),
        };
        let (delay, jitter) = match self.line.as_str() {
            "far" => (75, 30),
            _ => (5, 0),
        };
        Impairment {
            loss,
            delay: Duration::from_millis(delay),
            jitter: Duration::from_millis(jitter),
            seed,
            ..Impairment::default()
        }
    }

    fn repair(&self) -> Repair {
        let is_on = self.kind != "plain";
        Repair {
            nack: is_on,
            rtx: is_on,
            red: is_on,
        }
    }
}

/// Of one leg: what it saw and heard.
struct Seen {
    report: Report,
    samples: Vec<Sample>,
    sound: Vec<i16>,
}

/// At the terminal behind the good line, and at the one behind the bad line.
fn measure(
    server: &Server,
    case: &Case,
    (clips, speech): (&[Arc<Clip>; 2], &Speech),
    seconds: u64,
) -> Result<[Seen; 2]> {
    let load = Load::start()?;
    let clean = Impairment {
        loss: Loss::Never,
        ..case.impairment(1)
    };
    let relay = Arc::new(Relay::start(clean, clean)?);
    let config = |n: usize, clip: &Arc<Clip>| LegConfig {
        audio: Some(AudioConfig::codec(speech.codec)),
        speech: Some(speech.said[n].clone()),
        records: true,
        rtcp_mux: true,
        watch: Watch::Samples {
            every: 41,
            most: 12,
        },
        ..LegConfig::terminal(clip.config.id, clip.clone())
    };
    let behind = LegConfig {
        repair: case.repair(),
        feedback: case.kind != "plain",
        line: Some(relay.clone()),
        ..config(0, &clips[0])
    };
    let bad = server.call(&load, &behind)?;
    let good = server.call(&load, &config(1, &clips[1]))?;
    std::thread::sleep(WARM_UP);
    relay.change(case.impairment(2), case.impairment(3))?;
    // The first losses are met as any later ones are.
    std::thread::sleep(Duration::from_secs(3));
    for leg in [&good, &bad] {
        leg.reset()?;
        drop((leg.samples()?, leg.recording()?));
    }
    std::thread::sleep(Duration::from_secs(seconds));
    let seen = |leg: &LoadLeg| -> Result<Seen> {
        Ok(Seen {
            report: leg.report()?,
            samples: leg.samples()?,
            sound: leg.recording()?,
        })
    };
    Ok([seen(&good)?, seen(&bad)?])
}

/// One direction of one case.
#[derive(Serialize)]
struct Row {
    case: Case,
    way: &'static str,
    /// Freezes over 200 ms, their share of the time in per cent, and the longest time without a new
    /// picture in ms.
    freezes: u64,
    frozen_percent: f64,
    longest_ms: f64,
    frame_rate: f64,
    ssim_mean: f64,
    ssim_least: f64,
    pesq: f64,
    /// Packets of the picture that were asked for again, in 100 sent.
    asked_percent: f64,
    key_frames_asked: u64,
    video_kbps: f64,
}

fn rows_of(
    case: Case,
    [good, bad]: [Seen; 2],
    (clips, speech): (&[Arc<Clip>; 2], &Speech),
    judge: &Judge,
) -> Result<Vec<Row>> {
    let sent = [bad.report.sent, good.report.sent];
    let asked = [sent[0].nacked, sent[0].asked_again];
    let keys = [sent[0].key_frame_requests, sent[0].key_frames_asked];
    let packets = [sent[0].video_packets, bad.report.video.packets];
    let ways = [("up", good, &clips[0]), ("down", bad, &clips[1])];
    let rows = ways.into_iter().enumerate().map(|(n, (way, seen, clip))| {
        let report = &seen.report;
        let tile = report.tile(clip.config.id);
        let ssim = quality::tile_ssim(&seen.samples, clip)?;
        Ok(Row {
            case: case.clone(),
            way,
            freezes: tile.map_or(0, |tile| tile.freezes),
            frozen_percent: tile.map_or(100.0, |tile| tile.frozen_ms / report.seconds / 10.0),
            longest_ms: tile.map_or(f64::NAN, |tile| tile.longest_gap_ms),
            frame_rate: tile.map_or(0.0, |tile| tile.fresh_rate),
            ssim_mean: ssim.iter().sum::<f64>() / ssim.len().max(1) as f64,
            ssim_least: ssim.iter().copied().fold(1.0, f64::min),
            pesq: judge
                .score(speech.codec, &speech.said[n], &seen.sound)
                .context("PESQ")?,
            asked_percent: asked[n] as f64 * 100.0 / packets[n].max(1) as f64,
            key_frames_asked: keys[n],
            video_kbps: report.video.bytes as f64 * 8.0 / report.seconds / 1e3,
        })
    });
    rows.collect()
}

fn print_head() {
    println!(
        "near: 5 ms each way. far: 75 to 105 ms each way. gilbert: bursts of {BURST} packets on average."
    );
    println!(
        "{:<6} {:<9} {:<5} {:<8} {:>4} {:<5} {:>7} {:>7} {:>8} {:>6} {:>6} {:>6} {:>5} {:>6} {:>5} {:>6}",
        "codec",
        "kind",
        "line",
        "loss",
        "%",
        "way",
        "freezes",
        "frozen%",
        "longest",
        "fps",
        "ssim",
        "least",
        "PESQ",
        "asked%",
        "keys",
        "kbit/s"
    );
}

impl Row {
    fn line(&self) -> String {
        let case = &self.case;
        format!(
            "{:<6} {:<9} {:<5} {:<8} {:>4} {:<5} {:>7} {:>7.2} {:>8.0} {:>6.2} {:>6.3} {:>6.3} {:>5.2} {:>6.1} {:>5} {:>6.0}{}",
            case.codec,
            case.kind,
            case.line,
            case.model,
            case.percent,
            self.way,
            self.freezes,
            self.frozen_percent,
            self.longest_ms,
            self.frame_rate,
            self.ssim_mean,
            self.ssim_least,
            self.pesq,
            self.asked_percent,
            self.key_frames_asked,
            self.video_kbps,
            self.verdict(),
        )
    }

    /// Beside the bars of legs that repair.
    fn verdict(&self) -> &'static str {
        let met = match (self.case.kind.as_str(), self.case.percent) {
            ("plain", _) | (_, 0) | (_, 21..) => return "",
            (_, ..=10) => self.freezes == 0,
            _ => self.frozen_percent <= 3.0 && self.pesq >= 3.0,
        };
        if met { "  met" } else { "  MISSED" }
    }
}
