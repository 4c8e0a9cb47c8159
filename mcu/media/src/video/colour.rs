//! Colour: which matrix and range the samples of a picture mean, and conversion between them.

/// Weights of red, green and blue in luma (ITU-T H.273 table 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Matrix {
    /// ITU-R BT.601, standard definition.
    Bt601,
    /// ITU-R BT.709, high definition.
    Bt709,
}

/// Which sample values black and white have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Range {
    /// Luma 16 to 235, chroma 16 to 240.
    Limited,
    /// 0 to 255.
    Full,
}

/// Meaning of a picture's samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Colour {
    /// The matrix.
    pub matrix: Matrix,
    /// The range.
    pub range: Range,
}

impl Colour {
    /// BT.709, limited range: composed pictures.
    pub const BT709: Self = Self {
        matrix: Matrix::Bt709,
        range: Range::Limited,
    };
    /// BT.601, limited range.
    pub const BT601: Self = Self {
        matrix: Matrix::Bt601,
        range: Range::Limited,
    };

    /// What an unlabelled picture most likely is: BT.709 from 720 lines or 1280 columns on.
    pub fn guess(width: u32, height: u32) -> Self {
        if width >= 1280 || height >= 720 {
            Self::BT709
        } else {
            Self::BT601
        }
    }
}

/// Fraction bits of the coefficients. With 14 a gain below 2 fits 16 bits, and the upper half of a
/// 16-bit product is what the plainest vector unit offers.
const COEFFICIENT_FRACTION: u32 = 14;
/// Bits that samples are raised by before they are multiplied.
const SAMPLE_RAISE: u32 = 7;
/// Fraction bits of a product's upper half, and of sums.
const SUM_FRACTION: u32 = COEFFICIENT_FRACTION + SAMPLE_RAISE - 16;

/// Integer conversion of luma and chroma, after ITU-T H.273 equations 47 to 52.
///
/// Chroma of the result does not depend on luma, as both spaces are linear in each other and grey
/// stays grey.
#[derive(Clone, Copy, Debug)]
pub struct Conversion {
    /// Luma from luma, Cb, Cr.
    luma: [i16; 3],
    /// Added to a row's sums; rounds too.
    luma_offset: i16,
    /// Cb from Cb, Cr.
    cb: [i16; 2],
    /// Cr from Cb, Cr.
    cr: [i16; 2],
}

impl Conversion {
    /// From one meaning to another; `None` if they are equal.
    pub fn between(from: Colour, to: Colour) -> Option<Self> {
        if from == to {
            return None;
        }
        let ((from_kr, from_kb), (to_kr, to_kb)) = (weights(from.matrix), weights(to.matrix));
        // R, G, B of unit Y, Cb, Cr of the source (chroma from -1/2 to 1/2).
        let red = [1.0, 0.0, 2.0 * (1.0 - from_kr)];
        let blue = [1.0, 2.0 * (1.0 - from_kb), 0.0];
        let from_kg = 1.0 - from_kr - from_kb;
        let green: [f64; 3] = std::array::from_fn(|i| {
            let unit = if i == 0 { 1.0 } else { 0.0 };
            (unit - from_kr * red[i] - from_kb * blue[i]) / from_kg
        });
        let to_kg = 1.0 - to_kr - to_kb;
        let luma: [f64; 3] =
            std::array::from_fn(|i| to_kr * red[i] + to_kg * green[i] + to_kb * blue[i]);
        let cb: [f64; 3] = std::array::from_fn(|i| (blue[i] - luma[i]) / (2.0 * (1.0 - to_kb)));
        let cr: [f64; 3] = std::array::from_fn(|i| (red[i] - luma[i]) / (2.0 * (1.0 - to_kr)));
        let ((from_luma, from_chroma, from_black), (to_luma, to_chroma, to_black)) =
            (excursions(from.range), excursions(to.range));
        let unit = f64::from(1 << COEFFICIENT_FRACTION);
        let fixed = |value: f64| (value * unit).round() as i16;
        let chroma = to_chroma / from_chroma;
        let luma_gain = to_luma / from_luma;
        let black = f64::from(to_black) - f64::from(from_black) * luma[0] * luma_gain;
        // Half a step to round, and half a unit for each product that was cut.
        let rounding = 0.5 + 1.5 / f64::from(1 << SUM_FRACTION);
        Some(Self {
            luma: [
                fixed(luma[0] * luma_gain),
                fixed(luma[1] * to_luma / from_chroma),
                fixed(luma[2] * to_luma / from_chroma),
            ],
            luma_offset: ((black + rounding) * f64::from(1 << SUM_FRACTION)).round() as i16,
            cb: [fixed(cb[1] * chroma), fixed(cb[2] * chroma)],
            cr: [fixed(cr[1] * chroma), fixed(cr[2] * chroma)],
        })
    }

