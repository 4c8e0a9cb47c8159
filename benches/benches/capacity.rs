//! Many terminals at once: 40 legs at 720p30 of 1 Mbit/s in one room, 25 of them shown, and then twice
//! as many in two rooms, which is more than a machine of two cores can do. The load generator has a
//! cgroup of its own with first call on the machine.
//!
//! `cargo bench --bench capacity`. Settings by environment: `CONSILIUM_BINARY` (a release binary; it is
//! built otherwise), `CONSILIUM_BENCH_ROOMS` (`40;40,40`: legs of each room, and after a semicolon of
//! the next run), `CONSILIUM_BENCH_VIEWS` (0: legs of each room with a composed picture of their own
//! beside the observer's, eight at most in all), `CONSILIUM_BENCH_MINUTES` (5), `CONSILIUM_BENCH_JSON`
//! (a file for the figures).
//!
//! In the first room one leg speaks, and another has chosen to see the speaker alone: markers of 25
//! tiles are too small to be read, and the delay is that of its picture. Each minute is one line.
//! Figures are printed and never asserted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use benches::cgroup::Group;
use benches::clip::{self, Clip};
use benches::codec::EncodeSettings;
use benches::load::{AudioConfig, LegConfig, Load, LoadLeg, Percentiles, Report, Target, Watch};
use benches::process::{cpu_of, resident_kb};
use benches::server::{Server, binary};
use benches::tone;
use serde::Serialize;

/// Below those that the system gives to the generator.
const MEDIA_PORTS: (u16, u16) = (21_000, 22_999);
/// Calls are admitted far beyond what the machine can do: what then becomes of them is to be seen.
const LIMITS: &str = "[limits]\nprocessors = 64\nlegs_per_room = 200\ncalls_per_source = 2000\n\
                      new_calls_per_source_per_s = 1000\nnew_calls_per_s = 1000\n";
const WARM_UP: Duration = Duration::from_secs(15);
const MINUTE: Duration = Duration::from_secs(60);
const KEY_PAUSE: Duration = Duration::from_millis(300);
const RATE_BPS: u32 = 1_000_000;
/// Most that each takes: 25 moving pictures are in what it gets.
const RECEIVE_BPS: u32 = 2_000_000;
/// Who speaks; the others have the markers after it, over and over.
const SPEAKER: u8 = 1;
/// Of the direct path, whose receiver sees no other.
const DIRECT: u8 = tone::IDS;
/// Keys from the room's layout to that of the speaker alone.
const KEYS_TO_SINGLE: usize = 2;
/// How much more than the server's the generator's share of the machine is.
const LOAD_TIMES: u32 = 8;

fn main() -> Result<()> {
    // Test runners start every target to ask what is in it.
    if !std::env::args().any(|arg| arg == "--bench") {
        return Ok(());
    }
    let runs = setting("CONSILIUM_BENCH_ROOMS", "40;40,40");
    let minutes: u32 = setting("CONSILIUM_BENCH_MINUTES", "5").parse()?;
    let views: usize = setting("CONSILIUM_BENCH_VIEWS", "0").parse()?;
    let binary = binary()?;
    let clips: Vec<Arc<Clip>> = (1..=tone::IDS)
        .map(|id| Ok(Arc::new(Clip::load(&clip_of(id))?)))
        .collect::<Result<_>>()?;
    let mut rows = Vec::new();
    for run in runs.split(';') {
        let rooms: Vec<usize> = run.split(',').map(str::parse).collect::<Result<_, _>>()?;
        if rooms.iter().any(|legs| !(2..=200).contains(legs)) {
            bail!("a room has 2 to 200 legs");
        }
        let server = Server::configured(&binary, MEDIA_PORTS, &config(rooms.len()))?;
        rows.extend(measure(&server, &clips, (&rooms, views), minutes)?);
        server.end_well();
    }
    if let Some(path) = std::env::var_os("CONSILIUM_BENCH_JSON") {
        std::fs::write(path, serde_json::to_string_pretty(&rows)?)?;
    }
    Ok(())
}

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.into())
}

fn config(rooms: usize) -> String {
    let rooms = (0..rooms).map(|n| {
        let number = number(n);
        format!("[[rooms]]\nnumber = \"{number}\"\nguests = true\ncaptions = false\n")
    });
    rooms.fold(LIMITS.to_owned(), |all, room| all + &room)
}

