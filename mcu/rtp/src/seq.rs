//! Extended sequence numbers and timestamps: the only arithmetic on them in the program.
//!
//! The wire carries 16 bits of sequence number and 32 bits of timestamp, both of which wrap. An
//! extender follows one stream and returns the value of which the wire shows the low bits, as the
//! cycle count of RFC 3550 A.1 does.

/// Sequence number that never wraps. Its low 16 bits are what the wire shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtSeq(u64);

impl ExtSeq {
    /// From the whole number.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The whole number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// What the RTP header carries.
    pub const fn wire(self) -> u16 {
        self.0 as u16
    }

    /// The sequence number `count` packets later.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }

    /// The following sequence number.
    #[must_use]
    pub const fn next(self) -> Self {
        self.plus(1)
    }

    /// Packets from `earlier` to here; negative when `earlier` is in truth later.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.wrapping_sub(earlier.0) as i64
    }
}

/// RTP timestamp that never wraps, in ticks of the stream's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtTs(u64);

impl ExtTs {
    /// From the whole number.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The whole number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// What the RTP header carries.
    pub const fn wire(self) -> u32 {
        self.0 as u32
    }

    /// The timestamp `ticks` away, either way.
    #[must_use]
    pub const fn offset(self, ticks: i64) -> Self {
        Self(self.0.saturating_add_signed(ticks))
    }

    /// Ticks from `earlier` to here; negative when `earlier` is in truth later.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.wrapping_sub(earlier.0) as i64
    }
}

/// Extends the sequence numbers of one stream.
///
/// The first number is placed one cycle above zero, so that packets which the network brought late
/// still have a place below it.
#[derive(Clone, Copy, Debug, Default)]
pub struct SeqExtender {
    highest: Option<u64>,
}

impl SeqExtender {
    /// Nothing seen yet.
    pub const fn new() -> Self {
        Self { highest: None }
    }

    /// Goes on where another extender stood.
    pub const fn starting_at(highest: ExtSeq) -> Self {
        Self {
            highest: Some(highest.0),
        }
    }

    /// The extended number nearest to the highest one seen; remembers it if it is higher.
    pub fn extend(&mut self, wire: u16) -> ExtSeq {
        let extended = self.peek(wire);
        self.highest = Some(self.highest.map_or(extended.0, |h| h.max(extended.0)));
        extended
    }

    /// As [`Self::extend`], without remembering.
    pub const fn peek(&self, wire: u16) -> ExtSeq {
        match self.highest {
            None => ExtSeq(wire as u64 + (1 << 16)),
            Some(highest) => {
                let step = wire.wrapping_sub(highest as u16) as i16;
                ExtSeq(place(highest, step as i64, 1 << 16))
            }
        }
    }

    /// Goes on with another numbering, above all that was seen: after a restart of the sender.
    pub fn jump(&mut self, wire: u16) -> ExtSeq {
        let extended = match self.highest {
            None => self.peek(wire).0,
            Some(highest) => ((highest >> 16) + 2) << 16 | u64::from(wire),
        };
        self.highest = Some(extended);
        ExtSeq(extended)
    }

    /// The highest number seen.
    pub fn highest(&self) -> Option<ExtSeq> {
        self.highest.map(ExtSeq)
    }
}

/// Extends the timestamps of one stream, as [`SeqExtender`] does for sequence numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct TsExtender {
    highest: Option<u64>,
}

impl TsExtender {
    /// Nothing seen yet.
    pub const fn new() -> Self {
        Self { highest: None }
    }

    /// The extended timestamp nearest to the highest one seen; remembers it if it is higher.
    pub fn extend(&mut self, wire: u32) -> ExtTs {
        let extended = self.peek(wire);
        self.highest = Some(self.highest.map_or(extended.0, |h| h.max(extended.0)));
        extended
    }

    /// As [`Self::extend`], without remembering.
    pub const fn peek(&self, wire: u32) -> ExtTs {
        match self.highest {
            None => ExtTs(wire as u64 + (1 << 32)),
            Some(highest) => {
                let step = wire.wrapping_sub(highest as u32) as i32;
                ExtTs(place(highest, step as i64, 1 << 32))
            }
        }
    }

    /// Goes on with another numbering, above all that was seen: after a restart of the sender.
    pub fn jump(&mut self, wire: u32) -> ExtTs {
        let extended = match self.highest {
            None => self.peek(wire).0,
            Some(highest) => ((highest >> 32) + 2) << 32 | u64::from(wire),
        };
        self.highest = Some(extended);
        ExtTs(extended)
    }

    /// The highest timestamp seen.
    pub fn highest(&self) -> Option<ExtTs> {
        self.highest.map(ExtTs)
    }
}

/// `highest` moved by `step`; a step below zero of the whole number is taken one cycle up instead,
/// so that the low bits stay those of the wire.
const fn place(highest: u64, step: i64, cycle: u64) -> u64 {
    match highest.checked_add_signed(step) {
        Some(value) => value,
        None => highest.wrapping_add_signed(step).wrapping_add(cycle),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn first_number_leaves_room_below() {
        let mut extender = SeqExtender::new();
        assert_eq!(extender.extend(0).get(), 65_536);
        assert_eq!(extender.extend(65_535).get(), 65_535);
        assert_eq!(extender.extend(1).get(), 65_537);
    }

    #[test]
    fn jump_goes_above_all_that_was_seen() {
        let mut extender = SeqExtender::new();
        let old = extender.extend(65_535);
        let new = extender.jump(3);
        assert!(new.since(old) > 65_536);
        assert_eq!(extender.extend(4), new.next());
        let mut extender = TsExtender::new();
        let old = extender.extend(u32::MAX);
        assert!(extender.jump(0) > old);
    }

    proptest! {
        #[test]
        fn low_bits_are_those_of_the_wire(wires in proptest::collection::vec(any::<u16>(), 1..400)) {
            let mut extender = SeqExtender::new();
            for wire in wires {
                prop_assert_eq!(extender.extend(wire).wire(), wire);
            }
        }

        #[test]
        fn sequence_walk_is_followed(start in any::<u16>(), steps in proptest::collection::vec(-3000i64..3000, 1..400)) {
            let mut extender = SeqExtender::new();
            let mut truth = extender.extend(start).get();
            let mut highest = truth;
            for step in steps {
                // The walk stays within half a cycle of the highest number sent so far.
                truth = truth.saturating_add_signed(step).max(highest.saturating_sub(30_000));
                truth = truth.max(1);
                prop_assert_eq!(extender.extend(truth as u16).get(), truth);
                highest = highest.max(truth);
                prop_assert_eq!(extender.highest(), Some(ExtSeq::new(highest)));
            }
        }

        #[test]
        fn timestamp_walk_is_followed(start in any::<u32>(), steps in proptest::collection::vec(-900_000i64..90_000_000, 1..400)) {
            let mut extender = TsExtender::new();
            let mut truth = extender.extend(start).get();
            for step in steps {
                truth = truth.saturating_add_signed(step);
                let extended = extender.extend(truth as u32);
                prop_assert_eq!(extended.get(), truth);
                prop_assert_eq!(extended.wire(), truth as u32);
            }
        }

        #[test]
        fn distance_is_antisymmetric(a in 0u64..1 << 48, b in 0u64..1 << 48) {
            prop_assert_eq!(ExtSeq::new(a).since(ExtSeq::new(b)), -ExtSeq::new(b).since(ExtSeq::new(a)));
            prop_assert_eq!(ExtTs::new(b).offset(ExtTs::new(a).since(ExtTs::new(b))), ExtTs::new(a));
        }
    }
}
