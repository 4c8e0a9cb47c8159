//! RTP, RTCP and the H.264 payload format, as much of them as a terminal needs.

use std::time::{Duration, Instant, SystemTime};

use mcu_api::codec::PacketizationMode;

use super::repair;
use crate::codec;

/// Longest payload sent, so that a packet fits every path.
pub(super) const PAYLOAD_MAX: usize = 1_200;

/// Length of the header without CSRCs and extensions.
pub(super) const HEADER_LEN: usize = 12;

/// Longest access unit put together from packets; a longer one is dropped.
const ACCESS_UNIT_MAX: usize = 1 << 20;

/// Jump in sequence numbers above which the sender is taken to have started anew (RFC 3550 A.1).
const DROPOUT_MAX: u16 = 3_000;

const NAL_STAP_A: u8 = 24;
const NAL_FU_A: u8 = 28;

/// A received packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    pub(super) marker: bool,
    pub(super) payload_type: u8,
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
    pub(super) ssrc: u32,
    pub(super) payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// RFC 3550 §5.1; `None` for anything else.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, mut rest) = bytes.split_first_chunk::<HEADER_LEN>()?;
        if header[0] >> 6 != 2 {
            return None;
        }
        rest = rest.get(usize::from(header[0] & 0x0f) * 4..)?;
        if header[0] & 0x10 != 0 {
            let words = u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]);
            rest = rest.get(4 + usize::from(words) * 4..)?;
        }
        if header[0] & 0x20 != 0 {
            let padding = usize::from(*rest.last()?);
            rest = rest.get(..rest.len().checked_sub(padding)?)?;
        }
        Some(Self {
            marker: header[1] & 0x80 != 0,
            payload_type: header[1] & 0x7f,
            sequence: u16::from_be_bytes([header[2], header[3]]),
            timestamp: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
            ssrc: u32::from_be_bytes([header[8], header[9], header[10], header[11]]),
            payload: rest,
        })
    }

    /// Appends the packet to `out`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(0x80);
        out.push(u8::from(self.marker) << 7 | self.payload_type & 0x7f);
        out.extend(self.sequence.to_be_bytes());
        out.extend(self.timestamp.to_be_bytes());
        out.extend(self.ssrc.to_be_bytes());
        out.extend(self.payload);
    }
}

/// Whether a datagram of a shared port is RTCP (RFC 5761 §4).
pub(super) fn is_rtcp(bytes: &[u8]) -> bool {
    matches!(bytes.get(1), Some(192..=223))
}

/// Cuts an access unit into RTP payloads (RFC 6184). A NAL unit too long for mode 0 is sent whole
/// all the same: the clip's slices should have been shorter.
pub(super) fn packetize(annex_b: &[u8], mode: PacketizationMode) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    for nal in codec::nal_units(annex_b) {
        let fits = nal.len() <= PAYLOAD_MAX || mode == PacketizationMode::SingleNal;
        let Some((&header, body)) = nal.split_first() else {
            continue;
        };
        if fits {
            payloads.push(nal.to_vec());
            continue;
        }
        // RFC 6184 §5.8: the NAL header is split over indicator and FU header.
        let pieces = body.chunks(PAYLOAD_MAX - 2);
        let last = pieces.len() - 1;
        for (i, piece) in pieces.enumerate() {
            let start_end = u8::from(i == 0) << 7 | u8::from(i == last) << 6;
            let mut payload = vec![header & 0xe0 | NAL_FU_A, start_end | header & 0x1f];
            payload.extend_from_slice(piece);
            payloads.push(payload);
        }
    }
    payloads
}

/// Puts access units together again. A gap in the sequence spoils the access unit it falls in.
#[derive(Debug, Default)]
pub(super) struct Depacketizer {
    unit: Vec<u8>,
    next_sequence: Option<u16>,
    timestamp: u32,
    spoilt: bool,
    /// What is left of a damaged access unit is handed on, for a decoder that conceals.
    conceals: bool,
    /// Where the NAL unit begins whose fragments come.
    fragment: Option<usize>,
}

/// What a packet completed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Depacketized {
    /// Nothing yet.
    Pending,
    /// A whole access unit in Annex B form.
    Unit(Vec<u8>),
    /// An access unit that lacks something.
    Damaged,
}

impl Depacketizer {
    /// Nothing received yet.
    pub(super) fn new(conceals: bool) -> Self {
        Self {
            conceals,
            ..Self::default()
        }
    }

