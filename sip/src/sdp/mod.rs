//! Offer and answer with terminals (RFC 3264), without I/O.
//!
//! [`answer`] takes a terminal's offer and gives our answer together with what both sides then hold,
//! in the terms of [`mcu_api::plan`]: transports, payload types each way, keys, and the class of
//! video that suits the peer. [`offer`] and [`accept_answer`] do the same for calls whose first
//! request carried no offer. [`answer_again`] and [`offer_again`] serve later exchanges within a
//! call: they keep our SSRCs and keys while the peer keeps its own.
//!
//! One line of sound and one of video are accepted; every other line is refused in its place.

mod answer;
mod audio;
mod cif;
pub mod crypto;
mod dtls;
pub mod h264;
mod ice;
pub mod lines;
mod offer;
mod terms;
pub mod video;
mod write;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use mcu_api::codec::{AudioCodec, VideoClass};
use mcu_api::plan::{
    AudioPayload, AudioStream, DtlsKeys, Transport, UdpTransport, VideoReceive, VideoSend,
};
use serde::{Deserialize, Serialize};

pub use answer::{answer, answer_again};
pub use dtls::DtlsLine;
pub use mcu_api::call::SrtpPolicy;
pub use offer::{Offer, accept_answer, offer, offer_again};

/// DSCP of sound: expedited forwarding (RFC 4594 §4.1).
pub const DSCP_AUDIO: u8 = 46;
/// DSCP of interactive video: assured forwarding 41 (RFC 4594 §4.3).
pub const DSCP_VIDEO: u8 = 34;

/// What our side brings to an exchange.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LocalMedia {
    /// Address at which the peer reaches us; it stands in `o=` and `c=`.
    pub address: IpAddr,
    /// Where our sockets are, if not there: before us an address translation stands.
    #[serde(default)]
    pub bound: Option<IpAddr>,
    /// `sess-id` of `o=`: one number for the life of the call.
    pub session_id: u64,
    /// `sess-version` of `o=`: to grow with every description of ours that differs from the last.
    pub version: u64,
    /// Our sound; `None` refuses it.
    pub audio: Option<LocalAudio>,
    /// Our video; `None` refuses it.
    pub video: Option<LocalVideo>,
    /// Whether media is to be encrypted.
    pub srtp: SrtpPolicy,
    /// SHA-256 of the certificate that our DTLS shows; `None` leaves DTLS out.
    #[serde(default)]
    pub dtls_fingerprint: Option<[u8; 32]>,
}

impl LocalMedia {
    /// Where our sockets are.
    pub(crate) fn bound(&self) -> IpAddr {
        self.bound.unwrap_or(self.address)
    }
}

/// The address at which an offer wants media first, if it is one.
pub fn wanted_at(offer: &str) -> Option<IpAddr> {
    let lines = lines::read(offer).ok()?.lines;
    let mut addresses = lines.iter().filter_map(|line| line.address);
    addresses.find(|address| !address.is_unspecified())
}

/// Our side of the sound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalAudio {
    /// Local RTP port.
    pub rtp_port: u16,
    /// Local RTCP port, used unless the peer agrees on rtcp-mux.
    pub rtcp_port: u16,
    /// Codecs that we have, best first. PCMU and PCMA count as equally good: the offer's order
    /// decides between them.
    pub codecs: Vec<AudioCodec>,
    /// Whose order of codecs decides.
    pub order: CodecOrder,
    /// Rate of the Opus that we send, in bit/s, before the peer's limits.
    pub opus_bitrate_bps: u32,
    /// Sound with copies of what was sent before (RFC 2198) is understood.
    #[serde(default)]
    pub red: bool,
}

impl LocalAudio {
    /// All codecs that every media processor has: Opus, then G.722, then G.711, in this order of ours.
    pub fn all_codecs(rtp_port: u16, rtcp_port: u16) -> Self {
        use AudioCodec::{G722, Opus, Pcma, Pcmu};
        Self {
            rtp_port,
            rtcp_port,
            codecs: vec![Opus, G722, Pcma, Pcmu],
            order: CodecOrder::Ours,
            opus_bitrate_bps: 48_000,
            red: false,
        }
    }

