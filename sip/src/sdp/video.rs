//! The choice among the video formats of a line.

use std::cmp::Reverse;

use mcu_api::codec::{PacketizationMode, VideoClass, VideoCodec};
use mcu_api::plan::Feedback;
use serde::{Deserialize, Serialize};

use super::lines::{MediaLine, Payload, parameters};
use super::{LocalVideo, cif, h264};

/// The H.264 types that we offer: number, `profile_idc`, `profile-iop`, mode.
pub(super) const VIDEO_TYPES: [(u8, u8, u8, PacketizationMode); 3] = [
    (96, 0x42, 0xe0, PacketizationMode::NonInterleaved),
    (97, 0x64, 0x00, PacketizationMode::NonInterleaved),
    (98, 0x42, 0xe0, PacketizationMode::SingleNal),
];

/// Payload types of their retransmissions, and what they repeat.
pub(super) const RTX_TYPES: [(u8, u8); 2] = [(120, 96), (121, 97)];

/// The others, where they are offered at all, best first.
pub(super) const LEGACY_TYPES: [(u8, VideoCodec); 3] = [
    (99, VideoCodec::H263Plus),
    (34, VideoCodec::H263),
    (31, VideoCodec::H261),
];

/// One payload type of video as its `a=fmtp` describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Format {
    /// H.264.
    H264(h264::Format),
    /// H.261 and H.263.
    Cif(cif::Format),
}

impl Format {
    /// Its codec.
    pub const fn codec(&self) -> VideoCodec {
        match self {
            Self::H264(_) => VideoCodec::H264,
            Self::Cif(format) => format.codec,
        }
    }

    /// Its RTP packetization; of H.264 alone.
    pub const fn packetization(&self) -> PacketizationMode {
        match self {
            Self::H264(format) => format.packetization,
            Self::Cif(_) => PacketizationMode::SingleNal,
        }
    }

    fn max_bitrate_bps(&self) -> u64 {
        match self {
            Self::H264(format) => format.limits.bitrate_bps,
            Self::Cif(format) => format.max_bitrate_bps.unwrap_or(u32::MAX).into(),
        }
    }

    fn class(&self, local: &LocalVideo, bandwidth_bps: u64) -> Option<VideoClass> {
        match self {
            Self::H264(format) => format.class(local, bandwidth_bps),
            Self::Cif(format) => format.class(local, bandwidth_bps),
        }
    }

    /// Classes of less tall pictures, where the peer's limits differ by size.
    fn smaller(&self, local: &LocalVideo, bandwidth_bps: u64) -> Vec<VideoClass> {
        match self {
            Self::H264(_) => Vec::new(),
            Self::Cif(format) => format.smaller(local, bandwidth_bps),
        }
    }

    /// Name, as of `a=rtpmap`, and the `a=fmtp` parameters that declare what we take.
    pub(super) fn described(&self, local: &LocalVideo) -> (&'static str, String) {
        match self {
            Self::H264(format) => ("H264", format.our_parameters(local)),
            Self::Cif(format) => (format.encoding(), format.our_parameters(local)),
        }
    }

    /// Whether both mean the same bits in the same packets.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::H264(a), Self::H264(b)) => {
                (a.profile_idc, a.packetization) == (b.profile_idc, b.packetization)
            }
            _ => self.codec() == other.codec(),
        }
    }

    /// The better codec at any rate is the larger.
    const fn rank(&self) -> u8 {
        match self.codec() {
            VideoCodec::H261 => 0,
            VideoCodec::H263 => 1,
            VideoCodec::H263Plus => 2,
            _ => 3,
        }
    }
}

/// What is sent in place of a class where no taller picture is wanted: one of the `smaller` that were
/// agreed on with it, else less in each respect, so that whoever takes the one takes the other.
pub fn at_most(class: &VideoClass, smaller: &[VideoClass], max_height: Option<u16>) -> VideoClass {
    let most = max_height.unwrap_or(u16::MAX);
    match class.codec {
        _ if class.height <= most => class.clone(),
        VideoCodec::H261 | VideoCodec::H263 | VideoCodec::H263Plus => {
            cif::at_most(class, smaller, most)
        }
        _ => h264::at_most(class, most),
    }
}

