//! A leg whose bytes kill the media process is recognised and put out, and the room goes on without it.
//! The decoder of a build with assertions faults on demand (MCU-20, MCU-23).

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use benches::clip::{Clip, Config};
use benches::load::{LegConfig, Load, LoadError, LoadLeg, Report, Target, Watch};
use mcu_api::ids::LegId;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::browser::Browser;
use tests::server::{Server, binary};
use tests::wait_for;

const PATIENCE: Duration = Duration::from_secs(40);

/// Longest that a picture may stand at anybody when the media process dies.
const MAX_PAUSE_MS: f64 = 5_000.0;

/// A picture younger than this moves.
const YOUNG_MS: f64 = 300.0;

/// At these bytes the decoder faults. As a UUID they make a whole SEI message.
const POISON: &[u8; 16] = b"consilium-poison";
/// Frames of the clip that hold them: neither is passed over by a jump to a key frame, 0 or 60.
const POISONED: [usize; 2] = [45, 105];
const SENDER: &str = "mallory";

/// What the controller logs when it puts a leg out.
const CONVICTED: &str = "the media process died of what this leg sent";

/// Ids of the sources.
const BROWSER: u8 = 1;
const PLAIN: u8 = 2;
const SECURE: u8 = 3;
const SITES: [u8; 3] = [BROWSER, PLAIN, SECURE];
const GUILTY: u8 = 4;
const NEWCOMER: u8 = 5;

/// A page, a terminal and one with SDES keys.
struct Meeting {
    server: Server,
    browser: Browser,
    plain: LoadLeg,
    secure: LoadLeg,
    load: Load,
}

#[test]
fn a_leg_that_kills_media_is_put_out_and_the_others_go_on() {
    let mut meeting = Meeting::start();
    meeting.a_signal_from_outside_convicts_nobody();
    meeting.a_poisonous_leg_is_convicted();
}

impl Meeting {
    fn start() -> Self {
        let poison: String = POISON.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut program = Command::new(binary());
        program.env("CONSILIUM_TEST_CRASH_ON", poison);
        let server = Server::start_as(&mut program, &["--demo"]);
        let browser = server.join(BROWSER);
        let load = Load::start().unwrap();
        let call = |id, sdes| {
            let leg = LegConfig {
                sdes,
                ..terminal(id, Clip::load(&Config::cif(id)).unwrap())
            };
            load.call(&room(&server), leg).unwrap()
        };
        let (plain, secure) = (call(PLAIN, false), call(SECURE, true));
        let meeting = Self {
            server,
            browser,
            plain,
            secure,
            load,
        };
        meeting.expect_moving(&SITES);
        meeting
    }

    fn a_signal_from_outside_convicts_nobody(&mut self) {
        let (legs, media) = (self.legs(), self.server.pid_of("media"));
        self.reset();
        kill(Pid::from_raw(media), Signal::SIGSEGV).unwrap();
        wait_for("another media process runs", PATIENCE, || {
            (self.server.pid_of("media") != media).then_some(())
        });
        self.expect_moving(&SITES);
        self.expect_short_pauses("SIGSEGV from outside");
        assert_eq!(self.legs(), legs);
        assert!(!self.server.log().contains(CONVICTED));
    }

    fn a_poisonous_leg_is_convicted(&mut self) {
        let (legs, media) = (self.legs(), self.server.pid_of("media"));
        let deaths = self.deaths();
        self.reset();
        let poisonous = self.call_poisonous().unwrap();
        let put_out = poisonous.wait_until(PATIENCE, |report| report.ended.is_some());
        let ended = put_out.unwrap().expect("BYE").ended.unwrap();
        assert!(
            ended.starts_with("the peer hung up: SIP;cause=403;"),
            "{ended}"
        );
        self.expect_moving(&SITES);
        self.expect_short_pauses("poison");

        assert_eq!(self.legs(), legs, "who was there is there, and nobody else");
        for leg in [&self.plain, &self.secure] {
            assert_eq!(leg.report().unwrap().ended, None);
        }
        assert_eq!(self.server.room().unwrap().quarantined, 1);
        let next = self.server.pid_of("media");
        assert_ne!(next, media);

        match self.call_poisonous() {
            Err(LoadError::Refused(why)) => {
                assert!(why.starts_with("403 Forbidden: 399 "), "{why}");
            }
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it is in again"),
        }
        let healthy = terminal(NEWCOMER, Clip::load(&Config::cif(NEWCOMER)).unwrap());
        let newcomer = self.load.call(&room(&self.server), healthy).unwrap();
        self.expect_moving(&[BROWSER, PLAIN, SECURE, NEWCOMER]);
        newcomer.hang_up();

        assert_eq!(self.server.pid_of("media"), next);
        assert_eq!(self.deaths(), deaths + 1, "it died once");
        let log = self.server.log();
        assert_eq!(log.matches(CONVICTED).count(), 1, "{log}");
        assert!(!log.contains(SENDER), "the log tells who it was");
    }

