//! Access units into RTP payloads, RFC 6184 §6.2 (mode 0) and §6.3 (mode 1).

use mcu_api::codec::PacketizationMode;
use thiserror::Error;

use super::{FU_A, NAL_FILLER, STAP_A, nal_units};

/// Largest RTP payload sent, in bytes: leaves room for SRTP, extensions, IPv6 and tunnels in 1,500.
pub const MAX_PAYLOAD: usize = 1_200;

/// A NAL unit is too large for single NAL unit mode; it was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("NAL unit of {len} bytes does not fit a payload of {MAX_PAYLOAD} in packetization mode 0")]
pub struct Oversized {
    /// Its length in bytes.
    pub len: usize,
}

/// Cuts access units into payloads of at most [`MAX_PAYLOAD`] bytes.
#[derive(Debug)]
pub struct Packetizer {
    mode: PacketizationMode,
    /// Units that wait to be aggregated, already with their lengths; and how many they are.
    aggregate: Vec<u8>,
    waiting: usize,
    fragment: Vec<u8>,
}

impl Packetizer {
    /// A packetizer for a peer that takes `mode`.
    pub fn new(mode: PacketizationMode) -> Self {
        Self {
            mode,
            aggregate: Vec::new(),
            waiting: 0,
            fragment: Vec::new(),
        }
    }

    /// Calls `emit(payload, marker)` for each payload of an Annex B access unit, in order; the
    /// marker is on the last.
    ///
    /// # Errors
    /// In mode 0, if a NAL unit did not fit; everything else was emitted.
    pub fn packetize(
        &mut self,
        access_unit: &[u8],
        mut emit: impl FnMut(&[u8], bool),
    ) -> Result<(), Oversized> {
        let mut oversized = Ok(());
        let mut units = nal_units(access_unit)
            .filter(|unit| unit.first().is_some_and(|head| head & 0x1F != NAL_FILLER))
            .peekable();
        while let Some(unit) = units.next() {
            let last = units.peek().is_none();
            match self.mode {
                PacketizationMode::SingleNal if unit.len() > MAX_PAYLOAD => {
                    oversized = Err(Oversized { len: unit.len() });
                }
                PacketizationMode::SingleNal => emit(unit, last),
                PacketizationMode::NonInterleaved => self.add(unit, last, &mut emit),
            }
        }
        oversized
    }

    fn add(&mut self, unit: &[u8], last: bool, emit: &mut impl FnMut(&[u8], bool)) {
        // One byte of header, then two of length for each unit, RFC 6184 §5.7.1.
        let room = self.aggregate.len().max(1) + 2 + unit.len() <= MAX_PAYLOAD;
        if !room {
            self.flush(false, emit);
        }
        if 3 + unit.len() <= MAX_PAYLOAD {
            self.aggregate_unit(unit);
        } else if unit.len() <= MAX_PAYLOAD {
            emit(unit, last);
        } else {
            self.fragment(unit, last, emit);
        }
        if last {
            self.flush(true, emit);
        }
    }

    fn aggregate_unit(&mut self, unit: &[u8]) {
        if self.aggregate.is_empty() {
            self.aggregate.push(STAP_A);
        }
        // Importance is the highest of all, the forbidden bit that of any, RFC 6184 §5.7.
        let (head, first) = (self.aggregate[0], unit[0]);
        let importance = (head & 0x60).max(first & 0x60);
        self.aggregate[0] = (head | first) & 0x80 | importance | STAP_A;
        self.aggregate
            .extend_from_slice(&(unit.len() as u16).to_be_bytes());
        self.aggregate.extend_from_slice(unit);
        self.waiting += 1;
    }

    fn flush(&mut self, marker: bool, emit: &mut impl FnMut(&[u8], bool)) {
        match self.waiting {
            0 => {}
            // One unit alone goes as it is.
            1 => emit(&self.aggregate[3..], marker),
            _ => emit(&self.aggregate, marker),
        }
        self.aggregate.clear();
        self.waiting = 0;
    }

