//! A rolling upgrade with calls up: each process is restarted as the program that is installed now, and
//! calls go on; one that does not do changes nothing (MCU-20, MCU-22).

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use benches::load::{Load, LoadLeg};
use benches::tone;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tests::baresip::{self, Baresip};
use tests::browser::Browser;
use tests::process::Process;
use tests::server::{Server, binary};
use tests::terminal::{encrypted, watching};
use tests::wait_for;

const PATIENCE: Duration = Duration::from_secs(40);

/// Longest pause of sound or picture at a terminal when media is restarted, the only process whose
/// restart is heard, and of a picture in the page, which makes a new connection.
const MAX_PAUSE_MS: f64 = 2000.0;
const MAX_PAGE_PAUSE_MS: f64 = 5000.0;

/// Longest pause of a terminal's sound until the page and the controller are restarted: undisturbed it
/// is 20 ms, and other tests run beside this one.
const MAX_FIRST_PAUSE_MS: f64 = 200.0;

const PROCESSES: [&str; 3] = ["manager", "control", "media"];

/// Ids of the sources.
const BROWSER: u8 = 1;
const PLAIN: u8 = 2;
const SDES: u8 = 3;
const DTLS: u8 = 4;

/// A server whose program lies in a folder of its own, to be replaced there.
struct Installed {
    server: Server,
    dir: TempDir,
}

impl Installed {
    fn demo() -> Self {
        let dir = tempfile::tempdir().unwrap();
        install(&binary(), dir.path());
        let mut program = Command::new(dir.path().join("consilium"));
        let server = Server::start_as(&mut program, &["--demo"]);
        Self { server, dir }
    }

    fn program(&self) -> PathBuf {
        self.dir.path().join("consilium")
    }

    fn pids(&self) -> [i32; 3] {
        PROCESSES.map(|name| self.server.pid_of(name))
    }

    /// What the processes are; the mark of a file that is gone belongs to the name.
    fn programs(&self) -> [PathBuf; 3] {
        let exe = |pid| fs::read_link(format!("/proc/{pid}/exe")).unwrap();
        self.pids().map(exe)
    }

    /// Runs `consilium upgrade` to its end; `heard` gets each line as it comes. The complaint, if any.
    fn upgrade(&self, mut heard: impl FnMut(&str)) -> Result<(), String> {
        let mut command = Command::new(binary());
        command
            .args(["upgrade", "--data-dir"])
            .arg(self.server.dir().join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = Process::start_as_is(&mut command);
        let stdout = process.child().stdout.take().unwrap();
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            heard(&line);
        }
        let mut complaint = String::new();
        let mut stderr = process.child().stderr.take().unwrap();
        stderr.read_to_string(&mut complaint).unwrap();
        match process.child().wait().unwrap().success() {
            true => Ok(()),
            false => Err(complaint),
        }
    }

    /// Ids of all legs, once each is connected.
    fn legs(&self, count: usize) -> Vec<u64> {
        let legs = self.server.wait_for_legs(count);
        legs.iter().map(|leg| leg.site.leg.0).collect()
    }
}

/// Puts a program in place as a package manager does: under another name, and then renamed.
fn install(program: &Path, dir: &Path) {
    let beside = dir.join("consilium.new");
    fs::copy(program, &beside).unwrap();
    fs::rename(&beside, dir.join("consilium")).unwrap();
}

/// baresip with a tone of its own, encrypted by DTLS.
fn dtls_terminal(server: &Server) -> Baresip {
    let terminal = Baresip::start(&baresip::Config {
        dir: &server.dir().join("baresip"),
        tone_hz: tone::frequency_hz(DTLS).unwrap().into(),
        clip: None,
        audio_codec: "opus/48000/2",
        account: ";mediaenc=dtls_srtp",
    });
    terminal.dial(&format!("sip:3000@127.0.0.1:{}", server.sip));
    terminal
}

/// Each leg hears the terminal with DTLS, and the other leg.
fn expect_heard(legs: [(u8, &LoadLeg); 2]) {
    for (id, leg) in legs {
        let other = if id == PLAIN { SDES } else { PLAIN };
        let heard = leg.wait_until(PATIENCE, |report| {
            let heard = report.heard();
            heard.contains(&DTLS) && heard.contains(&other)
        });
        heard.unwrap().unwrap_or_else(|last| panic!("{last:#?}"));
    }
}

