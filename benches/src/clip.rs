//! Pre-encoded video, so that a leg costs its sender nothing but packets.
//!
//! A clip shows a photograph through a camera that pans, zooms and has a noisy sensor: much harder
//! to code than a drawn test picture, as real rooms are. Every frame carries the source's
//! [`marker`](crate::marker) with the frame's index as its counter. The camera's path is closed, so
//! a clip can be looped for ever; the counter is then modulo the clip's length.
//!
//! Photographs come from Debian's package `mate-backgrounds` (its photographs are under GPL-2+, see its
//! copyright file), or from the folder that `CONSILIUM_PHOTOGRAPHS` names. Without either a drawn
//! texture takes their place, and [`Clip::photographed`] says so.

use std::f64::consts::TAU;
use std::fs;
use std::path::{Path, PathBuf};

use ffmpeg_next as av;

use crate::codec::{self, CodecError, Decoder, EncodeSettings, Encoder};
use crate::marker;
use crate::picture::{Picture, Rect, ScaleError};

/// Where Debian's `mate-backgrounds` puts its photographs.
pub const PHOTOGRAPHS: &str = "/usr/share/backgrounds/mate/nature";

/// Changes whenever the frames of equal parameters would differ: old files are then not used.
const CACHE_VERSION: u32 = 2;

/// Standard deviation of the sensor noise, in luma steps.
const NOISE_STEPS: f64 = 2.5;

/// What a clip shows and how it is coded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Id in the marker; chooses the photograph and the camera's path too.
    pub id: u8,
    /// Frames before the clip starts again. A whole number of key intervals is best.
    pub frames: u16,
    /// Size, rate and key frames.
    pub encode: EncodeSettings,
}

impl Config {
    /// A source at 1280×720, 30 frames/s, 1.5 Mbit/s, a key frame every 2 s, 4 s long.
    pub fn hd(id: u8) -> Self {
        Self {
            id,
            frames: 120,
            encode: EncodeSettings::default(),
        }
    }

    /// A source at CIF (352×288), 30 frames/s, 384 kbit/s, a key frame every 2 s, 4 s long.
    pub fn cif(id: u8) -> Self {
        let cif = EncodeSettings {
            width: 352,
            height: 288,
            bitrate_bps: 384_000,
            ..Default::default()
        };
        Self {
            id,
            frames: 120,
            encode: cif,
        }
    }

    fn file_name(&self) -> String {
        let e = &self.encode;
        format!(
            "clip{CACHE_VERSION}_{}_{}x{}_{}fps_{}bps_key{}_slice{}_{}frames_{}.bin",
            self.id,
            e.width,
            e.height,
            e.frame_rate,
            e.bitrate_bps,
            e.key_interval,
            e.slice_len_max.unwrap_or(0),
            self.frames,
            photographs().first().is_some_and(|_| true),
        )
    }
}

/// One coded frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessUnit {
    /// Annex B byte stream.
    pub data: Vec<u8>,
    /// Whether decoding may start here.
    pub key: bool,
}

/// A coded clip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clip {
    /// What it was made from.
    pub config: Config,
    /// Frames in order; the index is the counter of the marker.
    pub units: Vec<AccessUnit>,
    /// Whether a photograph was there to be shown.
    pub photographed: bool,
}

