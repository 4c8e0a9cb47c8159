//! RTP payloads into access units, in the order of their numbers.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use mcu_api::codec::VideoCodec;

use crate::bits::{Joint, Part};
use crate::receive::Accepted;
use crate::seq::{ExtSeq, ExtTs};
use crate::{h261, h263, h264, vp8};

/// Largest access unit, in bytes; what exceeds it is cut off and the unit marked broken.
pub(crate) const MAX_ACCESS_UNIT: usize = 4 << 20;
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
    /// What it is coded in.
    pub codec: VideoCodec,
    /// RTP timestamp.
    pub ts: ExtTs,
    /// Of H.264 NAL units, each behind a start code of four bytes (H.264 Annex B); else the picture's
    /// bits as the codec has them.
    pub data: Vec<u8>,
    /// It refers to no other picture, as far as the codec tells.
    pub key_frame: bool,
    /// Nothing of this picture is known to be missing.
    pub complete: bool,
    /// Something was lost since the previous access unit or within this one: what this picture
    /// refers to may be missing.
    pub after_loss: bool,
}

/// Puts the packets of one stream in order and joins them to access units.
#[derive(Debug)]
pub struct Depacketizer {
    codec: VideoCodec,
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
    join: Join,
}

impl Depacketizer {
    /// Nothing received yet.
    pub fn new(codec: VideoCodec) -> Self {
        Self {
            codec,
            next: None,
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            ready: VecDeque::new(),
            open: None,
            loss: false,
            spare: Vec::new(),
        }
    }