/// The page shows the pictures of both legs, and they move.
fn expect_shown(browser: &Browser) {
    let seen = || {
        let markers = browser.next_report().markers;
        let counter = |id| {
            let mut shown = markers.values().filter(|marker| marker.id == id);
            shown.next().map(|marker| marker.counter)
        };
        Some([counter(PLAIN)?, counter(SDES)?])
    };
    let before = wait_for("the page shows both terminals", PATIENCE, seen);
    wait_for("both move in the page", PATIENCE, || {
        let now = seen()?;
        (now[0] != before[0] && now[1] != before[1]).then_some(())
    });
}

#[test]
fn calls_outlive_an_upgrade() {
    let installed = Installed::demo();
    let server = &installed.server;
    let mut browser = server.join(BROWSER);
    let load = Load::start().unwrap();
    let (plain, sdes) = (
        server.call(&load, watching(PLAIN)),
        server.call(&load, encrypted(watching(SDES))),
    );
    let terminal = dtls_terminal(server);
    let legs = [(PLAIN, &plain), (SDES, &sdes)];
    expect_heard(legs);
    expect_shown(&browser);
    // The next media process has to know that numbers rolled over, and the keys of DTLS.
    wait_for("the SDES leg's numbers have rolled over", PATIENCE, || {
        let sent = sdes.report().unwrap().sent;
        (sent.audio_packets > 200 && sent.video_packets > 250).then_some(())
    });
    let (ids, pids) = (installed.legs(4), installed.pids());
    install(&binary(), installed.dir.path());
    for (_, leg) in legs {
        leg.reset().unwrap();
    }
    browser.reset();
    let start = Instant::now();
    let mut lines = Vec::new();
    let done = installed.upgrade(|line| {
        println!("after {:.1} s: {line}", start.elapsed().as_secs_f64());
        if line.starts_with("control restarted") {
            expect_unharmed(legs);
        }
        lines.push(line.to_owned());
    });
    done.unwrap_or_else(|complaint| panic!("{complaint}\n{}", server.log()));
    let version = concat!("consilium ", env!("CARGO_PKG_VERSION"), " will do");
    assert_eq!(lines.remove(0), version);
    for (line, name) in lines.iter().zip(PROCESSES) {
        assert!(line.starts_with(&format!("{name} restarted")), "{line}");
    }
    expect_heard(legs);
    expect_shown(&browser);
    assert_eq!(installed.legs(4), ids, "nobody has left or come anew");
    for (name, leg) in [("plain leg", &plain), ("SDES leg", &sdes)] {
        let report = leg.report().unwrap();
        let (sound, picture) = (report.audio.longest_gap_ms, report.video.longest_gap_ms);
        println!("{name}: longest pause of sound {sound:.0} ms, of the picture {picture:.0} ms");
        assert!(sound < MAX_PAUSE_MS && picture < MAX_PAUSE_MS);
        assert_eq!((report.ended, report.goodbyes), (None, 0), "{name}");
    }
    let pauses = browser.next_report().pauses_ms;
    println!("page: longest pauses of pictures {pauses:?} ms");
    assert!(pauses.values().all(|ms| *ms < MAX_PAGE_PAUSE_MS));
    let after = installed.pids();
    assert!(pids.iter().zip(after).all(|(before, now)| *before != now));
    assert_eq!(installed.programs(), [0; 3].map(|_| installed.program()));
    terminal.hang_up();
}

/// Restarting manager and controller is neither seen nor heard.
fn expect_unharmed(legs: [(u8, &LoadLeg); 2]) {
    for (id, leg) in legs {
        let report = leg.report().unwrap();
        let (audio, video) = (report.audio, report.video);
        println!(
            "leg {id} until then: {} packets of sound, {} lost, longest pause {:.0} ms; {} of pictures, {} lost",
            audio.packets, audio.lost, audio.longest_gap_ms, video.packets, video.lost
        );
        assert!(audio.packets > 2);
        assert_eq!((audio.lost, video.lost), (0, 0));
        assert!(audio.longest_gap_ms < MAX_FIRST_PAUSE_MS);
    }
}

