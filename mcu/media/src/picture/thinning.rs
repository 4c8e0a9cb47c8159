//! Legs of which only key frames are decoded, because the machine does not keep up with all pictures of
//! all: those in the smallest cells, and never who speaks. Their cells change every few seconds.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use mcu_api::ids::LegId;

use super::Picture;

/// How often a key frame is asked for of who is shown by key frames alone.
const KEY_EVERY: Duration = Duration::from_secs(4);
/// How long one is waited for from which all is decoded again.
const KEY_WAIT: Duration = Duration::from_secs(1);

/// What is decoded of one leg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Thinning {
    /// Every picture.
    #[default]
    Whole,
    /// Key frames, the last of which was asked for then.
    Keys(Option<Instant>),
    /// Every picture from the next key frame on, which was asked for then.
    Back(Option<Instant>),
}

impl Thinning {
    /// Thins it out, or no longer.
    fn set(&mut self, is_thin: bool) {
        *self = match (*self, is_thin) {
            (Self::Whole, true) => Self::Keys(None),
            (Self::Back(asked), true) => Self::Keys(asked),
            (Self::Keys(_), false) => Self::Back(None),
            (same, _) => same,
        };
    }

    /// Whether the next picture is passed over.
    pub fn passes_over(&mut self, is_key: bool) -> bool {
        if is_key && matches!(self, Self::Back(_)) {
            *self = Self::Whole;
        }
        !is_key && *self != Self::Whole
    }

    /// Whether a key frame is to be asked for now.
    fn asks(&mut self, now: Instant) -> bool {
        let (asked, pause) = match self {
            Self::Whole => return false,
            Self::Keys(asked) => (asked, KEY_EVERY),
            Self::Back(asked) => (asked, KEY_WAIT),
        };
        let is_due = asked.is_none_or(|at| now.saturating_duration_since(at) >= pause);
        if is_due {
            *asked = Some(now);
        }
        is_due
    }
}

impl Picture {
    /// Decodes this share of the legs that people see in compositions, from 0 to 1, and of the others key
    /// frames alone.
    pub(super) fn thin_out(&mut self, now: Instant, share: f32) {
        let is_idle = share >= 1.0;
        if is_idle
            && self
                .decoders
                .values()
                .all(|d| d.thinning == Thinning::Whole)
        {
            return;
        }
        let (views, alone) = (&self.views, &self.alone);
        let composed = self.decoders.keys().filter_map(|leg| {
            let (width, height) = views.largest(*leg)?;
            alone
                .height(*leg)
                .is_none()
                .then_some((*leg, width * height))
        });
        let mut composed: Vec<(LegId, u32)> = composed.collect();
        let speaker = views.speaker();
        composed.sort_unstable_by_key(|(leg, area)| (Some(*leg) != speaker, Reverse(*area), *leg));
        let whole = (composed.len() as f32 * share).ceil().max(1.0) as usize;
        let thin = &composed[whole.min(composed.len())..];
        for (leg, decoding) in &mut self.decoders {
            decoding
                .thinning
                .set(thin.iter().any(|(thin, _)| thin == leg));
            if decoding.thinning.asks(now) {
                self.damaged.push(*leg);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_thinned_out_is_whole_again_from_a_key_frame_on() {
        let now = Instant::now();
        let mut thinning = Thinning::default();
        assert!(!thinning.passes_over(false) && !thinning.asks(now));
        thinning.set(true);
        assert!(thinning.asks(now), "at once");
        assert!(!thinning.asks(now + KEY_EVERY / 2));
        assert!(thinning.passes_over(false) && !thinning.passes_over(true));
        assert!(thinning.passes_over(false), "a key frame is all of it");
        assert!(thinning.asks(now + KEY_EVERY));
        thinning.set(false);
        assert!(
            thinning.passes_over(false),
            "it builds on what was not decoded"
        );
        assert!(thinning.asks(now + KEY_EVERY), "at once");
        assert!(thinning.asks(now + KEY_EVERY + KEY_WAIT), "it was lost");
        assert!(!thinning.passes_over(true) && !thinning.passes_over(false));
        assert!(!thinning.asks(now + KEY_EVERY * 9));
    }
}
