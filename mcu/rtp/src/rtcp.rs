//! RTCP: a reader that copies nothing and writers that append to a buffer.
//!
//! RFC 3550 §6 for reports, RFC 4585 §6 for feedback, RFC 5104 §4.3.1 for FIR, RFC 5506 for
//! datagrams that begin with feedback, draft-holmer-rmcat-transport-wide-cc-extensions-01 for
//! transport feedback. Kinds that the program does not know are passed over.

use thiserror::Error;

use crate::clock::NtpTime;

mod rates;
use rates::scaled;
pub use rates::{Bound, Bounds, write_max_rate, write_max_rate_note, write_max_rate_of_all};

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;
/// Message type of generic NACK within transport feedback, RFC 4585 §6.2.1.
const FMT_NACK: u8 = 1;
/// Message types of TMMBR and TMMBN, RFC 5104 §4.2.
const FMT_MAX_RATE: u8 = 3;
const FMT_MAX_RATE_NOTE: u8 = 4;
/// Message type of application layer feedback within payload feedback, RFC 4585 §6.4; REMB is one.
const FMT_APPLICATION: u8 = 15;
const REMB: [u8; 4] = *b"REMB";
/// Message type of transport-wide congestion control.
const FMT_TRANSPORT_CC: u8 = 15;
/// Message type of PLI within payload feedback, RFC 4585 §6.3.1.
const FMT_PICTURE_LOSS: u8 = 1;
/// Message type of FIR within payload feedback, RFC 5104 §4.3.1.
const FMT_FULL_INTRA: u8 = 4;
/// Report blocks that a five-bit count can hold.
const MAX_COUNT: usize = 31;

/// Why bytes are not RTCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// A packet of the compound ends early.
    #[error("RTCP packet of type {kind} has {len} bytes, too few for its {part}")]
    Truncated {
        /// Packet type, 0 when not even that was there.
        kind: u8,
        /// Bytes available.
        len: usize,
        /// What was cut.
        part: &'static str,
    },
    /// Another version than 2.
    #[error("RTCP version {0}, expected 2")]
    Version(u8),
}

/// One packet of a compound.
#[derive(Clone, Debug)]
pub enum Packet<'a> {
    /// SR.
    SenderReport {
        /// Who reports.
        ssrc: u32,
        /// Clocks and counts of what it sends.
        info: SenderInfo,
        /// What it receives.
        blocks: ReportBlocks<'a>,
    },
    /// RR.
    ReceiverReport {
        /// Who reports.
        ssrc: u32,
        /// What it receives.
        blocks: ReportBlocks<'a>,
    },
    /// SDES, reduced to its names.
    Names(Names<'a>),
    /// BYE of these sources.
    Goodbye(Words<'a>),
    /// PLI: `media` lost its picture.
    PictureLoss {
        /// Who asks.
        sender: u32,
        /// The stream that is to send a key frame.
        media: u32,
    },
    /// FIR: each stream named is to send a key frame.
    FullIntra {
        /// Who asks.
        sender: u32,
        /// The streams and their command numbers.
        requests: FullIntraRequests<'a>,
    },
    /// Generic NACK.
    Nack {
        /// Who asks.
        sender: u32,
        /// The stream that lost packets.
        media: u32,
        /// The sequence numbers lost.
        lost: Lost<'a>,
    },
    /// TMMBR: streams are to be sent at these rates at most.
    MaxRate {
        /// Who asks.
        sender: u32,
        /// The streams and their rates.
        bounds: Bounds<'a>,
    },
    /// REMB: all that is sent to `sender` is to have this rate at most, in bit/s.
    MaxRateOfAll {
        /// Who asks.
        sender: u32,
        /// In bit/s.
        bps: u64,
    },
    /// Transport-wide congestion control feedback.
    TransportFeedback(TransportFeedback<'a>),
}

/// Clocks and counts of a sender report, RFC 3550 §6.4.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderInfo {
    /// Wall clock of the report.
    pub ntp: NtpTime,
    /// The same moment in the stream's RTP clock.
    pub rtp_timestamp: u32,
    /// Packets sent, modulo 2^32.
    pub packets: u32,
    /// Payload bytes sent, modulo 2^32.
    pub octets: u32,
}

/// A report block, RFC 3550 §6.4.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportBlock {
    /// The stream reported on.
    pub ssrc: u32,
    /// Loss since the previous report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the beginning, 24 bits, signed.
    pub cumulative_lost: i32,
    /// Highest sequence number with its cycles.
    pub highest_sequence: u32,
    /// Interarrival jitter in ticks of the stream's clock.
    pub jitter: u32,
    /// Middle 32 bits of the last SR's NTP time, 0 before one.
    pub last_sr: u32,
    /// Time since that SR arrived, in 1/65,536 s.
    pub delay_since_last_sr: u32,
}

