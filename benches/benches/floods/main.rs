//! A live room under floods: what its terminals still get, and what the server pays.
//!
//! `cargo bench --bench floods`. Settings by environment: `CONSILIUM_BINARY` (a release binary; it is
//! built otherwise), `CONSILIUM_BENCH_SECONDS` (60, of each flood), `CONSILIUM_FLOODS` (names of the
//! floods to run, separated by commas; all otherwise).
//!
//! Three terminals sit in a room, each with a picture of its own and a tone; one watches all pictures.
//! Each flood runs beside them, bounded in time and rate, over loopback alone. `none` is the same
//! span without one: what the machine does by itself. The floods' sources run on the same machine and
//! take its time as well; `late` counts frames that the terminals themselves sent late for that.
//!
//! Printed, never asserted: frames and fresh pictures a second of the worst terminal, pauses over 30 ms
//! in the sound of all, lost packets, the server's cores, its answers by code, memory of each process
//! before, at its highest, and after.

mod attack;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use attack::{Attack, Fired};
use benches::clip::{Clip, Config};
use benches::load::{LegConfig, Load, LoadLeg, Report, Watch};
use benches::process::{cpu_of_tree, resident_kb};
use benches::server::{Server, binary};

const MEDIA_PORTS: (u16, u16) = (42_000, 42_999);
const WARM_UP: Duration = Duration::from_secs(5);
/// Between floods: longer than SIP remembers a transaction, so that each finds the server as it was.
const REST: Duration = Duration::from_secs(3);
const LEGS: u8 = 3;
const PROCESSES: [&str; 3] = ["control", "media", "manager"];
/// A room for guests, which strangers may fill, and one for accounts alone.
const CONFIG: &str = "[[rooms]]\nnumber = \"3000\"\nguests = true\n\
    [[rooms]]\nnumber = \"3001\"\n\
    [[sip.accounts]]\nuser = \"or-1\"\npassword = \"secret\"\n";

fn main() -> Result<()> {
    // Test runners start every target to ask what is in it.
    if !std::env::args().any(|arg| arg == "--bench") {
        return Ok(());
    }
    let seconds = std::env::var("CONSILIUM_BENCH_SECONDS").map_or(Ok(60), |s| s.parse())?;
    let wanted = std::env::var("CONSILIUM_FLOODS").unwrap_or_default();
    let wanted: Vec<&str> = wanted.split(',').filter(|name| !name.is_empty()).collect();
    let clips = (1..=LEGS).map(|id| Ok(Arc::new(Clip::load(&Config::cif(id))?)));
    let clips = clips.collect::<Result<Vec<_>>>()?;
    let binary = binary()?;
    println!(
        "{:22} {:>8} {:>6} {:>6} {:>5} {:>7} {:>5} {:>5} {:>6} {:>5}  memory in MB before/most/after \
         (control, media, manager); answers",
        "flood", "sent/s", "fps", "fresh", "gaps", "longest", "lost", "tones", "cores", "late"
    );
    for attack in attack::ALL {
        if wanted.is_empty() || wanted.contains(&attack.name) {
            measure(&binary, &clips, attack, Duration::from_secs(seconds))?;
        }
    }
    Ok(())
}

fn measure(
    binary: &Path,
    clips: &[Arc<Clip>],
    attack: &'static Attack,
    span: Duration,
) -> Result<()> {
    let server = Server::configured(binary, MEDIA_PORTS, CONFIG)?;
    let load = Load::start()?;
    let legs = clips
        .iter()
        .enumerate()
        .map(|(n, clip)| {
            let watch = if n == 0 { Watch::Tiles } else { Watch::Nothing };
            let leg = LegConfig::terminal(clip.config.id, clip.clone());
            server.call(&load, &LegConfig { watch, ..leg })
        })
        .collect::<Result<Vec<_>>>()?;
    std::thread::sleep(WARM_UP);
    let pids = PROCESSES.map(|name| server.pid_of(name).unwrap_or(0));
    let before = pids.map(resident_kb);
    legs.iter().try_for_each(LoadLeg::reset)?;
    let (start, cpu) = (Instant::now(), cpu_of_tree(server.pid()));
    let target = attack::Target::of(&server, pids[1])?;
    let flood = {
        let until = start + span;
        std::thread::spawn(move || (attack.run)(&target, until))
    };
    let mut most = before;
    while start.elapsed() < span {
        std::thread::sleep(Duration::from_millis(100));
        for (most, now) in most.iter_mut().zip(pids.map(resident_kb)) {
            *most = now.max(*most);
        }
    }
    let reports = legs.iter().map(LoadLeg::report);
    let reports = reports.collect::<Result<Vec<_>, _>>()?;
    let cores = (cpu_of_tree(server.pid()) - cpu).as_secs_f64() / start.elapsed().as_secs_f64();
    let fired = flood
        .join()
        .map_err(|_| anyhow::anyhow!("the flood ended"))??;
    std::thread::sleep(REST);
    let after = pids.map(resident_kb);
    print(attack.name, &reports, &fired, cores);
    let alive = pids.map(|pid| Path::new(&format!("/proc/{pid}")).exists());
    for n in 0..PROCESSES.len() {
        let dead = if alive[n] { "" } else { " DIED" };
        print!(
            " {}/{}/{}{dead}",
            before[n] / 1024,
            most[n] / 1024,
            after[n] / 1024
        );
    }
    println!("; {}", fired.answers());
    drop(legs);
    let log = std::fs::metadata(server.dir().join("server.log")).map_or(0, |meta| meta.len());
    if log > 100_000 {
        println!("  {log} bytes were logged");
    }
    server.end_well();
    Ok(())
}

fn print(name: &str, reports: &[Report], fired: &Fired, cores: f64) {
    let least = |of: &dyn Fn(&Report) -> f64| reports.iter().map(of).fold(f64::MAX, f64::min);
    let watched = &reports[0];
    let fresh = (1..=LEGS).map(|id| watched.tile(id).map_or(0.0, |tile| tile.fresh_rate));
    let sum = |of: &dyn Fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    print!(
        "{name:22} {:>8.0} {:>6.2} {:>6.2} {:>5} {:>7.0} {:>5} {:>5} {cores:>6.2} {:>5} ",
        fired.rate(),
        least(&|r| r.video.frame_rate),
        fresh.fold(f64::MAX, f64::min),
        sum(&|r| r.audio.gaps_over_30_ms),
        -least(&|r| -r.audio.longest_gap_ms),
        sum(&|r| r.video.lost + r.audio.lost),
        reports.iter().map(|r| r.heard().len()).min().unwrap_or(0),
        sum(&|r| r.sent.late_frames),
    );
}
