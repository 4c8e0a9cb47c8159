//! Encoders, one a class.

use mcu_api::codec::{VideoClass, VideoCodec};
use mcu_rtp::h263::Split;

use super::colour::Colour;
use super::frame::Frame;
use super::{av_encoder, open_h264};

/// An encoder that cannot be had, or a picture that cannot be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Odd, empty or beyond what the codec has.
    #[error("no encoder for pictures of {width}x{height}")]
    ClassSize {
        /// Width in samples.
        width: u16,
        /// Height in samples.
        height: u16,
    },
    /// Not of the encoder's size.
    #[error("a picture of {width}x{height} does not fit the encoder")]
    FrameSize {
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
    },
    /// libavcodec failed.
    #[error("libavcodec: {0}")]
    Avcodec(#[from] ffmpeg_next::Error),
    /// OpenH264 failed.
    #[error("OpenH264: {call} answered {code}")]
    OpenH264 {
        /// What was called.
        call: &'static str,
        /// Its answer.
        code: i32,
    },
}

/// One encoded picture.
#[derive(Clone, Copy, Debug)]
pub struct AccessUnit<'a> {
    /// Of H.264 NAL units in Annex B format, each after a four-byte start code; a key frame begins with
    /// SPS and PPS. Else the picture's bits.
    pub bytes: &'a [u8],
    /// It can be decoded without those before it.
    pub key: bool,
    /// Macroblocks at which packets may begin, of H.263 for RFC 2190.
    pub splits: &'a [Split],
    /// No later picture builds on it.
    pub droppable: bool,
}

/// Encodes one class on the caller's thread.
pub enum Encoder {
    /// H.264.
    OpenH264(Box<open_h264::Encoder>),
    /// All else.
    Avcodec(Box<av_encoder::Encoder>),
}

impl Encoder {
    /// An encoder for pictures of the class's size, whose samples mean `colour`.
    pub fn new(class: &VideoClass, colour: Colour) -> Result<Self, EncodeError> {
        Self::with_layers(class, colour, false)
    }

    /// The same. `layered`, of H.264 alone: of two pictures one is droppable.
    pub fn with_layers(
        class: &VideoClass,
        colour: Colour,
        layered: bool,
    ) -> Result<Self, EncodeError> {
        Ok(match class.codec {
            VideoCodec::H264 => {
                let encoder = open_h264::Encoder::new(class, colour, layered)?;
                Self::OpenH264(Box::new(encoder))
            }
            _ => Self::Avcodec(Box::new(av_encoder::Encoder::new(class)?)),
        })
    }

    /// Encodes one picture. `None`: the rate control left it out.
    pub fn encode(&mut self, frame: &Frame) -> Result<Option<AccessUnit<'_>>, EncodeError> {
        match self {
            Self::OpenH264(encoder) => encoder.encode(frame),
            Self::Avcodec(encoder) => encoder.encode(frame),
        }
    }

    /// Whether of two pictures one is droppable.
    pub fn is_layered(&self) -> bool {
        match self {
            Self::OpenH264(encoder) => encoder.is_layered(),
            Self::Avcodec(_) => false,
        }
    }

    /// Makes the next picture a key frame.
    pub fn force_key_frame(&mut self) {
        match self {
            Self::OpenH264(encoder) => encoder.force_key_frame(),
            Self::Avcodec(encoder) => encoder.force_key_frame(),
        }
    }
}