    /// Converts two rows of luma and the row of chroma that they share, in place. Rows of luma are
    /// twice as long as those of chroma. `scratch` is working memory, of any length.
    pub fn rows(&self, luma: [&mut [u8]; 2], cb: &mut [u8], cr: &mut [u8], scratch: &mut Vec<i16>) {
        scratch.resize(2 * cb.len(), 0);
        let (pairs, _) = scratch.as_chunks_mut::<2>();
        for ((pair, cb), cr) in pairs.iter_mut().zip(&*cb).zip(&*cr) {
            let (u, v) = (i16::from(*cb) - 128, i16::from(*cr) - 128);
            *pair = [product(self.luma[1], u) + product(self.luma[2], v) + self.luma_offset; 2];
        }
        for row in luma {
            for (luma, from_chroma) in row.iter_mut().zip(&*scratch) {
                *luma = sample(product(self.luma[0], i16::from(*luma)) + from_chroma);
            }
        }
        for (cb, cr) in cb.iter_mut().zip(cr) {
            let (u, v) = (i16::from(*cb) - 128, i16::from(*cr) - 128);
            // 128 again, half a step to round, and half a unit for each product that was cut.
            let offset = (128 << SUM_FRACTION) + (1 << (SUM_FRACTION - 1)) + 1;
            *cb = sample(product(self.cb[0], u) + product(self.cb[1], v) + offset);
            *cr = sample(product(self.cr[0], u) + product(self.cr[1], v) + offset);
        }
    }
}

/// Coefficient times sample, with `SUM_FRACTION` bits of fraction.
fn product(coefficient: i16, sample: i16) -> i16 {
    ((i32::from(coefficient) * i32::from(sample << SAMPLE_RAISE)) >> 16) as i16
}

fn sample(sum: i16) -> u8 {
    (sum >> SUM_FRACTION).clamp(0, 255) as u8
}

/// Weights of red and blue.
fn weights(matrix: Matrix) -> (f64, f64) {
    match matrix {
        Matrix::Bt601 => (0.299, 0.114),
        Matrix::Bt709 => (0.2126, 0.0722),
    }
}

/// Steps from black to white, steps of chroma, and black.
fn excursions(range: Range) -> (f64, f64, i32) {
    match range {
        Range::Limited => (219.0, 224.0, 16),
        Range::Full => (255.0, 255.0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Y, Cb, Cr of an R'G'B' colour (0 to 1), straight from H.273.
    fn bar_in(colour: Colour, rgb: [f64; 3]) -> [u8; 3] {
        let (kr, kb) = weights(colour.matrix);
        let y = kr * rgb[0] + (1.0 - kr - kb) * rgb[1] + kb * rgb[2];
        let (cb, cr) = (
            (rgb[2] - y) / (2.0 - 2.0 * kb),
            (rgb[0] - y) / (2.0 - 2.0 * kr),
        );
        let (luma, chroma, black) = excursions(colour.range);
        [
            y * luma + f64::from(black),
            cb * chroma + 128.0,
            cr * chroma + 128.0,
        ]
        .map(|v| v.round().clamp(0.0, 255.0) as u8)
    }

    #[test]
    fn bars_keep_their_colour_within_two_steps() {
        let matrices = [Matrix::Bt601, Matrix::Bt709];
        let ranges = [Range::Limited, Range::Full];
        let all = matrices.map(|matrix| ranges.map(|range| Colour { matrix, range }));
        for from in all.concat() {
            for to in all.concat() {
                let Some(conversion) = Conversion::between(from, to) else {
                    assert_eq!(from, to);
                    continue;
                };
                for bar in 0..8 {
                    let rgb =
                        [bar & 2, bar & 4, bar & 1].map(|bit| if bit > 0 { 0.75 } else { 0.0 });
                    let [y, u, v] = bar_in(from, rgb);
                    let (mut upper, mut lower, mut cb, mut cr) = ([y; 4], [y; 4], [u; 2], [v; 2]);
                    let luma = [&mut upper[..], &mut lower[..]];
                    conversion.rows(luma, &mut cb, &mut cr, &mut Vec::new());
                    let expected = bar_in(to, rgb);
                    for (got, want) in [upper[3], cb[1], cr[1]].iter().zip(expected) {
                        assert!(
                            got.abs_diff(want) <= 2,
                            "{from:?} {to:?} {rgb:?} {got} {want}"
                        );
                    }
                }
            }
        }
    }
}
