//! H.263 over RTP, in the payload of RFC 2190 (`H263`) and in that of RFC 4629 (`H263-1998` and
//! `H263-2000`), and the little of its picture header that relaying needs.

use crate::bits::{self, Bits, Part};
use crate::h264::MAX_PAYLOAD;

/// What a picture header says (H.263 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureHeader {
    /// Luma samples in a row, and rows; `None` where they are those of the picture before.
    pub size: Option<(u32, u32)>,
    /// It refers to no other picture.
    pub intra: bool,
}

/// Width and height by source format, H.263 table 3: sub-QCIF, QCIF, CIF, 4CIF, 16CIF.
const FORMATS: [(u32, u32); 5] = [(128, 96), (176, 144), (352, 288), (704, 576), (1408, 1152)];
/// Source format that announces PLUSPTYPE.
const EXTENDED: u32 = 7;
/// Source format of PLUSPTYPE that announces a size of its own.
const CUSTOM: u32 = 6;

impl PictureHeader {
    /// Reads a header whose start code begins at bit `at`. `None` if there is none.
    pub fn parse(data: &[u8], at: usize) -> Option<Self> {
        let mut bits = Bits::new(data, at);
        // PSC: 22 bits, then TR.
        (bits.take(22)? == 0b10_0000).then_some(())?;
        bits.take(8)?;
        // PTYPE: "1", "0", split screen, document camera, freeze picture release.
        (bits.take(2)? == 0b10).then_some(())?;
        bits.take(3)?;
        match bits.take(3)? {
            EXTENDED => Self::extended(&mut bits),
            format => {
                let size = Some(size(format)?);
                let intra = bits.bit()? == 0;
                Some(Self { size, intra })
            }
        }
    }

    /// PLUSPTYPE, H.263 §5.1.4.
    fn extended(bits: &mut Bits<'_>) -> Option<Self> {
        // UFEP: without its optional part the size is that of the picture before, as a rule of pictures
        // that refer to it.
        match bits.take(3)? {
            0 => {
                let (size, intra) = (None, bits.take(3)? == 0);
                return Some(Self { size, intra });
            }
            1 => {}
            _ => return None,
        }
        let format = bits.take(3)?;
        bits.take(15)?;
        let kind = bits.take(3)?;
        bits.take(6)?;
        if bits.bit()? == 1 {
            bits.take(2)?; // CPM, PSBI
        }
        let (width, height) = match format {
            CUSTOM => {
                // CPFMT, §5.1.5: pixel aspect, width in fours less one, "1", height in fours.
                bits.take(4)?;
                let width = (bits.take(9)? + 1) * 4;
                bits.bit()?;
                (width, bits.take(9)? * 4)
            }
            _ => size(format)?,
        };
        (height > 0).then_some(Self {
            size: Some((width, height)),
            intra: kind == 0,
        })
    }
}

fn size(format: u32) -> Option<(u32, u32)> {
    FORMATS.get(format.checked_sub(1)? as usize).copied()
}

/// The bits of an RFC 2190 payload. `None` if the payload is none.
pub(crate) fn part(payload: &[u8]) -> Option<Part<'_>> {
    let first = *payload.first()?;
    // Mode A, B or C: 4, 8 or 12 bytes of header, §5.
    let header = match first >> 6 {
        0 | 1 => 4,
        2 => 8,
        _ => 12,
    };
    Some(Part {
        sbit: first >> 3 & 7,
        ebit: first & 7,
        bytes: payload.get(header..).filter(|bytes| !bytes.is_empty())?,
    })
}

/// The bytes of an RFC 4629 payload, and whether two zero bytes of a start code go before them.
pub(crate) fn plus_part(payload: &[u8]) -> Option<(bool, &[u8])> {
    let [first, second, rest @ ..] = payload else {
        return None;
    };
    // §5.1: five bits reserved, P, V, PLEN, PEBIT.
    let (begins, has_redundancy) = (first & 4 != 0, first & 2 != 0);
    let extra = usize::from((first & 1) << 5 | second >> 3);
    let bytes = rest.get(usize::from(has_redundancy) + extra..)?;
    Some((begins, bytes))
}

