//! No clipping: what would be beyond full scale is turned down as a whole.
//!
//! A tick lies there as a whole, so that the gain can fall ahead of its first peak. It comes back
//! slowly. Sound that stays within full scale is not touched, to the bit.

use super::mixer::{TICK_SAMPLES, Tick};

/// A sum of legs, or one leg with its gain: beyond 16 bits.
pub type Wide = [i32; TICK_SAMPLES];

const FULL_SCALE: f32 = i16::MAX as f32;
/// The gain falls over as many samples at least: 1 ms. What is beyond full scale meanwhile is cut.
const ATTACK_MIN_SAMPLES: usize = 48;
/// Share of what is missing that comes back in a tick: half of it within 130 ms.
const RELEASE: f32 = 0.1;

/// One limiter, for one stream of ticks.
#[derive(Clone, Copy, Debug)]
pub struct Limiter {
    /// At the end of the last tick; at most 1.
    gain: f32,
}

impl Default for Limiter {
    fn default() -> Self {
        Self { gain: 1.0 }
    }
}

impl Limiter {
    /// Takes the next tick.
    pub fn process(&mut self, input: &Wide, out: &mut Tick) {
        let peak = input.iter().map(|s| s.unsigned_abs()).max().unwrap_or(0) as f32;
        let most = (FULL_SCALE / peak).min(1.0); // infinite for silence
        if self.gain >= 1.0 && most >= 1.0 {
            // `as` takes -32,768 as it is and cuts nothing else: the peak was looked at.
            for (out, sample) in out.iter_mut().zip(input) {
                *out = *sample as i16;
            }
            return;
        }
        let ramp = match most < self.gain {
            true => self.until_peak(input).max(ATTACK_MIN_SAMPLES),
            false => TICK_SAMPLES,
        };
        let end = self.end_gain(most);
        for (n, (out, sample)) in out.iter_mut().zip(input).enumerate() {
            let share = (n as f32 / ramp as f32).min(1.0);
            let gain = self.gain + (end - self.gain) * share;
            *out = (*sample as f32 * gain) as i16; // saturates
        }
        self.gain = end;
    }

    fn end_gain(&self, most: f32) -> f32 {
        const NEARLY: f32 = 0.999;
        match self.gain + (1.0 - self.gain) * RELEASE {
            risen if risen > NEARLY && most >= 1.0 => 1.0,
            risen => risen.min(most),
        }
    }

    /// Samples before the first that the gain so far would take beyond full scale.
    fn until_peak(&self, input: &Wide) -> usize {
        let is_over = |sample: &i32| sample.unsigned_abs() as f32 * self.gain > FULL_SCALE;
        input.iter().position(is_over).unwrap_or(TICK_SAMPLES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(amplitude: f32, tick: usize) -> Wide {
        std::array::from_fn(|n| {
            let t = (tick * TICK_SAMPLES + n) as f32 / 48_000.0;
            ((t * 300.0 * std::f32::consts::TAU).sin() * amplitude) as i32
        })
    }

    fn run(limiter: &mut Limiter, input: &Wide) -> Tick {
        let mut out = [0; TICK_SAMPLES];
        limiter.process(input, &mut out);
        out
    }

    #[test]
    fn what_fits_is_not_touched() {
        let mut limiter = Limiter::default();
        for tick in 0..10 {
            let input = tone(32_767.0, tick);
            let out = run(&mut limiter, &input);
            assert!(out.iter().zip(&input).all(|(a, b)| i32::from(*a) == *b));
        }
    }

    #[test]
    fn loud_sums_keep_their_shape_and_come_back_without_a_step() {
        let mut limiter = Limiter::default();
        let mut all = Vec::new();
        for tick in 0..60 {
            let amplitude = if (5..10).contains(&tick) {
                90_000.0
            } else {
                20_000.0
            };
            all.extend(run(&mut limiter, &tone(amplitude, tick)));
        }
        let clipped = |samples: &[i16]| {
            let full = samples
                .windows(2)
                .filter(|w| w[0].abs() == i16::MAX && w[0] == w[1]);
            full.count()
        };
        assert_eq!(clipped(&all[6 * TICK_SAMPLES..]), 0, "flat tops");
        assert!(clipped(&all) <= ATTACK_MIN_SAMPLES);
        // So steep is the loud tone itself, where it begins.
        let steps = all
            .windows(2)
            .map(|w| (i32::from(w[1]) - i32::from(w[0])).abs());
        assert!(steps.max().unwrap() < 3_600);
        let last = &all[59 * TICK_SAMPLES..];
        assert!(last.iter().max().unwrap() >= &19_900, "back at its level");
    }

    #[test]
    fn anything_is_survived() {
        let mut limiter = Limiter::default();
        for value in [i32::from(i16::MIN), 8 * 32_768, 0, i32::MAX, 1, i32::MIN] {
            run(&mut limiter, &[value; TICK_SAMPLES]);
            assert!(limiter.gain > 0.0 && limiter.gain <= 1.0);
        }
    }
}
