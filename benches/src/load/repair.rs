//! What a terminal does against loss: it asks for missing packets (RFC 4585 §6.2.1), sends those again
//! that it is asked for (RFC 4588 where agreed), and adds copies to its sound (RFC 2198).

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::rtp::Packet;

/// How long a packet is waited for once one behind it came.
const PATIENCE: Duration = Duration::from_millis(500);
/// A first request waits for a packet that was only overtaken.
const REORDER: Duration = Duration::from_millis(5);
/// From one request for a packet to the next, before an answer came; then by how long that took.
const ASK_AGAIN: Duration = Duration::from_millis(60);
const ASK_AGAIN_MIN: Duration = Duration::from_millis(25);
const TRIES_MAX: u8 = 10;
/// Packets held behind a gap. When full, the gap is given up.
const HELD_MAX: usize = 2_048;
/// Packets that may be asked for again; the oldest gives way.
const HISTORY: usize = 1_024;

/// A packet on its way to the depacketizer.
#[derive(Debug)]
pub(super) struct Held {
    arrived: Instant,
    marker: bool,
    payload_type: u8,
    timestamp: u32,
    ssrc: u32,
    sequence: u16,
    payload: Vec<u8>,
}

impl Held {
    fn of(now: Instant, packet: &Packet<'_>) -> Self {
        Self {
            arrived: now,
            marker: packet.marker,
            payload_type: packet.payload_type,
            timestamp: packet.timestamp,
            ssrc: packet.ssrc,
            sequence: packet.sequence,
            payload: packet.payload.to_vec(),
        }
    }

    pub(super) fn packet(&self) -> Packet<'_> {
        Packet {
            marker: self.marker,
            payload_type: self.payload_type,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
            payload: &self.payload,
        }
    }
}

struct Missing {
    since: Instant,
    asked: Option<Instant>,
    tries: u8,
}

/// Puts packets in order, and knows which are missing.
#[derive(Default)]
pub(super) struct Order {
    next: Option<u64>,
    highest: u64,
    held: BTreeMap<u64, Held>,
    missing: BTreeMap<u64, Missing>,
    /// From a request to its answer, smoothed.
    answer: Option<Duration>,
}

impl Order {
    /// A packet came, by itself or by retransmission.
    pub(super) fn push(&mut self, now: Instant, packet: &Packet<'_>) {
        let Some(next) = self.next else {
            let first = 0x1_0000 + u64::from(packet.sequence);
            (self.next, self.highest) = (Some(first), first);
            self.held.insert(first, Held::of(now, packet));
            return;
        };
        let step = packet.sequence.wrapping_sub(self.highest as u16) as i16;
        let sequence = self.highest.saturating_add_signed(i64::from(step));
        if sequence < next {
            return;
        }
        for gap in self.highest + 1..sequence {
            let missing = Missing {
                since: now,
                asked: None,
                tries: 0,
            };
            self.missing.insert(gap, missing);
        }
        self.highest = self.highest.max(sequence);
        let missing = self.missing.remove(&sequence);
        if let Some((asked, 1)) = missing.and_then(|m| Some((m.asked?, m.tries))) {
            let took = now.saturating_duration_since(asked);
            self.answer = Some(self.answer.map_or(took, |old| old * 7 / 8 + took / 8));
        }
        self.held.insert(sequence, Held::of(now, packet));
    }

    /// The next packet in order; one behind a gap once that is given up.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Held> {
        let first = self.held.first_entry()?;
        let sequence = *first.key();
        let in_turn = Some(sequence) == self.next;
        let hopeless = now.saturating_duration_since(first.get().arrived) >= PATIENCE;
        if !in_turn && !hopeless && self.held.len() < HELD_MAX {
            return None;
        }
        self.next = Some(sequence + 1);
        self.missing = self.missing.split_off(&sequence);
        self.held.remove(&sequence)
    }

    /// Sequence numbers to ask for now.
    pub(super) fn ask(&mut self, now: Instant) -> Vec<u16> {
        let (mut asked, again) = (Vec::new(), self.ask_again());
        for (sequence, missing) in &mut self.missing {
            if missing.due(again).is_some_and(|at| at <= now) {
                missing.asked = Some(now);
                missing.tries += 1;
                asked.push(*sequence as u16);
            }
        }
        asked
    }

    /// A lost answer must not cost two round trips: the second request leaves before the first is answered.
    fn ask_again(&self) -> Duration {
        let half = self.answer.map(|answer| answer / 2);
        half.map_or(ASK_AGAIN, |half| half.max(ASK_AGAIN_MIN))
    }

    /// When [`Self::pop`] and [`Self::ask`] are to be called though nothing came.
    pub(super) fn due(&self) -> Option<Instant> {
        let given_up = self
            .held
            .values()
            .next()
            .map(|held| held.arrived + PATIENCE);
        let asked = self
            .missing
            .values()
            .filter_map(|m| m.due(self.ask_again()))
            .min();
        given_up.into_iter().chain(asked).min()
    }
}

