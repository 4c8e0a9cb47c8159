//! What a leg is like, and what it reports.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use mcu_api::codec::{AudioCodec, PacketizationMode};
use serde::Serialize;

use crate::clip::Clip;
use crate::impairment::Relay;
use crate::picture::{Picture, Rect};
use crate::tone::Heard;

/// Whom to call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Request-URI, `sip:3000@127.0.0.1:5060`.
    pub uri: String,
    /// Where the request is sent to, over UDP.
    pub server: SocketAddr,
    /// User part of the caller's own address.
    pub caller: String,
    /// Name of the caller; none is said if empty.
    pub name: String,
}

impl Target {
    /// Room or user `number` at a server.
    pub fn number(number: &str, server: SocketAddr) -> Self {
        Self {
            uri: format!("sip:{number}@{server}"),
            server,
            caller: "load".into(),
            name: String::new(),
        }
    }

    /// The same, called by somebody of this name.
    pub fn called_by(self, caller: &str) -> Self {
        Self {
            caller: caller.into(),
            ..self
        }
    }

    /// The same, called by somebody who says that this is the name.
    pub fn named(self, name: &str) -> Self {
        Self {
            name: name.into(),
            ..self
        }
    }
}

/// A leg: a terminal as the server sees it.
#[derive(Clone, Debug)]
pub struct LegConfig {
    /// Id of its marker and tone, 1 to [`crate::tone::IDS`].
    pub id: u8,
    /// Address that it sends from and receives on.
    pub local_ip: IpAddr,
    /// Its sound; `None` offers no audio line.
    pub audio: Option<AudioConfig>,
    /// Its picture; `None` offers no video line.
    pub video: Option<VideoConfig>,
    /// RTP and RTCP on one port (RFC 5761).
    pub rtcp_mux: bool,
    /// Offer PLI and FIR (RFC 4585, RFC 5104).
    pub feedback: bool,
    /// Offer SRTP with SDES keys (RTP/SAVP, AES_CM_128_HMAC_SHA1_80).
    pub sdes: bool,
    /// Offer SRTP with keys by DTLS (UDP/TLS/RTP/SAVP, the same suite). Wants `rtcp_mux`.
    pub dtls: bool,
    /// What it offers against loss.
    pub repair: Repair,
    /// Line on which its media goes and comes. Wants `rtcp_mux`.
    pub line: Option<Arc<Relay>>,
    /// What it says instead of its tone, over and over, at the codec's rate.
    pub speech: Option<Arc<Vec<i16>>>,
    /// Received sound is kept until it is taken.
    pub records: bool,
    /// What is done with received video.
    pub watch: Watch,
}

/// What a leg offers against loss, and does where the peer agrees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repair {
    /// Generic NACK (RFC 4585), both ways.
    pub nack: bool,
    /// Packets are sent again by RTX (RFC 4588) and not as they were. Wants `nack`.
    pub rtx: bool,
    /// Sound with copies of the packets before (RFC 2198).
    pub red: bool,
}

impl LegConfig {
    /// An audio and video terminal on the loopback address: PCMU both ways, the clip sent.
    pub fn terminal(id: u8, clip: Arc<Clip>) -> Self {
        Self {
            video: Some(VideoConfig {
                clip: Some(clip),
                ..VideoConfig::default()
            }),
            feedback: true,
            ..Self::telephone(id, AudioConfig::default())
        }
    }

    /// A telephone on the loopback address.
    pub fn telephone(id: u8, audio: AudioConfig) -> Self {
        Self {
            id,
            local_ip: Ipv4Addr::LOCALHOST.into(),
            audio: Some(audio),
            video: None,
            rtcp_mux: false,
            feedback: false,
            sdes: false,
            dtls: false,
            repair: Repair::default(),
            line: None,
            speech: None,
            records: false,
            watch: Watch::Nothing,
        }
    }
}

/// A leg's sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioConfig {
    /// The one codec offered.
    pub codec: AudioCodec,
    /// Its payload type, as offered.
    pub payload_type: u8,
    /// Whether the leg's tone is sent; otherwise silence is.
    pub tone: bool,
    /// Instead of a steady tone: a beep (the tone of id + 8) whenever the clip's counter passes a
    /// multiple of two seconds, to compare sound with picture where they arrive.
    pub beeps: bool,
}

