//! Concealment of lost packets for codecs that have none of their own.
//!
//! In the spirit of ITU-T G.711 Appendix I: the last pitch period is repeated, faded out from 10 to
//! 60 ms, and cross-faded with the first samples that arrive again. Unlike the appendix it adds no
//! delay: the seam at the start is closed by a decaying offset instead of an overlap with samples
//! held back.

/// Shortest pitch period looked for: 400 Hz.
const PITCH_MIN_MS: f32 = 2.5;
/// Longest pitch period looked for: 66 Hz.
const PITCH_MAX_MS: f32 = 15.0;
/// Signal that is compared with its past to find the pitch.
const MATCH_MS: f32 = 20.0;
/// Full level until here.
const HOLD_MS: f32 = 10.0;
/// Silence from here.
const SILENT_MS: f32 = 60.0;
/// Cross-fade when packets come again.
const RECOVER_MS: f32 = 5.0;

/// Remembers what was decoded and invents what is missing.
#[derive(Debug)]
pub struct Concealer {
    samples_per_ms: f32,
    /// The newest samples, oldest first; as long as pitch search needs.
    history: Vec<i16>,
    /// Period that is being repeated; empty while packets come.
    period: Vec<f32>,
    /// Added at the start of a gap, fading, so that the seam has no step.
    seam: f32,
    /// Samples invented since the gap began.
    invented: usize,
}

impl Concealer {
    /// For sound of `rate_hz`.
    pub fn new(rate_hz: u32) -> Self {
        let samples_per_ms = rate_hz as f32 / 1000.0;
        let length = ((PITCH_MAX_MS * 1.25 + MATCH_MS) * samples_per_ms) as usize + 1;
        Self {
            samples_per_ms,
            history: vec![0; length],
            period: Vec::new(),
            seam: 0.0,
            invented: 0,
        }
    }

    /// Takes note of decoded samples; the first ones after a gap are cross-faded in place with what
    /// the concealment would have gone on with.
    pub fn received(&mut self, frame: &mut [i16]) {
        if !self.period.is_empty() {
            let fade = self.ms(RECOVER_MS).min(frame.len());
            for (n, sample) in frame.iter_mut().take(fade).enumerate() {
                let share = (n + 1) as f32 / (fade + 1) as f32;
                let mixed = f32::from(*sample) * share + self.next_invented() * (1.0 - share);
                *sample = mixed as i16;
            }
            self.period.clear();
        }
        self.remember(frame);
    }

    /// Appends `samples` invented samples.
    pub fn conceal(&mut self, samples: usize, out: &mut Vec<i16>) {
        if self.period.is_empty() {
            self.begin_gap();
        }
        let start = out.len();
        for _ in 0..samples {
            let value = self.next_invented() as i16;
            out.push(value);
        }
        self.remember(&out[start..]);
    }

    fn ms(&self, ms: f32) -> usize {
        (ms * self.samples_per_ms) as usize
    }

    fn remember(&mut self, frame: &[i16]) {
        let length = self.history.len();
        let newest = &frame[frame.len().saturating_sub(length)..];
        self.history.copy_within(newest.len().., 0);
        self.history[length - newest.len()..].copy_from_slice(newest);
    }

    fn begin_gap(&mut self) {
        let lag = self.pitch_lag();
        let end = self.history.len();
        let overlap = lag / 4;
        self.period
            .extend(self.history[end - lag..].iter().map(|&s| f32::from(s)));
        // The end of the period runs into the samples before its start, so that it loops smoothly.
        for n in 0..overlap {
            let share = (n + 1) as f32 / (overlap + 1) as f32;
            let before = f32::from(self.history[end - lag - overlap + n]);
            let tail = &mut self.period[lag - overlap + n];
            *tail = *tail * (1.0 - share) + before * share;
        }
        self.seam = f32::from(self.history[end - 1]) - f32::from(self.history[end - lag - 1]);
        self.invented = 0;
    }

