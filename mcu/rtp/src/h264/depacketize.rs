//! RTP payloads into access units, RFC 6184 §7.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::{FU_A, NAL_IDR, NAL_SLICE, NAL_SPS, STAP_A, START_CODE, aggregated};
use crate::receive::Accepted;
use crate::seq::{ExtSeq, ExtTs};

/// Largest access unit, in bytes; what exceeds it is cut off and the unit marked broken.
const MAX_ACCESS_UNIT: usize = 4 << 20;
/// Packets that wait behind a gap. When full, the gap is given up.
const MAX_WAITING: usize = 2_048;
/// Bytes that wait behind a gap. When full, the gap is given up.
const MAX_WAITING_BYTES: usize = 4 << 20;
/// Access units that wait to be polled. When full, the oldest is dropped.
const MAX_READY: usize = 32;
/// Buffers kept for further use.
const MAX_SPARE: usize = 8;

/// One coded picture with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessUnit {
    /// RTP timestamp.
    pub ts: ExtTs,
    /// NAL units, each behind a start code of four bytes (H.264 Annex B).
    pub data: Vec<u8>,
    /// An IDR picture.
    pub key_frame: bool,
    /// Nothing of this picture is known to be missing.
    pub complete: bool,
    /// Something was lost since the previous access unit or within this one: what this picture
    /// refers to may be missing.
    pub after_loss: bool,
}

/// Puts the packets of one stream in order and joins them to access units.
#[derive(Debug, Default)]
pub struct Depacketizer {
    next: Option<ExtSeq>,
    waiting: BTreeMap<ExtSeq, Waiting>,
    waiting_bytes: usize,
    ready: VecDeque<AccessUnit>,
    open: Option<Open>,
    /// Something was lost since the last access unit was closed.
    loss: bool,
    spare: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Waiting {
    arrival: Instant,
    ts: ExtTs,
    marker: bool,
    payload: Vec<u8>,
}

/// The access unit that is being joined.
#[derive(Debug)]
struct Open {
    unit: AccessUnit,
    /// A slice came already.
    has_slice: bool,
    /// Where the unit that is being joined from fragments begins in `data`.
    fragment: Option<usize>,
}

impl Depacketizer {
    /// Nothing received yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A packet arrived, by itself or by retransmission.
    pub fn insert(&mut self, now: Instant, accepted: &Accepted, marker: bool, payload: &[u8]) {
        if accepted.restarted {
            self.reset();
        }
        if self.next.is_none() {
            // The first packet may be in the middle of a picture, or may have overtaken the first
            // of its picture. Parameter sets are a beginning, anything else waits for one.
            self.loss = true;
            if begins_with_sps(payload) {
                self.next = Some(accepted.seq);
                self.waiting.retain(|seq, _| *seq > accepted.seq);
                self.waiting_bytes = self
                    .waiting
                    .values()
                    .map(|packet| packet.payload.len())
                    .sum();
            }
        }
        match self.next {
            Some(next) if accepted.seq < next => return,
            Some(next) if accepted.seq == next => {
                self.consume(accepted.ts, marker, payload);
                self.next = Some(next.next());
                self.drain();
                return;
            }
            _ => {}
        }
        if self.waiting.len() >= MAX_WAITING
            || self.waiting_bytes + payload.len() > MAX_WAITING_BYTES
        {
            self.skip_gap();
        }
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.extend_from_slice(payload);
        self.waiting_bytes += payload.len();
        let waiting = Waiting {
            arrival: now,
            ts: accepted.ts,
            marker,
            payload: copy,
        };
        if let Some(old) = self.waiting.insert(accepted.seq, waiting) {
            self.waiting_bytes -= old.payload.len();
        }
    }

    /// The next access unit. A gap is waited for during `wait` after the first packet behind it
    /// came (long enough for NACK and retransmission where agreed, else for reordering), then given
    /// up.
    pub fn poll(&mut self, now: Instant, wait: Duration) -> Option<AccessUnit> {
        while self.next_timeout(wait).is_some_and(|at| at <= now) {
            self.skip_gap();
        }
        self.ready.pop_front()
    }

    /// When [`Self::poll`] is to be called though nothing arrived.
    pub fn next_timeout(&self, wait: Duration) -> Option<Instant> {
        self.waiting
            .first_key_value()
            .map(|(_, first)| first.arrival + wait)
    }

