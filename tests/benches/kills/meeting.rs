//! The meeting that suffers the kills, and what its far ends measure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use benches::clip::{Clip, Config};
use benches::load::{LegConfig, Load, LoadLeg, Report, Target, VideoConfig, Watch};
use mcu_api::ids::LegId;
use tests::browser::{self, Browser};
use tests::server::Server;
use tests::watching::Observer;
use tests::{root, wait_for};

use crate::Kill;
use crate::table::{Kind, Outcome};

const PATIENCE: Duration = Duration::from_secs(40);
/// Longest time until everything moves again; who is not back by then is called anew.
const RECOVERY: Duration = Duration::from_secs(20);
/// Looks in a row at which everything moved before it counts as moving.
const STEADY_LOOKS: u32 = 3;
/// Until a caller that joined at the moment is in the room.
const CALLER_KNOWS: Duration = Duration::from_secs(5);
/// Until an offer within a call that was refused for glare is made again.
const OFFER_PAUSE: Duration = Duration::from_millis(500);

/// Ids of the sources: two browsers, then the terminals.
const BROWSERS: [u8; 2] = [1, 2];
pub const SIP: [u8; 3] = [3, 4, 5];
const SITES: [u8; 5] = [1, 2, 3, 4, 5];
const CALLER: u8 = 6;

fn kind_of(site: u8) -> Kind {
    match site {
        3 => Kind::Plain,
        4 => Kind::Sdes,
        5 => Kind::Dtls,
        _ => Kind::Browser,
    }
}

/// What goes on when a process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Nothing but the meeting.
    Steady,
    /// The terminal of this place in [`SIP`] offers again what was agreed on.
    Refresh(usize),
    /// It holds the call, and takes it up again as soon as that was answered.
    Hold(usize),
    /// A further terminal of this kind calls.
    CallerJoins(Kind),
    /// One that had called hangs up.
    CallerLeaves,
    /// The second page is loaded anew.
    PageReloads,
}

pub struct Meeting {
    server: Server,
    browsers: [Browser; 2],
    terminals: [LoadLeg; 3],
    load: Load,
    clips: BTreeMap<u8, Arc<Clip>>,
    /// Leg of each site.
    legs: BTreeMap<u8, LegId>,
}

/// What the ends have counted so far.
struct Before {
    pages: [browser::Report; 2],
    /// Lost on the way to the server, by leg.
    lost_up: BTreeMap<LegId, u64>,
}

impl Meeting {
    /// Brings everybody in and waits until everything moves.
    pub fn start(binary: &Path) -> Result<Self> {
        let server = Server::start_as(&mut Command::new(binary), &["--demo"]);
        let load = Load::start()?;
        let clips = SIP
            .into_iter()
            .chain([CALLER])
            .map(|id| Ok((id, Arc::new(Clip::load(&Config::cif(id))?))))
            .collect::<Result<BTreeMap<_, _>>>()?;
        let mut legs = BTreeMap::new();
        let browsers = BROWSERS.map(|id| {
            let log = server.dir().join(format!("browser-{id}.log"));
            let browser = Browser::join(&server.url("/room/3000"), id, &log);
            note_leg(&server, &mut legs, id);
            browser
        });
        let mut terminals = Vec::new();
        for id in SIP {
            terminals.push(call(
                &load,
                &server,
                &clips,
                (id, kind_of(id)),
                Watch::Tiles,
            )?);
            note_leg(&server, &mut legs, id);
        }
        let terminals = terminals.try_into().ok().context("three terminals")?;
        let meeting = Self {
            server,
            browsers,
            terminals,
            load,
            clips,
            legs,
        };
        let standing = meeting.moving(Instant::now(), PATIENCE);
        ensure!(standing.is_empty(), "not moving at first: {standing:?}");
        meeting.expect_tones()?;
        Ok(meeting)
    }

    /// Everybody leaves. How many calls did not stand any more.
    pub fn end(self) -> Result<u64> {
        let lost = self
            .terminals
            .iter()
            .filter(|terminal| !self.agrees(terminal, false, 1))
            .count();
        drop(self.terminals);
        wait_for("the terminals have left", PATIENCE, || {
            (self.server.room()?.legs.len() == BROWSERS.len()).then_some(())
        });
        keep_log(&self.server);
        Ok(lost as u64)
    }

