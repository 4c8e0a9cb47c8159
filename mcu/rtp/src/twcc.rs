//! Transport-wide congestion control: what arrived when, told to the sender.
//!
//! draft-holmer-rmcat-transport-wide-cc-extensions-01. [`Arrivals`] is the receiving half, one for
//! each transport; [`History`] the sending half.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::clock::signed_micros;
use crate::rtcp::{self, FeedbackHead, TransportFeedback};
use crate::seq::{ExtSeq, SeqExtender};

/// Feedback leaves at this interval while packets arrive.
const INTERVAL: Duration = Duration::from_millis(50);
/// Packets told about in one message, which then stays below 1,000 bytes.
const MAX_STATUSES: usize = 400;
/// Messages written at one poll; what they do not hold is left out.
const MAX_MESSAGES: usize = 8;
/// Arrivals remembered. When full, the oldest is forgotten.
const MAX_ARRIVALS: usize = 4_096;
/// Arrivals are remembered for this long after they were told, for packets that come late.
const REMEMBERED_MICROS: i64 = 500_000;
/// A larger hole is a restart of the sender.
const MAX_HOLE: i64 = 3_000;
/// Deltas and arrivals are in 250 µs, the reference in 64 ms.
const TICK_MICROS: i64 = 250;
const TICKS_PER_REFERENCE: i64 = 256;
/// Packets remembered by the sender: a second at 4,000 a second. The oldest gives way.
const HISTORY: usize = 4_096;
/// Transport sequence number 1, a cycle above zero.
const FIRST: u64 = (1 << 16) + 1;

/// Arrivals of the packets of one transport.
#[derive(Debug, Default)]
pub struct Arrivals {
    origin: Option<Instant>,
    numbering: SeqExtender,
    arrived: BTreeMap<ExtSeq, i64>,
    /// First sequence number that was not told about yet.
    next: Option<ExtSeq>,
    due: Option<Instant>,
    count: u8,
    deltas: Vec<Option<i16>>,
}

impl Arrivals {
    /// Nothing arrived yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A packet arrived with this transport sequence number.
    pub fn record(&mut self, now: Instant, sequence: u16) {
        let micros = signed_micros(now, *self.origin.get_or_insert(now));
        let highest = self.numbering.highest();
        let mut seq = self.numbering.extend(sequence);
        if highest.is_some_and(|highest| seq.since(highest).abs() > MAX_HOLE) {
            self.arrived.clear();
            self.next = None;
            seq = self.numbering.jump(sequence);
        }
        // One that comes after its feedback is told about again, with those around it.
        self.next = Some(self.next.map_or(seq, |next| next.min(seq)));
        self.arrived.entry(seq).or_insert(micros);
        while self.arrived.len() > MAX_ARRIVALS {
            self.arrived.pop_first();
        }
        self.due.get_or_insert(now + INTERVAL);
    }

    /// When [`Self::poll`] is to be called.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Appends feedback to `out` if it is due: usually one message. `false` if none was due.
    pub fn poll(&mut self, now: Instant, sender: u32, media: u32, out: &mut Vec<u8>) -> bool {
        if self.due.is_none_or(|due| now < due) {
            return false;
        }
        self.due = None;
        let mut written = false;
        for _ in 0..MAX_MESSAGES {
            if !self.write_message(sender, media, out) {
                break;
            }
            written = true;
        }
        self.forget(now);
        written
    }

    fn write_message(&mut self, sender: u32, media: u32, out: &mut Vec<u8>) -> bool {
        let Some(base) = self.next else { return false };
        let Some((&first, &first_micros)) = self.arrived.range(base..).next() else {
            return false;
        };
        // What is missing before the first one told about fits the message, or is left out.
        let base = if first.since(base) >= MAX_STATUSES as i64 {
            first
        } else {
            base
        };
        let mut at =
            first_micros.div_euclid(TICK_MICROS * TICKS_PER_REFERENCE) * TICKS_PER_REFERENCE;
        let reference_time = (at / TICKS_PER_REFERENCE) as i32;
        self.deltas.clear();
        let mut expected = base;
        for (&seq, &micros) in self.arrived.range(base..) {
            let missing = seq.since(expected).max(0) as usize;
            let ticks = micros.div_euclid(TICK_MICROS);
            let Ok(delta) = i16::try_from(ticks - at) else {
                break;
            };
            if self.deltas.len() + missing + 1 > MAX_STATUSES {
                break;
            }
            self.deltas.resize(self.deltas.len() + missing, None);
            self.deltas.push(Some(delta));
            (at, expected) = (ticks, seq.next());
        }
        let head = FeedbackHead {
            base_sequence: base.wire(),
            reference_time,
            feedback_count: self.count,
        };
        rtcp::write_transport_feedback(out, sender, media, &head, &self.deltas);
        self.count = self.count.wrapping_add(1);
        self.next = Some(expected);
        true
    }

