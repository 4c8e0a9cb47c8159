//! How much may be sent: a congestion controller fed by transport feedback.
//!
//! The growth of one-way delay tells that a queue fills before packets are lost. Its trend, the
//! adaptive threshold and the rate rules follow draft-ietf-rmcat-gcc-02 §5; three rules were added
//! after trials: the target never exceeds 1.5 times what arrives, it does not grow while less is
//! sent than allowed, and loss without a queue (radio) slows growth rather than sending.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::clock::signed_micros;
use crate::twcc::Sample;

/// Packets sent within this belong to one group, gcc §5.2.
const GROUP_MICROS: i64 = 5_000;
/// Groups over which the trend is taken.
const TREND_GROUPS: usize = 20;
/// Share of the old value in smoothed delay.
const SMOOTHING: f64 = 0.9;
/// Scales slope to the threshold's unit, milliseconds.
const TREND_GAIN: f64 = 4.0;
/// Bounds and speeds of the adaptive threshold, gcc §5.4.
const THRESHOLD_START_MS: f64 = 12.5;
const THRESHOLD_MIN_MS: f64 = 6.0;
const THRESHOLD_MAX_MS: f64 = 600.0;
const THRESHOLD_UP: f64 = 0.01;
const THRESHOLD_DOWN: f64 = 0.000_18;
/// The trend must exceed the threshold for so long.
const OVERUSE_TIME_MICROS: i64 = 10_000;
/// A standing queue above this is overuse whatever its trend.
const STANDING_QUEUE_MICROS: i64 = 100_000;
/// Window of the acknowledged rate.
const RATE_WINDOW_MICROS: i64 = 500_000;
/// Packets in that window; the oldest gives way.
const MAX_RATE_SAMPLES: usize = 4_096;
/// Decrease, relative to the acknowledged rate, gcc §5.5.
const BACK_OFF: f64 = 0.85;
/// Ceiling, relative to the acknowledged rate.
const CEILING: f64 = 1.5;
/// Growth per second: before any overuse, and after.
const START_GROWTH: f64 = 1.5;
const GROWTH: f64 = 1.12;
/// Loss up to which the target may grow, and above which it falls without a queue.
const TOLERATED_LOSS: f64 = 0.15;
const SEVERE_LOSS: f64 = 0.30;
/// Loss above which it falls when a queue stands too.
const QUEUE_LOSS: f64 = 0.05;
const LOSS_QUEUE_MICROS: i64 = 100_000;
/// Interval over which loss is counted.
const LOSS_INTERVAL: Duration = Duration::from_millis(500);
/// Packets without which loss is not judged.
const MIN_LOSS_PACKETS: u32 = 20;
/// Calm before a rate beyond the ceiling may be tried, at first and at most; it doubles with each
/// trial that failed within the time after it.
const TRIAL_PAUSE: Duration = Duration::from_secs(3);
const MAX_TRIAL_PAUSE: Duration = Duration::from_secs(60);
const TRIAL_TIME: Duration = Duration::from_secs(5);
/// No feedback for this long while packets leave: the way back or the way out is gone.
const FEEDBACK_TIMEOUT: Duration = Duration::from_millis(1_500);

/// Bounds of the target.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Where to begin, in bit/s.
    pub start_bps: u32,
    /// Never below, in bit/s.
    pub min_bps: u32,
    /// Never above, in bit/s.
    pub max_bps: u32,
}

/// What delay says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Usage {
    Normal,
    Under,
    Over,
}

/// Controller of one transport.
#[derive(Debug)]
pub struct Controller {
    config: Config,
    target_bps: f64,
    delay: DelayTrend,
    rate: RateWindow,
    queue: QueueDelay,
    loss: LossCount,
    round_trip: Duration,
    /// Rate acknowledged when the path was last full.
    capacity_bps: Option<f64>,
    overused_once: bool,
    last_update: Option<Instant>,
    last_decrease: Option<Instant>,
    last_feedback: Option<Instant>,
    last_trial: Option<Instant>,
    trial_pause: Duration,
}

