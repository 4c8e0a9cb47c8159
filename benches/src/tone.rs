//! A tone for each source, so that a test can say who is heard.
//!
//! Source `id` has a carrier of its own within 300 to 3400 Hz, chosen so that no doubled or tripled
//! carrier and no third-order intermodulation of two of them (`2a - b`) falls within 10 Hz of another
//! one. Its loudness swells and vanishes three to five times a second, at a rate and phase of its
//! own: noise suppression takes a steady tone for noise, and does not take this one.
//! `tests/browser/marker.js` makes and detects the same.

use std::f64::consts::TAU;

use serde::Serialize;

/// Sources that can be told apart: ids 1 to this.
pub const IDS: u8 = 16;

/// Loudest moment of a generated tone, in dB of full scale: eight of them do not clip.
pub const PEAK_DBFS: f64 = -20.0;

/// After so many seconds every tone repeats exactly.
pub const PERIOD_S: usize = 10;

const FREQUENCIES_HZ: [u16; IDS as usize] = [
    425, 554, 759, 1025, 1223, 1362, 1533, 1797, 1918, 2091, 2197, 2435, 2586, 2712, 2926, 3097,
];

/// One detection window: 8 Hz of resolution, shorter than a swell.
const WINDOW_MS: usize = 125;

/// How far a tone must stand above what is beside it, in dB.
const PROMINENCE_DB: f64 = 12.0;

/// Below this nothing counts as a tone, in dB of full scale.
const FLOOR_DBFS: f64 = -55.0;

/// A tone that was heard.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Heard {
    /// Which source.
    pub id: u8,
    /// Level of its loudest window, in dB of a full-scale sine.
    pub level_db: f64,
}

/// Carrier of a source in Hz; `None` for ids without one.
pub fn frequency_hz(id: u8) -> Option<u16> {
    FREQUENCIES_HZ.get(usize::from(id).checked_sub(1)?).copied()
}

/// Swells per second of a source.
pub fn swell_hz(id: u8) -> f64 {
    3.0 + 0.1 * f64::from(id % 20)
}

/// `len` samples of a source's tone from sample `start` on, at `rate_hz`. Silence for ids without a
/// tone.
pub fn generate(id: u8, rate_hz: u32, start: u64, len: usize) -> Vec<i16> {
    let Some(carrier) = frequency_hz(id) else {
        return vec![0; len];
    };
    let peak = 32_767.0 * 10f64.powf(PEAK_DBFS / 20.0);
    let phase = f64::from(id) / f64::from(IDS);
    (start..start + len as u64)
        .map(|n| {
            let t = n as f64 / f64::from(rate_hz);
            let swell = 0.5 - 0.5 * (TAU * (swell_hz(id) * t + phase)).cos();
            (peak * swell * (TAU * f64::from(carrier) * t).sin()) as i16
        })
        .collect()
}

/// Which sources are heard in the samples, by ascending id. Half a second at least is wanted.
pub fn detect(pcm: &[i16], rate_hz: u32) -> Vec<Heard> {
    let len = rate_hz as usize * WINDOW_MS / 1000;
    let hann: Vec<f64> = (0..len)
        .map(|n| 0.5 - 0.5 * (TAU * n as f64 / len as f64).cos())
        .collect();
    (1..=IDS)
        .filter_map(|id| {
            let level_db = level_db(pcm, rate_hz, &hann, id)?;
            (level_db >= FLOOR_DBFS).then_some(Heard { id, level_db })
        })
        .collect()
}

/// Level of the loudest window in which the carrier stands out.
fn level_db(pcm: &[i16], rate_hz: u32, hann: &[f64], id: u8) -> Option<f64> {
    let carrier = f64::from(frequency_hz(id)?);
    let step = (hann.len() / 2).max(1);
    let mut best: Option<f64> = None;
    let mut start = 0;
    while let Some(block) = pcm.get(start..start + hann.len()) {
        start += step;
        let level = goertzel_db(block, hann, rate_hz, carrier);
        if level < FLOOR_DBFS || best.is_some_and(|b| level <= b) {
            continue;
        }
        // Noise is as loud beside the carrier as on it.
        let beside = [-44.0, -32.0, 32.0, 44.0]
            .map(|off| goertzel_db(block, hann, rate_hz, carrier + off))
            .into_iter()
            .fold(f64::NEG_INFINITY, f64::max);
        if level - beside >= PROMINENCE_DB {
            best = Some(level);
        }
    }
    best
}

