//! Bits that do not end where bytes end: the video payloads of ITU codecs are cut between any two.

/// Reads bits, most significant first.
#[derive(Clone, Debug)]
pub(crate) struct Bits<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    /// From bit `at` of `data` on.
    pub fn new(data: &'a [u8], at: usize) -> Self {
        Self { data, at }
    }

    /// One bit; `None` at the end.
    pub fn bit(&mut self) -> Option<u32> {
        let byte = self.data.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit.into())
    }

    /// The next `count` bits, at most 32.
    pub fn take(&mut self, count: u8) -> Option<u32> {
        (0..count).try_fold(0, |value, _| Some(value << 1 | self.bit()?))
    }
}

/// Bytes of which the first `sbit` and the last `ebit` bits belong to the neighbours, as RFC 2190 and
/// RFC 4587 count them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part<'a> {
    pub sbit: u8,
    pub ebit: u8,
    pub bytes: &'a [u8],
}

/// Appends parts to a stream of bits.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Joint {
    /// Bits of the last byte that are still to come.
    open: u8,
}

impl Joint {
    /// Appends one; the first may begin anywhere in its byte, as H.261 has no bytes between pictures.
    /// `false`: it does not go on where the last one ended; the bits between are zeros.
    pub fn append(&mut self, data: &mut Vec<u8>, part: Part<'_>) -> bool {
        let Some((&first, rest)) = part.bytes.split_first() else {
            return true;
        };
        let head = first & (0xFF >> part.sbit);
        let meets = data.is_empty() || (self.open + part.sbit).is_multiple_of(8);
        match data.last_mut() {
            Some(last) if self.open > 0 && meets => *last |= head,
            _ => data.push(head),
        }
        data.extend_from_slice(rest);
        // What is to come is zero until it comes.
        if let Some(last) = data.last_mut() {
            *last &= 0xFF << part.ebit;
        }
        self.open = part.ebit;
        meets
    }
}

/// The bytes that hold the bits from `start` to `end`, and how many at both ends are not theirs.
pub(crate) fn part(data: &[u8], start: usize, end: usize) -> Part<'_> {
    Part {
        sbit: (start % 8) as u8,
        ebit: ((8 - end % 8) % 8) as u8,
        bytes: data.get(start / 8..end.div_ceil(8)).unwrap_or(&[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_cut_anywhere_join_to_what_they_were() {
        let whole: Vec<u8> = (1..=20u8).map(|n| n.wrapping_mul(83)).collect();
        for (a, b) in [(1, 2), (7, 9), (8, 16), (13, 14), (0, 160), (50, 111)] {
            let (mut joint, mut data) = (Joint::default(), Vec::new());
            for (start, end) in [(0, a), (a, b), (b, 160)] {
                if start < end {
                    assert!(joint.append(&mut data, part(&whole, start, end)));
                }
            }
            assert_eq!(data, whole, "cut at {a} and {b}");
        }
    }

    #[test]
    fn what_does_not_meet_is_noticed_and_reads_as_zeros() {
        let (mut joint, mut data) = (Joint::default(), Vec::new());
        let part = |sbit, ebit| Part {
            sbit,
            ebit,
            bytes: &[0xFF, 0xFF],
        };
        assert!(joint.append(&mut data, part(0, 3)));
        assert!(!joint.append(&mut data, part(0, 0)));
        assert!(!joint.append(&mut data, part(2, 0)));
        assert_eq!(data, [0xFF, 0xF8, 0xFF, 0xFF, 0x3F, 0xFF]);
    }

    #[test]
    fn reading_ends_with_the_bytes() {
        let mut bits = Bits::new(&[0b1010_0101, 0x80], 1);
        assert_eq!((bits.take(3), bits.take(4)), (Some(0b010), Some(0b0101)));
        assert_eq!((bits.take(8), bits.bit()), (Some(0x80), None));
    }
}