/// Splits a datagram (after SRTCP was removed) into packets. After an error it ends.
pub fn parse(data: &[u8]) -> Packets<'_> {
    Packets { data }
}

/// Iterator over the packets of a datagram; unknown kinds are passed over.
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    data: &'a [u8],
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Packet<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.data.is_empty() {
            match self.step() {
                Ok(Some(packet)) => return Some(Ok(packet)),
                Ok(None) => {}
                Err(error) => {
                    self.data = &[];
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

impl<'a> Packets<'a> {
    fn step(&mut self) -> Result<Option<Packet<'a>>, Error> {
        let cut = |kind, part| Error::Truncated {
            kind,
            len: self.data.len(),
            part,
        };
        let (head, _) = self.data.split_first_chunk::<4>().ok_or(cut(0, "header"))?;
        if head[0] >> 6 != 2 {
            return Err(Error::Version(head[0] >> 6));
        }
        let len = (usize::from(u16::from_be_bytes([head[2], head[3]])) + 1) * 4;
        let (packet, rest) = self
            .data
            .split_at_checked(len)
            .ok_or(cut(head[1], "length"))?;
        self.data = rest;
        let mut body = &packet[4..];
        if head[0] & 0x20 != 0 {
            let count = usize::from(body.last().copied().unwrap_or(0));
            let kept = body.len().checked_sub(count);
            body = &body[..kept.ok_or(Error::Truncated {
                kind: head[1],
                len,
                part: "padding",
            })?];
        }
        read_body(head[1], head[0] & 0x1F, body)
    }
}

fn read_body(kind: u8, count: u8, body: &[u8]) -> Result<Option<Packet<'_>>, Error> {
    let cut = |part| Error::Truncated {
        kind,
        len: body.len(),
        part,
    };
    Ok(Some(match kind {
        SENDER_REPORT => {
            let (head, rest) = body.split_first_chunk::<24>().ok_or(cut("sender info"))?;
            let info = SenderInfo {
                ntp: NtpTime::new(u64::from(word(head, 4)) << 32 | u64::from(word(head, 8))),
                rtp_timestamp: word(head, 12),
                packets: word(head, 16),
                octets: word(head, 20),
            };
            let blocks = ReportBlocks {
                data: rest,
                left: count,
            };
            Packet::SenderReport {
                ssrc: word(head, 0),
                info,
                blocks,
            }
        }
        RECEIVER_REPORT => {
            let (head, rest) = body.split_first_chunk::<4>().ok_or(cut("reporter"))?;
            let blocks = ReportBlocks {
                data: rest,
                left: count,
            };
            Packet::ReceiverReport {
                ssrc: word(head, 0),
                blocks,
            }
        }
        SOURCE_DESCRIPTION => Packet::Names(Names {
            data: body,
            left: count,
        }),
        GOODBYE => Packet::Goodbye(Words {
            data: body,
            left: count,
        }),
        TRANSPORT_FEEDBACK | PAYLOAD_FEEDBACK => return read_feedback(kind, count, body),
        _ => return Ok(None),
    }))
}

/// RFC 4585 §6.1: what the count means depends on the packet type.
fn read_feedback(kind: u8, format: u8, body: &[u8]) -> Result<Option<Packet<'_>>, Error> {
    let cut = |part| Error::Truncated {
        kind,
        len: body.len(),
        part,
    };
    let (head, rest) = body
        .split_first_chunk::<8>()
        .ok_or(cut("sender and media"))?;
    let (sender, media) = (word(head, 0), word(head, 4));
    Ok(Some(match (kind, format) {
        (TRANSPORT_FEEDBACK, FMT_NACK) => {
            let lost = Lost {
                data: rest,
                base: 0,
                mask: 0,
            };
            Packet::Nack {
                sender,
                media,
                lost,
            }
        }
        (TRANSPORT_FEEDBACK, FMT_TRANSPORT_CC) => Packet::TransportFeedback(
            TransportFeedback::read(sender, media, rest).ok_or(cut("packet status"))?,
        ),
        (TRANSPORT_FEEDBACK, FMT_MAX_RATE) => Packet::MaxRate {
            sender,
            bounds: Bounds { data: rest },
        },
        (PAYLOAD_FEEDBACK, FMT_APPLICATION) => {
            let Some((REMB, rest)) = rest.split_first_chunk::<4>().map(|(n, r)| (*n, r)) else {
                return Ok(None);
            };
            let (head, _) = rest.split_first_chunk::<4>().ok_or(cut("rate"))?;
            let value = word(head, 0);
            Packet::MaxRateOfAll {
                sender,
                bps: scaled(value >> 18 & 0x3F, value & 0x3_FFFF),
            }
        }
        (PAYLOAD_FEEDBACK, FMT_PICTURE_LOSS) => Packet::PictureLoss { sender, media },
        (PAYLOAD_FEEDBACK, FMT_FULL_INTRA) => Packet::FullIntra {
            sender,
            requests: FullIntraRequests { data: rest },
        },
        _ => return Ok(None),
    }))
}