/// Level of one frequency in dB of a full-scale sine, by Goertzel's recurrence over a Hann window.
fn goertzel_db(block: &[i16], hann: &[f64], rate_hz: u32, frequency_hz: f64) -> f64 {
    let len = block.len() as f64;
    let step = TAU * frequency_hz / f64::from(rate_hz);
    let twice_cos = 2.0 * step.cos();
    let (mut last, mut before) = (0.0f64, 0.0f64);
    for (&sample, hann) in block.iter().zip(hann) {
        let next = f64::from(sample) / 32_768.0 * hann + twice_cos * last - before;
        (before, last) = (last, next);
    }
    let power = last * last + before * before - twice_cos * last * before;
    // A full-scale sine under a Hann window has magnitude len / 4.
    10.0 * (power / (len / 4.0).powi(2)).max(1e-12).log10()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::g711;

    fn mixed(ids: &[u8], rate_hz: u32, start: u64) -> Vec<i16> {
        let mut sum = vec![0i16; rate_hz as usize * 3 / 2];
        for &id in ids {
            for (s, t) in sum
                .iter_mut()
                .zip(generate(id, rate_hz, start, rate_hz as usize * 3 / 2))
            {
                *s = s.saturating_add(t);
            }
        }
        sum
    }

    fn ids(heard: &[Heard]) -> Vec<u8> {
        heard.iter().map(|h| h.id).collect()
    }

    #[test]
    fn each_source_alone_is_heard_alone() {
        for rate_hz in [8_000, 16_000, 48_000] {
            for id in [1, 2, 8, 15, 16] {
                let heard = detect(&mixed(&[id], rate_hz, 4_711), rate_hz);
                assert_eq!(ids(&heard), [id], "at {rate_hz} Hz");
                assert!((heard[0].level_db - PEAK_DBFS).abs() < 4.0, "{heard:?}");
            }
        }
    }

    #[test]
    fn eight_sources_are_told_apart_through_mu_law_and_a_law() {
        let sources = [1, 3, 4, 7, 9, 12, 15, 16];
        let pcm = mixed(&sources, 8_000, 0);
        for (encode, decode) in [
            (
                g711::encode_mu as fn(i16) -> u8,
                g711::decode_mu as fn(u8) -> i16,
            ),
            (g711::encode_a, g711::decode_a),
        ] {
            let coded: Vec<i16> = pcm.iter().map(|&s| decode(encode(s))).collect();
            assert_eq!(ids(&detect(&coded, 8_000)), sources);
        }
    }

    #[test]
    fn noise_is_no_tone_and_hides_none() {
        let mut state = 7u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Uniform within a range of 1000: about -41 dBFS.
            ((state >> 16) % 1_000) as i16 - 500
        };
        let only: Vec<i16> = (0..16_000).map(|_| noise()).collect();
        assert_eq!(detect(&only, 8_000), []);
        let with: Vec<i16> = mixed(&[5, 11], 8_000, 0)
            .iter()
            .map(|s| s.saturating_add(noise()))
            .collect();
        assert_eq!(ids(&detect(&with, 8_000)), [5, 11]);
    }

    #[test]
    fn ids_without_a_tone_are_silent() {
        assert_eq!(generate(0, 8_000, 0, 4), [0; 4]);
        assert_eq!(generate(17, 8_000, 0, 4), [0; 4]);
        assert_eq!(detect(&[], 8_000), []);
    }

    #[test]
    fn a_tone_repeats_after_its_period() {
        let rate = 8_000;
        let later = u64::from(rate) * PERIOD_S as u64;
        let (first, again) = (generate(6, rate, 0, 400), generate(6, rate, later, 400));
        assert!(first.iter().zip(&again).all(|(a, b)| a.abs_diff(*b) <= 1));
    }
}