    /// Adds what only some media processors have, each where it belongs by what is heard: 14 kHz before 7,
    /// G.722 with its 64 kbit/s before L16, which is as wide with four times as many, then G.722.1, and
    /// last G.729, which spares bits and not ears.
    pub fn add(&mut self, g7221: bool, l16: bool, g729: bool) {
        use AudioCodec::{G722, G729, G7221, G7221C, L16, Pcma};
        let mut insert = |before: AudioCodec, rates: &[u32], codec: fn(u32) -> AudioCodec| {
            let place = self.codecs.iter().position(|known| *known == before);
            let at = place.unwrap_or(self.codecs.len());
            let codecs = rates.iter().map(|rate| codec(*rate));
            self.codecs.splice(at..at, codecs);
        };
        if g7221 {
            insert(G722, &[48_000, 32_000, 24_000], |bitrate_bps| G7221C {
                bitrate_bps,
            });
            insert(Pcma, &[32_000, 24_000], |bitrate_bps| G7221 { bitrate_bps });
        }
        if l16 {
            let place = self.codecs.iter().position(|known| *known == G722);
            self.codecs.insert(place.map_or(0, |at| at + 1), L16);
        }
        if g729 {
            self.codecs.push(G729);
        }
    }
}

/// Whose order decides between several common codecs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum CodecOrder {
    /// That of [`LocalAudio::codecs`].
    #[default]
    Ours,
    /// That of the offer.
    Offer,
}

/// Our side of the video: how much we take and how much we send at most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalVideo {
    /// Local RTP port.
    pub rtp_port: u16,
    /// Local RTCP port, used unless the peer agrees on rtcp-mux.
    pub rtcp_port: u16,
    /// Widest picture, in luma samples.
    pub max_width: u16,
    /// Tallest picture, in luma samples.
    pub max_height: u16,
    /// Most frames per second.
    pub max_frame_rate: u8,
    /// Highest rate in bit/s, each way.
    pub max_bitrate_bps: u32,
    /// H.261 and H.263, too, where H.264 is not to be had.
    #[serde(default)]
    pub legacy: bool,
}

impl LocalVideo {
    /// 1280×720 at 30 frames/s and 2 Mbit/s.
    pub const fn hd720(rtp_port: u16, rtcp_port: u16) -> Self {
        Self {
            rtp_port,
            rtcp_port,
            max_width: 1280,
            max_height: 720,
            max_frame_rate: 30,
            max_bitrate_bps: 2_000_000,
            legacy: false,
        }
    }

    /// 1920×1080 at 30 frames/s and 6 Mbit/s.
    pub const fn hd1080(rtp_port: u16, rtcp_port: u16) -> Self {
        Self {
            max_width: 1920,
            max_height: 1080,
            max_bitrate_bps: 6_000_000,
            ..Self::hd720(rtp_port, rtcp_port)
        }
    }

    /// The same with no picture taller than this, nor more bits than such a one is worth.
    pub fn at_most(self, max_height: Option<u16>) -> Self {
        let most = max_height.unwrap_or(u16::MAX).min(self.max_height);
        let (max_width, max_height, worth_bps) = h264::largest_within(most);
        Self {
            max_width,
            max_height,
            max_bitrate_bps: self.max_bitrate_bps.min(worth_bps),
            ..self
        }
    }
}

/// The outcome of an exchange.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agreed {
    /// Our description: the answer of [`answer`], or the offer that was answered.
    pub sdp: String,
    /// The sound, if a line for it was accepted.
    pub audio: Option<AgreedAudio>,
    /// The video, if a line for it was accepted.
    pub video: Option<AgreedVideo>,
    /// Every line of the exchange in order: later descriptions must keep them (RFC 3264 §8).
    pub lines: Vec<KeptLine>,
    /// What was encrypted, now or earlier in the call.
    #[serde(default)]
    pub secured: Secured,
}

/// What was encrypted in a call, and stays so when its line goes and another comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Secured {
    audio: bool,
    video: bool,
}