impl Missing {
    fn due(&self, again: Duration) -> Option<Instant> {
        let at = match self.asked {
            None => self.since + REORDER,
            Some(at) => at + again,
        };
        (self.tries < TRIES_MAX).then_some(at)
    }
}

/// A terminal that repairs shows each picture so long after the least time that one is under way.
const HELD_BACK: Duration = Duration::from_millis(300);

/// When pictures are shown.
#[derive(Default)]
pub(super) struct Playout {
    /// A picture that was under way for the least time: when it came, and its timestamp.
    soonest: Option<(Instant, u32)>,
}

impl Playout {
    /// When a picture that is whole now is shown: at once if it is late.
    pub(super) fn shown_at(&mut self, now: Instant, timestamp: u32) -> Instant {
        let (came, first) = *self.soonest.get_or_insert((now, timestamp));
        let passed = timestamp.wrapping_sub(first);
        let due = came + Duration::from_micros(u64::from(passed) * 100 / 9);
        // A step back or far ahead is another beginning.
        if now < due || passed > 1 << 30 {
            self.soonest = Some((now, timestamp));
            return now + HELD_BACK;
        }
        now.max(due + HELD_BACK)
    }
}

/// What was sent of late.
#[derive(Default)]
pub(super) struct History {
    sent: VecDeque<Held>,
}

impl History {
    pub(super) fn push(&mut self, now: Instant, packet: &Packet<'_>) {
        if self.sent.len() >= HISTORY {
            self.sent.pop_front();
        }
        self.sent.push_back(Held::of(now, packet));
    }

    pub(super) fn find(&self, sequence: u16) -> Option<&Held> {
        self.sent
            .iter()
            .rev()
            .find(|held| held.sequence == sequence)
    }
}

/// The original of a retransmission (RFC 4588 §4).
pub(super) fn unwrap_rtx<'a>(
    packet: &Packet<'a>,
    payload_type: u8,
    ssrc: u32,
) -> Option<Packet<'a>> {
    let (sequence, payload) = packet.payload.split_first_chunk::<2>()?;
    Some(Packet {
        payload_type,
        ssrc,
        sequence: u16::from_be_bytes(*sequence),
        payload,
        ..*packet
    })
}

/// A request for packets, behind the empty receiver report that a compound needs.
pub(super) fn nack(ssrc: u32, media_ssrc: u32, lost: &[u16]) -> Vec<u8> {
    let mut body = [ssrc.to_be_bytes(), media_ssrc.to_be_bytes()].concat();
    for sequence in lost {
        body.extend(sequence.to_be_bytes());
        body.extend([0, 0]);
    }
    let mut out = super::rtp::rtcp(201, 0, &ssrc.to_be_bytes());
    out.extend(super::rtp::rtcp(205, 1, &body));
    out
}

/// The sequence numbers of a request's pairs of number and mask.
pub(super) fn nacked(pairs: &[u8]) -> Vec<u16> {
    let pairs = pairs.chunks_exact(4);
    let numbers = pairs.flat_map(|pair| {
        let first = u16::from_be_bytes([pair[0], pair[1]]);
        let mask = u16::from_be_bytes([pair[2], pair[3]]);
        let behind = (0..16).filter(move |bit| mask & 1 << bit != 0);
        let behind = behind.map(move |bit| first.wrapping_add(bit + 1));
        std::iter::once(first).chain(behind)
    });
    numbers.collect()
}

