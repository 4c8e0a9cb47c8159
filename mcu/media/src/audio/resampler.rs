//! Sample rates: a streaming polyphase filter between 8, 16, 32 and 48 kHz.

use std::f64::consts::PI;

/// Taps of one phase, counted at the lower of the two rates; the delay is half of them.
const TAPS_AT_LOW_RATE: usize = 32;
/// Kaiser window: 80 dB of attenuation beyond the transition.
const KAISER_BETA: f64 = 7.9;
/// Cut-off as a share of the lower rate's Nyquist frequency. What folds back lies above 3.4 kHz (of
/// 4), where telephony has nothing.
const CUTOFF: f64 = 0.98;

/// A pair of rates that no leg has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no conversion from {from_hz} to {to_hz} samples/s")]
pub struct UnsupportedRate {
    /// Rate given.
    pub from_hz: u32,
    /// Rate wanted.
    pub to_hz: u32,
}

/// Converts one stream. Input of any length; 20 ms in give exactly 20 ms out. Delay: 2 ms to or from
/// 8 kHz, 1 ms otherwise.
#[derive(Clone)]
pub struct Resampler {
    /// Rate out by the common divisor of the rates: phases of the filter.
    up: usize,
    /// Rate in by the common divisor.
    down: usize,
    /// Taps of a phase.
    taps: usize,
    /// `up` phases of `taps` coefficients, each reversed in time to run along the input.
    phases: Vec<f32>,
    /// Input not used up, led by the newest `taps - 1` samples of before.
    window: Vec<f32>,
    /// Where the next output lies in the window, when there is less out than in.
    position: usize,
    /// Between rates that do not divide each other: on from a rate that both divide, and what is there.
    then: Option<(Box<Self>, Vec<i16>)>,
}

impl Resampler {
    /// A converter with a silent past. Rates are 8,000, 16,000, 32,000 and 48,000; equal rates are
    /// passed through without delay.
    pub fn new(from_hz: u32, to_hz: u32) -> Result<Self, UnsupportedRate> {
        let known = |rate| matches!(rate, 8_000 | 16_000 | 32_000 | 48_000);
        if !known(from_hz) || !known(to_hz) {
            return Err(UnsupportedRate { from_hz, to_hz });
        }
        let (low, high) = (from_hz.min(to_hz), from_hz.max(to_hz));
        if high.is_multiple_of(low) {
            return Ok(Self::between(from_hz, to_hz));
        }
        let both = 96_000;
        let then = Box::new(Self::between(both, to_hz));
        Ok(Self {
            then: Some((then, Vec::new())),
            ..Self::between(from_hz, both)
        })
    }

    /// The same between rates of which one divides the other.
    fn between(from_hz: u32, to_hz: u32) -> Self {
        let common = from_hz.min(to_hz);
        let (up, down) = ((to_hz / common) as usize, (from_hz / common) as usize);
        let taps = TAPS_AT_LOW_RATE * down;
        Self {
            up,
            down,
            taps,
            phases: polyphase(up, down, taps),
            window: vec![0.0; taps - 1],
            position: 0,
            then: None,
        }
    }

    /// Appends the converted samples.
    pub fn process(&mut self, input: &[i16], out: &mut Vec<i16>) {
        let Some((mut then, mut between)) = self.then.take() else {
            return self.process_once(input, out);
        };
        between.clear();
        self.process_once(input, &mut between);
        then.process_once(&between, out);
        self.then = Some((then, between));
    }

    fn process_once(&mut self, input: &[i16], out: &mut Vec<i16>) {
        if self.up == self.down {
            out.extend_from_slice(input);
            return;
        }
        self.window
            .extend(input.iter().map(|&sample| f32::from(sample)));
        if self.up > 1 {
            self.upsample(input.len(), out);
        } else {
            self.downsample(out);
        }
    }

    /// Each input sample gives `up` outputs, one a phase. A phase is run over many inputs at once,
    /// which vector units do without a sum across lanes.
    fn upsample(&mut self, inputs: usize, out: &mut Vec<i16>) {
        let start = out.len();
        out.resize(start + inputs * self.up, 0);
        for (phase, coefficients) in self.phases.chunks_exact(self.taps).enumerate() {
            let mut samples = out[start..].iter_mut().skip(phase).step_by(self.up);
            for first in (0..inputs).step_by(BLOCK) {
                let count = BLOCK.min(inputs - first);
                let window = &self.window[first..first + count + self.taps - 1];
                let block = filter_block(window, coefficients);
                block
                    .iter()
                    .zip(samples.by_ref().take(count))
                    .for_each(|(b, s)| *s = to_i16(*b));
            }
        }
        self.window.drain(..inputs);
    }

    /// One output for `down` inputs.
    fn downsample(&mut self, out: &mut Vec<i16>) {
        while let Some(samples) = self.window.get(self.position..self.position + self.taps) {
            out.push(to_i16(dot(samples, &self.phases)));
            self.position += self.down;
        }
        let used = self.position.min(self.window.len());
        self.window.drain(..used);
        self.position -= used;
    }
}

/// Outputs of one phase at a time: as many as fit the vector registers.
const BLOCK: usize = 16;

/// The first `BLOCK` outputs of a filter over `window`; those beyond its end are of no meaning.
fn filter_block(window: &[f32], coefficients: &[f32]) -> [f32; BLOCK] {
    let mut sums = [0.0_f32; BLOCK];
    if window.len() < BLOCK + coefficients.len() - 1 {
        for (n, sum) in sums
            .iter_mut()
            .enumerate()
            .take(window.len() + 1 - coefficients.len())
        {
            *sum = dot(&window[n..n + coefficients.len()], coefficients);
        }
        return sums;
    }
    for (samples, coefficient) in window.windows(BLOCK).zip(coefficients) {
        for (sum, sample) in sums.iter_mut().zip(samples) {
            *sum += sample * coefficient;
        }
    }
    sums
}

/// To the nearest sample; beyond the range to its end.
fn to_i16(value: f32) -> i16 {
    (value + 0.5_f32.copysign(value)) as i16
}

/// Sum of products in eight lanes, so that the compiler can use vector registers.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 8];
    for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        for lane in 0..8 {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    lanes.iter().sum()
}

/// Windowed sinc at the product rate, cut into `up` phases; each phase's sum is one, so that a
/// constant stays constant.
fn polyphase(up: usize, down: usize, taps: usize) -> Vec<f32> {
    let length = taps * up;
    let centre = (length - 1) as f64 / 2.0;
    let cutoff = CUTOFF / up.max(down) as f64;
    let prototype: Vec<f64> = (0..length)
        .map(|n| {
            let x = n as f64 - centre;
            let edge = x / (centre + 1.0);
            let window = bessel_i0(KAISER_BETA * (1.0 - edge * edge).sqrt());
            sinc(x * cutoff) * window
        })
        .collect();
    let mut phases = Vec::with_capacity(length);
    for phase in 0..up {
        // Output `phase` steps after an input sample: the newest input meets tap `phase`.
        let taps_of_phase = (0..taps).rev().map(|tap| prototype[tap * up + phase]);
        let sum: f64 = taps_of_phase.clone().sum();
        phases.extend(taps_of_phase.map(|coefficient| (coefficient / sum) as f32));
    }
    phases
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        1.0
    } else {
        (PI * x).sin() / (PI * x)
    }
}

/// Modified Bessel function of order zero by its power series.
fn bessel_i0(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..40 {
        term *= (x / (2.0 * f64::from(k))).powi(2);
        sum += term;
    }
    sum
}
