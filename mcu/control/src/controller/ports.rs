//! RTP ports of terminals' legs, given out from the range that the media processor announced.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// How long a released pair rests: packets of the last call may still be on their way, and a peer
/// that missed the BYE may go on sending to it.
pub const REST: Duration = Duration::from_secs(30);

/// Pairs of an even RTP port and the odd RTCP port above it (RFC 3550 §11). A pair is named by its
/// RTP port. The pool never holds more entries than the range has pairs, adopted ones excepted.
#[derive(Debug, Default)]
pub struct PortPool {
    pairs: Vec<u16>,
    /// Index into `pairs` from which the next free one is looked for: ports go round, so that the
    /// one released last is taken last.
    next: usize,
    used: BTreeSet<u16>,
    resting: VecDeque<(Instant, u16)>,
}

impl PortPool {
    /// Takes over the range `low` to `high`, both included, without `except` (the port that the
    /// browsers share). What is in use or at rest stays so.
    pub fn set_range(&mut self, low: u16, high: u16, except: u16) {
        self.pairs = (low..high)
            .filter(|port| port % 2 == 0 && *port != except && *port + 1 != except)
            .collect();
        self.next = 0;
    }

    /// A free pair; `None` when all are in use or at rest.
    pub fn allocate(&mut self, now: Instant) -> Option<u16> {
        self.wake(now);
        let count = self.pairs.len();
        for step in 0..count {
            let index = (self.next + step) % count;
            let port = *self.pairs.get(index)?;
            if !self.used.contains(&port) && !self.rests(port) {
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
        let port = port & !1;
        if self.pairs.contains(&port) && !self.rests(port) {
            self.resting.push_back((now + REST, port));
        }
    }

    /// Pairs in use.
    pub fn used(&self) -> usize {
        self.used.len()
    }

    fn rests(&self, port: u16) -> bool {
        self.resting.iter().any(|(_, resting)| *resting == port)
    }

    fn wake(&mut self, now: Instant) {
        while self.resting.front().is_some_and(|(end, _)| *end <= now) {
            self.resting.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(low: u16, high: u16) -> PortPool {
        let mut pool = PortPool::default();
        pool.set_range(low, high, 0);
        pool
    }

    #[test]
    fn pairs_start_even_and_stay_inside_the_range() {
        let now = Instant::now();
        let mut pool = pool(20_001, 20_006);
        let all: Vec<_> = std::iter::from_fn(|| pool.allocate(now)).collect();
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
        let first = pool.allocate(now).unwrap();
        pool.release(now, first);
        let later = now + REST * 2;
        assert_eq!(pool.allocate(later), Some(20_002));
    }

    #[test]
    fn reserved_pairs_and_the_shared_port_are_never_given_out() {
        let now = Instant::now();
        let mut pool = PortPool::default();
        pool.set_range(20_000, 20_005, 20_003);
        pool.reserve(20_000);
        assert_eq!(pool.allocate(now), Some(20_004));
        assert_eq!(pool.allocate(now), None);
    }
}