/// The picture header with which an RFC 2190 payload begins.
pub fn picture(payload: &[u8]) -> Option<PictureHeader> {
    let part = part(payload)?;
    PictureHeader::parse(part.bytes, part.sbit.into())
}

/// The picture header with which an RFC 4629 payload begins.
pub fn plus_picture(payload: &[u8]) -> Option<PictureHeader> {
    let (begins, bytes) = plus_part(payload)?;
    if !begins {
        return PictureHeader::parse(bytes, 0);
    }
    let mut whole = [0; 18];
    let len = bytes.len().min(whole.len() - 2);
    whole[2..2 + len].copy_from_slice(&bytes[..len]);
    PictureHeader::parse(&whole[..2 + len], 0)
}

/// A macroblock at which a packet may begin, with what RFC 2190 §5.2 says of it in mode B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// Its first bit, counted from the beginning of the picture.
    pub bit: u32,
    /// Quantiser before it.
    pub quant: u8,
    /// Number of its group of blocks.
    pub gob: u8,
    /// Its address in the group.
    pub address: u16,
    /// Predictors of its motion vector, in half samples.
    pub motion: (i8, i8),
}

/// Calls `emit(payload, marker)` for each RFC 2190 payload of a picture whose groups of blocks begin at
/// bytes, each of at most [`MAX_PAYLOAD`] bytes: cut between groups (mode A), and where a group is larger,
/// at one of `splits`, which are in order (mode B). A stretch that cannot be cut goes in one piece.
pub fn packetize(picture: &[u8], splits: &[Split], mut emit: impl FnMut(&[u8], bool)) {
    let Some(header) = Header::of(picture) else {
        return;
    };
    let end = picture.len() * 8;
    let groups: Vec<usize> = group_starts(picture).map(|at| at * 8).collect();
    let (mut start, mut begins_at): (usize, Option<Split>) = (0, None);
    let mut payload = Vec::with_capacity(MAX_PAYLOAD);
    while start < end {
        let room = MAX_PAYLOAD - if begins_at.is_some() { 8 } else { 4 };
        let fits = |at: usize| at > start && at.div_ceil(8) - start / 8 <= room;
        let group = groups.iter().copied().chain([end]).rfind(|at| fits(*at));
        let split = splits.iter().rfind(|split| fits(split.bit as usize));
        let (next, next_split) = match (group, split) {
            (Some(at), _) => (at, None),
            (None, Some(split)) => (split.bit as usize, Some(*split)),
            // Whatever comes next, however far.
            (None, None) => (
                groups.iter().copied().find(|at| *at > start).unwrap_or(end),
                None,
            ),
        };
        let part = bits::part(picture, start, next);
        payload.clear();
        match begins_at {
            None => payload.extend_from_slice(&header.mode_a(part)),
            Some(split) => payload.extend_from_slice(&header.mode_b(part, &split)),
        }
        payload.extend_from_slice(part.bytes);
        emit(&payload, next == end);
        (start, begins_at) = (next, next_split);
    }
}

/// Calls `emit(payload, marker)` for each RFC 4629 payload of a picture, of at most [`MAX_PAYLOAD`] bytes:
/// cut between groups of blocks where they fit, and anywhere where they do not.
pub fn packetize_plus(picture: &[u8], mut emit: impl FnMut(&[u8], bool)) {
    const HEADER: usize = 2;
    let mut payload = Vec::with_capacity(MAX_PAYLOAD);
    let mut start = 0;
    while start < picture.len() {
        let rest = &picture[start..];
        let begins = rest.starts_with(&[0, 0]);
        // Two zero bytes of a start code are left out.
        let room = MAX_PAYLOAD - HEADER + if begins { 2 } else { 0 };
        let group = group_starts(rest)
            .filter(|at| *at > 0 && *at <= room)
            .last();
        let len = match group {
            _ if rest.len() <= room => rest.len(),
            Some(at) => at,
            None => room,
        };
        payload.clear();
        payload.extend_from_slice(&[u8::from(begins) << 2, 0]);
        payload.extend_from_slice(&rest[if begins { 2 } else { 0 }..len]);
        start += len;
        emit(&payload, start == picture.len());
    }
}

