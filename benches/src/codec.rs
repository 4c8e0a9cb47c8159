//! The codecs that a bench needs itself, independent of the server's: H.264 both ways, Opus, G.722.

use ffmpeg_next as av;
use openh264::encoder::{
    BitRate, Complexity, EncoderConfig, FrameRate, IntraFramePeriod, RateControlMode, UsageType,
};
use openh264::formats::YUVSlices;
use openh264::{OpenH264API, Timestamp};

use crate::picture::{Picture, ScaleError};

/// Which library encodes H.264.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// libx264 through libavcodec, where the distribution has it.
    X264,
    /// OpenH264, always there.
    OpenH264,
}

/// How to encode. The profile is constrained baseline: what every terminal sends and takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EncodeSettings {
    /// Width in luma samples, even.
    pub width: usize,
    /// Height in luma samples, even.
    pub height: usize,
    /// Frames per second.
    pub frame_rate: u32,
    /// Target in bit/s.
    pub bitrate_bps: u32,
    /// Frames from one key frame to the next; 0 is for OpenH264 none but the first.
    pub key_interval: u32,
    /// Longest slice in bytes, for packetization mode 0; `None` is one slice a frame.
    pub slice_len_max: Option<u32>,
    /// OpenH264 may leave frames out, without which it does not hold its rate. x264 never does.
    pub may_skip: bool,
}

impl Default for EncodeSettings {
    /// 1280×720 at 30 frames/s and 1.5 Mbit/s, a key frame every 2 s.
    fn default() -> Self {
        Self {
            width: 1280,
            height: 720,
            frame_rate: 30,
            bitrate_bps: 1_500_000,
            key_interval: 60,
            slice_len_max: None,
            may_skip: false,
        }
    }
}

