//! Three thousand calls and twenty pages come and go, and leave nothing behind: sockets, threads and memory of every
//! process are what they were. Tasks are counted where they run, in the tests of their crates.
//!
//! `CONSILIUM_LEAK_CALLS` sets another number of calls (3,100), such as 10,000.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::clip::{Clip, Config};
use benches::load::{AudioConfig, LegConfig, Load, LoadLeg, Target, VideoConfig};
use mcu_api::codec::AudioCodec;
use mcu_api::inventory::LegState;
use tests::browser::Browser;
use tests::server::Server;
use tests::wait_for;

const PATIENCE: Duration = Duration::from_secs(20);
const CALLS: usize = 3_100;
/// Batches are refused no call for their rate (`[limits]`), though they come from one address.
const CONFIG: &str = "demo = true\n\
    [limits]\nnew_calls_per_source_per_s = 1000\nnew_calls_per_s = 1000\n";
/// Calls that are in the room at a time.
const TOGETHER: usize = 10;
/// Calls, and time, after which memory is watched: longer than the 32 s for which SIP remembers a
/// transaction (RFC 3261 §17.2), so that as many of those end as begin, and until the controller's heap
/// has grown to what it holds at this rate, which is measured to take 2,500 calls.
const WARM: usize = 2_800;
const WARM_TIME: Duration = Duration::from_secs(35);
/// The processes, and most in kB that one may grow from the first half of the calls watched to the
/// second, by the lower quartile of each: what is under way, as pictures are, only adds to it, and a
/// process that still warms up is low for a moment. A leg of the media process that stayed would be some
/// hundred kB, and there are 150 of them.
const PROCESSES: [(&str, i64); 3] = [("media", 8_192), ("control", 1_024), ("manager", 256)];

/// Most in kB that a process may grow by ten pages: one that stayed would be a hundred and more each.
const MAX_PAGES_KB: i64 = 1_024;

#[test]
fn calls_leave_nothing_behind() {
    let calls = std::env::var("CONSILIUM_LEAK_CALLS");
    let calls = calls.map_or(CALLS, |text| text.parse().expect("a number"));
    let server = Server::configured(CONFIG);
    let load = Load::start().unwrap();
    let clip = Arc::new(Clip::load(&Config::cif(1)).unwrap());
    // The first batch makes what is made once and kept.
    batch(&load, &server, &clip);
    let before = Held::by(&server);
    let (start, mut warm) = (Instant::now(), 0);
    while warm < WARM || start.elapsed() < WARM_TIME {
        batch(&load, &server, &clip);
        warm += TOGETHER;
    }
    let mut resident = PROCESSES.map(|_| Vec::new());
    for _ in (WARM..calls).step_by(TOGETHER) {
        batch(&load, &server, &clip);
        for (samples, (process, _)) in resident.iter_mut().zip(PROCESSES) {
            samples.push(resident_kb(&server, process));
        }
    }
    let after = wait_for("sockets and threads are back", PATIENCE, || {
        let now = Held::by(&server);
        (now.sockets <= before.sockets && now.threads <= before.threads).then_some(now)
    });
    println!("before {before:?}, after {after:?}");
    for ((process, most), samples) in PROCESSES.into_iter().zip(&resident) {
        let (first, second) = samples.split_at(samples.len() / 2);
        let grown = lower_quartile(second) - lower_quartile(first);
        println!("{process}: {grown} kB more, of {samples:?}");
        assert!(grown <= most, "{process} has grown by {grown} kB");
    }
}

/// A page that is loaded anew makes another connection of every kind: HTTP, WebSocket, ICE, DTLS.
#[test]
fn pages_leave_nothing_behind() {
    let server = Server::demo();
    let mut browser = server.join(1);
    expect_connected(&server, &browser);
    let mut reload = || {
        browser.reload();
        expect_connected(&server, &browser);
    };
    reload();
    let before = Held::by(&server);
    let resident = || PROCESSES.map(|(process, _)| resident_kb(&server, process));
    for _ in 0..10 {
        reload();
    }
    let first = resident();
    for _ in 0..10 {
        reload();
    }
    let second = resident();
    let after = wait_for("sockets and threads are back", PATIENCE, || {
        let now = Held::by(&server);
        (now.sockets <= before.sockets && now.threads <= before.threads).then_some(now)
    });
    println!("before {before:?}, after {after:?}; {first:?}, ten pages later {second:?} kB");
    for (n, (process, _)) in PROCESSES.into_iter().enumerate() {
        let grown = second[n] - first[n];
        assert!(grown <= MAX_PAGES_KB, "{process} has grown by {grown} kB");
    }
}

/// The one page is in the room and sends.
fn expect_connected(server: &Server, browser: &Browser) {
    wait_for("the page is in the room", PATIENCE, || {
        let room = server.room()?;
        let [leg] = room.legs.as_slice() else {
            return None;
        };
        let sends = leg.state == LegState::Connected && leg.received.packets > 0;
        (sends && browser.next_report().connection == "connected").then_some(())
    });
}

/// What three quarters of the samples reach.
fn lower_quartile(samples: &[i64]) -> i64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 4]
}

/// Calls of every kind enter the room, see and hear it, and leave it.
fn batch(load: &Load, server: &Server, clip: &Arc<Clip>) {
    let sip = format!("127.0.0.1:{}", server.sip).parse().unwrap();
    let codecs = [
        AudioCodec::Pcmu,
        AudioCodec::Pcma,
        AudioCodec::G722,
        AudioCodec::Opus,
    ];
    let legs: Vec<LoadLeg> = (0..TOGETHER)
        .map(|n| {
            let leg = LegConfig {
                audio: Some(AudioConfig::codec(codecs[n % codecs.len()])),
                video: (n % 5 != 4).then(|| VideoConfig {
                    clip: Some(clip.clone()),
                    ..VideoConfig::default()
                }),
                rtcp_mux: n % 2 == 0,
                sdes: n % 3 == 0,
                ..LegConfig::terminal(1, clip.clone())
            };
            load.call(&Target::number("3000", sip), leg).unwrap()
        })
        .collect();
    for (n, leg) in legs.iter().enumerate() {
        let served = leg.wait_until(PATIENCE, |report| {
            report.audio.packets >= 5 && (n % 5 == 4 || report.video.frames >= 2)
        });
        let _ = served
            .unwrap()
            .unwrap_or_else(|last| panic!("leg {n}: {last:#?}\n{}", server.log()));
    }
    drop(legs);
    wait_for("the room is empty", PATIENCE, || {
        server.room().filter(|room| room.legs.is_empty())
    });
}

/// What all processes hold together.
#[derive(Debug)]
struct Held {
    sockets: usize,
    threads: usize,
}

impl Held {
    fn by(server: &Server) -> Self {
        let mut held = Self {
            sockets: 0,
            threads: 0,
        };
        for (process, _) in PROCESSES {
            let proc = proc_of(server, process);
            let open = std::fs::read_dir(proc.join("fd")).unwrap().flatten();
            held.sockets += open
                .filter_map(|fd| std::fs::read_link(fd.path()).ok())
                .filter(|target| target.to_string_lossy().starts_with("socket:"))
                .count();
            held.threads += std::fs::read_dir(proc.join("task")).unwrap().count();
        }
        held
    }
}

fn resident_kb(server: &Server, process: &str) -> i64 {
    let status = std::fs::read_to_string(proc_of(server, process).join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kb = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kb.expect("VmRSS in kB").parse().expect("a number")
}

fn proc_of(server: &Server, process: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}", server.pid_of(process)))
}
