//! Which screens show which source, so that a packet finds them without a look at all there are.

use std::collections::HashMap;

use mcu_rtp::forward::SourceKey;

/// One screen of one leg, by their places in the room and at the leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watcher {
    /// Place of the leg.
    pub leg: usize,
    /// Place of the screen.
    pub screen: usize,
}

/// Screens by the source that they show or wait for.
#[derive(Debug, Default)]
pub struct Watchers(HashMap<SourceKey, Vec<Watcher>>);

impl Watchers {
    /// These from now on.
    pub fn set(&mut self, all: impl Iterator<Item = (SourceKey, Watcher)>) {
        self.0.retain(|_, watchers| !watchers.is_empty());
        self.0.values_mut().for_each(Vec::clear);
        for (source, watcher) in all {
            self.0.entry(source).or_default().push(watcher);
        }
    }

    /// Of this source.
    pub fn of(&self, source: SourceKey) -> &[Watcher] {
        self.0.get(&source).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_watches_any_more_is_forgotten() {
        let mut watchers = Watchers::default();
        let [one, two] = [1, 2].map(|leg| Watcher { leg, screen: 0 });
        watchers.set(
            [
                (SourceKey(7), one),
                (SourceKey(7), two),
                (SourceKey(8), one),
            ]
            .into_iter(),
        );
        assert_eq!(watchers.of(SourceKey(7)), [one, two]);
        for _ in 0..2 {
            watchers.set([(SourceKey(8), two)].into_iter());
            assert_eq!(watchers.of(SourceKey(7)), []);
            assert_eq!(watchers.of(SourceKey(8)), [two]);
        }
        assert_eq!(watchers.0.len(), 1);
    }
}