impl Default for AudioConfig {
    /// PCMU with its static payload type.
    fn default() -> Self {
        Self {
            codec: AudioCodec::Pcmu,
            payload_type: 0,
            tone: true,
            beeps: false,
        }
    }
}

impl AudioConfig {
    /// A codec with its usual payload type.
    pub fn codec(codec: AudioCodec) -> Self {
        let payload_type = match codec {
            AudioCodec::Pcmu => 0,
            AudioCodec::Pcma => 8,
            AudioCodec::G722 => 9,
            AudioCodec::Opus => 111,
            AudioCodec::G729 => 18,
            AudioCodec::G7221 { .. } => 110,
            AudioCodec::G7221C { .. } => 115,
            AudioCodec::L16 => 109,
        };
        Self {
            codec,
            payload_type,
            tone: true,
            beeps: false,
        }
    }
}

/// A leg's picture.
#[derive(Clone, Debug)]
pub struct VideoConfig {
    /// What is sent; `None` only receives.
    pub clip: Option<Arc<Clip>>,
    /// Payload type offered for H.264.
    pub payload_type: u8,
    /// Packetization offered and used. Mode 0 needs a clip with short slices.
    pub packetization: PacketizationMode,
    /// `profile-level-id` offered: what may be sent to the leg.
    pub profile_level_id: &'static str,
    /// `b=` of the video line: most that may be sent to the leg, in bit/s.
    pub receive_bps: u32,
}

impl Default for VideoConfig {
    /// Receives constrained baseline, level 3.1, 1.5 Mbit/s, in mode 1.
    fn default() -> Self {
        Self {
            clip: None,
            payload_type: 97,
            packetization: PacketizationMode::NonInterleaved,
            profile_level_id: "42e01f",
            receive_bps: 1_500_000,
        }
    }
}

/// What is done with received video. Packets and frames are always counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// It is not decoded: costs nothing.
    Nothing,
    /// It is decoded and every tile's marker is read.
    Tiles,
    /// The same, and of every so many frames the tiles are kept, until there are `most` of them.
    Samples {
        /// Frames from one kept to the next.
        every: u32,
        /// Most tiles kept.
        most: usize,
    },
}

/// What a leg saw and heard since its start or its last reset.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Seconds that the figures cover.
    pub seconds: f64,
    /// Why the call is over, if it is.
    pub ended: Option<String>,
    /// Sound that came.
    pub audio: AudioReport,
    /// Video that came.
    pub video: VideoReport,
    /// Sources seen in the picture, by id. Only of watched legs.
    pub tiles: Vec<TileReport>,
    /// What the leg sent.
    pub sent: SentReport,
    /// RTCP BYE received.
    pub goodbyes: u64,
}

impl Report {
    /// The tile that shows a source.
    pub fn tile(&self, id: u8) -> Option<&TileReport> {
        self.tiles.iter().find(|tile| tile.id == id)
    }

    /// Ids of the tones heard in the last two seconds.
    pub fn heard(&self) -> Vec<u8> {
        self.audio.tones.iter().map(|heard| heard.id).collect()
    }
}

/// Received sound.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AudioReport {
    /// RTP packets.
    pub packets: u64,
    /// Missing by sequence number.
    pub lost: u64,
    /// Pauses of more than 30 ms between packets.
    pub gaps_over_30_ms: u64,
    /// Longest pause between packets.
    pub longest_gap_ms: f64,
    /// Tones heard in the last two seconds.
    pub tones: Vec<Heard>,
    /// CNAME of the sender, from its RTCP.
    pub cname: Option<String>,
}

