//! One sent stream: numbering, counts, sender reports, and the store that answers NACKs.

use std::time::{Duration, Instant};

use bytes::Bytes;
use mcu_api::plan::HeaderExtensions;

use crate::clock::{NtpTime, RoomClock};
use crate::header::{ExtensionValues, RtpHeader, write_header};
use crate::rtcp::{ReportBlock, SenderInfo};
use crate::seq::{ExtSeq, SeqExtender};

/// The same packet is not sent again sooner than this, whatever the round trip.
const MIN_RESEND: Duration = Duration::from_millis(10);
/// Packets over which the share is taken that is asked for again.
const ASKED_WINDOW: f32 = 256.0;
/// Sequence numbers looked at in one NACK, which could otherwise name a thousand.
const MAX_NACKED: usize = 256;

/// Where retransmissions go, RFC 4588.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtx {
    /// Payload type agreed for them.
    pub payload_type: u8,
    /// SSRC of ours for them.
    pub ssrc: u32,
}

/// What does not change while a stream lives.
#[derive(Clone, Debug)]
pub struct Config {
    /// SSRC of ours.
    pub ssrc: u32,
    /// Payload type.
    pub payload_type: u8,
    /// Ticks of the RTP clock per second.
    pub clock_hz: u32,
    /// Retransmission stream; without it packets are repeated as they were.
    pub rtx: Option<Rtx>,
    /// Extension identifiers agreed.
    pub extensions: HeaderExtensions,
    /// `a=mid` of the line, sent in every packet while agreed.
    pub mid: Option<String>,
    /// Packets kept for retransmission; 0 where NACK was not agreed. The oldest gives way.
    pub kept_packets: usize,
    /// Packets are kept for this long.
    pub kept_for: Duration,
}

/// Marks that belong to the transport rather than the stream, given by the caller for each packet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stamp {
    /// Transport-wide sequence number.
    pub transport_cc: Option<u16>,
    /// Absolute send time, see [`abs_send_time`].
    pub abs_send_time: Option<u32>,
}

/// The 24 bits of the `abs-send-time` extension: seconds in 6.18 fixed point.
pub const fn abs_send_time(time: NtpTime) -> u32 {
    (time.get() >> 14) as u32 & 0xFF_FFFF
}

/// Media that is to become a packet.
#[derive(Clone, Copy, Debug)]
pub struct Media<'a> {
    /// RTP timestamp.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// Payload.
    pub payload: &'a [u8],
    /// The packet, where the payload is a part of it: then it is kept with that instead of copied, and what
    /// many streams forward is kept once.
    pub whole: Option<&'a Bytes>,
}

/// Figures of a sent stream.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stats {
    /// Packets sent, retransmissions not counted.
    pub packets: u64,
    /// Payload bytes sent, retransmissions not counted.
    pub bytes: u64,
    /// Packets sent again.
    pub resent: u64,
    /// Packets lost on the way, by the peer's reports.
    pub lost: u64,
    /// Share lost over the peer's last report interval, 0 to 1.
    pub fraction_lost: f32,
    /// Jitter at the peer in ms.
    pub jitter_ms: f32,
    /// Round trip, when known.
    pub round_trip: Option<Duration>,
}

/// State of one sent stream.
#[derive(Debug)]
pub struct SendStream {
    config: Config,
    ts_offset: u32,
    next_seq: ExtSeq,
    rtx_sequence: u16,
    kept: Vec<Kept>,
    numbering: SeqExtender,
    stats: Stats,
    /// Share of packets that were asked for again, of late.
    asked: f32,
}

/// Where a stream stopped. One with the same SSRC goes on there: under one SRTP key an SSRC may use
/// no sequence number twice (RFC 3711 §9.1), and a receiver takes what goes back for a replay.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Whose place it is.
    pub ssrc: u32,
    ts_offset: u32,
    next_seq: ExtSeq,
    rtx_sequence: u16,
    numbering: SeqExtender,
    packets: u64,
    bytes: u64,
}

/// A sent packet. Its buffer is used again when its place is.
#[derive(Debug, Default)]
struct Kept {
    seq: Option<ExtSeq>,
    sent: Option<Instant>,
    resent: Option<Instant>,
    timestamp: u32,
    marker: bool,
    payload: Payload,
}

#[derive(Debug)]
enum Payload {
    Own(Vec<u8>),
    /// A part of what others may keep, too.
    Shared(Bytes),
}

