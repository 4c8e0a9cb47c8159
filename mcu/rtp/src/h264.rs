//! H.264 over RTP (RFC 6184) and the little of H.264 itself that relaying needs.

mod join;
mod packetize;
mod sps;

pub(crate) use join::{Join, begins_with_sps};
pub use packetize::{MAX_PAYLOAD, Oversized, Packetizer};
pub use sps::{Colour, Sps, parse_sps};

/// Start code that precedes every NAL unit in our byte streams (H.264 Annex B).
pub(crate) const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// Slice of a picture that refers to others.
pub(crate) const NAL_SLICE: u8 = 1;
/// Slice of an IDR picture.
pub(crate) const NAL_IDR: u8 = 5;
/// Sequence parameter set.
pub(crate) const NAL_SPS: u8 = 7;
/// Filler data.
pub(crate) const NAL_FILLER: u8 = 12;
/// Single-time aggregation packet, RFC 6184 §5.7.1.
pub(crate) const STAP_A: u8 = 24;
/// Fragmentation unit, RFC 6184 §5.8.
pub(crate) const FU_A: u8 = 28;

/// Whether a key frame begins in this RTP payload: a sequence parameter set or the first part of an
/// IDR slice, alone, aggregated or fragmented. A stream may be joined here.
pub fn is_key_frame(payload: &[u8]) -> bool {
    has_unit(payload, |kind| matches!(kind, NAL_IDR | NAL_SPS))
}

/// Whether a NAL unit of a wanted type begins in the payload.
fn has_unit(payload: &[u8], wanted: impl Fn(u8) -> bool) -> bool {
    match payload {
        [head, rest @ ..] if head & 0x1F == STAP_A => {
            aggregated(rest).any(|unit| unit.first().is_some_and(|head| wanted(head & 0x1F)))
        }
        [head, fu, ..] if head & 0x1F == FU_A => fu & 0x80 != 0 && wanted(fu & 0x1F),
        [head, ..] => wanted(head & 0x1F),
        [] => false,
    }
}

/// Finds where one stream may be joined, better than [`is_key_frame`] alone: in a stream that sends
/// parameter sets, an IDR slice whose parameter sets were lost or overtaken is no beginning.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyFrameStarts {
    sends_parameter_sets: bool,
}

impl KeyFrameStarts {
    /// Whether a receiver may be switched to the stream at this packet.
    pub fn starts(&mut self, payload: &[u8]) -> bool {
        if has_unit(payload, |kind| kind == NAL_SPS) {
            self.sends_parameter_sets = true;
            return true;
        }
        !self.sends_parameter_sets && is_key_frame(payload)
    }
}

/// The first sequence parameter set in an RTP payload, alone or aggregated.
pub fn find_sps(payload: &[u8]) -> Option<Sps> {
    match payload {
        [head, rest @ ..] if head & 0x1F == STAP_A => aggregated(rest).find_map(parse_sps),
        _ => parse_sps(payload),
    }
}

/// The NAL units of an aggregation packet behind its header; ends at the first that is cut.
pub(crate) fn aggregated(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, tail) = rest.split_first_chunk::<2>()?;
        let (unit, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        rest = tail;
        Some(unit)
    })
}

/// The NAL units of an Annex B byte stream, without start codes and trailing zeros. Bytes before
/// the first start code are passed over.
pub fn nal_units(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = find_start_code(stream).map(|at| &stream[at + 3..]);
    std::iter::from_fn(move || {
        loop {
            let data = rest?;
            let end = find_start_code(data);
            rest = end.map(|at| &data[at + 3..]);
            let unit = &data[..end.unwrap_or(data.len())];
            // Zeros before a start code belong to the byte stream, H.264 B.1.
            let len = unit
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |last| last + 1);
            if len > 0 {
                return Some(&unit[..len]);
            }
        }
    })
}

/// Where the next `00 00 01` begins.
fn find_start_code(data: &[u8]) -> Option<usize> {
    let mut at = 2;
    while let Some(&byte) = data.get(at) {
        match byte {
            1 if data[at - 2] == 0 && data[at - 1] == 0 => return Some(at - 2),
            // Only a zero can be part of a start code that ends later.
            0 => at += 1,
            1 => at += 3,
            _ => at += 3,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_frames_are_seen_in_every_packet_form() {
        assert!(is_key_frame(&[0x65, 0x88]));
        assert!(is_key_frame(&[0x67, 0x42]));
        assert!(!is_key_frame(&[0x41, 0x9A]));
        assert!(!is_key_frame(&[0x68, 0xCE]));
        assert!(is_key_frame(&[0x78, 0, 1, 0x67, 0, 2, 0x68, 0xCE]));
        assert!(is_key_frame(&[0x78, 0, 2, 0x06, 0x05, 0, 1, 0x65]));
        assert!(!is_key_frame(&[0x78, 0, 2, 0x06, 0x05, 0, 9, 0x65]));
        assert!(is_key_frame(&[0x7C, 0x85, 1]));
        assert!(!is_key_frame(&[0x7C, 0x45, 1]));
        assert!(!is_key_frame(&[0x7C, 0x81, 1]));
        assert!(!is_key_frame(&[0x7C]));
        assert!(!is_key_frame(&[]));
    }

    #[test]
    fn a_stream_with_parameter_sets_is_joined_only_there() {
        let mut starts = KeyFrameStarts::default();
        assert!(starts.starts(&[0x65, 0x88]));
        assert!(starts.starts(&[0x78, 0, 1, 0x67, 0, 2, 0x68, 0xCE]));
        assert!(!starts.starts(&[0x65, 0x88]));
        assert!(!starts.starts(&[0x7C, 0x85, 1]));
        assert!(starts.starts(&[0x67, 0x42]));
    }

    #[test]
    fn byte_streams_are_split() {
        let stream = [
            9, 0, 0, 0, 1, 0x67, 1, 0, 0, 1, 0x68, 0, 2, 0, 0, 0, 0, 1, 0x65, 0, 3, 0,
        ];
        let units: Vec<_> = nal_units(&stream).collect();
        assert_eq!(units, [&[0x67, 1][..], &[0x68, 0, 2], &[0x65, 0, 3]]);
        assert_eq!(nal_units(&[]).count(), 0);
        assert_eq!(nal_units(&[0, 0, 1]).count(), 0);
        assert_eq!(nal_units(&[0, 0, 1, 0, 0, 1, 5]).count(), 1);
    }

    #[test]
    fn start_codes_are_found_at_every_place() {
        for before in 0..8 {
            let mut stream = vec![7; before];
            stream.extend_from_slice(&[0, 0, 1, 0x65]);
            assert_eq!(find_start_code(&stream), Some(before));
            stream.insert(before, 1);
            assert_eq!(find_start_code(&stream), Some(before + 1));
        }
    }

    #[test]
    fn mutated_streams_do_no_harm() {
        let seed = [
            0x78, 0, 4, 0, 0, 1, 0x67, 0, 2, 0x68, 0xCE, 0, 0, 0, 1, 0x65, 9, 9,
        ];
        crate::mutate::each_mutation(&seed, 100_000, |data| {
            is_key_frame(data);
            assert!(nal_units(data).map(<[u8]>::len).sum::<usize>() <= data.len());
        });
    }
}