/// Why there is no clip.
#[derive(Debug, thiserror::Error)]
pub enum ClipError {
    /// Encoding or decoding failed.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// Scaling failed.
    #[error(transparent)]
    Scale(#[from] ScaleError),
    /// The cache could not be written.
    #[error("cache {path}: {source}")]
    Cache {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Clip {
    /// The clip from the cache, or made now and put there. The cache is the folder `clips` in the
    /// build's target folder.
    pub fn load(config: &Config) -> Result<Self, ClipError> {
        Self::load_from(config, &cache_dir())
    }

    /// As [`Self::load`], with a cache folder of the caller's.
    pub fn load_from(config: &Config, cache: &Path) -> Result<Self, ClipError> {
        let path = cache.join(config.file_name());
        if let Some(clip) = fs::read(&path).ok().and_then(|bytes| parse(config, &bytes)) {
            return Ok(clip);
        }
        let clip = Self::encode(config)?;
        store(&clip, &path).map_err(|source| ClipError::Cache { path, source })?;
        Ok(clip)
    }

    /// Makes the clip, at some ten milliseconds a frame.
    pub fn encode(config: &Config) -> Result<Self, ClipError> {
        let mut encoder = Encoder::best(config.encode)?;
        let mut camera = Camera::new(config)?;
        let mut units = Vec::with_capacity(config.frames.into());
        for index in 0..config.frames {
            let picture = camera.picture(index)?;
            let key = u32::from(index) % config.encode.key_interval == 0;
            let data = encoder.encode(&picture, key)?;
            units.push(AccessUnit {
                key: codec::is_key_frame(&data),
                data,
            });
        }
        Ok(Self {
            config: config.clone(),
            units,
            photographed: camera.photographed,
        })
    }

    /// Index of the first key frame at `from` or after it, going round.
    pub fn next_key_frame(&self, from: usize) -> usize {
        let len = self.units.len().max(1);
        (from..from + len)
            .map(|i| i % len)
            .find(|&i| self.units[i].key)
            .unwrap_or(0)
    }

    /// The pictures that a receiver of the undamaged clip sees, as far as `wanted` asks for them:
    /// what a tile of a composition is compared with.
    pub fn decode(&self, wanted: &[u16]) -> Result<Vec<(u16, Picture)>, ClipError> {
        let mut decoder = Decoder::h264()?;
        let mut pictures = Vec::new();
        for (index, unit) in self.units.iter().enumerate() {
            let index = index as u16;
            decoder.decode_frames(&unit.data, |frame| {
                if wanted.contains(&index) {
                    pictures.push((index, Picture::from_frame(frame)?));
                }
                Ok(())
            })?;
        }
        Ok(pictures)
    }
}

/// The photographs found on this machine, in order of name.
pub fn photographs() -> Vec<PathBuf> {
    let dir = std::env::var_os("CONSILIUM_PHOTOGRAPHS").map_or(PHOTOGRAPHS.into(), PathBuf::from);
    let mut found: Vec<PathBuf> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "jpg" || e == "png"))
        .collect();
    found.sort();
    found
}

/// A photograph.
///
/// # Errors
/// When it cannot be read.
pub fn read_photograph(path: &Path) -> Result<Picture, CodecError> {
    read_image(path)
}

/// A photograph seen through a moving camera.
struct Camera {
    photograph: Picture,
    photographed: bool,
    config: Config,
    noise: Vec<i8>,
    noise_state: u64,
}

impl Camera {
    fn new(config: &Config) -> Result<Self, ClipError> {
        let EncodeSettings { width, height, .. } = config.encode;
        // Room for the pan, and fine enough for moves below one sample of the result.
        let (stage_width, stage_height) = (width * 2, height * 2);
        let files = photographs();
        let file = files.get(usize::from(config.id) % files.len().max(1));
        let shown = file.and_then(|path| read_image(path).ok());
        let photographed = shown.is_some();
        let photograph = match shown {
            Some(picture) => picture,
            None => texture(width, height, config.id),
        };
        let mut state = u64::from(config.id) + 1;
        let noise = (0..1 << 16).map(|_| gauss(&mut state)).collect();
        Ok(Self {
            photograph: cover(&photograph, stage_width, stage_height)?,
            photographed,
            config: config.clone(),
            noise,
            noise_state: state,
        })
    }

