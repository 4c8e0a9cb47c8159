//! RTP ports of terminals' legs, given out from the range that the media processor announced.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rand::{Rng, RngCore};

/// How long a released pair rests: packets of the last call may still be on their way, and a peer
/// that missed the BYE may go on sending to it.
pub const REST: Duration = Duration::from_secs(30);

/// Pairs of an even RTP port and the odd RTCP port above it (RFC 3550 §11). A pair is named by its
/// RTP port. The pool never holds more entries than the range has pairs, adopted ones excepted.
#[derive(Debug, Default)]
pub struct PortPool {
    /// In order.
    pairs: Vec<u16>,
    /// Index into `pairs` from which the next free one is looked for: ports go round, so that the
    /// one released last is taken last.
    next: usize,
    used: BTreeSet<u16>,
    /// Until when a pair rests.
    resting: BTreeMap<u16, Instant>,
    /// The same, the first to wake first.
    waking: BTreeSet<(Instant, u16)>,
}

impl PortPool {
    /// Takes over the range `low` to `high`, both included, without `except` (the port that the
    /// browsers share). What is in use or at rest stays so. The search begins anywhere: otherwise
    /// every life of the controller would give out the same pairs first.
    pub fn set_range(&mut self, low: u16, high: u16, except: u16, rng: &mut impl RngCore) {
        let pairs: Vec<u16> = (low..high)
            .filter(|port| port % 2 == 0 && *port != except && *port + 1 != except)
            .collect();
        if pairs != self.pairs {
            self.next = rng.random_range(0..pairs.len().max(1));
            self.pairs = pairs;
        }
    }

    /// A free pair; `None` when all are in use or at rest.
    pub fn allocate(&mut self, now: Instant) -> Option<u16> {
        self.wake(now);
        let count = self.pairs.len();
        for step in 0..count {
            let index = (self.next + step) % count;
            let port = *self.pairs.get(index)?;
            if !self.used.contains(&port) && !self.resting.contains_key(&port) {
                self.next = index + 1;
                self.used.insert(port);
                return Some(port);
            }
        }
        None
    }

    /// Marks a pair as in use that was given out by an earlier life of this controller.
    pub fn reserve(&mut self, port: u16) {
        self.used.insert(port & !1);
        if let Some(end) = self.resting.remove(&(port & !1)) {
            self.waking.remove(&(end, port & !1));
        }
    }

    /// Gives a pair back. It rests before it is given out again.
    pub fn release(&mut self, now: Instant, port: u16) {
        self.used.remove(&port);
        self.rest(now, port);
    }

    /// Gives a pair back that no peer was told of: it needs no rest.
    pub fn unallocate(&mut self, port: u16) {
        self.used.remove(&port);
    }

    /// Keeps a pair back for a while that somebody else was seen to use.
    pub fn rest(&mut self, now: Instant, port: u16) {
        self.rest_until(now + REST, port);
    }

    /// Goes on with the rest of pairs that an earlier life of this controller gave out, unless
    /// no pair would be left: a late packet does less harm than a call that is refused.
    pub fn rest_earlier(&mut self, pairs: impl IntoIterator<Item = (u16, Instant)>) {
        for (port, end) in pairs {
            self.rest_until(end, port);
        }
        if self
            .pairs
            .iter()
            .all(|port| self.resting.contains_key(port))
        {
            self.resting.clear();
            self.waking.clear();
        }
    }

    /// Pairs at rest and until when; the rest of some may have passed.
    pub fn resting(&self) -> impl Iterator<Item = (u16, Instant)> + '_ {
        self.resting.iter().map(|(port, end)| (*port, *end))
    }

    /// Pairs that there are.
    pub fn count(&self) -> usize {
        self.pairs.len()
    }

    /// Pairs in use.
    pub fn used(&self) -> usize {
        self.used.len()
    }

    fn rest_until(&mut self, end: Instant, port: u16) {
        let port = port & !1;
        if self.pairs.binary_search(&port).is_err() {
            return;
        }
        if let Some(earlier) = self.resting.insert(port, end) {
            self.waking.remove(&(earlier, port));
        }
        self.waking.insert((end, port));
    }

    fn wake(&mut self, now: Instant) {
        while let Some((end, port)) = self.waking.first().copied().filter(|(end, _)| *end <= now) {
            self.waking.remove(&(end, port));
            self.resting.remove(&port);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn pool(low: u16, high: u16) -> PortPool {
        seeded(low, high, 0, 1)
    }

    fn seeded(low: u16, high: u16, except: u16, seed: u64) -> PortPool {
        let mut pool = PortPool::default();
        pool.set_range(low, high, except, &mut StdRng::seed_from_u64(seed));
        pool
    }

    #[test]
    fn pairs_start_even_and_stay_inside_the_range() {
        let now = Instant::now();
        let mut pool = pool(20_001, 20_006);
        let mut all: Vec<_> = std::iter::from_fn(|| pool.allocate(now)).collect();
        all.sort_unstable();
        assert_eq!(all, [20_002, 20_004]);
    }

    #[test]
    fn a_released_pair_rests_for_thirty_seconds() {
        let now = Instant::now();
        let mut pool = pool(20_000, 20_001);
        assert_eq!(pool.allocate(now), Some(20_000));
        pool.release(now, 20_000);
        assert_eq!(pool.used(), 0);
        assert_eq!(pool.allocate(now + REST - Duration::from_millis(1)), None);
        assert_eq!(pool.allocate(now + REST), Some(20_000));
    }

    #[test]
    fn pairs_go_round_before_one_is_used_again() {
        let now = Instant::now();
        let mut pool = pool(20_000, 20_005);
        let mut seen = BTreeSet::new();
        for round in 0..3 {
            let later = now + REST * 2 * round;
            let port = pool.allocate(later).unwrap();
            assert!(seen.insert(port), "{port} again");
            pool.release(later, port);
        }
    }

    #[test]
    fn the_first_pair_of_a_life_is_any_and_the_same_range_again_changes_nothing() {
        let now = Instant::now();
        let first = |seed| seeded(20_000, 20_999, 0, seed).allocate(now).unwrap();
        let firsts: BTreeSet<u16> = (0..20).map(first).collect();
        assert!(firsts.len() > 15, "{firsts:?}");
        let mut pool = pool(20_000, 20_005);
        let before = pool.allocate(now).unwrap();
        pool.release(now, before);
        pool.set_range(20_000, 20_005, 0, &mut StdRng::seed_from_u64(2));
        let later = now + REST;
        let others = [pool.allocate(later), pool.allocate(later)];
        assert!(!others.contains(&Some(before)));
    }

    #[test]
    fn the_rest_of_an_earlier_life_goes_on_unless_nothing_would_be_left() {
        let now = Instant::now();
        let mut pool = pool(20_000, 20_003);
        pool.rest_earlier([(20_000, now + REST / 2)]);
        assert_eq!(pool.allocate(now), Some(20_002));
        assert_eq!(pool.allocate(now), None);
        assert_eq!(pool.allocate(now + REST / 2), Some(20_000));
        let mut pool = seeded(20_000, 20_003, 0, 1);
        pool.rest_earlier([(20_000, now + REST), (20_002, now + REST)]);
        assert!(pool.allocate(now).is_some());
    }

    #[test]
    fn reserved_pairs_and_the_shared_port_are_never_given_out() {
        let now = Instant::now();
        let mut pool = seeded(20_000, 20_005, 20_003, 1);
        pool.reserve(20_000);
        assert_eq!(pool.allocate(now), Some(20_004));
        assert_eq!(pool.allocate(now), None);
    }
}
