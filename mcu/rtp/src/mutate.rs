//! Mutated copies of a valid message, for tests of parsers.

use rand::{Rng, SeedableRng, rngs::StdRng};

/// Calls `check` with `count` mutated copies of `seed`: bits flipped, bytes replaced, cut, grown.
/// The same mutations on every run.
pub(crate) fn each_mutation(seed: &[u8], count: usize, mut check: impl FnMut(&[u8])) {
    let mut random = StdRng::seed_from_u64(seed.len() as u64);
    let mut data = Vec::new();
    for _ in 0..count {
        data.clear();
        data.extend_from_slice(seed);
        for _ in 0..random.random_range(1..5) {
            mutate(&mut random, &mut data);
        }
        check(&data);
    }
}

fn mutate(random: &mut StdRng, data: &mut Vec<u8>) {
    if data.is_empty() {
        data.push(random.random());
        return;
    }
    let at = random.random_range(0..data.len());
    match random.random_range(0..6) {
        0 => data[at] ^= 1 << random.random_range(0..8),
        1 => data[at] = random.random(),
        2 => data[at] = [0, 0xFF, 0x7F, 0x80][random.random_range(0..4)],
        3 => data.truncate(at),
        4 => data.insert(at, random.random()),
        _ => data.extend((0..random.random_range(1..40)).map(|_| random.random::<u8>())),
    }
}
