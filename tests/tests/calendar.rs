//! A calendar that is set forth and back by hours and years while calls are up, as a clock without
//! battery is by NTP: nothing ends early, nothing hangs, and the page's certificate is valid again
//! (MCU-20). libfaketime shifts the calendar of the server alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use benches::load::{Load, LoadLeg};
use tempfile::TempDir;
use tests::server::{Server, binary};
use tests::terminal::{encrypted, sending};
use tests::wait_for;

const PATIENCE: Duration = Duration::from_secs(40);

const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// Longer than this test takes, shorter than any step.
const MAX_JOINED_S: u64 = 1_200;

/// A server whose calendar is what a file says.
struct Shifted {
    server: Server,
    dir: TempDir,
    steps: usize,
}

impl Shifted {
    fn start() -> Self {
        assert!(Path::new(FAKETIME).exists(), "libfaketime is not installed");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("offset");
        fs::write(&file, "+0\n").unwrap();
        let mut program = Command::new(binary());
        program
            .env("LD_PRELOAD", FAKETIME)
            .env("FAKETIME_TIMESTAMP_FILE", &file)
            .env("FAKETIME_NO_CACHE", "1")
            // The clock that nobody sets.
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        let server = Server::start_as(&mut program, &["--demo"]);
        Self {
            server,
            dir,
            steps: 0,
        }
    }

    /// Sets the calendar as far from the right one as this says.
    fn set(&mut self, offset: &str) {
        let beside = self.dir.path().join("offset.new");
        fs::write(&beside, format!("{offset}\n")).unwrap();
        fs::rename(beside, self.dir.path().join("offset")).unwrap();
    }

    /// Waits until the controller says that it has noticed.
    fn wait_until_noticed(&mut self) {
        self.steps += 1;
        let seen = || self.server.log().matches("the calendar was set").count();
        wait_for("the controller notices", PATIENCE, || {
            (seen() >= self.steps).then_some(())
        });
    }

    /// All legs are here, and have been no longer than this test.
    fn wait_for_legs(&self, count: usize) {
        let legs = self.server.wait_for_legs(count);
        let joined = legs.iter().all(|leg| leg.joined_s < MAX_JOINED_S);
        assert!(joined, "{legs:#?}");
    }

    fn certificate(&self) -> PathBuf {
        self.server.dir().join("data/tls/cert.pem")
    }

    /// Whether who trusts the certificate takes it, by the right calendar.
    fn is_certificate_valid(&self) -> bool {
        let output = Command::new("curl")
            .args(["-s", "--max-time", "5", "-o", "/dev/null", "--cacert"])
            .arg(self.certificate())
            .arg(self.server.url("/health"))
            .status();
        output.unwrap().success()
    }
}

/// Media goes on for a while, without a packet lost.
fn expect_media(when: &str, legs: [&LoadLeg; 2]) {
    for leg in legs {
        leg.reset().unwrap();
        let report = leg.wait_until(PATIENCE, |report| report.audio.packets > 100);
        let report = report.unwrap().unwrap();
        let (audio, video) = (report.audio, report.video);
        println!(
            "{when}: {} packets of sound, {} of pictures, {} and {} lost, longest pause of sound {:.0} ms",
            audio.packets, video.packets, audio.lost, video.lost, audio.longest_gap_ms
        );
        assert_eq!(
            (audio.lost, video.lost, report.ended),
            (0, 0, None),
            "{when}"
        );
    }
}

#[test]
fn calls_go_on_whatever_the_calendar_is_set_to() {
    let mut shifted = Shifted::start();
    let load = Load::start().unwrap();
    let plain = shifted.server.call(&load, sending(1));
    let sdes = shifted.server.call(&load, encrypted(sending(2)));
    shifted.wait_for_legs(2);
    assert!(shifted.is_certificate_valid());
    for offset in ["+3600", "-3600", "+3650d"] {
        shifted.set(offset);
        shifted.wait_until_noticed();
        expect_media(offset, [&plain, &sdes]);
        shifted.wait_for_legs(2);
        let newcomer = shifted.server.call(&load, sending(3));
        shifted.wait_for_legs(3);
        newcomer.hang_up();
        shifted.wait_for_legs(2);
    }
    // Ten years on, the page has a certificate of then, which is valid for nobody here.
    wait_for("a certificate is made for then", PATIENCE, || {
        (!shifted.is_certificate_valid()).then_some(())
    });
    shifted.set("+0");
    shifted.wait_until_noticed();
    expect_media("set right", [&plain, &sdes]);
    wait_for("a certificate is made for now", PATIENCE, || {
        shifted.is_certificate_valid().then_some(())
    });
    shifted.wait_for_legs(2);
}

/// Defect: a controller that died while the calendar was set forward took all calls for overdue.
#[test]
fn calls_outlive_a_controller_that_dies_while_the_calendar_is_set() {
    let mut shifted = Shifted::start();
    let load = Load::start().unwrap();
    let plain = shifted.server.call(&load, sending(1));
    let sdes = shifted.server.call(&load, encrypted(sending(2)));
    shifted.wait_for_legs(2);
    for offset in ["+3650d", "-3600", "+3600"] {
        // Stopped, it writes nothing by the new calendar.
        let control = nix::unistd::Pid::from_raw(shifted.server.pid_of("control"));
        nix::sys::signal::kill(control, nix::sys::signal::Signal::SIGSTOP).unwrap();
        shifted.set(offset);
        shifted.server.kill("control");
        shifted.wait_for_legs(2);
        expect_media(offset, [&plain, &sdes]);
    }
}
