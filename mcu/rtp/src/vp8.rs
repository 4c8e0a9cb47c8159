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

#[cfg(test)]
mod tests {
    use super::*;

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
