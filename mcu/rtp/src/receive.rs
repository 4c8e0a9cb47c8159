//! One received stream: statistics, duplicates, retransmission requests and reports.
//!
//! RFC 3550 §6.4.1 and appendix A for the figures, RFC 4585 §6.2.1 for NACK.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::clock::{NtpTime, signed_micros};
use crate::header::RtpHeader;
use crate::rtcp::{ReportBlock, SenderInfo};
use crate::seq::{ExtSeq, ExtTs, SeqExtender, TsExtender};

/// A step forward by more is a restart of the sender or a stray packet, RFC 3550 A.1.
const MAX_DROPOUT: u16 = 3_000;
/// Packets behind the highest one that are still taken; a multiple of 64.
const WINDOW: u64 = 1_024;
/// Packets that may be missing at once. Beyond it asking is hopeless: the list is emptied and
/// [`ReceiveStream::take_overwhelmed`] says that a key frame is cheaper.
const MAX_MISSING: usize = 256;
/// NACKs leave at this interval at most.
const NACK_INTERVAL: Duration = Duration::from_millis(20);
/// A packet is asked for again no sooner than this, whatever the round trip.
const MIN_RETRY: Duration = Duration::from_millis(40);
/// The same where so much is lost that the request or its answer often is.
const MIN_RETRY_LOSSY: Duration = Duration::from_millis(25);
/// Share lost of late from which on a line is that bad.
const LOSSY: f32 = 0.06;
/// The same from which on a request is sent twice.
const VERY_LOSSY: f32 = 0.12;
/// Packets over which the share lost of late is taken.
const LOSS_WINDOW: f32 = 256.0;
/// Requests for one packet.
const MAX_TRIES: u8 = 8;
/// A packet missing for longer would come too late to be shown.
const MAX_MISSING_AGE: Duration = Duration::from_millis(1_000);
/// A first request waits this long for a packet that was only overtaken; longer, up to the second,
/// on paths that reorder.
const MIN_REORDER: Duration = Duration::from_millis(5);
const MAX_REORDER: Duration = Duration::from_millis(60);
/// After a silence of so long, nobody knows how often timestamps have wrapped meanwhile: half their
/// range is 6.6 hours at 90 kHz.
const LONG_SILENCE: Duration = Duration::from_secs(3_600);
/// Round trip assumed before one was measured.
const DEFAULT_ROUND_TRIP: Duration = Duration::from_millis(100);

/// What does not change while a stream lives.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Ticks of the RTP clock per second.
    pub clock_hz: u32,
    /// Generic NACK was agreed: missing packets are asked for.
    pub nack: bool,
}

/// A packet that is new, with its place in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Sequence number. Grows over restarts too.
    pub seq: ExtSeq,
    /// Timestamp. Grows over restarts too.
    pub ts: ExtTs,
    /// The sender began anew (other SSRC or numbering): reset what depends on earlier packets.
    pub restarted: bool,
}

/// What is to be done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Use it.
    Fresh(Accepted),
    /// It came before: drop it.
    Duplicate,
    /// Too far behind, or a lone packet far ahead: drop it.
    Stray,
}

/// Figures of a stream since it began or restarted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stats {
    /// Packets received, duplicates and retransmissions not counted.
    pub packets: u64,
    /// Payload bytes received.
    pub bytes: u64,
    /// Packets lost on the way, repaired or not; those before it restarted are among them.
    pub lost: u64,
    /// Of those, repaired by retransmission.
    pub repaired: u64,
    /// Duplicates dropped.
    pub duplicates: u64,
    /// Requests for retransmission sent, counted by packet.
    pub nacked: u64,
    /// Interarrival jitter in ms.
    pub jitter_ms: f32,
    /// Share lost over the last report interval, 0 to 1.
    pub fraction_lost: f32,
}