    /// Takes packets of this codec from now on; what waits of another is forgotten.
    pub fn set_codec(&mut self, codec: VideoCodec) {
        if self.codec != codec {
            self.reset();
            self.codec = codec;
        }
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
            if is_beginning(self.codec, payload) {
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
        let (codec, loss, spare) = (self.codec, self.loss, &mut self.spare);
        let open = self
            .open
            .get_or_insert_with(|| Open::new(codec, ts, spare.pop().unwrap_or_default()));
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
        if let Join::H264(join) = &mut open.join {
            join.end_fragment(&mut open.unit);
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

impl Open {
    fn new(codec: VideoCodec, ts: ExtTs, data: Vec<u8>) -> Self {
        let unit = AccessUnit {
            codec,
            ts,
            data,
            key_frame: false,
            complete: true,
            after_loss: false,
        };
        let join = Join::of(codec);
        Self { unit, join }
    }

    /// Drops what was begun and of which the rest is lost.
    fn mark_broken(&mut self) {
        self.unit.mark_broken();
        if let Join::H264(join) = &mut self.join {
            join.drop_fragment(&mut self.unit);
        }
    }

    fn take(&mut self, payload: &[u8]) {
        // Padding alone, as of probes: nothing of a picture.
        if payload.is_empty() {
            return;
        }
        let unit = &mut self.unit;
        let taken = match &mut self.join {
            Join::H264(join) => {
                join.take(unit, payload);
                true
            }
            Join::H263(joint) => {
                unit.note_picture(h263::picture(payload).map(|picture| picture.intra));
                h263::part(payload).is_some_and(|part| unit.append_bits(joint, part))
            }
            Join::H261(joint) => {
                unit.note_picture(h261::picture(payload).map(|picture| picture.intra));
                h261::part(payload).is_some_and(|part| unit.append_bits(joint, part))
            }
            Join::H263Plus => {
                unit.note_picture(h263::plus_picture(payload).map(|picture| picture.intra));
                h263::plus_part(payload).is_some_and(|(begins, bytes)| {
                    unit.append(&[0, 0][..if begins { 2 } else { 0 }]) && unit.append(bytes)
                })
            }
            Join::Vp8 => vp8::parse(payload).is_some_and(|part| {
                unit.note_picture(part.begins.then(|| vp8::is_key_frame(payload)));
                unit.append(part.bytes)
            }),
        };
        if !taken {
            unit.mark_broken();
        }
    }
}

/// How the payloads of a codec join.
#[derive(Debug)]
enum Join {
    H264(h264::Join),
    H263(Joint),
    H263Plus,
    H261(Joint),
    Vp8,
}

impl Join {
    fn of(codec: VideoCodec) -> Self {
        match codec {
            VideoCodec::H264 => Self::H264(h264::Join::default()),
            VideoCodec::H263 => Self::H263(Joint::default()),
            VideoCodec::H263Plus => Self::H263Plus,
            VideoCodec::H261 => Self::H261(Joint::default()),
            VideoCodec::Vp8 => Self::Vp8,
        }
    }
}

/// Whether a stream can be read from this payload on, nothing before it being known.
fn is_beginning(codec: VideoCodec, payload: &[u8]) -> bool {
    match codec {
        VideoCodec::H264 => h264::begins_with_sps(payload),
        VideoCodec::H263 => h263::picture(payload).is_some_and(|picture| picture.intra),
        VideoCodec::H263Plus => h263::plus_picture(payload).is_some_and(|picture| picture.intra),
        // Intra pictures are not told for sure; the macroblocks that are come within 132 pictures.
        VideoCodec::H261 => h261::picture(payload).is_some(),
        VideoCodec::Vp8 => vp8::is_key_frame(payload),
    }
}

impl AccessUnit {
    /// A part of it is missing.
    pub(crate) fn mark_broken(&mut self) {
        self.complete = false;
        self.after_loss = true;
    }

    /// Appends bytes. `false`: it is as long as any may be.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> bool {
        let fits = self.data.len() + bytes.len() <= MAX_ACCESS_UNIT;
        if fits {
            self.data.extend_from_slice(bytes);
        }
        fits
    }

    /// Appends bits. `false`: as above, or they do not go on where the last ended.
    fn append_bits(&mut self, joint: &mut Joint, part: Part<'_>) -> bool {
        let fits = self.data.len() + part.bytes.len() <= MAX_ACCESS_UNIT;
        fits && joint.append(&mut self.data, part)
    }

    /// A payload comes that begins a picture, of this kind, or goes on with one.
    fn note_picture(&mut self, intra: Option<bool>) {
        self.key_frame |= intra == Some(true);
        if self.data.is_empty() && intra.is_none() {
            self.mark_broken();
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
            let mut depacketizer = Depacketizer::new(VideoCodec::H264);
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
        let mut depacketizer = Depacketizer::new(VideoCodec::H264);
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
        let mut depacketizer = Depacketizer::new(VideoCodec::H264);
        for n in [2, 1, 0, 3] {
            depacketizer.insert(now, &sent[n].accepted, sent[n].marker, &sent[n].payload);
        }
        assert_eq!(depacketizer.poll(now, WAIT).unwrap().data, pictures[0]);
        // Joined in the middle, it goes on when the wait is over.
        let mut depacketizer = Depacketizer::new(VideoCodec::H264);
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
        let mut depacketizer = Depacketizer::new(VideoCodec::H264);
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
        let mut depacketizer = Depacketizer::new(VideoCodec::H264);
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
            let mut depacketizer = Depacketizer::new(VideoCodec::H264);
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

    /// A picture of this codec, of groups of 900 bytes of filling that hold no start code.
    fn picture_of(codec: VideoCodec, random: &mut StdRng, key: bool) -> Vec<u8> {
        let inter = u8::from(!key);
        let (mut data, group): (Vec<u8>, &[u8]) = match codec {
            // PSC, TR, PTYPE of CIF, PEI; then GBSC and a number.
            VideoCodec::H261 => (vec![0, 1, 0x04, 0x8E], &[0, 1, 0x15]),
            VideoCodec::Vp8 => (
                vec![0x10 | inter, 2, 0, 0x9D, 1, 0x2A, 0x80, 2, 0x68, 1],
                &[],
            ),
            _ => (
                vec![0, 0, 0x80, 0x16, 0x0C | inter << 1, 0x0A, 0x55],
                &[0, 0, 0x84],
            ),
        };
        for _ in 0..random.random_range(1..5) {
            data.extend_from_slice(group);
            data.extend((0..900).map(|_| random.random_range(2..=255u8)));
        }
        data
    }

    /// Pictures of a codec and their packets, the first of them with this number.
    fn stream_of(codec: VideoCodec, random: &mut StdRng, first: u64) -> (Vec<Vec<u8>>, Vec<Sent>) {
        let pictures: Vec<Vec<u8>> = (0..20)
            .map(|n| picture_of(codec, random, n % 5 == 0))
            .collect();
        let mut packetizer = crate::video::Packetizer::new(codec, PacketizationMode::SingleNal);
        let mut sent = Vec::new();
        for (n, data) in pictures.iter().enumerate() {
            let ts = ExtTs::new(1_000_000 + 3_000 * n as u64);
            let result = packetizer.packetize(data, &[], |payload, marker| {
                let accepted = Accepted {
                    seq: ExtSeq::new(first + sent.len() as u64),
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
        (pictures, sent)
    }

    const OTHERS: [VideoCodec; 4] = [
        VideoCodec::H261,
        VideoCodec::H263,
        VideoCodec::H263Plus,
        VideoCodec::Vp8,
    ];

    /// Whether a unit is whole. What is said of it is true of the picture that was sent.
    fn is_whole(unit: &AccessUnit, pictures: &[Vec<u8>]) -> bool {
        let n = (unit.ts.get() - 1_000_000) / 3_000;
        let same = unit.data == pictures[n as usize];
        assert_eq!(unit.complete, same, "{:?}, picture {n}", unit.codec);
        assert!(unit.complete || unit.after_loss);
        if same && unit.codec != VideoCodec::H261 {
            assert_eq!(unit.key_frame, n.is_multiple_of(5));
        }
        same
    }

    #[test]
    fn of_every_codec_what_is_reordered_is_whole_and_what_lost_a_packet_is_not() {
        let start = Instant::now();
        let mut random = StdRng::seed_from_u64(23);
        for codec in OTHERS {
            let (mut whole, mut broken) = (0, 0);
            for round in 0..60 {
                let (pictures, mut sent) = stream_of(codec, &mut random, 65_536);
                for pair in sent[1..].chunks_mut(3) {
                    pair.reverse();
                }
                let loses = round % 2 == 1;
                let mut depacketizer = Depacketizer::new(codec);
                let mut count = 0;
                for (n, packet) in sent.iter().enumerate() {
                    let now = start + Duration::from_millis(10 * n as u64);
                    if loses && random.random_bool(0.05) {
                        continue;
                    }
                    depacketizer.insert(now, &packet.accepted, packet.marker, &packet.payload);
                    while let Some(unit) = depacketizer.poll(now, WAIT) {
                        count += 1;
                        let is_whole = is_whole(&unit, &pictures);
                        assert!(is_whole || loses, "{codec:?}");
                        *(if is_whole { &mut whole } else { &mut broken }) += 1;
                    }
                }
                assert!(loses || count == pictures.len(), "{codec:?}: {count}");
            }
            println!("{codec:?}: {whole} whole, {broken} broken");
            assert!(whole > 600 && broken > 20, "{codec:?}: {whole}, {broken}");
        }
    }

    /// A terminal may go over to another codec within one stream of numbers, in the middle of a picture.
    #[test]
    fn a_change_of_codec_mixes_nothing() {
        let now = Instant::now();
        let mut random = StdRng::seed_from_u64(29);
        let mut depacketizer = Depacketizer::new(VideoCodec::H264);
        let (mut first, mut place) = (65_536, 0);
        for round in 0..40 {
            place = (place + random.random_range(1..OTHERS.len())) % OTHERS.len();
            let codec = OTHERS[place];
            let (pictures, sent) = stream_of(codec, &mut random, first);
            depacketizer.set_codec(codec);
            let many = random.random_range(1..sent.len());
            let mut units = 0;
            for packet in &sent[..many] {
                depacketizer.insert(now, &packet.accepted, packet.marker, &packet.payload);
                while let Some(unit) = depacketizer.poll(now, WAIT) {
                    assert_eq!(unit.codec, codec);
                    assert!(is_whole(&unit, &pictures), "round {round}");
                    units += 1;
                }
            }
            let ended = sent[..many].iter().filter(|packet| packet.marker).count();
            assert_eq!(units, ended, "round {round}, {codec:?}");
            // Some were under way when the codec changed.
            first += many as u64 + random.random_range(0..3);
        }
    }

    #[test]
    fn a_change_of_timestamp_closes_without_marker() {
        let now = Instant::now();
        let pictures = pictures(1, 500);
        let mut depacketizer = Depacketizer::new(VideoCodec::H264);
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
        let mut depacketizer = Depacketizer::new(VideoCodec::H264);
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
        let mut depacketizer = Depacketizer::new(VideoCodec::H264);
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
        let mut depacketizer = Depacketizer::new(VideoCodec::H264);
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
