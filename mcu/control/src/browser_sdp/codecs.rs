//! The codec of a line of video, what agrees with it, and how it is described.

use mcu_api::codec::{H264Profile, PacketizationMode, VideoCodec};
use mcu_api::plan::{Feedback, HeaderExtensions, PictureLimits, VideoPayload};
use sip::sdp::h264::Format;
use sip::sdp::lines::{MediaLine, parameters};

/// The H.264 that is taken and sent: all browsers and terminals that have it decode that.
const H264_PARAMETERS: &str =
    "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";

/// H.264, which terminals have, too, or VP8 where that is wanted and the browser has no H.264.
pub fn choose(line: &MediaLine, vp8: bool) -> Option<VideoPayload> {
    let h264 = h264(line).map(|number| (number, VideoCodec::H264));
    let (payload_type, codec) = h264.or_else(|| {
        let mut payloads = line.payloads.iter().filter(|_| vp8);
        let found = payloads.find(|payload| payload.is("vp8", 90_000))?;
        Some((found.number, VideoCodec::Vp8))
    })?;
    Some(VideoPayload {
        payload_type,
        codec,
        rtx: rtx(line, payload_type),
    })
}

/// The H.264 type in packetization mode 1, Constrained Baseline if it is there, else another
/// Baseline.
fn h264(line: &MediaLine) -> Option<u8> {
    let candidates = line.payloads.iter().filter_map(|payload| {
        let format = payload.is("h264", VideoCodec::H264.rtp_clock_hz());
        let format = format
            .then(|| Format::parse(payload.fmtp.as_deref()))
            .flatten()?;
        let fits = format.packetization == PacketizationMode::NonInterleaved
            && format.profile() == H264Profile::ConstrainedBaseline;
        // constraint_set1_flag is what makes Baseline constrained.
        let rank = (format.profile_idc != 0x42, format.constraints & 0x40 == 0);
        fits.then_some((rank, payload.number))
    });
    let best = candidates.min_by_key(|(rank, _)| *rank);
    best.map(|(_, number)| number)
}

/// The type of retransmissions of another type (RFC 4588 §8).
fn rtx(line: &MediaLine, of: u8) -> Option<u8> {
    let found = line.payloads.iter().find(|payload| {
        let apt = payload
            .fmtp
            .as_deref()
            .map(parameters)
            .and_then(|all| all.get("apt")?.parse().ok());
        payload.is("rtx", 90_000) && apt == Some(of)
    });
    found.map(|payload| payload.number)
}

/// Name as of `a=rtpmap`, and parameters as of `a=fmtp`.
pub const fn described(codec: VideoCodec) -> (&'static str, Option<&'static str>) {
    match codec {
        VideoCodec::Vp8 => ("VP8", None),
        _ => ("H264", Some(H264_PARAMETERS)),
    }
}

/// A payload type and that of its retransmissions.
pub fn numbers(payload: VideoPayload) -> Vec<u8> {
    [Some(payload.payload_type), payload.rtx]
        .into_iter()
        .flatten()
        .collect()
}

/// What the browser decodes of VP8 (RFC 7741 §6.1). H.264 has a parameter of the same name, which adds
/// to its level.
pub fn limits(line: &MediaLine, payload: &VideoPayload) -> PictureLimits {
    let mut payloads = line.payloads.iter();
    let described = payloads.find(|known| known.number == payload.payload_type);
    let fmtp = described.and_then(|known| known.fmtp.as_deref());
    let Some(fmtp) = fmtp.filter(|_| payload.codec == VideoCodec::Vp8) else {
        return PictureLimits::default();
    };
    let parameters = parameters(fmtp);
    let number = |name: &str| {
        parameters
            .get(name)?
            .parse()
            .ok()
            .filter(|most: &u32| *most > 0)
    };
    PictureLimits {
        max_macroblocks: number("max-fs"),
        max_frame_rate: number("max-fr").map(|most| u8::try_from(most).unwrap_or(u8::MAX)),
    }
}

/// The messages that a line offers and we know.
pub fn feedback(line: &MediaLine, payload_type: u8, extensions: HeaderExtensions) -> Feedback {
    let offers = |feedback| line.offers_feedback(payload_type, feedback);
    Feedback {
        nack: offers("nack"),
        pli: offers("nack pli"),
        fir: offers("ccm fir"),
        transport_cc: extensions.transport_cc != 0 && offers("transport-cc"),
        // Transport feedback tells more.
        tmmbr: false,
        remb: false,
    }
}
