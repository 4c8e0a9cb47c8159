//! What a room of terminals costs: 1, 2, 4 and 8 legs at 720p30 in one room of a server that this
//! bench starts, against the cost of the codecs alone in the same run.
//!
//! `cargo bench --bench mcu`. Settings by environment: `CONSILIUM_BINARY` (a release binary; it is
//! built otherwise), `CONSILIUM_BENCH_LEGS` (`1,2,4,8`), `CONSILIUM_BENCH_SECONDS` (20),
//! `CONSILIUM_BENCH_JSON` (a file for the figures), `CONSILIUM_BENCH_LAYOUTS` (1): so many legs see a
//! layout of their own, for which the codecs' cost has as many compositions.
//!
//! Figures are printed beside the bars that they should meet, and never asserted: what a shared
//! machine does to a clock says nothing about the program.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use benches::clip::{self, Clip};
use benches::codec::EncodeSettings;
use benches::cost::{self, CodecCost};
use benches::load::{LegConfig, Load, LoadLeg, Percentiles, Report, Sample, Watch};
use benches::picture::Rect;
use benches::process::cpu_of_tree;
use benches::server::{Server, binary};
use benches::{quality, tone};
use mcu_api::layout::{Cell, Layout, WHOLE};
use serde::Serialize;

const MEDIA_PORTS: (u16, u16) = (42_000, 42_399);
/// Without names: a tile is compared with what was sent.
const ROOM: &str = "[[rooms]]\nnumber = \"3000\"\nguests = true\ncaptions = false\n";
const WARM_UP: Duration = Duration::from_secs(5);

/// The room's, and eight beside it.
const LAYOUTS: usize = 9;

/// Between two keys, each of which waits for the answer to the one before.
const KEY_PAUSE: Duration = Duration::from_millis(100);

/// Most that a terminal takes, in bit/s: the composition shows up to eight moving pictures, where
/// each of them sends one.
const RECEIVE_BPS: u32 = 2_000_000;

/// How often the codecs' own cost is measured.
const CODEC_RUNS: usize = 7;

/// Bars at the largest number of legs.
const FRAME_RATE_MIN: f64 = 29.5;
const RATIO_MAX: f64 = 1.3;
const DELAY_P95_MAX_MS: f64 = 80.0;
const PSNR_MIN_DB: f64 = 32.0;

/// Source of the direct path, whose receiver sees no other: the last id that has a tone.
const DIRECT_ID: u8 = tone::IDS;

fn main() -> Result<()> {
    // Test runners start every target to ask what is in it.
    if !std::env::args().any(|arg| arg == "--bench") {
        return Ok(());
    }
    let counts = setting("CONSILIUM_BENCH_LEGS", "1,2,4,8");
    let counts: Vec<u8> = counts
        .split(',')
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let seconds: u64 = setting("CONSILIUM_BENCH_SECONDS", "20").parse()?;
    let clips = make_clips(counts.iter().copied().max().unwrap_or(1))?;
    let layouts: usize = setting("CONSILIUM_BENCH_LAYOUTS", "1").parse()?;
    let binary = binary()?;
    let mut rows = Vec::new();
    print_head();
    for count in counts {
        let row = measure(
            &binary,
            &clips,
            (
                usize::from(count),
                layouts.clamp(1, usize::from(count).min(LAYOUTS)),
            ),
            Duration::from_secs(seconds),
        )?;
        println!("{}", row.line());
        rows.push(row);
    }
    print_verdict(&rows);
    if let Some(path) = std::env::var_os("CONSILIUM_BENCH_JSON") {
        std::fs::write(path, serde_json::to_string_pretty(&rows)?)?;
    }
    Ok(())
}

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.into())
}

