//! Each process dies alone: pictures come back after the media process by themselves, and neither
//! controller nor manager is missed by media (MCU-20 in part).

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use benches::load::{Load, LoadLeg, Report};
use tests::browser::Browser;
use tests::server::Server;
use tests::terminal::{encrypted, watching};
use tests::wait_for;
use tests::watching::Observer;

const PATIENCE: Duration = Duration::from_secs(40);

/// Longest time until every picture moves again after the media process died.
const MAX_RECOVERY: Duration = Duration::from_secs(5);

/// How much longer than undisturbed, in the same run, the longest pause of sound or picture may be
/// when another process than media dies: at a terminal, and of a picture in a page.
const MORE_PAUSE_MS: f64 = 100.0;
const MORE_PAGE_PAUSE_MS: f64 = 300.0;
/// The undisturbed span: about as long as one that is compared with it.
const UNDISTURBED_S: f64 = 4.0;

/// Looks in a row at which everything moved before it counts as moving.
const STEADY_LOOKS: u32 = 3;

/// Ids of the sources.
const FIRST_BROWSER: u8 = 1;
const SECOND_BROWSER: u8 = 2;
const PLAIN: u8 = 3;
const SECURE: u8 = 4;
const SITES: [u8; 4] = [FIRST_BROWSER, SECOND_BROWSER, PLAIN, SECURE];
const NEWCOMER: u8 = 5;

/// A room with two browsers and two terminals.
struct Meeting {
    server: Server,
    browsers: [(u8, Browser); 2],
    plain: LoadLeg,
    secure: LoadLeg,
    load: Load,
    undisturbed: Pauses,
}

/// Longest pauses in ms: at the terminals, and of the pictures in the pages.
#[derive(Clone, Copy, Debug, Default)]
struct Pauses {
    sound: f64,
    picture: f64,
    page: f64,
}

