//! Congestion control of one transport: numbers what leaves, reports what came, estimates what fits.

use std::time::Instant;

use mcu_rtp::clock::RoomClock;
use mcu_rtp::rtcp::TransportFeedback;
use mcu_rtp::send::{Stamp, abs_send_time};

/// State of one transport.
pub struct Bandwidth {
    next_sequence: u16,
}

impl Bandwidth {
    /// Nothing sent or received yet.
    pub fn new(_now: Instant) -> Self {
        Self { next_sequence: 0 }
    }

    /// Marks for the next packet; `numbered` where transport-wide numbers were agreed.
    pub fn stamp(&mut self, now: Instant, numbered: bool, clock: &RoomClock) -> Stamp {
        let transport_cc = numbered.then(|| {
            let sequence = self.next_sequence;
            self.next_sequence = sequence.wrapping_add(1);
            sequence
        });
        Stamp {
            transport_cc,
            abs_send_time: Some(abs_send_time(clock.ntp(now))),
        }
    }

    /// A packet left.
    pub fn note_sent(&mut self, _now: Instant, _stamp: Stamp, _len: usize) {}

    /// A numbered packet came.
    pub fn note_received(&mut self, _now: Instant, _sequence: u16) {}

    /// The peer's report about what came there.
    pub fn handle_feedback(&mut self, _now: Instant, _feedback: &TransportFeedback<'_>) {}

    /// Appends feedback that is due.
    pub fn write_feedback(&mut self, _now: Instant, _ssrc: u32, _out: &mut Vec<u8>) {}

    /// What fits, in bit/s.
    pub fn target_bps(&self) -> u32 {
        u32::MAX
    }
}