/// Clips of the legs, and behind them that of the direct path.
fn make_clips(legs: u8) -> Result<Vec<Arc<Clip>>> {
    if !(1..=tone::IDS).contains(&legs) {
        bail!("legs are 1 to {}", tone::IDS);
    }
    let ids: Vec<u8> = (1..=legs).chain([DIRECT_ID]).collect();
    let clips: Vec<Arc<Clip>> = ids
        .into_iter()
        .map(|id| Ok(Arc::new(Clip::load(&clip::Config::hd(id))?)))
        .collect::<Result<_>>()?;
    if clips.iter().any(|clip| !clip.photographed) {
        println!(
            "No photographs: install mate-backgrounds, or the figures stand for easier pictures."
        );
    }
    Ok(clips)
}

/// Figures of one run.
#[derive(Serialize)]
struct Row {
    legs: usize,
    /// Different compositions.
    layouts: usize,
    /// Cores of the server's process tree.
    cores: f64,
    /// Cores of this process, which carries the load.
    load_cores: f64,
    codec: CodecCost,
    /// Frames a second at the leg that got fewest.
    frame_rate: f64,
    /// Fresh frames a second of the tile that got fewest.
    fresh_rate: f64,
    /// Tiles seen.
    tiles: usize,
    psnr_min_db: f64,
    psnr_mean_db: f64,
    /// Of the slowest tile.
    delay: Percentiles,
    /// Of the direct path.
    direct: Percentiles,
    /// Packets lost on the way to the legs, all together.
    lost: u64,
    /// Frames that the generator sent late: with more than a few, the machine is too busy.
    late: u64,
    /// Pauses over 30 ms in the sound of all legs.
    audio_gaps: u64,
    /// Fewest tones heard at a leg.
    tones: usize,
}

struct Measured {
    layouts: usize,
    cores: f64,
    load_cores: f64,
    reports: Vec<Report>,
    direct: Report,
    samples: Vec<Sample>,
}

fn measure(
    binary: &Path,
    clips: &[Arc<Clip>],
    (count, layouts): (usize, usize),
    span: Duration,
) -> Result<Row> {
    let server = Server::configured(binary, MEDIA_PORTS, ROOM)?;
    let load = Load::start()?;
    let sources = &clips[..count];
    let mut legs = Vec::new();
    for (i, clip) in sources.iter().enumerate() {
        let watch = Watch::Samples {
            every: 121,
            most: 4 * count,
        };
        let watch = if i == 0 { watch } else { Watch::Nothing };
        let id = clip.config.id;
        legs.push(server.call(
            &load,
            &LegConfig {
                watch,
                ..terminal(id, clip)
            },
        )?);
    }
    choose_layouts(&legs[..layouts])?;
    let (_sender, receiver) = direct_path(&load, &clips[clips.len() - 1])?;
    std::thread::sleep(WARM_UP);
    for leg in legs.iter().chain([&receiver]) {
        leg.reset()?;
    }
    let ids = (server.pid(), std::process::id());
    let (start, before) = (Instant::now(), ids.map_each(cpu_of_tree));
    std::thread::sleep(span);
    let reports = legs
        .iter()
        .map(LoadLeg::report)
        .collect::<Result<Vec<_>, _>>()?;
    let direct = receiver.report()?;
    let (after, elapsed) = (ids.map_each(cpu_of_tree), start.elapsed().as_secs_f64());
    let cores = (after.0 - before.0).as_secs_f64() / elapsed;
    // The server is a child of this process.
    let load_cores = (after.1 - before.1).as_secs_f64() / elapsed - cores;
    let samples = legs[0].samples()?;
    drop(legs);
    server.end_well();
    row(
        sources,
        Measured {
            layouts,
            cores,
            load_cores,
            reports,
            direct,
            samples,
        },
    )
}

/// Each sees another layout than those before: the first the room's, the next the one after it.
fn choose_layouts(legs: &[LoadLeg]) -> Result<()> {
    for (steps, leg) in legs.iter().enumerate() {
        for _ in 0..steps {
            leg.press('6')?;
            std::thread::sleep(KEY_PAUSE);
        }
    }
    Ok(())
}

trait MapEach {
    fn map_each(self, f: fn(u32) -> Duration) -> (Duration, Duration);
}