    /// Frame `index`: the path is closed after the clip's length.
    fn picture(&mut self, index: u16) -> Result<Picture, ClipError> {
        let EncodeSettings { width, height, .. } = self.config.encode;
        let angle = TAU * f64::from(index) / f64::from(self.config.frames.max(1));
        let start = f64::from(self.config.id);
        // Shows between 65 and 85 % of the stage's width.
        let zoom = 0.75 + 0.1 * (angle + start).sin();
        let stage = (
            self.photograph.width() as f64,
            self.photograph.height() as f64,
        );
        let seen = (stage.0 * zoom, stage.1 * zoom);
        let pan = (
            0.5 + 0.5 * (angle + 2.0 * start).cos(),
            0.5 + 0.5 * (angle + start).sin(),
        );
        let rect = Rect {
            x: ((stage.0 - seen.0) * pan.0) as usize,
            y: ((stage.1 - seen.1) * pan.1) as usize,
            width: seen.0 as usize,
            height: seen.1 as usize,
        };
        let view = self
            .photograph
            .crop(rect)
            .unwrap_or_else(|| self.photograph.clone());
        let mut picture = view.scaled(width, height)?;
        self.add_noise(&mut picture.y);
        marker::draw(&mut picture, self.config.id, index);
        Ok(picture)
    }

    /// Sensor noise, from a table read at random places: rows do not repeat visibly.
    fn add_noise(&mut self, luma: &mut [u8]) {
        for row in luma.chunks_mut(2_048) {
            let start = random(&mut self.noise_state) as usize % (self.noise.len() - row.len());
            for (sample, noise) in row.iter_mut().zip(&self.noise[start..]) {
                *sample = sample.saturating_add_signed(*noise);
            }
        }
    }
}

/// Decodes an image file with libavformat and libavcodec.
fn read_image(path: &Path) -> Result<Picture, CodecError> {
    codec::init()?;
    let mut input = av::format::input(path)?;
    let stream = input
        .streams()
        .best(av::media::Type::Video)
        .ok_or(av::Error::StreamNotFound)?;
    let (index, parameters) = (stream.index(), stream.parameters());
    let context = av::codec::Context::from_parameters(parameters)?;
    let mut decoder = context.decoder().video()?;
    let mut frame = av::frame::Video::empty();
    for (stream, packet) in input.packets() {
        if stream.index() == index {
            decoder.send_packet(&packet)?;
            if decoder.receive_frame(&mut frame).is_ok() {
                return Ok(Picture::from_frame(&frame)?);
            }
        }
    }
    decoder.send_eof()?;
    decoder.receive_frame(&mut frame)?;
    Ok(Picture::from_frame(&frame)?)
}

/// The largest centred part with the wanted aspect ratio, at the wanted size.
fn cover(picture: &Picture, width: usize, height: usize) -> Result<Picture, ScaleError> {
    let by_height = picture.height() * width / height;
    let (w, h) = if by_height <= picture.width() {
        (by_height, picture.height())
    } else {
        (picture.width(), picture.width() * height / width)
    };
    let rect = Rect {
        x: (picture.width() - w) / 2,
        y: (picture.height() - h) / 2,
        width: w,
        height: h,
    };
    match picture.crop(rect) {
        Some(part) => part.scaled(width, height),
        None => picture.scaled(width, height),
    }
}

/// Stands in where no photograph is installed: soft shapes with grain.
fn texture(width: usize, height: usize, id: u8) -> Picture {
    let mut picture = Picture::new(width, height);
    let mut state = u64::from(id) + 99;
    for (i, sample) in picture.y.iter_mut().enumerate() {
        let (x, y) = (
            (i % width) as f64 / width as f64,
            (i / width) as f64 / height as f64,
        );
        let shape = (9.0 * x + f64::from(id)).sin() * (7.0 * y).cos() + (31.0 * x * y).sin();
        let grain = (random(&mut state) % 24) as f64;
        *sample = (120.0 + 40.0 * shape + grain).clamp(16.0, 235.0) as u8;
    }
    picture
}

/// A step of SplitMix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// Near enough to a normal distribution: the sum of twelve uniform ones.
fn gauss(state: &mut u64) -> i8 {
    let sum: f64 = (0..12)
        .map(|_| (random(state) >> 11) as f64 / (1u64 << 53) as f64)
        .sum();
    ((sum - 6.0) * NOISE_STEPS).round() as i8
}

/// `target/clips` beside the running program, wherever the build's target folder is.
fn cache_dir() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let target = program
        .ancestors()
        .find(|dir| dir.join("CACHEDIR.TAG").exists());
    target
        .map_or_else(std::env::temp_dir, Path::to_path_buf)
        .join("clips")
}