impl Default for Payload {
    fn default() -> Self {
        Self::Own(Vec::new())
    }
}

impl Payload {
    fn set(&mut self, media: &Media<'_>) {
        let payload = media.payload.as_ptr_range();
        let is_part = |whole: &&Bytes| {
            let whole = whole.as_ptr_range();
            whole.start <= payload.start && payload.end <= whole.end
        };
        match (media.whole.filter(is_part), &mut *self) {
            (Some(whole), _) => *self = Self::Shared(whole.slice_ref(media.payload)),
            (None, Self::Own(bytes)) => {
                bytes.clear();
                bytes.extend_from_slice(media.payload);
            }
            (None, Self::Shared(_)) => *self = Self::Own(media.payload.to_vec()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl SendStream {
    /// A stream that begins at a random sequence number below 32,768 and a random timestamp.
    ///
    /// The upper half is left out so that a receiver which joins late, with a rollover counter of
    /// zero, agrees on SRTP's index (RFC 3711 §3.3.1).
    pub fn new(config: Config, random: &mut impl rand::Rng) -> Self {
        let first = random.random_range(0..0x8000u16);
        let mut numbering = SeqExtender::new();
        let next_seq = numbering.extend(first);
        let mut kept = Vec::new();
        kept.resize_with(config.kept_packets, Kept::default);
        Self {
            config,
            ts_offset: random.random(),
            next_seq,
            rtx_sequence: random.random_range(0..0x8000),
            kept,
            numbering,
            stats: Stats::default(),
            asked: 0.0,
        }
    }

    /// Where the stream stands, for one that takes its place.
    pub fn place(&self) -> Place {
        Place {
            ssrc: self.config.ssrc,
            ts_offset: self.ts_offset,
            next_seq: self.next_seq,
            rtx_sequence: self.rtx_sequence,
            numbering: self.numbering,
            packets: self.stats.packets,
            bytes: self.stats.bytes,
        }
    }

    /// Goes on where a stream of the same SSRC stood. Call it before anything is sent.
    pub fn go_on_from(&mut self, place: &Place) {
        self.ts_offset = place.ts_offset;
        self.next_seq = place.next_seq;
        self.rtx_sequence = place.rtx_sequence;
        self.numbering = place.numbering;
        // The counts of sender reports begin anew with another SSRC only (RFC 3550 §6.4.1).
        self.stats.packets = place.packets;
        self.stats.bytes = place.bytes;
    }

    /// SSRC of the stream.
    pub fn ssrc(&self) -> u32 {
        self.config.ssrc
    }

    /// Payload type of what is written from now on.
    pub fn set_payload_type(&mut self, payload_type: u8) {
        self.config.payload_type = payload_type;
    }

    /// Sequence number of the next packet: where a [`crate::forward::Forwarder`] begins.
    pub fn next_sequence(&self) -> ExtSeq {
        self.next_seq
    }

    /// What this stream adds to the room's RTP time.
    pub fn timestamp_offset(&self) -> u32 {
        self.ts_offset
    }

    /// RTP timestamp of this stream for a room time.
    pub fn timestamp(&self, room: &RoomClock, at: NtpTime) -> u32 {
        room.rtp(at, self.config.clock_hz)
            .wrapping_add(self.ts_offset)
    }

    /// Appends the next packet to `out` and returns its sequence number.
    pub fn write(
        &mut self,
        now: Instant,
        media: &Media<'_>,
        stamp: Stamp,
        out: &mut Vec<u8>,
    ) -> ExtSeq {
        let seq = self.next_seq;
        self.write_at(now, seq, media, stamp, out);
        seq
    }

    /// Appends a packet with the sequence number that a [`crate::forward::Forwarder`] gave it.
    pub fn write_at(
        &mut self,
        now: Instant,
        seq: ExtSeq,
        media: &Media<'_>,
        stamp: Stamp,
        out: &mut Vec<u8>,
    ) {
        let header = RtpHeader {
            payload_type: self.config.payload_type,
            marker: media.marker,
            sequence: seq.wire(),
            timestamp: media.timestamp,
            ssrc: self.config.ssrc,
        };
        write_header(out, &header, &self.config.extensions, &self.values(stamp));
        out.extend_from_slice(media.payload);
        self.keep(now, seq, media);
        self.asked -= self.asked / ASKED_WINDOW;
        self.stats.packets += 1;
        self.stats.bytes += media.payload.len() as u64;
        self.next_seq = self.next_seq.max(seq.next());
        self.numbering.extend(self.next_seq.wire());
    }

    /// Of the packets that a NACK names, those that can and should be sent again are appended to
    /// `resend`; write each with [`Self::write_again`].
    pub fn handle_nack(
        &mut self,
        now: Instant,
        lost: impl Iterator<Item = u16>,
        resend: &mut Vec<ExtSeq>,
    ) {
        // A second request may be there because the first answer is known to be lost, or because much is
        // lost: receivers send it after half a round trip at the soonest.
        let pause = self.stats.round_trip.unwrap_or_default().mul_f32(0.45);
        let pause = pause.max(MIN_RESEND);
        for wire in lost.take(MAX_NACKED) {
            let seq = self.numbering.peek(wire);
            let Some(kept) = self.kept_mut(now, seq) else {
                continue;
            };
            if kept
                .resent
                .is_none_or(|at| now.saturating_duration_since(at) >= pause)
            {
                let is_first = kept.resent.is_none();
                resend.push(seq);
                if is_first {
                    self.asked += 1.0 / ASKED_WINDOW;
                }
            }
        }
        resend.sort_unstable();
        resend.dedup();
    }

    /// Appends a kept packet to `out` once more, by RTX where agreed. `false`: it is gone.
    pub fn write_again(
        &mut self,
        now: Instant,
        seq: ExtSeq,
        stamp: Stamp,
        out: &mut Vec<u8>,
    ) -> bool {
        let rtx_sequence = self.rtx_sequence;
        match self.kept_mut(now, seq) {
            Some(kept) => kept.resent = Some(now),
            None => return false,
        }
        let Some(kept) = self.slot(seq).and_then(|slot| self.kept.get(slot)) else {
            return false;
        };
        let original = RtpHeader {
            payload_type: self.config.payload_type,
            marker: kept.marker,
            sequence: seq.wire(),
            timestamp: kept.timestamp,
            ssrc: self.config.ssrc,
        };
        let values = self.values(stamp);
        match self.config.rtx {
            Some(Rtx { payload_type, ssrc }) => {
                let header = RtpHeader {
                    payload_type,
                    ssrc,
                    sequence: rtx_sequence,
                    ..original
                };
                write_header(out, &header, &self.config.extensions, &values);
                out.extend_from_slice(&original.sequence.to_be_bytes());
            }
            None => write_header(out, &original, &self.config.extensions, &values),
        }
        out.extend_from_slice(kept.payload.bytes());
        self.rtx_sequence = rtx_sequence.wrapping_add(1);
        self.stats.resent += 1;
        true
    }

    /// Contents of a sender report for media that this room made: its RTP time is the room's.
    pub fn sender_info(&self, now: Instant, room: &RoomClock) -> SenderInfo {
        let ntp = room.ntp(now);
        self.sender_info_at(ntp, self.timestamp(room, ntp))
    }

    /// Contents of a sender report for forwarded media, whose RTP time at room time `ntp` the
    /// forwarder knows.
    pub fn sender_info_at(&self, ntp: NtpTime, rtp_timestamp: u32) -> SenderInfo {
        let (packets, octets) = (self.stats.packets as u32, self.stats.bytes as u32);
        SenderInfo {
            ntp,
            rtp_timestamp,
            packets,
            octets,
        }
    }

    /// The peer's report about this stream. Others' are ignored.
    pub fn handle_report_block(&mut self, now: Instant, block: &ReportBlock, room: &RoomClock) {
        if block.ssrc != self.config.ssrc {
            return;
        }
        self.stats.lost = block.cumulative_lost.max(0) as u64;
        self.stats.fraction_lost = f32::from(block.fraction_lost) / 256.0;
        self.stats.jitter_ms = block.jitter as f32 * 1_000.0 / self.config.clock_hz.max(1) as f32;
        if let Some(round_trip) = round_trip(room.ntp(now), block) {
            self.stats.round_trip = Some(round_trip);
        }
    }

    /// Share of packets lost on the way of late, 0 to 1, by what the peer reports and by what it asks for
    /// again: packets that came again as they were are none that are lost in its reports.
    pub fn recent_loss(&self) -> f32 {
        self.asked.max(self.stats.fraction_lost)
    }

    /// Figures so far.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    fn values(&self, stamp: Stamp) -> ExtensionValues<'_> {
        ExtensionValues {
            mid: self.config.mid.as_deref(),
            transport_cc: stamp.transport_cc,
            abs_send_time: stamp.abs_send_time,
            ..ExtensionValues::default()
        }
    }

    fn keep(&mut self, now: Instant, seq: ExtSeq, media: &Media<'_>) {
        let Some(kept) = self.slot(seq).and_then(|slot| self.kept.get_mut(slot)) else {
            return;
        };
        // A forwarded packet that comes late must not displace a newer one.
        if kept.seq.is_some_and(|old| old > seq) {
            return;
        }
        kept.seq = Some(seq);
        kept.sent = Some(now);
        kept.resent = None;
        kept.timestamp = media.timestamp;
        kept.marker = media.marker;
        kept.payload.set(media);
    }

    fn slot(&self, seq: ExtSeq) -> Option<usize> {
        seq.get()
            .checked_rem(self.kept.len() as u64)
            .map(|slot| slot as usize)
    }

    fn kept_mut(&mut self, now: Instant, seq: ExtSeq) -> Option<&mut Kept> {
        let slot = self.slot(seq)?;
        let age_limit = self.config.kept_for;
        let kept = self
            .kept
            .get_mut(slot)
            .filter(|kept| kept.seq == Some(seq))?;
        let sent = kept.sent?;
        (now.saturating_duration_since(sent) <= age_limit).then_some(kept)
    }
}

/// Round trip by a report block that answers a report of ours, RFC 3550 §6.4.1 (LSR and DLSR).
/// `None` without an answer, or if it would be negative or above a minute.
pub fn round_trip(now: NtpTime, block: &ReportBlock) -> Option<Duration> {
    if block.last_sr == 0 {
        return None;
    }
    let units = now
        .compact()
        .wrapping_sub(block.last_sr)
        .wrapping_sub(block.delay_since_last_sr);
    // Clocks that tick in 15 µs may make it a little negative.
    let units = if units > u32::MAX - 655 { 0 } else { units };
    (units < 60 << 16).then(|| Duration::from_micros(u64::from(units) * 1_000_000 / 65_536))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::RtpPacket;
    use crate::rtx;
    use rand::{SeedableRng, rngs::StdRng};
    use std::time::SystemTime;

    fn config(rtx: Option<Rtx>) -> Config {
        Config {
            ssrc: 5,
            payload_type: 96,
            clock_hz: 90_000,
            rtx,
            extensions: HeaderExtensions {
                mid: 1,
                transport_cc: 2,
                ..Default::default()
            },
            mid: Some("v".into()),
            kept_packets: 64,
            kept_for: Duration::from_secs(1),
        }
    }

    fn stream(rtx: Option<Rtx>) -> SendStream {
        SendStream::new(config(rtx), &mut StdRng::seed_from_u64(1))
    }

    fn media(payload: &[u8]) -> Media<'_> {
        Media {
            timestamp: 1_234,
            marker: true,
            payload,
            whole: None,
        }
    }

    #[test]
    fn packets_are_numbered_and_stamped() {
        let mut stream = stream(None);
        let first = stream.next_sequence();
        assert!(first.wire() < 32_768);
        let stamp = Stamp {
            transport_cc: Some(77),
            abs_send_time: None,
        };
        for n in 0..3 {
            let mut out = Vec::new();
            let seq = stream.write(Instant::now(), &media(b"abc"), stamp, &mut out);
            assert_eq!(seq, first.plus(n));
            let packet = RtpPacket::parse(&out).unwrap();
            assert_eq!(
                (packet.header.sequence, packet.header.ssrc),
                (seq.wire(), 5)
            );
            let values = packet.known_extensions(&config(None).extensions);
            assert_eq!((values.mid, values.transport_cc), (Some("v"), Some(77)));
        }
        assert_eq!((stream.stats().packets, stream.stats().bytes), (3, 9));
    }

    #[test]
    fn a_nack_is_answered_by_rtx() {
        let start = Instant::now();
        let mut stream = stream(Some(Rtx {
            payload_type: 97,
            ssrc: 6,
        }));
        let mut out = Vec::new();
        let seq = stream.write(start, &media(b"abc"), Stamp::default(), &mut out);
        let original = RtpPacket::parse(&out).unwrap();
        let mut resend = Vec::new();
        let lost = [seq.wire(), seq.wire(), seq.wire().wrapping_add(9)];
        stream.handle_nack(start, lost.into_iter(), &mut resend);
        assert_eq!(resend, [seq]);
        let mut again = Vec::new();
        assert!(stream.write_again(start, seq, Stamp::default(), &mut again));
        let packet = RtpPacket::parse(&again).unwrap();
        assert_eq!((packet.header.payload_type, packet.header.ssrc), (97, 6));
        let unwrapped = rtx::unwrap(&packet, 5, 96).unwrap();
        assert_eq!(unwrapped.header, original.header);
        assert_eq!(unwrapped.payload, b"abc");
    }

    #[test]
    fn what_is_kept_as_a_part_of_a_packet_is_sent_again_as_what_is_copied() {
        let start = Instant::now();
        let mut stream = stream(None);
        let whole = Bytes::from_static(b"header, payload");
        let part = Media {
            whole: Some(&whole),
            ..media(&whole[8..])
        };
        let no_part = Media {
            whole: Some(&whole),
            ..media(b"of another packet")
        };
        // Each place is used for a copy, for a part, and for a copy again.
        for round in [media(b"copied"), part, no_part] {
            for _ in 0..config(None).kept_packets {
                let mut out = Vec::new();
                let seq = stream.write(start, &round, Stamp::default(), &mut out);
                let mut again = Vec::new();
                assert!(stream.write_again(start, seq, Stamp::default(), &mut again));
                assert_eq!(again, out);
                assert!(again.ends_with(round.payload));
            }
        }
    }

    #[test]
    fn without_rtx_the_packet_is_repeated() {
        let start = Instant::now();
        let mut stream = stream(None);
        let (mut out, mut again) = (Vec::new(), Vec::new());
        let seq = stream.write(start, &media(b"abc"), Stamp::default(), &mut out);
        assert!(stream.write_again(start, seq, Stamp::default(), &mut again));
        assert_eq!(out, again);
    }

    #[test]
    fn old_packets_are_gone_by_count_and_by_age() {
        let start = Instant::now();
        let mut stream = stream(None);
        let mut out = Vec::new();
        let first = stream.write(start, &media(b"a"), Stamp::default(), &mut out);
        let mut last = first;
        for _ in 0..64 {
            last = stream.write(start, &media(b"b"), Stamp::default(), &mut out);
        }
        let mut resend = Vec::new();
        stream.handle_nack(start, [first.wire(), last.wire()].into_iter(), &mut resend);
        assert_eq!(resend, [last]);
        let late = start + Duration::from_millis(1_001);
        assert!(!stream.write_again(late, last, Stamp::default(), &mut out));
    }

    #[test]
    fn round_trip_comes_from_the_peers_report() {
        let start = Instant::now();
        let room = RoomClock::new(start, SystemTime::UNIX_EPOCH + Duration::from_secs(1_000));
        let mut stream = stream(None);
        let report = stream.sender_info(start, &room);
        let block = ReportBlock {
            ssrc: 5,
            fraction_lost: 128,
            cumulative_lost: 3,
            highest_sequence: 0,
            jitter: 900,
            last_sr: report.ntp.compact(),
            delay_since_last_sr: 65_536 / 2,
        };
        stream.handle_report_block(start + Duration::from_millis(560), &block, &room);
        let stats = stream.stats();
        let round_trip = stats.round_trip.unwrap();
        assert!(round_trip.abs_diff(Duration::from_millis(60)) < Duration::from_micros(50));
        assert_eq!(
            (stats.lost, stats.fraction_lost, stats.jitter_ms),
            (3, 0.5, 10.0)
        );
        let other = ReportBlock {
            ssrc: 6,
            fraction_lost: 0,
            ..block
        };
        stream.handle_report_block(start, &other, &room);
        assert_eq!(stream.stats().fraction_lost, 0.5);
    }

    #[test]
    fn reports_show_the_rooms_clock() {
        let start = Instant::now();
        let room = RoomClock::new(start, SystemTime::now());
        let stream = stream(None);
        let now = start + Duration::from_secs(2);
        let info = stream.sender_info(now, &room);
        assert_eq!(info.ntp, room.ntp(now));
        assert_eq!(
            info.rtp_timestamp.wrapping_sub(stream.timestamp_offset()),
            180_000
        );
    }
}
