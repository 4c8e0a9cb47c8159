//! Forwarding: packets of changing sources become one continuous stream without a decoder between.
//!
//! A receiver watches one output. Its source changes when another person is shown or another
//! simulcast layer fits better; the receiver sees neither a gap nor a jump.

use crate::clock::{NtpTime, RoomClock, SourceClock};
use crate::receive::Accepted;
use crate::seq::ExtSeq;

/// Names one source stream among all that a worker holds; chosen by the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceKey(pub u64);

/// A packet of a source, as [`crate::receive::ReceiveStream`] accepted it.
#[derive(Clone, Copy, Debug)]
pub struct SourcePacket {
    /// Which source.
    pub source: SourceKey,
    /// Its place there.
    pub accepted: Accepted,
    /// A key frame begins in it (see [`crate::video::KeyFrameStarts`]).
    pub key_frame: bool,
}

/// Where a packet goes in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// Sequence number for [`crate::send::SendStream::write_at`].
    pub seq: ExtSeq,
    /// RTP timestamp.
    pub timestamp: u32,
    /// The packet is the first from this source since a switch.
    pub switched: bool,
}

/// State of one output.
#[derive(Debug)]
pub struct Forwarder {
    clock_hz: u32,
    ts_offset: u32,
    next_seq: ExtSeq,
    last_timestamp: Option<u32>,
    wanted: Option<SourceKey>,
    segment: Option<Segment>,
}

/// The stretch of output that comes from one source.
#[derive(Clone, Copy, Debug)]
struct Segment {
    source: SourceKey,
    /// First packet of the stretch, at the source and in the output.
    source_first: ExtSeq,
    output_first: ExtSeq,
    /// Output timestamp less source timestamp.
    ts_shift: u32,
}

impl Forwarder {
    /// An output that begins at `first_seq` (keep it below 32,768, as
    /// [`crate::send::SendStream::next_sequence`] does) and adds `ts_offset` to the room's time.
    pub fn new(clock_hz: u32, first_seq: ExtSeq, ts_offset: u32) -> Self {
        Self {
            clock_hz,
            ts_offset,
            next_seq: first_seq,
            last_timestamp: None,
            wanted: None,
            segment: None,
        }
    }

    /// The source that is to be shown. The present one goes on until a key frame of the new one
    /// comes; `None` stops at once.
    pub fn want(&mut self, source: Option<SourceKey>) {
        self.wanted = source;
        if source.is_none() {
            self.segment = None;
        }
    }

    /// Something else was sent in the output, up to before this number and with this timestamp.
    pub fn go_on_from(&mut self, next: ExtSeq, timestamp: Option<u32>) {
        if next > self.next_seq {
            (self.next_seq, self.last_timestamp) = (next, timestamp.or(self.last_timestamp));
        }
    }

    /// The source that is shown now.
    pub fn showing(&self) -> Option<SourceKey> {
        self.segment.map(|segment| segment.source)
    }

    /// The source whose key frame is waited for: ask it for one.
    pub fn awaits_key_frame(&self) -> Option<SourceKey> {
        self.wanted.filter(|wanted| self.showing() != Some(*wanted))
    }

    /// The source is gone: nothing more of it is forwarded.
    pub fn remove_source(&mut self, source: SourceKey) {
        if self.showing() == Some(source) {
            self.segment = None;
        }
        if self.wanted == Some(source) {
            self.wanted = None;
        }
    }

    /// Where the packet goes, or `None` if it is not to be sent. `clock` is that of its source.
    pub fn forward(
        &mut self,
        packet: &SourcePacket,
        clock: &SourceClock,
        room: &RoomClock,
    ) -> Option<Forwarded> {
        if packet.accepted.restarted && self.showing() == Some(packet.source) {
            self.segment = None;
        }
        if packet.key_frame && self.awaits_key_frame() == Some(packet.source) {
            return self.switch(packet, clock, room);
        }
        let segment = self
            .segment
            .filter(|segment| segment.source == packet.source)?;
        // What the network brought late from before the switch belongs to no picture shown.
        let step = packet.accepted.seq.since(segment.source_first);
        let seq = segment.output_first.plus(u64::try_from(step).ok()?);
        let timestamp = packet.accepted.ts.wire().wrapping_add(segment.ts_shift);
        Some(self.note(seq, timestamp, false))
    }

