//! G.711: µ-law and A-law.
//!
//! The tables are computed from the segment formulas of ITU-T G.711 (tables 1a and 2a) at compile
//! time; samples are scaled to 16 bits.

/// Bias added to a magnitude before µ-law segments are formed, in 16-bit scale.
const ULAW_BIAS: i32 = 0x84;
/// Largest magnitude that µ-law can carry, in 16-bit scale.
const ULAW_CLIP: i32 = 32_635;

static ULAW_TO_LINEAR: [i16; 256] = table(Law::Mu);
static ALAW_TO_LINEAR: [i16; 256] = table(Law::A);

/// Which of the two laws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// µ-law, PCMU.
    Mu,
    /// A-law, PCMA.
    A,
}

/// Appends the samples of `payload`.
pub fn decode(law: Law, payload: &[u8], out: &mut Vec<i16>) {
    let table = match law {
        Law::Mu => &ULAW_TO_LINEAR,
        Law::A => &ALAW_TO_LINEAR,
    };
    out.extend(payload.iter().map(|&code| table[usize::from(code)]));
}

/// Appends one byte a sample.
pub fn encode(law: Law, pcm: &[i16], out: &mut Vec<u8>) {
    match law {
        Law::Mu => out.extend(pcm.iter().map(|&sample| linear_to_ulaw(sample))),
        Law::A => out.extend(pcm.iter().map(|&sample| linear_to_alaw(sample))),
    }
}

const fn table(law: Law) -> [i16; 256] {
    let mut values = [0; 256];
    let mut code = 0;
    while code < 256 {
        values[code] = match law {
            Law::Mu => ulaw_expand(code as u8),
            Law::A => alaw_expand(code as u8),
        };
        code += 1;
    }
    values
}

const fn ulaw_expand(code: u8) -> i16 {
    let bits = !code;
    let segment = ((bits >> 4) & 7) as i32;
    let step = (bits & 0x0f) as i32;
    let magnitude = (((step << 3) + ULAW_BIAS) << segment) - ULAW_BIAS;
    (if bits & 0x80 != 0 {
        -magnitude
    } else {
        magnitude
    }) as i16
}

const fn alaw_expand(code: u8) -> i16 {
    let bits = code ^ 0x55; // even bits are inverted on the line, G.711 table 1a note 2
    let segment = ((bits >> 4) & 7) as i32;
    let step = (bits & 0x0f) as i32;
    let magnitude = match segment {
        0 => (step << 4) + 8,
        _ => ((step << 4) + 0x108) << (segment - 1),
    };
    (if bits & 0x80 != 0 {
        magnitude
    } else {
        -magnitude
    }) as i16
}

fn linear_to_ulaw(sample: i16) -> u8 {
    let magnitude = i32::from(sample).abs().min(ULAW_CLIP) + ULAW_BIAS;
    let segment = magnitude.ilog2() - 7;
    let step = (magnitude >> (segment + 3)) & 0x0f;
    let sign = if sample < 0 { 0x80 } else { 0 };
    !(sign | (segment as u8) << 4 | step as u8)
}

fn linear_to_alaw(sample: i16) -> u8 {
    // A-law has no zero: -1 is the first negative value, so negatives count from there.
    let negative = sample < 0;
    let magnitude = i32::from(if negative { !sample } else { sample });
    let segment = (magnitude >> 8).checked_ilog2().map_or(0, |log| log + 1);
    let step = (magnitude >> segment.saturating_sub(1).saturating_add(4)) & 0x0f;
    let sign = if negative { 0 } else { 0x80 };
    (sign | (segment as u8) << 4 | step as u8) ^ 0x55
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_decoding_and_encoding() {
        for law in [Law::Mu, Law::A] {
            let codes: Vec<u8> = (0..=255).collect();
            let (mut pcm, mut back) = (Vec::new(), Vec::new());
            decode(law, &codes, &mut pcm);
            encode(law, &pcm, &mut back);
            for (code, again) in codes.iter().zip(&back) {
                // µ-law has two zeroes, 0xff and 0x7f.
                let expected = if law == Law::Mu && *code == 0x7f {
                    0xff
                } else {
                    *code
                };
                assert_eq!(*again, expected, "{law:?}");
            }
        }
    }

    #[test]
    fn every_sample_stays_within_half_a_step_and_in_order() {
        for law in [Law::Mu, Law::A] {
            let samples: Vec<i16> = (i16::MIN..=i16::MAX).collect();
            let (mut codes, mut back) = (Vec::new(), Vec::new());
            encode(law, &samples, &mut codes);
            decode(law, &codes, &mut back);
            assert!(back.is_sorted(), "{law:?}");
            for (sample, decoded) in samples.iter().zip(&back) {
                let (sample, decoded) = (i32::from(*sample), i32::from(*decoded));
                // A segment has 16 steps; half of one is at most 1/32 of the magnitude.
                let bound = (sample.abs() + ULAW_BIAS) / 31 + 8;
                assert!(
                    (decoded - sample).abs() <= bound,
                    "{law:?} {sample} {decoded}"
                );
            }
        }
    }
}
