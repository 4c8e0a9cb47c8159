//! H.261 over RTP (RFC 4587), and the little of its headers that relaying needs.

use crate::bits::{self, Bits, Part};
use crate::h264::MAX_PAYLOAD;

/// Bytes of the payload's header.
const HEADER: usize = 4;

/// What the first bits of a picture say (H.261 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureHeader {
    /// Luma samples in a row.
    pub width: u32,
    /// Luma rows.
    pub height: u32,
    /// Its first macroblock is there and refers to no other picture: all will be so. Nothing in the
    /// header tells, and senders leave the payload's I bit at 0.
    pub intra: bool,
}

impl PictureHeader {
    /// Reads a header whose start code begins at bit `at`. `None` if there is none.
    pub fn parse(data: &[u8], at: usize) -> Option<Self> {
        let mut bits = Bits::new(data, at);
        // PSC, TR, then PTYPE: split screen, document camera, freeze picture release, source format.
        (bits.take(20)? == 0b1_0000).then_some(())?;
        bits.take(5)?;
        bits.take(3)?;
        let (width, height) = match bits.bit()? {
            0 => (176, 144),
            _ => (352, 288),
        };
        bits.take(2)?;
        skip_extra(&mut bits)?;
        Some(Self {
            width,
            height,
            intra: begins_intra(&mut bits).unwrap_or(false),
        })
    }
}

/// Writes the temporal reference, of five bits, into a picture that begins with its start code
/// (H.261 §4.2.1); what does not is left alone.
pub fn set_temporal_reference(picture: &mut [u8], reference: u8) {
    if let [0, 1, a, b, ..] = picture {
        *a = *a & 0xF0 | reference >> 1 & 0x0F;
        *b = *b & 0x7F | reference << 7;
    }
}

/// PEI and PSPARE, or GEI and GSPARE: eight bits after each 1.
fn skip_extra(bits: &mut Bits<'_>) -> Option<()> {
    while bits.bit()? == 1 {
        bits.take(8)?;
    }
    Some(())
}

/// Whether a group of blocks begins with its first macroblock, of type intra.
fn begins_intra(bits: &mut Bits<'_>) -> Option<bool> {
    (bits.take(16)? == 1).then_some(())?;
    bits.take(9)?; // GN, GQUANT
    skip_extra(bits)?;
    // MBA 1 is "1" (table 1); MTYPE intra is "0001", and "0000 001" with MQUANT (table 2).
    if bits.bit()? == 0 {
        return Some(false);
    }
    Some(match bits.take(4)? {
        1 => true,
        0 => bits.take(3)? == 1,
        _ => false,
    })
}

/// The bits of a payload. `None` if it is none.
pub(crate) fn part(payload: &[u8]) -> Option<Part<'_>> {
    let first = *payload.first()?;
    Some(Part {
        sbit: first >> 5,
        ebit: first >> 2 & 7,
        bytes: payload.get(HEADER..).filter(|bytes| !bytes.is_empty())?,
    })
}

/// The picture header with which a payload begins.
pub fn picture(payload: &[u8]) -> Option<PictureHeader> {
    let part = part(payload)?;
    PictureHeader::parse(part.bytes, part.sbit.into())
}

/// A group of blocks is too large for a packet: only what H.261's own codes tell could cut it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a group of blocks of {len} bytes does not fit a payload of {MAX_PAYLOAD}")]
pub struct Oversized {
    /// Its length in bytes.
    pub len: usize,
}

/// Bytes of the largest piece that a picture can be cut to.
pub fn largest_group(picture: &[u8]) -> usize {
    let mut starts: Vec<usize> = start_codes(picture).collect();
    starts.push(picture.len() * 8);
    let pairs = starts.windows(2);
    let sizes = pairs.map(|pair| pair[1].div_ceil(8) - pair[0] / 8);
    sizes.max().unwrap_or(0) + HEADER
}

/// Calls `emit(payload, marker)` for each payload of a picture, cut between groups of blocks.
///
/// # Errors
/// If a group did not fit; everything else was emitted.
pub fn packetize(picture: &[u8], mut emit: impl FnMut(&[u8], bool)) -> Result<(), Oversized> {
    let end = picture.len() * 8;
    let starts: Vec<usize> = start_codes(picture).chain([end]).collect();
    let mut payload = Vec::with_capacity(MAX_PAYLOAD);
    let (mut start, mut result) = (0, Ok(()));
    while start < end {
        let fits = |at: usize| at > start && at.div_ceil(8) - start / 8 + HEADER <= MAX_PAYLOAD;
        let Some(next) = starts.iter().copied().rfind(|at| fits(*at)) else {
            let next = starts.iter().copied().find(|at| *at > start).unwrap_or(end);
            let len = next.div_ceil(8) - start / 8;
            result = Err(Oversized { len });
            if next == end {
                // Who waits for the picture's end is to know that there it is.
                emit(&[1, 0, 0, 0, 0], true);
            }
            start = next;
            continue;
        };
        let part = bits::part(picture, start, next);
        payload.clear();
        // V: vectors may be used. What follows is 0 before a group's header, RFC 4587 §4.1.
        payload.extend_from_slice(&[part.sbit << 5 | part.ebit << 2 | 1, 0, 0, 0]);
        payload.extend_from_slice(part.bytes);
        emit(&payload, next == end);
        start = next;
    }
    result
}

