//! Rates that a peer asks for: TMMBR and TMMBN (RFC 5104 §4.2), REMB (draft-alvestrand-rmcat-remb).

use super::{
    FMT_APPLICATION, FMT_MAX_RATE, FMT_MAX_RATE_NOTE, MAX_COUNT, PAYLOAD_FEEDBACK, REMB,
    TRANSPORT_FEEDBACK, begin, finish, put, word,
};

/// A most that a stream may be sent at, RFC 5104 §4.2.1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The stream; in TMMBN who asked.
    pub ssrc: u32,
    /// Rate in bit/s, with `overhead` bytes of each packet.
    pub bps: u64,
    /// Bytes of headers of each packet that the rate counts.
    pub overhead: u16,
}

/// Iterator over the entries of TMMBR.
#[derive(Clone, Debug)]
pub struct Bounds<'a> {
    pub(super) data: &'a [u8],
}

impl Iterator for Bounds<'_> {
    type Item = Bound;

    fn next(&mut self) -> Option<Bound> {
        let (entry, rest) = self.data.split_first_chunk::<8>()?;
        self.data = rest;
        let value = word(entry, 4);
        Some(Bound {
            ssrc: word(entry, 0),
            bps: scaled(value >> 26, value >> 9 & 0x1_FFFF),
            overhead: (value & 0x1FF) as u16,
        })
    }
}

/// Mantissa times a power of two; the greatest there is beyond that.
pub(super) fn scaled(exponent: u32, mantissa: u32) -> u64 {
    let mantissa = u64::from(mantissa);
    let fits = mantissa.leading_zeros() >= exponent;
    if fits { mantissa << exponent } else { u64::MAX }
}

/// Appends TMMBR for a stream.
pub fn write_max_rate(out: &mut Vec<u8>, sender: u32, bound: &Bound) {
    write_bounds(out, FMT_MAX_RATE, sender, &[*bound]);
}

/// Appends TMMBN: what bounds us now, each by who asked. None bounds where there are none.
pub fn write_max_rate_note(out: &mut Vec<u8>, sender: u32, bounds: &[Bound]) {
    write_bounds(out, FMT_MAX_RATE_NOTE, sender, bounds);
}

fn write_bounds(out: &mut Vec<u8>, format: u8, sender: u32, bounds: &[Bound]) {
    let start = begin(out, format, TRANSPORT_FEEDBACK);
    put(out, sender);
    // The media field is unused, RFC 5104 §4.2.1.2.
    put(out, 0);
    for bound in bounds.iter().take(MAX_COUNT) {
        let exponent = (u64::BITS - bound.bps.leading_zeros()).saturating_sub(17);
        let mantissa = (bound.bps >> exponent) as u32 & 0x1_FFFF;
        put(out, bound.ssrc);
        let overhead = u32::from(bound.overhead) & 0x1FF;
        put(out, exponent << 26 | mantissa << 9 | overhead);
    }
    finish(out, start);
}

/// Appends REMB: all streams named are to be sent at this rate at most together.
pub fn write_max_rate_of_all(out: &mut Vec<u8>, sender: u32, bps: u64, ssrcs: &[u32]) {
    let ssrcs = &ssrcs[..ssrcs.len().min(MAX_COUNT)];
    let start = begin(out, FMT_APPLICATION, PAYLOAD_FEEDBACK);
    put(out, sender);
    put(out, 0);
    out.extend_from_slice(&REMB);
    let exponent = (u64::BITS - bps.leading_zeros()).saturating_sub(18);
    let mantissa = (bps >> exponent) as u32 & 0x3_FFFF;
    put(out, (ssrcs.len() as u32) << 24 | exponent << 18 | mantissa);
    ssrcs.iter().for_each(|ssrc| put(out, *ssrc));
    finish(out, start);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtcp::{Packet, parse};

    /// RFC 5104 §4.2.1.1: six bits of exponent, 17 of mantissa, nine of overhead.
    #[test]
    fn rates_read_back_as_written() {
        for bps in [
            0,
            1,
            131_071,
            131_072,
            50_000,
            1_536_000,
            u64::from(u32::MAX),
            u64::MAX,
        ] {
            let bound = Bound {
                ssrc: 7,
                bps,
                overhead: 40,
            };
            let mut out = Vec::new();
            write_max_rate(&mut out, 1, &bound);
            write_max_rate_of_all(&mut out, 1, bps, &[7, 8]);
            let packets: Vec<_> = parse(&out).map(Result::unwrap).collect();
            let [
                Packet::MaxRate { sender: 1, bounds },
                Packet::MaxRateOfAll {
                    sender: 1,
                    bps: of_all,
                },
            ] = packets.as_slice()
            else {
                panic!("{packets:?}");
            };
            let read: Vec<_> = bounds.clone().collect();
            assert_eq!((read.len(), read[0].ssrc, read[0].overhead), (1, 7, 40));
            for read in [read[0].bps, *of_all] {
                assert!(read <= bps && bps - read <= bps >> 16, "{read} of {bps}");
            }
        }
        let wire = [
            0x83, 205, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0x0C, 0x01, 0x86, 0x28,
        ];
        let Some(Ok(Packet::MaxRate { bounds, .. })) = parse(&wire).next() else {
            panic!("TMMBR");
        };
        // 3: exponent; 195: mantissa.
        let expected = Bound {
            ssrc: 7,
            bps: 195 << 3,
            overhead: 40,
        };
        assert_eq!(bounds.collect::<Vec<_>>(), [expected]);
        for len in 0..wire.len() {
            parse(&wire[..len]).for_each(drop);
        }
    }
}