impl Agreed {
    /// The transports of the leg's plan, in the order that the `transport` indices of
    /// [`AgreedAudio::stream`], [`AgreedVideo::receive`] and [`AgreedVideo::send`] assume.
    pub fn transports(&self) -> Vec<Transport> {
        let audio = self.audio.as_ref().map(|audio| audio.transport.clone());
        let video = self.video.as_ref().map(|video| video.transport.clone());
        audio.into_iter().chain(video).map(Transport::Udp).collect()
    }

    /// The transports as a processor is to have them whose certificate is `ours`. An association that
    /// is still to be made was announced with a certificate: where that was another processor's, none
    /// is to be made before an offer has announced ours.
    pub fn transports_for(&self, ours: Option<[u8; 32]>) -> Vec<Transport> {
        let audio = self
            .audio
            .as_ref()
            .map(|audio| (&audio.transport, &audio.dtls));
        let video = self
            .video
            .as_ref()
            .map(|video| (&video.transport, &video.dtls));
        let lines = audio.into_iter().chain(video);
        let transports = lines.map(|(transport, line)| dtls::made_by(transport, line, ours));
        transports.map(Transport::Udp).collect()
    }

    /// Notes the keys of one of [`Self::transports`], if they are those of its association now. Whether
    /// that is news.
    pub fn note_dtls_keys(&mut self, transport: usize, keys: &DtlsKeys) -> bool {
        let audio = self.audio.as_mut();
        let audio = audio.map(|audio| (&mut audio.transport, audio.dtls.as_ref()));
        let video = self.video.as_mut();
        let video = video.map(|video| (&mut video.transport, video.dtls.as_ref()));
        let line = audio.into_iter().chain(video).nth(transport);
        line.is_some_and(|(transport, line)| dtls::note_keys(transport, line, keys))
    }

    /// Whether an association is still to be made with another certificate than this one of ours.
    pub fn shows_dead_certificate(&self, ours: [u8; 32]) -> bool {
        let audio = self.audio.as_ref();
        let audio = audio.map(|audio| (&audio.transport, audio.dtls.as_ref()));
        let video = self.video.as_ref();
        let video = video.map(|video| (&video.transport, video.dtls.as_ref()));
        let mut lines = audio.into_iter().chain(video);
        lines.any(|(transport, line)| dtls::is_dead(transport.dtls.as_deref(), line, ours))
    }

    /// What was encrypted in this exchange or before.
    fn secured(&self) -> Secured {
        let audio = self.audio.as_ref().map(|audio| &audio.transport);
        let video = self.video.as_ref().map(|video| &video.transport);
        Secured {
            audio: self.secured.audio || audio.is_some_and(terms::is_secure),
            video: self.secured.video || video.is_some_and(terms::is_secure),
        }
    }

    /// Puts these SSRCs in place of ours, to be kept in later exchanges.
    pub fn set_ssrcs(&mut self, audio_ssrc: u32, video_ssrc: u32) {
        if let Some(audio) = &mut self.audio {
            audio.ssrc = audio_ssrc;
            if let Some(send) = &mut audio.stream.send {
                send.ssrc = audio_ssrc;
            }
        }
        if let Some(video) = &mut self.video {
            video.ssrc = video_ssrc;
            if let Some(receive) = &mut video.receive {
                receive.feedback_ssrc = video_ssrc;
            }
            if let Some(send) = &mut video.send {
                send.ssrc = video_ssrc;
                send.rtx_ssrc = send.rtx.map(|_| answer::rtx_ssrc(video_ssrc));
            }
        }
    }
}

/// What was agreed on sound.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgreedAudio {
    /// Where it goes and with which keys.
    pub transport: UdpTransport,
    /// The stream as the plan wants it. Nothing is received (`receive` empty) or sent (`send`
    /// `None`) where the direction forbids it.
    pub stream: AudioStream,
    /// The direction, seen from us.
    pub direction: Direction,
    /// SSRC of ours, kept through hold.
    pub ssrc: u32,
    /// Our payload types of this line, kept through hold.
    pub payloads: Vec<AudioPayload>,
    /// Our payload type of digits, kept through hold.
    pub telephone_event: Option<TelephoneEvent>,
    /// What was said of its DTLS.
    #[serde(default)]
    pub dtls: Option<DtlsLine>,
    /// How its keys of SDES are named; unknown of what an older version kept.
    #[serde(default)]
    pub key_name: Option<crypto::KeyName>,
}