    fn next_invented(&mut self) -> f32 {
        let n = self.invented;
        self.invented = self.invented.saturating_add(1);
        let seam_length = (self.period.len() / 4).max(1);
        let seam = self.seam * (1.0 - n as f32 / seam_length as f32).max(0.0);
        let elapsed_ms = n as f32 / self.samples_per_ms;
        let gain = ((SILENT_MS - elapsed_ms) / (SILENT_MS - HOLD_MS)).clamp(0.0, 1.0);
        (self.period[n % self.period.len()] + seam) * gain
    }

    /// The lag at which the newest samples resemble their past most, by normalised correlation.
    fn pitch_lag(&self) -> usize {
        let end = self.history.len();
        let window = &self.history[end - self.ms(MATCH_MS)..];
        // Every second sample, twice as fine for no more work at 8 kHz as at 16 kHz.
        let step = (self.samples_per_ms / 8.0).max(1.0) as usize;
        let (mut best, mut best_score) = (self.ms(PITCH_MAX_MS), 0.0);
        for lag in self.ms(PITCH_MIN_MS)..=self.ms(PITCH_MAX_MS) {
            let past = &self.history[end - window.len() - lag..end - lag];
            let score = resemblance(window, past, step);
            if score > best_score {
                (best, best_score) = (lag, score);
            }
        }
        best
    }
}

fn resemblance(window: &[i16], past: &[i16], step: usize) -> f32 {
    let (mut product, mut energy) = (0.0, 1.0);
    for (a, b) in window.iter().zip(past).step_by(step) {
        let (a, b) = (f32::from(*a), f32::from(*b));
        product += a * b;
        energy += b * b;
    }
    product / energy.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f32::consts::TAU;

    fn tone(rate: u32, hz: f32, from: usize, samples: usize) -> Vec<i16> {
        (from..from + samples)
            .map(|n| ((n as f32 * hz * TAU / rate as f32).sin() * 10_000.0) as i16)
            .collect()
    }

    fn largest_step(pcm: &[i16]) -> i32 {
        pcm.windows(2)
            .map(|w| (i32::from(w[1]) - i32::from(w[0])).abs())
            .max()
            .unwrap()
    }

    #[test]
    fn a_tone_goes_on_through_one_lost_packet() {
        for rate in [8_000_u32, 16_000] {
            let packet = rate as usize / 50;
            let mut concealer = Concealer::new(rate);
            let mut heard = Vec::new();
            for n in 0..10 {
                let mut frame = tone(rate, 437.0, n * packet, packet);
                if n == 5 {
                    concealer.conceal(packet, &mut heard);
                } else {
                    concealer.received(&mut frame);
                    heard.extend(&frame);
                }
            }
            let clean = largest_step(&tone(rate, 437.0, 0, packet * 10));
            assert!(largest_step(&heard) <= clean * 3 / 2, "click at {rate} Hz");
            let gap = &heard[5 * packet..6 * packet];
            let power: f32 = gap.iter().map(|&s| f32::from(s).powi(2)).sum::<f32>() / packet as f32;
            assert!(power.sqrt() > 5_000.0, "level fell to {}", power.sqrt());
        }
    }

    #[test]
    fn a_long_gap_fades_to_silence() {
        let mut concealer = Concealer::new(8_000);
        let mut frame = tone(8_000, 300.0, 0, 800);
        concealer.received(&mut frame);
        let mut out = Vec::new();
        for _ in 0..5 {
            concealer.conceal(160, &mut out);
        }
        assert!(out[480..].iter().all(|&s| s == 0));
        assert!(largest_step(&out) < 3_600);
    }

    #[test]
    fn concealing_before_anything_came_is_silence() {
        let mut out = Vec::new();
        Concealer::new(16_000).conceal(320, &mut out);
        assert_eq!(out, vec![0; 320]);
    }
}
