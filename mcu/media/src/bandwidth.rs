//! Congestion control of one transport: numbers what leaves, reports what came, estimates what fits.

use std::time::Instant;

use mcu_rtp::clock::RoomClock;
use mcu_rtp::congestion::{Config, Controller};
use mcu_rtp::rtcp::TransportFeedback;
use mcu_rtp::send::{Stamp, abs_send_time};
use mcu_rtp::twcc::{Arrivals, History, Sample};

/// Where the estimate begins: two small layers and sound, so that a slow line is not flooded.
const START_BPS: u32 = 1_500_000;
/// Sound and the smallest layer of one camera.
const MIN_BPS: u32 = 150_000;
/// Nine cameras in full size.
const MAX_BPS: u32 = 20_000_000;

/// Bytes that may be sent again at once: a second of 2 Mbit/s.
const MAX_RESENDABLE: i64 = 256 << 10;

/// State of one transport.
pub struct Bandwidth {
    history: History,
    arrivals: Arrivals,
    controller: Controller,
    samples: Vec<Sample>,
    /// The peer sends feedback: the estimate means something.
    reported: bool,
    /// Bytes that may be sent again now; below zero while the last packet is paid for.
    resendable: i64,
}

impl Default for Bandwidth {
    fn default() -> Self {
        Self::new()
    }
}

impl Bandwidth {
    /// Nothing sent or received yet.
    pub fn new() -> Self {
        let bounds = Config {
            start_bps: START_BPS,
            min_bps: MIN_BPS,
            max_bps: MAX_BPS,
        };
        Self {
            history: History::new(),
            arrivals: Arrivals::new(),
            controller: Controller::new(bounds),
            samples: Vec::new(),
            reported: false,
            resendable: MAX_RESENDABLE,
        }
    }

    /// Marks for the next packet; `numbered` where transport-wide numbers were agreed.
    pub fn stamp(&self, now: Instant, numbered: bool, clock: &RoomClock) -> Stamp {
        Stamp {
            transport_cc: numbered.then(|| self.history.next_sequence()),
            abs_send_time: Some(abs_send_time(clock.ntp(now))),
        }
    }

    /// Whether a lost packet may be sent again: repairs may take as much as media takes, so that
    /// neither a congested line nor a hostile peer makes us send without end.
    pub fn may_resend(&self) -> bool {
        self.resendable > 0
    }

    /// So many bytes were sent again.
    pub fn note_resent(&mut self, bytes: u64) {
        // What was sent again was noted as sent, too.
        self.resendable -= (bytes + bytes) as i64;
    }

    /// A packet with this stamp left.
    pub fn note_sent(&mut self, now: Instant, stamp: Stamp, len: usize) {
        self.resendable = (self.resendable + len as i64).min(MAX_RESENDABLE);
        if stamp.transport_cc.is_some() {
            self.history.register(now, len);
        }
    }

    /// A numbered packet came.
    pub fn note_received(&mut self, now: Instant, sequence: u16) {
        self.arrivals.record(now, sequence);
    }

    /// The peer's report about what came there.
    pub fn handle_feedback(&mut self, now: Instant, feedback: &TransportFeedback<'_>) {
        if self.history.is_empty() {
            return;
        }
        self.samples.clear();
        self.history.handle_feedback(feedback, &mut self.samples);
        self.controller.handle_samples(now, &self.samples);
        self.reported = true;
    }

    /// Appends feedback that is due.
    pub fn write_feedback(&mut self, now: Instant, sender: u32, media: u32, out: &mut Vec<u8>) {
        self.arrivals.poll(now, sender, media, out);
    }

    /// Notices when feedback ceased. Call it while packets leave.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.reported {
            self.controller.handle_timeout(now);
        }
    }

    /// Whether `bps` may be sent, if need be as a trial: the next layer is several times as large.
    pub fn try_rate(&mut self, now: Instant, bps: u32) -> bool {
        !self.reported || self.controller.try_rate(now, bps)
    }

    /// What fits, in bit/s; without feedback nothing is known, and the plan's limits alone hold.
    pub fn target_bps(&self) -> u32 {
        if self.reported {
            self.controller.target_bps()
        } else {
            u32::MAX
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repairs_take_no_more_than_media_takes() {
        let now = Instant::now();
        let mut bandwidth = Bandwidth::new();
        let (mut media, mut again) = (0, 0);
        for _ in 0..10_000 {
            bandwidth.note_sent(now, Stamp::default(), 1_000);
            media += 1_000;
            // A peer that asks for everything ten times over.
            for _ in 0..10 {
                if bandwidth.may_resend() {
                    bandwidth.note_sent(now, Stamp::default(), 1_000);
                    bandwidth.note_resent(1_000);
                    again += 1_000;
                }
            }
        }
        assert!(again >= media / 2, "{again} of {media}");
        assert!(again <= media + MAX_RESENDABLE, "{again} of {media}");
    }
}