    /// Takes the next packet in order of arrival.
    pub(super) fn push(&mut self, packet: &Packet<'_>) -> Depacketized {
        let expected = self.next_sequence.replace(packet.sequence.wrapping_add(1));
        let is_gap = expected.is_some_and(|e| e != packet.sequence);
        self.spoilt |= is_gap;
        if is_gap && let Some(start) = self.fragment.take() {
            // The rest of it is of no use.
            self.unit.truncate(start);
        }
        if packet.timestamp != self.timestamp {
            // The rest of the former frame never came.
            self.spoilt |= !self.unit.is_empty();
            if self.conceals {
                (self.spoilt, self.fragment) = (false, None);
                self.unit.clear();
            }
            self.timestamp = packet.timestamp;
        }
        self.spoilt |= self.append(packet.payload).is_none();
        self.spoilt |= self.unit.len() > ACCESS_UNIT_MAX;
        if self.spoilt && !self.conceals {
            self.unit.clear();
        }
        if !packet.marker {
            return Depacketized::Pending;
        }
        let unit = std::mem::take(&mut self.unit);
        let spoilt = std::mem::take(&mut self.spoilt);
        if (spoilt && !self.conceals) || unit.is_empty() {
            Depacketized::Damaged
        } else {
            Depacketized::Unit(unit)
        }
    }

    fn append(&mut self, payload: &[u8]) -> Option<()> {
        const START_CODE: [u8; 4] = [0, 0, 0, 1];
        let (&indicator, mut rest) = payload.split_first()?;
        match indicator & 0x1f {
            1..=23 => {
                self.unit.extend(START_CODE);
                self.unit.extend(payload);
            }
            NAL_STAP_A => {
                while let Some((len, after)) = rest.split_first_chunk::<2>() {
                    let (nal, after) = after.split_at_checked(u16::from_be_bytes(*len).into())?;
                    self.unit.extend(START_CODE);
                    self.unit.extend(nal);
                    rest = after;
                }
            }
            NAL_FU_A => {
                let (&fu, body) = rest.split_first()?;
                if fu & 0x80 != 0 {
                    self.fragment = Some(self.unit.len());
                    self.unit.extend(START_CODE);
                    self.unit.push(indicator & 0xe0 | fu & 0x1f);
                }
                self.fragment?;
                self.unit.extend(body);
                if fu & 0x40 != 0 {
                    self.fragment = None;
                }
            }
            _ => return None,
        }
        Some(())
    }
}

/// Counts what came and what did not, after RFC 3550 appendix A.
#[derive(Debug, Default)]
pub(super) struct Received {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) longest_payload: usize,
    pub(super) ssrc: u32,
    /// Lost before the sender started anew.
    lost_before: u64,
    /// First and highest extended sequence number, and packets since, of the present sender.
    span: Option<(u64, u64, u64)>,
    /// Same figures when the last report block was written.
    reported: (u64, u64),
    /// Middle of the NTP time of the peer's last sender report, and when it came.
    last_report: Option<(u32, Instant)>,
}

impl Received {
    pub(super) fn push(&mut self, packet: &Packet<'_>) {
        self.packets += 1;
        self.bytes += packet.payload.len() as u64;
        self.longest_payload = self.longest_payload.max(packet.payload.len());
        let sequence = u64::from(packet.sequence);
        let Some((first, highest, count)) = self.span else {
            self.ssrc = packet.ssrc;
            // The cycle count starts at one: a late packet before the first is then no underflow.
            let start = 0x1_0000 + sequence;
            self.span = Some((start, start, 1));
            return;
        };
        let step = packet.sequence.wrapping_sub(highest as u16);
        let backwards = (highest as u16).wrapping_sub(packet.sequence);
        let anew = step >= DROPOUT_MAX && backwards >= DROPOUT_MAX;
        if anew || packet.ssrc != self.ssrc {
            self.lost_before += lost_of(first, highest, count);
            self.ssrc = packet.ssrc;
            self.span = Some((0x1_0000 + sequence, 0x1_0000 + sequence, 1));
            self.reported = (0, 0);
        } else if step < DROPOUT_MAX {
            self.span = Some((first, highest + u64::from(step), count + 1));
        } else {
            self.span = Some((first, highest, count + 1));
        }
    }

    /// Packets that never came.
    pub(super) fn lost(&self) -> u64 {
        self.lost_before
            + self
                .span
                .map_or(0, |(first, highest, count)| lost_of(first, highest, count))
    }

    /// Starts the figures anew; the sequence goes on.
    pub(super) fn reset(&mut self) {
        let (ssrc, span, last_report) = (self.ssrc, self.span, self.last_report);
        *self = Self {
            ssrc,
            last_report,
            ..Self::default()
        };
        self.span = span.map(|(_, highest, _)| (highest, highest, 1));
    }

