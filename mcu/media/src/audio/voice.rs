//! What is done to one leg's sound on its way into the mix, as far as its plan wants it.

use mcu_api::plan::Care;

use super::activity::Activity;
use super::echo::EchoGuard;
use super::leveller::Leveller;
use super::mixer::Tick;
use super::speaker;
use super::suppressor::{self, Suppressor};

/// Noise is suppressed from this level on, in dBov: what is less disturbs nobody.
const NOISY_DBOV: f32 = -65.0;
/// Once it is, until the background is below this.
const CLEAN_DBOV: f32 = -70.0;

/// One leg's sound, as it is known from tick to tick.
#[derive(Default)]
pub struct Voice {
    care: Care,
    activity: Activity,
    leveller: Leveller,
    /// Made for a leg that may echo.
    echo: Option<Box<EchoGuard>>,
    /// Made when noise is first heard.
    suppressor: Option<Box<Suppressor>>,
}

impl Voice {
    /// A tick begins.
    pub fn begin_tick(&mut self) {
        if let Some(echo) = &mut self.echo {
            echo.begin_tick();
        }
    }

    /// What the leg is sent in this tick, and its level if that is known.
    pub fn note_sent(&mut self, pcm: &Tick, dbov: Option<f32>) {
        if let Some(echo) = &mut self.echo {
            echo.note_sent(pcm, dbov.unwrap_or_else(|| speaker::level_dbov(pcm)));
        }
    }

    /// Takes a tick of the leg and what is to be done to it, and takes echo out of it. Comes back with
    /// its level in dBov.
    pub fn hear(&mut self, pcm: &mut Tick, care: Care) -> f32 {
        let mut dbov = speaker::level_dbov(pcm);
        if care.echo != self.echo.is_some() {
            self.echo = care.echo.then(Box::default);
        }
        if let Some(echo) = &mut self.echo
            && echo.process(pcm, dbov)
        {
            dbov = speaker::level_dbov(pcm);
        }
        self.note_level(dbov, care);
        dbov
    }

    /// Whether the leg sends back what it was sent.
    pub fn echoes(&self) -> bool {
        self.echo.as_ref().is_some_and(|echo| echo.is_at_work())
    }

    fn note_level(&mut self, dbov: f32, care: Care) {
        if care.level != self.care.level {
            self.leveller.reset();
        }
        self.care = care;
        self.activity.update(dbov);
        if care.level {
            let cleaned_db = match self.suppresses() {
                true => suppressor::DEPTH_DB,
                false => 0.0,
            };
            self.leveller.update(dbov, &self.activity, cleaned_db);
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

    /// The leg enters the mix with this tick: what was heard when it was last there is over.
    pub fn begin(&mut self) {
        if let Some(suppressor) = &mut self.suppressor {
            suppressor.begin();
        }
    }

    /// Works on the tick that was heard.
    pub fn process(&mut self, pcm: &mut Tick) {
        let is_noisy = self.is_noisy();
        if is_noisy && self.suppressor.is_none() {
            self.suppressor = Some(Box::default());
        }
        if let Some(suppressor) = &mut self.suppressor
            && !suppressor.process(pcm, is_noisy)
        {
            self.suppressor = None;
        }
        self.leveller.apply(pcm);
    }

    fn suppresses(&self) -> bool {
        self.suppressor.is_some()
    }

    fn is_noisy(&self) -> bool {
        let enough = if self.suppresses() {
            CLEAN_DBOV
        } else {
            NOISY_DBOV
        };
        let background = self.activity.background_dbov();
        self.care.noise && background.is_some_and(|floor| floor >= enough)
    }
}
