//! The peers: real programs, and what arrives at them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use benches::clip::{Clip, Config};
use benches::server::{Server, free_port};
use benches::tone;
use tests::baresip::{self, Baresip};
use tests::measure::{markers_in, tones_in};
use tests::process::Process;

use crate::is_served;

/// Source of the peer.
const PEER: u8 = 2;

/// A program of another's writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Baresip,
    Sipp,
    Pjsua2,
}

/// Below SIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// Of the media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    Clear,
    Sdes,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub peer: Peer,
    pub transport: Transport,
    pub keys: Keys,
}

/// What arrived at the peer.
#[derive(Clone, Copy, Debug, Default)]
pub struct There {
    pub marker: bool,
    pub tone: bool,
}

impl Peer {
    const ALL: [Self; 3] = [Self::Baresip, Self::Sipp, Self::Pjsua2];

    pub fn name(self) -> &'static str {
        match self {
            Self::Baresip => "baresip",
            Self::Sipp => "sipp",
            Self::Pjsua2 => "pjsua2",
        }
    }

    /// Whether it sends and shows pictures.
    pub fn has_video(self) -> bool {
        self == Self::Baresip
    }

    /// Whose tone the other terminal hears: an echo is its own.
    pub fn source(self) -> u8 {
        if self == Self::Sipp {
            crate::OTHER
        } else {
            PEER
        }
    }

    fn can(self, keys: Keys) -> bool {
        self != Self::Sipp || keys == Keys::Clear
    }
}

impl Transport {
    const ALL: [Self; 2] = [Self::Udp, Self::Tcp];

    fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

impl Keys {
    const ALL: [Self; 2] = [Self::Clear, Self::Sdes];

    fn name(self) -> &'static str {
        match self {
            Self::Clear => "clear",
            Self::Sdes => "sdes",
        }
    }
}

impl Call {
    /// All rows that server and peer can.
    pub fn all() -> Vec<Self> {
        let mut calls = Vec::new();
        for peer in Peer::ALL {
            for transport in Transport::ALL {
                for keys in Keys::ALL {
                    if is_served(transport, keys) && peer.can(keys) {
                        calls.push(Self {
                            peer,
                            transport,
                            keys,
                        });
                    }
                }
            }
        }
        calls
    }

    fn uri(&self, server: &Server) -> String {
        format!(
            "sip:3000@{};transport={}",
            server.sip,
            self.transport.name()
        )
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (peer, over, keys) = (self.peer.name(), self.transport.name(), self.keys.name());
        write!(f, "{peer:8} {over:4} IPv4    {keys:5}")
    }
}

/// A peer in its call.
pub enum Running {
    Baresip(Box<Baresip>),
    Sipp(Process),
    Pjsua2 {
        process: Process,
        heard: PathBuf,
        log: PathBuf,
    },
}

/// Starts the peer and lets it call room 3000.
///
/// # Errors
/// When it is not there, or its call fails.
pub fn start(call: &Call, server: &Server, patience: Duration) -> Result<Running> {
    let dir = server.dir();
    Ok(match call.peer {
        Peer::Baresip => Running::Baresip(Box::new(start_baresip(call, server)?)),
        Peer::Sipp => Running::Sipp(start_sipp(call, server, patience)?),
        Peer::Pjsua2 => {
            let (heard, log) = (dir.join("heard.wav"), dir.join("pjsua2.log"));
            let process = start_pjsua2(call, server, (&heard, &log), patience)?;
            Running::Pjsua2 {
                process,
                heard,
                log,
            }
        }
    })
}

fn start_baresip(call: &Call, server: &Server) -> Result<Baresip> {
    let clip = server.dir().join("terminal.mp4");
    let stream = clip.with_extension("h264");
    let units = Clip::load(&Config::cif(PEER))?.units;
    let units: Vec<u8> = units
        .iter()
        .flat_map(|unit| unit.data.iter().copied())
        .collect();
    std::fs::write(&stream, units.repeat(30))?;
    let done = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-framerate", "30", "-i"])
        .arg(&stream)
        .args(["-c", "copy"])
        .arg(&clip)
        .status()?;
    anyhow::ensure!(done.success(), "ffmpeg does not write a clip");
    let baresip = Baresip::start(&baresip::Config {
        dir: &server.dir().join("baresip"),
        tone_hz: tone::frequency_hz(PEER).context("a tone")?.into(),
        clip: Some(&clip),
        audio_codec: "opus/48000/2",
        account: match call.keys {
            Keys::Clear => "",
            Keys::Sdes => ";mediaenc=srtp-mand",
        },
    });
    baresip.dial(&call.uri(server));
    Ok(baresip)
}

