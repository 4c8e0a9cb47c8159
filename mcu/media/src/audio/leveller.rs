//! Loudness levelled between sites: a slow gain for each leg, by how loud its speech is.
//!
//! The gain moves while there is speech and rests otherwise, so that silence and noise are never
//! raised. Sound whose level hardly varies but for where it begins and ends (tones, beeps, alarms) is
//! not speech and is left alone.

use super::activity::Activity;
use super::limiter::{Limiter, Wide};
use super::mixer::{TICK_SAMPLES, Tick};

/// Where speech shall be: the nominal level of telephony, by ITU-T P.56 and G.169.
const TARGET_DBOV: f32 = -26.0;
/// What is loud is turned down by no more, in dB.
const DOWN_MAX_DB: f32 = 12.0;
/// What is quiet is turned up by no more, in dB.
const UP_MAX_DB: f32 = 18.0;
/// The background is not raised beyond this.
const BACKGROUND_MAX_DBOV: f32 = -48.0;
/// Change in a tick of 20 ms, in dB: 5 dB in a second of speech.
const STEP_DB: f32 = 0.1;
/// Further than this from where it should be, the gain begins to move; it rests when it is there.
const START_DB: f32 = 2.0;
/// Speech over which loudness is taken, in ticks: 5 s.
const MEMORY_TICKS: f32 = 250.0;
/// Ticks of speech before anything is done: 0.5 s.
const FIRST_TICKS: f32 = 25.0;
/// Speech varies by that much from tick to tick, in dB (standard deviation).
const SPEECH_DEVIATION_DB: f32 = 2.0;

/// Ticks before and behind one that is looked at which have to be speech, too: what begins or ends
/// within a tick says nothing of how loud it is.
const AROUND: usize = 2;
const RUN: usize = 2 * AROUND + 1;

/// One leg's gain.
#[derive(Clone, Debug, Default)]
pub struct Leveller {
    /// Levels of the newest ticks in dBov, the newest first, and how many of them in a row are speech.
    recent: [f32; RUN],
    run: usize,
    /// Ticks of speech looked at, at most `MEMORY_TICKS`.
    ticks: f32,
    /// Mean of its power, of its level in dBov, and of the square of that.
    power: f32,
    level: f32,
    level_squared: f32,
    /// At the end of this tick, in dB.
    gain_db: f32,
    /// At the end of the last one.
    gain_before_db: f32,
    moving: bool,
    limiter: Limiter,
}

impl Leveller {
    /// Takes a tick of `dbov`, of which `activity` knows already.
    /// `cleaned_db` of its background are suppressed.
    pub fn update(&mut self, dbov: f32, activity: &Activity, cleaned_db: f32) {
        self.gain_before_db = self.gain_db;
        self.recent.rotate_right(1);
        self.recent[0] = dbov;
        self.run = match activity.is_speech() {
            true => (self.run + 1).min(RUN),
            false => 0,
        };
        if self.run < RUN {
            return;
        }
        let dbov = self.recent[AROUND];
        self.ticks = (self.ticks + 1.0).min(MEMORY_TICKS);
        let follow = |mean: &mut f32, value: f32| *mean += (value - *mean) / self.ticks;
        follow(&mut self.power, 10_f32.powf(dbov / 10.0));
        follow(&mut self.level, dbov);
        follow(&mut self.level_squared, dbov * dbov);
        let variance = self.level_squared - self.level * self.level;
        if self.ticks < FIRST_TICKS || variance < SPEECH_DEVIATION_DB * SPEECH_DEVIATION_DB {
            return;
        }
        let floor = activity.floor_dbov().unwrap_or(f32::NEG_INFINITY);
        self.approach(self.wanted_db(floor - cleaned_db));
    }

    /// The gain now, in dB.
    pub fn gain_db(&self) -> f32 {
        self.gain_db
    }

    /// Whether nothing would be changed.
    pub fn is_idle(&self) -> bool {
        self.gain_db == 0.0 && self.gain_before_db == 0.0
    }

    /// Forgets what it knows: the sound is another.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Applies the gain, from that of the last tick to that of this one.
    pub fn apply(&mut self, pcm: &mut Tick) {
        if self.is_idle() {
            return;
        }
        let [from, to] = [self.gain_before_db, self.gain_db].map(|db| 10_f32.powf(db / 20.0));
        let step = (to - from) / TICK_SAMPLES as f32;
        let wide: Wide = std::array::from_fn(|n| {
            let scaled = f32::from(pcm[n]) * (from + step * n as f32);
            (scaled + 0.5_f32.copysign(scaled)) as i32
        });
        self.limiter.process(&wide, pcm);
    }

    fn wanted_db(&self, floor: f32) -> f32 {
        let loudness = 10.0 * self.power.log10();
        let up_max = (BACKGROUND_MAX_DBOV - floor).clamp(0.0, UP_MAX_DB);
        (TARGET_DBOV - loudness).clamp(-DOWN_MAX_DB, up_max)
    }

    fn approach(&mut self, wanted_db: f32) {
        let missing = wanted_db - self.gain_db;
        self.moving = missing.abs() > if self.moving { STEP_DB } else { START_DB };
        if self.moving {
            self.gain_db += missing.clamp(-STEP_DB, STEP_DB);
        }
    }
}
