//! VP8 over RTP (RFC 7741), and the little of its frame header that relaying needs.

use crate::h264::MAX_PAYLOAD;

/// An RTP payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Payload<'a> {
    /// It holds the first bytes of a frame.
    pub begins: bool,
    pub bytes: &'a [u8],
}

/// Reads the payload descriptor, RFC 7741 §4.2. `None` if the payload ends within it, or with it.
pub(crate) fn parse(payload: &[u8]) -> Option<Payload<'_>> {
    let (&first, mut rest) = payload.split_first()?;
    if first & 0x80 != 0 {
        let (&extension, tail) = rest.split_first()?;
        rest = tail;
        if extension & 0x80 != 0 {
            let (&id, tail) = rest.split_first()?;
            rest = if id & 0x80 != 0 { tail.get(1..)? } else { tail };
        }
        if extension & 0x40 != 0 {
            rest = rest.get(1..)?;
        }
        if extension & 0x30 != 0 {
            rest = rest.get(1..)?;
        }
    }
    (!rest.is_empty()).then_some(Payload {
        // S, and the first partition.
        begins: first & 0x17 == 0x10,
        bytes: rest,
    })
}

/// Whether a key frame begins in this payload.
pub fn is_key_frame(payload: &[u8]) -> bool {
    parse(payload).is_some_and(|payload| payload.begins && payload.bytes[0] & 1 == 0)
}

/// Width and height of the key frame that begins in this payload, RFC 6386 §9.1.
pub fn picture_size(payload: &[u8]) -> Option<(u32, u32)> {
    let payload = parse(payload).filter(|payload| payload.begins)?;
    match *payload.bytes {
        [tag, _, _, 0x9D, 0x01, 0x2A, w0, w1, h0, h1, ..] if tag & 1 == 0 => {
            let side = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3FFF);
            Some((side(w0, w1), side(h0, h1)))
        }
        _ => None,
    }
}

/// Cuts frames into payloads and numbers them.
#[derive(Debug, Default)]
pub struct Packetizer {
    /// 15 bits.
    picture_id: u16,
    payload: Vec<u8>,
}

impl Packetizer {
    /// Calls `emit(payload, marker)` for each payload of a frame, all of nearly equal size.
    pub fn packetize(&mut self, frame: &[u8], mut emit: impl FnMut(&[u8], bool)) {
        const HEADER: usize = 4;
        let pieces = frame.len().div_ceil(MAX_PAYLOAD - HEADER).max(1);
        let size = frame.len().div_ceil(pieces).max(1);
        let [high, low] = (self.picture_id | 0x8000).to_be_bytes();
        let count = frame.len().div_ceil(size);
        for (index, piece) in frame.chunks(size).enumerate() {
            let begins = u8::from(index == 0) << 4;
            self.payload.clear();
            self.payload
                .extend_from_slice(&[0x80 | begins, 0x80, high, low]);
            self.payload.extend_from_slice(piece);
            emit(&self.payload, index + 1 == count);
        }
        self.picture_id = (self.picture_id + 1) & 0x7FFF;
    }
}

/// Renumbers the pictures of one output, so that their numbers go on where its source changes: a
/// receiver takes a picture with an earlier number for an old one and drops it.
#[derive(Debug, Default)]
pub struct Numbers {
    picture: Counter,
    base: Counter,
}

impl Numbers {
    /// Writes the output's numbers into a payload. `switched`: it is the first of another source.
    pub fn rewrite(&mut self, payload: &mut [u8], switched: bool) {
        let (picture, base) = numbered_at(payload);
        let (long, short) = match picture {
            Some(at) if payload[at] & 0x80 != 0 => (payload.get_mut(at..at + 2), None),
            Some(at) => (None, payload.get_mut(at)),
            None => (None, None),
        };
        if let Some([high, low]) = long {
            let read = u16::from_be_bytes([*high, *low]);
            let written = self.picture.number(read, 15, switched) | 0x8000;
            [*high, *low] = written.to_be_bytes();
        }
        if let Some(id) = short {
            *id = self.picture.number(u16::from(*id), 7, switched) as u8;
        }
        if let Some(index) = base.and_then(|at| payload.get_mut(at)) {
            *index = self.base.number(u16::from(*index), 8, switched) as u8;
        }
    }
}

/// Where PictureID and TL0PICIDX are, RFC 7741 §4.2.
fn numbered_at(payload: &[u8]) -> (Option<usize>, Option<usize>) {
    let extension = match payload {
        [first, extension, ..] if first & 0x80 != 0 => *extension,
        _ => return (None, None),
    };
    let id = payload.get(2).filter(|_| extension & 0x80 != 0);
    let behind = match id {
        Some(id) if id & 0x80 != 0 => 4,
        Some(_) => 3,
        None => 2,
    };
    (id.map(|_| 2), (extension & 0x40 != 0).then_some(behind))
}

