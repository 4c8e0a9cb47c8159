//! The modulated lapped transform, §3.4 and §4.5: windows that overlap by half, and a DCT of type IV.

use std::f64::consts::PI;
use std::sync::Arc;

use rustfft::num_complex::Complex32;
use rustfft::{Fft, FftPlanner};

/// One direction of a channel.
pub struct Transform {
    /// Rising half of the window.
    window: Vec<f32>,
    /// Samples before, of the frame before in coding, of what is to be added in decoding.
    history: Vec<f32>,
    dct: Dct,
}

impl Transform {
    /// Silence was before; `size` samples are a frame.
    pub fn new(size: usize) -> Self {
        let angle = |n: usize| (n as f64 + 0.5) * PI / (2 * size) as f64;
        Self {
            window: (0..size).map(|n| angle(n).sin() as f32).collect(),
            history: vec![0.0; size],
            dct: Dct::new(size),
        }
    }

    /// Coefficients of a frame of samples.
    pub fn forward(&mut self, frame: &[i16], coded: &mut [f32]) {
        let (size, half) = (self.window.len(), self.window.len() / 2);
        let window = &self.window;
        for (n, value) in coded.iter_mut().enumerate() {
            // The frame before folds onto itself, and so does this one, with the other sign.
            *value = if n < half {
                let (a, b) = (half - 1 - n, half + n);
                window[a] * self.history[a] + window[b] * self.history[b]
            } else {
                let (a, b) = (n - half, size - 1 - (n - half));
                window[b] * f32::from(frame[a]) - window[a] * f32::from(frame[b])
            };
        }
        for (kept, sample) in self.history.iter_mut().zip(frame) {
            *kept = f32::from(*sample);
        }
        self.dct.apply(coded);
    }

    /// Appends the samples of a frame of coefficients.
    pub fn inverse(&mut self, coded: &[f32], out: &mut Vec<i16>) {
        let (size, half) = (self.window.len(), self.window.len() / 2);
        let mut folded = coded.to_vec();
        self.dct.apply(&mut folded);
        let (window, before) = (&self.window, &self.history);
        out.extend((0..size).map(|n| {
            let sample = if n < half {
                window[n] * folded[half - 1 - n] + window[size - 1 - n] * before[n]
            } else {
                window[n] * folded[n - half] - window[size - 1 - n] * before[size - 1 - n]
            };
            sample.round() as i16
        }));
        self.history[..half].copy_from_slice(&folded[half..]);
    }
}

/// An orthonormal DCT of type IV, by an FFT of half its size.
struct Dct {
    fft: Arc<dyn Fft<f32>>,
    twiddles: Vec<Complex32>,
    buffer: Vec<Complex32>,
    scratch: Vec<Complex32>,
}

impl Dct {
    fn new(size: usize) -> Self {
        let fft = FftPlanner::new().plan_fft_forward(size / 2);
        let angle = |n: usize| -PI * (8 * n + 1) as f64 / (8 * size) as f64;
        let root = (2.0 / size as f64).powf(0.25);
        let twiddle = |n| {
            Complex32::new(
                (root * angle(n).cos()) as f32,
                (root * angle(n).sin()) as f32,
            )
        };
        Self {
            twiddles: (0..size / 2).map(twiddle).collect(),
            buffer: vec![Complex32::default(); size / 2],
            scratch: vec![Complex32::default(); fft.get_inplace_scratch_len()],
            fft,
        }
    }

    fn apply(&mut self, values: &mut [f32]) {
        let size = values.len();
        for (n, (value, twiddle)) in self.buffer.iter_mut().zip(&self.twiddles).enumerate() {
            *value = Complex32::new(values[2 * n], values[size - 1 - 2 * n]) * twiddle;
        }
        self.fft
            .process_with_scratch(&mut self.buffer, &mut self.scratch);
        for (n, (value, twiddle)) in self.buffer.iter().zip(&self.twiddles).enumerate() {
            let turned = value * twiddle;
            values[2 * n] = turned.re;
            values[size - 1 - 2 * n] = -turned.im;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fast_transform_is_the_slow_one() {
        for size in [320, 640] {
            let values: Vec<f32> = (0..size)
                .map(|n| ((n * n % 97) as f32 - 48.0) * 3.0)
                .collect();
            let mut fast = values.clone();
            Dct::new(size).apply(&mut fast);
            for (k, fast) in fast.iter().enumerate() {
                let slow: f64 = values
                    .iter()
                    .enumerate()
                    .map(|(n, value)| {
                        let angle = PI / size as f64 * (n as f64 + 0.5) * (k as f64 + 0.5);
                        f64::from(*value) * angle.cos()
                    })
                    .sum();
                let slow = slow * (2.0 / size as f64).sqrt();
                assert!(
                    (slow - f64::from(*fast)).abs() < 0.01,
                    "{size} {k}: {fast} not {slow}"
                );
            }
        }
    }

    #[test]
    fn frames_overlap_to_what_they_were_one_frame_late() {
        let size = 320;
        let pcm: Vec<i16> = (0..size * 6)
            .map(|n| ((n * 7919) % 20_011) as i16 - 10_000)
            .collect();
        let (mut there, mut back) = (Transform::new(size), Transform::new(size));
        let mut out = Vec::new();
        for frame in pcm.chunks_exact(size) {
            let mut coded = vec![0.0; size];
            there.forward(frame, &mut coded);
            back.inverse(&coded, &mut out);
        }
        let off = pcm
            .iter()
            .zip(&out[size..])
            .map(|(a, b)| a.abs_diff(*b))
            .max();
        assert!(off <= Some(1), "{off:?}");
    }
}