/// Bits at which the start code of a picture or a group of blocks begins: 15 zeros and a one, which
/// nothing else in a stream has.
fn start_codes(picture: &[u8]) -> impl Iterator<Item = usize> {
    let mut zeros = 0;
    picture.iter().enumerate().flat_map(move |(at, byte)| {
        let mut found = None;
        if *byte == 0 {
            zeros += 8;
        } else {
            let lead = byte.leading_zeros() as usize;
            if zeros + lead >= 15 {
                found = Some((at * 8 + lead).saturating_sub(15));
            }
            zeros = byte.trailing_zeros() as usize;
        }
        found
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bits::Joint;

    /// Writes bits.
    #[derive(Default)]
    struct Writer {
        data: Vec<u8>,
        len: usize,
    }

    impl Writer {
        fn put(&mut self, value: u32, count: usize) {
            for n in (0..count).rev() {
                if self.len.is_multiple_of(8) {
                    self.data.push(0);
                }
                *self.data.last_mut().unwrap() |= ((value >> n & 1) as u8) << (7 - self.len % 8);
                self.len += 1;
            }
        }
    }

    /// A picture of groups of `bits` bits each, none of which ends where a byte ends.
    fn cif(intra: bool, bits: usize) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.put(0b1_0000, 20);
        writer.put(9, 5);
        writer.put(0b000_111, 6);
        writer.put(0, 1);
        for group in 1..=12 {
            writer.put(1, 16);
            writer.put(group, 4);
            writer.put(10, 5);
            writer.put(0, 1);
            writer.put(1, 1);
            writer.put(1, if intra { 4 } else { 1 });
            for _ in 0..bits / 4 {
                writer.put(0b1011, 4);
            }
        }
        writer.data
    }

    #[test]
    fn pictures_are_cut_between_groups_and_join_again() {
        for bits in [90, 1_203, 9_000] {
            let picture = cif(true, bits);
            let (mut joint, mut data, mut count) = (Joint::default(), Vec::new(), 0);
            let done = packetize(&picture, |payload, marker| {
                assert!(payload.len() <= MAX_PAYLOAD);
                assert!(joint.append(&mut data, part(payload).unwrap()));
                count += 1;
                assert_eq!(marker, data.len() == picture.len());
            });
            assert_eq!((done, data == picture), (Ok(()), true), "{bits}");
            assert!(count >= picture.len().div_ceil(MAX_PAYLOAD));
        }
        assert!(largest_group(&cif(true, 9_600)) > MAX_PAYLOAD);
        assert!(packetize(&cif(true, 9_600), |_, _| {}).is_err());
    }

    #[test]
    fn a_temporal_reference_is_written_between_what_is_around_it() {
        let before = cif(true, 90);
        for reference in [0, 1, 0x15, 31] {
            let mut picture = before.clone();
            set_temporal_reference(&mut picture, reference);
            assert_eq!(Bits::new(&picture, 20).take(5), Some(u32::from(reference)));
            set_temporal_reference(&mut picture, 9);
            assert_eq!(picture, before);
        }
    }

    #[test]
    fn headers_say_size_and_kind() {
        for (intra, picture) in [(true, cif(true, 90)), (false, cif(false, 90))] {
            let header = PictureHeader::parse(&picture, 0).unwrap();
            assert_eq!(
                (header.width, header.height, header.intra),
                (352, 288, intra)
            );
        }
        assert_eq!(PictureHeader::parse(&cif(true, 90)[..3], 0), None);
        assert_eq!(
            PictureHeader::parse(&[0, 1, 0x10, 0, 0, 0, 0], 0),
            None,
            "a group"
        );
    }

    #[test]
    fn payloads_that_are_none_are_refused() {
        for bytes in [&[][..], &[0], &[0; 4]] {
            assert_eq!(part(bytes), None);
        }
        assert_eq!(picture(&[0; 40]), None);
    }
}
