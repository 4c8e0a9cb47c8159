//! What the processor does as a whole, for whoever watches the server.

use std::time::Duration;

use mcu_api::figures::{Media, Process, Traffic};
use mcu_api::inventory::{FlowStats, LegInventory, RoomInventory};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// What went to and from legs that are gone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Past {
    received: Traffic,
    sent: Traffic,
}

impl Past {
    /// A leg ends, of which this is the last that is told.
    pub fn add(&mut self, leg: &LegInventory) {
        count(&mut self.received, &leg.received);
        count(&mut self.sent, &leg.sent);
    }

    fn join(&mut self, other: &Self) {
        for (own, more) in [
            (&mut self.received, &other.received),
            (&mut self.sent, &other.sent),
        ] {
            own.packets += more.packets;
            own.bytes += more.bytes;
            own.lost += more.lost;
        }
    }
}

/// Keeps the figures of the worker.
pub struct Watch {
    process: fn() -> Process,
    longest_turn: Duration,
    /// Of rooms that are gone.
    past: Past,
    /// Losses that were told last, from legs and to them.
    lost: (u64, u64),
}

impl Watch {
    /// `process` says how the process does.
    pub fn new(process: fn() -> Process) -> Self {
        Self {
            process,
            longest_turn: Duration::ZERO,
            past: Past::default(),
            lost: (0, 0),
        }
    }

    /// The worker's loop has turned once.
    pub fn turned(&mut self, took: Duration) {
        self.longest_turn = self.longest_turn.max(took);
    }

    /// A room is gone whose legs had this.
    pub fn keep(&mut self, past: &Past) {
        self.past.join(past);
    }

    /// The figures now: of these rooms, and of legs of theirs that are gone. Asked for on the worker's
    /// own thread.
    pub fn figures(&mut self, rooms: &[RoomInventory], past: impl Iterator<Item = Past>) -> Media {
        let mut all = self.past;
        past.for_each(|past| all.join(&past));
        let Past {
            mut received,
            mut sent,
        } = all;
        for leg in rooms.iter().flat_map(|room| &room.legs) {
            count(&mut received, &leg.received);
            count(&mut sent, &leg.sent);
            worsen(&mut received, &leg.received);
            worsen(&mut sent, &leg.sent);
        }
        // A packet that comes late is lost no more, and a counter never goes back.
        let (from, to) = self.lost;
        self.lost = (from.max(received.lost), to.max(sent.lost));
        (received.lost, sent.lost) = self.lost;
        Media {
            process: (self.process)(),
            libavcodec: libavcodec(),
            worker_cpu_ms: thread_cpu_ms(),
            longest_turn_us: std::mem::take(&mut self.longest_turn).as_micros() as u64,
            encoders: rooms.iter().map(|room| room.encoders).sum(),
            decoders: rooms.iter().map(|room| room.decoders).sum(),
            received,
            sent,
            ..Media::default()
        }
    }
}

fn count(all: &mut Traffic, flow: &FlowStats) {
    all.packets += flow.packets;
    all.bytes += flow.bytes;
    all.lost += flow.lost;
    all.sound_lost += flow.sound_lost;
    all.frozen_ms += flow.frozen_ms;
}

fn worsen(all: &mut Traffic, flow: &FlowStats) {
    all.worst_jitter_ms = all.worst_jitter_ms.max(flow.jitter_ms);
    all.worst_loss_percent = all.worst_loss_percent.max(flow.loss_percent);
    all.worst_mos = all.worst_mos.into_iter().chain(flow.mos).reduce(f32::min);
}

/// `59.37.100`.
fn libavcodec() -> String {
    let version = ffmpeg_next::codec::version();
    let (major, minor, micro) = (version >> 16, version >> 8 & 0xff, version & 0xff);
    format!("{major}.{minor}.{micro}")
}

/// Processor time of this thread in ms.
fn thread_cpu_ms() -> u64 {
    let usage = getrusage(UsageWho::RUSAGE_THREAD);
    let spent = usage.map(|usage| usage.user_time() + usage.system_time());
    spent.map_or(0, |spent| spent.num_milliseconds() as u64)
}

#[cfg(test)]
mod tests {
    use mcu_api::ids::{LegId, RoomId};
    use mcu_api::inventory::{LegState, VideoStats};

    use super::*;

    fn leg(id: u64, packets: u64, jitter_ms: f32) -> LegInventory {
        let flow = FlowStats {
            packets,
            bytes: packets * 100,
            lost: packets / 10,
            jitter_ms,
            ..FlowStats::default()
        };
        LegInventory {
            leg: LegId(id),
            state: LegState::Connected,
            silent_s: 0,
            audio_level_dbov: 0,
            received: flow,
            sent: FlowStats::default(),
            video_received: VideoStats::default(),
            video_sent: VideoStats::default(),
            round_trip_ms: None,
            sound_lag_ms: None,
            srtp_sources: Vec::new(),
            srtcp_sources: Vec::new(),
            dtls_keys: Vec::new(),
        }
    }

    #[test]
    fn packets_of_legs_and_rooms_that_are_gone_still_count_and_their_jitter_does_not() {
        let mut watch = Watch::new(Process::default);
        let mut gone = Past::default();
        gone.add(&leg(1, 1_000, 80.0));
        watch.keep(&gone);
        let mut left = Past::default();
        left.add(&leg(2, 100, 70.0));
        let room = RoomInventory {
            room: RoomId(1),
            generation: 1,
            plan: None,
            active_speaker: None,
            encoders: 2,
            decoders: 3,
            legs: vec![leg(3, 10, 4.0), leg(4, 20, 6.0)],
        };
        watch.turned(Duration::from_millis(7));
        watch.turned(Duration::from_millis(3));
        let told = watch.figures(std::slice::from_ref(&room), [left].into_iter());
        assert_eq!(told.received.packets, 1_130);
        assert_eq!(told.received.bytes, 113_000);
        assert_eq!(told.received.lost, 113);
        assert_eq!(told.received.worst_jitter_ms, 6.0);
        assert_eq!((told.encoders, told.decoders), (2, 3));
        assert_eq!(told.longest_turn_us, 7_000);
        let again = watch.figures(&[room], std::iter::empty());
        assert_eq!(again.longest_turn_us, 0, "told already");
        assert_eq!(again.received.lost, 113, "a counter never goes back");
    }
}
