//! The choice among the sound formats of a line.

use mcu_api::codec::AudioCodec;

use super::lines::{MediaLine, Payload, parameters};
use super::{CodecOrder, LocalAudio, TelephoneEvent};

/// Rate of G.711 and G.722 in bit/s, and of G.729.
const FIXED_BPS: u32 = 64_000;
const G729_BPS: u32 = 8_000;
/// Rate of L16 at 16 kHz, and the packet times of it that fit a datagram: 30 ms are 960 bytes.
const L16_BPS: u32 = 256_000;
const L16_PTIMES_MS: [u8; 3] = [30, 20, 10];
/// Range of Opus, RFC 6716 §2.1.1.
const OPUS_BPS: std::ops::RangeInclusive<u32> = 6_000..=510_000;
/// Packet time unless the peer wishes otherwise, RFC 3551 §4.2.
const PTIME_MS: u8 = 20;
/// Packet times that are sent. Opus has a frame of each (RFC 6716 §2.1.4: 10, 20, 40 and 60 ms);
/// the others fill any.
const OPUS_PTIMES_MS: [u8; 4] = [60, 40, 20, 10];
const PTIMES_MS: [u8; 6] = [60, 50, 40, 30, 20, 10];
/// Frames of G.722.1 are 20 ms (RFC 5577 §3).
const G7221_PTIMES_MS: [u8; 3] = [60, 40, 20];

/// What a line offers that we take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub payload_type: u8,
    pub codec: AudioCodec,
    pub telephone_event: Option<TelephoneEvent>,
    pub ptime_ms: u8,
    pub bitrate_bps: u32,
    /// Of G.729: the peer describes its silence (RFC 4856 §2.1.9), which we do not.
    pub annex_b: bool,
    /// Payload type of the same with copies (RFC 2198).
    pub red: Option<u8>,
    /// The peer would rather have those.
    pub red_first: bool,
}

/// The best common codec. `telephone-event` and comfort noise are never taken for speech, wherever
/// they stand in the list.
pub(super) fn choose(line: &MediaLine, local: &LocalAudio) -> Option<Choice> {
    let common = line
        .payloads
        .iter()
        .filter_map(|payload| Some((payload, codec(payload)?)));
    let common = common.filter(|(_, codec)| local.codecs.contains(codec));
    // `min_by_key` keeps the first of equals: the order of the offer.
    let (payload, codec) = common.min_by_key(|(_, codec)| match local.order {
        CodecOrder::Ours => rank(*codec, local),
        CodecOrder::Offer => 0,
    })?;
    let red = red(line, payload, codec).filter(|_| local.red);
    let place = |number| {
        line.payloads
            .iter()
            .position(|known| known.number == number)
    };
    Some(Choice {
        payload_type: payload.number,
        red,
        red_first: red.is_some_and(|red| place(red) < place(payload.number)),
        codec,
        telephone_event: telephone_event(line, codec),
        ptime_ms: ptime_ms(line, codec),
        bitrate_bps: bitrate_bps(payload, codec, line, local),
        annex_b: annex_b(payload),
    })
}

/// The payload type under which this one comes with copies. Whoever says nothing of what is in it means
/// what stands beside it on the line.
fn red(line: &MediaLine, payload: &Payload, codec: AudioCodec) -> Option<u8> {
    use AudioCodec::{G722, Opus, Pcma, Pcmu};
    if !matches!(codec, G722 | Opus | Pcma | Pcmu) {
        return None;
    }
    let mut payloads = line.payloads.iter();
    let found = payloads.find(|known| {
        let holds = |fmtp: &str| {
            fmtp.split('/')
                .all(|n| n.trim().parse() == Ok(payload.number))
        };
        known.is("red", codec.rtp_clock_hz()) && known.fmtp.as_deref().is_none_or(holds)
    })?;
    Some(found.number)
}

/// The codec of a payload type, if it is one of ours.
pub(super) fn codec(payload: &Payload) -> Option<AudioCodec> {
    let encoding = payload.encoding.as_ref()?;
    match (encoding.name.as_str(), encoding.clock_hz, encoding.channels) {
        ("opus", 48_000, _) => Some(AudioCodec::Opus),
        ("g722", 8_000, 1) => Some(AudioCodec::G722),
        ("pcma", 8_000, 1) => Some(AudioCodec::Pcma),
        ("pcmu", 8_000, 1) => Some(AudioCodec::Pcmu),
        ("l16", 16_000, 1) => Some(AudioCodec::L16),
        ("g729" | "g729a", 8_000, 1) => Some(AudioCodec::G729),
        ("g7221", clock_hz, 1) => g7221(payload, clock_hz),
        _ => None,
    }
}

