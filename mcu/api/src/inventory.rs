//! What a media processor really holds, reported once a second and on request.

use serde::{Deserialize, Serialize};

use crate::figures;
use crate::ids::{LegId, RoomId};
use crate::plan::{DtlsKeys, RoomPlan, SrtpSource};

/// Every room of a processor.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Inventory {
    /// Rooms, in no order.
    pub rooms: Vec<RoomInventory>,
    /// What the processor does as a whole, where it tells.
    #[serde(default)]
    pub figures: Option<figures::Media>,
}

/// One room as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoomInventory {
    /// The room.
    pub room: RoomId,
    /// Generation that is in force.
    pub generation: u64,
    /// The plan in force, only in the inventory that follows a controller's hello: a controller
    /// that lost its memory learns from it what goes on.
    pub plan: Option<RoomPlan>,
    /// Leg heard loudest, with hysteresis.
    pub active_speaker: Option<LegId>,
    /// Encoders that run, one a class.
    pub encoders: u32,
    /// Decoders that run.
    pub decoders: u32,
    /// Every leg.
    pub legs: Vec<LegInventory>,
}

/// One leg as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LegInventory {
    /// The leg.
    pub leg: LegId,
    /// State of its transport.
    pub state: LegState,
    /// Seconds since anything authentic (RTP, RTCP, STUN) came from it.
    pub silent_s: u32,
    /// Level of its sound now in dBov, -127 (silence) to 0.
    pub audio_level_dbov: i8,
    /// Received from the leg.
    pub received: FlowStats,
    /// Sent to the leg; losses and jitter are those that the leg reports.
    pub sent: FlowStats,
    /// Received main video.
    pub video_received: VideoStats,
    /// Sent video; of a browser the largest of its slots.
    pub video_sent: VideoStats,
    /// Round trip from RTCP in ms, when known.
    pub round_trip_ms: Option<u32>,
    /// How much later the leg's sound is mixed than its picture arrives and is forwarded, in ms,
    /// when known: a receiver of both holds the picture back by as much.
    pub sound_lag_ms: Option<u16>,
    /// Of each transport in the plan's order, how far SRTP sources have come whose sequence numbers
    /// have rolled over: what another processor would have to know. Nothing of browsers' transports,
    /// whose keys end with the process.
    #[serde(default)]
    pub srtp_sources: Vec<Vec<SrtpSource>>,
    /// Of each transport in the plan's order, how far sources of SRTCP have come.
    #[serde(default)]
    pub srtcp_sources: Vec<Vec<SrtpSource>>,
    /// Of each transport in the plan's order, the keys that DTLS agreed on. Only of transports on
    /// ports of their own.
    #[serde(default)]
    pub dtls_keys: Vec<Option<DtlsKeys>>,
}

/// How far a leg's transport is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LegState {
    /// Nothing authentic came yet.
    Connecting,
    /// Packets flow, keys are agreed.
    Connected,
    /// The transport failed (ICE or DTLS): the leg needs a new offer.
    Failed,
}

/// Counters of one direction of a leg, sound and picture together, and its quality now.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FlowStats {
    /// RTP packets since the leg began.
    pub packets: u64,
    /// RTP bytes since the leg began, headers included.
    pub bytes: u64,
    /// Packets lost since the leg began.
    pub lost: u64,
    /// Rate over the last second in bit/s.
    pub bitrate_bps: u32,
    /// Share lost over the last interval, in per cent.
    pub loss_percent: f32,
    /// Interarrival jitter in ms (RFC 3550 §6.4.1).
    pub jitter_ms: f32,
    /// Of the packets lost since the leg began, those of sound.
    pub sound_lost: u64,
    /// Share lost of sound over the last interval, in per cent.
    pub sound_loss_percent: f32,
    /// Share lost of pictures over the last interval, in per cent, before repair.
    pub picture_loss_percent: f32,
    /// Mean opinion score of sound by the E-model (ITU-T G.107), 1 to 4.5, of the last interval; `None`
    /// where the codec is not rated or nothing flows.
    pub mos: Option<f32>,
    /// Time since the leg began in which no picture came for more than 200 ms while pictures flowed, in
    /// ms; of what is received and decoded.
    pub frozen_ms: u64,
}

/// One video stream now.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct VideoStats {
    /// Luma samples.
    pub width: u16,
    /// Luma lines.
    pub height: u16,
    /// Frames in the last second.
    pub frames_per_second: f32,
    /// Key frames since the leg began.
    pub key_frames: u64,
}
