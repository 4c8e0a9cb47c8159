//! Figures of the processes, for whoever watches the server: whole each time, counters since the
//! process began. They name no room and nobody.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::capacity::{Measured, Ports};

/// Where machines are short of time no fewer pictures a second than that are composed: below it nobody
/// takes it for motion.
pub const FEWEST_PICTURES: u32 = 12;

/// What a process says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Process {
    /// Version of the program.
    pub version: String,
    /// Milliseconds since it began.
    pub uptime_ms: u64,
    /// How often the supervisor had started it before; 0 where none did.
    pub restarts: u32,
    /// Processor time of all its threads in ms.
    pub cpu_ms: u64,
    /// Memory that it holds in bytes (resident).
    pub memory_bytes: u64,
}

/// What a media processor does.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Media {
    /// The process.
    pub process: Process,
    /// Version of the library that decodes pictures.
    pub libavcodec: String,
    /// Processor time in ms of the one thread that moves packets and mixes sound.
    pub worker_cpu_ms: u64,
    /// Longest turn of that thread since the last report in µs: sound is late where it comes near 20 ms.
    pub longest_turn_us: u64,
    /// Encoders of pictures that run.
    pub encoders: u32,
    /// Decoders of pictures that run.
    pub decoders: u32,
    /// Most pictures a second that it composes of what moves: fewer than 60 where the machine is short of
    /// time. `None` where an older one does not say.
    pub max_frame_rate: Option<u32>,
    /// Share of the sites in composed pictures of which every picture is decoded, from 0 to 1; of the others
    /// key frames are.
    pub decoded: f32,
    /// What it has measured of itself; none before it has, or where it could not.
    pub measured: Option<Measured>,
    /// How long work on pictures waits for a processor, in the mean, in µs.
    pub mean_wait_us: u64,
    /// From all legs, those that are gone included.
    pub received: Traffic,
    /// To all legs; losses and jitter are those that they report.
    pub sent: Traffic,
}

/// One direction of all legs together.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Traffic {
    /// RTP packets.
    pub packets: u64,
    /// RTP bytes, headers included.
    pub bytes: u64,
    /// Packets lost.
    pub lost: u64,
    /// Interarrival jitter of the leg that has most, now, in ms (RFC 3550 §6.4.1).
    pub worst_jitter_ms: f32,
    /// Share lost of the leg that loses most, now, in per cent.
    pub worst_loss_percent: f32,
    /// Of the packets lost, those of sound.
    pub sound_lost: u64,
    /// Time in which pictures stood still for more than 200 ms each, of all legs, in ms.
    pub frozen_ms: u64,
    /// Mean opinion score of the leg that is heard worst, now; `None` where none is rated.
    pub worst_mos: Option<f32>,
}

/// What a controller does, and what its media processor said last.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Control {
    /// The process.
    pub process: Process,
    /// The media processor, as far as it is there and tells.
    pub media: Option<Media>,
    /// Milliseconds since the media processor told of itself.
    pub media_age_ms: Option<u64>,
    /// Rooms that somebody is in.
    pub rooms: u64,
    /// Legs that there may be.
    pub max_legs: u64,
    /// Legs and calls, by kind and direction.
    pub calls: Vec<Calls>,
    /// Accounts of terminals that are registered.
    pub registered: u64,
    /// Connections over which SIP is spoken.
    pub connections: u64,
    /// Pairs of ports that legs have.
    pub ports_used: u64,
    /// Pairs of ports that there are.
    pub ports: u64,
    /// Ports of each class; none while nothing was measured.
    pub classes: Vec<Ports>,
    /// Lines of the tallest pictures that terminals have now, where the machine is short of time.
    pub lowered_to: Option<u16>,
    /// Sources that are refused for some minutes, since the media process died of what they sent.
    pub quarantined: u64,
}

/// Calls of one kind and direction.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Calls {
    /// What they are with.
    pub kind: Kind,
    /// Who began them.
    pub direction: Direction,
    /// Legs now; those that ring are among them.
    pub legs: u64,
    /// Calls that somebody came in by.
    pub begun: u64,
    /// Such calls that are over, by the reason in words of a fixed set.
    pub ended: BTreeMap<String, u64>,
    /// Attempts that came to nothing, by the reason in words of a fixed set.
    pub failed: BTreeMap<String, u64>,
}

/// What a call is with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A terminal or phone.
    #[default]
    Terminal,
    /// A browser.
    Browser,
}

/// Who began a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The other side.
    #[default]
    Incoming,
    /// A room.
    Outgoing,
}