/// RFC 5577 §5.2: the rate is part of what a payload type means, and has to be said.
fn g7221(payload: &Payload, clock_hz: u32) -> Option<AudioCodec> {
    let parameters = parameters(payload.fmtp.as_deref()?);
    let bitrate_bps = parameters.get("bitrate")?.parse().ok()?;
    match (clock_hz, bitrate_bps) {
        (16_000, 24_000 | 32_000) => Some(AudioCodec::G7221 { bitrate_bps }),
        (32_000, 24_000 | 32_000 | 48_000) => Some(AudioCodec::G7221C { bitrate_bps }),
        _ => None,
    }
}

fn rank(codec: AudioCodec, local: &LocalAudio) -> usize {
    let g711 = |codec| matches!(codec, AudioCodec::Pcma | AudioCodec::Pcmu);
    let equal = |ours: &AudioCodec| *ours == codec || (g711(*ours) && g711(codec));
    local.codecs.iter().position(equal).unwrap_or(usize::MAX)
}

/// Digits run on the clock of the speech beside them (RFC 4733 §2.1); many terminals offer only
/// 8000 Hz beside Opus, and are taken at their word.
fn telephone_event(line: &MediaLine, codec: AudioCodec) -> Option<TelephoneEvent> {
    let offered = |clock_hz| {
        let found = line
            .payloads
            .iter()
            .find(|payload| payload.is("telephone-event", clock_hz))?;
        Some(TelephoneEvent {
            payload_type: found.number,
            clock_hz,
        })
    };
    offered(codec.rtp_clock_hz()).or_else(|| offered(8_000))
}

/// `a=ptime` is a wish about what we send, `a=maxptime` a bound (RFC 8866 §6.4).
fn ptime_ms(line: &MediaLine, codec: AudioCodec) -> u8 {
    let number = |name| {
        let value = line.attribute(name)?.trim().split('.').next()?;
        value.parse::<u32>().ok().filter(|ms| *ms > 0)
    };
    let wish = number("ptime").unwrap_or(PTIME_MS.into());
    let bound = number("maxptime").unwrap_or(u32::MAX);
    let most = wish.min(bound);
    let possible = match codec {
        AudioCodec::Opus => OPUS_PTIMES_MS.as_slice(),
        AudioCodec::G7221 { .. } | AudioCodec::G7221C { .. } => G7221_PTIMES_MS.as_slice(),
        AudioCodec::L16 => L16_PTIMES_MS.as_slice(),
        _ => PTIMES_MS.as_slice(),
    };
    let fits = |ms: &u8| u32::from(*ms) <= most;
    let least = possible.last().copied().unwrap_or(PTIME_MS);
    possible.iter().copied().find(fits).unwrap_or(least)
}

/// Annex B is used unless one of both sides says no (RFC 7261 §3).
fn annex_b(payload: &Payload) -> bool {
    let parameters = parameters(payload.fmtp.as_deref().unwrap_or_default());
    let said = parameters.get("annexb").map(String::as_str);
    !said.is_some_and(|said| said.eq_ignore_ascii_case("no"))
}

fn bitrate_bps(payload: &Payload, codec: AudioCodec, line: &MediaLine, local: &LocalAudio) -> u32 {
    match codec {
        AudioCodec::Opus => {}
        AudioCodec::G729 => return G729_BPS,
        AudioCodec::G7221 { bitrate_bps } | AudioCodec::G7221C { bitrate_bps } => {
            return bitrate_bps;
        }
        AudioCodec::L16 => return L16_BPS,
        _ => return FIXED_BPS,
    }
    // RFC 7587 §6.1.
    let wish = parameters(payload.fmtp.as_deref().unwrap_or_default())
        .get("maxaveragebitrate")
        .and_then(|text| text.parse().ok())
        .unwrap_or(u32::MAX);
    let bandwidth = line
        .bandwidth_bps
        .and_then(|bps| u32::try_from(bps).ok())
        .unwrap_or(u32::MAX);
    let most = local.opus_bitrate_bps.min(wish).min(bandwidth);
    most.clamp(*OPUS_BPS.start(), *OPUS_BPS.end())
}
