//! Chromium as a participant: joins by the page as a person would, publishes a marker and a tone,
//! reports what it sees and hears.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Deserialize;

use crate::process::{Process, aside};
use crate::server::Server;
use crate::{root, wait_for};

/// One look of the page at its media.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Report {
    /// Markers by tile, read from the pixels: id and counter.
    pub markers: BTreeMap<String, Marker>,
    /// Lines of the picture that was decoded last, by tile.
    pub lines: BTreeMap<String, u32>,
    /// Tones heard in the mixed sound: source id and level in dB.
    pub tones: BTreeMap<u8, f64>,
    /// Longest time without a new frame in ms, by tile, since the start or [`Browser::reset`].
    pub pauses_ms: BTreeMap<String, f64>,
    /// Longest time without sound in ms, since the start or [`Browser::reset`].
    pub sound_pause_ms: f64,
    /// Frames decoded over all tiles.
    pub frames_decoded: u64,
    /// Packets lost on the way to the page, sound and pictures.
    pub packets_lost: i64,
    /// How packets leave: `udp`, `tcp`, or by a relay, `relay tls` and the like.
    pub path: String,
    /// State of the peer connection.
    pub connection: String,
    /// Offsets of flash against beep in ms, by source id.
    pub skew_ms: BTreeMap<u8, f64>,
    /// Why the page is out of the room, as it says; empty while it is in.
    pub ended: String,
    /// Looks so far; an offset is the median of the latest fifteen.
    pub skew_looks: BTreeMap<u8, u32>,
}

/// A marker as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Marker {
    /// Source id.
    pub id: u8,
    /// Counter.
    pub counter: u16,
}

/// A running browser with the page in the room.
pub struct Browser {
    _process: Process,
    stdin: ChildStdin,
    latest: Arc<Mutex<(u64, Report)>>,
}

impl Browser {
    /// Opens `url` as source `id` and joins; [`Server::join`] does for room 3000.
    pub fn join(url: &str, id: u8, log: &Path) -> Self {
        Self::join_with(url, id, log, &[])
    }

    /// As [`Self::join`], with the further arguments of `participant.mjs`: width, height and rate of
    /// the picture, and `skew` to measure sound against picture.
    pub fn join_with(url: &str, id: u8, log: &Path, arguments: &[&str]) -> Self {
        Self::start(url, id, log, arguments, "")
    }

    /// As [`Self::join`], and types these PINs, in commas, each when the page asks for one.
    pub fn join_by_pins(url: &str, id: u8, log: &Path, pins: &str) -> Self {
        Self::start(url, id, log, &[], pins)
    }

    /// As [`Self::join`], after having logged in with this login and password.
    pub fn join_logged_in(url: &str, id: u8, log: &Path, credentials: (&str, &str)) -> Self {
        Self::join_logged_in_with(url, id, log, credentials, &[])
    }

    /// The same with the further arguments of [`Self::join_with`].
    pub fn join_logged_in_with(
        url: &str,
        id: u8,
        log: &Path,
        (login, password): (&str, &str),
        arguments: &[&str],
    ) -> Self {
        let mut command = script("participant.mjs");
        command
            .args([url, &id.to_string()])
            .args(arguments)
            .env("CONSILIUM_LOGIN", format!("{login} {password}"));
        Self::run(command, log)
    }

    /// Joins the room at `url` in Chromium as source `id`, with a picture of this width, height and rate,
    /// in a small window, and on the last processor alone.
    pub fn join_aside(url: &str, id: u8, log: &Path, size: [&str; 3]) -> Self {
        Self::run_aside(
            "participant.mjs",
            url,
            id,
            log,
            &[&size[..], &["small"]].concat(),
        )
    }

    /// The same in Firefox, with the tone of source 2. It reports no pauses of sound and takes no commands.
    pub fn join_aside_in_firefox(url: &str, id: u8, log: &Path, size: [&str; 3]) -> Self {
        Self::run_aside("firefox-participant.mjs", url, id, log, &size)
    }