/// Big-endian word at `at`, 0 outside of `data`.
fn word(data: &[u8], at: usize) -> u32 {
    data.get(at..)
        .and_then(|d| d.first_chunk())
        .map_or(0, |b| u32::from_be_bytes(*b))
}

/// Iterator over report blocks.
#[derive(Clone, Debug)]
pub struct ReportBlocks<'a> {
    data: &'a [u8],
    left: u8,
}

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        self.left = self.left.checked_sub(1)?;
        let (block, rest) = self.data.split_first_chunk::<24>()?;
        self.data = rest;
        let losses = word(block, 4);
        Some(ReportBlock {
            ssrc: word(block, 0),
            fraction_lost: (losses >> 24) as u8,
            // 24 bits with a sign: shifted up and back down.
            cumulative_lost: (losses << 8) as i32 >> 8,
            highest_sequence: word(block, 8),
            jitter: word(block, 12),
            last_sr: word(block, 16),
            delay_since_last_sr: word(block, 20),
        })
    }
}

/// Iterator over words: the sources of a BYE.
#[derive(Clone, Debug)]
pub struct Words<'a> {
    data: &'a [u8],
    left: u8,
}

impl Iterator for Words<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        self.left = self.left.checked_sub(1)?;
        let (head, rest) = self.data.split_first_chunk::<4>()?;
        self.data = rest;
        Some(u32::from_be_bytes(*head))
    }
}

/// Iterator over (source, CNAME) of a source description. Names that are not UTF-8 are passed over.
#[derive(Clone, Debug)]
pub struct Names<'a> {
    data: &'a [u8],
    left: u8,
}

impl<'a> Iterator for Names<'a> {
    type Item = (u32, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        while self.left > 0 {
            self.left -= 1;
            let (ssrc, rest) = self.data.split_first_chunk::<4>()?;
            let (cname, used) = read_items(rest);
            // Chunks end on a word boundary, RFC 3550 §6.5.
            self.data = rest.get(used.next_multiple_of(4)..).unwrap_or(&[]);
            if let Some(name) = cname.and_then(|name| std::str::from_utf8(name).ok()) {
                return Some((u32::from_be_bytes(*ssrc), name));
            }
        }
        None
    }
}