/// Received video.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct VideoReport {
    /// RTP packets.
    pub packets: u64,
    /// Missing by sequence number.
    pub lost: u64,
    /// Bytes of RTP payload.
    pub bytes: u64,
    /// Frames that came to their last packet.
    pub frames: u64,
    /// Frames a second.
    pub frame_rate: f64,
    /// Frames a second of the sender's clock.
    pub media_frame_rate: f64,
    /// Longest pause between frames.
    pub longest_gap_ms: f64,
    /// Longest RTP payload in bytes.
    pub longest_payload: usize,
    /// Frames decoded. Only of watched legs, as are the next three.
    pub decoded: u64,
    /// Frames that were damaged, refused by the decoder or not decoded for want of time.
    pub undecoded: u64,
    /// Width of the last picture.
    pub width: usize,
    /// Height of the last picture.
    pub height: usize,
    /// CNAME of the sender, from its RTCP.
    pub cname: Option<String>,
}

/// One source in the received picture.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TileReport {
    /// The source.
    pub id: u8,
    /// Frame of the source that was seen last.
    pub counter: u16,
    /// Where it was seen last.
    pub rect: Rect,
    /// How often the counter changed: fresh frames of the source.
    pub fresh: u64,
    /// Fresh frames a second.
    pub fresh_rate: f64,
    /// Time since the last fresh frame.
    pub age_ms: f64,
    /// Longest time without a fresh frame, the present one included.
    pub longest_gap_ms: f64,
    /// How often there was none for more than [`FREEZE_MS`], and for how long in all.
    pub freezes: u64,
    /// Time of those.
    pub frozen_ms: f64,
    /// Most frames of the source from one that was seen to the next.
    pub longest_step: u16,
    /// From the moment a frame of the source was sent to the moment the picture that first shows
    /// it was here whole. Only of sources in the same [`super::Load`].
    pub delay: Percentiles,
}

/// A picture that stands still for longer is noticed.
pub const FREEZE_MS: f64 = 200.0;

/// What a leg sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SentReport {
    /// Audio packets.
    pub audio_packets: u64,
    /// Video packets.
    pub video_packets: u64,
    /// Video frames.
    pub frames: u64,
    /// Video frames that left more than 10 ms after their time: the machine is too busy for the
    /// figures to mean much.
    pub late_frames: u64,
    /// Key frames that were asked of the leg by PLI, FIR or INFO.
    pub key_frame_requests: u64,
    /// Key frames that the leg asked for.
    pub key_frames_asked: u64,
    /// Packets that the peer asked for again (NACK).
    pub nacked: u64,
    /// Of those, sent again.
    pub resent: u64,
    /// Packets that the leg asked for again.
    pub asked_again: u64,
    /// Packets that the socket did not take.
    pub refused: u64,
    /// Offers within the call that the peer has answered.
    pub offers_answered: u64,
}

/// Median and tail of a set of figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// How many there are.
    pub count: usize,
    /// Half are at most this.
    pub median: f64,
    /// Nineteen of twenty are at most this.
    pub p95: f64,
    /// The largest.
    pub max: f64,
}

impl Percentiles {
    /// Of any figures; all zero if there are none.
    pub fn of(figures: &[f64]) -> Self {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |fraction: f64| {
            let last = sorted.len().saturating_sub(1);
            sorted
                .get((fraction * last as f64).round() as usize)
                .copied()
                .unwrap_or(0.0)
        };
        Self {
            count: sorted.len(),
            median: at(0.5),
            p95: at(0.95),
            max: at(1.0),
        }
    }
}

/// A tile cut out of a received picture.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The source.
    pub id: u8,
    /// Its frame.
    pub counter: u16,
    /// The whole received picture's rectangle that shows it.
    pub rect: Rect,
    /// The pixels of `rect` and [`SAMPLE_MARGIN`] more on each side, as far as there are any.
    pub picture: Picture,
    /// Where `rect` begins within `picture`.
    pub offset: (usize, usize),
}

/// Samples around a tile that a [`Sample`] keeps, to find the tile's true edge.
pub const SAMPLE_MARGIN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_hundred() {
        let figures: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        let p = Percentiles::of(&figures);
        assert_eq!((p.count, p.median, p.p95, p.max), (101, 50.0, 95.0, 100.0));
        assert_eq!(Percentiles::of(&[]), Percentiles::default());
    }
}