    /// The peer's sender report came.
    pub(super) fn note_report(&mut self, now: Instant, ntp_middle: u32) {
        self.last_report = Some((ntp_middle, now));
    }

    /// A report block (RFC 3550 §6.4.1), with jitter left at zero.
    fn report_block(&mut self) -> Option<[u8; 24]> {
        let (first, highest, count) = self.span?;
        let expected = highest - first + 1;
        let (expected_before, count_before) = self.reported;
        self.reported = (expected, count);
        let interval = expected.saturating_sub(expected_before);
        let lost = interval.saturating_sub(count.saturating_sub(count_before));
        let fraction = (lost << 8).checked_div(interval).unwrap_or(0).min(255) as u8;
        let mut block = [0; 24];
        block[..4].copy_from_slice(&self.ssrc.to_be_bytes());
        let total = lost_of(first, highest, count).min(0x7f_ffff) as u32;
        block[4..8].copy_from_slice(&(u32::from(fraction) << 24 | total).to_be_bytes());
        block[8..12].copy_from_slice(&((highest - 0x1_0000) as u32).to_be_bytes());
        if let Some((ntp_middle, at)) = self.last_report {
            let since = (at.elapsed().as_secs_f64() * 65_536.0) as u32;
            block[16..20].copy_from_slice(&ntp_middle.to_be_bytes());
            block[20..24].copy_from_slice(&since.to_be_bytes());
        }
        Some(block)
    }
}

fn lost_of(first: u64, highest: u64, count: u64) -> u64 {
    (highest - first + 1).saturating_sub(count)
}

/// What a sender says of itself in its sender reports.
#[derive(Clone, Copy, Debug)]
pub(super) struct SenderFigures {
    pub(super) ssrc: u32,
    pub(super) timestamp: u32,
    pub(super) packets: u32,
    pub(super) bytes: u32,
}

/// A compound of sender report and CNAME (RFC 3550 §6.4.1, §6.5).
pub(super) fn sender_report(
    figures: SenderFigures,
    received: &mut Received,
    cname: &str,
    wall: SystemTime,
) -> Vec<u8> {
    /// Seconds from 1900 to 1970.
    const NTP_EPOCH_S: u64 = 2_208_988_800;
    let since = wall
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    let block = received.report_block();
    let mut body = figures.ssrc.to_be_bytes().to_vec();
    body.extend(((since.as_secs() + NTP_EPOCH_S) as u32).to_be_bytes());
    body.extend((fraction as u32).to_be_bytes());
    body.extend(figures.timestamp.to_be_bytes());
    body.extend(figures.packets.to_be_bytes());
    body.extend(figures.bytes.to_be_bytes());
    body.extend(block.iter().flatten());
    let mut out = rtcp(200, u8::from(block.is_some()), &body);
    let mut chunk = figures.ssrc.to_be_bytes().to_vec();
    chunk.extend([1, cname.len() as u8]);
    chunk.extend(cname.as_bytes());
    // At least one zero ends the chunk, then zeros to the next word.
    chunk.push(0);
    chunk.resize(chunk.len().next_multiple_of(4), 0);
    out.extend(rtcp(202, 1, &chunk));
    out
}

/// Picture loss indication (RFC 4585 §6.3.1), behind the empty receiver report that a compound
/// needs.
pub(super) fn picture_loss(ssrc: u32, media_ssrc: u32) -> Vec<u8> {
    let mut out = rtcp(201, 0, &ssrc.to_be_bytes());
    out.extend(rtcp(
        206,
        1,
        &[ssrc.to_be_bytes(), media_ssrc.to_be_bytes()].concat(),
    ));
    out
}

pub(super) fn rtcp(packet_type: u8, count: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80 | count & 0x1f, packet_type];
    out.extend(((body.len() / 4) as u16).to_be_bytes());
    out.extend(body);
    out
}

/// What received RTCP means for a leg.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Feedback {
    /// PLI or FIR.
    KeyFrame,
    /// These packets are asked for again.
    Nack(Vec<u16>),
    /// Middle of the NTP time of a sender report.
    Report(u32),
    /// The sender's CNAME.
    Cname(String),
    /// The sender leaves.
    Bye,
}

