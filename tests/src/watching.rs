//! Whether pictures move at a leg: the markers of the sources that it should see, looked at again and
//! again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use benches::load::LoadLeg;

use crate::browser::Browser;

/// From one look at a load leg to the next. A browser reports at its own pace, twice a second.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// The counter of each marker that is seen.
type Counters = BTreeMap<u8, u16>;

/// Looks anew unless it would be the look of the number given: its number, and what was seen.
type Look<'a> = Box<dyn Fn(Option<u64>) -> Option<(u64, Counters)> + 'a>;

/// Follows the markers at one leg.
pub struct Observer<'a> {
    name: String,
    expected: Vec<u8>,
    look: Look<'a>,
    last: Option<(u64, Counters)>,
    /// When a marker was last found standing still.
    settled_at: Duration,
    /// Looks since then.
    steady: u32,
    standing: Vec<u8>,
}

impl std::fmt::Debug for Observer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: steady for {} looks, before that {:?} stood; seen {:?}",
            self.name, self.steady, self.standing, self.last
        )
    }
}

impl<'a> Observer<'a> {
    /// A browser shows everybody but itself.
    pub fn of_browser(own: u8, browser: &'a Browser, sites: &[u8]) -> Self {
        let expected = sites.iter().copied().filter(|id| *id != own).collect();
        let first = browser.report().0;
        Self::new(format!("browser {own}"), expected, move |_| {
            // The report that was under way may tell of before.
            let (number, report) = browser.report();
            let seen = report.markers.values().map(|m| (m.id, m.counter));
            (number > first + 1).then(|| (number, seen.collect()))
        })
    }

    /// The composed picture shows everybody.
    pub fn of_leg(name: &str, leg: &'a LoadLeg, sites: &[u8]) -> Self {
        let start = Instant::now();
        Self::new(name.into(), sites.to_vec(), move |last| {
            let number = (start.elapsed().as_millis() / LOOK_INTERVAL.as_millis()) as u64;
            if last == Some(number) {
                return None;
            }
            let tiles = leg.report().ok()?.tiles;
            Some((number, tiles.iter().map(|t| (t.id, t.counter)).collect()))
        })
    }

    /// Who looks.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Looks in a row at which everything moved.
    pub fn steady(&self) -> u32 {
        self.steady
    }

    /// When a marker was last found standing still, from the start.
    pub fn settled_at(&self) -> Duration {
        self.settled_at
    }

    /// Sources whose markers stood still or were missing at the last look that found any.
    pub fn standing(&self) -> &[u8] {
        &self.standing
    }

    fn new(
        name: String,
        expected: Vec<u8>,
        look: impl Fn(Option<u64>) -> Option<(u64, Counters)> + 'a,
    ) -> Self {
        Self {
            name,
            expected,
            look: Box::new(look),
            last: None,
            settled_at: Duration::ZERO,
            steady: 0,
            standing: Vec::new(),
        }
    }

    /// Looks once more; `start` is when what is waited for began.
    pub fn look(&mut self, start: Instant) {
        let Some((number, seen)) = (self.look)(self.last.as_ref().map(|(n, _)| *n)) else {
            return;
        };
        let Some((_, last)) = self.last.as_ref().filter(|(n, _)| *n != number) else {
            self.last.get_or_insert((number, seen));
            return;
        };
        let moved = |id: &u8| seen.get(id).is_some_and(|now| last.get(id) != Some(now));
        let standing: Vec<u8> = self
            .expected
            .iter()
            .copied()
            .filter(|id| !moved(id))
            .collect();
        if standing.is_empty() {
            self.steady += 1;
        } else {
            self.standing = standing;
            self.steady = 0;
            self.settled_at = start.elapsed();
        }
        self.last = Some((number, seen));
    }
}
