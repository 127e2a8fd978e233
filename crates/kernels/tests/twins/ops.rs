//! The operations between the matrix products, tier by tier.

use kernels::{Activation, ActivationType, Kernels, KvType, RopeLayout};
use proptest::prelude::*;

use crate::config;
use crate::inputs::Random;

/// Half the distance from 1 to the next f32: the relative error of one rounding.
pub(crate) const ROUNDING: f64 = f32::EPSILON as f64 / 2.0;

fn magnitudes() -> impl Strategy<Value = f32> {
    prop::sample::select(vec![1e-38f32, 1e-30, 1e-5, 1.0, 1.0, 30.0, 1e10, 1e30])
}

/// Asserts `|want - got| <= relative * |want| + absolute`, where broken numbers must be broken alike.
pub(crate) fn assert_near(kernels: &Kernels, want: &[f32], got: &[f32], relative: f64, absolute: f64) {
    for (i, (want, got)) in want.iter().zip(got).enumerate() {
        let error = (f64::from(*want) - f64::from(*got)).abs();
        let allowed = relative * f64::from(want.abs()) + absolute;
        let near = want.to_bits() == got.to_bits() || (want.is_nan() && got.is_nan()) || error <= allowed;
        assert!(near, "{kernels:?} value {i}: {want} {got}, {error} > {allowed}");
    }
}

/// Sprinkles some broken numbers into `x`.
fn break_some(x: &mut [f32], random: &mut Random) {
    for _ in 0..random.below(3) {
        if !x.is_empty() {
            let i = random.below(x.len() as u64) as usize;
            x[i] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0][random.below(4) as usize];
        }
    }
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn quantised_bytes_are_equal(blocks in 1..6usize, magnitude in magnitudes(), broken: bool, seed: u64) {
        let mut random = Random::new(seed);
        for (activation, len) in [(ActivationType::F32, 7), (ActivationType::Q8_1, 32), (ActivationType::Q8_K, 256)] {
            let mut x = random.rough_vector(blocks * len, magnitude);
            if broken {
                break_some(&mut x, &mut random);
            }
            // Ties between a value and its negative decide the sign of a Q8_K scale.
            x[len - 1] = -x[len - 2];
            let mut want = vec![0xAA; activation.row_bytes(x.len())];
            Kernels::scalar().quantise(activation, &x, &mut want);
            // Its own arrangement is compared where it is made, in simd/avx512/activation.rs.
            for kernels in Kernels::available().iter().filter(|kernels| kernels.name() != "avx512") {
                let mut got = vec![0x55; want.len()];
                kernels.quantise(activation, &x, &mut got);
                prop_assert_eq!(&want, &got, "{:?} {:?}", kernels, activation);
            }
        }
    }

    #[test]
    fn norms_agree(len in 1..200usize, magnitude in magnitudes(), seed: u64) {
        let mut random = Random::new(seed);
        let (x, weight) = (random.rough_vector(len, magnitude), random.vector(len, 2.0));
        let mut want = vec![0.0; len];
        Kernels::scalar().rms_norm(&x, &weight, 1e-5, &mut want);
        for kernels in Kernels::available() {
            let mut got = vec![0.0; len];
            kernels.rms_norm(&x, &weight, 1e-5, &mut got);
            let mut in_place = x.clone();
            kernels.rms_norm_in_place(&mut in_place, &weight, 1e-5);
            prop_assert_eq!(&got, &in_place, "{:?}", kernels);
            assert_near(kernels, &want, &got, 4.0 * ROUNDING, f64::from(f32::MIN_POSITIVE) * 4.0 * ROUNDING);
        }
    }

    #[test]
    fn rotations_agree(pairs in 0..70usize, rest in 0..9usize, halves: bool, seed: u64) {
        let mut random = Random::new(seed);
        let layout = if halves { RopeLayout::Halves } else { RopeLayout::Interleaved };
        let angles = random.vector(pairs, 3.2);
        let cos_sin: Vec<[f32; 2]> = angles.iter().map(|a| [a.cos(), a.sin()]).collect();
        let head = random.vector(2 * pairs + rest, 5.0);
        let mut want = head.clone();
        Kernels::scalar().rope(&mut want, &cos_sin, layout);
        for kernels in Kernels::available() {
            let mut got = head.clone();
            kernels.rope(&mut got, &cos_sin, layout);
            // Two products of at most 5 and their sum, on either side.
            assert_near(kernels, &want, &got, 0.0, 2.0 * 4.0 * 5.0 * ROUNDING);
            prop_assert_eq!(&want[2 * pairs..], &got[2 * pairs..]);
        }
    }

    #[test]
    fn gates_agree(len in 0..100usize, magnitude in magnitudes(), broken: bool, gelu: bool, seed: u64) {
        let activation = if gelu { Activation::Gelu } else { Activation::Silu };
        let mut random = Random::new(seed);
        let (mut gate, up) = (random.vector(len, magnitude), random.vector(len, 3.0));
        if broken {
            break_some(&mut gate, &mut random);
        }
        let mut want = gate.clone();
        Kernels::scalar().gate(activation, &mut want, &up);
        for kernels in Kernels::available() {
            let mut got = gate.clone();
            kernels.gate(activation, &mut got, &up);
            // Where the exponential overflows, the result is below |x| / f32::MAX.
            assert_near(kernels, &want, &got, 12.0 * ROUNDING, 1e-35);
        }
    }

    #[test]
    fn scaled_and_capped_numbers_are_equal(len in 0..100usize, magnitude in magnitudes(), seed: u64) {
        let x = Random::new(seed).rough_vector(len, magnitude);
        for kernels in Kernels::available() {
            let (mut scaled, mut capped) = (x.clone(), x.clone());
            kernels.scale(&mut scaled, 0.3);
            kernels.soft_cap(&mut capped, 30.0);
            for (i, x) in x.iter().enumerate() {
                prop_assert_eq!(scaled[i], x * 0.3);
                let want = 30.0 * (f64::from(*x) / 30.0).tanh();
                let error = (f64::from(capped[i]) - want).abs();
                prop_assert!(error <= 12.0 * ROUNDING * want.abs() + 1e-40, "{:?} {}: {}", kernels, want, error);
            }
        }
    }

    #[test]
    fn additions_and_stored_values_are_equal(len in 0..100usize, magnitude in magnitudes(), seed: u64) {
        let mut random = Random::new(seed);
        let (x, y) = (random.rough_vector(len, magnitude), random.vector(len, magnitude));
        for kernels in Kernels::available() {
            let (mut want, mut got) = (x.clone(), x.clone());
            Kernels::scalar().add(&mut want, &y);
            kernels.add(&mut got, &y);
            prop_assert_eq!(&want, &got, "{:?}", kernels);
            for kv_type in [KvType::F16, KvType::Q8_0, KvType::F32].into_iter().filter(|kv_type| kv_type.holds(len)) {
                let mut want = vec![0xAA; kv_type.row_bytes(len)];
                let mut got = vec![0x55; kv_type.row_bytes(len)];
                Kernels::scalar().store_kv(kv_type, &x, &mut want);
                kernels.store_kv(kv_type, &x, &mut got);
                prop_assert_eq!(&want, &got, "{:?} {:?}", kernels, kv_type);
            }
        }
    }
}