fn number(room: usize) -> String {
    (3_000 + room).to_string()
}

fn clip_of(id: u8) -> clip::Config {
    let hd = clip::Config::hd(id);
    clip::Config {
        encode: EncodeSettings {
            bitrate_bps: RATE_BPS,
            ..hd.encode
        },
        ..hd
    }
}

/// Figures of one minute.
#[derive(Serialize)]
struct Row {
    rooms: Vec<usize>,
    views: usize,
    minute: u32,
    /// Of the media process, of the controller and of the generator.
    cores: f64,
    control_cores: f64,
    load_cores: f64,
    /// Memory of the media process.
    resident_mb: f64,
    /// Frames a second at the leg that got fewest, and at all of them in the mean.
    frame_rate_min: f64,
    frame_rate_mean: f64,
    /// Longest pause between two frames at any leg.
    longest_gap_ms: f64,
    /// Lines of the picture that the observer sees.
    height: usize,
    /// Of the speaker's picture at the observer, and without a server.
    delay: Percentiles,
    direct: Percentiles,
    /// Fresh frames of it in a second.
    fresh_rate: f64,
    freezes: u64,
    audio_gaps: u64,
    lost: u64,
    /// Key frames that were asked of all legs.
    keys_asked: u64,
    /// Frames that the generator sent late.
    late: u64,
    ended: usize,
}

fn measure(
    server: &Server,
    clips: &[Arc<Clip>],
    (rooms, views): (&[usize], usize),
    minutes: u32,
) -> Result<Vec<Row>> {
    let load = Load::start()?;
    let legs = call_all(server, &load, clips, (rooms, views))?;
    // Begun after the server, which is not of the group, and ended before the next one is started.
    let _group = own_group()
        .inspect_err(|error| println!("No cgroup of its own for the generator: {error}"));
    let (_sender, receiver) = direct_path(&load, &clips[usize::from(DIRECT) - 1])?;
    std::thread::sleep(WARM_UP);
    println!("Legs of the rooms: {rooms:?}, {views} views of their own in each");
    print_head();
    let pids = [
        server.pid_of("media")?,
        server.pid_of("control")?,
        std::process::id(),
    ];
    let mut rows = Vec::new();
    for minute in 1..=minutes {
        for leg in legs.iter().chain([&receiver]) {
            leg.reset()?;
        }
        let (start, before) = (Instant::now(), pids.map(cpu_of));
        std::thread::sleep(MINUTE);
        let (after, elapsed) = (pids.map(cpu_of), start.elapsed().as_secs_f64());
        let reports = legs.iter().map(LoadLeg::report);
        let reports = reports.collect::<Result<Vec<Report>, _>>()?;
        let cores = |n: usize| (after[n] - before[n]).as_secs_f64() / elapsed;
        let row = Row {
            rooms: rooms.to_vec(),
            views,
            minute,
            cores: cores(0),
            control_cores: cores(1),
            load_cores: cores(2),
            resident_mb: resident_kb(pids[0]) as f64 / 1_024.0,
            ..row_of(&reports, &receiver.report()?)
        };
        println!("{}", row.line());
        rows.push(row);
    }
    Ok(rows)
}

fn own_group() -> std::io::Result<Group> {
    let group = Group::new("consilium-load", LOAD_TIMES)?;
    group.take(std::process::id())?;
    Ok(group)
}

fn call_all(
    server: &Server,
    load: &Load,
    clips: &[Arc<Clip>],
    (rooms, views): (&[usize], usize),
) -> Result<Vec<LoadLeg>> {
    let mut legs = vec![server.call(load, &observer(clips))?];
    for (room, count) in rooms.iter().enumerate() {
        let target = Target::number(&number(room), server.sip);
        let first = legs.len();
        for n in usize::from(room == 0)..*count {
            let id = match room == 0 && n == 1 {
                true => SPEAKER,
                false => 2 + (n % usize::from(DIRECT - 2)) as u8,
            };
            legs.push(load.call(&target, terminal(id, clips))?);
        }
        // Each sees another layout than those before.
        for (n, leg) in legs[first..].iter().take(views).enumerate() {
            press(leg, KEYS_TO_SINGLE + 1 + n)?;
        }
    }
    press(&legs[0], KEYS_TO_SINGLE)?;
    Ok(legs)
}

