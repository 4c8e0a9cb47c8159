//! What forwarding costs, beside Janus' video room (Debian's package `janus`): one browser sends 720p and many
//! see it; and many meet, each sends 720p in three layers and sees one other large and all others small.
//! Each server carries the same load, one after the other in the same run.
//!
//! `cargo bench --bench relay`. Settings by environment: `CONSILIUM_BINARY` (a release binary; it is
//! built otherwise), `CONSILIUM_BENCH_VIEWERS` (500), `CONSILIUM_BENCH_PEOPLE` (20, who meet; 24 at most),
//! `CONSILIUM_BENCH_SECONDS` (20), `CONSILIUM_BENCH_ROUNDS` (3), `CONSILIUM_BENCH_JSON` (a file for the
//! figures). 0 viewers or people: that load is left out.
//!
//! Everybody is a peer with ICE, DTLS and SRTP of its own. One of them decrypts what comes and looks for
//! gaps, of the others packets are counted. They send checks and no reports, and ask for nothing again: no
//! packet is lost on the loopback interface unless a queue is full, which is then said. Each
//! server chooses the suite of SRTP, which is printed. Of ours the time of `media` counts, and that of
//! `control` is printed beside it; of Janus all counts. Who meets has one connection with us and two with Janus: one to send, one to see. Figures are
//! printed beside the bar that they should meet, and never asserted.

mod consilium;
mod janus;
mod load;
mod peer;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use benches::clip::{self, Clip};
use benches::codec::EncodeSettings;
use benches::process::cpu_of;
use benches::server::binary;
use serde::Serialize;

use consilium::Consilium;
use janus::Janus;
use load::{Frames, Group, LAYERS, Stream};
use peer::{Peer, SSRC};

const WARM_UP: Duration = Duration::from_secs(5);
/// How many times as many packets for the same time as Janus.
const BAR: f64 = 3.0;
const RATE_BPS: u32 = 1_000_000;
/// Packets that may be missing, or be too many, in a load that was carried as it should be, in per cent.
const BEARABLE_PERCENT: f64 = 2.0;
/// Who meet: Janus takes no longer answer in one datagram.
const MOST_PEOPLE: usize = 24;

/// Lines of the layers, lowest first, and what each may take, as pages of ours have them.
const LINES: [u16; LAYERS] = [LOW, 360, TALL];
const LAYER_BPS: [u32; LAYERS] = [150_000, 500_000, 1_500_000];
const LOW: u16 = 180;
const TALL: u16 = 720;

fn main() -> Result<()> {
    // Test runners start every target to ask what is in it.
    if !std::env::args().any(|arg| arg == "--bench") {
        return Ok(());
    }
    let viewers: usize = setting("CONSILIUM_BENCH_VIEWERS", "500").parse()?;
    let people: usize = setting("CONSILIUM_BENCH_PEOPLE", "20").parse()?;
    let seconds: u64 = setting("CONSILIUM_BENCH_SECONDS", "20").parse()?;
    let rounds: usize = setting("CONSILIUM_BENCH_ROUNDS", "3").parse()?;
    if people == 1 || people > MOST_PEOPLE {
        bail!("CONSILIUM_BENCH_PEOPLE: 0, or 2 to {MOST_PEOPLE}");
    }
    let loads = [
        Load::Lecture {
            viewers,
            camera: frames(TALL, RATE_BPS)?,
        },
        Load::Meeting {
            people,
            cameras: Cameras::new()?,
        },
    ];
    let binary = binary()?;
    let span = Duration::from_secs(seconds);
    let mut rows = Vec::new();
    for load in loads.iter().filter(|load| load.people() > 0) {
        println!("{}", load.title());
        for _ in 0..rounds {
            let mut server = Consilium::start(&binary, load.people())?;
            rows.push(measure(&mut server, load, span)?);
            drop(server);
            match Janus::start().and_then(|mut server| measure(&mut server, load, span)) {
                Ok(row) => rows.push(row),
                Err(why) => println!("Janus is not measured: {why:#}"),
            }
        }
        print_verdict(&rows, load.name());
    }
    if let Some(path) = std::env::var_os("CONSILIUM_BENCH_JSON") {
        std::fs::write(Path::new(&path), serde_json::to_string_pretty(&rows)?)?;
    }
    Ok(())
}

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.into())
}

