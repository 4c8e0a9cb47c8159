//! Codecs and their parameters, in the terms of SDP and of the RTP payload formats.

use serde::{Deserialize, Serialize};

/// An audio codec with the parameters that change its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AudioCodec {
    /// G.711 µ-law, RFC 3551 §4.5.14. Static payload type 0.
    Pcmu,
    /// G.711 A-law, RFC 3551 §4.5.14. Static payload type 8.
    Pcma,
    /// G.722 at 64 kbit/s. Its RTP clock is 8000 although it samples at 16000, RFC 3551 §4.5.2.
    G722,
    /// Opus, RFC 7587.
    Opus,
    /// G.722.1, RFC 5577.
    G7221 {
        /// 24,000 or 32,000 bit/s.
        bitrate_bps: u32,
    },
    /// G.722.1 Annex C, RFC 5577.
    G7221C {
        /// 24,000, 32,000 or 48,000 bit/s.
        bitrate_bps: u32,
    },
    /// G.729, with or without its Annexes A and B, RFC 3551 §4.5.6. Static payload type 18.
    G729,
    /// Linear samples of 16 bits at 16 kHz, most significant byte first, RFC 3551 §4.5.11.
    L16,
}

impl AudioCodec {
    /// RTP clock rate in Hz.
    pub const fn rtp_clock_hz(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 | Self::G729 => 8_000,
            Self::L16 | Self::G7221 { .. } => 16_000,
            Self::G7221C { .. } => 32_000,
            Self::Opus => 48_000,
        }
    }

    /// Samples per second and channel that the decoder yields and the encoder takes.
    pub const fn sample_rate_hz(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma | Self::G729 => 8_000,
            Self::G722 | Self::L16 | Self::G7221 { .. } => 16_000,
            Self::G7221C { .. } => 32_000,
            Self::Opus => 48_000,
        }
    }
}

/// A video codec, with the RTP payload that carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VideoCodec {
    /// H.264, RTP payload of RFC 6184.
    #[default]
    H264,
    /// H.263 in the payload of RFC 2190: `H263`, static payload type 34.
    H263,
    /// H.263 in the payload of RFC 4629: `H263-1998` and `H263-2000`.
    H263Plus,
    /// H.261, RTP payload of RFC 4587, static payload type 31.
    H261,
    /// VP8, RTP payload of RFC 7741.
    Vp8,
}

impl VideoCodec {
    /// RTP clock rate in Hz.
    pub const fn rtp_clock_hz(self) -> u32 {
        90_000
    }
}

/// The H.264 profiles that are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum H264Profile {
    /// `profile-level-id` 42e0xx.
    ConstrainedBaseline,
    /// `profile-level-id` 6400xx or 640cxx.
    High,
}

/// RTP packetization of H.264, RFC 6184 §6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PacketizationMode {
    /// Mode 0: one NAL unit a packet, so slices must fit a packet.
    SingleNal,
    /// Mode 1: STAP-A and FU-A allowed.
    NonInterleaved,
}

/// Everything that makes two encoders of one room differ. Legs with equal classes share one encoder.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VideoClass {
    /// The codec. Profile, level and packetization are H.264's and say nothing of the others.
    #[serde(default)]
    pub codec: VideoCodec,
    /// Picture width in luma samples, even.
    pub width: u16,
    /// Picture height in luma samples, even.
    pub height: u16,
    /// Frames per second.
    pub frame_rate: u8,
    /// Target rate in bit/s, without RTP overhead.
    pub bitrate_bps: u32,
    /// H.264 profile.
    pub profile: H264Profile,
    /// `level_idc`: ten times the level, 31 is level 3.1.
    pub level_idc: u8,
    /// How NAL units are put in packets.
    pub packetization: PacketizationMode,
}