impl Controller {
    /// A controller that knows nothing of its path.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            target_bps: f64::from(config.start_bps),
            delay: DelayTrend::default(),
            rate: RateWindow::default(),
            queue: QueueDelay::default(),
            loss: LossCount::default(),
            round_trip: Duration::from_millis(100),
            capacity_bps: None,
            overused_once: false,
            last_update: None,
            last_decrease: None,
            last_feedback: None,
            last_trial: None,
            trial_pause: TRIAL_PAUSE,
        }
    }

    /// What may be sent in all, in bit/s, headers included.
    pub fn target_bps(&self) -> u32 {
        self.target_bps as u32
    }

    /// Rate that arrives at the peer, in bit/s, once known.
    pub fn acknowledged_bps(&self) -> Option<u32> {
        self.rate.bps().map(|bps| bps as u32)
    }

    /// Other bounds, as when streams come or go.
    pub fn set_bounds(&mut self, min_bps: u32, max_bps: u32) {
        (self.config.min_bps, self.config.max_bps) = (min_bps, max_bps.max(min_bps));
        self.set_target(self.target_bps);
    }

    /// Samples of one feedback, in order of sending (see [`crate::twcc::History`]).
    pub fn handle_samples(&mut self, now: Instant, samples: &[Sample]) {
        let mut usage = Usage::Normal;
        self.queue.begin_feedback();
        for sample in samples {
            self.loss.add(sample.arrival_micros.is_none());
            let Some(arrival) = sample.arrival_micros else {
                continue;
            };
            self.rate.add(arrival, sample.size);
            self.queue.add(now, sample.sent, arrival);
            // The time back to us is part of the round trip, the time since sending is all of it.
            self.round_trip = now.saturating_duration_since(sample.sent);
            if let Some(verdict) = self.delay.add(sample.sent, arrival) {
                usage = verdict;
            }
        }
        if samples.is_empty() {
            return;
        }
        self.last_feedback = Some(now);
        if self.queue.standing_micros() > STANDING_QUEUE_MICROS && usage != Usage::Under {
            usage = Usage::Over;
        }
        self.update(now, usage);
    }

    /// A report block, where no transport feedback was agreed: loss in 0 to 1, and what was sent
    /// over the interval in bit/s.
    pub fn handle_report(
        &mut self,
        now: Instant,
        fraction_lost: f64,
        round_trip: Option<Duration>,
        sent_bps: u32,
    ) {
        let arrived = f64::from(sent_bps) * (1.0 - fraction_lost.clamp(0.0, 1.0));
        if let Some(round_trip) = round_trip {
            self.round_trip = round_trip;
            self.queue.add_round_trip(now, round_trip);
        }
        let queued = self.queue.standing_micros() > LOSS_QUEUE_MICROS;
        self.apply_loss(now, fraction_lost, queued, arrived);
        if fraction_lost <= QUEUE_LOSS && !queued {
            self.grow(now, arrived);
        }
        self.last_update = Some(now);
    }

    /// Asks to send `bps` in all though nothing near it was acknowledged: a forwarder cannot grow by
    /// small steps when the next layer is three times as large. `true`: send it; the target is at
    /// least `bps` until the path objects. Trials that failed make the next ones rarer.
    pub fn try_rate(&mut self, now: Instant, bps: u32) -> bool {
        if self.target_bps >= f64::from(bps) {
            return true;
        }
        let since = |at: Option<Instant>| at.map(|at| now.saturating_duration_since(at));
        let calm =
            since(self.last_decrease.max(self.last_trial)).is_none_or(|t| t >= self.trial_pause);
        let clear = self.queue.standing_micros() < LOSS_QUEUE_MICROS / 2;
        if !calm || !clear || self.loss.recent > QUEUE_LOSS || bps > self.config.max_bps {
            return false;
        }
        // The trial before this one met no objection.
        if since(self.last_trial.filter(|at| self.last_decrease < Some(*at))).is_some() {
            self.trial_pause = TRIAL_PAUSE;
        }
        self.last_trial = Some(now);
        self.set_target(f64::from(bps));
        true
    }

    /// When [`Self::handle_timeout`] is to be called.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.last_feedback.map(|at| at + FEEDBACK_TIMEOUT)
    }

    /// Halves the target when feedback ceased. Call it only while packets leave.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.next_timeout().is_some_and(|at| at <= now) {
            self.set_target(self.target_bps / 2.0);
            self.last_feedback = Some(now);
        }
    }

    fn update(&mut self, now: Instant, usage: Usage) {
        let arrived = self.rate.bps();
        if let Some((fraction, arrived)) = self.loss.take(now).zip(arrived) {
            let queued = self.queue.standing_micros() > LOSS_QUEUE_MICROS;
            self.apply_loss(now, fraction, queued, arrived);
        }
        match (usage, arrived) {
            (Usage::Over, Some(arrived)) => self.decrease(now, arrived * BACK_OFF, arrived),
            (Usage::Normal, Some(arrived)) if self.loss.recent <= TOLERATED_LOSS => {
                self.grow(now, arrived);
            }
            // While a queue empties, or before anything is known: hold.
            _ => {}
        }
        self.last_update = Some(now);
    }

    fn apply_loss(&mut self, now: Instant, fraction: f64, queued: bool, arrived: f64) {
        if fraction > SEVERE_LOSS || fraction > QUEUE_LOSS && queued {
            self.decrease(now, arrived * (1.0 - fraction / 4.0).max(BACK_OFF), arrived);
        }
    }

    /// At most one decrease in the time that the peer needs to show its effect.
    fn decrease(&mut self, now: Instant, to_bps: f64, arrived: f64) {
        let pause = self.round_trip.min(Duration::from_secs(1)) + Duration::from_millis(150);
        if self
            .last_decrease
            .is_some_and(|at| now.saturating_duration_since(at) < pause)
        {
            return;
        }
        let on_trial = |at: Instant| now.saturating_duration_since(at) < TRIAL_TIME;
        if self.last_trial.is_some_and(on_trial) && self.last_decrease < self.last_trial {
            self.trial_pause = (self.trial_pause * 2).min(MAX_TRIAL_PAUSE);
        }
        self.last_decrease = Some(now);
        self.overused_once = true;
        let full = match self.capacity_bps {
            Some(old) if (arrived / old - 1.0).abs() < 0.3 => old * 0.8 + arrived * 0.2,
            _ => arrived,
        };
        self.capacity_bps = Some(full);
        self.set_target(self.target_bps.min(to_bps));
    }

    fn grow(&mut self, now: Instant, arrived: f64) {
        let elapsed = self.last_update.map_or(0.0, |at| {
            now.saturating_duration_since(at).as_secs_f64().min(1.0)
        });
        // The application is the limit: what it does not send proves nothing about the path.
        let ceiling = arrived * CEILING;
        if self.target_bps >= ceiling {
            return;
        }
        let grown = match self.capacity_bps {
            // Far above where the path was full last: it is wider now.
            Some(capacity) if arrived > capacity * 1.2 => {
                self.capacity_bps = None;
                self.target_bps * GROWTH.powf(elapsed)
            }
            // Near it: a packet each response time, gcc §5.5.
            Some(capacity) if self.target_bps > capacity * 0.8 => {
                let response = self.round_trip.as_secs_f64().min(1.0) + 0.1;
                self.target_bps + 1_200.0 * 8.0 * elapsed / response
            }
            _ if self.overused_once => self.target_bps * GROWTH.powf(elapsed),
            _ => self.target_bps * START_GROWTH.powf(elapsed),
        };
        self.set_target(grown.min(ceiling));
    }

    fn set_target(&mut self, bps: f64) {
        let (min, max) = (
            f64::from(self.config.min_bps),
            f64::from(self.config.max_bps),
        );
        self.target_bps = bps.clamp(min, max.max(min));
    }
}

