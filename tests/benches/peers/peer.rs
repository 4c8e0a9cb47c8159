//! The peers: real programs, and what arrives at them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use benches::clip::{Clip, Config};
use benches::tone;
use tests::baresip::{self, Baresip, write_clip};
use tests::measure::{markers_in, tones_in};
use tests::process::{Process, free_port_at};

use crate::cell::{Keys, Peer, Row, Transport};

/// How long a script may take until its call is up.
const SETUP: Duration = Duration::from_secs(15);
/// How long the call of sipp or of a script lasts. What a script heard is looked at afterwards.
const SCRIPT_S: u32 = 6;

/// What arrived at the peer.
#[derive(Clone, Copy, Debug, Default)]
pub struct There {
    pub marker: bool,
    pub tone: bool,
}

/// A peer in its call.
pub enum Running {
    Baresip(Box<Baresip>),
    Sipp(Process),
    /// A program in Python that hangs up by itself.
    Script {
        process: Process,
        heard: PathBuf,
        seen: Option<PathBuf>,
        log: PathBuf,
    },
}

/// Starts the peer as source `id` and lets it call room 3000.
///
/// # Errors
/// When it is not there, or its call fails.
pub fn start(peer: Peer, row: Row, id: u8, dir: &Path) -> Result<Running> {
    Ok(match peer {
        Peer::Baresip => Running::Baresip(Box::new(start_baresip(row, id, dir)?)),
        Peer::Sipp => Running::Sipp(start_sipp(row, dir)),
        Peer::Pjsua2 => start_pjsua2(row, id, dir)?,
        Peer::Aiortc => start_aiortc(row, id, dir)?,
    })
}

fn start_baresip(row: Row, id: u8, dir: &Path) -> Result<Baresip> {
    let clip = dir.join("terminal.mp4");
    write_clip(&Clip::load(&Config::cif(id))?, &clip);
    let config = baresip::Config {
        dir: &dir.join("baresip"),
        tone_hz: tone::frequency_hz(id).context("a tone")?.into(),
        clip: Some(&clip),
        audio_codec: "opus/48000/2",
        account: match row.keys {
            Keys::Clear => "",
            Keys::Sdes => ";mediaenc=srtp-mand",
            Keys::Dtls => ";mediaenc=dtls_srtp",
        },
    };
    let baresip = Baresip::start_at(row.family.address(), &config);
    baresip.dial(&row.uri());
    Ok(baresip)
}

/// What it hears goes back to where it came from.
fn start_sipp(row: Row, dir: &Path) -> Process {
    let here = row.family.address();
    let mode = match row.transport {
        Transport::Udp => "u1",
        Transport::Tcp | Transport::Tls => "t1",
    };
    let [media, sip] = [(); 2].map(|()| free_port_at(here).to_string());
    let mut command = Command::new("sipp");
    command
        .current_dir(dir)
        .args(["-sn", "uac", "-s", "3000", "-nostdin", "-rtp_echo"])
        .args(["-i", &here.to_string(), "-mi", &here.to_string()])
        .args(["-t", mode, "-m", "1", "-d"])
        .arg((1_000 * SCRIPT_S).to_string())
        .args(["-mp", &media, "-p", &sip])
        .arg(row.server().to_string());
    Process::start(&mut command, &dir.join("sipp.log"))
}

fn start_pjsua2(row: Row, id: u8, dir: &Path) -> Result<Running> {
    let (said, heard) = (dir.join("said.wav"), dir.join("heard.wav"));
    ffmpeg(&sine(id)?, &["-ac", "1"], &said)?;
    let mut command = Command::new(python()?);
    command
        .arg(tests::root().join("tests/peers/pjsua2_call.py"))
        .args([&row.uri(), row.transport.name()])
        .args([&row.family.address().to_string(), row.keys.name()])
        .args([&said, &heard])
        .arg(SCRIPT_S.to_string());
    start_script(&mut command, dir, heard, None)
}

fn start_aiortc(row: Row, id: u8, dir: &Path) -> Result<Running> {
    let (silent, clip) = (dir.join("silent.mp4"), dir.join("terminal.mp4"));
    write_clip(&Clip::load(&Config::cif(id))?, &silent);
    let mut inputs = vec!["-i".into(), silent.display().to_string()];
    inputs.extend(sine(id)?);
    ffmpeg(
        &inputs,
        &["-c:v", "copy", "-c:a", "aac", "-shortest"],
        &clip,
    )?;
    let (heard, seen) = (dir.join("heard.wav"), dir.join("seen.png"));
    let server = row.server();
    let mut command = Command::new(python()?);
    command
        .arg(tests::root().join("tests/peers/aiortc_call.py"))
        .args(["3000", &server.ip().to_string(), &server.port().to_string()])
        .args([row.transport.name(), &row.family.address().to_string()])
        .args([&clip, &heard, &seen])
        .arg(SCRIPT_S.to_string());
    start_script(&mut command, dir, heard, Some(seen))
}

