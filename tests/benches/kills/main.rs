//! What a meeting notices when a process of the server is killed, again and again, at random moments.
//!
//! `cargo bench --bench kills`. Settings by environment: `CONSILIUM_BINARY` (a release binary; it is
//! built otherwise), `CONSILIUM_KILLS` (100), `CONSILIUM_SEED` (of the processes and moments; random
//! and printed otherwise), `CONSILIUM_KILLED` (a process, to kill it alone), `CONSILIUM_MOMENT` (how the
//! names of the moments to choose from begin, as they are printed), `CONSILIUM_TWICE` (another kill
//! follows each up to a second later, mostly before everything is back; only lost calls are bars then).
//!
//! Two browsers and three terminals (clear RTP, SDES, DTLS-SRTP) sit in a room, each with a picture of
//! its own and a tone. A kill comes up to two seconds after everything moved again, in half of the
//! cases while something else goes on: a call is refreshed or held, a caller joins or leaves, a page is
//! loaded anew. Measured at the far ends, from the kill on:
//!
//! - sound: the longest time without a packet at a terminal, without a sample above silence in a page;
//! - picture: the longest time without a fresh marker of a source in an observer's decoded picture. It
//!   counts for the slower kind of the two ends: plain, SDES, DTLS, browser, in this order;
//! - lost: packets missing by sequence number at terminals and pages, and at the server. After the
//!   death of media, and of a page that was loaded anew, the pause is what counts;
//! - redialled: legs whose call ended, or that are another leg of the room than before.
//!
//! A leg that was held, and a page that was loaded anew, have asked for their pause: it is not counted.
//! Ends with an error when a bar of `table.rs` is missed.

mod meeting;
mod table;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use meeting::{Meeting, Moment, SIP};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use table::{Kind, Table};

const PROCESSES: [&str; 3] = ["control", "media", "manager"];
/// A kill comes within this after everything moved again.
const MOMENT: Duration = Duration::from_secs(2);
/// The second of two kills comes within this after the first.
const AGAIN: Duration = Duration::from_secs(1);

/// What is done to the server, and when.
struct Kill {
    process: &'static str,
    moment: Moment,
    /// From the last recovery.
    after: Duration,
    /// From what goes on at the moment.
    into: Duration,
    /// Another process, and how much later it is killed.
    then: Option<(&'static str, Duration)>,
}

/// What is wanted of the kills.
struct Wish {
    process: Option<String>,
    moment: String,
    twice: bool,
}

impl Wish {
    fn read() -> Result<Self> {
        let process = std::env::var("CONSILIUM_KILLED").ok();
        ensure!(
            process
                .as_deref()
                .is_none_or(|name| PROCESSES.contains(&name)),
            "CONSILIUM_KILLED is none of {PROCESSES:?}"
        );
        let moment = std::env::var("CONSILIUM_MOMENT").unwrap_or_default();
        Ok(Self {
            process,
            moment,
            twice: std::env::var_os("CONSILIUM_TWICE").is_some(),
        })
    }
}

impl Kill {
    /// One of the process and at a moment that are wanted.
    fn draw(rng: &mut StdRng, wish: &Wish) -> Result<Self> {
        let mut drawn = std::iter::repeat_with(|| Self::draw_any(rng, wish)).take(10_000);
        let wanted = |kill: &Self| format!("{:?}", kill.moment).starts_with(&wish.moment);
        drawn
            .find(wanted)
            .context("no moment begins as CONSILIUM_MOMENT does")
    }

    fn draw_any(rng: &mut StdRng, wish: &Wish) -> Self {
        let drawn = PROCESSES[rng.random_range(0..PROCESSES.len())];
        let process = PROCESSES
            .into_iter()
            .find(|name| wish.process.as_deref() == Some(*name));
        let leg = rng.random_range(0..SIP.len());
        let moment = match rng.random_range(0..10) {
            0..5 => Moment::Steady,
            5 => Moment::Refresh(leg),
            6 => Moment::Hold(leg),
            7 => Moment::CallerJoins(Kind::ALL[leg]),
            8 => Moment::CallerLeaves,
            _ => Moment::PageReloads,
        };
        Self {
            process: process.unwrap_or(drawn),
            moment,
            after: MOMENT.mul_f64(rng.random()),
            into: Duration::from_millis(match moment {
                Moment::PageReloads => 800,
                Moment::CallerJoins(_) => 60,
                _ => 15,
            })
            .mul_f64(rng.random()),
            then: wish.twice.then(|| {
                let process = PROCESSES[rng.random_range(0..PROCESSES.len())];
                (process, AGAIN.mul_f64(rng.random()))
            }),
        }
    }

    fn name(&self) -> String {
        let then = self.then.map(|(process, _)| format!("+{process}"));
        format!("{}{}", self.process, then.unwrap_or_default())
    }
}

fn main() -> Result<()> {
    // Test runners start every target to ask what is in it.
    if !std::env::args().any(|arg| arg == "--bench") {
        return Ok(());
    }
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>());
    let kills = number("CONSILIUM_KILLS").unwrap_or(Ok(100))?;
    let seed = number("CONSILIUM_SEED").unwrap_or_else(|| Ok(rand::random::<u64>() >> 32))?;
    let wish = Wish::read()?;
    println!("CONSILIUM_SEED={seed} CONSILIUM_KILLS={kills}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut meeting = Meeting::start(&benches::server::binary()?)?;
    let mut table = Table::default();
    let started = Instant::now();
    for n in 1..=kills {
        let kill = Kill::draw(&mut rng, &wish)?;
        let begun = Instant::now();
        let outcome = meeting
            .suffer(&kill)
            .with_context(|| format!("kill {n}, {} while {:?}", kill.name(), kill.moment))?;
        println!(
            "{n:3} {:7} {:15} {outcome} ({:.1} s)",
            kill.name(),
            format!("{:?}", kill.moment),
            begun.elapsed().as_secs_f64()
        );
        table.add(kill.name(), outcome);
    }
    println!("{kills} kills in {:.0} s", started.elapsed().as_secs_f64());
    table.unended = meeting.end()?;
    println!("{table}");
    let missed = table.missed();
    ensure!(missed.is_empty(), "missed: {}", missed.join("; "));
    Ok(())
}
