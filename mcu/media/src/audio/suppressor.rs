//! Noise beneath speech, suppressed by RNNoise (`nnnoiseless`).
//!
//! It takes and gives 10 ms at 48 kHz, and gives them 10 ms later. That is paid by legs with noise alone:
//! at the beginning and at the end it fades between the sound as it came and the sound that it made.

use nnnoiseless::DenoiseState;

use super::mixer::{TICK_SAMPLES, Tick};

/// Noise is suppressed by as much, in dB. Some of the sound is let through as it is: the network takes
/// tones it does not know for noise, and an alarm must not vanish.
pub const DEPTH_DB: f32 = 18.0;
/// Share of the sound let through: -18 dB.
const LET_THROUGH: f32 = 0.125_89;
/// Samples that are worked on at a time, and of delay.
const FRAME: usize = DenoiseState::FRAME_SIZE;

/// One leg's suppressor.
pub struct Suppressor {
    network: Box<DenoiseState<'static>>,
    /// The last frame, as it came.
    delayed: [f32; FRAME],
    /// What the suppressor's sound makes of the leg's at the end of the last tick: nothing or all.
    is_on: bool,
}

impl Default for Suppressor {
    fn default() -> Self {
        Self {
            network: DenoiseState::new(),
            delayed: [0.0; FRAME],
            is_on: false,
        }
    }
}

impl Suppressor {
    /// What comes next does not go on from what came last.
    pub fn begin(&mut self) {
        let mut over = [0.0; FRAME];
        self.network.process_frame(&mut over, &[0.0; FRAME]);
        self.delayed = [0.0; FRAME];
    }

    /// Works on a tick, if `wanted`. `false`: it is not at work any more.
    pub fn process(&mut self, pcm: &mut Tick, wanted: bool) -> bool {
        let [from, to] = [self.is_on, wanted].map(|is_on| if is_on { 1.0_f32 } else { 0.0 });
        let step = (to - from) / TICK_SAMPLES as f32;
        let mut share = from;
        for frame in pcm.chunks_exact_mut(FRAME) {
            let dry: [f32; FRAME] = std::array::from_fn(|n| f32::from(frame[n]));
            let mut clean = [0.0; FRAME];
            self.network.process_frame(&mut clean, &dry);
            if !clean.iter().all(|sample| sample.is_finite()) {
                *self = Self::default();
                return wanted;
            }
            for (n, out) in frame.iter_mut().enumerate() {
                let wet = clean[n] + (self.delayed[n] - clean[n]) * LET_THROUGH;
                *out = (dry[n] + (wet - dry[n]) * share).round() as i16;
                share += step;
            }
            self.delayed = dry;
        }
        self.is_on = wanted;
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extremes_are_survived() {
        let mut suppressor = Suppressor::default();
        for n in 0..200_usize {
            let mut pcm: Tick = std::array::from_fn(|k| match n % 4 {
                0 => [i16::MIN, i16::MAX][k / 7 % 2],
                1 => 0,
                2 => i16::MIN,
                _ => 1,
            });
            suppressor.process(&mut pcm, true);
        }
        let mut tone: Tick = std::array::from_fn(|k| ((k as f32 * 0.05).sin() * 8_000.0) as i16);
        for _ in 0..20 {
            suppressor.process(&mut tone, true);
        }
        assert!(suppressor.delayed.iter().all(|sample| sample.is_finite()));
        assert!(suppressor.is_on);
    }
}