/// Reads a compound; what is not understood is passed over.
pub(super) fn read_rtcp(mut bytes: &[u8]) -> Vec<Feedback> {
    let mut found = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<4>() {
        let len = usize::from(u16::from_be_bytes([header[2], header[3]])) * 4;
        let Some((body, after)) = rest.split_at_checked(len) else {
            break;
        };
        bytes = after;
        match (header[1], header[0] & 0x1f) {
            (200, _) => found.extend(
                body.get(6..10)
                    .and_then(|middle| middle.first_chunk())
                    .map(|middle| Feedback::Report(u32::from_be_bytes(*middle))),
            ),
            (206, 1 | 4) => found.push(Feedback::KeyFrame),
            (205, 1) => {
                let pairs = body.get(8..).unwrap_or_default();
                found.push(Feedback::Nack(repair::nacked(pairs)));
            }
            (202, _) => found.extend(cname_of(body).map(Feedback::Cname)),
            (203, _) => found.push(Feedback::Bye),
            _ => {}
        }
    }
    found
}

fn cname_of(body: &[u8]) -> Option<String> {
    let mut items = body.get(4..)?;
    while let [kind @ 1..=255, len, rest @ ..] = items {
        let (text, after) = rest.split_at_checked(usize::from(*len))?;
        if *kind == 1 {
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        items = after;
    }
    None
}

/// Pauses between arrivals.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    last: Option<Instant>,
    pub(super) longest: Duration,
    pub(super) over_limit: u64,
}

impl Gaps {
    /// Something came; a pause above `limit` counts.
    pub(super) fn push(&mut self, now: Instant, limit: Duration) {
        if let Some(last) = self.last.replace(now) {
            let gap = now.saturating_duration_since(last);
            self.longest = self.longest.max(gap);
            self.over_limit += u64::from(gap > limit);
        }
    }

    /// Longest pause, the one that is going on included.
    pub(super) fn longest_at(&self, now: Instant) -> Duration {
        let present = self
            .last
            .map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        self.longest.max(present)
    }

    /// Starts the figures anew; the pause that is going on does not.
    pub(super) fn reset(&mut self) {
        *self = Self {
            last: self.last,
            ..Self::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sequence: u16, payload: &[u8]) -> Packet<'_> {
        Packet {
            marker: false,
            payload_type: 96,
            sequence,
            timestamp: 1,
            ssrc: 9,
            payload,
        }
    }

    #[test]
    fn a_packet_reads_back_and_rubbish_does_not() {
        let sent = Packet {
            marker: true,
            ..packet(65_535, b"abc")
        };
        let mut bytes = Vec::new();
        sent.write(&mut bytes);
        assert_eq!(Packet::parse(&bytes), Some(sent));
        for len in 0..HEADER_LEN {
            assert_eq!(Packet::parse(&bytes[..len]), None);
        }
        bytes[0] = 0xbf;
        assert_eq!(Packet::parse(&bytes), None);
    }

    #[test]
    fn extension_and_padding_are_no_payload() {
        let mut bytes = Vec::new();
        packet(1, &[]).write(&mut bytes);
        bytes[0] |= 0x30;
        bytes.extend([0xbe, 0xde, 0, 1, 0x10, 7, 0, 0, b'x', b'y', 0, 2]);
        assert_eq!(Packet::parse(&bytes).unwrap().payload, b"xy");
    }

    #[test]
    fn lost_packets_are_counted_over_the_wrap_and_late_ones_are_not() {
        let mut received = Received::default();
        for sequence in [65_533, 65_534, 1, 65_535, 2, 5] {
            received.push(&packet(sequence, b"1"));
        }
        // 0, 3 and 4 are missing.
        assert_eq!((received.packets, received.lost()), (6, 3));
        received.reset();
        received.push(&packet(6, b"1"));
        received.push(&packet(8, b"1"));
        assert_eq!((received.packets, received.lost()), (2, 1));
    }

    #[test]
    fn a_sender_that_starts_anew_has_lost_nothing() {
        let mut received = Received::default();
        for sequence in [10, 11, 40_000, 40_001, 40_003] {
            received.push(&packet(sequence, b"1"));
        }
        assert_eq!(received.lost(), 1);
        received.push(&Packet {
            ssrc: 10,
            ..packet(7, b"1")
        });
        assert_eq!(received.lost(), 1);
    }

    #[test]
    fn a_report_block_tells_the_fraction_lost_since_the_last_one() {
        let mut received = Received::default();
        assert_eq!(received.report_block(), None);
        for sequence in [0, 1, 2, 3] {
            received.push(&packet(sequence, b"1"));
        }
        assert_eq!(
            received.report_block().unwrap()[4..12],
            [0, 0, 0, 0, 0, 0, 0, 3]
        );
        for sequence in [5, 7] {
            received.push(&packet(sequence, b"1"));
        }
        assert_eq!(
            received.report_block().unwrap()[4..12],
            [128, 0, 0, 2, 0, 0, 0, 7]
        );
    }

