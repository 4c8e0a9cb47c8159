//! RTP payloads into the NAL units of an access unit, RFC 6184 §5.6 to §5.8.

use super::{FU_A, NAL_IDR, NAL_SLICE, NAL_SPS, STAP_A, START_CODE, aggregated};
use crate::video::{AccessUnit, MAX_ACCESS_UNIT};

/// What is known of the access unit that is being joined.
#[derive(Debug, Default)]
pub(crate) struct Join {
    /// A slice came already.
    has_slice: bool,
    /// Where the unit that is being joined from fragments begins in `data`.
    fragment: Option<usize>,
}

/// Whether the payload's first NAL unit is a sequence parameter set.
pub(crate) fn begins_with_sps(payload: &[u8]) -> bool {
    let first = match payload {
        [head, rest @ ..] if head & 0x1F == STAP_A => aggregated(rest).next().unwrap_or(&[]),
        _ => payload,
    };
    first.first().is_some_and(|head| head & 0x1F == NAL_SPS)
}

impl Join {
    /// Takes a payload.
    pub fn take(&mut self, unit: &mut AccessUnit, payload: &[u8]) {
        let Some(&head) = payload.first() else { return };
        match head & 0x1F {
            1..=23 => {
                self.end_fragment(unit);
                self.add_unit(unit, payload);
            }
            STAP_A => {
                self.end_fragment(unit);
                for inner in aggregated(&payload[1..]) {
                    self.add_unit(unit, inner);
                }
            }
            FU_A => self.add_fragment(unit, payload),
            // Interleaved mode was never offered, the rest is undefined: RFC 6184 table 3.
            _ => self.mark_broken(unit),
        }
    }

    /// A fragment whose end did not come before something else is broken.
    pub fn end_fragment(&mut self, unit: &mut AccessUnit) {
        if self.fragment.is_some() {
            self.mark_broken(unit);
        }
    }

    /// Drops the fragment begun, of which the rest is lost.
    pub fn drop_fragment(&mut self, unit: &mut AccessUnit) {
        if let Some(start) = self.fragment.take() {
            unit.data.truncate(start);
        }
    }

    fn mark_broken(&mut self, unit: &mut AccessUnit) {
        unit.mark_broken();
        self.drop_fragment(unit);
    }

    fn add_unit(&mut self, unit: &mut AccessUnit, nal: &[u8]) {
        let [head, rest @ ..] = nal else { return };
        if unit.data.len() + START_CODE.len() + nal.len() > MAX_ACCESS_UNIT {
            self.mark_broken(unit);
            return;
        }
        self.note_slice(unit, *head, rest);
        unit.data.extend_from_slice(&START_CODE);
        unit.data.extend_from_slice(nal);
    }

    fn add_fragment(&mut self, unit: &mut AccessUnit, payload: &[u8]) {
        let [indicator, fu, body @ ..] = payload else {
            return self.mark_broken(unit);
        };
        let head = indicator & 0xE0 | fu & 0x1F;
        if unit.data.len() + START_CODE.len() + 1 + body.len() > MAX_ACCESS_UNIT {
            return self.mark_broken(unit);
        }
        if fu & 0x80 != 0 {
            self.end_fragment(unit);
            self.note_slice(unit, head, body);
            self.fragment = Some(unit.data.len());
            unit.data.extend_from_slice(&START_CODE);
            unit.data.push(head);
        } else if self.fragment.is_none() {
            return self.mark_broken(unit);
        }
        unit.data.extend_from_slice(body);
        if fu & 0x40 != 0 {
            self.fragment = None;
        }
    }

    /// The first slice of a whole picture begins at macroblock 0, which is a single bit 1
    /// (H.264 §7.3.3): after a loss this tells whether the picture's beginning is here.
    fn note_slice(&mut self, unit: &mut AccessUnit, head: u8, body: &[u8]) {
        let kind = head & 0x1F;
        if !(NAL_SLICE..=NAL_IDR).contains(&kind) {
            return;
        }
        unit.key_frame |= kind == NAL_IDR;
        if !self.has_slice {
            self.has_slice = true;
            let at_beginning = body.first().is_some_and(|byte| byte & 0x80 != 0);
            if unit.after_loss && !at_beginning {
                unit.complete = false;
            }
        }
    }
}
