//! What a terminal's line takes, by its receiver reports and by the rates that it asks for.
//!
//! Browsers tell of each packet by transport feedback, terminals of shares lost in a second. So a
//! terminal's line is taken to be full when more than a twentieth is lost and a queue stands, or when
//! more than three tenths are lost; what is lost without a queue is repaired and no reason to send less.

use std::time::{Duration, Instant};

use mcu_api::codec::{VideoClass, VideoCodec};
use mcu_rtp::congestion::{Config, Controller};

/// Rates in bit/s of what is encoded for lines that do not take the rate of SDP: few, so that receivers on
/// nearly equal lines share one encoder.
const RATES_BPS: [u32; 17] = [
    6_000_000, 4_000_000, 3_000_000, 2_000_000, 1_536_000, 1_024_000, 768_000, 512_000, 384_000,
    256_000, 192_000, 128_000, 96_000, 64_000, 48_000, 32_000, 20_000,
];
/// Least that is sent in all: sound at its least, and nothing beside it.
const MIN_BPS: u32 = 24_000;
/// Headers of packets below RTP, of what is sent.
const HEADERS: f64 = 1.08;
/// Loss up to which a higher rate may be tried.
const TRIED_LOSS: f64 = 0.15;
/// A rate that a terminal asked for by REMB is forgotten after so long without being asked for again. By
/// TMMBR it lasts (RFC 5104 §4.2.1.2).
const BOUND_LASTS: Duration = Duration::from_secs(120);

/// One terminal's line, towards it.
pub struct Budget {
    controller: Controller,
    most_bps: u32,
    /// The line was full once: until then nothing is known, and the rate of SDP is sent.
    narrow: bool,
    fraction: f64,
    /// In bit/s, and until when.
    bound: Option<(u32, Option<Instant>)>,
}

impl Budget {
    /// For a terminal that takes up to so much in all, by SDP.
    pub fn new(most_bps: u32) -> Self {
        let config = Config {
            start_bps: most_bps,
            min_bps: MIN_BPS,
            max_bps: most_bps,
        };
        Self {
            controller: Controller::new(config),
            most_bps,
            narrow: false,
            fraction: 0.0,
            bound: None,
        }
    }

    /// It takes so much in all from now on, by SDP.
    pub fn set_most(&mut self, most_bps: u32) {
        if self.most_bps != most_bps {
            self.most_bps = most_bps;
            self.controller.set_bounds(MIN_BPS, most_bps);
        }
    }

    /// A report about what was sent at `sent_bps` in all.
    pub fn handle_report(
        &mut self,
        now: Instant,
        fraction: f64,
        round_trip: Option<Duration>,
        sent_bps: u32,
    ) {
        self.fraction = fraction;
        let before = self.controller.target_bps();
        self.controller
            .handle_report(now, fraction, round_trip, sent_bps);
        let after = self.controller.target_bps();
        if after < before {
            self.narrow = true;
        } else if after >= self.most_bps {
            self.narrow = false;
        }
    }

    /// The terminal asks for no more than so many bit/s, for good (TMMBR) or until it is silent (REMB).
    pub fn handle_bound(&mut self, now: Instant, bps: u64, for_good: bool) {
        let bps = u32::try_from(bps).unwrap_or(u32::MAX);
        let until = (!for_good).then(|| now + BOUND_LASTS);
        self.bound = Some((bps.max(MIN_BPS), until));
    }

    /// What may be sent in all, RTP headers included; `None` while SDP alone bounds it.
    pub fn target_bps(&mut self, now: Instant) -> Option<u32> {
        self.bound = self
            .bound
            .filter(|(_, until)| until.is_none_or(|until| now < until));
        let asked = self.bound.map(|(bps, _)| (f64::from(bps) / HEADERS) as u32);
        let asked = asked.filter(|bps| *bps < self.most_bps);
        let estimate = self.narrow.then(|| self.controller.target_bps());
        asked.into_iter().chain(estimate).min()
    }

    /// Whether so much may be sent in all, as a trial if need be.
    pub fn try_rate(&mut self, now: Instant, bps: u32) -> bool {
        let asked = self.bound.is_none_or(|(bound, _)| bps <= bound);
        asked
            && self.fraction <= TRIED_LOSS
            && self.controller.try_rate(now, bps.min(self.most_bps))
    }
}

/// The class in place of one whose rate a line does not take: of the rate next below `bps`, with smaller
/// and fewer pictures where so few bits ask for it. `None`: not even the least is taken.
pub fn reduced(class: &VideoClass, bps: u32) -> Option<VideoClass> {
    if class.bitrate_bps <= bps {
        return Some(class.clone());
    }
    let bitrate_bps = RATES_BPS.into_iter().find(|rate| *rate <= bps)?;
    let (width, height, frame_rate) = match bitrate_bps {
        512_000.. => (1920, 1080, 60),
        384_000.. => (1280, 720, 30),
        192_000.. => (640, 360, 30),
        96_000.. => (320, 180, 30),
        48_000.. => (320, 180, 15),
        _ => (320, 180, 8),
    };
    // Other formats have sizes of their own, of which a terminal may take one alone.
    let is_wide = u32::from(class.width) * 9 == u32::from(class.height) * 16;
    let shrinks = class.codec == VideoCodec::H264 && is_wide && class.height > height;
    let size = if shrinks {
        (width, height)
    } else {
        (class.width, class.height)
    };
    Some(VideoClass {
        width: size.0,
        height: size.1,
        frame_rate: class.frame_rate.min(frame_rate),
        bitrate_bps,
        ..class.clone()
    })
}