/// What a line offers that we take.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Choice {
    pub payload_type: u8,
    pub format: Format,
    /// What to send; `None` if the limits allow nothing.
    pub class: Option<VideoClass>,
    /// What may be sent in its place.
    pub smaller: Vec<VideoClass>,
    /// Most that may be sent, in bit/s.
    pub max_bitrate_bps: u32,
    pub feedback: Feedback,
    /// Payload type of its retransmissions (RFC 4588), where they are asked for by NACK.
    pub rtx: Option<u8>,
}

/// The best payload type: one that something can be sent to, H.264 before H.263 before H.261,
/// packetization mode 1 before 0, then the larger and faster picture that its limits allow, then the
/// offer's order. `session_bps` is what the session's `b=` leaves
/// for video.
pub(super) fn choose(
    line: &MediaLine,
    local: &LocalVideo,
    session_bps: Option<u64>,
) -> Option<Choice> {
    let bandwidth = line
        .bandwidth_bps
        .into_iter()
        .chain(session_bps)
        .min()
        .unwrap_or(u64::MAX);
    let formats = line
        .payloads
        .iter()
        .filter_map(|payload| Some((payload.number, format(payload)?)))
        .filter(|(_, format)| local.legacy || format.codec() == VideoCodec::H264);
    let choices = formats.map(|(payload_type, format)| {
        let bound = bandwidth
            .min(format.max_bitrate_bps())
            .min(local.max_bitrate_bps.into());
        Choice {
            payload_type,
            format,
            class: format.class(local, bandwidth),
            smaller: format.smaller(local, bandwidth),
            max_bitrate_bps: u32::try_from(bound).unwrap_or(u32::MAX),
            feedback: Feedback::default(),
            rtx: None,
        }
    });
    let mut best = choices.min_by_key(|choice| Reverse(merit(choice)))?;
    best.feedback = feedback(line, best.payload_type);
    best.rtx = rtx(line, best.payload_type).filter(|_| best.feedback.nack);
    Some(best)
}

/// The parameters of a payload type, if it is one of ours.
pub(super) fn format(payload: &Payload) -> Option<Format> {
    let encoding = payload.encoding.as_ref()?;
    (encoding.clock_hz == VideoCodec::H264.rtp_clock_hz()).then_some(())?;
    let fmtp = payload.fmtp.as_deref();
    let (codec, is_2000) = match encoding.name.as_str() {
        "h264" => return h264::Format::parse(fmtp).map(Format::H264),
        "h263" => (VideoCodec::H263, false),
        "h263-1998" => (VideoCodec::H263Plus, false),
        "h263-2000" => (VideoCodec::H263Plus, true),
        "h261" => (VideoCodec::H261, false),
        _ => return None,
    };
    cif::Format::parse(codec, is_2000, fmtp).map(Format::Cif)
}

/// The messages that a line offers and we know. Terminals offer and use them under RTP/AVP too.
fn feedback(line: &MediaLine, payload_type: u8) -> Feedback {
    let offers = |feedback| line.offers_feedback(payload_type, feedback);
    Feedback {
        nack: offers("nack"),
        pli: offers("nack pli"),
        fir: offers("ccm fir"),
        transport_cc: false,
        tmmbr: offers("ccm tmmbr"),
        remb: offers("goog-remb"),
    }
}

/// The payload type by which packets of another are sent again (RFC 4588 §8.1).
fn rtx(line: &MediaLine, payload_type: u8) -> Option<u8> {
    let mut payloads = line.payloads.iter();
    let found = payloads.find(|known| {
        let of = known.fmtp.as_deref().map(parameters);
        let of = of.and_then(|parameters| parameters.get("apt")?.parse().ok());
        known.is("rtx", VideoCodec::H264.rtp_clock_hz()) && of == Some(payload_type)
    })?;
    Some(found.number)
}

fn merit(choice: &Choice) -> (bool, u8, bool, u32) {
    let pixels_a_second = choice.class.as_ref().map_or(0, |class| {
        u32::from(class.width) * u32::from(class.height) * u32::from(class.frame_rate)
    });
    (
        choice.class.is_some(),
        choice.format.rank(),
        choice.format.packetization() == PacketizationMode::NonInterleaved,
        pixels_a_second,
    )
}
