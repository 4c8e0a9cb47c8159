//! How good speech is by what is known of its way: the E-model of ITU-T G.107, with the impairments of
//! codecs of G.113 Appendix I.
//!
//! The model is of narrow-band speech, and G.113 has figures for few codecs: what it says nothing of is
//! not rated. Echo, level and noise are taken to be the defaults of G.107 §7.7.

use std::time::Duration;

use mcu_api::codec::AudioCodec;

/// R without delay, loss and coding: the defaults of G.107 §7.7.
const R_DEFAULT: f64 = 93.2;
/// Delay in ms from which on people interrupt each other, after the approximation of G.107's Idd by Cole
/// and Rosenbluth (2001).
const INTERRUPTS_MS: f64 = 177.3;

/// Mean opinion score, 1 to 4.5, of speech coded so, of which this share is concealed or lost, and that is
/// heard so long after it was said. `None`: not rated.
pub fn mos(codec: AudioCodec, lost: f64, one_way: Duration) -> Option<f64> {
    let (equipment, robustness) = impairment(codec)?;
    let percent = lost.clamp(0.0, 1.0) * 100.0;
    // G.107 §3.5, with BurstR of 1: losses are random.
    let coding = equipment + (95.0 - equipment) * percent / (percent + robustness);
    let ms = one_way.as_secs_f64() * 1_000.0;
    let delay = 0.024 * ms + 0.11 * (ms - INTERRUPTS_MS).max(0.0);
    Some(score(R_DEFAULT - delay - coding))
}

/// Ie and Bpl, G.113 Appendix I tables I.1 and I.4, with concealment.
const fn impairment(codec: AudioCodec) -> Option<(f64, f64)> {
    match codec {
        AudioCodec::Pcmu | AudioCodec::Pcma => Some((0.0, 25.1)),
        AudioCodec::G729 => Some((11.0, 19.0)),
        _ => None,
    }
}

/// G.107 Annex B.
fn score(r: f64) -> f64 {
    match r {
        ..=0.0 => 1.0,
        100.0.. => 4.5,
        r => 1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rated(codec: AudioCodec, percent: f64, ms: u64) -> f64 {
        mos(codec, percent / 100.0, Duration::from_millis(ms)).unwrap()
    }

    /// G.107 §7.7: the defaults give R of 93.2, which is a score of 4.41.
    #[test]
    fn speech_on_a_perfect_line_has_the_score_of_the_defaults() {
        assert!((rated(AudioCodec::Pcma, 0.0, 0) - 4.41).abs() < 0.01);
        // G.113: Ie of 11 for G.729A.
        assert!((rated(AudioCodec::G729, 0.0, 0) - 4.10).abs() < 0.02);
    }

    #[test]
    fn loss_and_delay_are_heard_and_what_has_no_figures_is_not_rated() {
        let at = |percent, ms| rated(AudioCodec::Pcmu, percent, ms);
        assert!(at(1.0, 50) > at(5.0, 50) && at(5.0, 50) > at(20.0, 50));
        assert!(at(0.0, 150) > 4.2 && at(0.0, 400) < 3.5);
        // 10 %: Ie,eff of 27.1.
        assert!((at(10.0, 0) - 3.40).abs() < 0.05, "{}", at(10.0, 0));
        assert!(at(100.0, 1_000) >= 1.0);
        assert_eq!(mos(AudioCodec::Opus, 0.0, Duration::ZERO), None);
    }
}