/// Arguments of ffmpeg for a minute of a source's tone.
fn sine(id: u8) -> Result<Vec<String>> {
    let hz = tone::frequency_hz(id).context("a tone")?;
    let tone = format!("sine=frequency={hz}:sample_rate=16000:duration=60");
    Ok(["-f", "lavfi", "-i", &tone].map(str::to_string).into())
}

fn ffmpeg(inputs: &[String], output: &[&str], file: &Path) -> Result<()> {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-y"]).args(inputs);
    let done = command.args(output).arg(file).status()?;
    ensure!(done.success(), "ffmpeg does not write {}", file.display());
    Ok(())
}

/// Returns once the script says that its call is up.
fn start_script(
    command: &mut Command,
    dir: &Path,
    heard: PathBuf,
    seen: Option<PathBuf>,
) -> Result<Running> {
    let log = dir.join("script.log");
    let mut process = Process::start(command, &log);
    let deadline = Instant::now() + SETUP;
    while !std::fs::read_to_string(&log)?.lines().any(|l| l == "up") {
        if !process.is_running() || Instant::now() > deadline {
            let text = std::fs::read_to_string(&log)?;
            let last: Vec<&str> = text.lines().rev().take(3).collect();
            bail!("no call: {last:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(Running::Script {
        process,
        heard,
        seen,
        log,
    })
}

/// Python with the packages of `tests/peers/requirements.txt`, made once under `target`.
///
/// # Errors
/// When they cannot be had.
pub fn python() -> Result<PathBuf> {
    let (root, venv) = (tests::root(), tests::root().join("target/peers"));
    let python = venv.join("bin/python");
    let wanted = std::fs::read_to_string(root.join("tests/peers/requirements.txt"))?;
    let made = venv.join("requirements.txt");
    if std::fs::read_to_string(&made).is_ok_and(|text| text == wanted) {
        return Ok(python);
    }
    let run = |command: &mut Command| -> Result<()> {
        ensure!(command.status()?.success(), "{command:?}");
        Ok(())
    };
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let pip = ["-m", "pip", "install", "--quiet", "-r"];
    let list = "tests/peers/requirements.txt";
    run(Command::new(&python).args(pip).arg(list).current_dir(&root))?;
    std::fs::write(made, wanted)?;
    Ok(python)
}

impl Running {
    /// Whether the call is not over.
    pub fn goes_on(&mut self) -> bool {
        match self {
            Self::Baresip(_) => true,
            Self::Sipp(process) | Self::Script { process, .. } => process.is_running(),
        }
    }

    /// What arrives now, as far as it can be told during the call.
    pub fn look(&mut self, other: u8) -> There {
        match self {
            Self::Baresip(baresip) => There {
                marker: markers_in(&baresip.picture()).iter().any(|m| m.id == other),
                tone: baresip
                    .heard()
                    .is_some_and(|file| tones_in(&file, 2.0).contains(&other)),
            },
            Self::Sipp(_) | Self::Script { .. } => There::default(),
        }
    }

    /// Ends the call; what arrived in all.
    ///
    /// # Errors
    /// When the call did not end as it should, or its media had other keys.
    pub fn end(self, other: u8, keys: Keys, so_far: There) -> Result<There> {
        match self {
            Self::Baresip(baresip) => {
                baresip.hang_up();
                let log = baresip.log();
                let agreed = match () {
                    () if log.contains("DTLS-SRTP complete") => Keys::Dtls,
                    () if log.contains("SRTP is Enabled") => Keys::Sdes,
                    () => Keys::Clear,
                };
                ensure!(agreed == keys, "media is keyed as {}", agreed.name());
                Ok(so_far)
            }
            Self::Sipp(mut process) => {
                ensure!(process.child().wait()?.success(), "sipp: the call failed");
                Ok(so_far)
            }
            Self::Script {
                mut process,
                heard,
                seen,
                log,
            } => {
                if !process.child().wait()?.success() {
                    let text = std::fs::read_to_string(log)?;
                    let over = text.lines().rev().find(|line| line.starts_with("over:"));
                    bail!("{}", over.unwrap_or("failed"));
                }
                let markers = seen.map(|file| markers_in(&file)).unwrap_or_default();
                Ok(There {
                    marker: markers.iter().any(|marker| marker.id == other),
                    tone: tones_in(&heard, 4.0).contains(&other),
                })
            }
        }
    }
}
