//! What gives way when pictures are more work than the machine can do.
//!
//! Threads that are always busy while work waits for them have more to do than they can. Then fewer
//! pictures a second are composed and encoded, in all rooms alike, and at [`FEWEST_PICTURES`] of them of
//! fewer and fewer small cells more than key frames are decoded, until they are not. Sound and what is
//! forwarded are not touched. The size of pictures, and who is let in, are the controller's.

use std::time::{Duration, Instant};

use mcu_api::figures::FEWEST_PICTURES;

/// How often it is looked whether the number is right.
const LOOK: Duration = Duration::from_millis(500);
/// A mean wait that is longer is too long: with it a picture comes half a frame late. Rooms compose at the
/// same ticks, so that work waits for its turn where there is little of it, too: threads have to be busy
/// besides.
const LONG: Duration = Duration::from_millis(15);
/// With one that is shorter there is room for more, and where threads have this much time left.
const SHORT: Duration = Duration::from_millis(6);
const BUSY: f32 = 0.85;
const EASY: f32 = 0.7;
/// Looks in a row that must find the same: a burst is no overload, and a pause no end of it. More and more
/// of them, the more often a step up did not last.
const LOOKS_DOWN: u32 = 4;
const LOOKS_UP: u32 = 4;
const LOOKS_UP_MAX: u32 = 128;
/// A step up that lasts longer was right.
const LASTS: u32 = 20;
/// What is left of the number at each step down.
const STEP_DOWN: f32 = 0.8;
/// What is added at each step up, in pictures a second.
const STEP_UP: f32 = 1.0;
/// Most pictures a second.
const MOST: f32 = 60.0;
/// Fewest.
const FEWEST: f32 = FEWEST_PICTURES as f32;
/// Least share of cells of which all is decoded.
const LEAST_DECODED: f32 = 0.1;
/// What is added to it at each step up.
const DECODED_STEP_UP: f32 = 0.05;

/// What threads did in some time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Jobs that were taken.
    pub jobs: u32,
    /// How long they waited, all together.
    pub waited: Duration,
    /// Share of the time in which threads had a job, from 0 to 1.
    pub busy: f32,
}

impl Work {
    /// How long a job waited.
    pub fn mean_wait(&self) -> Duration {
        self.waited.checked_div(self.jobs).unwrap_or_default()
    }
}

/// How many pictures a second there may be, and how many cells are decoded.
#[derive(Debug)]
pub struct Pressure {
    most: f32,
    decoded: f32,
    looked: Option<Instant>,
    /// Looks in a row that found too much work, and room for more.
    hard: u32,
    easy: u32,
    /// As many of those as there must be.
    looks_up: u32,
    /// Looks since the last step up.
    since_up: u32,
    mean_wait: Duration,
}

impl Default for Pressure {
    fn default() -> Self {
        Self {
            most: MOST,
            decoded: 1.0,
            looked: None,
            hard: 0,
            easy: 0,
            looks_up: LOOKS_UP,
            since_up: LASTS,
            mean_wait: Duration::ZERO,
        }
    }
}

impl Pressure {
    /// Looks, where it is time to, at what threads did since the last look. `wanted` is how many pictures a
    /// second the fastest room has.
    pub fn look(&mut self, now: Instant, wanted: u32, work: impl FnOnce(Duration) -> Work) {
        let Some(looked) = self.looked else {
            self.looked = Some(now);
            return;
        };
        let passed = now.saturating_duration_since(looked);
        if passed < LOOK {
            return;
        }
        self.looked = Some(now);
        let work = work(passed);
        self.mean_wait = work.mean_wait();
        let is_hard = self.mean_wait > LONG && work.busy > BUSY;
        let is_easy = self.mean_wait < SHORT || work.busy < EASY;
        self.hard = if is_hard { self.hard + 1 } else { 0 };
        self.easy = if is_easy { self.easy + 1 } else { 0 };
        self.since_up = self.since_up.saturating_add(1);
        if self.hard >= LOOKS_DOWN {
            self.hard = 0;
            let lasted = self.since_up > LASTS;
            self.looks_up = match lasted {
                true => LOOKS_UP,
                false => (self.looks_up * 2).min(LOOKS_UP_MAX),
            };
            self.give_way(wanted as f32);
        }
        let is_whole = self.decoded >= 1.0 && self.most >= MOST;
        if self.easy >= self.looks_up && !is_whole {
            (self.easy, self.since_up) = (0, 0);
            self.take_back(wanted as f32);
        }
    }

