//! Reading markers and tones out of files that peers wrote.

use std::path::Path;
use std::process::Command;

use benches::marker::{self, Marker};
use benches::picture::Luma;
use benches::tone;

/// Markers of all tiles of a picture file.
pub fn markers_in(picture: &Path) -> Vec<Marker> {
    let Some((samples, width, height)) = luma_of(picture) else {
        return Vec::new();
    };
    let Some(luma) = Luma::new(&samples, width, width, height) else {
        return Vec::new();
    };
    marker::find(luma)
        .into_iter()
        .map(|found| found.marker)
        .collect()
}

/// Whose markers are in a picture of 16 to 9 that lies in one that is shown 4 to 3.
pub fn sites_in(picture: &Path) -> Vec<u8> {
    let whole = picture.with_extension("16-9.png");
    let done = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-i"])
        .arg(picture)
        .args(["-vf", "crop=iw:ih*3/4,scale=1280:720"])
        .arg(&whole)
        .status();
    // The picture may not be written to its end yet.
    let markers = match done.expect("run ffmpeg").success() {
        true => markers_in(&whole),
        false => Vec::new(),
    };
    let _ = std::fs::remove_file(&whole);
    let mut ids: Vec<u8> = markers.iter().map(|marker| marker.id).collect();
    ids.sort_unstable();
    ids
}

/// Grey values of a picture file, its width and height; `None` while it is not complete.
pub fn luma_of(picture: &Path) -> Option<(Vec<u8>, usize, usize)> {
    let probe = Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-show_entries",
            "stream=width,height",
            "-of",
            "csv=p=0:s=x",
        ])
        .arg(picture)
        .output()
        .expect("run ffprobe");
    let size = String::from_utf8_lossy(&probe.stdout).trim().to_string();
    let (width, height) = size.split_once('x')?;
    let (width, height) = (width.parse().ok()?, height.parse().ok()?);
    let decoded = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(picture)
        .args(["-f", "rawvideo", "-pix_fmt", "gray", "-"])
        .output()
        .expect("run ffmpeg");
    (decoded.stdout.len() == width * height).then_some((decoded.stdout, width, height))
}

/// Ids of the tones in the last `seconds` of a sound file, which may still be written to.
pub fn tones_in(sound: &Path, seconds: f64) -> Vec<u8> {
    let pcm = pcm_of(sound);
    let last = (seconds * 48_000.0) as usize;
    let tail = &pcm[pcm.len().saturating_sub(last)..];
    tone::detect(tail, 48_000)
        .into_iter()
        .map(|heard| heard.id)
        .collect()
}

/// Sources heard in the last `seconds` of a sound file, as by [`tones_in`], without the beeps of pages:
/// those are the tones above 8.
pub fn sources_in(sound: &Path, seconds: f64) -> Vec<u8> {
    let mut heard = tones_in(sound, seconds);
    heard.retain(|id| *id <= 8);
    heard
}

/// A sound file, which may still be written to, as mono at 48 kHz.
pub fn pcm_of(sound: &Path) -> Vec<i16> {
    let decoded = Command::new("ffmpeg")
        .args(["-v", "error", "-ignore_length", "1", "-i"])
        .arg(sound)
        .args(["-f", "s16le", "-ac", "1", "-ar", "48000", "-"])
        .output()
        .expect("run ffmpeg");
    decoded
        .stdout
        .chunks_exact(2)
        .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
        .collect()
}