/// Blocks of sound in one packet.
pub(super) struct Block<'a> {
    /// How much earlier than the packet's timestamp it began.
    pub(super) before: u32,
    pub(super) payload: &'a [u8],
}

/// Writes a RED payload (RFC 2198 §3): copies first, oldest first, then what is new. Copies that do not
/// fit in the format are left out.
pub(super) fn write_red(payload_type: u8, copies: &[Block<'_>], new: &[u8]) -> Vec<u8> {
    let fits = |copy: &&Block<'_>| copy.before < 1 << 14 && copy.payload.len() < 1 << 10;
    let mut out = Vec::new();
    for copy in copies.iter().filter(fits) {
        let word = copy.before << 10 | copy.payload.len() as u32;
        out.push(0x80 | payload_type);
        out.extend_from_slice(&word.to_be_bytes()[1..]);
    }
    out.push(payload_type);
    for copy in copies.iter().filter(fits) {
        out.extend_from_slice(copy.payload);
    }
    out.extend_from_slice(new);
    out
}

/// Reads a RED payload, oldest block first; what is torn is left out.
pub(super) fn read_red(payload: &[u8]) -> Vec<Block<'_>> {
    let (mut rest, mut heads) = (payload, Vec::new());
    loop {
        match rest {
            [first, a, b, c, after @ ..] if first & 0x80 != 0 => {
                let word = u32::from_be_bytes([0, *a, *b, *c]);
                heads.push((word >> 10, (word & 0x3ff) as usize));
                rest = after;
            }
            [_, after @ ..] => {
                rest = after;
                break;
            }
            [] => return Vec::new(),
        }
    }
    let mut blocks = Vec::new();
    for (before, len) in heads {
        let Some((payload, after)) = rest.split_at_checked(len) else {
            return blocks;
        };
        blocks.push(Block { before, payload });
        rest = after;
    }
    let payload = rest;
    blocks.push(Block { before: 0, payload });
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sequence: u16) -> Packet<'static> {
        Packet {
            marker: false,
            payload_type: 97,
            sequence,
            timestamp: 0,
            ssrc: 1,
            payload: b"x",
        }
    }

    #[test]
    fn a_missing_packet_is_asked_for_and_waited_for() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut order = Order::default();
        for (ms, sequence) in [(0, 65_535), (1, 0), (2, 3)] {
            order.push(at(ms), &packet(sequence));
        }
        let popped: Vec<u16> = std::iter::from_fn(|| order.pop(at(2)))
            .map(|held| held.sequence)
            .collect();
        assert_eq!(popped, [65_535, 0]);
        assert!(order.ask(at(4)).is_empty());
        assert_eq!(order.ask(at(8)), [1, 2]);
        assert!(order.ask(at(60)).is_empty());
        order.push(at(61), &packet(2));
        assert_eq!(order.ask(at(70)), [1]);
        assert!(order.pop(at(400)).is_none());
        order.push(at(401), &packet(1));
        let popped: Vec<u16> = std::iter::from_fn(|| order.pop(at(402)))
            .map(|held| held.sequence)
            .collect();
        assert_eq!(popped, [1, 2, 3]);
        order.push(at(410), &packet(5));
        assert!(order.pop(at(909)).is_none());
        assert_eq!(order.pop(at(911)).map(|held| held.sequence), Some(5));
        assert_eq!(order.due(), None);
    }

    #[test]
    fn requests_and_copies_read_back() {
        let bytes = nack(1, 2, &[5, 9]);
        assert_eq!(nacked(&bytes[20..]), [5, 9]);
        assert_eq!(nacked(&[0, 5, 0x80, 1]), [5, 6, 21]);
        let copies = [(320, &b"old"[..]), (160, &b"newer"[..])];
        let copies = copies.map(|(before, payload)| Block { before, payload });
        let payload = write_red(0, &copies, b"now");
        let read = read_red(&payload);
        let read: Vec<_> = read.iter().map(|b| (b.before, b.payload)).collect();
        assert_eq!(read, [(320, &b"old"[..]), (160, b"newer"), (0, b"now")]);
        for len in 0..payload.len() {
            assert!(read_red(&payload[..len]).len() <= 3);
        }
    }
}