    fn give_way(&mut self, wanted: f32) {
        match self.most > FEWEST {
            true => self.most = (self.most.min(wanted) * STEP_DOWN).max(FEWEST),
            false => self.decoded = (self.decoded * STEP_DOWN).max(LEAST_DECODED),
        }
    }

    fn take_back(&mut self, wanted: f32) {
        if self.decoded < 1.0 {
            self.decoded = (self.decoded + DECODED_STEP_UP).min(1.0);
        } else {
            self.most = match self.most + STEP_UP {
                more if more < wanted => more,
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
        self.mean_wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine that does so many pictures a second, and rooms that want more or fewer of them at the same
    /// ticks, so that jobs wait for each other however few they are.
    struct Machine {
        pressure: Pressure,
        now: Instant,
    }

    impl Machine {
        fn new() -> Self {
            Self {
                pressure: Pressure::default(),
                now: Instant::now(),
            }
        }

        /// The numbers of so many seconds.
        fn run(&mut self, seconds: u32, wanted: u32, capacity: f32) -> Vec<u32> {
            let looks = (0..seconds * 2).map(|_| {
                self.now += LOOK;
                let load = self.pressure.max_frame_rate().min(wanted) as f32 / capacity;
                let ms = if load > 1.0 { 100 } else { 20 };
                self.pressure.look(self.now, wanted, |_| Work {
                    jobs: 100,
                    waited: Duration::from_millis(ms) * 100,
                    busy: load.min(1.0),
                });
                self.pressure.max_frame_rate()
            });
            looks.collect()
        }
    }

    #[test]
    fn pictures_give_way_to_what_the_machine_can_do_and_come_back() {
        let mut machine = Machine::new();
        assert!(machine.run(60, 30, 40.0).iter().all(|rate| *rate == 60));
        // It can do half of what is wanted.
        let rates = machine.run(60, 30, 16.0);
        assert!(
            rates[20..].iter().all(|r| (12..=16).contains(r)),
            "{rates:?}"
        );
        // It can do next to nothing: never below the fewest.
        let rates = machine.run(60, 30, 1.0);
        assert_eq!(rates.last(), Some(&FEWEST_PICTURES));
        assert!((machine.pressure.decoded() - LEAST_DECODED).abs() < f32::EPSILON);
        let rates = machine.run(600, 30, 90.0);
        assert_eq!(rates.last(), Some(&60), "{rates:?}");
        assert!((machine.pressure.decoded() - 1.0).abs() < f32::EPSILON);
    }

    /// A room of 60 a second on a machine that does 40 does not go up and down every few seconds.
    #[test]
    fn what_did_not_last_is_tried_less_and_less_often() {
        let mut machine = Machine::new();
        machine.run(120, 60, 40.0);
        let rates = machine.run(300, 60, 40.0);
        let changes = rates.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(changes <= 30, "{changes}: {rates:?}");
        assert!(
            rates.iter().all(|rate| (24..=48).contains(rate)),
            "{rates:?}"
        );
    }

    #[test]
    fn a_burst_is_no_overload() {
        let mut machine = Machine::new();
        for n in 0..60_u32 {
            machine.run(1, 30, if n % 2 == 0 { 10.0 } else { 90.0 });
            assert_eq!(machine.pressure.max_frame_rate(), 60);
        }
        assert_eq!(Work::default().mean_wait(), Duration::ZERO);
    }
}