/// Bytes at which the start code of a picture or a group of blocks begins: 16 zeros and a one.
fn group_starts(picture: &[u8]) -> impl Iterator<Item = usize> {
    let starts = picture.windows(3).enumerate();
    starts.filter_map(|(at, bytes)| matches!(bytes, [0, 0, 0x80..=0xFF]).then_some(at))
}

/// Writes the temporal reference into a picture that begins with its start code (H.263 §5.1.2); what
/// does not is left alone.
pub fn set_temporal_reference(picture: &mut [u8], reference: u8) {
    if let [0, 0, a @ 0x80..=0x83, b, ..] = picture {
        *a = *a & 0xFC | reference >> 6;
        *b = *b & 0x03 | reference << 2;
    }
}

/// What the header of every packet of a picture repeats.
struct Header {
    /// SRC, and I, U, S and A as the four bits of PTYPE say.
    source: u8,
    flags: u8,
}

impl Header {
    fn of(picture: &[u8]) -> Option<Self> {
        PictureHeader::parse(picture, 0)?;
        let mut bits = Bits::new(picture, 35);
        let source = bits.take(3)? as u8;
        // Coding type, unrestricted vectors, arithmetic coding, advanced prediction.
        let flags = bits.take(4)? as u8;
        Some(Self { source, flags })
    }

    /// RFC 2190 §5.1, without PB-frames.
    fn mode_a(&self, part: Part<'_>) -> [u8; 4] {
        let bits = part.sbit << 3 | part.ebit;
        [bits, self.source << 5 | self.flags << 1, 0, 0]
    }