/// State of one received stream.
#[derive(Debug)]
pub struct ReceiveStream {
    config: Config,
    ssrc: Option<u32>,
    origin: Option<Instant>,
    seq: SeqExtender,
    ts: TsExtender,
    first_seq: ExtSeq,
    /// Sequence number that would confirm a restart, RFC 3550 A.1.
    suspect: Option<u16>,
    seen: Seen,
    missing: BTreeMap<ExtSeq, Missing>,
    next_nack: Option<Instant>,
    overwhelmed: bool,
    round_trip: Duration,
    /// From a request to its answer, smoothed; `None` before the first.
    answer: Option<Duration>,
    /// Share of packets that did not come by themselves, of late.
    recent_loss: f32,
    /// Packets that came again as they were, and so count as received in reports.
    repeated: u64,
    /// How late overtaken packets come, of late.
    reorder: Duration,
    /// When the last packet came.
    heard: Option<Instant>,
    /// Interarrival jitter in 1/16 tick, and the last packet's transit time in ticks.
    jitter: i64,
    transit: Option<i64>,
    expected_prior: u64,
    received_prior: u64,
    stats: Stats,
    /// Packets lost before it restarted last.
    lost_before: u64,
    last_sr: Option<(SenderInfo, Instant)>,
}

#[derive(Clone, Copy, Debug)]
struct Missing {
    since: Instant,
    asked: Option<Instant>,
    tries: u8,
}