/// Whoever was calling when the controller died had to call again (MCU-20): one is answered as it dies,
/// and the next calls while nobody is there.
#[test]
fn callers_need_not_call_again_when_the_controller_dies() {
    let server = Server::demo();
    let legs = || server.room().map_or(0, |room| room.legs.len());
    let callers = [1, 2, 3].map(|number| {
        // It stays until the last death is over.
        let caller = Command::new("sipp")
            .current_dir(server.dir())
            .args(["-sn", "uac", "-s", "3000", "-i", "127.0.0.1", "-nostdin"])
            .args(["-m", "1", "-d", "10000", "-timeout", "60", "-timeout_error"])
            .arg(server.sip_address().to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        wait_for("another one is in the room", PATIENCE, || {
            (legs() == number).then_some(())
        });
        println!("{number} in the room, control killed");
        server.kill("control");
        caller
    });
    for mut caller in callers {
        // It ends with 0 only if the call went as its scenario says.
        let done = caller.wait().unwrap();
        assert!(done.success(), "{}", server.log());
    }
    wait_for("the room is empty", PATIENCE, || {
        (legs() == 0).then_some(())
    });
}

#[test]
fn a_room_outlives_each_of_the_processes() {
    let mut meeting = Meeting::start();
    meeting.media_dies();
    meeting.controller_dies();
    meeting.manager_dies();
}

/// On the last processor: the pauses that are measured are not those of browsers that take all of both.
fn join(server: &Server, id: u8) -> Browser {
    let log = server.dir().join(format!("browser-{id}.log"));
    Browser::join_aside(&server.url("/room/3000"), id, &log, ["640", "360", "15"])
}

impl Meeting {
    fn start() -> Self {
        let server = Server::demo();
        let browsers = [FIRST_BROWSER, SECOND_BROWSER].map(|id| (id, join(&server, id)));
        let load = Load::start().unwrap();
        let plain = server.call(&load, watching(PLAIN));
        let secure = server.call(&load, encrypted(watching(SECURE)));
        let mut meeting = Self {
            server,
            browsers,
            plain,
            secure,
            load,
            undisturbed: Pauses::default(),
        };
        meeting.expect_moving("at first", &SITES, PATIENCE);
        meeting.reset();
        wait_for("an undisturbed span", PATIENCE, || {
            (meeting.plain.report().unwrap().seconds > UNDISTURBED_S).then_some(())
        });
        meeting.undisturbed = meeting.pauses();
        println!("undisturbed: {:?}", meeting.undisturbed);
        meeting
    }

    /// Since the last reset.
    fn pauses(&self) -> Pauses {
        let reports = [&self.plain, &self.secure].map(|leg| leg.report().unwrap());
        let longest = |pauses: [f64; 2]| pauses[0].max(pauses[1]);
        Pauses {
            sound: longest(reports.each_ref().map(|r| r.audio.longest_gap_ms)),
            picture: longest(reports.each_ref().map(|r| r.video.longest_gap_ms)),
            page: longest(self.browsers.each_ref().map(|(_, b)| longest_pause_ms(b))),
        }
    }

    fn media_dies(&mut self) {
        // The numbers of load legs roll over after 100 packets, which the controller learns a second
        // later: the next media process has to know it (RFC 3711 §3.3.1).
        wait_for("the SDES leg's numbers have rolled over", PATIENCE, || {
            let sent = self.secure.report().unwrap().sent;
            (sent.audio_packets > 200 && sent.video_packets > 250).then_some(())
        });
        self.reset();
        self.server.kill("media");
        self.expect_moving("media killed", &SITES, MAX_RECOVERY);
        for (id, browser) in &self.browsers {
            let pause = longest_pause_ms(browser);
            println!("media killed: longest pause of a picture in browser {id}: {pause:.0} ms");
            assert!(pause <= MAX_RECOVERY.as_secs_f64() * 1000.0, "{pause}");
        }
        self.expect_everybody();
        self.expect_newcomer();
    }

    fn controller_dies(&mut self) {
        let lost = self.reset();
        self.server.kill("control");
        self.expect_everybody();
        self.expect_moving("control killed", &SITES, MAX_RECOVERY);
        self.expect_no_loss("control killed", lost);
        self.expect_newcomer();
    }

    fn manager_dies(&mut self) {
        let lost = self.reset();
        self.server.kill("manager");
        let killed = Instant::now();
        wait_for("the page answers again", PATIENCE, || {
            self.server
                .get("/health")
                .filter(|(status, _)| *status == 200)
        });
        println!(
            "manager killed: page seen again after {:.1} s",
            killed.elapsed().as_secs_f64()
        );
        self.expect_moving("manager killed", &SITES, MAX_RECOVERY);
        wait_for("the room is shown again", PATIENCE, || {
            let room = self.server.room();
            room.filter(|room| room.legs.len() == SITES.len())
        });
        self.expect_no_loss("manager killed", lost);
        self.expect_newcomer();
    }

    /// Measures pauses and losses from now on; yields what the pages have lost so far.
    fn reset(&mut self) -> [i64; 2] {
        self.plain.reset().unwrap();
        self.secure.reset().unwrap();
        for (_, browser) in &mut self.browsers {
            browser.reset();
        }
        self.browsers
            .each_ref()
            .map(|(_, browser)| browser.next_report().packets_lost)
    }

    /// Media went on everywhere as if nothing had happened.
    fn expect_no_loss(&self, when: &str, lost: [i64; 2]) {
        for (name, leg) in [("plain leg", &self.plain), ("SDES leg", &self.secure)] {
            let Report { audio, video, .. } = leg.report().unwrap();
            println!(
                "{when}: {name}: sound {} packets, {} lost; picture {} packets, {} lost",
                audio.packets, audio.lost, video.packets, video.lost,
            );
            assert_eq!((audio.lost, video.lost), (0, 0));
            assert!(audio.packets > 50 && video.packets > 50);
        }
        for ((id, browser), lost) in self.browsers.iter().zip(lost) {
            let lost = browser.next_report().packets_lost - lost;
            println!("{when}: browser {id}: {lost} packets lost");
            assert_eq!(lost, 0, "browser {id}");
        }
        let (pauses, usual) = (self.pauses(), self.undisturbed);
        println!("{when}: {pauses:?}, undisturbed {usual:?}");
        assert!(pauses.sound <= usual.sound + MORE_PAUSE_MS, "sound");
        assert!(pauses.picture <= usual.picture + MORE_PAUSE_MS, "picture");
        assert!(pauses.page <= usual.page + MORE_PAGE_PAUSE_MS, "page");
    }

    /// The API shows all sites, and nobody twice.
    fn expect_everybody(&self) {
        wait_for("the controller knows all legs", PATIENCE, || {
            let legs = self.server.room()?.legs;
            (legs.len() == SITES.len()).then_some(())
        });
    }

    /// The room still takes calls, and the pages still learn who is there.
    fn expect_newcomer(&self) {
        let newcomer = self.server.call(&self.load, watching(NEWCOMER));
        let [.., last] = SITES;
        let everybody: Vec<u8> = (FIRST_BROWSER..=last).chain([NEWCOMER]).collect();
        self.expect_moving("newcomer called", &everybody, PATIENCE);
        newcomer.hang_up();
        self.expect_everybody();
        for (id, browser) in &self.browsers {
            wait_for("the newcomer's tile goes", PATIENCE, || {
                let seen = browser.next_report().markers;
                (!seen.values().any(|marker| marker.id == NEWCOMER)).then_some(())
            });
            assert_eq!(browser.report().1.connection, "connected", "browser {id}");
        }
    }

    /// Waits until the markers of `sites` move at everybody, and prints for each observer the
    /// seconds from now to the last look at which one of them stood still.
    fn expect_moving(&self, when: &str, sites: &[u8], limit: Duration) {
        let start = Instant::now();
        let mut watches: Vec<Observer<'_>> = self
            .browsers
            .iter()
            .map(|(id, browser)| Observer::of_browser(*id, browser, sites))
            .chain([
                Observer::of_leg("plain leg", &self.plain, sites),
                Observer::of_leg("leg with SDES", &self.secure, sites),
            ])
            .collect();
        // The looks that prove steadiness come on top.
        let until = start + limit + Duration::from_secs(3);
        while watches.iter().any(|watch| watch.steady() < STEADY_LOOKS) {
            assert!(
                Instant::now() < until,
                "{when}, not moving within {limit:?}: {:#?}\n{}",
                watches,
                self.server.log()
            );
            for watch in &mut watches {
                watch.look(start);
            }
            // Paces the looks; what is waited for is seen, not assumed.
            std::thread::park_timeout(Duration::from_millis(20));
        }
        for watch in &watches {
            println!(
                "{when}: {} sees everybody move after {:.1} s",
                watch.name(),
                watch.settled_at().as_secs_f64()
            );
            assert!(watch.settled_at() <= limit, "{when}: {watch:#?}");
        }
    }
}

fn longest_pause_ms(browser: &Browser) -> f64 {
    let pauses = browser.next_report().pauses_ms;
    assert_eq!(pauses.len(), SITES.len(), "{pauses:?}");
    pauses.values().copied().fold(0.0, f64::max)
}