/// What was agreed on video.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgreedVideo {
    /// Where it goes and with which keys.
    pub transport: UdpTransport,
    /// What the peer sends; `None` when the direction forbids it.
    pub receive: Option<VideoReceive>,
    /// What we send, its `source` not yet set; `None` when the direction or the peer's limits
    /// forbid it.
    pub send: Option<VideoSend>,
    /// The class to encode for this peer; present exactly when `send` is.
    pub class: Option<VideoClass>,
    /// Classes of less tall pictures that may take its place, largest first, of H.261 and H.263; none
    /// known of what an older version kept.
    #[serde(default)]
    pub smaller: Vec<VideoClass>,
    /// The direction, seen from us.
    pub direction: Direction,
    /// SSRC of ours, kept through hold.
    pub ssrc: u32,
    /// Our payload types of this line with their parameters, kept through hold.
    pub formats: Vec<(u8, video::Format)>,
    /// Our payload types of retransmissions, each with that which it repeats; none known of what an older
    /// version kept.
    #[serde(default)]
    pub rtx: Vec<(u8, u8)>,
    /// What was said of its DTLS.
    #[serde(default)]
    pub dtls: Option<DtlsLine>,
    /// How its keys of SDES are named; unknown of what an older version kept.
    #[serde(default)]
    pub key_name: Option<crypto::KeyName>,
}

/// A payload type of `telephone-event` (RFC 4733).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TelephoneEvent {
    /// The number.
    pub payload_type: u8,
    /// Its RTP clock in Hz.
    pub clock_hz: u32,
}

/// Direction of a stream, seen from us (RFC 3264 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Direction {
    /// Both ways.
    #[default]
    SendRecv,
    /// We send only.
    SendOnly,
    /// We receive only.
    RecvOnly,
    /// Neither: on hold.
    Inactive,
}

impl Direction {
    /// From who sends.
    pub const fn new(send: bool, receive: bool) -> Self {
        match (send, receive) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// Whether we send.
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether we receive.
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The same, seen from the other side.
    pub const fn reversed(self) -> Self {
        Self::new(self.receives(), self.sends())
    }

    /// What both allow.
    pub const fn and(self, other: Self) -> Self {
        Self::new(
            self.sends() && other.sends(),
            self.receives() && other.receives(),
        )
    }

    /// Name of the attribute.
    pub const fn attribute(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }
}

/// One line of an exchange, as far as a later description has to keep it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptLine {
    /// Media kind: `audio`, `video`, `application` and so on.
    pub media: String,
    /// Transport token.
    pub proto: String,
    /// A format of the line, for the time that it stands refused.
    pub format: String,
    /// What the line is to us.
    pub role: LineRole,
}

/// What a line is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LineRole {
    /// The sound.
    Audio,
    /// The video.
    Video,
    /// Refused.
    Refused,
}

/// Why an offer or an answer cannot be used. Over SIP it is a 488 (Not Acceptable Here).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// The text cannot be read.
    #[error(transparent)]
    Unreadable(#[from] lines::ReadError),
    /// No line of the description has anything that we can use.
    #[error("no codec, transport or encryption in common")]
    NothingInCommon,
    /// An answer whose lines differ in number, kind or transport from the offer's (RFC 3264 §6).
    #[error("line {index} of the answer is not line {index} of the offer")]
    LinesDiffer {
        /// Number of the first line that differs, from 0.
        index: usize,
    },
    /// Clear media where it was encrypted: within a call nobody is to take that away unnoticed.
    #[error("an encrypted line would become clear")]
    Downgrade,
    /// An answer without usable keys to a line that demanded encryption (RFC 4568 §5.1.2).
    #[error("line {index} of the answer has no keys for us")]
    KeysMissing {
        /// Number of the line, from 0.
        index: usize,
    },
}