impl ReceiveStream {
    /// A stream of which nothing came yet.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            ssrc: None,
            origin: None,
            seq: SeqExtender::new(),
            ts: TsExtender::new(),
            first_seq: ExtSeq::new(0),
            suspect: None,
            seen: Seen::default(),
            missing: BTreeMap::new(),
            next_nack: None,
            overwhelmed: false,
            round_trip: DEFAULT_ROUND_TRIP,
            answer: None,
            recent_loss: 0.0,
            repeated: 0,
            reorder: MIN_REORDER,
            heard: None,
            jitter: 0,
            transit: None,
            expected_prior: 0,
            received_prior: 0,
            stats: Stats::default(),
            lost_before: 0,
            last_sr: None,
        }
    }

    /// A packet of the stream arrived by itself.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        header: &RtpHeader,
        payload_len: usize,
    ) -> Verdict {
        let highest = self.seq.highest();
        let restarted = match highest {
            Some(_) if self.ssrc != Some(header.ssrc) => true,
            Some(highest) => match self.check_step(highest, header.sequence) {
                Step::Near => false,
                Step::Restart => true,
                Step::Stray => return Verdict::Stray,
            },
            None => false,
        };
        if restarted || highest.is_none() {
            self.begin(now, header, restarted);
        }
        let seq = self.seq.peek(header.sequence);
        if let Err(verdict) = self.note_seen(seq) {
            return verdict;
        }
        if let (Some(highest), false) = (highest, restarted) {
            self.note_gap(now, highest, seq);
        }
        self.note_reordered(now, seq);
        self.note_silence(now, header.timestamp);
        let (seq, ts) = (
            self.seq.extend(header.sequence),
            self.ts.extend(header.timestamp),
        );
        self.stats.packets += 1;
        self.stats.bytes += payload_len as u64;
        self.note_jitter(now, ts);
        Verdict::Fresh(Accepted { seq, ts, restarted })
    }

    /// A packet came by retransmission: `header` is that of the original (see [`crate::rtx`]).
    /// It repairs, but counts as lost in reports (RFC 4588 §4) and tells nothing about jitter.
    pub fn handle_retransmission(
        &mut self,
        now: Instant,
        header: &RtpHeader,
        payload_len: usize,
    ) -> Verdict {
        let Some(highest) = self.seq.highest() else {
            return Verdict::Stray;
        };
        let seq = self.seq.peek(header.sequence);
        if self.ssrc != Some(header.ssrc) || seq > highest || seq < self.first_seq {
            return Verdict::Stray;
        }
        if let Err(verdict) = self.note_seen(seq) {
            return verdict;
        }
        if let Some(missing) = self.missing.remove(&seq) {
            self.note_answer(now, &missing);
        }
        self.stats.repaired += 1;
        self.stats.bytes += payload_len as u64;
        let ts = self.ts.peek(header.timestamp);
        Verdict::Fresh(Accepted {
            seq,
            ts,
            restarted: false,
        })
    }

    /// The sender's report arrived.
    pub fn handle_sender_report(&mut self, now: Instant, info: &SenderInfo) {
        self.last_sr = Some((*info, now));
    }

    /// Round trip to the peer, which spaces repeated requests. Answers of half of it are of a time before it
    /// grew: none is measured any more where each packet is asked for twice before its answer can be there.
    pub fn set_round_trip(&mut self, round_trip: Duration) {
        self.round_trip = round_trip;
        self.answer = self.answer.filter(|answer| *answer >= round_trip / 2);
    }

    /// Sequence numbers to ask for now are appended to `out`, ascending. Nothing is appended
    /// without agreed NACK or more often than every 20 ms.
    pub fn poll_nack(&mut self, now: Instant, out: &mut Vec<u16>) {
        if self.next_nack.is_none_or(|at| now < at) {
            return;
        }
        let (retry, reorder) = (self.retry(), self.reorder);
        let asked_before = out.len();
        self.missing.retain(|seq, missing| {
            let age = now.saturating_duration_since(missing.since);
            let due = match missing.asked {
                None => age >= reorder,
                Some(at) => now.saturating_duration_since(at) >= retry,
            };
            if age > MAX_MISSING_AGE || due && missing.tries == MAX_TRIES {
                return false;
            }
            if due {
                missing.tries += 1;
                missing.asked = Some(now);
                out.push(seq.wire());
            }
            true
        });
        self.stats.nacked += (out.len() - asked_before) as u64;
        self.next_nack = (!self.missing.is_empty()).then(|| now + NACK_INTERVAL);
    }

    /// When [`Self::poll_nack`] is to be called.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.next_nack
    }

    /// From a request to its answer: as measured, else the round trip.
    pub fn answer_time(&self) -> Duration {
        self.answer.unwrap_or(self.round_trip)
    }

    /// Share of packets that did not come by themselves, of late, 0 to 1.
    pub fn recent_loss(&self) -> f32 {
        self.recent_loss
    }

    /// Whether so much is lost of late that requests and their answers often are.
    pub fn is_lossy(&self) -> bool {
        self.recent_loss >= LOSSY
    }

    /// Whether packets behind this one came before it.
    pub fn is_behind(&self, seq: ExtSeq) -> bool {
        self.seq.highest().is_some_and(|highest| seq < highest)
    }

    /// Requests that leave at once: where much is lost, one of them often is.
    pub fn requests(&self) -> usize {
        1 + usize::from(self.recent_loss >= VERY_LOSSY)
    }

    /// How long an answer is waited for. On a lossy line a second request leaves before the first could
    /// be answered: to wait for one that is lost would double the pause.
    fn retry(&self) -> Duration {
        let answer = self.answer_time();
        match self.is_lossy() {
            true => (answer / 2).max(MIN_RETRY_LOSSY),
            false => answer.mul_f32(1.3).max(MIN_RETRY),
        }
    }

    /// Which of several requests was answered is not known.
    fn note_answer(&mut self, now: Instant, missing: &Missing) {
        if let (Some(asked), 1) = (missing.asked, missing.tries) {
            let took = now.saturating_duration_since(asked);
            self.answer = Some(self.answer.map_or(took, |old| old * 7 / 8 + took / 8));
        }
    }

    /// More was lost than can be asked for, since the last call: ask for a key frame.
    pub fn take_overwhelmed(&mut self) -> bool {
        std::mem::take(&mut self.overwhelmed)
    }

    /// The report block about this stream; begins the next report interval. `None` before the
    /// first packet.
    pub fn report_block(&mut self, now: Instant) -> Option<ReportBlock> {
        let highest = self.seq.highest()?;
        let expected = self.expected();
        let interval = expected.saturating_sub(self.expected_prior);
        let received = self.stats.packets.saturating_sub(self.received_prior);
        (self.expected_prior, self.received_prior) = (expected, self.stats.packets);
        let lost = interval.saturating_sub(received);
        let fraction = (lost * 256).checked_div(interval).unwrap_or(0).min(255);
        self.stats.fraction_lost = fraction as f32 / 256.0;
        let (last_sr, delay) = self.last_sr.map_or((0, 0), |(info, at)| {
            let delay = now.saturating_duration_since(at).as_micros() * 65_536 / 1_000_000;
            (info.ntp.compact(), delay as u32)
        });
        Some(ReportBlock {
            ssrc: self.ssrc?,
            fraction_lost: fraction as u8,
            cumulative_lost: (expected as i64 - self.stats.packets as i64)
                .clamp(-0x80_0000, 0x7F_FFFF) as i32,
            highest_sequence: self.cycles_from_zero(highest),
            jitter: (self.jitter >> 4) as u32,
            last_sr,
            delay_since_last_sr: delay,
        })
    }

    /// SSRC of the stream, once a packet came.
    pub fn ssrc(&self) -> Option<u32> {
        self.ssrc
    }

    /// The sender's last report: its NTP time and the RTP timestamp of that moment.
    pub fn sender_clock(&self) -> Option<(NtpTime, u32)> {
        self.last_sr.map(|(info, _)| (info.ntp, info.rtp_timestamp))
    }

    /// Figures so far.
    pub fn stats(&self) -> Stats {
        let jitter_ticks = self.jitter as f32 / 16.0;
        Stats {
            jitter_ms: jitter_ticks * 1_000.0 / self.config.clock_hz.max(1) as f32,
            lost: self.lost_before
                + self.expected().saturating_sub(self.stats.packets)
                + self.repeated,
            ..self.stats
        }
    }

    /// Reports count cycles from zero at the first packet, RFC 3550 A.1.
    fn cycles_from_zero(&self, seq: ExtSeq) -> u32 {
        seq.get().wrapping_sub(self.first_seq.get() & !0xFFFF) as u32
    }

    fn expected(&self) -> u64 {
        self.seq
            .highest()
            .map_or(0, |highest| highest.since(self.first_seq).max(0) as u64 + 1)
    }

    /// RFC 3550 A.1, with a wider place for late packets.
    fn check_step(&mut self, highest: ExtSeq, wire: u16) -> Step {
        let forward = wire.wrapping_sub(highest.wire());
        let backward = highest.wire().wrapping_sub(wire);
        if forward < MAX_DROPOUT || u64::from(backward) < WINDOW {
            self.suspect = None;
            return Step::Near;
        }
        if self.suspect == Some(wire) {
            return Step::Restart;
        }
        self.suspect = Some(wire.wrapping_add(1));
        Step::Stray
    }

    /// Starts counting at this packet.
    fn begin(&mut self, now: Instant, header: &RtpHeader, restarted: bool) {
        if restarted {
            self.lost_before = self.stats().lost;
            self.seq.jump(header.sequence);
            self.ts.jump(header.timestamp);
            let stats = Stats {
                jitter_ms: 0.0,
                fraction_lost: 0.0,
                ..Stats::default()
            };
            self.stats = stats;
            self.repeated = 0;
            self.last_sr = None;
        }
        self.first_seq = self.seq.peek(header.sequence);
        self.ssrc = Some(header.ssrc);
        self.origin = Some(now);
        self.suspect = None;
        self.seen = Seen::default();
        self.missing.clear();
        self.next_nack = None;
        (self.jitter, self.transit) = (0, None);
        (self.expected_prior, self.received_prior) = (0, 0);
    }

    fn note_seen(&mut self, seq: ExtSeq) -> Result<(), Verdict> {
        match self.seen.insert(seq) {
            Some(true) => Ok(()),
            Some(false) => {
                self.stats.duplicates += 1;
                Err(Verdict::Duplicate)
            }
            None => Err(Verdict::Stray),
        }
    }

    fn note_gap(&mut self, now: Instant, highest: ExtSeq, seq: ExtSeq) {
        let gap = seq.since(highest) - 1;
        if gap >= 0 {
            let share = (gap as f32 / LOSS_WINDOW).min(1.0);
            self.recent_loss = self.recent_loss * (1.0 - 1.0 / LOSS_WINDOW) + share;
        }
        if gap <= 0 || !self.config.nack {
            return;
        }
        if self.missing.len() + gap as usize > MAX_MISSING {
            self.missing.clear();
            self.next_nack = None;
            self.overwhelmed = true;
            return;
        }
        for step in 1..=gap as u64 {
            let missing = Missing {
                since: now,
                asked: None,
                tries: 0,
            };
            self.missing.insert(highest.plus(step), missing);
        }
        self.next_nack.get_or_insert(now + self.reorder);
    }

    /// A missing packet came by itself: so long must the next first request wait. Each packet in
    /// order lets that wane.
    fn note_reordered(&mut self, now: Instant, seq: ExtSeq) {
        match self.missing.remove(&seq) {
            Some(missing) => {
                let late = now.saturating_duration_since(missing.since) + Duration::from_millis(2);
                let asked = missing.asked.map(|at| now.saturating_duration_since(at));
                let too_soon = |took| took < self.round_trip / 2 && late < MIN_RETRY;
                // After a request it is the answer, most likely, where packets are repeated as they were.
                if asked.is_none_or(too_soon) {
                    self.recent_loss = (self.recent_loss - 1.0 / LOSS_WINDOW).max(0.0);
                    self.reorder = self.reorder.max(late.min(MAX_REORDER));
                } else {
                    self.note_answer(now, &missing);
                    self.stats.repaired += 1;
                    self.repeated += 1;
                }
            }
            None => self.reorder = (self.reorder - self.reorder / 512).max(MIN_REORDER),
        }
    }

    /// Timestamps go on above all that was seen when the last packet was long ago.
    fn note_silence(&mut self, now: Instant, timestamp: u32) {
        let heard = self.heard.replace(now);
        if heard.is_some_and(|at| now.saturating_duration_since(at) > LONG_SILENCE) {
            self.ts.jump(timestamp);
            self.transit = None;
        }
    }

    /// RFC 3550 A.8, in 1/16 tick.
    fn note_jitter(&mut self, now: Instant, ts: ExtTs) {
        let Some(origin) = self.origin else { return };
        let micros = signed_micros(now, origin);
        let arrival = crate::clock::micros_to_ticks(micros, self.config.clock_hz);
        let transit = arrival.wrapping_sub(ts.get() as i64);
        if let Some(previous) = self.transit.replace(transit) {
            let step = (transit - previous)
                .abs()
                .min(i64::from(self.config.clock_hz) * 10);
            self.jitter += step - ((self.jitter + 8) >> 4);
        }
    }
}