    /// One kill, until everything moves again.
    pub fn suffer(&mut self, kill: &Kill) -> Result<Outcome> {
        let leaving = (kill.moment == Moment::CallerLeaves)
            .then(|| {
                call(
                    &self.load,
                    &self.server,
                    &self.clips,
                    (CALLER, Kind::Plain),
                    Watch::Nothing,
                )
            })
            .transpose()?;
        let pid = self.server.pid_of(kill.process);
        std::thread::sleep(kill.after);
        let before = self.reset();
        let mut outcome = Outcome::default();
        let killed = self.kill(kill, pid, leaving, &mut outcome)?;
        if let Some((process, after)) = kill.then {
            std::thread::sleep(after);
            self.server.kill_pid(self.server.pid_of(process));
        }
        if let Moment::Refresh(place) | Moment::Hold(place) = kill.moment {
            self.settle_offers(place, kill.moment, &mut outcome);
        }
        let standing = self.moving(killed, RECOVERY);
        if !standing.is_empty() {
            keep_log(&self.server);
            outcome.notes.push(format!("STANDING {standing:?}"));
        }
        self.count_redialled(&standing, &mut outcome)?;
        self.measure(kill, &before, &mut outcome);
        self.expect_tones()?;
        Ok(outcome)
    }

    /// Figures count from now on.
    fn reset(&mut self) -> Before {
        for terminal in &self.terminals {
            let _ = terminal.reset();
        }
        for browser in &mut self.browsers {
            browser.reset();
        }
        Before {
            pages: self.browsers.each_ref().map(|browser| browser.report().1),
            lost_up: self.lost_up(),
        }
    }

    fn lost_up(&self) -> BTreeMap<LegId, u64> {
        let legs = self.server.room().map(|room| room.legs);
        let legs = legs.into_iter().flatten();
        legs.map(|leg| (leg.site.leg, leg.received.lost)).collect()
    }

    /// Does what goes on at the moment, and kills in its midst.
    fn kill(
        &mut self,
        kill: &Kill,
        pid: i32,
        leaving: Option<LoadLeg>,
        outcome: &mut Outcome,
    ) -> Result<Instant> {
        let strike = || {
            std::thread::sleep(kill.into);
            self.server.kill_pid(pid);
            Instant::now()
        };
        Ok(match kill.moment {
            Moment::Steady => strike(),
            Moment::Refresh(place) | Moment::Hold(place) => {
                let hold = matches!(kill.moment, Moment::Hold(_));
                self.terminals[place].offer_again(hold)?;
                strike()
            }
            Moment::CallerLeaves => {
                drop(leaving);
                strike()
            }
            Moment::PageReloads => {
                let Self {
                    server, browsers, ..
                } = self;
                browsers[1].reload();
                std::thread::sleep(kill.into);
                server.kill_pid(pid);
                Instant::now()
            }
            Moment::CallerJoins(kind) => {
                let Self {
                    load,
                    server,
                    clips,
                    ..
                } = &*self;
                let (killed, joined) = std::thread::scope(|scope| {
                    let joins =
                        scope.spawn(|| call(load, server, clips, (CALLER, kind), Watch::Nothing));
                    (strike(), joins.join())
                });
                match joined {
                    Ok(Ok(caller)) => self.watch_caller(caller, outcome),
                    Ok(Err(error)) => {
                        outcome.unanswered += 1;
                        outcome.notes.push(format!("caller: {error:#}"));
                    }
                    Err(_) => anyhow::bail!("the caller's thread panicked"),
                }
                killed
            }
        })
    }

    /// A caller that was answered is in the room and gets its media, or was told that the call is over: no call is up for
    /// one side alone.
    fn watch_caller(&self, caller: LoadLeg, outcome: &mut Outcome) {
        let deadline = Instant::now() + CALLER_KNOWS;
        while Instant::now() < deadline {
            let ended = caller.report().ok().and_then(|report| report.ended);
            if let Some(ended) = ended {
                outcome.unanswered += 1;
                outcome.notes.push(format!("caller: {ended}"));
                return;
            }
            let room = self.server.room();
            let _ = caller.reset();
            let gets_media =
                |report: &Report| report.audio.packets > 20 && report.video.frames > 10;
            if room.is_some_and(|room| room.legs.len() > SITES.len())
                && let Ok(Ok(_)) = caller.wait_until(RECOVERY, gets_media)
            {
                return;
            }
        }
        outcome.forgotten += 1;
        let got = caller.report().map(|report| {
            let (audio, video) = (&report.audio, &report.video);
            format!("sound {}, frames {}", audio.packets, video.frames)
        });
        outcome.notes.push(format!("caller FORGOTTEN: {got:?}"));
    }

