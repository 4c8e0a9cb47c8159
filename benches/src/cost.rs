//! What the codecs alone cost for a composition: the yardstick that a server is measured by.

use std::sync::Arc;
use std::time::Duration;

use ffmpeg_next::format::Pixel;
use ffmpeg_next::frame;
use ffmpeg_next::software::scaling;

use crate::clip::{Clip, ClipError};
use crate::codec::{CodecError, Decoder, EncodeSettings, Encoder, Library};
use crate::picture::{Picture, Rect, ScaleError};
use crate::process::cpu_of_thread;

/// CPU seconds per second of media, each on one thread with nothing else to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct CodecCost {
    /// libavcodec, all streams.
    pub decode: f64,
    /// libswscale by area averaging, all tiles.
    pub scale: f64,
    /// OpenH264 at low complexity, one class.
    pub encode: f64,
}

impl CodecCost {
    /// Cores that the codecs need.
    pub fn total(&self) -> f64 {
        self.decode + self.scale + self.encode
    }

    /// The same sources, shown in so many compositions like this one.
    pub fn for_compositions(self, compositions: f64) -> Self {
        Self {
            decode: self.decode,
            scale: self.scale * compositions,
            encode: self.encode * compositions,
        }
    }
}

/// Decodes each clip, scales each frame into its tile and encodes the composition, once through the
/// shortest clip, and counts the CPU time of nothing but these three.
pub fn of_composition(
    sources: &[(Arc<Clip>, Rect)],
    canvas: EncodeSettings,
) -> Result<CodecCost, ClipError> {
    let frames = sources
        .iter()
        .map(|(clip, _)| clip.units.len())
        .min()
        .unwrap_or(0);
    let mut composed = vec![Picture::new(canvas.width, canvas.height); frames];
    let (mut decode, mut scale, mut encode) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for (clip, rect) in sources {
        decode += decode_only(clip, frames)?;
        scale += scale_into(clip, *rect, &mut composed)?;
    }
    let mut encoder = Encoder::new(Library::OpenH264, canvas)?;
    for picture in &composed {
        let before = cpu_of_thread();
        encoder.encode(picture, false)?;
        encode += cpu_of_thread() - before;
    }
    let seconds = frames.max(1) as f64 / f64::from(canvas.frame_rate.max(1));
    Ok(CodecCost {
        decode: decode.as_secs_f64() / seconds,
        scale: scale.as_secs_f64() / seconds,
        encode: encode.as_secs_f64() / seconds,
    })
}

fn decode_only(clip: &Clip, frames: usize) -> Result<Duration, CodecError> {
    let mut decoder = Decoder::h264()?;
    let before = cpu_of_thread();
    for unit in clip.units.iter().take(frames) {
        decoder.decode_frames(&unit.data, |_| Ok(()))?;
    }
    Ok(cpu_of_thread() - before)
}

fn scale_into(clip: &Clip, rect: Rect, composed: &mut [Picture]) -> Result<Duration, CodecError> {
    let size = (
        clip.config.encode.width as u32,
        clip.config.encode.height as u32,
    );
    let (width, height) = (rect.width as u32, rect.height as u32);
    let (format, flags) = (Pixel::YUV420P, scaling::Flags::AREA);
    let mut scaler = scaling::Context::get(format, size.0, size.1, format, width, height, flags)
        .map_err(ScaleError::from)?;
    let mut tile = frame::Video::new(format, width, height);
    let mut decoder = Decoder::h264()?;
    let mut spent = Duration::ZERO;
    for (unit, canvas) in clip.units.iter().zip(composed) {
        decoder.decode_frames(&unit.data, |frame| {
            let before = cpu_of_thread();
            scaler.run(frame, &mut tile).map_err(ScaleError::from)?;
            spent += cpu_of_thread() - before;
            canvas.paste(&Picture::from_frame(&tile)?, rect.x, rect.y);
            Ok(())
        })?;
    }
    Ok(spent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clip::Config;

    #[test]
    fn each_part_costs_something_and_the_total_is_their_sum() {
        let small = EncodeSettings {
            width: 320,
            height: 180,
            bitrate_bps: 300_000,
            ..EncodeSettings::default()
        };
        let clip = Clip::encode(&Config {
            id: 1,
            frames: 4,
            encode: small,
        })
        .unwrap();
        let rect = Rect {
            x: 160,
            y: 90,
            width: 160,
            height: 90,
        };
        let cost = of_composition(&[(Arc::new(clip), rect)], small).unwrap();
        assert!(
            cost.decode > 0.0 && cost.scale > 0.0 && cost.encode > 0.0,
            "{cost:?}"
        );
        assert_eq!(cost.total(), cost.decode + cost.scale + cost.encode);
        assert_eq!(of_composition(&[], small).unwrap().total(), 0.0);
    }
}