    /// Gives a buffer back, so that the next access unit needs no allocation.
    pub fn recycle(&mut self, mut data: Vec<u8>) {
        if self.spare.len() < MAX_SPARE {
            data.clear();
            self.spare.push(data);
        }
    }

    /// Forgets everything; what comes next counts as after a loss.
    pub fn reset(&mut self) {
        self.next = None;
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.open = None;
        self.loss = true;
    }

    /// Gives up the gap before the first waiting packet.
    fn skip_gap(&mut self) {
        let Some((seq, _)) = self.waiting.first_key_value() else {
            return;
        };
        self.next = Some(*seq);
        self.loss = true;
        if let Some(open) = &mut self.open {
            open.mark_broken();
        }
        self.drain();
    }

    /// Takes waiting packets as long as they follow each other.
    fn drain(&mut self) {
        while let (Some(next), Some(first)) = (self.next, self.waiting.first_entry()) {
            if *first.key() > next {
                return;
            }
            let packet = first.remove();
            self.waiting_bytes -= packet.payload.len();
            self.consume(packet.ts, packet.marker, &packet.payload);
            self.recycle(packet.payload);
            self.next = Some(next.next());
        }
    }

    fn consume(&mut self, ts: ExtTs, marker: bool, payload: &[u8]) {
        if self.open.as_ref().is_some_and(|open| open.unit.ts != ts) {
            self.close();
        }
        let (loss, spare) = (self.loss, &mut self.spare);
        let open = self
            .open
            .get_or_insert_with(|| Open::new(ts, spare.pop().unwrap_or_default()));
        open.unit.after_loss |= loss;
        open.take(payload);
        if marker {
            self.close();
        }
    }

    fn close(&mut self) {
        let Some(mut open) = self.open.take() else {
            return;
        };
        if open.fragment.is_some() {
            open.mark_broken();
        }
        if open.unit.data.is_empty() {
            // Padding alone is no picture; a picture of which nothing is left is a loss.
            self.loss |= !open.unit.complete;
            self.recycle(open.unit.data);
            return;
        }
        self.loss = !open.unit.complete;
        if self.ready.len() >= MAX_READY
            && let Some(dropped) = self.ready.pop_front()
        {
            self.recycle(dropped.data);
            if let Some(oldest) = self.ready.front_mut() {
                oldest.after_loss = true;
            }
        }
        self.ready.push_back(open.unit);
    }
}

/// Whether the payload's first NAL unit is a sequence parameter set.
fn begins_with_sps(payload: &[u8]) -> bool {
    let first = match payload {
        [head, rest @ ..] if head & 0x1F == STAP_A => aggregated(rest).next().unwrap_or(&[]),
        _ => payload,
    };
    first.first().is_some_and(|head| head & 0x1F == NAL_SPS)
}

impl Open {
    fn new(ts: ExtTs, data: Vec<u8>) -> Self {
        let unit = AccessUnit {
            ts,
            data,
            key_frame: false,
            complete: true,
            after_loss: false,
        };
        Self {
            unit,
            has_slice: false,
            fragment: None,
        }
    }

    /// Drops the fragment begun, of which the rest is lost.
    fn mark_broken(&mut self) {
        self.unit.complete = false;
        self.unit.after_loss = true;
        if let Some(start) = self.fragment.take() {
            self.unit.data.truncate(start);
        }
    }

    fn take(&mut self, payload: &[u8]) {
        let Some(&head) = payload.first() else { return };
        match head & 0x1F {
            1..=23 => {
                self.end_fragment();
                self.add_unit(payload);
            }
            STAP_A => {
                self.end_fragment();
                for unit in aggregated(&payload[1..]) {
                    self.add_unit(unit);
                }
            }
            FU_A => self.add_fragment(payload),
            // Interleaved mode was never offered, the rest is undefined: RFC 6184 table 3.
            _ => self.mark_broken(),
        }
    }

    /// A fragment whose end did not come before something else is broken.
    fn end_fragment(&mut self) {
        if self.fragment.is_some() {
            self.mark_broken();
        }
    }

