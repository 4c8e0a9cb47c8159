//! Sound as it came, with the places where nothing came in time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mcu_api::codec::AudioCodec;

use crate::sound;

/// What comes later than this after its time, as counted from the first packet, is too late to be played.
const PLAYED_AFTER: Duration = Duration::from_millis(200);
/// Packets kept: five minutes.
const PACKETS_MAX: usize = 15_000;

/// Sound of one codec, by the number of its packet since the first.
#[derive(Debug)]
pub(super) struct Recording {
    pub(super) codec: AudioCodec,
    pub(super) packets: BTreeMap<u64, Vec<u8>>,
}

/// Records one line.
pub(super) struct Recorder {
    codec: AudioCodec,
    first: Option<(Instant, u32)>,
    packets: BTreeMap<u64, Vec<u8>>,
}

impl Recorder {
    pub(super) fn new(codec: AudioCodec) -> Self {
        Self {
            codec,
            first: None,
            packets: BTreeMap::new(),
        }
    }

    /// A block of sound came, new or as a copy.
    pub(super) fn push(&mut self, now: Instant, timestamp: u32, payload: &[u8]) {
        let (began, first) = *self.first.get_or_insert((now, timestamp));
        let ticks = self.codec.rtp_clock_hz() * sound::PACKET_MS / 1_000;
        let passed = timestamp.wrapping_sub(first);
        // What is before the first is not played.
        if passed > u32::MAX / 2 || self.packets.len() >= PACKETS_MAX {
            return;
        }
        let number = passed / ticks;
        let due = began + Duration::from_millis((number * sound::PACKET_MS).into());
        if now <= due + PLAYED_AFTER {
            let place = self.packets.entry(number.into());
            place.or_insert_with(|| payload.to_vec());
        }
    }

    pub(super) fn take(&mut self) -> Recording {
        self.first = None;
        Recording {
            codec: self.codec,
            packets: std::mem::take(&mut self.packets),
        }
    }
}