    /// RTP timestamp of the output at a room time, for its sender reports; `None` while nothing is
    /// shown. `clock` is that of the source shown.
    pub fn timestamp_at(&self, clock: &SourceClock, time: NtpTime) -> Option<u32> {
        let segment = self.segment?;
        Some(clock.timestamp_at(time)?.wrapping_add(segment.ts_shift))
    }

    fn switch(
        &mut self,
        packet: &SourcePacket,
        clock: &SourceClock,
        room: &RoomClock,
    ) -> Option<Forwarded> {
        let source_ts = packet.accepted.ts.wire();
        let time = clock.room_time(source_ts)?;
        let nominal = room.rtp(time, self.clock_hz).wrapping_add(self.ts_offset);
        let timestamp = match self.last_timestamp {
            // Time in the output never stands still or goes back: at least a millisecond on.
            Some(last) if (nominal.wrapping_sub(last) as i32) < self.millisecond() => {
                last.wrapping_add(self.millisecond() as u32)
            }
            _ => nominal,
        };
        self.segment = Some(Segment {
            source: packet.source,
            source_first: packet.accepted.seq,
            output_first: self.next_seq,
            ts_shift: timestamp.wrapping_sub(source_ts),
        });
        Some(self.note(self.next_seq, timestamp, true))
    }

    fn note(&mut self, seq: ExtSeq, timestamp: u32, switched: bool) -> Forwarded {
        if seq >= self.next_seq {
            self.next_seq = seq.next();
            self.last_timestamp = Some(timestamp);
        }
        Forwarded {
            seq,
            timestamp,
            switched,
        }
    }