/// Trend of one-way delay over groups of packets.
#[derive(Debug)]
struct DelayTrend {
    origin: Option<Instant>,
    group: Option<Group>,
    previous: Option<Group>,
    accumulated_ms: f64,
    smoothed_ms: f64,
    /// (arrival in ms, smoothed delay in ms); the oldest gives way.
    points: VecDeque<(f64, f64)>,
    groups_seen: u32,
    threshold_ms: f64,
    over_since_micros: Option<i64>,
    last_trend: f64,
    last_adapted_micros: Option<i64>,
}

/// Packets sent together: times of the last one.
#[derive(Clone, Copy, Debug)]
struct Group {
    first_sent: i64,
    sent: i64,
    arrived: i64,
}

impl Default for DelayTrend {
    fn default() -> Self {
        Self {
            origin: None,
            group: None,
            previous: None,
            accumulated_ms: 0.0,
            smoothed_ms: 0.0,
            points: VecDeque::with_capacity(TREND_GROUPS + 1),
            groups_seen: 0,
            threshold_ms: THRESHOLD_START_MS,
            over_since_micros: None,
            last_trend: 0.0,
            last_adapted_micros: None,
        }
    }
}

impl DelayTrend {
    /// A verdict each time that a group ends.
    fn add(&mut self, sent: Instant, arrived: i64) -> Option<Usage> {
        let sent = signed_micros(sent, *self.origin.get_or_insert(sent));
        let Some(group) = &mut self.group else {
            self.group = Some(Group {
                first_sent: sent,
                sent,
                arrived,
            });
            return None;
        };
        if sent - group.first_sent <= GROUP_MICROS {
            group.sent = group.sent.max(sent);
            group.arrived = group.arrived.max(arrived);
            return None;
        }
        let ended = *group;
        self.group = Some(Group {
            first_sent: sent,
            sent,
            arrived,
        });
        let previous = self.previous.replace(ended)?;
        let grown = (ended.arrived - previous.arrived) - (ended.sent - previous.sent);
        Some(self.end_group(grown as f64 / 1_000.0, ended.arrived))
    }

