//! The matrix product of every format: near the scalar one, and the same bits in every company.

use kernels::{ActivationType, FEW_TOKENS, Format, Kernels, QuantType};
use proptest::prelude::*;

use crate::config;
use crate::inputs::{Random, TermBound, activations, term_bound, weights};

/// One product and how its numbers are made.
#[derive(Clone, Debug)]
struct Case {
    format: usize,
    n_rows: usize,
    n_tokens: usize,
    n_blocks: usize,
    extreme: bool,
    magnitude: f32,
    seed: u64,
}

/// The operands of a [`Case`].
struct Operands {
    format: &'static Format,
    cols: usize,
    weights: Vec<u8>,
    x: Vec<f32>,
}

impl Case {
    fn operands(&self) -> Operands {
        let format = &QuantType::formats()[self.format];
        let mut random = Random::new(self.seed);
        // Rows of F32 to BF16 have blocks of one; lengths that are no multiple of a vector matter there.
        let cols = if format.block_len == 1 { 13 * self.n_blocks } else { format.block_len * self.n_blocks };
        let weights = weights(format, self.n_rows * cols / format.block_len, self.extreme, &mut random);
        let x = random.rough_vector(self.n_tokens * cols, self.magnitude);
        Operands { format, cols, weights, x }
    }
}

impl Operands {
    fn multiply(&self, kernels: &Kernels) -> Vec<f32> {
        self.multiply_part(kernels, &self.weights, &self.activations(kernels))
    }

    /// The quantised activations as a tier arranges them.
    fn activations(&self, kernels: &Kernels) -> Vec<u8> {
        activations(kernels, self.format.activation, &self.x, self.cols)
    }

    fn multiply_part(&self, kernels: &Kernels, weights: &[u8], activations: &[u8]) -> Vec<f32> {
        let n = weights.len() / self.row_bytes();
        let m = activations.len() / self.format.activation.row_bytes(self.cols);
        let mut out = vec![f32::NAN; n * m];
        kernels.matmul(self.format.quant, self.cols, weights, activations, &mut out);
        out
    }

    fn row_bytes(&self) -> usize {
        self.format.quant.row_bytes(self.cols).expect("whole blocks")
    }
}

fn cases(max_rows: usize, max_tokens: usize) -> impl Strategy<Value = Case> {
    let magnitude = prop::sample::select(vec![1e-30f32, 1e-5, 1.0, 1.0, 1e3, 1e20, 1e30]);
    (0..QuantType::formats().len(), 1..=max_rows, 1..=max_tokens, 1..=20usize, any::<bool>(), magnitude, any::<u64>())
        .prop_map(|(format, n_rows, n_tokens, n_blocks, extreme, magnitude, seed)| {
            let is_large = QuantType::formats()[format].block_len > 32;
            let n_blocks = if is_large { n_blocks.div_ceil(5) } else { n_blocks };
            Case { format, n_rows, n_tokens, n_blocks, extreme, magnitude, seed }
        })
}

/// How far two orders of summation may lie apart: each rounds every partial sum, none of which exceeds the bound.
fn tolerance(bound: &TermBound, n_terms: usize) -> f64 {
    // Two sides, each with at most three roundings of a block's term and one addition per term.
    let roundings = 2.0 * (n_terms as f64 + 3.0) * f64::from(f32::EPSILON) / 2.0;
    // A product of two scales may underflow; half the least subnormal then meets the integers of the block.
    bound.products * roundings + 2.0 * bound.integers * f64::from(f32::from_bits(1))
}