    fn forget(&mut self, now: Instant) {
        let (Some(origin), Some(next)) = (self.origin, self.next) else {
            return;
        };
        let oldest = signed_micros(now, origin) - REMEMBERED_MICROS;
        while let Some(first) = self.arrived.first_entry()
            && *first.key() < next
            && *first.get() < oldest
        {
            first.remove();
        }
    }
}

/// What became of one sent packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When it was sent.
    pub sent: Instant,
    /// Arrival in microseconds of the receiver's clock; `None`: lost, or not arrived yet.
    pub arrival_micros: Option<i64>,
    /// Its size in bytes.
    pub size: usize,
}

/// Packets sent by one transport, until feedback tells about them.
#[derive(Debug)]
pub struct History {
    next: ExtSeq,
    sent: Vec<Option<Sent>>,
    /// The last reference time, extended beyond its 24 bits, in 64 ms.
    reference: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    seq: ExtSeq,
    at: Instant,
    size: usize,
    told_lost: bool,
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

impl History {
    /// Nothing sent yet. Numbers begin at 1.
    pub fn new() -> Self {
        Self {
            next: ExtSeq::new(FIRST),
            sent: vec![None; HISTORY],
            reference: None,
        }
    }

    /// The transport sequence number that the next packet carries.
    pub fn next_sequence(&self) -> u16 {
        self.next.wire()
    }

    /// Whether any packet was numbered: only then feedback can mean something.
    pub fn is_empty(&self) -> bool {
        self.next == ExtSeq::new(FIRST)
    }

    /// The packet with [`Self::next_sequence`] leaves now with `size` bytes.
    pub fn register(&mut self, now: Instant, size: usize) {
        let seq = self.next;
        if let Some(slot) = self.sent.get_mut(seq.get() as usize % HISTORY) {
            *slot = Some(Sent {
                seq,
                at: now,
                size,
                told_lost: false,
            });
        }
        self.next = seq.next();
    }

    /// Appends a sample for each packet that the feedback tells news about, in order of sending.
    pub fn handle_feedback(&mut self, feedback: &TransportFeedback<'_>, out: &mut Vec<Sample>) {
        let shift = self.extend_reference(feedback.reference_time);
        for (wire, arrival) in feedback.packets() {
            let seq = self.nearest(wire);
            let Some(slot) = self.sent.get_mut(seq.get() as usize % HISTORY) else {
                continue;
            };
            let Some(sent) = slot.as_mut().filter(|sent| sent.seq == seq) else {
                continue;
            };
            if arrival.is_none() && std::mem::replace(&mut sent.told_lost, true) {
                continue;
            }
            let arrival_micros = arrival.map(|micros| micros + shift);
            out.push(Sample {
                sent: sent.at,
                arrival_micros,
                size: sent.size,
            });
            if arrival.is_some() {
                *slot = None;
            }
        }
    }

    /// The sent number nearest below the next one that has these low bits.
    fn nearest(&self, wire: u16) -> ExtSeq {
        let back = self.next.wire().wrapping_sub(wire);
        ExtSeq::new(self.next.get().saturating_sub(u64::from(back)))
    }

