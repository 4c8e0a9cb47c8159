//! The coefficients, §3.9, §4.3 and §4.4: each divided by its region's standard deviation, quantised,
//! joined to vectors, and coded with the signs behind.

use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};
use std::sync::OnceLock;

use super::bits::{Reader, Tree};
use super::categories::{CATEGORIES, Plan};
use super::{MAX_REGIONS, MAX_SAMPLES, REGION, tables};

/// What a category is made of, tables 5 to 7.
struct Category {
    /// Coefficients of a vector, and vectors of a region.
    dimension: usize,
    /// Greatest quantised value.
    most: usize,
    /// Step, by which coefficients in standard deviations are divided.
    step: f32,
    /// Added before the fraction is cut off.
    rounding: f32,
    /// What each quantised value stands for.
    centroids: &'static [f32],
    codes: &'static [u16],
    lengths: &'static [u8],
}

const fn category(
    (dimension, most): (usize, usize),
    (step, rounding): (f32, f32),
    centroids: &'static [f32],
    codes: &'static [u16],
    lengths: &'static [u8],
) -> Category {
    Category {
        dimension,
        most,
        step,
        rounding,
        centroids,
        codes,
        lengths,
    }
}

const CODED: [Category; 7] = [
    category(
        (2, 13),
        (0.353_553, 0.3),
        &[
            0.0, 0.392, 0.761, 1.12, 1.477, 1.832, 2.183, 2.541, 2.893, 3.245, 3.598, 3.942, 4.288,
            4.724,
        ],
        &tables::CODES_0,
        &tables::LENGTHS_0,
    ),
    category(
        (2, 9),
        (0.5, 0.33),
        &[
            0.0, 0.544, 1.06, 1.563, 2.068, 2.571, 3.072, 3.562, 4.07, 4.62,
        ],
        &tables::CODES_1,
        &tables::LENGTHS_1,
    ),
    category(
        (2, 6),
        (FRAC_1_SQRT_2, 0.36),
        &[0.0, 0.746, 1.464, 2.18, 2.882, 3.584, 4.316],
        &tables::CODES_2,
        &tables::LENGTHS_2,
    ),
    category(
        (4, 4),
        (1.0, 0.39),
        &[0.0, 1.006, 2.0, 2.993, 3.985],
        &tables::CODES_3,
        &tables::LENGTHS_3,
    ),
    category(
        (4, 3),
        (SQRT_2, 0.42),
        &[0.0, 1.321, 2.703, 3.983],
        &tables::CODES_4,
        &tables::LENGTHS_4,
    ),
    category(
        (5, 2),
        (2.0, 0.45),
        &[0.0, 1.657, 3.491],
        &tables::CODES_5,
        &tables::LENGTHS_5,
    ),
    category(
        (5, 1),
        (2.828_427, 0.5),
        &[0.0, 1.964],
        &tables::CODES_6,
        &tables::LENGTHS_6,
    ),
];

/// Codes of a region, each with its length in bits.
type Codes = Vec<(u32, u8)>;

/// Standard deviation of a region of this power.
fn deviation(power: i32) -> f32 {
    (power as f32 / 2.0).exp2()
}

/// Finds the choice of the plan that fits so many bits best: how far it is shifted, and the codes of all
/// regions.
pub fn quantise(coded: &[f32], powers: &[i32], plan: &Plan, bits: usize) -> (usize, Vec<Codes>) {
    let region = |region: usize, category: i32| {
        let values = &coded[region * REGION..(region + 1) * REGION];
        codes_of(values, powers[region], category)
    };
    // From the middle, as there is most to be gained either way.
    let mut shift = plan.steps().div_ceil(2) - 1;
    let mut categories = plan.shifted(shift);
    let mut parts: Vec<Codes> = (0..powers.len())
        .map(|n| region(n, categories[n]))
        .collect();
    let taken = |parts: &[Codes]| {
        parts
            .iter()
            .flatten()
            .map(|(_, len)| usize::from(*len))
            .sum::<usize>()
    };
    while taken(&parts) < bits && shift > 0 {
        shift -= 1;
        let finer = plan.step(shift);
        categories[finer] -= 1;
        parts[finer] = region(finer, categories[finer]);
    }
    while taken(&parts) > bits && shift < plan.steps() {
        let coarser = plan.step(shift);
        categories[coarser] += 1;
        parts[coarser] = region(coarser, categories[coarser]);
        shift += 1;
    }
    (shift, parts)
}