    fn annex_b(sizes: &[usize]) -> Vec<u8> {
        let mut unit = Vec::new();
        for (i, &size) in sizes.iter().enumerate() {
            unit.extend([0, 0, 0, 1, 0x61 + i as u8 % 4]);
            unit.extend((1..size).map(|n| (n % 250 + 1) as u8));
        }
        unit
    }

    #[test]
    fn an_access_unit_survives_its_packets() {
        let unit = annex_b(&[20, 1_200, 1_201, 5_000]);
        let payloads = packetize(&unit, PacketizationMode::NonInterleaved);
        assert!(payloads.iter().all(|p| p.len() <= PAYLOAD_MAX));
        let mut depacketizer = Depacketizer::default();
        let last = payloads.len() - 1;
        for (i, payload) in payloads.iter().enumerate() {
            let got = depacketizer.push(&Packet {
                marker: i == last,
                ..packet(i as u16, payload)
            });
            if i == last {
                assert_eq!(got, Depacketized::Unit(unit.clone()));
            } else {
                assert_eq!(got, Depacketized::Pending);
            }
        }
    }

    #[test]
    fn a_missing_packet_spoils_one_access_unit_only() {
        let unit = annex_b(&[4_000]);
        let payloads = packetize(&unit, PacketizationMode::NonInterleaved);
        let mut depacketizer = Depacketizer::default();
        let mut outcomes = Vec::new();
        let mut sequence = 0;
        for frame in 0..3u32 {
            for (i, payload) in payloads.iter().enumerate() {
                sequence += 1;
                if frame == 1 && i == 1 {
                    continue;
                }
                let marker = i == payloads.len() - 1;
                let packet = Packet {
                    marker,
                    timestamp: frame,
                    ..packet(sequence, payload)
                };
                match depacketizer.push(&packet) {
                    Depacketized::Pending => {}
                    done => outcomes.push(done),
                }
            }
        }
        let whole = || Depacketized::Unit(unit.clone());
        assert_eq!(outcomes, [whole(), Depacketized::Damaged, whole()]);
    }

    #[test]
    fn aggregated_units_are_taken_apart_and_torn_ones_refused() {
        let mut depacketizer = Depacketizer::default();
        let stap = [NAL_STAP_A, 0, 2, 0x67, 1, 0, 1, 0x68];
        let got = depacketizer.push(&Packet {
            marker: true,
            ..packet(0, &stap)
        });
        assert_eq!(
            got,
            Depacketized::Unit(vec![0, 0, 0, 1, 0x67, 1, 0, 0, 0, 1, 0x68])
        );
        let torn = [NAL_STAP_A, 0, 9, 0x67];
        let got = depacketizer.push(&Packet {
            marker: true,
            ..packet(1, &torn)
        });
        assert_eq!(got, Depacketized::Damaged);
    }

    #[test]
    fn rtcp_reads_back() {
        let mut received = Received::default();
        received.push(&packet(3, b"1"));
        let figures = SenderFigures {
            ssrc: 1,
            timestamp: 2,
            packets: 3,
            bytes: 4,
        };
        let mut bytes = sender_report(figures, &mut received, "leg1@load", SystemTime::UNIX_EPOCH);
        assert_eq!(bytes.len() % 4, 0);
        assert!(is_rtcp(&bytes));
        bytes.extend(picture_loss(1, 2));
        bytes.extend(rtcp(205, 1, &[0, 0, 0, 1, 0, 0, 0, 2, 0, 5, 0x80, 1]));
        bytes.extend(rtcp(203, 1, &[0, 0, 0, 1]));
        let expected = [
            Feedback::Report(0x7e80_0000),
            Feedback::Cname("leg1@load".into()),
            Feedback::KeyFrame,
            Feedback::Nack(vec![5, 6, 21]),
            Feedback::Bye,
        ];
        assert_eq!(read_rtcp(&bytes), expected);
        for len in 0..bytes.len() {
            assert!(read_rtcp(&bytes[..len]).len() <= expected.len());
        }
    }

    #[test]
    fn pauses_over_the_limit_are_counted_and_the_present_one_shows() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut gaps = Gaps::default();
        for ms in [0, 20, 40, 75, 95] {
            gaps.push(at(ms), Duration::from_millis(30));
        }
        assert_eq!(
            (gaps.over_limit, gaps.longest),
            (1, Duration::from_millis(35))
        );
        assert_eq!(gaps.longest_at(at(195)), Duration::from_millis(100));
    }
}