    /// The offer that was under way is answered, and a call that was held goes on.
    fn settle_offers(&self, place: usize, moment: Moment, outcome: &mut Outcome) {
        let terminal = &self.terminals[place];
        let hold = matches!(moment, Moment::Hold(_));
        let agreed = self.agrees(terminal, hold, 1) && (!hold || self.agrees(terminal, false, 2));
        if !agreed {
            outcome.notes.push("offer not answered".to_string());
        }
    }

    /// Whether so many offers of a terminal were answered, the last one made again as long as need be.
    fn agrees(&self, terminal: &LoadLeg, hold: bool, count: u64) -> bool {
        let deadline = Instant::now() + RECOVERY;
        while Instant::now() < deadline {
            let next = Instant::now() + OFFER_PAUSE;
            while Instant::now() < next {
                match terminal.report() {
                    Ok(report) if report.sent.offers_answered >= count => return true,
                    Ok(report) if report.ended.is_none() => {}
                    _ => return false,
                }
                std::thread::park_timeout(Duration::from_millis(10));
            }
            // Nothing happens while the last one waits for its answer.
            let _ = terminal.offer_again(hold);
        }
        false
    }

    /// Waits until all markers move everywhere; yields who still stood where.
    fn moving(&self, start: Instant, limit: Duration) -> Vec<(String, Vec<u8>)> {
        let pages = BROWSERS.iter().zip(&self.browsers);
        let mut watches: Vec<Observer<'_>> = pages
            .map(|(id, browser)| Observer::of_browser(*id, browser, &SITES))
            .collect();
        for (id, terminal) in SIP.iter().zip(&self.terminals) {
            watches.push(Observer::of_leg(&format!("{id}"), terminal, &SITES));
        }
        let deadline = Instant::now() + limit;
        while watches.iter().any(|watch| watch.steady() < STEADY_LOOKS) {
            if Instant::now() > deadline {
                let standing = watches.iter().filter(|w| w.steady() < STEADY_LOOKS);
                return standing
                    .map(|watch| (watch.name().to_string(), watch.standing().to_vec()))
                    .collect();
            }
            for watch in &mut watches {
                watch.look(start);
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Vec::new()
    }

    /// The room holds the same legs as before. Who is lost comes in anew, and counts.
    fn count_redialled(
        &mut self,
        standing: &[(String, Vec<u8>)],
        outcome: &mut Outcome,
    ) -> Result<()> {
        for (place, id) in SIP.into_iter().enumerate() {
            let report = self.terminals[place].report()?;
            let known = self.room_legs().contains(&self.legs[&id]);
            if report.ended.is_none() && known {
                continue;
            }
            let ended = report
                .ended
                .unwrap_or_else(|| "not in the room".to_string());
            outcome.notes.push(format!("{id}: {ended}"));
            outcome.of(kind_of(id)).redialled += 1;
            self.terminals[place] = call(
                &self.load,
                &self.server,
                &self.clips,
                (id, kind_of(id)),
                Watch::Tiles,
            )?;
            note_leg(&self.server, &mut self.legs, id);
        }
        for (place, id) in BROWSERS.into_iter().enumerate() {
            if !self.room_legs().contains(&self.legs[&id]) {
                outcome.notes.push(format!("browser {id} is another leg"));
                outcome.of(Kind::Browser).redialled += 1;
                self.browsers[place].reload();
                note_leg(&self.server, &mut self.legs, id);
            }
        }
        wait_for("nobody is there twice", PATIENCE, || {
            let expected: BTreeSet<LegId> = self.legs.values().copied().collect();
            (self.room_legs() == expected).then_some(())
        });
        if !standing.is_empty() {
            let still = self.moving(Instant::now(), PATIENCE);
            ensure!(still.is_empty(), "never moved again: {still:?}");
        }
        Ok(())
    }

    fn room_legs(&self) -> BTreeSet<LegId> {
        let room = wait_for("the page shows the room", PATIENCE, || self.server.room());
        room.legs.iter().map(|leg| leg.site.leg).collect()
    }

    fn measure(&self, kill: &Kill, before: &Before, outcome: &mut Outcome) {
        let excused = match kill.moment {
            Moment::Hold(place) => Some(SIP[place]),
            Moment::PageReloads => Some(BROWSERS[1]),
            _ => None,
        };
        for kind in Kind::ALL {
            outcome.of(kind);
        }
        let counts_losses = !kill.name().contains("media");
        for (id, terminal) in SIP.iter().zip(&self.terminals) {
            let Ok(report) = terminal.report() else {
                continue;
            };
            if excused != Some(*id) {
                note_terminal(*id, &report, excused, outcome);
            }
            if counts_losses {
                outcome.of(kind_of(*id)).lost += report.audio.lost + report.video.lost;
            }
        }
        for ((id, browser), before) in BROWSERS.iter().zip(&self.browsers).zip(&before.pages) {
            if excused == Some(*id) {
                continue;
            }
            // It was made after everything moved.
            let page = browser.report().1;
            self.note_page(&page, excused, outcome);
            if counts_losses {
                let lost = page.packets_lost - before.packets_lost;
                outcome.of(Kind::Browser).lost += lost.unsigned_abs();
            }
        }
        if counts_losses {
            let now = self.lost_up();
            for (site, leg) in self.legs.iter().filter(|(site, _)| excused != Some(**site)) {
                let of = |lost: &BTreeMap<LegId, u64>| lost.get(leg).copied().unwrap_or(0);
                outcome.of(kind_of(*site)).lost += of(&now).abs_diff(of(&before.lost_up));
            }
        }
    }

    fn note_page(&self, page: &browser::Report, excused: Option<u8>, outcome: &mut Outcome) {
        longer(&mut outcome.of(Kind::Browser).sound_ms, page.sound_pause_ms);
        for (site, leg) in &self.legs {
            let pause = page.pauses_ms.get(&leg.0.to_string());
            if let Some(pause) = pause.filter(|_| excused != Some(*site)) {
                longer(&mut outcome.of(Kind::Browser).picture_ms, *pause);
            }
        }
    }

    /// Everybody is heard at each terminal but the terminal itself. Tones swell, so that not all are
    /// heard at each look.
    fn expect_tones(&self) -> Result<()> {
        for (id, terminal) in SIP.into_iter().zip(&self.terminals) {
            let mut missing: BTreeSet<u8> = SITES.into_iter().filter(|site| *site != id).collect();
            let heard = terminal.wait_until(PATIENCE, |report| {
                for heard in report.heard() {
                    missing.remove(&heard);
                }
                missing.is_empty()
            })?;
            if heard.is_err() {
                keep_log(&self.server);
                anyhow::bail!("terminal {id} does not hear {missing:?}");
            }
        }
        Ok(())
    }
}

fn note_terminal(id: u8, report: &Report, excused: Option<u8>, outcome: &mut Outcome) {
    let here = kind_of(id);
    longer(&mut outcome.of(here).sound_ms, report.audio.longest_gap_ms);
    for tile in report.tiles.iter().filter(|tile| SITES.contains(&tile.id)) {
        if excused != Some(tile.id) {
            let slower = here.max(kind_of(tile.id));
            longer(&mut outcome.of(slower).picture_ms, tile.longest_gap_ms);
        }
    }
}

fn longer(longest: &mut Option<f64>, pause: f64) {
    *longest = Some(longest.map_or(pause, |longest| longest.max(pause)));
}

/// The log outlives the server's folder.
fn keep_log(server: &Server) {
    let path = root().join("target/kills.log");
    if std::fs::write(&path, server.log()).is_ok() {
        eprintln!("the server's log is in {}", path.display());
    }
}

/// Waits until the room holds one leg more than those known, which is this site's.
fn note_leg(server: &Server, legs: &mut BTreeMap<u8, LegId>, site: u8) {
    legs.remove(&site);
    let known: BTreeSet<LegId> = legs.values().copied().collect();
    let leg = wait_for("the site has a leg", PATIENCE, || {
        let room = server.room()?;
        let new = room.legs.iter().map(|leg| leg.site.leg);
        new.filter(|leg| !known.contains(leg)).max()
    });
    legs.insert(site, leg);
}

fn call(
    load: &Load,
    server: &Server,
    clips: &BTreeMap<u8, Arc<Clip>>,
    (id, kind): (u8, Kind),
    watch: Watch,
) -> Result<LoadLeg> {
    let clip = clips.get(&id).context("a clip")?.clone();
    let terminal = LegConfig::terminal(id, clip.clone());
    let leg = LegConfig {
        watch,
        sdes: kind == Kind::Sdes,
        dtls: kind == Kind::Dtls,
        rtcp_mux: kind == Kind::Dtls,
        video: Some(VideoConfig {
            clip: Some(clip),
            // 640 by 360 at most: three such pictures are decoded beside the server and two browsers.
            profile_level_id: "42e01e",
            ..VideoConfig::default()
        }),
        ..terminal
    };
    let sip = format!("127.0.0.1:{}", server.sip).parse()?;
    Ok(load.call(&Target::number("3000", sip), leg)?)
}