    /// Fragments of nearly equal size, so that the last is not a tiny packet.
    fn fragment(&mut self, unit: &[u8], last: bool, emit: &mut impl FnMut(&[u8], bool)) {
        let Some((&head, body)) = unit.split_first() else {
            return;
        };
        let pieces = body.len().div_ceil(MAX_PAYLOAD - 2);
        let size = body.len().div_ceil(pieces.max(1)).max(1);
        let count = body.len().div_ceil(size);
        for (index, piece) in body.chunks(size).enumerate() {
            let end = index + 1 == count;
            let fu = u8::from(index == 0) << 7 | u8::from(end) << 6 | head & 0x1F;
            self.fragment.clear();
            self.fragment.extend_from_slice(&[head & 0xE0 | FU_A, fu]);
            self.fragment.extend_from_slice(piece);
            emit(&self.fragment, end && last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access_unit(sizes: &[(u8, usize)]) -> Vec<u8> {
        let mut data = Vec::new();
        for (head, len) in sizes {
            data.extend_from_slice(&[0, 0, 0, 1, *head]);
            data.extend((1..*len).map(|n| (n % 250) as u8 + 2));
        }
        data
    }

    /// Payloads with their markers.
    type Emitted = Vec<(Vec<u8>, bool)>;

    fn payloads(mode: PacketizationMode, data: &[u8]) -> (Emitted, Result<(), Oversized>) {
        let mut out = Vec::new();
        let result =
            Packetizer::new(mode).packetize(data, |p, marker| out.push((p.to_vec(), marker)));
        (out, result)
    }

    #[test]
    fn parameter_sets_and_a_small_slice_share_a_packet() {
        let data = access_unit(&[(0x67, 20), (0x68, 5), (0x65, 800)]);
        let (out, result) = payloads(PacketizationMode::NonInterleaved, &data);
        assert_eq!(result, Ok(()));
        assert_eq!((out.len(), out[0].0[0], out[0].1), (1, 0x78, true));
        assert_eq!(super::super::aggregated(&out[0].0[1..]).count(), 3);
    }

    #[test]
    fn a_large_slice_is_fragmented_evenly() {
        let data = access_unit(&[(0x67, 20), (0x68, 5), (0x65, 3_000)]);
        let (out, _) = payloads(PacketizationMode::NonInterleaved, &data);
        assert_eq!(
            out.iter().map(|(p, _)| p[0] & 0x1F).collect::<Vec<_>>(),
            [STAP_A, FU_A, FU_A, FU_A]
        );
        assert_eq!(
            out.iter().map(|(_, marker)| *marker).collect::<Vec<_>>(),
            [false, false, false, true]
        );
        assert_eq!(
            out[1..].iter().map(|(p, _)| p[1]).collect::<Vec<_>>(),
            [0x85, 0x05, 0x45]
        );
        assert!(out.iter().all(|(p, _)| p.len() <= MAX_PAYLOAD));
        assert!(out[1..].iter().all(|(p, _)| p.len() > 990));
    }

    #[test]
    fn every_size_around_the_limit_fits_and_ends_with_a_marker() {
        for len in 1_190..1_210 {
            for sizes in [
                vec![(0x41, len)],
                vec![(0x41, len), (0x41, 3)],
                vec![(0x41, 3), (0x41, len)],
            ] {
                let (out, _) = payloads(PacketizationMode::NonInterleaved, &access_unit(&sizes));
                assert!(
                    out.iter()
                        .all(|(p, _)| !p.is_empty() && p.len() <= MAX_PAYLOAD)
                );
                let markers = out.iter().filter(|(_, marker)| *marker).count();
                assert!(markers == 1 && out.last().unwrap().1, "{sizes:?}");
            }
        }
    }

    #[test]
    fn mode_zero_sends_units_alone_and_says_what_did_not_fit() {
        let data = access_unit(&[(0x67, 20), (0x41, 2_000), (0x41, 100)]);
        let (out, result) = payloads(PacketizationMode::SingleNal, &data);
        assert_eq!(
            out.iter().map(|(p, m)| (p.len(), *m)).collect::<Vec<_>>(),
            [(20, false), (100, true)]
        );
        assert_eq!(result, Err(Oversized { len: 2_000 }));
    }
}