    /// Microseconds to add to times of a feedback whose reference wrapped (after twelve days).
    fn extend_reference(&mut self, reference: i32) -> i64 {
        let reference = i64::from(reference);
        let extended = match self.reference {
            None => reference,
            Some(last) => {
                // The step from the last one in 24 bits with their sign.
                let step = ((reference - last) as i32) << 8 >> 8;
                last + i64::from(step)
            }
        };
        self.reference = Some(extended);
        (extended - reference) * TICK_MICROS * TICKS_PER_REFERENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtcp::Packet;

    fn feedback(data: &[u8]) -> Vec<TransportFeedback<'_>> {
        rtcp::parse(data)
            .map(|packet| match packet.unwrap() {
                Packet::TransportFeedback(feedback) => feedback,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn arrivals_come_back_to_their_packets() {
        let start = Instant::now();
        let (mut arrivals, mut history) = (Arrivals::new(), History::new());
        for n in 0..100u64 {
            let sent = start + Duration::from_millis(n);
            let sequence = history.next_sequence();
            history.register(sent, 1_000 + n as usize);
            if n % 10 != 3 {
                arrivals.record(sent + Duration::from_millis(20), sequence);
            }
        }
        let mut out = Vec::new();
        assert!(!arrivals.poll(start + Duration::from_millis(69), 1, 2, &mut out));
        assert_eq!(
            arrivals.next_timeout(),
            Some(start + Duration::from_millis(70))
        );
        assert!(arrivals.poll(start + Duration::from_millis(120), 1, 2, &mut out));
        let mut samples = Vec::new();
        history.handle_feedback(&feedback(&out)[0], &mut samples);
        assert_eq!(samples.len(), 100);
        let first = samples[0].arrival_micros.unwrap();
        for (n, sample) in samples.iter().enumerate() {
            assert_eq!(sample.size, 1_000 + n);
            let expected = (n % 10 != 3).then_some(first + 1_000 * n as i64);
            assert_eq!(sample.arrival_micros, expected);
        }
        // The same feedback again tells nothing new.
        samples.clear();
        history.handle_feedback(&feedback(&out)[0], &mut samples);
        assert_eq!(samples, []);
    }

    #[test]
    fn a_late_packet_is_told_about_after_all() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let (mut arrivals, mut history) = (Arrivals::new(), History::new());
        (0..6).for_each(|_| history.register(start, 100));
        for (ms, sequence) in [(10, 1), (11, 2), (12, 4)] {
            arrivals.record(at(ms), sequence);
        }
        let mut out = Vec::new();
        assert!(arrivals.poll(at(60), 1, 2, &mut out));
        let mut samples = Vec::new();
        history.handle_feedback(&feedback(&out)[0], &mut samples);
        assert_eq!(
            samples
                .iter()
                .filter(|s| s.arrival_micros.is_none())
                .count(),
            1
        );
        arrivals.record(at(70), 3);
        arrivals.record(at(71), 5);
        out.clear();
        samples.clear();
        assert!(arrivals.poll(at(130), 1, 2, &mut out));
        history.handle_feedback(&feedback(&out)[0], &mut samples);
        assert_eq!(samples.len(), 2);
        assert!(samples.iter().all(|sample| sample.arrival_micros.is_some()));
    }

    #[test]
    fn numbers_wrap() {
        let start = Instant::now();
        let (mut arrivals, mut history) = (Arrivals::new(), History::new());
        let (mut samples, mut out) = (Vec::new(), Vec::new());
        for n in 0..200_000u64 {
            let now = start + Duration::from_micros(500 * n);
            arrivals.record(now, history.next_sequence());
            history.register(now, 1);
            out.clear();
            if arrivals.poll(now, 1, 2, &mut out) {
                feedback(&out)
                    .iter()
                    .for_each(|told| history.handle_feedback(told, &mut samples));
            }
        }
        assert!(samples.len() >= 199_800);
        let skew = |s: &Sample| signed_micros(s.sent, start) - s.arrival_micros.unwrap();
        let (first, last) = (skew(&samples[0]), skew(samples.last().unwrap()));
        assert!((first - last).abs() < 500, "{first} {last}");
    }

    #[test]
    fn messages_stay_small_and_holes_do_not_hurt() {
        let start = Instant::now();
        let mut arrivals = Arrivals::new();
        let mut out = Vec::new();
        (0..1_000u16).for_each(|n| arrivals.record(start, n));
        assert!(arrivals.poll(start + INTERVAL, 1, 2, &mut out));
        let told = feedback(&out);
        assert_eq!(
            told.iter()
                .map(|f| usize::from(f.status_count))
                .sum::<usize>(),
            1_000
        );
        assert!(out.len() < 3 * 1_000);
        for jump in [2_900u16, 40_000, 5, 60_000] {
            out.clear();
            let now = start + Duration::from_secs(20);
            arrivals.record(now, jump);
            assert!(arrivals.poll(now + INTERVAL, 1, 2, &mut out));
            let last = *feedback(&out).last().unwrap();
            assert_eq!(
                last.packets().last().map(|(seq, at)| (seq, at.is_some())),
                Some((jump, true))
            );
        }
    }

    #[test]
    fn forged_feedback_does_no_harm() {
        let start = Instant::now();
        let mut arrivals = Arrivals::new();
        (0..300u16)
            .filter(|n| n % 7 != 0)
            .for_each(|n| arrivals.record(start, n));
        let mut out = Vec::new();
        arrivals.poll(start + INTERVAL, 1, 2, &mut out);
        let mut history = History::new();
        let mut samples = Vec::new();
        crate::mutate::each_mutation(&out, 20_000, |data| {
            history.register(start, 1);
            samples.clear();
            for packet in rtcp::parse(data).flatten() {
                if let Packet::TransportFeedback(told) = packet {
                    history.handle_feedback(&told, &mut samples);
                }
            }
            assert!(samples.len() <= 2 * HISTORY);
        });
    }
}