/// The CNAME among the items of a chunk, and the bytes that the items took.
fn read_items(items: &[u8]) -> (Option<&[u8]>, usize) {
    let (mut at, mut cname) = (0, None);
    while let Some(&kind) = items.get(at) {
        if kind == 0 {
            return (cname, at + 1);
        }
        let Some(&len) = items.get(at + 1) else { break };
        let end = at + 2 + usize::from(len);
        let Some(value) = items.get(at + 2..end) else {
            break;
        };
        if kind == 1 {
            cname = Some(value);
        }
        at = end;
    }
    (cname, items.len())
}

/// Iterator over (stream, command number) of a full intra request.
#[derive(Clone, Debug)]
pub struct FullIntraRequests<'a> {
    data: &'a [u8],
}

impl Iterator for FullIntraRequests<'_> {
    type Item = (u32, u8);

    fn next(&mut self) -> Option<(u32, u8)> {
        let (entry, rest) = self.data.split_first_chunk::<8>()?;
        self.data = rest;
        Some((word(entry, 0), entry[4]))
    }
}

/// Iterator over lost sequence numbers, RFC 4585 §6.2.1.
#[derive(Clone, Debug)]
pub struct Lost<'a> {
    data: &'a [u8],
    base: u16,
    mask: u16,
}

impl Iterator for Lost<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        if self.mask != 0 {
            let bit = self.mask.trailing_zeros() as u16;
            self.mask &= self.mask - 1;
            return Some(self.base.wrapping_add(bit + 1));
        }
        let (entry, rest) = self.data.split_first_chunk::<4>()?;
        self.data = rest;
        self.base = u16::from_be_bytes([entry[0], entry[1]]);
        self.mask = u16::from_be_bytes([entry[2], entry[3]]);
        Some(self.base)
    }
}

/// Transport feedback: which packets arrived and when.
#[derive(Clone, Copy, Debug)]
pub struct TransportFeedback<'a> {
    /// Who reports.
    pub sender: u32,
    /// A stream of the transport; of no meaning.
    pub media: u32,
    /// Transport sequence number of the first packet reported.
    pub base_sequence: u16,
    /// Packets reported, arrived or not.
    pub status_count: u16,
    /// Arrival clock of the base in 64 ms, signed 24 bits.
    pub reference_time: i32,
    /// Number of this feedback, modulo 256.
    pub feedback_count: u8,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

impl<'a> TransportFeedback<'a> {
    fn read(sender: u32, media: u32, body: &'a [u8]) -> Option<Self> {
        let (head, rest) = body.split_first_chunk::<8>()?;
        let status_count = u16::from_be_bytes([head[2], head[3]]);
        let (mut covered, mut used) = (0u32, 0);
        while covered < u32::from(status_count) {
            let chunk = rest.get(used..)?.first_chunk()?;
            covered += Chunk::read(*chunk).len();
            used += 2;
        }
        let (chunks, deltas) = rest.split_at_checked(used)?;
        Some(Self {
            sender,
            media,
            base_sequence: u16::from_be_bytes([head[0], head[1]]),
            status_count,
            reference_time: (word(head, 4) as i32) >> 8,
            feedback_count: head[7],
            chunks,
            deltas,
        })
    }

    /// Every packet reported, in order: its transport sequence number and, if it arrived, the
    /// arrival in microseconds of the receiver's clock. Ends early if deltas are missing.
    pub fn packets(&self) -> Arrivals<'a> {
        Arrivals {
            sequence: self.base_sequence,
            left: self.status_count,
            chunk: Chunk::Run { symbol: 0, left: 0 },
            chunks: self.chunks,
            deltas: self.deltas,
            at_micros: i64::from(self.reference_time) * 64_000,
        }
    }
}