impl MapEach for (u32, u32) {
    fn map_each(self, f: fn(u32) -> Duration) -> (Duration, Duration) {
        (f(self.0), f(self.1))
    }
}

/// A terminal that sends the clip and takes up to [`RECEIVE_BPS`].
fn terminal(id: u8, clip: &Arc<Clip>) -> LegConfig {
    let mut leg = LegConfig::terminal(id, clip.clone());
    if let Some(video) = &mut leg.video {
        video.receive_bps = RECEIVE_BPS;
    }
    leg
}

/// The middle one of several measurements: what a shared machine gives to one thread for a few
/// seconds varies by a third.
fn codec_cost(tiles: &[(Arc<Clip>, Rect)], canvas: EncodeSettings) -> Result<CodecCost> {
    let costs = (0..CODEC_RUNS).map(|_| cost::of_composition(tiles, canvas));
    let mut costs = costs.collect::<Result<Vec<_>, _>>()?;
    costs.sort_by(|a, b| a.total().total_cmp(&b.total()));
    Ok(costs.swap_remove(CODEC_RUNS / 2))
}

/// The generator sends to itself and decodes: what every delay contains without a server.
fn direct_path(load: &Load, clip: &Arc<Clip>) -> Result<(LoadLeg, LoadLeg)> {
    let sender = LegConfig {
        audio: None,
        ..LegConfig::terminal(clip.config.id, clip.clone())
    };
    let mut receiver = LegConfig {
        watch: Watch::Tiles,
        ..sender.clone()
    };
    if let Some(video) = &mut receiver.video {
        video.clip = None;
    }
    Ok(load.pair(sender, receiver)?)
}

/// Where a cell of the layout lies.
fn rect(cell: Cell, width: usize, height: usize) -> Rect {
    let of = |part: u16, whole: usize| (usize::from(part) * whole / usize::from(WHOLE)) & !1;
    Rect {
        x: of(cell.left, width),
        y: of(cell.top, height),
        width: of(cell.width, width),
        height: of(cell.height, height),
    }
}

fn row(sources: &[Arc<Clip>], measured: Measured) -> Result<Row> {
    let Measured {
        layouts,
        cores,
        load_cores,
        reports,
        direct,
        samples,
    } = measured;
    let watched = &reports[0];
    let video = &watched.video;
    let (width, height) = (video.width.max(2), video.height.max(2));
    let cells = Layout::default().cells(sources.len()).iter();
    let cells = cells.map(|cell| rect(*cell, width, height));
    let tiles: Vec<(Arc<Clip>, Rect)> = sources.iter().cloned().zip(cells).collect();
    let mut psnr = Vec::new();
    for clip in sources {
        psnr.extend(quality::tile_psnr_db(&samples, clip)?);
    }
    let canvas = EncodeSettings {
        width,
        height,
        frame_rate: 30,
        bitrate_bps: (video.bytes as f64 * 8.0 / watched.seconds) as u32,
        key_interval: 0,
        slice_len_max: None,
        may_skip: true,
    };
    let fewest =
        |figures: &mut dyn Iterator<Item = f64>| figures.reduce(f64::min).unwrap_or(f64::NAN);
    let seen = |r: &Report| r.tiles.iter().map(|t| t.fresh_rate).collect::<Vec<_>>();
    let slowest = watched.tiles.iter().map(|tile| tile.delay);
    let slowest = slowest
        .max_by(|a, b| a.p95.total_cmp(&b.p95))
        .unwrap_or_default();
    Ok(Row {
        legs: sources.len(),
        layouts,
        cores,
        load_cores,
        codec: codec_cost(&tiles, canvas)?.for_compositions(layouts as f64),
        frame_rate: fewest(&mut reports.iter().map(|r| r.video.frame_rate)),
        fresh_rate: fewest(&mut seen(watched).into_iter()),
        tiles: watched.tiles.len(),
        psnr_min_db: fewest(&mut psnr.iter().copied()),
        psnr_mean_db: psnr.iter().sum::<f64>() / psnr.len() as f64,
        delay: slowest,
        direct: direct
            .tile(DIRECT_ID)
            .map(|tile| tile.delay)
            .unwrap_or_default(),
        lost: reports.iter().map(|r| r.video.lost + r.audio.lost).sum(),
        late: reports.iter().map(|r| r.sent.late_frames).sum(),
        audio_gaps: reports.iter().map(|r| r.audio.gaps_over_30_ms).sum(),
        tones: reports
            .iter()
            .map(|r| r.audio.tones.len())
            .min()
            .unwrap_or(0),
    })
}