    /// RFC 2190 §5.2.
    fn mode_b(&self, part: Part<'_>, split: &Split) -> [u8; 8] {
        let seven = |value: i8| u32::from(value as u8 & 0x7F);
        let place = u16::from(split.gob & 0x1F) << 11 | (split.address & 0x1FF) << 2;
        let vectors = u32::from(self.flags & 0xF) << 28
            | seven(split.motion.0) << 21
            | seven(split.motion.1) << 14;
        let [p0, p1] = place.to_be_bytes();
        let [v0, v1, v2, v3] = vectors.to_be_bytes();
        let bits = 0x80 | part.sbit << 3 | part.ebit;
        [
            bits,
            self.source << 5 | split.quant & 0x1F,
            p0,
            p1,
            v0,
            v1,
            v2,
            v3,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bits::Joint;

    /// A picture header of CIF, then filling without a start code, and `groups` groups of `size` bytes.
    fn cif(intra: bool, groups: usize, size: usize) -> Vec<u8> {
        // PSC, TR 5, PTYPE 10 000 011, coding type, no options; PQUANT and so on are filling.
        let coding = if intra { 0 } else { 2 };
        let mut data = vec![0, 0, 0x80, 0x16, 0x0C | coding, 0x0A, 0x55];
        for _ in 0..groups {
            data.extend((0..size).map(|n| (n % 200) as u8 + 9));
            data.extend([0, 0, 0x84]);
        }
        data
    }

    #[test]
    fn picture_headers_say_size_and_kind() {
        let intra = PictureHeader::parse(&cif(true, 0, 0), 0).unwrap();
        assert_eq!((intra.size, intra.intra), (Some((352, 288)), true));
        // PLUSPTYPE: UFEP 000, then a picture of type P, as whoever has said the size goes on.
        let plus = [0, 0, 0x80, 0x16, 0x1C, 0x10, 0x80, 0, 0];
        let header = PictureHeader::parse(&plus, 0).unwrap();
        assert_eq!((header.size, header.intra), (None, false));
        assert!(!PictureHeader::parse(&cif(false, 0, 0), 0).unwrap().intra);
        assert_eq!(PictureHeader::parse(&[0, 0, 0x84, 0, 0, 0, 0], 0), None);
        assert_eq!(PictureHeader::parse(&cif(true, 0, 0)[..4], 0), None);
    }

    /// RFC 2190 both ways, with groups that need mode B.
    #[test]
    fn what_is_cut_by_rfc_2190_joins_again() {
        for size in [20, 700, 5_000] {
            let picture = cif(true, 5, size);
            let splits: Vec<Split> = (1..picture.len() as u32 / 128)
                .map(|n| Split {
                    bit: n * 128 * 8 + 3,
                    quant: 7,
                    gob: 3,
                    address: 11,
                    motion: (-3, 4),
                })
                .collect();
            let (mut joint, mut data, mut markers) = (Joint::default(), Vec::new(), Vec::new());
            packetize(&picture, &splits, |payload, marker| {
                assert!(payload.len() <= MAX_PAYLOAD);
                assert!(joint.append(&mut data, part(payload).unwrap()));
                markers.push(marker);
            });
            assert_eq!(data, picture, "groups of {size} bytes");
            assert!(markers.pop().unwrap() && !markers.contains(&true));
        }
    }

    /// RFC 2190 §5.2, field by field.
    #[test]
    fn headers_of_mode_b_say_where_they_begin() {
        let picture = cif(false, 1, 3_000);
        let split = Split {
            bit: 1_100 * 8 + 3,
            quant: 21,
            gob: 13,
            address: 300,
            motion: (-3, 64 - 1),
        };
        let mut payloads = Vec::new();
        packetize(&picture, &[split], |payload, _| {
            payloads.push(payload.to_vec())
        });
        let header = payloads.iter().find(|payload| payload[0] & 0x80 != 0);
        let header = u64::from_be_bytes(*header.expect("mode B").first_chunk().unwrap());
        let field = |at: u32, bits: u32| header << at >> (64 - bits);
        // F, P, SBIT, EBIT; SRC, QUANT; GOBN, MBA, R.
        assert_eq!([field(0, 1), field(1, 1), field(2, 3)], [1, 0, 3]);
        assert_eq!([field(8, 3), field(11, 5)], [3, 21]);
        assert_eq!([field(16, 5), field(21, 9), field(30, 2)], [13, 300, 0]);
        // I, which is 1 of a picture that refers to others, U, S, A.
        assert_eq!(field(32, 4), 0b1000);
        // HMV1, VMV1 in seven bits of two's complement, HMV2, VMV2.
        assert_eq!([field(36, 7), field(43, 7)], [128 - 3, 63]);
        assert_eq!([field(50, 7), field(57, 7)], [0, 0]);
        // The packet before ends within the byte where this one begins.
        assert_eq!(payloads[0][0], 5, "EBIT");
    }

    #[test]
    fn a_temporal_reference_is_written_between_what_is_around_it() {
        let before = cif(false, 1, 20);
        for reference in [0, 1, 0x55, 0xAA, 255] {
            let mut picture = before.clone();
            set_temporal_reference(&mut picture, reference);
            let mut bits = Bits::new(&picture, 22);
            assert_eq!(bits.take(8), Some(u32::from(reference)));
            set_temporal_reference(&mut picture, 5);
            assert_eq!(picture, before);
        }
        let mut other = [0, 0, 0x84, 0xFF];
        set_temporal_reference(&mut other, 0);
        assert_eq!(other, [0, 0, 0x84, 0xFF]);
    }

    #[test]
    fn what_is_cut_by_rfc_4629_joins_again() {
        for size in [20, 700, 5_000] {
            let picture = cif(false, 5, size);
            let (mut data, mut first) = (Vec::new(), None);
            packetize_plus(&picture, |payload, _| {
                assert!(payload.len() <= MAX_PAYLOAD);
                first.get_or_insert(plus_picture(payload));
                let (begins, bytes) = plus_part(payload).unwrap();
                data.extend_from_slice(&[0, 0][..if begins { 2 } else { 0 }]);
                data.extend_from_slice(bytes);
            });
            assert_eq!(data, picture, "groups of {size} bytes");
            assert_eq!(first.flatten().map(|p| p.size), Some(Some((352, 288))));
        }
    }

    #[test]
    fn payloads_that_are_none_are_refused() {
        for bytes in [
            &[][..],
            &[0],
            &[0; 4],
            &[0x80; 8],
            &[0xC0; 12],
            &[0x40, 0, 0, 0],
        ] {
            assert_eq!(part(bytes), None, "{bytes:?}");
        }
        assert_eq!(plus_part(&[4]), None);
        assert_eq!(
            plus_part(&[1, 0xFF, 1, 2]),
            None,
            "a header longer than the packet"
        );
    }
}
