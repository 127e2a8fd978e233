//! Every target survives its seeds and every shorter input.

use fuzz::TARGETS;

/// Lengths of each seed that are tried.
const LENGTHS: usize = 64;

#[test]
fn every_target_survives_its_seeds_and_their_beginnings() {
    for target in TARGETS {
        for seed in (target.seeds)() {
            (0..=LENGTHS).for_each(|i| (target.run)(&seed[..seed.len() * i / LENGTHS]));
        }
    }
}
