//! What is done to one leg's sound on its way into the mix, as far as its plan wants it.

use mcu_api::plan::Care;

use super::activity::Activity;
use super::leveller::Leveller;
use super::mixer::Tick;

/// One leg's sound, as it is known from tick to tick.
#[derive(Default)]
pub struct Voice {
    care: Care,
    activity: Activity,
    leveller: Leveller,
}

impl Voice {
    /// Takes the level of a tick in which the leg was heard, in dBov, and what is to be done to it.
    pub fn hear(&mut self, dbov: f32, care: Care) {
        if care.level != self.care.level {
            self.leveller.reset();
        }
        self.care = care;
        self.activity.update(dbov);
        if care.level {
            self.leveller.update(dbov, &self.activity);
        }
    }

    /// How much louder the tick comes out than it came in, in dB.
    pub fn gain_db(&self) -> f32 {
        self.leveller.gain_db()
    }

    /// Whether the tick holds nothing that others should hear. Of sound that is to be left as it is
    /// everything is.
    pub fn is_background(&self) -> bool {
        self.care.level && self.activity.is_background()
    }

    /// Works on the tick that was heard.
    pub fn process(&mut self, pcm: &mut Tick) {
        self.leveller.apply(pcm);
    }
}
