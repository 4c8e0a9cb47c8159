//! Legs of which only key frames are decoded, because the machine does not keep up with all pictures of
//! all: those in the smallest cells, and never who speaks. Their cells change every few seconds.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use mcu_api::ids::LegId;

use super::Picture;

/// How often a key frame is asked for of who is shown by key frames alone.
const KEY_EVERY: Duration = Duration::from_secs(4);
/// In so many parts of that time one after the other is asked.
const PARTS: u32 = 16;
/// How long a key frame is waited for from which all is decoded again, and how often it is asked for. Who
/// sends none is shown as it comes: broken for a while is better than still for ever.
const KEY_WAIT: Duration = Duration::from_secs(1);
const ASKED: u8 = 3;

/// What is decoded of one leg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Thinning {
    /// Every picture.
    #[default]
    Whole,
    /// Key frames, one of which is asked for then.
    Keys(Instant),
    /// Every picture from the next key frame on, which is asked for then, and has been so often.
    Back(Instant, u8),
}

impl Thinning {
    /// Thins it out, or no longer.
    fn set(&mut self, now: Instant, leg: LegId, is_thin: bool) {
        let part = (leg.0 % u64::from(PARTS)) as u32;
        *self = match (*self, is_thin) {
            // What is shown is new; not all are to send a key frame at once.
            (Self::Whole | Self::Back(..), true) => {
                Self::Keys(now + KEY_EVERY * (part + 1) / PARTS)
            }
            (Self::Keys(_), false) => Self::Back(now, 0),
            (same, _) => same,
        };
    }

    /// Whether the next picture is passed over.
    pub fn passes_over(&mut self, is_key: bool) -> bool {
        if is_key && matches!(self, Self::Back(..)) {
            *self = Self::Whole;
        }
        !is_key && *self != Self::Whole
    }

    /// Whether a key frame is to be asked for now.
    fn asks(&mut self, now: Instant) -> bool {
        match self {
            Self::Keys(due) if now >= *due => {
                *due = now + KEY_EVERY;
                true
            }
            Self::Back(due, asked) if now >= *due && *asked < ASKED => {
                (*due, *asked) = (now + KEY_WAIT, *asked + 1);
                true
            }
            Self::Back(due, _) if now >= *due => {
                *self = Self::Whole;
                false
            }
            _ => false,
        }
    }
}

impl Picture {
    /// Decodes this share of the legs that people see in compositions, from 0 to 1, and of the others key
    /// frames alone.
    pub(super) fn thin_out(&mut self, now: Instant, share: f32) {
        let mut decoders = self.decoders.values();
        if share >= 1.0 && decoders.all(|decoding| decoding.thinning == Thinning::Whole) {
            return;
        }
        let thin = self.thinned(share);
        for (leg, decoding) in &mut self.decoders {
            decoding.thinning.set(now, *leg, thin.contains(leg));
            if decoding.thinning.asks(now) {
                self.damaged.push(*leg);
            }
        }
        self.leave_to_stills();
    }

    /// Those of which key frames are decoded: the smallest in compositions, but never who speaks.
    fn thinned(&self, share: f32) -> Vec<LegId> {
        let composed = self.decoders.keys().filter_map(|leg| {
            let (width, height) = self.views.largest(*leg)?;
            let is_alone = self.alone.height(*leg).is_some();
            (!is_alone).then_some((*leg, width * height))
        });
        let mut composed: Vec<(LegId, u32)> = composed.collect();
        let speaker = self.views.speaker();
        composed.sort_unstable_by_key(|(leg, area)| (Some(*leg) != speaker, Reverse(*area), *leg));
        let whole = (composed.len() as f32 * share).ceil().max(1.0) as usize;
        let thin = composed.iter().skip(whole);
        thin.map(|(leg, _)| *leg).collect()
    }

    /// What nobody but stills shows has its own way to wait for key frames.
    fn leave_to_stills(&mut self) {
        let (views, alone) = (&self.views, &self.alone);
        for (leg, decoding) in &mut self.decoders {
            let is_for_people = views.height(*leg).max(alone.height(*leg)).is_some();
            if !is_for_people && decoding.thinning != Thinning::Whole {
                decoding.thinning = Thinning::Whole;
                decoding.is_damaged = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEG: LegId = LegId(3);

    #[test]
    fn what_is_thinned_out_is_whole_again_from_a_key_frame_on() {
        let now = Instant::now();
        let mut thinning = Thinning::default();
        assert!(!thinning.passes_over(false) && !thinning.asks(now));
        thinning.set(now, LEG, true);
        assert!(!thinning.asks(now), "it is the turn of others");
        assert!(thinning.asks(now + KEY_EVERY / 4));
        assert!(!thinning.asks(now + KEY_EVERY));
        assert!(thinning.passes_over(false) && !thinning.passes_over(true));
        assert!(thinning.passes_over(false), "a key frame is all of it");
        assert!(thinning.asks(now + KEY_EVERY * 5 / 4));
        let now = now + KEY_EVERY * 2;
        thinning.set(now, LEG, false);
        assert!(
            thinning.passes_over(false),
            "it builds on what was not decoded"
        );
        assert!(thinning.asks(now), "at once");
        assert!(thinning.asks(now + KEY_WAIT), "it was lost");
        assert!(!thinning.passes_over(true) && !thinning.passes_over(false));
        assert!(!thinning.asks(now + KEY_EVERY * 9));
    }

    #[test]
    fn who_sends_no_key_frame_is_shown_as_it_comes() {
        let now = Instant::now();
        let mut thinning = Thinning::Keys(now);
        thinning.set(now, LEG, false);
        let asked = (0..10)
            .filter(|n| thinning.asks(now + KEY_WAIT * *n))
            .count();
        assert_eq!(asked, usize::from(ASKED));
        assert!(!thinning.passes_over(false));
    }

    /// Not all send a key frame at the same time.
    #[test]
    fn legs_are_asked_one_after_the_other() {
        let now = Instant::now();
        let first = |leg| {
            let mut thinning = Thinning::default();
            thinning.set(now, LegId(leg), true);
            let ms = (0..5_000).find(|ms| thinning.asks(now + Duration::from_millis(*ms)));
            ms.unwrap() / 250
        };
        assert_eq!(
            (0..16).map(first).collect::<Vec<_>>(),
            (1..=16).collect::<Vec<_>>()
        );
    }
}
