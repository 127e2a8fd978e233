//! The operations between the matrix products, tier by tier.

use kernels::{ActivationType, AttendArgs, Kernels, KvType, RopeLayout};
use proptest::prelude::*;

use crate::config;
use crate::inputs::Random;

/// Half the distance from 1 to the next f32: the relative error of one rounding.
const ROUNDING: f64 = f32::EPSILON as f64 / 2.0;

fn magnitudes() -> impl Strategy<Value = f32> {
    prop::sample::select(vec![1e-38f32, 1e-30, 1e-5, 1.0, 1.0, 30.0, 1e10, 1e30])
}

/// Asserts `|want - got| <= relative * |want| + absolute`, where broken numbers must be broken alike.
fn assert_near(kernels: &Kernels, want: &[f32], got: &[f32], relative: f64, absolute: f64) {
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
    fn softmax_agrees(len in 0..300usize, magnitude in magnitudes(), broken: bool, seed: u64) {
        let mut random = Random::new(seed);
        let mut x = random.vector(len, magnitude);
        if broken {
            break_some(&mut x, &mut random);
        }
        let mut want = x.clone();
        Kernels::scalar().softmax(&mut want);
        for kernels in Kernels::available() {
            let mut got = x.clone();
            kernels.softmax(&mut got);
            // The sum rounds once per value on either side, each exponential may be 2 units in the last place off.
            assert_near(kernels, &want, &got, (2.0 * len as f64 + 16.0) * ROUNDING, f64::from(f32::MIN_POSITIVE));
        }
    }

    #[test]
    fn swiglu_agrees(len in 0..100usize, magnitude in magnitudes(), broken: bool, seed: u64) {
        let mut random = Random::new(seed);
        let (mut gate, up) = (random.vector(len, magnitude), random.vector(len, 3.0));
        if broken {
            break_some(&mut gate, &mut random);
        }
        let mut want = gate.clone();
        Kernels::scalar().swiglu(&mut want, &up);
        for kernels in Kernels::available() {
            let mut got = gate.clone();
            kernels.swiglu(&mut got, &up);
            // Where exp(-x) overflows, silu is below |x| / f32::MAX.
            assert_near(kernels, &want, &got, 12.0 * ROUNDING, 1e-35);
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
            for kv_type in [KvType::F16, KvType::F32] {
                let mut want = vec![0xAA; len * kv_type.bytes()];
                let mut got = vec![0x55; len * kv_type.bytes()];
                Kernels::scalar().store_kv(kv_type, &x, &mut want);
                kernels.store_kv(kv_type, &x, &mut got);
                prop_assert_eq!(&want, &got, "{:?} {:?}", kernels, kv_type);
            }
        }
    }
}

/// A run of cached positions with queries for it.
#[derive(Clone, Debug)]
struct Attention {
    kv_type: KvType,
    n_group: usize,
    head_dim: usize,
    value_dim: usize,
    n_positions: usize,
    gap: usize,
    magnitude: f32,
    seed: u64,
}

fn attentions() -> impl Strategy<Value = Attention> {
    let kv_type = prop::sample::select(vec![KvType::F16, KvType::F32]);
    let magnitude = prop::sample::select(vec![1e-3f32, 1.0, 8.0]);
    (kv_type, 1..9usize, 1..80usize, 1..80usize, 0..40usize, 0..3usize, magnitude, any::<u64>()).prop_map(
        |(kv_type, n_group, head_dim, value_dim, n_positions, gap, magnitude, seed)| Attention {
            kv_type,
            n_group,
            head_dim,
            value_dim,
            n_positions,
            gap,
            magnitude,
            seed,
        },
    )
}

impl Attention {
    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    fn queries(&self) -> Vec<f32> {
        Random::new(self.seed).vector(self.n_group * self.head_dim, self.magnitude)
    }

    /// The cached bytes of `dim` numbers a position and their stride; the last position ends the slice.
    fn cache(&self, dim: usize, salt: u64) -> (Vec<u8>, usize) {
        let stride = (dim + self.gap) * self.kv_type.bytes();
        let x = Random::new(self.seed ^ salt).vector(self.n_positions * (dim + self.gap), self.magnitude);
        let mut bytes = vec![0; x.len() * self.kv_type.bytes()];
        Kernels::scalar().store_kv(self.kv_type, &x, &mut bytes);
        bytes.truncate(bytes.len().saturating_sub(self.gap * self.kv_type.bytes()));
        (bytes, stride)
    }

    /// Attends with the heads from `first` on; the result is `[n_heads, value_dim]`.
    fn attend(&self, kernels: &Kernels, first: usize, n_heads: usize) -> Vec<f32> {
        let (keys, key_stride) = self.cache(self.head_dim, 1);
        let (values, value_stride) = self.cache(self.value_dim, 2);
        let mut out = vec![f32::NAN; n_heads * self.value_dim];
        kernels.attend(AttendArgs {
            kv_type: self.kv_type,
            n_group: n_heads,
            head_dim: self.head_dim,
            value_dim: self.value_dim,
            queries: &self.queries()[first * self.head_dim..][..n_heads * self.head_dim],
            keys: &keys,
            values: &values,
            key_stride,
            value_stride,
            n_positions: self.n_positions,
            scale: self.scale(),
            scores: &mut vec![f32::NAN; n_heads * self.n_positions],
            out: &mut out,
        });
        out
    }
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn attention_agrees_whatever_the_group(a in attentions()) {
        let want = a.attend(Kernels::scalar(), 0, a.n_group);
        for kernels in Kernels::available() {
            let got = a.attend(kernels, 0, a.n_group);
            // A score is off by its roundings; that moves every weight by the same factor, and the sum of the values
            // (whose weights add up to 1) rounds once per position.
            let m = f64::from(a.magnitude);
            let score = (2.0 * a.head_dim as f64 + 6.0) * ROUNDING * f64::from(a.scale()) * a.head_dim as f64 * m * m;
            let rounding = (6.0 * a.n_positions as f64 + 32.0) * ROUNDING;
            assert_near(kernels, &want, &got, 0.0, (2.0 * score + rounding) * m);
            for head in 0..a.n_group {
                let alone = a.attend(kernels, head, 1);
                let part = &got[head * a.value_dim..][..a.value_dim];
                prop_assert_eq!(bits(part), bits(&alone), "{:?} head {}", kernels, head);
            }
        }
    }
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|v| v.to_bits()).collect()
}