    fn end_group(&mut self, grown_ms: f64, arrived: i64) -> Usage {
        self.accumulated_ms += grown_ms;
        self.smoothed_ms = SMOOTHING * self.smoothed_ms + (1.0 - SMOOTHING) * self.accumulated_ms;
        self.points
            .push_back((arrived as f64 / 1_000.0, self.smoothed_ms));
        if self.points.len() > TREND_GROUPS {
            self.points.pop_front();
        }
        self.groups_seen = self.groups_seen.saturating_add(1);
        if self.points.len() < TREND_GROUPS / 2 {
            return Usage::Normal;
        }
        let trend = slope(&self.points) * f64::from(self.groups_seen.min(60)) * TREND_GAIN;
        let usage = self.judge(trend, arrived);
        self.adapt(trend, arrived);
        self.last_trend = trend;
        usage
    }

    fn judge(&mut self, trend: f64, arrived: i64) -> Usage {
        if trend < -self.threshold_ms {
            self.over_since_micros = None;
            return Usage::Under;
        }
        if trend <= self.threshold_ms {
            self.over_since_micros = None;
            return Usage::Normal;
        }
        let since = *self.over_since_micros.get_or_insert(arrived);
        // A trend that already eases needs no decrease.
        if arrived - since >= OVERUSE_TIME_MICROS && trend >= self.last_trend {
            Usage::Over
        } else {
            Usage::Normal
        }
    }

    /// Follows the trend slowly, so that a competing flow that fills queues does not starve us; not
    /// for spikes, gcc §5.4.
    fn adapt(&mut self, trend: f64, arrived: i64) {
        let last = self.last_adapted_micros.replace(arrived).unwrap_or(arrived);
        let distance = trend.abs() - self.threshold_ms;
        if distance > 15.0 {
            return;
        }
        let speed = if distance > 0.0 {
            THRESHOLD_UP
        } else {
            THRESHOLD_DOWN
        };
        let elapsed_ms = ((arrived - last) as f64 / 1_000.0).clamp(0.0, 100.0);
        self.threshold_ms = (self.threshold_ms + distance * speed * elapsed_ms)
            .clamp(THRESHOLD_MIN_MS, THRESHOLD_MAX_MS);
    }
}

/// Slope of the straight line nearest to the points.
fn slope(points: &VecDeque<(f64, f64)>) -> f64 {
    let count = points.len().max(1) as f64;
    let (sum_x, sum_y) = points
        .iter()
        .fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
    let (mean_x, mean_y) = (sum_x / count, sum_y / count);
    let (mut above, mut below) = (0.0, 0.0);
    for (x, y) in points {
        above += (x - mean_x) * (y - mean_y);
        below += (x - mean_x) * (x - mean_x);
    }
    if below > 0.0 { above / below } else { 0.0 }
}

/// Rate of what arrived, over the receiver's clock.
#[derive(Debug, Default)]
struct RateWindow {
    packets: VecDeque<(i64, usize)>,
    bytes: usize,
    began: Option<i64>,
}

impl RateWindow {
    fn add(&mut self, arrival: i64, size: usize) {
        let began = *self.began.get_or_insert(arrival);
        // The peer's clock went back: begin anew.
        if arrival < began - 1_000_000 {
            *self = Self::default();
        }
        self.packets.push_back((arrival, size));
        self.bytes += size;
        let newest = self
            .packets
            .iter()
            .rev()
            .take(8)
            .map(|(at, _)| *at)
            .max()
            .unwrap_or(arrival);
        while let Some(&(at, size)) = self.packets.front()
            && (newest - at > RATE_WINDOW_MICROS || self.packets.len() > MAX_RATE_SAMPLES)
        {
            self.bytes -= size;
            self.packets.pop_front();
        }
    }