/// A packet status chunk that is being read.
#[derive(Clone, Copy, Debug)]
enum Chunk {
    Run { symbol: u8, left: u16 },
    Vector { bits: u16, width: u8, left: u8 },
}

impl Chunk {
    fn read(bytes: [u8; 2]) -> Self {
        let bits = u16::from_be_bytes(bytes);
        match bits >> 14 {
            0 | 1 => Self::Run {
                symbol: (bits >> 13 & 3) as u8,
                left: bits & 0x1FFF,
            },
            2 => Self::Vector {
                bits: bits << 2,
                width: 1,
                left: 14,
            },
            _ => Self::Vector {
                bits: bits << 2,
                width: 2,
                left: 7,
            },
        }
    }

    fn len(self) -> u32 {
        match self {
            Self::Run { left, .. } => u32::from(left),
            Self::Vector { left, .. } => u32::from(left),
        }
    }

    fn take(&mut self) -> Option<u8> {
        match self {
            Self::Run { symbol, left } => {
                *left = left.checked_sub(1)?;
                Some(*symbol)
            }
            Self::Vector { bits, width, left } => {
                *left = left.checked_sub(1)?;
                let symbol = (*bits >> (16 - *width)) as u8;
                *bits <<= *width;
                Some(symbol)
            }
        }
    }
}

/// Iterator over the packets of a [`TransportFeedback`].
#[derive(Clone, Debug)]
pub struct Arrivals<'a> {
    sequence: u16,
    left: u16,
    chunk: Chunk,
    chunks: &'a [u8],
    deltas: &'a [u8],
    at_micros: i64,
}

impl Iterator for Arrivals<'_> {
    type Item = (u16, Option<i64>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let symbol = loop {
            if let Some(symbol) = self.chunk.take() {
                break symbol;
            }
            let (chunk, rest) = self.chunks.split_first_chunk::<2>()?;
            self.chunks = rest;
            self.chunk = Chunk::read(*chunk);
        };
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        let delta = match symbol {
            1 => {
                let (&delta, rest) = self.deltas.split_first()?;
                self.deltas = rest;
                i64::from(delta)
            }
            2 => {
                let (delta, rest) = self.deltas.split_first_chunk::<2>()?;
                self.deltas = rest;
                i64::from(i16::from_be_bytes(*delta))
            }
            _ => return Some((sequence, None)),
        };
        self.at_micros += delta * 250;
        Some((sequence, Some(self.at_micros)))
    }
}

/// Writes the common header with a length of zero; returns where the packet begins.
fn begin(out: &mut Vec<u8>, count: u8, kind: u8) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0x80 | count & 0x1F, kind, 0, 0]);
    start
}

/// Pads to a word and fills in the length.
fn finish(out: &mut Vec<u8>, start: usize) {
    while !(out.len() - start).is_multiple_of(4) {
        out.push(0);
    }
    let words = ((out.len() - start) / 4 - 1) as u16;
    out[start + 2..start + 4].copy_from_slice(&words.to_be_bytes());
}

