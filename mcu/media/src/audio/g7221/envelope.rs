//! The powers of the regions, §3.5 and §4.2, in steps of 3 dB.

use std::sync::OnceLock;

use super::bits::{Reader, Tree, Writer};
use super::tables::{LEVELS, POWER_CODES, POWER_LENGTHS};
use super::{MAX_REGIONS, REGION};

/// Powers are told from here: the first region's least is 1.
const OFFSET: i32 = 7;
/// Least and greatest power, counted from there.
const RANGE: std::ops::RangeInclusive<i32> = -8..=31;
/// Least and greatest difference from one region to the next.
const FALL: i32 = 12;
const RISE: i32 = 11;
/// Bits of the first region's power.
const FIRST_BITS: usize = 5;

/// Writes the powers of the regions of these coefficients, and returns them as they are read: each the
/// binary logarithm of the mean square.
pub fn write(coded: &[f32], writer: &mut Writer) -> [i32; MAX_REGIONS] {
    let mut powers = [0; MAX_REGIONS];
    let regions = coded.len() / REGION;
    for (power, region) in powers.iter_mut().zip(coded.chunks_exact(REGION)) {
        let mean = region.iter().map(|value| value * value).sum::<f32>() / REGION as f32;
        // Silence has the least.
        *power = ((mean.max(f32::MIN_POSITIVE).log2() + 0.5).floor() as i32).clamp(-24, 39);
    }
    // No peak rises more above what is before it than can be told.
    for region in (0..regions - 1).rev() {
        powers[region] = powers[region].max(powers[region + 1] - RISE);
    }
    powers[0] = powers[0].clamp(1 - OFFSET, RANGE.end() - OFFSET);
    writer.put((powers[0] + OFFSET) as u32, FIRST_BITS);
    for region in 1..regions {
        let bounded = powers[region].clamp(RANGE.start() - OFFSET, RANGE.end() - OFFSET);
        let step = (bounded - powers[region - 1]).clamp(-FALL, RISE);
        powers[region] = powers[region - 1] + step;
        let (row, level) = (row(region), (step + FALL) as usize);
        let length = usize::from(POWER_LENGTHS[row][level]);
        writer.put(POWER_CODES[row][level].into(), length);
    }
    powers
}

/// Reads the powers. `None`: they are out of range, or end too early.
pub fn read(reader: &mut Reader<'_>, regions: usize) -> Option<[i32; MAX_REGIONS]> {
    let mut powers = [0; MAX_REGIONS];
    powers[0] = reader.take(FIRST_BITS)? as i32 - OFFSET;
    for region in 1..regions {
        let level = trees().get(row(region))?.read(reader)?;
        powers[region] = powers[region - 1] + level as i32 - FALL;
    }
    let known = &powers[..regions];
    let fits = known.iter().all(|power| RANGE.contains(&(power + OFFSET)));
    fits.then_some(powers)
}

/// Codes of a region behind the first; those of Annex C that the Recommendation adds are all alike.
fn row(region: usize) -> usize {
    (region - 1).min(POWER_CODES.len() - 1)
}

fn trees() -> &'static [Tree] {
    static TREES: OnceLock<Vec<Tree>> = OnceLock::new();
    TREES.get_or_init(|| {
        let rows = POWER_CODES.iter().zip(&POWER_LENGTHS);
        rows.map(|(codes, lengths): (&[u16; LEVELS], _)| Tree::new(codes, lengths))
            .collect()
    })
}
