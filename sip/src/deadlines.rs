//! Deadlines by key: at most one for each, the earliest first.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Instant;

/// A bounded timer queue: it never holds more entries than keys, and keys are bounded by their owner.
#[derive(Debug)]
pub(crate) struct Deadlines<K> {
    queue: BTreeSet<(Instant, K)>,
    at: HashMap<K, Instant>,
}

impl<K: Copy + Ord + Hash> Deadlines<K> {
    pub fn new() -> Self {
        Self {
            queue: BTreeSet::new(),
            at: HashMap::new(),
        }
    }

    /// Sets, moves or clears the deadline of a key.
    pub fn set(&mut self, key: K, at: Option<Instant>) {
        let old = match at {
            Some(at) => self.at.insert(key, at),
            None => self.at.remove(&key),
        };
        if let Some(old) = old {
            self.queue.remove(&(old, key));
        }
        if let Some(at) = at {
            self.queue.insert((at, key));
        }
    }

    /// Takes the earliest key that is due.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        let &(at, key) = self.queue.first()?;
        if at > now {
            return None;
        }
        self.set(key, None);
        Some(key)
    }

    pub fn next(&self) -> Option<Instant> {
        self.queue.first().map(|&(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_key_has_one_deadline_and_the_earliest_comes_first() {
        let start = Instant::now();
        let after = |s| Some(start + Duration::from_secs(s));
        let mut deadlines = Deadlines::new();
        deadlines.set(1u64, after(5));
        deadlines.set(2, after(3));
        deadlines.set(1, after(1));
        assert_eq!(deadlines.next(), after(1));
        assert_eq!(deadlines.pop_due(start), None);
        let late = start + Duration::from_secs(9);
        assert_eq!(deadlines.pop_due(late), Some(1));
        deadlines.set(2, None);
        assert_eq!(deadlines.pop_due(late), None);
        assert_eq!(deadlines.next(), None);
    }
}