/// Why a codec did not do it.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The library is not there, or was built without it.
    #[error("no codec {0} on this machine")]
    Missing(&'static str),
    /// libavcodec refused.
    #[error("libavcodec: {0}")]
    Av(#[from] av::Error),
    /// OpenH264 refused.
    #[error("openh264: {0}")]
    OpenH264(#[from] openh264::Error),
    /// The server's coder cannot be had.
    #[error(transparent)]
    Server(#[from] mcu_media::audio::OpenError),
    /// libopus refused.
    #[error("opus: {0}")]
    Opus(#[from] opus::Error),
    /// A decoded picture was in a format that could not be converted.
    #[error(transparent)]
    Scale(#[from] ScaleError),
}

/// Readies libavcodec. What a damaged stream provokes is counted by whoever asks, not printed.
pub(crate) fn init() -> Result<(), av::Error> {
    av::init()?;
    av::log::set_level(av::log::Level::Quiet);
    Ok(())
}

/// An H.264 encoder without delay: each picture in gives one access unit out.
pub struct Encoder {
    inner: EncoderKind,
    next_pts: i64,
    frame_rate: u64,
}

enum EncoderKind {
    Av(av::encoder::Video),
    OpenH264(Box<openh264::encoder::Encoder>),
}

impl Encoder {
    /// Opens an encoder of one thread.
    pub fn new(library: Library, settings: EncodeSettings) -> Result<Self, CodecError> {
        let inner = match library {
            Library::X264 => EncoderKind::Av(open_x264(settings)?),
            Library::OpenH264 => EncoderKind::OpenH264(Box::new(open_openh264(settings)?)),
        };
        let frame_rate = settings.frame_rate.max(1).into();
        Ok(Self {
            inner,
            next_pts: 0,
            frame_rate,
        })
    }

    /// libx264 if it is there, OpenH264 otherwise.
    pub fn best(settings: EncodeSettings) -> Result<Self, CodecError> {
        Self::new(Library::X264, settings).or_else(|_| Self::new(Library::OpenH264, settings))
    }

    /// One access unit in Annex B form; empty if the encoder skipped the frame to hold its rate.
    pub fn encode(&mut self, picture: &Picture, key: bool) -> Result<Vec<u8>, CodecError> {
        let pts = self.next_pts;
        self.next_pts += 1;
        match &mut self.inner {
            EncoderKind::Av(encoder) => {
                let mut frame = picture.to_frame();
                frame.set_pts(Some(pts));
                if key {
                    frame.set_kind(av::picture::Type::I);
                }
                encoder.send_frame(&frame)?;
                let mut packet = av::Packet::empty();
                match encoder.receive_packet(&mut packet) {
                    Ok(()) => Ok(packet.data().unwrap_or_default().to_vec()),
                    Err(av::Error::Other {
                        errno: libc::EAGAIN,
                    }) => Ok(Vec::new()),
                    Err(error) => Err(error.into()),
                }
            }
            EncoderKind::OpenH264(encoder) => {
                if key {
                    encoder.force_intra_frame();
                }
                let (width, half) = (picture.width(), picture.width() / 2);
                let slices = YUVSlices::new(
                    (&picture.y, &picture.u, &picture.v),
                    (width, picture.height()),
                    (width, half, half),
                );
                let ms = pts as u64 * 1000 / self.frame_rate;
                Ok(encoder
                    .encode_at(&slices, Timestamp::from_millis(ms))?
                    .to_vec())
            }
        }
    }
}

fn open_x264(settings: EncodeSettings) -> Result<av::encoder::Video, CodecError> {
    init()?;
    let codec = av::encoder::find_by_name("libx264").ok_or(CodecError::Missing("libx264"))?;
    let mut video = av::codec::Context::new_with_codec(codec)
        .encoder()
        .video()?;
    video.set_width(settings.width as u32);
    video.set_height(settings.height as u32);
    video.set_format(av::format::Pixel::YUV420P);
    video.set_time_base((1, settings.frame_rate as i32));
    video.set_frame_rate(Some((settings.frame_rate as i32, 1)));
    video.set_bit_rate(settings.bitrate_bps as usize);
    video.set_max_bit_rate(settings.bitrate_bps as usize);
    video.set_gop(settings.key_interval);
    video.set_max_b_frames(0);
    video.set_threading(av::threading::Config::count(1));
    let buffer_kbit = settings.bitrate_bps / 1000;
    let slices = settings
        .slice_len_max
        .map(|len| format!(":slice-max-size={len}"));
    let params = format!(
        "keyint={0}:min-keyint={0}:scenecut=0:vbv-bufsize={buffer_kbit}{1}",
        settings.key_interval,
        slices.unwrap_or_default(),
    );
    let mut options = av::Dictionary::new();
    options.set("preset", "veryfast");
    options.set("tune", "zerolatency");
    options.set("profile", "baseline");
    options.set("forced-idr", "1");
    options.set("x264-params", &params);
    Ok(video.open_with(options)?)
}

fn open_openh264(settings: EncodeSettings) -> Result<openh264::encoder::Encoder, CodecError> {
    let mut config = EncoderConfig::new()
        .bitrate(BitRate::from_bps(settings.bitrate_bps))
        .max_frame_rate(FrameRate::from_hz(settings.frame_rate as f32))
        .usage_type(UsageType::CameraVideoRealTime)
        .rate_control_mode(RateControlMode::Bitrate)
        .complexity(Complexity::Low)
        .intra_frame_period(IntraFramePeriod::from_num_frames(settings.key_interval))
        .scene_change_detect(false)
        .skip_frames(settings.may_skip)
        .num_threads(1);
    if let Some(len) = settings.slice_len_max {
        config = config.max_slice_len(len);
    }
    Ok(openh264::encoder::Encoder::with_api_config(
        OpenH264API::from_source(),
        config,
    )?)
}

/// An H.264 decoder of libavcodec, one thread, without delay.
pub struct Decoder {
    inner: av::decoder::Opened,
}

impl Decoder {
    /// Opens one.
    pub fn h264() -> Result<Self, CodecError> {
        init()?;
        let codec = av::decoder::find(av::codec::Id::H264).ok_or(CodecError::Missing("h264"))?;
        let mut context = av::codec::Context::new_with_codec(codec);
        context.set_flags(av::codec::Flags::LOW_DELAY);
        context.set_threading(av::threading::Config::count(1));
        Ok(Self {
            inner: context.decoder().open_as(codec)?,
        })
    }

    /// Decodes one access unit in Annex B form. Nothing comes out while a key frame is missing.
    pub fn decode(&mut self, access_unit: &[u8]) -> Result<Vec<Picture>, CodecError> {
        let mut pictures = Vec::new();
        self.decode_frames(access_unit, |frame| {
            pictures.push(Picture::from_frame(frame)?);
            Ok(())
        })?;
        Ok(pictures)
    }

    /// As [`Self::decode`], without copying the pictures.
    pub fn decode_frames(
        &mut self,
        access_unit: &[u8],
        mut each: impl FnMut(&av::frame::Video) -> Result<(), CodecError>,
    ) -> Result<(), CodecError> {
        if access_unit.is_empty() {
            return Ok(());
        }
        self.inner.send_packet(&av::Packet::copy(access_unit))?;
        let mut frame = av::frame::Video::empty();
        while self.inner.receive_frame(&mut frame).is_ok() {
            each(&frame)?;
        }
        Ok(())
    }
}

/// NAL units of an Annex B byte stream, without start codes.
pub fn nal_units(annex_b: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = annex_b;
    std::iter::from_fn(move || {
        let start = start_code(rest)? + 3;
        rest = rest.get(start..)?;
        let end = start_code(rest).unwrap_or(rest.len());
        let nal = &rest[..end];
        // The fourth byte of a long start code, and trailing zeros, belong to no NAL unit.
        let len = nal.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
        rest = &rest[end..];
        Some(&nal[..len])
    })
    .filter(|nal| !nal.is_empty())
}

fn start_code(bytes: &[u8]) -> Option<usize> {
    bytes.windows(3).position(|w| w == [0, 0, 1])
}

/// Whether an access unit holds an IDR picture.
pub fn is_key_frame(annex_b: &[u8]) -> bool {
    nal_units(annex_b).any(|nal| nal[0] & 0x1f == 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nal_units_are_cut_at_long_and_short_start_codes() {
        let stream = [
            0, 0, 0, 1, 0x67, 1, 2, 0, 0, 1, 0x68, 3, 0, 0, 0, 1, 0x65, 0, 9,
        ];
        let units: Vec<&[u8]> = nal_units(&stream).collect();
        assert_eq!(units, [&[0x67, 1, 2][..], &[0x68, 3], &[0x65, 0, 9]]);
        assert!(is_key_frame(&stream));
        assert_eq!(nal_units(&[0, 0, 1]).count(), 0);
        assert_eq!(nal_units(b"no start code").count(), 0);
    }

    #[test]
    fn every_encoder_gives_constrained_baseline_and_key_frames_when_asked() {
        let settings = EncodeSettings {
            width: 176,
            height: 144,
            slice_len_max: Some(900),
            ..Default::default()
        };
        for library in [Library::X264, Library::OpenH264] {
            let Ok(mut encoder) = Encoder::new(library, settings) else {
                continue;
            };
            let picture = Picture::new(176, 144);
            let first = encoder.encode(&picture, true).unwrap();
            let sps = nal_units(&first).find(|nal| nal[0] & 0x1f == 7).unwrap();
            assert_eq!(sps[1], 66, "profile_idc of {library:?}");
            assert_eq!(sps[2] & 0x40, 0x40, "constraint_set1_flag of {library:?}");
            assert!(!is_key_frame(&encoder.encode(&picture, false).unwrap()));
            assert!(is_key_frame(&encoder.encode(&picture, true).unwrap()));
        }
    }
}