    /// `None` until half a window was seen.
    fn bps(&self) -> Option<f64> {
        let (newest, _) = self.packets.back()?;
        let span = (newest - self.began?).min(RATE_WINDOW_MICROS);
        (span >= RATE_WINDOW_MICROS / 2).then(|| self.bytes as f64 * 8e6 / span as f64)
    }
}

/// One-way delay above the smallest of late.
#[derive(Debug, Default)]
struct QueueDelay {
    origin: Option<Instant>,
    began: Option<Instant>,
    /// Smallest transit of the window before and of this one.
    shortest: [Option<i64>; 2],
    /// Smallest transit of the last feedback: a queue that stood all the while, not a spike.
    latest: Option<i64>,
}

impl QueueDelay {
    fn add(&mut self, now: Instant, sent: Instant, arrived: i64) {
        let origin = *self.origin.get_or_insert(sent);
        self.note(now, arrived - signed_micros(sent, origin));
    }

    fn begin_feedback(&mut self) {
        self.latest = None;
    }

    fn add_round_trip(&mut self, now: Instant, round_trip: Duration) {
        self.begin_feedback();
        self.note(now, round_trip.as_micros() as i64);
    }

    fn note(&mut self, now: Instant, transit: i64) {
        let began = *self.began.get_or_insert(now);
        // Routes change: what was shortest is forgotten after ten to twenty seconds.
        if now.saturating_duration_since(began) > Duration::from_secs(10) {
            self.shortest = [self.shortest[1], None];
            self.began = Some(now);
        }
        self.shortest[1] = Some(self.shortest[1].map_or(transit, |old| old.min(transit)));
        self.latest = Some(self.latest.map_or(transit, |old| old.min(transit)));
    }

    fn standing_micros(&self) -> i64 {
        let shortest = self.shortest.iter().flatten().min();
        self.latest
            .zip(shortest)
            .map_or(0, |(latest, shortest)| latest - shortest)
    }
}

/// Loss over intervals.
#[derive(Debug, Default)]
struct LossCount {
    lost: u32,
    total: u32,
    began: Option<Instant>,
    /// Share lost over the last interval.
    recent: f64,
}

impl LossCount {
    fn add(&mut self, lost: bool) {
        self.total = self.total.saturating_add(1);
        self.lost = self.lost.saturating_add(u32::from(lost));
    }

