//! Every tier computes what the scalar tier computes.
//!
//! The scalar functions are the oracle; each property runs against every set in `Kernels::available()`, so a new tier or
//! a processor with more instructions is tested without a change here. Inputs take in odd numbers of rows and tokens,
//! rows of one block up, half-precision scales from subnormal to maximal, zero blocks and activations of 1e-30 to 1e30.
//! Where a tier may sum in another order, the tolerance follows from the sum of the absolute products; where it may not,
//! the bits must agree. Seeds are fixed: a failure prints the case, whose `seed` makes the same numbers again.

mod attend;
mod inputs;
mod matmul;
mod ops;

use kernels::Kernels;
use proptest::test_runner::{Config, RngSeed};

/// The settings of all properties of this binary.
fn config(cases: u32) -> Config {
    Config { cases, rng_seed: RngSeed::Fixed(0x55D_11A), failure_persistence: None, ..Config::default() }
}

#[test]
fn tiers_are_listed_slowest_first_and_found_by_name() {
    let available = Kernels::available();
    assert_eq!(available[0].name(), "scalar");
    assert_eq!(available[available.len() - 1].name(), Kernels::detect().name());
    for kernels in available {
        println!("tests run on tier {}", kernels.name());
        assert!(Kernels::all_names().contains(&kernels.name()));
        assert_eq!(Kernels::by_name(kernels.name()).map(Kernels::name), Some(kernels.name()));
    }
    assert!(Kernels::by_name("abacus").is_none());
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_avx2_tier_is_there_if_the_processor_has_the_instructions() {
    let has = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
    assert_eq!(Kernels::by_name("avx2").is_some(), has);
}
