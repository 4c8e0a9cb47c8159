//! G.711 companding, from the definition in ITU-T G.711 (1988) tables 1 and 2.

const MU_BIAS: i32 = 0x84;
const MU_CLIP: i32 = 32_635;

/// 16-bit linear to µ-law.
pub fn encode_mu(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = i32::from(sample).abs().min(MU_CLIP) + MU_BIAS;
    let segment = 24 - magnitude.leading_zeros() as i32;
    let mantissa = magnitude >> (segment + 3) & 0x0f;
    !(sign | (segment << 4) as u8 | mantissa as u8)
}

/// µ-law to 16-bit linear.
pub fn decode_mu(code: u8) -> i16 {
    let code = !code;
    let segment = i32::from(code >> 4 & 7);
    let magnitude = ((i32::from(code & 0x0f) << 3 | MU_BIAS) << segment) - MU_BIAS;
    (if code & 0x80 != 0 {
        -magnitude
    } else {
        magnitude
    }) as i16
}

/// 16-bit linear to A-law.
pub fn encode_a(sample: i16) -> u8 {
    let sign = if sample >= 0 { 0x80 } else { 0 };
    let linear = i32::from(sample);
    let magnitude = (if linear < 0 { -linear - 1 } else { linear }) >> 4;
    let segment = (28 - magnitude.leading_zeros() as i32).max(0);
    let mantissa = magnitude >> (segment - 1).max(0) & 0x0f;
    (sign | (segment << 4) as u8 | mantissa as u8) ^ 0x55
}

/// A-law to 16-bit linear.
pub fn decode_a(code: u8) -> i16 {
    let code = code ^ 0x55;
    let segment = i32::from(code >> 4 & 7);
    let mantissa = i32::from(code & 0x0f) << 4 | 8;
    let magnitude = if segment == 0 {
        mantissa
    } else {
        (mantissa | 0x100) << (segment - 1)
    };
    (if code & 0x80 != 0 {
        magnitude
    } else {
        -magnitude
    }) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A companded sample is off by half of its segment's step at most.
    #[test]
    fn every_sample_comes_back_within_its_step() {
        for sample in i16::MIN..=i16::MAX {
            let step = i32::from(sample).abs() / 16 + 16;
            for back in [decode_mu(encode_mu(sample)), decode_a(encode_a(sample))] {
                let error = (i32::from(back) - i32::from(sample)).abs();
                assert!(error <= step, "{sample} became {back}");
            }
        }
    }

    #[test]
    fn every_code_is_its_own_image() {
        for code in 0..=255u8 {
            assert_eq!(encode_a(decode_a(code)), code);
            // µ-law has two zeros.
            let back = encode_mu(decode_mu(code));
            assert!(
                back == code || (code == 0x7f && back == 0xff),
                "{code:02x} {back:02x}"
            );
        }
    }

    #[test]
    fn silence_has_the_usual_codes() {
        assert_eq!(encode_mu(0), 0xff);
        assert_eq!(encode_a(0), 0xd5);
    }
}