    /// A call whose picture is the decoder's end.
    fn call_poisonous(&self) -> Result<LoadLeg, LoadError> {
        let mut clip = Clip::load(&Config::cif(GUILTY)).unwrap();
        for index in POISONED {
            // A supplemental message of unregistered user data (H.264 §7.3.2.3, D.1.7).
            let mut unit = vec![0, 0, 0, 1, 6, 5, POISON.len() as u8];
            unit.extend(POISON);
            unit.push(0x80);
            unit.append(&mut clip.units[index].data);
            clip.units[index].data = unit;
        }
        let target = room(&self.server).called_by(SENDER);
        self.load.call(&target, terminal(GUILTY, clip))
    }

    fn reset(&mut self) {
        self.plain.reset().unwrap();
        self.secure.reset().unwrap();
        self.browser.reset();
    }

    /// How often the supervisor found the media process dead.
    fn deaths(&self) -> usize {
        let log = self.server.log();
        let of_media = |line: &&str| line.contains("restarting") && line.contains("media");
        log.lines().filter(of_media).count()
    }

    /// Legs in the room, as the API shows them.
    fn legs(&self) -> Vec<LegId> {
        let room = self.server.room().expect("the room");
        room.legs.iter().map(|leg| leg.site.leg).collect()
    }

    /// Waits until these sites, and no others, move at everybody and are heard.
    fn expect_moving(&self, sites: &[u8]) {
        for (own, leg) in [(PLAIN, &self.plain), (SECURE, &self.secure)] {
            let there = |report: &Report| {
                let moves = |tile: Option<f64>| tile.is_some_and(|age_ms| age_ms < YOUNG_MS);
                let seen = |id: &u8| moves(report.tile(*id).map(|tile| tile.age_ms));
                let heard = report.heard();
                let hears = |id: &u8| *id == own || heard.contains(id);
                sites.iter().all(|id| seen(id) && hears(id))
                    && (sites.contains(&GUILTY) || !seen(&GUILTY) && !hears(&GUILTY))
            };
            let last = leg.wait_until(PATIENCE, there).unwrap();
            last.unwrap_or_else(|last| panic!("leg {own}: {last:#?}\n{}", self.server.log()));
        }
        let others: Vec<u8> = sites.iter().copied().filter(|id| *id != BROWSER).collect();
        let mut last = BTreeMap::new();
        wait_for("all sites move in the page", PATIENCE, || {
            let report = self.browser.next_report();
            let markers = report.markers.values();
            let seen: BTreeMap<u8, u16> = markers.map(|m| (m.id, m.counter)).collect();
            let moves = |id: &u8| seen.get(id).is_some_and(|n| last.get(id) != Some(n));
            let moved = others.iter().all(moves) && !seen.contains_key(&GUILTY);
            let heard = others.iter().all(|id| report.tones.contains_key(id));
            last = seen;
            (moved && heard && report.connection == "connected").then_some(())
        });
    }

    /// Since the last reset, each picture of who is still here stood for less than the limit.
    fn expect_short_pauses(&self, when: &str) {
        for (name, leg) in [("plain leg", &self.plain), ("SDES leg", &self.secure)] {
            let report = leg.report().unwrap();
            let pauses = SITES.map(|id| report.tile(id).unwrap().longest_gap_ms);
            let sound = report.audio.longest_gap_ms;
            println!("{when}: {name}: pictures stood {pauses:.0?} ms, sound {sound:.0} ms");
            assert!(pauses.iter().chain([&sound]).all(|ms| *ms < MAX_PAUSE_MS));
        }
        let pauses = self.browser.next_report().pauses_ms;
        println!("{when}: page: pictures stood {pauses:.0?} ms");
        assert_eq!(pauses.len(), SITES.len());
        assert!(pauses.values().all(|ms| *ms < MAX_PAUSE_MS), "{pauses:?}");
    }
}

fn terminal(id: u8, clip: Clip) -> LegConfig {
    LegConfig {
        watch: Watch::Tiles,
        ..LegConfig::terminal(id, Arc::new(clip))
    }
}

fn room(server: &Server) -> Target {
    let sip = format!("127.0.0.1:{}", server.sip).parse().unwrap();
    Target::number("3000", sip)
}