/// A picture 16 to 9 of so many lines.
fn frames(lines: u16, bitrate_bps: u32) -> Result<Arc<Frames>> {
    let hd = clip::Config::hd(1);
    let clip = Clip::load(&clip::Config {
        encode: EncodeSettings {
            width: usize::from(lines) * 16 / 9,
            height: lines.into(),
            bitrate_bps,
            ..hd.encode
        },
        ..hd
    })?;
    Ok(Frames::new(&clip))
}

/// The layers that everybody sends who meets.
struct Cameras([Arc<Frames>; LAYERS]);

impl Cameras {
    fn new() -> Result<Self> {
        let [low, middle, tall] = [0, 1, 2].map(|layer| frames(LINES[layer], LAYER_BPS[layer]));
        Ok(Self([low?, middle?, tall?]))
    }

    /// Those of one person.
    fn streams(&self, person: usize) -> Vec<Stream> {
        let layers = self.0.iter().zip(["l", "m", "h"]).enumerate();
        let streams = layers.map(|(n, (frames, rid))| {
            Stream::layer(frames.clone(), SSRC + (person * LAYERS + n) as u32, rid)
        });
        streams.collect()
    }
}

/// Who sends what to whom.
enum Load {
    /// One sends, and all others see it.
    Lecture { viewers: usize, camera: Arc<Frames> },
    /// All send, and everybody sees one other large and the rest small.
    Meeting { people: usize, cameras: Cameras },
}

impl Load {
    fn name(&self) -> &'static str {
        match self {
            Self::Lecture { .. } => "lecture",
            Self::Meeting { .. } => "meeting",
        }
    }

    fn people(&self) -> usize {
        match self {
            Self::Lecture { viewers, .. } => *viewers,
            Self::Meeting { people, .. } => *people,
        }
    }

    fn title(&self) -> String {
        let what = match self {
            Self::Lecture { viewers, .. } => {
                format!("One sender of 720p30 at 1 Mbit/s, {viewers} viewers, SRTP.")
            }
            Self::Meeting { people, .. } => format!(
                "{people} who meet: each sends 180, 360 and 720 lines at 0.15, 0.5 and 1.5 Mbit/s, sees one \
                 other with 720 lines and all others with 180, SRTP."
            ),
        };
        format!(
            "{what}\n\
             server     suite              cores of it  signalling  packets/s  packets a CPU second  sent %  lost %  gaps at one viewer  \
             cores of the load"
        )
    }

    /// Packets that should be sent in a second.
    fn sent_rate(&self) -> f64 {
        match self {
            Self::Lecture { camera, .. } => camera.packet_rate(),
            Self::Meeting { people, cameras } => {
                let layers = cameras.0.iter().map(|frames| frames.packet_rate());
                layers.sum::<f64>() * *people as f64
            }
        }
    }

    /// Packets that should come for those that were sent.
    fn expected(&self, sent: [u64; LAYERS]) -> f64 {
        match self {
            Self::Lecture { viewers, .. } => sent[0] as f64 * *viewers as f64,
            Self::Meeting { people, .. } => {
                sent[2] as f64 + sent[0] as f64 * (*people as f64 - 2.0)
            }
        }
    }

    /// All are in once this returns; the suite of SRTP by which packets come to them.
    fn begin<S: Forwards>(&self, server: &mut S, group: &Group) -> Result<String> {
        match self {
            Self::Lecture { viewers, camera } => {
                group.add(server.publish()?, vec![Stream::alone(camera.clone())])?;
                let mut suite = String::new();
                for _ in 0..*viewers {
                    let viewer = server.view()?;
                    suite = viewer.suite();
                    group.add(viewer, Vec::new())?;
                }
                Ok(suite)
            }
            Self::Meeting { people, cameras } => server.meet(*people, cameras, group),
        }
    }
}