fn codes_of(values: &[f32], power: i32, category: i32) -> Codes {
    let Some(kind) = usize::try_from(category).ok().and_then(|n| CODED.get(n)) else {
        return Codes::new();
    };
    let factor = 1.0 / (kind.step * deviation(power));
    let vectors = values.chunks_exact(kind.dimension);
    let code = |vector: &[f32]| {
        let (mut symbol, mut signs, mut signed) = (0, 0, 0);
        for value in vector {
            let quantised = ((value.abs() * factor + kind.rounding) as usize).min(kind.most);
            symbol = symbol * (kind.most + 1) + quantised;
            if quantised > 0 {
                signs = signs << 1 | u32::from(*value > 0.0);
                signed += 1;
            }
        }
        let code = u32::from(kind.codes[symbol]) << signed | signs;
        (code, kind.lengths[symbol] + signed)
    };
    vectors.map(code).collect()
}

/// Reads the coefficients of all regions; what was not sent is made up by noise. `false`: the bits ended
/// before the coefficients did, and the rest is noise.
pub fn read(
    reader: &mut Reader<'_>,
    powers: &[i32],
    categories: &[i32],
    noise: &mut Noise,
    coded: &mut [f32; MAX_SAMPLES],
) -> bool {
    debug_assert!(powers.len() <= MAX_REGIONS);
    let mut is_whole = true;
    let regions = coded
        .chunks_exact_mut(REGION)
        .zip(powers.iter().zip(categories));
    for (values, (power, category)) in regions {
        let deviation = deviation(*power);
        let kind = usize::try_from(*category).ok().filter(|_| is_whole);
        let mut category = CATEGORIES - 1;
        if let Some((n, kind)) = kind.and_then(|n| Some((n, CODED.get(n)?))) {
            category = n as i32;
            if !read_region(reader, (n, kind), deviation, values) {
                is_whole = false;
                category = CATEGORIES - 1;
                values.fill(0.0);
            }
        }
        noise.fill(values, deviation, category);
    }
    is_whole
}

fn read_region(
    reader: &mut Reader<'_>,
    (n, kind): (usize, &Category),
    deviation: f32,
    values: &mut [f32],
) -> bool {
    for vector in values.chunks_exact_mut(kind.dimension) {
        let Some(mut symbol) = trees()[n].read(reader) else {
            return false;
        };
        let mut quantised = [0; 5];
        for value in quantised[..kind.dimension].iter_mut().rev() {
            (*value, symbol) = (symbol % (kind.most + 1), symbol / (kind.most + 1));
        }
        let quantised = &quantised[..kind.dimension];
        let signed = quantised.iter().filter(|value| **value > 0).count();
        let Some(signs) = reader.take(signed) else {
            return false;
        };
        let mut left = signed;
        for (value, quantised) in vector.iter_mut().zip(quantised) {
            *value = deviation * kind.centroids[*quantised];
            if *quantised > 0 {
                left -= 1;
                if signs >> left & 1 == 0 {
                    *value = -*value;
                }
            }
        }
    }
    true
}

fn trees() -> &'static [Tree] {
    static TREES: OnceLock<Vec<Tree>> = OnceLock::new();
    TREES.get_or_init(|| {
        let kinds = CODED.iter();
        kinds
            .map(|kind| Tree::new(kind.codes, kind.lengths))
            .collect()
    })
}

/// What stands for coefficients that were too small to be sent, §4.4.
pub struct Noise {
    /// Words of the generator, the newest first.
    words: [i16; 4],
}

impl Default for Noise {
    fn default() -> Self {
        Self { words: [1; 4] }
    }
}

impl Noise {
    /// Puts noise of the region's power in place of zeros: all of category 7, and as much of 5 and 6 as
    /// what was sent leaves to be expected.
    fn fill(&mut self, values: &mut [f32], deviation: f32, category: i32) {
        let sent = values.iter().filter(|value| **value != 0.0).count();
        let large = values
            .iter()
            .filter(|value| value.abs() > 2.0 * deviation)
            .count();
        let share = match category {
            5 => [FRAC_1_SQRT_2, 0.6179, 0.5005, 0.322]
                .get(sent + 3 * large)
                .copied()
                .unwrap_or(0.17678),
            6 => [FRAC_1_SQRT_2, 0.5686, 0.3563]
                .get(sent)
                .copied()
                .unwrap_or(0.25),
            7 => FRAC_1_SQRT_2,
            _ => return,
        };
        for half in values.chunks_mut(REGION / 2) {
            let mut signs = self.word();
            for value in half.iter_mut().filter(|value| **value == 0.0) {
                *value = if signs & 1 == 0 {
                    -deviation * share
                } else {
                    deviation * share
                };
                signs >>= 1;
            }
        }
    }

    fn word(&mut self) -> i16 {
        let [newest, .., oldest] = self.words;
        let mut word = newest.wrapping_add(oldest);
        if word < 0 {
            word = word.wrapping_add(1);
        }
        self.words.rotate_right(1);
        self.words[0] = word;
        word
    }
}
