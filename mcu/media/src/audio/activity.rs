//! Speech or background: what a leg's levels tell without a look at its spectrum.
//!
//! Background is what is there in every pause. Its level is the least that was heard within some
//! three seconds, in which any speaker draws breath. What stands out of it is activity.

use super::speaker::SILENCE_DBOV;

/// Steady sound that is louder is no background: somebody plays it to the room.
pub const BACKGROUND_MAX_DBOV: f32 = -40.0;
/// Speech is that much louder than the background at least, in dB.
const SPEECH_OVER_DB: f32 = 9.0;
/// Background is no more than this above its floor, in dB: 20 ms of noise vary by some 2 dB.
const BACKGROUND_OVER_DB: f32 = 6.0;
/// What is quieter is speech of nobody.
const SPEECH_MIN_DBOV: f32 = -60.0;
/// Ticks of 20 ms of which one minimum is kept.
const BLOCK_TICKS: u32 = 30;
/// Minima kept: 3 s with the block that is not full yet.
const BLOCKS: usize = 5;
/// Ticks after which the floor is believed.
const KNOWN_AFTER_TICKS: u32 = 75;

/// One leg's levels over time.
#[derive(Clone, Debug)]
pub struct Activity {
    minima: [f32; BLOCKS],
    block: f32,
    /// Since the first tick, at most `KNOWN_AFTER_TICKS`.
    ticks: u32,
    in_block: u32,
    /// Of the newest tick.
    level: f32,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            minima: [f32::INFINITY; BLOCKS],
            block: f32::INFINITY,
            ticks: 0,
            in_block: 0,
            level: SILENCE_DBOV,
        }
    }
}

impl Activity {
    /// Takes the level of a tick in which the leg was heard, in dBov.
    pub fn update(&mut self, dbov: f32) {
        self.level = dbov;
        self.block = self.block.min(dbov);
        self.ticks = (self.ticks + 1).min(KNOWN_AFTER_TICKS);
        self.in_block += 1;
        if self.in_block == BLOCK_TICKS {
            self.minima.rotate_right(1);
            self.minima[0] = self.block;
            (self.block, self.in_block) = (f32::INFINITY, 0);
        }
    }

    /// Level of the background in dBov, once it is known.
    pub fn floor_dbov(&self) -> Option<f32> {
        let least = self.minima.iter().copied().fold(self.block, f32::min);
        (self.ticks == KNOWN_AFTER_TICKS).then_some(least)
    }

    /// The background, where there is one: steady, but not so loud that it is meant to be heard.
    pub fn background_dbov(&self) -> Option<f32> {
        self.floor_dbov()
            .filter(|floor| *floor <= BACKGROUND_MAX_DBOV)
    }

    /// Whether the newest tick stands out of the background as speech does. Nothing is taken for
    /// speech before the background is known.
    pub fn is_speech(&self) -> bool {
        self.level >= SPEECH_MIN_DBOV
            && self
                .floor_dbov()
                .is_some_and(|floor| self.level >= floor + SPEECH_OVER_DB)
    }

    /// Whether the newest tick is nothing but background.
    pub fn is_background(&self) -> bool {
        self.background_dbov()
            .is_some_and(|floor| self.level < floor + BACKGROUND_OVER_DB)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(levels: impl IntoIterator<Item = f32>) -> Activity {
        let mut activity = Activity::default();
        levels.into_iter().for_each(|level| activity.update(level));
        activity
    }

    #[test]
    fn steady_noise_is_background_and_what_stands_out_of_it_is_speech() {
        let noise = (0..200).map(|n| -55.0 + (n % 3) as f32);
        let mut activity = after(noise);
        assert!(activity.is_background() && !activity.is_speech());
        activity.update(-40.0);
        assert!(activity.is_speech() && !activity.is_background());
        assert_eq!(activity.background_dbov(), Some(-55.0));
    }

    #[test]
    fn a_steady_tone_is_neither_speech_nor_background() {
        let activity = after([-20.0; 400]);
        assert!(!activity.is_background() && !activity.is_speech());
    }

    #[test]
    fn the_background_is_known_after_a_while_and_followed_when_it_rises() {
        assert_eq!(after([-60.0; 40]).floor_dbov(), None);
        let risen = after([-60.0; 100].into_iter().chain([-45.0; 200]));
        assert_eq!(risen.background_dbov(), Some(-45.0));
    }
}