#[test]
fn a_new_version_that_does_not_run_changes_nothing() {
    let installed = Installed::demo();
    let load = Load::start().unwrap();
    let leg = installed.server.call(&load, watching(PLAIN));
    let (ids, pids) = (installed.legs(1), installed.pids());
    let script = installed.dir.path().join("consilium.new");
    fs::write(&script, "#!/bin/sh\nexit 1\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&script, installed.program()).unwrap();
    leg.reset().unwrap();
    let complaint = installed.upgrade(|line| panic!("{line}")).unwrap_err();
    let place = installed.program().display().to_string();
    assert!(complaint.contains("not upgraded: "), "{complaint}");
    assert!(complaint.contains(&place), "{complaint}");
    assert!(complaint.contains("exit status"), "{complaint}");
    assert!(complaint.contains("nothing was stopped"), "{complaint}");
    fs::remove_file(installed.program()).unwrap();
    let complaint = installed.upgrade(|line| panic!("{line}")).unwrap_err();
    assert!(complaint.contains("No such file"), "{complaint}");
    assert_eq!(installed.pids(), pids);
    let report = leg.report().unwrap();
    assert_eq!((report.audio.lost, report.ended), (0, None));
    assert_eq!(installed.legs(1), ids);
}

/// A new version that runs and reads the configuration, but whose media process ends at once.
const NO_MEDIA: &str = r#"
#include <string.h>
#include <unistd.h>
int main(int count, char **words) {
    if (count > 1 && strcmp(words[1], "media") == 0) return 7;
    execv(PROGRAM, words);
    return 1;
}
"#;

#[test]
fn when_the_last_process_of_a_new_version_falls_the_former_ones_come_back() {
    let installed = Installed::demo();
    let load = Load::start().unwrap();
    let leg = installed.server.call(&load, watching(PLAIN));
    let (ids, pids) = (installed.legs(1), installed.pids());
    let source = installed.dir.path().join("new.c");
    fs::write(&source, NO_MEDIA).unwrap();
    let beside = installed.dir.path().join("consilium.new");
    let built = Command::new("cc")
        .arg(format!("-DPROGRAM=\"{}\"", binary().display()))
        .args([&source, Path::new("-o"), &beside])
        .status();
    assert!(built.unwrap().success());
    fs::rename(&beside, installed.program()).unwrap();
    leg.reset().unwrap();
    let mut lines = Vec::new();
    let complaint = installed.upgrade(|line| lines.push(line.to_owned()));
    let complaint = complaint.unwrap_err();
    let words = "the new media ended, exit status: 7; all processes are what they were";
    assert!(complaint.contains(words), "{complaint}");
    assert_eq!(lines.len(), 3, "manager and control had come up: {lines:?}");
    let old = format!("{} (deleted)", installed.program().display());
    assert_eq!(installed.programs(), [0; 3].map(|_| PathBuf::from(&old)));
    let after = installed.pids();
    assert!(pids.iter().zip(after).all(|(before, now)| *before != now));
    assert_eq!(installed.legs(1), ids);
    leg.reset().unwrap();
    let sound = leg.wait_until(PATIENCE, |report| report.audio.packets > 50);
    let report = sound.unwrap().unwrap();
    assert_eq!((report.ended, report.goodbyes), (None, 0));
    // And a good one is taken after all.
    install(&binary(), installed.dir.path());
    installed.upgrade(|_| {}).unwrap();
    assert_eq!(installed.legs(1), ids);
}

/// As `systemctl restart` of each unit does it: SIGTERM, and another one is started.
#[test]
fn each_process_restarted_by_itself_says_goodbye_to_nobody() {
    let installed = Installed::demo();
    let load = Load::start().unwrap();
    let leg = installed.server.call(&load, watching(PLAIN));
    let ids = installed.legs(1);
    for name in PROCESSES {
        let before = installed.server.pid_of(name);
        leg.reset().unwrap();
        kill(Pid::from_raw(before), Signal::SIGTERM).unwrap();
        wait_for("another one is started", PATIENCE, || {
            (installed.server.pid_of(name) != before).then_some(())
        });
        let health = || {
            let (status, _) = installed.server.get("/health")?;
            (status == 200).then_some(())
        };
        wait_for("all is well again", PATIENCE, health);
        assert_eq!(installed.legs(1), ids, "{name}");
        let sound = leg.wait_until(PATIENCE, |report| report.audio.packets > 50);
        let report = sound.unwrap().unwrap();
        println!(
            "{name}: longest pause of sound {:.0} ms",
            report.audio.longest_gap_ms
        );
        assert_eq!((report.ended, report.goodbyes), (None, 0), "{name}");
        if name != "media" {
            assert_eq!((report.audio.lost, report.video.lost), (0, 0), "{name}");
        }
    }
}