/// A server that forwards.
trait Forwards {
    const NAME: &'static str;
    /// The process that forwards, and one that signals, where that is another.
    fn pids(&self) -> Result<[Option<u32>; 2]>;
    /// Takes one who sends one picture.
    fn publish(&mut self) -> Result<Peer>;
    /// Takes a viewer of it, who is there once this returns.
    fn view(&mut self) -> Result<Peer>;
    /// So many meet; yields the suite of SRTP by which packets come to them.
    fn meet(&mut self, people: usize, cameras: &Cameras, group: &Group) -> Result<String>;
}

/// Figures of one run.
#[derive(Serialize)]
struct Row {
    load: &'static str,
    server: &'static str,
    /// Towards viewers.
    suite: String,
    cores: f64,
    /// Of another process that signals.
    signalling_cores: f64,
    load_cores: f64,
    packet_rate: f64,
    /// Packets that came for each second of the server's processor time.
    packets_a_cpu_second: f64,
    /// Of what should be sent in that time.
    sent_percent: f64,
    lost_percent: f64,
    /// Sequence numbers that were missing at the viewer who decrypts.
    gaps: u64,
}

fn measure<S: Forwards>(server: &mut S, load: &Load, span: Duration) -> Result<Row> {
    let group = Group::start();
    let suite = load.begin(server, &group)?;
    std::thread::sleep(WARM_UP);
    let [forwards, signals] = server.pids()?;
    let pids = [forwards, signals, Some(std::process::id())];
    let cpu = || pids.map(|pid| pid.map_or(Duration::ZERO, cpu_of));
    let (start, before, counts) = (Instant::now(), cpu(), group.counts());
    std::thread::sleep(span);
    let (after, came) = (cpu(), group.counts());
    let elapsed = start.elapsed().as_secs_f64();
    group.stop().context("the load ends")?;
    let cpu = |n: usize| (after[n] - before[n]).as_secs_f64();
    let came = came.since(counts);
    if came.decrypted == 0 {
        bail!("nothing that came could be decrypted");
    }
    let packets = came.received as f64;
    let sent = came.sent.iter().sum::<u64>() as f64;
    let row = Row {
        load: load.name(),
        server: S::NAME,
        suite,
        cores: cpu(0) / elapsed,
        signalling_cores: cpu(1) / elapsed,
        load_cores: cpu(2) / elapsed,
        packet_rate: packets / elapsed,
        packets_a_cpu_second: packets / cpu(0),
        sent_percent: sent / elapsed / load.sent_rate() * 100.0,
        lost_percent: (1.0 - packets / load.expected(came.sent)) * 100.0,
        gaps: came.gaps,
    };
    println!("{}", row.line());
    Ok(row)
}

impl Row {
    fn line(&self) -> String {
        format!(
            "{:<10} {:<18} {:>11.3} {:>11.3} {:>10.0} {:>21.0} {:>7.1} {:>7.2} {:>19} {:>18.3}",
            self.server,
            self.suite,
            self.cores,
            self.signalling_cores,
            self.packet_rate,
            self.packets_a_cpu_second,
            self.sent_percent,
            self.lost_percent,
            self.gaps,
            self.load_cores,
        )
    }
}

fn print_verdict(rows: &[Row], load: &str) {
    let median = |name: &str| {
        let of = rows
            .iter()
            .filter(|row| row.server == name && row.load == load);
        let mut all: Vec<f64> = of.map(|row| row.packets_a_cpu_second).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied()
    };
    if let (Some(ours), Some(theirs)) = (median(Consilium::NAME), median(Janus::NAME)) {
        let is_unfit = |row: &Row| {
            let off = row.lost_percent.abs().max((100.0 - row.sent_percent).abs());
            row.load == load && off > BEARABLE_PERCENT
        };
        if rows.iter().any(is_unfit) {
            println!("No verdict: a load was not carried as it should be.");
            return;
        }
        let ratio = ours / theirs;
        let verdict = if ratio >= BAR { "met" } else { "MISSED" };
        println!("Janus' packets a CPU second, times at least {BAR}: {ratio:.2}, {verdict}");
    }
}