    /// The share lost, once an interval ended.
    fn take(&mut self, now: Instant) -> Option<f64> {
        let began = *self.began.get_or_insert(now);
        let ended = now.saturating_duration_since(began) >= LOSS_INTERVAL;
        if !ended || self.total < MIN_LOSS_PACKETS {
            return None;
        }
        self.recent = f64::from(self.lost) / f64::from(self.total);
        *self = Self {
            began: Some(now),
            recent: self.recent,
            ..Self::default()
        };
        Some(self.recent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtcp::{self, Packet};
    use crate::twcc::{Arrivals, History};
    use rand::{Rng, SeedableRng, rngs::StdRng};

    /// A sender of video at the controller's target over a bottleneck with a drop-tail queue.
    struct Path {
        start: Instant,
        controller: Controller,
        history: History,
        arrivals: Arrivals,
        random: StdRng,
        bottleneck_bps: f64,
        queue_micros: i64,
        loss: f64,
        /// Most that the application sends.
        application_bps: f64,
        /// When the bottleneck has sent what it holds, in µs.
        free_at: i64,
        under_way: VecDeque<(i64, u16)>,
        feedback: VecDeque<(i64, Vec<u8>)>,
        micros: i64,
        /// Bytes and packets ready to leave, paced by milliseconds.
        credit: f64,
        targets: Vec<u32>,
        queues: Vec<i64>,
        delivered: u64,
    }

    const ONE_WAY_MICROS: i64 = 25_000;
    const PACKET: usize = 1_150;

    impl Path {
        fn new(bottleneck_bps: f64, start_bps: u32) -> Self {
            let config = Config {
                start_bps,
                min_bps: 50_000,
                max_bps: 4_000_000,
            };
            Self {
                start: Instant::now(),
                controller: Controller::new(config),
                history: History::new(),
                arrivals: Arrivals::new(),
                random: StdRng::seed_from_u64(1),
                bottleneck_bps,
                queue_micros: 400_000,
                loss: 0.0,
                application_bps: f64::INFINITY,
                free_at: 0,
                under_way: VecDeque::new(),
                feedback: VecDeque::new(),
                micros: 0,
                credit: 0.0,
                targets: Vec::new(),
                queues: Vec::new(),
                delivered: 0,
            }
        }

        fn now(&self) -> Instant {
            self.start + Duration::from_micros(self.micros as u64)
        }

        fn run(&mut self, seconds: u64) {
            self.targets.clear();
            self.queues.clear();
            self.delivered = 0;
            for ms in 0..seconds * 1_000 {
                self.micros += 1_000;
                self.send();
                self.arrive();
                self.control();
                if ms % 100 == 0 {
                    self.queues.push((self.free_at - self.micros).max(0));
                    self.targets.push(self.controller.target_bps());
                }
            }
        }

        /// Frames at 30 per second, whose packets leave one a millisecond.
        fn send(&mut self) {
            let rate = f64::from(self.controller.target_bps()).min(self.application_bps);
            self.credit += rate / 8_000.0;
            if self.micros % 33_000 > 20_000 || self.credit < PACKET as f64 {
                return;
            }
            self.credit -= PACKET as f64;
            let sequence = self.history.next_sequence();
            self.history.register(self.now(), PACKET);
            let queued = (self.free_at - self.micros).max(0);
            if queued > self.queue_micros || self.random.random_bool(self.loss) {
                return;
            }
            let service = (PACKET as f64 * 8e6 / self.bottleneck_bps) as i64;
            self.free_at = self.free_at.max(self.micros) + service;
            self.under_way
                .push_back((self.free_at + ONE_WAY_MICROS, sequence));
        }

        fn arrive(&mut self) {
            while let Some((at, sequence)) =
                self.under_way.pop_front_if(|(at, _)| *at <= self.micros)
            {
                let arrived = self.start + Duration::from_micros(at as u64);
                self.arrivals.record(arrived, sequence);
                self.delivered += PACKET as u64;
            }
            let mut out = Vec::new();
            if self.arrivals.poll(self.now(), 1, 2, &mut out) {
                self.feedback.push_back((self.micros + ONE_WAY_MICROS, out));
            }
        }

        fn control(&mut self) {
            while let Some((_, data)) = self.feedback.pop_front_if(|(at, _)| *at <= self.micros) {
                let mut samples = Vec::new();
                for packet in rtcp::parse(&data) {
                    let Packet::TransportFeedback(told) = packet.unwrap() else {
                        panic!()
                    };
                    self.history.handle_feedback(&told, &mut samples);
                }
                self.controller.handle_samples(self.now(), &samples);
            }
            self.controller.handle_timeout(self.now());
        }

        fn mean(&self) -> u32 {
            (self.targets.iter().map(|t| u64::from(*t)).sum::<u64>() / self.targets.len() as u64)
                as u32
        }

        fn lowest(&self) -> u32 {
            *self.targets.iter().min().unwrap()
        }

        fn delivered_bps(&self) -> u64 {
            self.delivered * 8 * 10 / self.targets.len() as u64
        }
    }

    #[test]
    fn a_bottleneck_is_filled_without_collapse_and_left_behind_when_it_goes() {
        let mut path = Path::new(3_000_000.0, 500_000);
        path.run(20);
        assert!(
            path.controller.target_bps() > 1_500_000,
            "{}",
            path.controller.target_bps()
        );
        path.bottleneck_bps = 500_000.0;
        path.run(6);
        assert!(path.lowest() >= 250_000, "{}", path.lowest());
        path.run(30);
        let (mean, lowest, delivered) = (path.mean(), path.lowest(), path.delivered_bps());
        let queue_ms = path.queues.iter().sum::<i64>() / path.queues.len() as i64 / 1_000;
        println!("mean {mean}, lowest {lowest}, delivered {delivered}, mean queue {queue_ms} ms");
        assert!(queue_ms <= 100, "{queue_ms}");
        assert!((350_000..=500_000).contains(&mean), "{mean}");
        assert!(lowest >= 250_000, "{lowest}");
        assert!(delivered >= 350_000, "{delivered}");
        path.bottleneck_bps = 3_000_000.0;
        path.run(15);
        println!("released: {}", path.controller.target_bps());
        assert!(
            path.controller.target_bps() >= 1_000_000,
            "{}",
            path.controller.target_bps()
        );
    }

    #[test]
    fn random_loss_without_a_queue_does_not_collapse() {
        let mut path = Path::new(3_000_000.0, 800_000);
        path.loss = 0.10;
        path.run(40);
        println!(
            "10 % loss: lowest {}, at last {}",
            path.lowest(),
            path.controller.target_bps()
        );
        assert!(path.lowest() >= 700_000, "{}", path.lowest());
    }

    #[test]
    fn the_application_is_not_mistaken_for_the_path() {
        let mut path = Path::new(3_000_000.0, 300_000);
        path.application_bps = 200_000.0;
        path.run(30);
        println!(
            "application sends 200 kbit/s: target {}",
            path.controller.target_bps()
        );
        assert!((200_000..=400_000).contains(&path.controller.target_bps()));
        path.application_bps = f64::INFINITY;
        path.run(15);
        assert!(
            path.controller.target_bps() >= 1_000_000,
            "{}",
            path.controller.target_bps()
        );
    }

    #[test]
    fn a_larger_layer_may_be_tried_and_a_failed_trial_waits() {
        let mut path = Path::new(3_000_000.0, 300_000);
        path.application_bps = 200_000.0;
        path.run(10);
        assert!(path.controller.try_rate(path.now(), 900_000));
        path.application_bps = 900_000.0;
        path.run(10);
        assert!(path.lowest() >= 900_000, "{}", path.lowest());

        let mut path = Path::new(500_000.0, 300_000);
        path.application_bps = 200_000.0;
        path.run(10);
        assert!(path.controller.try_rate(path.now(), 900_000));
        path.application_bps = 900_000.0;
        path.run(2);
        assert!(
            path.controller.target_bps() < 700_000,
            "{}",
            path.controller.target_bps()
        );
        path.application_bps = 200_000.0;
        path.run(3);
        assert!(!path.controller.try_rate(path.now(), 900_000));
        path.run(8);
        assert!(path.controller.try_rate(path.now(), 900_000));
    }

    #[test]
    fn the_queue_stays_short() {
        let mut path = Path::new(1_000_000.0, 300_000);
        path.run(10);
        let mut worst = 0;
        for _ in 0..20 {
            path.run(1);
            worst = worst.max(path.free_at - path.micros);
        }
        println!("queue at 1 Mbit/s: {worst} us");
        assert!(worst < 200_000, "{worst}");
    }

    #[test]
    fn lost_feedback_lowers_the_rate() {
        let mut path = Path::new(3_000_000.0, 1_000_000);
        path.run(2);
        let before = path.controller.target_bps();
        path.loss = 1.0;
        path.run(5);
        assert!(path.controller.target_bps() <= before / 4);
        path.loss = 0.0;
        path.run(10);
        assert!(path.controller.target_bps() > before / 4);
    }

    #[test]
    fn reports_alone_lower_and_raise_the_rate() {
        let start = Instant::now();
        let config = Config {
            start_bps: 1_000_000,
            min_bps: 100_000,
            max_bps: 2_000_000,
        };
        let mut controller = Controller::new(config);
        let report = |controller: &mut Controller, s: u64, loss| {
            let sent = controller.target_bps();
            controller.handle_report(
                start + Duration::from_secs(s),
                loss,
                Some(Duration::from_millis(40)),
                sent,
            );
        };
        (0..5).for_each(|s| report(&mut controller, s, 0.4));
        let low = controller.target_bps();
        assert!((100_000..500_000).contains(&low), "{low}");
        (5..30).for_each(|s| report(&mut controller, s, 0.0));
        assert!(
            controller.target_bps() > low + low / 2,
            "{}",
            controller.target_bps()
        );
    }

    #[test]
    fn bounds_are_kept() {
        let config = Config {
            start_bps: 1_000_000,
            min_bps: 100_000,
            max_bps: 2_000_000,
        };
        let mut controller = Controller::new(config);
        controller.set_bounds(50_000, 600_000);
        assert_eq!(controller.target_bps(), 600_000);
        controller.set_bounds(700_000, 100_000);
        assert_eq!(controller.target_bps(), 700_000);
    }
}