    fn millisecond(&self) -> i32 {
        (self.clock_hz / 1_000).max(1) as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seq::ExtTs;
    use std::time::{Duration, Instant, SystemTime};

    const FIRST: u64 = 65_536 + 100;

    struct Source {
        key: SourceKey,
        clock: SourceClock,
        ts_base: u64,
        seq_base: u64,
    }

    impl Source {
        fn new(key: u64, seq_base: u64, ts_base: u64) -> Self {
            let clock = SourceClock::new(90_000);
            Self {
                key: SourceKey(key),
                clock,
                ts_base,
                seq_base,
            }
        }

        /// Packet `n` of the source, sent every 10 ms and received at once.
        fn packet(
            &mut self,
            n: u64,
            key_frame: bool,
            room: &RoomClock,
            start: Instant,
        ) -> SourcePacket {
            let ts = ExtTs::new(self.ts_base + n * 900);
            self.clock
                .handle_packet(start + Duration::from_millis(10 * n), room, ts.wire());
            let seq = ExtSeq::new(self.seq_base + n);
            let accepted = Accepted {
                seq,
                ts,
                restarted: false,
            };
            SourcePacket {
                source: self.key,
                accepted,
                key_frame,
            }
        }
    }

    fn setup() -> (Instant, RoomClock, Forwarder) {
        let start = Instant::now();
        let room = RoomClock::new(start, SystemTime::UNIX_EPOCH + Duration::from_secs(5_000));
        (start, room, Forwarder::new(90_000, ExtSeq::new(FIRST), 7))
    }

    #[test]
    fn begins_at_a_key_frame_and_at_the_first_number() {
        let (start, room, mut forwarder) = setup();
        let mut a = Source::new(1, 900_000, 1 << 33);
        forwarder.want(Some(a.key));
        assert_eq!(forwarder.awaits_key_frame(), Some(a.key));
        let early = a.packet(0, false, &room, start);
        assert_eq!(forwarder.forward(&early, &a.clock, &room), None);
        let key = a.packet(1, true, &room, start);
        let out = forwarder.forward(&key, &a.clock, &room).unwrap();
        assert_eq!(
            (out.seq.get(), out.timestamp, out.switched),
            (FIRST, 907, true)
        );
        assert_eq!(forwarder.awaits_key_frame(), None);
        assert_eq!(forwarder.forward(&early, &a.clock, &room), None);
    }

    #[test]
    fn a_switch_is_continuous_and_drops_what_precedes_it() {
        let (start, room, mut forwarder) = setup();
        let mut a = Source::new(1, 900_000, 1 << 33);
        let mut b = Source::new(2, 70_000, 55);
        forwarder.want(Some(a.key));
        for n in 0..5 {
            let packet = a.packet(n, n == 0, &room, start);
            assert!(forwarder.forward(&packet, &a.clock, &room).is_some());
        }
        let late_of_a = a.packet(5, false, &room, start);
        forwarder.want(Some(b.key));
        let late_of_b = b.packet(5, false, &room, start);
        assert_eq!(forwarder.forward(&late_of_b, &b.clock, &room), None);
        let key = b.packet(6, true, &room, start);
        let out = forwarder.forward(&key, &b.clock, &room).unwrap();
        assert_eq!((out.seq.get(), out.timestamp), (FIRST + 5, 6 * 900 + 7));
        assert_eq!(forwarder.forward(&late_of_a, &a.clock, &room), None);
        assert_eq!(forwarder.forward(&late_of_b, &b.clock, &room), None);
        // Order and loss of the source are kept in the output.
        let ninth = b.packet(9, false, &room, start);
        let eighth = b.packet(8, false, &room, start);
        assert_eq!(
            forwarder
                .forward(&ninth, &b.clock, &room)
                .unwrap()
                .seq
                .get(),
            FIRST + 8
        );
        assert_eq!(
            forwarder
                .forward(&eighth, &b.clock, &room)
                .unwrap()
                .seq
                .get(),
            FIRST + 7
        );
    }

    #[test]
    fn reports_agree_with_the_packets() {
        let (start, room, mut forwarder) = setup();
        let mut a = Source::new(1, 900_000, 123_456);
        forwarder.want(Some(a.key));
        let packet = a.packet(3, true, &room, start);
        let out = forwarder.forward(&packet, &a.clock, &room).unwrap();
        let shown = a.clock.room_time(packet.accepted.ts.wire()).unwrap();
        let at = forwarder.timestamp_at(&a.clock, shown).unwrap();
        assert!(at.abs_diff(out.timestamp) <= 1);
        let later = forwarder
            .timestamp_at(&a.clock, shown.offset_micros(1_000_000))
            .unwrap();
        assert!(later.wrapping_sub(out.timestamp).abs_diff(90_000) <= 1);
    }

    #[test]
    fn time_never_goes_back() {
        let (start, room, mut forwarder) = setup();
        let mut a = Source::new(1, 900_000, 0);
        let mut b = Source::new(2, 70_000, 0);
        forwarder.want(Some(a.key));
        let packet = a.packet(100, true, &room, start);
        let before = forwarder.forward(&packet, &a.clock, &room).unwrap();
        forwarder.want(Some(b.key));
        let packet = b.packet(50, true, &room, start);
        let after = forwarder.forward(&packet, &b.clock, &room).unwrap();
        assert_eq!(after.timestamp.wrapping_sub(before.timestamp), 90);
    }

    #[test]
    fn a_restarted_source_is_joined_again_at_a_key_frame() {
        let (start, room, mut forwarder) = setup();
        let mut a = Source::new(1, 900_000, 0);
        forwarder.want(Some(a.key));
        let packet = a.packet(0, true, &room, start);
        forwarder.forward(&packet, &a.clock, &room).unwrap();
        let mut packet = a.packet(1, false, &room, start);
        packet.accepted.restarted = true;
        assert_eq!(forwarder.forward(&packet, &a.clock, &room), None);
        assert_eq!(forwarder.awaits_key_frame(), Some(a.key));
        let packet = a.packet(2, true, &room, start);
        let out = forwarder.forward(&packet, &a.clock, &room).unwrap();
        assert_eq!(out.seq.get(), FIRST + 1);
    }

    #[test]
    fn nothing_is_sent_when_nothing_is_wanted() {
        let (start, room, mut forwarder) = setup();
        let mut a = Source::new(1, 900_000, 0);
        forwarder.want(Some(a.key));
        let packet = a.packet(0, true, &room, start);
        forwarder.forward(&packet, &a.clock, &room).unwrap();
        forwarder.want(None);
        let packet = a.packet(1, true, &room, start);
        assert_eq!(forwarder.forward(&packet, &a.clock, &room), None);
        assert_eq!(forwarder.timestamp_at(&a.clock, room.ntp(start)), None);
    }
}
