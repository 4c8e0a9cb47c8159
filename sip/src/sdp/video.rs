//! The choice among the video formats of a line.

use std::cmp::Reverse;

use mcu_api::codec::{PacketizationMode, VideoClass, VideoCodec};
use mcu_api::plan::Feedback;

use super::LocalVideo;
use super::h264::Format;
use super::lines::{MediaLine, Payload};

/// What a line offers that we take.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Choice {
    pub payload_type: u8,
    pub format: Format,
    /// What to send; `None` if the limits allow nothing.
    pub class: Option<VideoClass>,
    /// Most that may be sent, in bit/s.
    pub max_bitrate_bps: u32,
    pub feedback: Feedback,
}

/// The best H.264 payload type: packetization mode 1 before 0, then the larger and faster picture
/// that its limits allow, then the offer's order. `session_bps` is what the session's `b=` leaves
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
        .filter_map(|payload| Some((payload.number, format(payload)?)));
    let choices = formats.map(|(payload_type, format)| {
        let bound = bandwidth
            .min(format.limits.bitrate_bps)
            .min(local.max_bitrate_bps.into());
        Choice {
            payload_type,
            format,
            class: format.class(local, bandwidth),
            max_bitrate_bps: u32::try_from(bound).unwrap_or(u32::MAX),
            feedback: Feedback::default(),
        }
    });
    let mut best = choices.min_by_key(|choice| Reverse(merit(choice)))?;
    best.feedback = feedback(line, best.payload_type);
    Some(best)
}

/// The parameters of a payload type, if it is H.264 as we know it.
pub(super) fn format(payload: &Payload) -> Option<Format> {
    let h264 = payload.is("h264", VideoCodec::H264.rtp_clock_hz());
    h264.then(|| Format::parse(payload.fmtp.as_deref()))
        .flatten()
}

/// The messages that a line offers and we know. Terminals offer and use them under RTP/AVP too.
fn feedback(line: &MediaLine, payload_type: u8) -> Feedback {
    let offers = |feedback| line.offers_feedback(payload_type, feedback);
    Feedback {
        nack: offers("nack"),
        pli: offers("nack pli"),
        fir: offers("ccm fir"),
        transport_cc: false,
    }
}

fn merit(choice: &Choice) -> (bool, u32) {
    let pixels_a_second = choice.class.as_ref().map_or(0, |class| {
        u32::from(class.width) * u32::from(class.height) * u32::from(class.frame_rate)
    });
    (
        choice.format.packetization == PacketizationMode::NonInterleaved,
        pixels_a_second,
    )
}