/// Numbers of as many bits as each is written in, which may change within a stream.
#[derive(Debug, Default)]
struct Counter {
    shift: u16,
    last: Option<u16>,
}

impl Counter {
    fn number(&mut self, read: u16, bits: u32, switched: bool) -> u16 {
        let mask = u16::MAX >> (16 - bits);
        if let Some(last) = self.last.filter(|_| switched) {
            self.shift = last.wrapping_add(1).wrapping_sub(read);
        }
        let written = read.wrapping_add(self.shift) & mask;
        let last = self.last.unwrap_or(written);
        // What comes late goes back: it is none of the newest.
        let ahead = written.wrapping_sub(last) & mask;
        let ahead = if ahead <= mask / 2 { ahead } else { 0 };
        self.last = Some(last.wrapping_add(ahead));
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Defect: over a change of source the numbers of pictures leapt, back as often as forth.
    #[test]
    fn numbers_go_on_over_a_switch_of_source() {
        let mut numbers = Numbers::default();
        let mut written = |id: [u8; 2], base: u8, switched| {
            let mut payload = [0x90, 0xC0, id[0], id[1], base, 0, 1];
            numbers.rewrite(&mut payload, switched);
            assert_eq!(payload[..2], [0x90, 0xC0]);
            assert_eq!(payload[5..], [0, 1], "what is behind is left alone");
            (u16::from_be_bytes([payload[2], payload[3]]), payload[4])
        };
        assert_eq!(written([0xFF, 0xFE], 9, true), (0xFFFE, 9));
        assert_eq!(written([0xFF, 0xFF], 10, false), (0xFFFF, 10));
        assert_eq!(written([0xFF, 0xFE], 9, false), (0xFFFE, 9), "late");
        // Another source, whose numbers are lower: 15 bits turn over.
        assert_eq!(written([0x80, 0x30], 200, true), (0x8000, 11));
        assert_eq!(written([0x80, 0x30], 200, false), (0x8000, 11));
        assert_eq!(written([0x80, 0x32], 201, false), (0x8002, 12));
        assert_eq!(written([0xD0, 0x00], 0, true), (0x8003, 13));
        // One that writes seven bits.
        let mut short = [0x90, 0x80, 0x7F, 0, 1];
        numbers.rewrite(&mut short, true);
        assert_eq!(short, [0x90, 0x80, 4, 0, 1]);
        short[2] = 0;
        numbers.rewrite(&mut short, false);
        assert_eq!(short[2], 5, "seven bits turn over");
    }

    #[test]
    fn numbers_of_mutated_payloads_leave_their_length_and_what_is_behind() {
        let mut numbers = Numbers::default();
        crate::mutate::each_mutation(
            &[0x90, 0xF0, 0x91, 0x22, 7, 0x20, 1, 2, 3],
            20_000,
            |data| {
                let before = parse(data).map(|payload| payload.bytes.to_vec());
                let mut data = data.to_vec();
                let switched = data.len().is_multiple_of(3);
                numbers.rewrite(&mut data, switched);
                assert_eq!(parse(&data).map(|payload| payload.bytes.to_vec()), before);
            },
        );
    }

    #[test]
    fn frames_are_cut_and_join_again() {
        let mut frame = vec![0x10, 2, 0, 0x9D, 0x01, 0x2A, 0x80, 0x02, 0x68, 0x01];
        frame.extend((0..4_000).map(|n| n as u8));
        let mut packetizer = Packetizer::default();
        for _ in 0..2 {
            let mut data = Vec::new();
            packetizer.packetize(&frame, |payload, marker| {
                assert!(payload.len() <= MAX_PAYLOAD);
                let parsed = parse(payload).unwrap();
                assert_eq!(parsed.begins, data.is_empty());
                assert_eq!(is_key_frame(payload), parsed.begins);
                if parsed.begins {
                    assert_eq!(picture_size(payload), Some((640, 360)));
                }
                data.extend_from_slice(parsed.bytes);
                assert_eq!(marker, data.len() == frame.len());
            });
            assert_eq!(data, frame);
        }
        assert_eq!(packetizer.picture_id, 2);
    }

    #[test]
    fn descriptors_of_every_length_are_read() {
        for (descriptor, len) in [
            (&[0x10][..], 1),
            (&[0x90, 0x00], 2),
            (&[0x90, 0x80, 0x11], 3),
            (&[0x90, 0x80, 0x91, 0x22], 4),
            (&[0x90, 0xF0, 0x91, 0x22, 7, 0x20], 6),
        ] {
            let payload = [descriptor, &[0xAA, 0xBB]].concat();
            assert_eq!(descriptor.len(), len);
            assert_eq!(parse(&payload).unwrap().bytes, [0xAA, 0xBB]);
            assert_eq!(parse(&payload[..len]), None, "nothing behind it");
        }
        assert_eq!(parse(&[]), None);
        assert!(!is_key_frame(&[0x11, 0]), "the second partition");
    }
}