fn press(leg: &LoadLeg, times: usize) -> Result<()> {
    for _ in 0..times {
        leg.press('6')?;
        std::thread::sleep(KEY_PAUSE);
    }
    Ok(())
}

fn terminal(id: u8, clips: &[Arc<Clip>]) -> LegConfig {
    let mut leg = LegConfig::terminal(id, clips[usize::from(id) - 1].clone());
    leg.audio = Some(AudioConfig {
        tone: id == SPEAKER,
        ..AudioConfig::default()
    });
    leg.rtcp_mux = true;
    if let Some(video) = &mut leg.video {
        video.receive_bps = RECEIVE_BPS;
    }
    leg
}

fn observer(clips: &[Arc<Clip>]) -> LegConfig {
    LegConfig {
        watch: Watch::Tiles,
        ..terminal(2, clips)
    }
}

fn direct_path(load: &Load, clip: &Arc<Clip>) -> Result<(LoadLeg, LoadLeg)> {
    let sender = LegConfig {
        audio: None,
        ..LegConfig::terminal(DIRECT, clip.clone())
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

/// What the legs saw and heard. The observer is the first.
fn row_of(reports: &[Report], direct: &Report) -> Row {
    let observer = &reports[0];
    let rates = || reports.iter().map(|r| r.video.frame_rate);
    let tile = observer.tile(SPEAKER);
    let longest = reports.iter().map(|r| r.video.longest_gap_ms);
    Row {
        rooms: Vec::new(),
        views: 0,
        minute: 0,
        cores: 0.0,
        control_cores: 0.0,
        load_cores: 0.0,
        resident_mb: 0.0,
        frame_rate_min: rates().fold(f64::INFINITY, f64::min),
        frame_rate_mean: rates().sum::<f64>() / reports.len() as f64,
        longest_gap_ms: longest.fold(0.0, f64::max),
        height: observer.video.height,
        delay: tile.map(|tile| tile.delay).unwrap_or_default(),
        direct: direct
            .tile(DIRECT)
            .map(|tile| tile.delay)
            .unwrap_or_default(),
        fresh_rate: tile.map_or(0.0, |tile| tile.fresh_rate),
        freezes: tile.map_or(0, |tile| tile.freezes),
        audio_gaps: reports.iter().map(|r| r.audio.gaps_over_30_ms).sum(),
        lost: reports.iter().map(|r| r.video.lost + r.audio.lost).sum(),
        keys_asked: reports.iter().map(|r| r.sent.key_frame_requests).sum(),
        late: reports.iter().map(|r| r.sent.late_frames).sum(),
        ended: reports.iter().filter(|r| r.ended.is_some()).count(),
    }
}

impl Row {
    fn line(&self) -> String {
        format!(
            "{:>6} {:>6.3} {:>7.3} {:>6.3} {:>7.1} {:>7.2} {:>7.2} {:>7.0} {:>5} {:>7.1} {:>7.1} {:>7.1} {:>6.1} \
             {:>6.2} {:>7} {:>5} {:>5} {:>5} {:>6} {:>5}",
            self.minute,
            self.cores,
            self.control_cores,
            self.load_cores,
            self.resident_mb,
            self.frame_rate_min,
            self.frame_rate_mean,
            self.longest_gap_ms,
            self.height,
            self.delay.median,
            self.delay.p95,
            self.delay.max,
            self.direct.median,
            self.fresh_rate,
            self.freezes,
            self.audio_gaps,
            self.lost,
            self.keys_asked,
            self.late,
            self.ended,
        )
    }
}

fn print_head() {
    println!(
        "{:>6} {:>6} {:>7} {:>6} {:>7} {:>7} {:>7} {:>7} {:>5} {:>7} {:>7} {:>7} {:>6} {:>6} {:>7} {:>5} {:>5} \
         {:>5} {:>6} {:>5}",
        "minute",
        "media",
        "control",
        "load",
        "MB",
        "fps min",
        "fps",
        "gap ms",
        "lines",
        "median",
        "p95",
        "longest",
        "direct",
        "fresh",
        "freezes",
        "gaps",
        "lost",
        "keys",
        "late",
        "ended",
    );
}