fn put(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_blocks(out: &mut Vec<u8>, blocks: &[ReportBlock]) {
    for block in blocks {
        put(out, block.ssrc);
        let lost = block.cumulative_lost.clamp(-0x80_0000, 0x7F_FFFF) as u32 & 0xFF_FFFF;
        put(out, u32::from(block.fraction_lost) << 24 | lost);
        put(out, block.highest_sequence);
        put(out, block.jitter);
        put(out, block.last_sr);
        put(out, block.delay_since_last_sr);
    }
}

/// Appends an SR with at most 31 blocks; further ones are left out.
pub fn write_sender_report(
    out: &mut Vec<u8>,
    ssrc: u32,
    info: &SenderInfo,
    blocks: &[ReportBlock],
) {
    let blocks = &blocks[..blocks.len().min(MAX_COUNT)];
    let start = begin(out, blocks.len() as u8, SENDER_REPORT);
    put(out, ssrc);
    out.extend_from_slice(&info.ntp.get().to_be_bytes());
    put(out, info.rtp_timestamp);
    put(out, info.packets);
    put(out, info.octets);
    put_blocks(out, blocks);
    finish(out, start);
}

/// Appends an RR with at most 31 blocks; further ones are left out.
pub fn write_receiver_report(out: &mut Vec<u8>, ssrc: u32, blocks: &[ReportBlock]) {
    let blocks = &blocks[..blocks.len().min(MAX_COUNT)];
    let start = begin(out, blocks.len() as u8, RECEIVER_REPORT);
    put(out, ssrc);
    put_blocks(out, blocks);
    finish(out, start);
}

/// Appends an SDES with one chunk: the CNAME of `ssrc`, cut to 255 bytes.
pub fn write_cname(out: &mut Vec<u8>, ssrc: u32, cname: &str) {
    let name = &cname.as_bytes()[..cname.len().min(255)];
    let start = begin(out, 1, SOURCE_DESCRIPTION);
    put(out, ssrc);
    out.extend_from_slice(&[1, name.len() as u8]);
    out.extend_from_slice(name);
    // At least one zero ends the list of items, RFC 3550 §6.5.
    out.push(0);
    finish(out, start);
}

/// Appends a BYE of at most 31 sources; further ones are left out.
pub fn write_goodbye(out: &mut Vec<u8>, ssrcs: &[u32]) {
    let ssrcs = &ssrcs[..ssrcs.len().min(MAX_COUNT)];
    let start = begin(out, ssrcs.len() as u8, GOODBYE);
    for ssrc in ssrcs {
        put(out, *ssrc);
    }
    finish(out, start);
}

/// Appends a PLI for `media`.
pub fn write_picture_loss(out: &mut Vec<u8>, sender: u32, media: u32) {
    let start = begin(out, FMT_PICTURE_LOSS, PAYLOAD_FEEDBACK);
    put(out, sender);
    put(out, media);
    finish(out, start);
}

/// Appends a FIR for `media`. `command` grows with each new request and stays in a repetition,
/// RFC 5104 §4.3.1.1.
pub fn write_full_intra(out: &mut Vec<u8>, sender: u32, media: u32, command: u8) {
    let start = begin(out, FMT_FULL_INTRA, PAYLOAD_FEEDBACK);
    put(out, sender);
    // The media field is unused, RFC 5104 §4.3.1.2.
    put(out, 0);
    put(out, media);
    out.extend_from_slice(&[command, 0, 0, 0]);
    finish(out, start);
}

/// Appends a generic NACK for `media`. `lost` is in ascending order of sequence (modulo 2^16).
pub fn write_nack(out: &mut Vec<u8>, sender: u32, media: u32, lost: &[u16]) {
    let start = begin(out, FMT_NACK, TRANSPORT_FEEDBACK);
    put(out, sender);
    put(out, media);
    let mut left = lost.iter().copied().peekable();
    while let Some(base) = left.next() {
        let mut mask = 0u16;
        while let Some(next) = left.peek() {
            let step = next.wrapping_sub(base);
            if !(1..=16).contains(&step) {
                break;
            }
            mask |= 1 << (step - 1);
            left.next();
        }
        put(out, u32::from(base) << 16 | u32::from(mask));
    }
    finish(out, start);
}

/// What [`write_transport_feedback`] reports.
#[derive(Clone, Copy, Debug)]
pub struct FeedbackHead {
    /// Transport sequence number of the first status.
    pub base_sequence: u16,
    /// Arrival clock of the base in 64 ms.
    pub reference_time: i32,
    /// Number of this feedback, modulo 256.
    pub feedback_count: u8,
}

/// Appends transport feedback. `deltas` holds one entry a packet: `None` for one that did not
/// arrive, else its arrival less the previous one's (the first: less the reference) in 250 µs.
/// At most 65,535 entries.
pub fn write_transport_feedback(
    out: &mut Vec<u8>,
    sender: u32,
    media: u32,
    head: &FeedbackHead,
    deltas: &[Option<i16>],
) {
    let deltas = &deltas[..deltas.len().min(usize::from(u16::MAX))];
    let start = begin(out, FMT_TRANSPORT_CC, TRANSPORT_FEEDBACK);
    put(out, sender);
    put(out, media);
    put(
        out,
        u32::from(head.base_sequence) << 16 | deltas.len() as u32,
    );
    put(
        out,
        (head.reference_time as u32) << 8 | u32::from(head.feedback_count),
    );
    let mut left = deltas;
    while !left.is_empty() {
        left = &left[put_chunk(out, left)..];
    }
    for delta in deltas.iter().flatten() {
        match u8::try_from(*delta) {
            Ok(small) => out.push(small),
            Err(_) => out.extend_from_slice(&delta.to_be_bytes()),
        }
    }
    finish(out, start);
}

/// Writes one status chunk for the front of `left` and returns how many statuses it covers.
fn put_chunk(out: &mut Vec<u8>, left: &[Option<i16>]) -> usize {
    let first = symbol(left[0]);
    let run = left
        .iter()
        .take(0x1FFF)
        .take_while(|delta| symbol(**delta) == first)
        .count();
    let (covered, bits) = if run >= 7 || run == left.len() {
        (run, first << 13 | run as u16)
    } else {
        let vector = &left[..left.len().min(7)];
        let packed = vector
            .iter()
            .fold(0u16, |bits, delta| bits << 2 | symbol(*delta));
        (vector.len(), 0xC000 | packed << (2 * (7 - vector.len())))
    };
    out.extend_from_slice(&bits.to_be_bytes());
    covered
}

/// 0 not received, 1 small delta, 2 large or negative delta.
fn symbol(delta: Option<i16>) -> u16 {
    match delta {
        None => 0,
        Some(0..=255) => 1,
        Some(_) => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block() -> ReportBlock {
        ReportBlock {
            ssrc: 9,
            fraction_lost: 64,
            cumulative_lost: -3,
            highest_sequence: 0x0001_FFFF,
            jitter: 77,
            last_sr: 0xAABB_CCDD,
            delay_since_last_sr: 65_536,
        }
    }

    fn info() -> SenderInfo {
        SenderInfo {
            ntp: NtpTime::new(0x0102_0304_0506_0708),
            rtp_timestamp: 5,
            packets: 6,
            octets: 7,
        }
    }

    fn compound() -> Vec<u8> {
        let mut out = Vec::new();
        write_sender_report(&mut out, 1, &info(), &[block(), block()]);
        write_receiver_report(&mut out, 2, &[block()]);
        write_cname(&mut out, 3, "room@consilium");
        write_goodbye(&mut out, &[4, 5]);
        write_picture_loss(&mut out, 6, 7);
        write_full_intra(&mut out, 8, 9, 10);
        write_nack(&mut out, 11, 12, &[65_534, 65_535, 0, 14, 15, 40]);
        let head = FeedbackHead {
            base_sequence: 65_530,
            reference_time: -2,
            feedback_count: 200,
        };
        let deltas = [
            Some(0),
            None,
            Some(255),
            Some(256),
            Some(-4),
            None,
            Some(9),
            Some(1),
        ];
        write_transport_feedback(&mut out, 13, 14, &head, &deltas);
        out
    }

    #[test]
    fn reports_read_as_written() {
        let data = compound();
        let packets: Vec<_> = parse(&data).map(Result::unwrap).collect();
        let [sr, rr, names, bye, ..] = &packets[..] else {
            panic!()
        };
        let Packet::SenderReport {
            ssrc: 1,
            info: got,
            blocks,
        } = sr
        else {
            panic!()
        };
        assert_eq!((*got, blocks.clone().next()), (info(), Some(block())));
        assert_eq!(blocks.clone().count(), 2);
        let Packet::ReceiverReport { ssrc: 2, blocks } = rr else {
            panic!()
        };
        assert_eq!(blocks.clone().count(), 1);
        let Packet::Names(names) = names else {
            panic!()
        };
        assert_eq!(names.clone().collect::<Vec<_>>(), [(3, "room@consilium")]);
        let Packet::Goodbye(sources) = bye else {
            panic!()
        };
        assert_eq!(sources.clone().collect::<Vec<_>>(), [4, 5]);
    }

    #[test]
    fn feedback_reads_as_written() {
        let data = compound();
        let packets: Vec<_> = parse(&data).map(Result::unwrap).collect();
        let [_, _, _, _, pli, fir, nack, feedback] = &packets[..] else {
            panic!()
        };
        assert!(matches!(
            pli,
            Packet::PictureLoss {
                sender: 6,
                media: 7
            }
        ));
        let Packet::FullIntra {
            sender: 8,
            requests,
        } = fir
        else {
            panic!()
        };
        assert_eq!(requests.clone().collect::<Vec<_>>(), [(9, 10)]);
        let Packet::Nack {
            sender: 11,
            media: 12,
            lost,
        } = nack
        else {
            panic!()
        };
        assert_eq!(
            lost.clone().collect::<Vec<_>>(),
            [65_534, 65_535, 0, 14, 15, 40]
        );
        let Packet::TransportFeedback(feedback) = feedback else {
            panic!()
        };
        assert_eq!(
            (feedback.reference_time, feedback.feedback_count),
            (-2, 200)
        );
        let at = |units: i64| Some(-128_000 + units * 250);
        let expected = [
            (65_530, at(0)),
            (65_531, None),
            (65_532, at(255)),
            (65_533, at(511)),
            (65_534, at(507)),
            (65_535, None),
            (0, at(516)),
            (1, at(517)),
        ];
        assert_eq!(feedback.packets().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn unknown_kinds_are_passed_over_and_feedback_may_come_first() {
        let mut data = Vec::new();
        let start = begin(&mut data, 3, 207);
        put(&mut data, 1);
        finish(&mut data, start);
        write_picture_loss(&mut data, 6, 7);
        let packets: Vec<_> = parse(&data).map(Result::unwrap).collect();
        assert!(matches!(packets[..], [Packet::PictureLoss { .. }]));
    }

    #[test]
    fn long_feedback_uses_runs() {
        let mut deltas = vec![None; 9_000];
        deltas.extend([Some(3); 9_000]);
        let head = FeedbackHead {
            base_sequence: 0,
            reference_time: 0,
            feedback_count: 0,
        };
        let mut out = Vec::new();
        write_transport_feedback(&mut out, 1, 2, &head, &deltas);
        let Some(Ok(Packet::TransportFeedback(feedback))) = parse(&out).next() else {
            panic!()
        };
        assert_eq!(feedback.packets().count(), 18_000);
        assert_eq!(
            feedback.packets().filter(|(_, at)| at.is_some()).count(),
            9_000
        );
        assert!(out.len() < 20 + 9_000 + 16);
    }

    #[test]
    fn mutated_compounds_do_no_harm() {
        let mut items = 0u64;
        crate::mutate::each_mutation(&compound(), 100_000, |data| {
            for packet in parse(data).flatten() {
                items += match packet {
                    Packet::SenderReport { blocks, .. } | Packet::ReceiverReport { blocks, .. } => {
                        blocks.count()
                    }
                    Packet::Names(names) => names.count(),
                    Packet::Goodbye(sources) => sources.count(),
                    Packet::MaxRate { bounds, .. } => bounds.count(),
                    Packet::MaxRateOfAll { .. } => 1,
                    Packet::PictureLoss { .. } => 1,
                    Packet::FullIntra { requests, .. } => requests.count(),
                    Packet::Nack { lost, .. } => lost.count(),
                    Packet::TransportFeedback(feedback) => feedback.packets().count(),
                } as u64;
            }
        });
        assert!(items > 100_000);
    }
}
