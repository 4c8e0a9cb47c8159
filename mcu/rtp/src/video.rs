//! Video over RTP, whatever the codec: packets into pictures, pictures into packets, and what packets
//! tell without a decoder.

mod depacketize;

use mcu_api::codec::{PacketizationMode, VideoCodec};

pub(crate) use depacketize::MAX_ACCESS_UNIT;
pub use depacketize::{AccessUnit, Depacketizer};

use crate::{h261, h263, h264, vp8};

/// Finds where a stream may be joined. See [`h264::KeyFrameStarts`].
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyFrameStarts {
    h264: h264::KeyFrameStarts,
}

impl KeyFrameStarts {
    /// Whether a receiver may be switched to the stream at this packet.
    pub fn starts(&mut self, codec: VideoCodec, payload: &[u8]) -> bool {
        match codec {
            VideoCodec::H264 => self.h264.starts(payload),
            VideoCodec::H263 => h263::picture(payload).is_some_and(|picture| picture.intra),
            VideoCodec::H263Plus => h263::plus_picture(payload).is_some_and(|p| p.intra),
            // None says for sure that it refers to no other: what is missing comes within 132 pictures.
            VideoCodec::H261 => h261::picture(payload).is_some(),
            VideoCodec::Vp8 => vp8::is_key_frame(payload),
        }
    }
}

/// Width and height of the picture that begins in this payload, where it tells.
pub fn picture_size(codec: VideoCodec, payload: &[u8]) -> Option<(u32, u32)> {
    match codec {
        VideoCodec::H264 => h264::find_sps(payload).map(|sps| (sps.width, sps.height)),
        VideoCodec::H263 => h263::picture(payload)?.size,
        VideoCodec::H263Plus => h263::plus_picture(payload)?.size,
        VideoCodec::H261 => h261::picture(payload).map(|picture| (picture.width, picture.height)),
        VideoCodec::Vp8 => vp8::picture_size(payload),
    }
}

/// Part of a picture did not fit a packet and was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Oversized {
    /// Of H.264.
    #[error(transparent)]
    H264(#[from] h264::Oversized),
    /// Of H.261.
    #[error(transparent)]
    H261(#[from] h261::Oversized),
}

/// Cuts encoded pictures into payloads.
#[derive(Debug)]
pub enum Packetizer {
    /// RFC 6184.
    H264(h264::Packetizer),
    /// RFC 2190.
    H263,
    /// RFC 4629.
    H263Plus,
    /// RFC 4587.
    H261,
    /// RFC 7741.
    Vp8(vp8::Packetizer),
}

impl Packetizer {
    /// A packetizer of this codec; `mode` is of H.264 alone.
    pub fn new(codec: VideoCodec, mode: PacketizationMode) -> Self {
        match codec {
            VideoCodec::H264 => Self::H264(h264::Packetizer::new(mode)),
            VideoCodec::H263 => Self::H263,
            VideoCodec::H263Plus => Self::H263Plus,
            VideoCodec::H261 => Self::H261,
            VideoCodec::Vp8 => Self::Vp8(vp8::Packetizer::default()),
        }
    }

    /// Calls `emit(payload, marker)` for each payload of a picture, in order; the marker is on the last.
    /// `splits` are of H.263 alone.
    ///
    /// # Errors
    /// If a part did not fit; everything else was emitted.
    pub fn packetize(
        &mut self,
        picture: &[u8],
        splits: &[h263::Split],
        emit: impl FnMut(&[u8], bool),
    ) -> Result<(), Oversized> {
        match self {
            Self::H264(packetizer) => packetizer.packetize(picture, emit)?,
            Self::H263 => h263::packetize(picture, splits, emit),
            Self::H263Plus => h263::packetize_plus(picture, emit),
            Self::H261 => h261::packetize(picture, emit)?,
            Self::Vp8(packetizer) => packetizer.packetize(picture, emit),
        }
        Ok(())
    }
}