enum Step {
    Near,
    Restart,
    Stray,
}

/// The last [`WINDOW`] sequence numbers, one bit each.
#[derive(Debug)]
struct Seen {
    bits: [u64; (WINDOW / 64) as usize],
    highest: Option<u64>,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            bits: [0; (WINDOW / 64) as usize],
            highest: None,
        }
    }
}

impl Seen {
    /// `Some(true)` if new, `Some(false)` if seen, `None` if too old to know.
    fn insert(&mut self, seq: ExtSeq) -> Option<bool> {
        let seq = seq.get();
        let highest = *self.highest.get_or_insert(seq);
        if seq > highest {
            let first = (highest + 1).max((seq + 1).saturating_sub(WINDOW));
            for skipped in first..=seq {
                *self.word(skipped) &= !(1 << (skipped % 64));
            }
            self.highest = Some(seq);
        } else if highest - seq >= WINDOW {
            return None;
        }
        let word = self.word(seq);
        let fresh = *word & 1 << (seq % 64) == 0;
        *word |= 1 << (seq % 64);
        Some(fresh)
    }

    fn word(&mut self, seq: u64) -> &mut u64 {
        &mut self.bits[(seq % WINDOW / 64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIDEO: Config = Config {
        clock_hz: 90_000,
        nack: true,
    };

    fn header(sequence: u16, timestamp: u32) -> RtpHeader {
        RtpHeader {
            payload_type: 96,
            marker: false,
            sequence,
            timestamp,
            ssrc: 1,
        }
    }

    fn fresh(verdict: Verdict) -> Accepted {
        match verdict {
            Verdict::Fresh(accepted) => accepted,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn loss_and_duplicates_are_counted() {
        let start = Instant::now();
        let mut stream = ReceiveStream::new(VIDEO);
        for n in 0..100u16 {
            let now = start + Duration::from_millis(10) * u32::from(n);
            let sequence = n.wrapping_add(65_500);
            if n % 10 == 5 {
                continue;
            }
            fresh(stream.handle_packet(now, &header(sequence, u32::from(n) * 900), 100));
            let again = stream.handle_packet(now, &header(sequence, u32::from(n) * 900), 100);
            assert_eq!(again, Verdict::Duplicate);
        }
        let block = stream.report_block(start + Duration::from_secs(1)).unwrap();
        assert_eq!((block.cumulative_lost, block.fraction_lost), (10, 25));
        assert_eq!(block.highest_sequence, 65_500 + 99);
        assert_eq!(block.jitter, 0);
        assert_eq!(
            (stream.stats().packets, stream.stats().duplicates),
            (90, 90)
        );
        let block = stream.report_block(start + Duration::from_secs(2)).unwrap();
        assert_eq!(block.fraction_lost, 0);
    }

    #[test]
    fn jitter_follows_appendix_a8() {
        let start = Instant::now();
        let mut stream = ReceiveStream::new(VIDEO);
        for n in 0..2_000u32 {
            // Packets alternate between on time and 10 ms late: |D| is 900 ticks each time.
            let late = Duration::from_millis(u64::from(n % 2) * 10);
            let now = start + Duration::from_millis(20) * n + late;
            stream.handle_packet(now, &header(n as u16, n * 1_800), 10);
        }
        assert!(
            (stream.stats().jitter_ms - 10.0).abs() < 0.2,
            "{}",
            stream.stats().jitter_ms
        );
    }

    #[test]
    fn missing_packets_are_asked_for_until_they_come() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut stream = ReceiveStream::new(VIDEO);
        stream.set_round_trip(Duration::from_millis(50));
        stream.handle_packet(at(0), &header(65_535, 0), 1);
        assert_eq!(stream.next_timeout(), None);
        stream.handle_packet(at(0), &header(3, 0), 1);
        let mut asked = Vec::new();
        stream.poll_nack(at(4), &mut asked);
        assert!(asked.is_empty());
        stream.poll_nack(stream.next_timeout().unwrap(), &mut asked);
        assert_eq!(asked, [0, 1, 2]);
        asked.clear();
        // 1 arrives late, 2 by retransmission; 0 is asked for again after a round trip.
        fresh(stream.handle_packet(at(20), &header(1, 0), 1));
        fresh(stream.handle_retransmission(at(30), &header(2, 0), 1));
        assert_eq!(
            stream.handle_retransmission(at(30), &header(2, 0), 1),
            Verdict::Duplicate
        );
        stream.poll_nack(at(40), &mut asked);
        assert!(asked.is_empty());
        stream.poll_nack(at(61), &mut asked);
        assert_eq!(asked, [0]);
        stream.poll_nack(at(2_000), &mut asked);
        assert_eq!(asked, [0]);
        assert_eq!(stream.next_timeout(), None);
        // 1 came by itself: too soon to be an answer.
        assert_eq!((stream.stats().repaired, stream.stats().lost), (1, 2));
    }

    #[test]
    fn requests_for_one_packet_are_limited() {
        let start = Instant::now();
        let mut stream = ReceiveStream::new(VIDEO);
        stream.set_round_trip(Duration::ZERO);
        stream.handle_packet(start, &header(0, 0), 1);
        stream.handle_packet(start, &header(2, 0), 1);
        let mut asked = Vec::new();
        while let Some(at) = stream.next_timeout() {
            stream.poll_nack(at, &mut asked);
        }
        assert_eq!(asked, [1; MAX_TRIES as usize]);
    }

    #[test]
    fn on_a_path_that_reorders_requests_wait() {
        let start = Instant::now();
        let mut stream = ReceiveStream::new(VIDEO);
        let mut asked = Vec::new();
        for n in 0..200u64 {
            // Pairs change places: the first of each comes 12 ms after the second.
            let now = start + Duration::from_millis(20 * n);
            let pair = (n * 2) as u16;
            fresh(stream.handle_packet(now, &header(pair + 1, 0), 1));
            (0..12).for_each(|ms| stream.poll_nack(now + Duration::from_millis(ms), &mut asked));
            fresh(stream.handle_packet(now + Duration::from_millis(12), &header(pair, 0), 1));
        }
        assert!(asked.len() <= 2, "{asked:?}");
    }

    #[test]
    fn without_agreement_nothing_is_asked_for() {
        let mut stream = ReceiveStream::new(Config {
            nack: false,
            ..VIDEO
        });
        stream.handle_packet(Instant::now(), &header(0, 0), 1);
        stream.handle_packet(Instant::now(), &header(9, 0), 1);
        assert_eq!(stream.next_timeout(), None);
        assert!(!stream.take_overwhelmed());
    }

    #[test]
    fn a_large_hole_asks_for_a_key_frame() {
        let mut stream = ReceiveStream::new(VIDEO);
        stream.handle_packet(Instant::now(), &header(0, 0), 1);
        stream.handle_packet(Instant::now(), &header(1_000, 0), 1);
        assert_eq!(stream.next_timeout(), None);
        assert!(stream.take_overwhelmed());
        assert!(!stream.take_overwhelmed());
    }

    #[test]
    fn restart_needs_two_packets_and_numbers_go_on_growing() {
        let now = Instant::now();
        let mut stream = ReceiveStream::new(VIDEO);
        let old = fresh(stream.handle_packet(now, &header(10, 500), 1));
        assert_eq!(
            stream.handle_packet(now, &header(30_000, 7), 1),
            Verdict::Stray
        );
        let near = fresh(stream.handle_packet(now, &header(11, 500), 1));
        assert!(!near.restarted);
        assert_eq!(
            stream.handle_packet(now, &header(30_000, 7), 1),
            Verdict::Stray
        );
        let new = fresh(stream.handle_packet(now, &header(30_001, 7), 1));
        assert!(new.restarted && new.seq > old.seq && new.ts > old.ts);
        assert_eq!(stream.stats().packets, 1);
    }

    #[test]
    fn another_ssrc_restarts_at_once() {
        let now = Instant::now();
        let mut stream = ReceiveStream::new(VIDEO);
        fresh(stream.handle_packet(now, &header(10, 500), 1));
        let other = RtpHeader {
            ssrc: 2,
            ..header(9, 0)
        };
        let accepted = fresh(stream.handle_packet(now, &other, 1));
        assert!(accepted.restarted);
        assert_eq!(stream.ssrc(), Some(2));
        let block = stream.report_block(now).unwrap();
        assert_eq!((block.ssrc, block.cumulative_lost), (2, 0));
    }

    /// Defect that this guards against: what a leg had lost was forgotten when its sender began anew, and
    /// the server's count of losses stood still until as much was lost again.
    #[test]
    fn what_was_lost_before_a_restart_stays_counted() {
        let now = Instant::now();
        let mut stream = ReceiveStream::new(VIDEO);
        stream.handle_packet(now, &header(10, 0), 1);
        stream.handle_packet(now, &header(13, 0), 1);
        assert_eq!(stream.stats().lost, 2);
        for (ssrc, lost) in [(2, 3), (3, 4)] {
            for sequence in [100, 102] {
                let other = RtpHeader {
                    ssrc,
                    ..header(sequence, 0)
                };
                stream.handle_packet(now, &other, 1);
            }
            assert_eq!(stream.stats().lost, lost);
        }
        assert_eq!(stream.report_block(now).unwrap().cumulative_lost, 1);
    }

    #[test]
    fn reports_carry_the_senders_clock_back() {
        let start = Instant::now();
        let mut stream = ReceiveStream::new(VIDEO);
        assert_eq!(stream.report_block(start), None);
        stream.handle_packet(start, &header(0, 0), 1);
        let ntp = NtpTime::new(0x1111_2222_3333_4444);
        let info = SenderInfo {
            ntp,
            rtp_timestamp: 9,
            packets: 1,
            octets: 1,
        };
        stream.handle_sender_report(start, &info);
        let block = stream
            .report_block(start + Duration::from_millis(1_500))
            .unwrap();
        assert_eq!(
            (block.last_sr, block.delay_since_last_sr),
            (0x2222_3333, 98_304)
        );
        assert_eq!(stream.sender_clock(), Some((ntp, 9)));
    }
}
