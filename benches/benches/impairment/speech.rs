//! What is said, and how well it is heard.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use mcu_api::codec::AudioCodec;

/// Of Debian's `alsa-utils`: a woman names loudspeakers.
const FOLDER: &str = "/usr/share/sounds/alsa";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/impairment/score.py");
/// Silence behind each file, in ms.
const PAUSE_MS: usize = 250;

/// Speech at the rate of a codec.
pub struct Speech {
    pub codec: AudioCodec,
    /// What each of the two says. Not the same: what comes back as it went out is taken for an echo.
    pub said: [Arc<Vec<i16>>; 2],
}

impl Speech {
    pub fn load(codec: AudioCodec) -> Result<Self> {
        let folder = std::env::var("CONSILIUM_BENCH_SPEECH").unwrap_or_else(|_| FOLDER.into());
        let folder = Path::new(&folder);
        let entries = std::fs::read_dir(folder)
            .with_context(|| format!("speech in {}: install alsa-utils", folder.display()))?;
        let mut files: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|ending| ending == "wav"))
            .filter(|path| path.file_stem().is_none_or(|name| name != "Noise"))
            .collect();
        files.sort();
        let first = say(&files, codec)?;
        files.reverse();
        let said = [first, say(&files, codec)?];
        Ok(Self { codec, said })
    }
}

fn say(files: &[PathBuf], codec: AudioCodec) -> Result<Arc<Vec<i16>>> {
    let rate = codec.sample_rate_hz();
    let mut said = Vec::new();
    for file in files {
        said.extend(samples(file, rate)?);
        said.extend(vec![0; PAUSE_MS * rate as usize / 1_000]);
    }
    ensure!(!said.is_empty(), "no speech");
    // A loop of whole packets.
    let packet = rate as usize / 50;
    said.truncate(said.len() / packet * packet);
    Ok(Arc::new(said))
}

fn samples(file: &Path, rate: u32) -> Result<Vec<i16>> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(file)
        .args(["-ac", "1", "-f", "s16le", "-ar", &rate.to_string(), "-"])
        .output()
        .context("start ffmpeg")?;
    ensure!(output.status.success(), "ffmpeg reads {}", file.display());
    let (pairs, _) = output.stdout.as_chunks::<2>();
    Ok(pairs.iter().map(|pair| i16::from_le_bytes(*pair)).collect())
}

/// The Python package `pesq`.
pub struct Judge {
    python: PathBuf,
    folder: PathBuf,
}

impl Judge {
    pub fn new() -> Result<Self> {
        let own = std::env::current_exe()?;
        let target = own.ancestors().nth(3).context("target folder")?;
        let folder = target.join("pesq");
        std::fs::create_dir_all(&folder)?;
        if let Some(python) = std::env::var_os("CONSILIUM_BENCH_PYTHON") {
            let python = python.into();
            return Ok(Self { python, folder });
        }
        let python = folder.join("bin/python");
        if !python.exists() {
            run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
            let packages = ["-m", "pip", "install", "--quiet", "pesq==0.0.4", "numpy"];
            run(Command::new(&python).args(packages))?;
        }
        Ok(Self { python, folder })
    }

    /// PESQ of what was heard.
    pub fn score(&self, codec: AudioCodec, said: &[i16], heard: &[i16]) -> Result<f64> {
        let rate = codec.sample_rate_hz();
        let judged = rate.min(16_000);
        let said = self.write("said", said, (rate, judged))?;
        let heard = self.write("heard", heard, (rate, judged))?;
        let output = Command::new(&self.python)
            .arg(SCRIPT)
            .arg(judged.to_string())
            .args([said, heard])
            .output()?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.trim().parse()?)
    }

    /// A file at the rate that is judged.
    fn write(&self, name: &str, pcm: &[i16], (rate, judged): (u32, u32)) -> Result<PathBuf> {
        let bytes: Vec<u8> = pcm.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        let (raw, out) = (
            self.folder.join(name),
            self.folder.join(format!("{name}.raw")),
        );
        if rate == judged {
            std::fs::write(&out, bytes)?;
            return Ok(out);
        }
        std::fs::write(&raw, bytes)?;
        let format = ["-ac", "1", "-f", "s16le"];
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-v", "error", "-y", "-ar", &rate.to_string()]);
        ffmpeg.args(format).arg("-i").arg(&raw);
        ffmpeg
            .args(["-ar", &judged.to_string()])
            .args(format)
            .arg(&out);
        run(&mut ffmpeg)?;
        Ok(out)
    }
}

fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("start {command:?}"))?;
    ensure!(status.success(), "{command:?} failed");
    Ok(())
}
