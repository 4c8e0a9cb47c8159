//! How finely each region is quantised, §3.6 to §3.8: category 0 is the finest, 7 sends no coefficient.
//! Both sides find a row of choices from the powers alone, and the coder says which of it fits the frame.

use super::MAX_REGIONS;

/// Categories.
pub const CATEGORIES: i32 = 8;
/// Bits that a region of each category is expected to take, table 4.
const EXPECTED_BITS: [i32; CATEGORIES as usize] = [52, 47, 43, 37, 29, 22, 16, 0];
/// Most choices.
const MAX_CHOICES: usize = 32;

/// The finest choice, and the regions that become coarser, one for each step from it.
pub struct Plan {
    finest: [i32; MAX_REGIONS],
    steps: Vec<usize>,
}

impl Plan {
    /// The region that becomes coarser with this step.
    pub fn step(&self, shift: usize) -> usize {
        self.steps.get(shift).copied().unwrap_or(0)
    }

    /// Steps.
    pub fn steps(&self) -> usize {
        self.steps.len()
    }

    /// Categories after so many steps.
    pub fn shifted(&self, shift: usize) -> [i32; MAX_REGIONS] {
        let mut categories = self.finest;
        for region in self.steps.iter().take(shift) {
            categories[*region] = (categories[*region] + 1).min(CATEGORIES - 1);
        }
        categories
    }
}

fn expected(categories: &[i32]) -> i32 {
    categories.iter().map(|c| EXPECTED_BITS[*c as usize]).sum()
}

/// The choices for regions of these powers and so many bits; `choices` is 16, or 32 of Annex C.
pub fn plan(powers: &[i32], bits: usize, choices: usize) -> Plan {
    let regions = powers.len();
    // Above a bit a coefficient categories take more than is expected.
    let frame = if choices == MAX_CHOICES { 640 } else { 320 };
    let bits = bits as i32;
    let bits = if bits > frame {
        frame + (bits - frame) * 5 / 8
    } else {
        bits
    };
    let offset = offset(powers, bits);
    let mut finest = [0; MAX_REGIONS];
    for (category, power) in finest.iter_mut().zip(powers) {
        *category = category_at(offset, *power);
    }
    let mut coarsest = finest;
    let (mut most, mut least) = (expected(&finest[..regions]), expected(&finest[..regions]));
    // Steps towards the finer in the order in which they are found, and towards the coarser.
    let (mut finer, mut coarser) = (Vec::new(), Vec::new());
    for _ in 1..choices {
        let cost = |categories: &[i32; MAX_REGIONS], region: usize| {
            offset - powers[region] - 2 * categories[region]
        };
        if most + least <= 2 * bits {
            // The first of those that gain most.
            let candidates = (0..regions).filter(|region| finest[*region] > 0);
            let region = candidates
                .min_by_key(|region| cost(&finest, *region))
                .unwrap_or(0);
            finer.push(region);
            most -= EXPECTED_BITS[finest[region] as usize];
            finest[region] = (finest[region] - 1).max(0);
            most += EXPECTED_BITS[finest[region] as usize];
        } else {
            // The last of those that lose least.
            let candidates = (0..regions).filter(|region| coarsest[*region] < CATEGORIES - 1);
            let region = candidates
                .max_by_key(|region| cost(&coarsest, *region))
                .unwrap_or(0);
            coarser.push(region);
            least -= EXPECTED_BITS[coarsest[region] as usize];
            coarsest[region] = (coarsest[region] + 1).min(CATEGORIES - 1);
            least += EXPECTED_BITS[coarsest[region] as usize];
        }
    }
    let steps = finer.into_iter().rev().chain(coarser).collect();
    Plan { finest, steps }
}

fn category_at(offset: i32, power: i32) -> i32 {
    // Rounded down, also below zero.
    ((offset - power) >> 1).clamp(0, CATEGORIES - 1)
}

/// The offset at which the categories take about the bits that there are.
fn offset(powers: &[i32], bits: i32) -> i32 {
    let (mut offset, mut step) = (-32, 32);
    while step > 0 {
        let tried = offset + step;
        let categories = powers.iter().map(|power| category_at(tried, *power));
        let expected: i32 = categories.map(|c| EXPECTED_BITS[c as usize]).sum();
        if expected >= bits - 32 {
            offset = tried;
        }
        step /= 2;
    }
    offset
}