fn check_against_scalar(case: &Case) {
    let operands = case.operands();
    let want = operands.multiply(Kernels::scalar());
    let n_terms = 2 * operands.cols / operands.format.block_len;
    for kernels in Kernels::available() {
        let got = operands.multiply(kernels);
        for (r, row) in operands.weights.chunks_exact(operands.row_bytes()).enumerate() {
            for (t, x) in operands.x.chunks_exact(operands.cols).enumerate() {
                let bound = term_bound(operands.format, row, x);
                if bound.products > f64::from(f32::MAX) / 4.0 {
                    continue;
                }
                let (want, got) = (want[t * case.n_rows + r], got[t * case.n_rows + r]);
                let error = (f64::from(want) - f64::from(got)).abs();
                let allowed = tolerance(&bound, n_terms);
                assert!(error <= allowed, "{kernels:?} row {r} token {t}: {want} {got}, {error} > {allowed}: {case:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(config(600))]

    #[test]
    fn products_agree_with_the_scalar_ones(case in cases(19, 9)) {
        check_against_scalar(&case);
    }
}

proptest! {
    #![proptest_config(config(40))]

    #[test]
    fn long_products_agree_with_the_scalar_ones(case in cases(35, 70)) {
        check_against_scalar(&case);
    }
}

/// A token's products in a long prompt and in a small batch: as near to each other as either is to the scalar ones.
#[test]
fn a_long_prompt_and_a_small_batch_agree_to_rounding() {
    for kernels in Kernels::available() {
        for format in 0..QuantType::formats().len() {
            let case = Case { format, n_rows: 21, n_tokens: 40, n_blocks: 18, extreme: false, magnitude: 1.0, seed: 5 };
            let operands = case.operands();
            let activations = operands.activations(kernels);
            let token_bytes = operands.format.activation.row_bytes(operands.cols);
            let many = operands.multiply(kernels);
            let few = activations
                .chunks(FEW_TOKENS * token_bytes)
                .flat_map(|some| operands.multiply_part(kernels, &operands.weights, some));
            for (i, (few, many)) in few.zip(many).enumerate() {
                let row = &operands.weights[i % 21 * operands.row_bytes()..][..operands.row_bytes()];
                let bound = term_bound(operands.format, row, &operands.x[i / 21 * operands.cols..][..operands.cols]);
                let error = (f64::from(few) - f64::from(many)).abs();
                let allowed = tolerance(&bound, 2 * operands.cols / operands.format.block_len);
                assert!(error <= allowed, "{kernels:?} {}: {few} {many}", operands.format.name);
            }
        }
    }
}

/// Batches of every size up to 16, and larger ones among themselves, with parts of the rows: the same bits as in the
/// largest product.
#[test]
fn a_value_has_the_same_bits_in_every_company() {
    for kernels in Kernels::available() {
        for format in 0..QuantType::formats().len() {
            let case = Case { format, n_rows: 37, n_tokens: 67, n_blocks: 9, extreme: false, magnitude: 1.0, seed: 7 };
            let operands = case.operands();
            let activations = operands.activations(kernels);
            let token_bytes = operands.format.activation.row_bytes(operands.cols);
            let many = operands.multiply(kernels);
            let few: Vec<f32> = activations
                .chunks(FEW_TOKENS * token_bytes)
                .flat_map(|some| operands.multiply_part(kernels, &operands.weights, some))
                .collect();
            for m in (1..=17).chain([31, 32, 33, 64]) {
                for (first_row, n) in [(0, 37), (1, 1), (3, 2), (7, 9), (8, 8), (13, 24), (36, 1)] {
                    let first_token = (3 * m + n) % (67 - m + 1);
                    let part = operands.multiply_part(
                        kernels,
                        &operands.weights[first_row * operands.row_bytes()..][..n * operands.row_bytes()],
                        &activations[first_token * token_bytes..][..m * token_bytes],
                    );
                    let mut long = vec![f32::NAN; part.len()];
                    kernels.matmul_long(
                        operands.format.quant,
                        operands.cols,
                        &operands.weights[first_row * operands.row_bytes()..][..n * operands.row_bytes()],
                        &activations[first_token * token_bytes..][..m * token_bytes],
                        &mut long,
                    );
                    let by_count = if m <= FEW_TOKENS { &few } else { &many };
                    for (all, part) in [(by_count, part), (&many, long)] {
                        for (i, got) in part.iter().enumerate() {
                            let want = all[(first_token + i / n) * 37 + first_row + i % n];
                            let name = operands.format.name;
                            assert_eq!(want.to_bits(), got.to_bits(), "{kernels:?} {name} n {n} m {m} value {i}");
                        }
                    }
                }
            }
        }
    }
}

/// Tiers that differ only in the instructions for exact integer products.
#[test]
fn tiers_with_the_same_float_operations_give_the_same_bits() {
    for (name, other) in [("avx2", "avxvnni"), ("neon", "neon-i8mm")] {
        let (Some(kernels), Some(other)) = (Kernels::by_name(name), Kernels::by_name(other)) else { continue };
        for format in 0..QuantType::formats().len() {
            for n_tokens in [1, 2, 5, 16, 35] {
                let case = Case { format, n_rows: 21, n_tokens, n_blocks: 9, extreme: false, magnitude: 1.0, seed: 5 };
                let operands = case.operands();
                let (one, two) = (operands.multiply(kernels), operands.multiply(other));
                let same = one.iter().zip(&two).all(|(one, two)| one.to_bits() == two.to_bits());
                assert!(same, "{kernels:?} {other:?} {} tokens {n_tokens}", operands.format.name);
            }
        }
    }
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn dequantised_weights_have_the_same_bits(case in cases(1, 1)) {
        let operands = case.operands();
        let mut want = vec![f32::NAN; operands.cols];
        Kernels::scalar().dequantise(operands.format.quant, &operands.weights, &mut want);
        for kernels in Kernels::available() {
            let mut got = vec![0.0; operands.cols];
            kernels.dequantise(operands.format.quant, &operands.weights, &mut got);
            let same = want.iter().zip(&got).all(|(want, got)| want.to_bits() == got.to_bits());
            prop_assert!(same, "{:?} {}", kernels, operands.format.name);
        }
    }
}

/// A broken activation breaks its own token and no other.
#[test]
fn a_nan_stays_in_its_token() {
    for kernels in Kernels::available() {
        for format in QuantType::formats() {
            let cols = 256;
            let mut random = Random::new(3);
            let weights = weights(format, 9 * cols / format.block_len, false, &mut random);
            let mut x = random.vector(5 * cols, 1.0);
            x[2 * cols + 77] = f32::NAN;
            let activations = activations(kernels, format.activation, &x, cols);
            let mut out = vec![0.0; 9 * 5];
            kernels.matmul(format.quant, cols, &weights, &activations, &mut out);
            for (i, value) in out.iter().enumerate() {
                assert_eq!(value.is_nan(), i / 9 == 2, "{kernels:?} {} value {i}: {value}", format.name);
            }
        }
    }
}

/// The scalar product itself, against f64 arithmetic on the dequantised operands.
#[test]
fn the_scalar_product_is_the_product_of_what_the_operands_stand_for() {
    for format in 0..QuantType::formats().len() {
        let case = Case { format, n_rows: 5, n_tokens: 3, n_blocks: 4, extreme: false, magnitude: 1.0, seed: 11 };
        let operands = case.operands();
        let got = operands.multiply(Kernels::scalar());
        let mut weights = vec![0.0; operands.cols];
        for (r, row) in operands.weights.chunks_exact(operands.row_bytes()).enumerate() {
            Kernels::scalar().dequantise(operands.format.quant, row, &mut weights);
            for t in 0..3 {
                let x = stored_activation(&operands, t);
                let want: f64 = weights.iter().zip(&x).map(|(w, x)| f64::from(*w) * x).sum();
                let bound = term_bound(operands.format, row, &operands.x[t * operands.cols..][..operands.cols]);
                let error = (want - f64::from(got[t * 5 + r])).abs();
                assert!(error <= 1e-6 * bound.products, "{} {want} {error}", operands.format.name);
            }
        }
    }
}

/// What activation row `t` stands for.
fn stored_activation(operands: &Operands, t: usize) -> Vec<f64> {
    let cols = operands.cols;
    let activations = operands.activations(Kernels::scalar());
    let row = &activations[t * operands.format.activation.row_bytes(cols)..];
    let run = match operands.format.activation {
        ActivationType::F32 => return operands.x[t * cols..][..cols].iter().map(|&x| f64::from(x)).collect(),
        ActivationType::Q8_1 => 32,
        ActivationType::Q8_K => 256,
    };
    let scales: Vec<f32> = row[cols..].as_chunks().0.iter().take(cols / run).map(|b| f32::from_le_bytes(*b)).collect();
    (0..cols).map(|i| f64::from(row[i].cast_signed()) * f64::from(scales[i / run])).collect()
}

/// Rows that end inside a chunk are unpacked together with what follows; here that makes any number of it a NaN or infinite.
#[test]
fn broken_rows_behind_a_row_do_not_reach_it() {
    for kernels in Kernels::available() {
        for format in 0..QuantType::formats().len() {
            for n_blocks in [1, 3, 9, 18] {
                let case = Case { format, n_rows: 40, n_tokens: 17, n_blocks, extreme: false, magnitude: 1.0, seed: 5 };
                let operands = case.operands();
                let activations = operands.activations(kernels);
                let token_bytes = operands.format.activation.row_bytes(operands.cols);
                let mut weights = operands.weights.clone();
                weights[operands.row_bytes()..].fill(0xFF);
                for m in [1, 2, 16, 17] {
                    let some = &activations[..m * token_bytes];
                    let want = operands.multiply_part(kernels, &operands.weights, some);
                    let got = operands.multiply_part(kernels, &weights, some);
                    for token in 0..m {
                        let (want, got) = (want[token * 40], got[token * 40]);
                        let name = operands.format.name;
                        assert_eq!(want.to_bits(), got.to_bits(), "{kernels:?} {name} blocks {n_blocks} tokens {m}");
                    }
                }
            }
        }
    }
}