    fn add_unit(&mut self, unit: &[u8]) {
        let [head, rest @ ..] = unit else { return };
        if self.unit.data.len() + START_CODE.len() + unit.len() > MAX_ACCESS_UNIT {
            self.mark_broken();
            return;
        }
        self.note_slice(*head, rest);
        self.unit.data.extend_from_slice(&START_CODE);
        self.unit.data.extend_from_slice(unit);
    }

    fn add_fragment(&mut self, payload: &[u8]) {
        let [indicator, fu, body @ ..] = payload else {
            return self.mark_broken();
        };
        let head = indicator & 0xE0 | fu & 0x1F;
        if self.unit.data.len() + START_CODE.len() + 1 + body.len() > MAX_ACCESS_UNIT {
            return self.mark_broken();
        }
        if fu & 0x80 != 0 {
            self.end_fragment();
            self.note_slice(head, body);
            self.fragment = Some(self.unit.data.len());
            self.unit.data.extend_from_slice(&START_CODE);
            self.unit.data.push(head);
        } else if self.fragment.is_none() {
            return self.mark_broken();
        }
        self.unit.data.extend_from_slice(body);
        if fu & 0x40 != 0 {
            self.fragment = None;
        }
    }

    /// The first slice of a whole picture begins at macroblock 0, which is a single bit 1
    /// (H.264 §7.3.3): after a loss this tells whether the picture's beginning is here.
    fn note_slice(&mut self, head: u8, body: &[u8]) {
        let kind = head & 0x1F;
        if !(NAL_SLICE..=NAL_IDR).contains(&kind) {
            return;
        }
        self.unit.key_frame |= kind == NAL_IDR;
        if !self.has_slice {
            self.has_slice = true;
            let at_beginning = body.first().is_some_and(|byte| byte & 0x80 != 0);
            if self.unit.after_loss && !at_beginning {
                self.unit.complete = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h264::Packetizer;
    use mcu_api::codec::PacketizationMode;
    use rand::{Rng, SeedableRng, rngs::StdRng};

    const WAIT: Duration = Duration::from_millis(50);

    /// A picture of `slices` slices of `size` bytes; the first begins at macroblock 0.
    fn picture(random: &mut StdRng, key: bool, slices: usize, size: usize) -> Vec<u8> {
        let mut data = Vec::new();
        if key {
            data.extend_from_slice(&[
                0, 0, 0, 1, 0x67, 0x42, 0xC0, 0x1F, 0, 0, 0, 1, 0x68, 0xCE, 1,
            ]);
        }
        for slice in 0..slices {
            data.extend_from_slice(&[0, 0, 0, 1, if key { 0x65 } else { 0x41 }]);
            data.push(if slice == 0 { 0x9A } else { 0x1A });
            data.extend((0..size).map(|_| random.random_range(2..=255u8)));
        }
        data
    }

    struct Sent {
        accepted: Accepted,
        marker: bool,
        payload: Vec<u8>,
    }

    fn packets(pictures: &[Vec<u8>], mode: PacketizationMode) -> Vec<Sent> {
        let mut packetizer = Packetizer::new(mode);
        let mut sent = Vec::new();
        for (n, data) in pictures.iter().enumerate() {
            let ts = ExtTs::new(1_000_000 + 3_000 * n as u64);
            let result = packetizer.packetize(data, |payload, marker| {
                let seq = ExtSeq::new(65_536 + sent.len() as u64);
                let accepted = Accepted {
                    seq,
                    ts,
                    restarted: false,
                };
                sent.push(Sent {
                    accepted,
                    marker,
                    payload: payload.to_vec(),
                });
            });
            assert_eq!(result, Ok(()));
        }
        sent
    }

    fn pictures(slices: usize, size: usize) -> Vec<Vec<u8>> {
        let mut random = StdRng::seed_from_u64(3);
        (0..30)
            .map(|n| picture(&mut random, n % 10 == 0, slices, size))
            .collect()
    }

    #[test]
    fn access_units_come_back_as_they_were() {
        let now = Instant::now();
        for (mode, slices, size) in [
            (PacketizationMode::NonInterleaved, 1, 5_000),
            (PacketizationMode::NonInterleaved, 4, 700),
            (PacketizationMode::SingleNal, 6, 1_100),
        ] {
            let pictures = pictures(slices, size);
            let mut depacketizer = Depacketizer::new();
            let mut got = Vec::new();
            for sent in packets(&pictures, mode) {
                depacketizer.insert(now, &sent.accepted, sent.marker, &sent.payload);
                got.extend(depacketizer.poll(now, WAIT));
            }
            assert_eq!(got.len(), pictures.len());
            for (n, (unit, picture)) in got.iter().zip(&pictures).enumerate() {
                assert!(
                    unit.data == *picture && unit.complete,
                    "{mode:?} picture {n}"
                );
                assert_eq!((unit.key_frame, unit.after_loss), (n % 10 == 0, n == 0));
            }
        }
    }

    #[test]
    fn reordered_packets_are_put_in_order() {
        let now = Instant::now();
        let pictures = pictures(2, 3_000);
        let mut sent = packets(&pictures, PacketizationMode::NonInterleaved);
        for pair in sent[1..].chunks_mut(3) {
            pair.reverse();
        }
        let mut depacketizer = Depacketizer::new();
        let mut got = Vec::new();
        for packet in &sent {
            depacketizer.insert(now, &packet.accepted, packet.marker, &packet.payload);
            got.extend(depacketizer.poll(now, WAIT));
        }
        assert_eq!(
            got.iter().map(|unit| &unit.data).collect::<Vec<_>>(),
            pictures.iter().collect::<Vec<_>>()
        );
        assert_eq!(depacketizer.next_timeout(WAIT), None);
    }

    #[test]
    fn a_stream_may_begin_out_of_order() {
        let now = Instant::now();
        let pictures = pictures(1, 3_000);
        let sent = packets(&pictures, PacketizationMode::NonInterleaved);
        let mut depacketizer = Depacketizer::new();
        for n in [2, 1, 0, 3] {
            depacketizer.insert(now, &sent[n].accepted, sent[n].marker, &sent[n].payload);
        }
        assert_eq!(depacketizer.poll(now, WAIT).unwrap().data, pictures[0]);
        // Joined in the middle, it goes on when the wait is over.
        let mut depacketizer = Depacketizer::new();
        for packet in &sent[5..20] {
            depacketizer.insert(now, &packet.accepted, packet.marker, &packet.payload);
        }
        assert_eq!(depacketizer.poll(now, WAIT), None);
        let unit = depacketizer.poll(now + WAIT, WAIT).unwrap();
        assert!(unit.after_loss && unit.data == pictures[2]);
    }

    #[test]
    fn a_gap_is_waited_for_and_then_given_up() {
        let start = Instant::now();
        let pictures = pictures(1, 3_000);
        let sent = packets(&pictures, PacketizationMode::NonInterleaved);
        let lost = 6;
        let mut depacketizer = Depacketizer::new();
        let mut got = Vec::new();
        for (n, packet) in sent.iter().enumerate().filter(|(n, _)| *n != lost) {
            let now = start + Duration::from_millis(n as u64);
            depacketizer.insert(now, &packet.accepted, packet.marker, &packet.payload);
            got.extend(depacketizer.poll(now, WAIT));
        }
        let due = depacketizer.next_timeout(WAIT);
        assert_eq!(due, None, "the gap was given up after 50 ms");
        while let Some(unit) = depacketizer.poll(start + Duration::from_secs(1), WAIT) {
            got.push(unit);
        }
        // Packets 0 to 3 are the first picture, 4 to 6 the second, without its end now.
        assert_eq!(got.len(), pictures.len() - 1);
        assert_eq!(got[0].data, pictures[0]);
        assert_eq!(got[1].data, pictures[2]);
        assert!(got[1].after_loss && got[1].complete && !got[2].after_loss);
    }

    #[test]
    fn a_retransmission_in_time_repairs() {
        let now = Instant::now();
        let pictures = pictures(1, 3_000);
        let sent = packets(&pictures, PacketizationMode::NonInterleaved);
        let mut depacketizer = Depacketizer::new();
        for packet in sent.iter().take(4).chain(sent.iter().skip(5)) {
            depacketizer.insert(now, &packet.accepted, packet.marker, &packet.payload);
        }
        assert!(depacketizer.poll(now, WAIT).is_some());
        assert!(depacketizer.poll(now, WAIT).is_none());
        depacketizer.insert(now, &sent[4].accepted, sent[4].marker, &sent[4].payload);
        let unit = depacketizer.poll(now, WAIT).unwrap();
        assert!(unit.complete && !unit.after_loss && unit.data == pictures[1]);
    }

    #[test]
    fn complete_is_never_said_of_a_damaged_picture() {
        let start = Instant::now();
        let mut random = StdRng::seed_from_u64(11);
        let pictures = pictures(3, 2_000);
        let sent = packets(&pictures, PacketizationMode::NonInterleaved);
        let (mut whole, mut broken) = (0, 0);
        for _ in 0..200 {
            let mut depacketizer = Depacketizer::new();
            for (n, packet) in sent.iter().enumerate() {
                let now = start + Duration::from_millis(20 * n as u64);
                if random.random_bool(0.05) {
                    continue;
                }
                depacketizer.insert(now, &packet.accepted, packet.marker, &packet.payload);
                while let Some(unit) = depacketizer.poll(now, WAIT) {
                    let n = (unit.ts.get() - 1_000_000) / 3_000;
                    let same = unit.data == pictures[n as usize];
                    // Parameter sets lost before a slice cannot be noticed, only `after_loss`.
                    assert!(same || !unit.complete || unit.key_frame && unit.after_loss);
                    assert!(unit.complete || unit.after_loss);
                    *(if same { &mut whole } else { &mut broken }) += 1;
                }
            }
        }
        assert!(whole > 1_000 && broken > 1_000);
    }

    #[test]
    fn a_change_of_timestamp_closes_without_marker() {
        let now = Instant::now();
        let pictures = pictures(1, 500);
        let mut depacketizer = Depacketizer::new();
        for packet in packets(&pictures, PacketizationMode::NonInterleaved) {
            depacketizer.insert(now, &packet.accepted, false, &packet.payload);
        }
        let mut count = 0;
        while let Some(unit) = depacketizer.poll(now, WAIT) {
            assert!(unit.complete && unit.data == pictures[count]);
            count += 1;
        }
        assert_eq!(count, 29);
    }

    #[test]
    fn endless_pictures_are_cut_at_four_mebibytes() {
        let now = Instant::now();
        let mut depacketizer = Depacketizer::new();
        let mut payload = vec![0x7C, 0x85];
        payload.resize(60_000, 9);
        for n in 0..200 {
            let accepted = Accepted {
                seq: ExtSeq::new(n),
                ts: ExtTs::new(5),
                restarted: false,
            };
            depacketizer.insert(now, &accepted, n == 199, &payload);
            payload[1] = 0x05;
        }
        assert!(
            depacketizer
                .poll(now, WAIT)
                .is_none_or(|unit| !unit.complete)
        );
        assert!(
            depacketizer
                .spare
                .iter()
                .all(|buffer| buffer.capacity() <= 2 * MAX_ACCESS_UNIT)
        );
    }

    #[test]
    fn waiting_packets_are_bounded() {
        let now = Instant::now();
        let mut depacketizer = Depacketizer::new();
        for n in 0..20_000u64 {
            let seq = ExtSeq::new(n * 2);
            let accepted = Accepted {
                seq,
                ts: ExtTs::new(n),
                restarted: false,
            };
            depacketizer.insert(now, &accepted, true, &[0x41; 1_200]);
            assert!(depacketizer.waiting.len() <= MAX_WAITING);
            assert!(depacketizer.waiting_bytes <= MAX_WAITING_BYTES);
            assert!(depacketizer.ready.len() <= MAX_READY);
        }
    }

    #[test]
    fn mutated_payloads_do_no_harm() {
        let now = Instant::now();
        let mut depacketizer = Depacketizer::new();
        let mut seq = 0;
        for seed in [
            &[0x78, 0, 2, 0x67, 1, 0, 3, 0x65, 9, 9][..],
            &[0x7C, 0x85, 1, 2],
            &[0x7C, 0x45, 3],
        ] {
            crate::mutate::each_mutation(seed, 33_334, |data| {
                seq += 1 + u64::from(data.len() % 17 == 3);
                let accepted = Accepted {
                    seq: ExtSeq::new(seq),
                    ts: ExtTs::new(seq / 3),
                    restarted: false,
                };
                depacketizer.insert(now, &accepted, data.len() % 5 == 0, data);
                if let Some(unit) = depacketizer.poll(now, Duration::ZERO) {
                    assert!(unit.data.len() < 10_000);
                    depacketizer.recycle(unit.data);
                }
            });
        }
    }
}