/// What it hears goes back to where it came from.
fn start_sipp(call: &Call, server: &Server, patience: Duration) -> Result<Process> {
    let mode = match call.transport {
        Transport::Udp => "u1",
        Transport::Tcp => "t1",
    };
    let mut command = Command::new("sipp");
    command
        .current_dir(server.dir())
        .args([
            "-sn",
            "uac",
            "-s",
            "3000",
            "-i",
            "127.0.0.1",
            "-nostdin",
            "-rtp_echo",
        ])
        .args([
            "-t",
            mode,
            "-m",
            "1",
            "-d",
            &(2 * patience).as_millis().to_string(),
        ])
        .args([
            "-mp",
            &free_port()?.to_string(),
            "-p",
            &free_port()?.to_string(),
        ])
        .arg(server.sip.to_string());
    Ok(Process::start(&mut command, &server.dir().join("sipp.log")))
}

fn start_pjsua2(
    call: &Call,
    server: &Server,
    (heard, log): (&Path, &Path),
    patience: Duration,
) -> Result<Process> {
    let said = server.dir().join("said.wav");
    let tone_hz = tone::frequency_hz(PEER).context("a tone")?;
    let done = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-f", "lavfi", "-i"])
        .arg(format!(
            "sine=frequency={tone_hz}:sample_rate=16000:duration=60"
        ))
        .args(["-ac", "1"])
        .arg(&said)
        .status()?;
    anyhow::ensure!(done.success(), "ffmpeg does not write a tone");
    let script = tests::root().join("tests/peers/pjsua2_call.py");
    let mut command = Command::new(python()?);
    command
        .arg(script)
        .args([
            &call.uri(server),
            call.transport.name(),
            "4",
            call.keys.name(),
        ])
        .args([said.as_path(), heard])
        .arg(patience.as_secs().to_string());
    let mut process = Process::start(&mut command, log);
    let deadline = Instant::now() + patience;
    while !std::fs::read_to_string(log).is_ok_and(|text| text.lines().any(|line| line == "up")) {
        if !process.is_running() || Instant::now() > deadline {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            let last: Vec<&str> = text.lines().rev().take(3).collect();
            bail!("pjsua2 has no call: {last:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(process)
}

/// Python with the packages of `tests/peers/requirements.txt`, made once under `target`.
fn python() -> Result<PathBuf> {
    let (root, venv) = (tests::root(), tests::root().join("target/peers"));
    let python = venv.join("bin/python");
    let wanted = std::fs::read_to_string(root.join("tests/peers/requirements.txt"))?;
    let made = venv.join("requirements.txt");
    if std::fs::read_to_string(&made).is_ok_and(|text| text == wanted) {
        return Ok(python);
    }
    let run = |command: &mut Command| -> Result<()> {
        anyhow::ensure!(command.status()?.success(), "{command:?}");
        Ok(())
    };
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "-r",
        "tests/peers/requirements.txt",
    ];
    run(Command::new(&python).args(pip).current_dir(&root))?;
    std::fs::write(made, wanted)?;
    Ok(python)
}

impl Running {
    /// What arrives now, as far as it can be told during the call.
    pub fn look(&mut self, other: u8) -> There {
        match self {
            Self::Baresip(baresip) => There {
                marker: markers_in(&baresip.picture()).iter().any(|m| m.id == other),
                tone: baresip
                    .heard()
                    .is_some_and(|file| tones_in(&file, 2.0).contains(&other)),
            },
            // What it hears comes back, and is looked for here.
            Self::Sipp(process) => There {
                marker: false,
                tone: process.is_running(),
            },
            Self::Pjsua2 { .. } => There::default(),
        }
    }

    /// Ends the call; what arrived in all.
    ///
    /// # Errors
    /// When the call did not end as it should.
    pub fn end(self, other: u8, seen: There) -> Result<There> {
        match self {
            Self::Baresip(baresip) => {
                baresip.hang_up();
                Ok(seen)
            }
            Self::Sipp(_) => Ok(seen),
            Self::Pjsua2 {
                mut process,
                heard,
                log,
            } => {
                let status = process.child().wait()?;
                if !status.success() {
                    let text = std::fs::read_to_string(log)?;
                    let over = text.lines().rev().find(|line| line.starts_with("over:"));
                    bail!("pjsua2: {}", over.unwrap_or("failed"));
                }
                let tone = tones_in(&heard, 4.0).contains(&other);
                Ok(There {
                    marker: false,
                    tone,
                })
            }
        }
    }
}