    fn run_aside(script: &str, url: &str, id: u8, log: &Path, more: &[&str]) -> Self {
        let mut command = aside("node");
        command
            .arg(root().join("tests/browser").join(script))
            .args([url, &id.to_string()])
            .args(more);
        Self::run(command, log)
    }

    /// A SIP telephone in a page at `url`, which calls this number by the WebSocket at `socket`.
    pub fn call(url: &str, socket: &str, number: &str, id: u8, log: &Path) -> Self {
        let mut command = script("telephone.mjs");
        command.args([url, socket, number, &id.to_string()]);
        Self::run(command, log)
    }

    /// As [`Self::call`], after it has registered with this password, as `page-ID`. It goes where it is
    /// sent.
    pub fn call_registered(
        url: &str,
        socket: &str,
        number: &str,
        id: u8,
        password: &str,
        log: &Path,
    ) -> Self {
        let mut command = script("telephone.mjs");
        command.args([url, socket, number, &id.to_string(), password]);
        Self::run(command, log)
    }

    fn start(url: &str, id: u8, log: &Path, arguments: &[&str], pins: &str) -> Self {
        let mut command = script("participant.mjs");
        command
            .args([url, &id.to_string()])
            .args(arguments)
            .env("CONSILIUM_PIN", pins);
        Self::run(command, log)
    }

    fn run(mut command: Command, log: &Path) -> Self {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(log).expect("create a log"));
        let mut process = Process::start_as_is(&mut command);
        let stdin = process.child().stdin.take().expect("piped");
        let stdout = process.child().stdout.take().expect("piped");
        let latest = Arc::new(Mutex::new((0, Report::default())));
        let (shared, log) = (latest.clone(), log.to_path_buf());
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                match serde_json::from_str::<Report>(&line) {
                    Ok(report) => {
                        let mut latest = shared.lock().expect("no panic while locked");
                        *latest = (latest.0 + 1, report);
                    }
                    Err(error) => eprintln!("browser said {line:?}: {error}"),
                }
            }
            // Who waits in vain for a page that is no more is shown why.
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            eprintln!("{} ended; what it said: {said}", log.display());
        });
        Self {
            _process: process,
            stdin,
            latest,
        }
    }

    /// The last report and its number.
    pub fn report(&self) -> (u64, Report) {
        self.latest.lock().expect("no panic while locked").clone()
    }

    /// A report that was made after now.
    pub fn next_report(&self) -> Report {
        let seen = self.report().0;
        wait_for("the page reports", Duration::from_secs(20), || {
            let (number, report) = self.report();
            (number > seen + 1).then_some(report)
        })
    }

    /// Takes a picture of the page.
    pub fn screenshot(&mut self, file: &Path) {
        self.say(&format!("screenshot {}", file.display()));
        wait_for("a screenshot", Duration::from_secs(20), || {
            file.exists().then_some(())
        });
    }

    /// Presses a button of the page by its test id: `mic`, `camera`, `leave`.
    pub fn press(&mut self, button: &str) {
        self.say(&format!("press {button}"));
    }

    /// Loads the page anew.
    pub fn reload(&mut self) {
        self.say("reload");
    }

    /// Measures pauses from now on.
    pub fn reset(&mut self) {
        self.say("reset");
    }

    fn say(&mut self, line: &str) {
        writeln!(self.stdin, "{line}")
            .and_then(|()| self.stdin.flush())
            .expect("browser listens");
    }
}

impl Server {
    /// A browser joins room 3000 as source `id`.
    pub fn join(&self, id: u8) -> Browser {
        let log = self.dir().join(format!("browser-{id}.log"));
        Browser::join(&self.url("/room/3000"), id, &log)
    }
}

/// A script of `tests/browser`, to be run by Node.
fn script(name: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(root().join("tests/browser").join(name));
    command
}