/// Written beside and renamed, so that several processes may make the same clip at once.
fn store(clip: &Clip, path: &Path) -> std::io::Result<()> {
    let mut bytes = vec![u8::from(clip.photographed)];
    for unit in &clip.units {
        bytes.extend((unit.data.len() as u32).to_be_bytes());
        bytes.extend(&unit.data);
    }
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let unfinished = path.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&unfinished, bytes)?;
    fs::rename(unfinished, path)
}

/// `None` if the file is not whole.
fn parse(config: &Config, bytes: &[u8]) -> Option<Clip> {
    let (&photographed, mut rest) = bytes.split_first()?;
    let mut units = Vec::new();
    while let Some((len, after)) = rest.split_first_chunk::<4>() {
        let (data, after) = after.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        units.push(AccessUnit {
            data: data.to_vec(),
            key: codec::is_key_frame(data),
        });
        rest = after;
    }
    let whole = rest.is_empty() && units.len() == usize::from(config.frames);
    whole.then(|| Clip {
        config: config.clone(),
        units,
        photographed: photographed != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marker::Marker;

    fn small(id: u8) -> Config {
        let encode = EncodeSettings {
            width: 320,
            height: 180,
            bitrate_bps: 300_000,
            key_interval: 5,
            ..Default::default()
        };
        Config {
            id,
            frames: 10,
            encode,
        }
    }

    fn cache(name: &str) -> PathBuf {
        cache_dir().join(format!("test_{name}_{}", std::process::id()))
    }

    #[test]
    fn every_frame_shows_its_counter_and_key_frames_are_where_they_should_be() {
        let clip = Clip::encode(&small(3)).unwrap();
        let keys: Vec<usize> = (0..10).filter(|&i| clip.units[i].key).collect();
        assert_eq!(keys, [0, 5]);
        assert_eq!(
            (
                clip.next_key_frame(0),
                clip.next_key_frame(1),
                clip.next_key_frame(6)
            ),
            (0, 5, 0)
        );
        let all: Vec<u16> = (0..10).collect();
        for (counter, picture) in clip.decode(&all).unwrap() {
            assert_eq!(
                marker::read(picture.luma()),
                Some(Marker { id: 3, counter })
            );
        }
    }

    #[test]
    fn a_clip_comes_back_from_the_cache_as_it_was() {
        let dir = cache("roundtrip");
        let made = Clip::load_from(&small(4), &dir).unwrap();
        let path = dir.join(small(4).file_name());
        let written = fs::read(&path).unwrap();
        assert_eq!(parse(&small(4), &written), Some(made.clone()));
        assert_eq!(Clip::load_from(&small(4), &dir).unwrap(), made);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_torn_cache_file_is_made_anew() {
        let dir = cache("torn");
        let made = Clip::load_from(&small(5), &dir).unwrap();
        let path = dir.join(small(5).file_name());
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert_eq!(Clip::load_from(&small(5), &dir).unwrap(), made);
        assert_eq!(fs::read(&path).unwrap(), whole);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn the_rate_is_near_what_was_asked() {
        let mut config = Config::cif(2);
        config.frames = 60;
        let clip = Clip::encode(&config).unwrap();
        let bits: usize = clip.units.iter().map(|unit| unit.data.len() * 8).sum();
        let bps = bits as f64 / 2.0;
        assert!((200_000.0..500_000.0).contains(&bps), "{bps}");
    }
}
