//! What gives way when pictures are more work than the machine can do.
//!
//! Jobs wait for a thread only where there is more to do than threads can do. When they wait for long,
//! fewer pictures a second are composed and encoded, in all rooms alike, and at [`FEWEST_PICTURES`] of them of
//! fewer and fewer small cells more than key frames are decoded, until they do not. Sound and what is
//! forwarded are not touched. The size of pictures, and who is let in, are the controller's.

use std::time::{Duration, Instant};

use mcu_api::figures::FEWEST_PICTURES;

/// How often it is looked whether the number is right.
const LOOK: Duration = Duration::from_millis(500);
/// A mean wait that is longer is too long: with it a picture comes half a frame late.
const LONG: Duration = Duration::from_millis(15);
/// With one that is shorter there is room for more.
const SHORT: Duration = Duration::from_millis(6);
/// Looks in a row that must find the same: a burst is no overload, and a pause no end of it.
const LOOKS_DOWN: u32 = 2;
const LOOKS_UP: u32 = 4;
/// What is left of the number at each step down.
const STEP_DOWN: f32 = 0.8;
/// What is added at each step up, in pictures a second.
const STEP_UP: f32 = 1.0;
/// Most pictures a second.
const MOST: f32 = 60.0;
/// What is asked for most: from there on a first step down is felt.
const USUAL: f32 = 30.0;
/// Fewest.
const FEWEST: f32 = FEWEST_PICTURES as f32;
/// Least share of cells of which all is decoded.
const LEAST_DECODED: f32 = 0.1;
/// What is added to it at each step up.
const DECODED_STEP_UP: f32 = 0.05;

/// How long jobs waited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// Jobs that were taken.
    pub jobs: u32,
    /// How long they waited, all together.
    pub total: Duration,
}

impl Waits {
    /// Of one job.
    pub fn mean(&self) -> Duration {
        self.total.checked_div(self.jobs).unwrap_or_default()
    }
}

/// How many pictures a second there may be, and how many cells are decoded.
#[derive(Debug)]
pub struct Pressure {
    most: f32,
    decoded: f32,
    looked: Option<Instant>,
    /// Looks in a row that found waits too long, and short.
    long: u32,
    short: u32,
    mean: Duration,
}

impl Default for Pressure {
    fn default() -> Self {
        Self {
            most: MOST,
            decoded: 1.0,
            looked: None,
            long: 0,
            short: 0,
            mean: Duration::ZERO,
        }
    }
}

impl Pressure {
    /// Looks, where it is time to, at how long jobs have waited since the last look.
    pub fn look(&mut self, now: Instant, waits: impl FnOnce() -> Waits) {
        let passed = self.looked.map(|at| now.saturating_duration_since(at));
        if passed.is_some_and(|passed| passed < LOOK) {
            return;
        }
        self.looked = Some(now);
        self.mean = waits().mean();
        self.long = if self.mean > LONG { self.long + 1 } else { 0 };
        self.short = if self.mean < SHORT { self.short + 1 } else { 0 };
        if self.long >= LOOKS_DOWN {
            self.long = 0;
            self.give_way();
        }
        if self.short >= LOOKS_UP {
            self.short = 0;
            self.take_back();
        }
    }

    fn give_way(&mut self) {
        match self.most > FEWEST {
            true => self.most = (self.most.min(USUAL) * STEP_DOWN).max(FEWEST),
            false => self.decoded = (self.decoded * STEP_DOWN).max(LEAST_DECODED),
        }
    }

    fn take_back(&mut self) {
        if self.decoded < 1.0 {
            self.decoded = (self.decoded + DECODED_STEP_UP).min(1.0);
        } else if self.most < MOST {
            // Beyond the usual there is nothing to be tried in small steps.
            self.most = match self.most + STEP_UP {
                more if more < USUAL => more,
                _ => MOST,
            };
        }
    }

    /// Most pictures a second that are composed and encoded.
    pub fn max_frame_rate(&self) -> u32 {
        self.most as u32
    }

    /// Share of the cells of which all is decoded, from 0 to 1.
    pub fn decoded(&self) -> f32 {
        self.decoded
    }

    /// How long a job waited in the mean, at the last look.
    pub fn mean_wait(&self) -> Duration {
        self.mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number after so many seconds in which jobs wait as a machine has them wait that does
    /// `capacity` pictures a second.
    fn after(pressure: &mut Pressure, from: Instant, seconds: u32, capacity: f32) -> Vec<u32> {
        let looks = (0..seconds * 2).map(|n| {
            let load = pressure.max_frame_rate().min(30) as f32 / capacity;
            let ms = if load > 1.0 { 100 } else { (load * 8.0) as u64 };
            let waits = Waits {
                jobs: 100,
                total: Duration::from_millis(ms) * 100,
            };
            pressure.look(from + LOOK * n, || waits);
            pressure.max_frame_rate()
        });
        looks.collect()
    }

    #[test]
    fn pictures_give_way_to_what_the_machine_can_do_and_come_back() {
        let start = Instant::now();
        let mut pressure = Pressure::default();
        assert!(
            after(&mut pressure, start, 10, 60.0)
                .iter()
                .all(|r| *r == 60)
        );
        // It can do half of what is wanted.
        let start = start + Duration::from_secs(100);
        let rates = after(&mut pressure, start, 60, 15.0);
        assert!(
            rates[10..].iter().all(|r| (11..=16).contains(r)),
            "{rates:?}"
        );
        // It can do next to nothing: never below the fewest.
        let start = start + Duration::from_secs(100);
        let rates = after(&mut pressure, start, 60, 1.0);
        assert_eq!(rates.last(), Some(&(FEWEST as u32)));
        assert!((pressure.decoded() - LEAST_DECODED).abs() < f32::EPSILON);
        let start = start + Duration::from_secs(100);
        let rates = after(&mut pressure, start, 120, 90.0);
        assert_eq!(rates.last(), Some(&60), "{rates:?}");
        assert!((pressure.decoded() - 1.0).abs() < f32::EPSILON);
    }

    #[test]
    fn a_burst_is_no_overload() {
        let start = Instant::now();
        let mut pressure = Pressure::default();
        for n in 0..60 {
            let ms = if n % 2 == 0 { 200 } else { 0 };
            let waits = Waits {
                jobs: 1,
                total: Duration::from_millis(ms),
            };
            pressure.look(start + LOOK * n, || waits);
            assert_eq!(pressure.max_frame_rate(), 60);
        }
        assert_eq!(Waits::default().mean(), Duration::ZERO);
    }
}