impl Row {
    fn ratio(&self) -> f64 {
        self.cores / self.codec.total()
    }

    /// Median and 95th percentile less the direct path's median.
    fn added_delay(&self) -> (f64, f64) {
        (
            self.delay.median - self.direct.median,
            self.delay.p95 - self.direct.median,
        )
    }

    fn line(&self) -> String {
        let (median, p95) = self.added_delay();
        format!(
            "{:>4} {:>7} {:>7.3} {:>7.3} {:>6.2} {:>7.2} {:>7.2} {:>5} {:>6.1} {:>6.1} {:>7.1} {:>7.1} \
             {:>6.2} {:>6.2} {:>5} {:>5} {:>5} {:>5} {:>6.3}  ({:.3} + {:.3} + {:.3})",
            self.legs,
            self.layouts,
            self.cores,
            self.codec.total(),
            self.ratio(),
            self.frame_rate,
            self.fresh_rate,
            self.tiles,
            self.psnr_min_db,
            self.psnr_mean_db,
            median,
            p95,
            self.direct.median,
            self.direct.p95,
            self.lost,
            self.late,
            self.audio_gaps,
            self.tones,
            self.load_cores,
            self.codec.decode,
            self.codec.scale,
            self.codec.encode,
        )
    }
}

fn print_head() {
    println!(
        "Legs at 720p30 in one room: 1.5 Mbit/s sent, 2 taken. Delays in ms, less the direct path's median."
    );
    println!(
        "{:>4} {:>7} {:>7} {:>7} {:>6} {:>7} {:>7} {:>5} {:>6} {:>6} {:>7} {:>7} {:>6} {:>6} {:>5} {:>5} \
         {:>5} {:>5} {:>6}  codecs: decode + scale + encode",
        "legs",
        "layouts",
        "cores",
        "codecs",
        "ratio",
        "fps",
        "fresh",
        "tiles",
        "dBmin",
        "dBmean",
        "median",
        "p95",
        "dirmed",
        "dirp95",
        "lost",
        "late",
        "gaps",
        "tones",
        "load",
    );
}

fn print_verdict(rows: &[Row]) {
    let Some(row) = rows.iter().max_by_key(|row| row.legs) else {
        return;
    };
    let verdict = |met: bool| if met { "met" } else { "MISSED" };
    let p95 = row.added_delay().1;
    println!("At {} legs:", row.legs);
    for (name, value, bar, met) in [
        (
            "frames/s at least",
            row.frame_rate,
            FRAME_RATE_MIN,
            row.frame_rate >= FRAME_RATE_MIN,
        ),
        (
            "fresh/s at least",
            row.fresh_rate,
            FRAME_RATE_MIN,
            row.fresh_rate >= FRAME_RATE_MIN,
        ),
        (
            "ratio at most",
            row.ratio(),
            RATIO_MAX,
            row.ratio() <= RATIO_MAX,
        ),
        (
            "delay p95 in ms at most",
            p95,
            DELAY_P95_MAX_MS,
            p95 <= DELAY_P95_MAX_MS,
        ),
        (
            "PSNR in dB at least",
            row.psnr_min_db,
            PSNR_MIN_DB,
            row.psnr_min_db >= PSNR_MIN_DB,
        ),
    ] {
        println!("  {name} {bar}: {value:.2}, {}", verdict(met));
    }
    let all_there = row.tiles == row.legs;
    println!(
        "  every leg in the picture: {} of {}, {}",
        row.tiles,
        row.legs,
        verdict(all_there)
    );
}