/// The rate next above that of a reduced class, up to that of the class itself.
pub fn next_rate(class: &VideoClass, reduced: Option<&VideoClass>) -> u32 {
    let now = reduced.map_or(0, |class| class.bitrate_bps);
    let above = RATES_BPS.into_iter().rev().find(|rate| *rate > now);
    above.unwrap_or(u32::MAX).min(class.bitrate_bps)
}

#[cfg(test)]
mod tests {
    use mcu_api::codec::{H264Profile, PacketizationMode};

    use super::*;

    fn class() -> VideoClass {
        VideoClass {
            codec: VideoCodec::H264,
            width: 1280,
            height: 720,
            frame_rate: 30,
            bitrate_bps: 1_536_000,
            profile: H264Profile::ConstrainedBaseline,
            level_idc: 31,
            packetization: PacketizationMode::NonInterleaved,
        }
    }

    /// A line with a queue of 200 ms, for so many seconds; the rates sent.
    fn run(budget: &mut Budget, from: u64, seconds: u64, line_bps: u32, random: f64) -> Vec<u32> {
        let start = Instant::now();
        let mut sent = Vec::new();
        for s in from..from + seconds {
            let now = start + Duration::from_secs(s);
            let bps = budget.target_bps(now).unwrap_or(1_600_000);
            let fits = f64::from(line_bps) / f64::from(bps);
            let (full, queue) = match fits < 1.0 {
                true => (1.0 - fits, 200),
                false => (0.0, 0),
            };
            let fraction = 1.0 - (1.0 - full) * (1.0 - random);
            let round_trip = Duration::from_millis(40 + queue);
            budget.handle_report(now, fraction, Some(round_trip), bps);
            sent.push(bps);
        }
        sent
    }

    /// NET-02: the rate follows the line down within seconds, and up again.
    #[test]
    fn the_rate_follows_a_line_that_becomes_narrow_and_wide_again() {
        let mut budget = Budget::new(1_600_000);
        assert!(
            run(&mut budget, 0, 10, 4_000_000, 0.0)
                .iter()
                .all(|bps| *bps == 1_600_000)
        );
        let sent = run(&mut budget, 10, 20, 50_000, 0.05);
        assert!(sent[3] <= 60_000, "{sent:?}");
        assert!(
            sent[10..].iter().all(|bps| (24_000..=55_000).contains(bps)),
            "{sent:?}"
        );
        let sent = run(&mut budget, 30, 60, 4_000_000, 0.0);
        assert_eq!(sent.last(), Some(&1_600_000), "{sent:?}");
    }

    #[test]
    fn what_is_lost_without_a_queue_is_no_reason_to_send_less() {
        let mut budget = Budget::new(1_600_000);
        let sent = run(&mut budget, 0, 30, 4_000_000, 0.2);
        assert!(sent.iter().all(|bps| *bps == 1_600_000), "{sent:?}");
    }

    #[test]
    fn a_terminal_gets_no_more_than_it_asks_for() {
        let now = Instant::now();
        let mut budget = Budget::new(1_600_000);
        assert_eq!(budget.target_bps(now), None);
        budget.handle_bound(now, 500_000, false);
        assert_eq!(budget.target_bps(now), Some(462_962));
        assert!(!budget.try_rate(now, 600_000));
        assert_eq!(budget.target_bps(now + BOUND_LASTS), None);
        budget.handle_bound(now, 500_000, true);
        assert_eq!(budget.target_bps(now + 10 * BOUND_LASTS), Some(462_962));
        budget.handle_bound(now, u64::MAX, true);
        assert_eq!(budget.target_bps(now), None);
    }

    #[test]
    fn fewer_bits_are_spent_on_smaller_and_fewer_pictures() {
        let size = |bps| reduced(&class(), bps).map(|c| (c.height, c.frame_rate, c.bitrate_bps));
        assert_eq!(size(2_000_000), Some((720, 30, 1_536_000)));
        assert_eq!(size(1_536_000), Some((720, 30, 1_536_000)));
        assert_eq!(size(900_000), Some((720, 30, 768_000)));
        assert_eq!(size(300_000), Some((360, 30, 256_000)));
        assert_eq!(size(33_000), Some((180, 8, 32_000)));
        assert_eq!(size(19_999), None);
        let least = reduced(&class(), 33_000);
        assert_eq!(next_rate(&class(), least.as_ref()), 48_000);
        assert_eq!(next_rate(&class(), None), 20_000);
        assert_eq!(next_rate(&class(), Some(&class())), 1_536_000);
        let cif = VideoClass {
            codec: VideoCodec::H263,
            width: 352,
            height: 288,
            ..class()
        };
        let least = reduced(&cif, 64_000).unwrap();
        assert_eq!(
            (least.height, least.frame_rate, least.bitrate_bps),
            (288, 15, 64_000)
        );
    }
}
