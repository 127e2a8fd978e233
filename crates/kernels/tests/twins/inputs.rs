//! Random weights and activations from a seed, and bounds on the terms of their dot products.

use kernels::{ActivationType, Format, Kernels, QuantType};

/// SplitMix64: small, and the same numbers on every machine.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.bits() % n
    }

    /// Uniform in -1..1.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub(crate) fn vector(&mut self, len: usize, magnitude: f32) -> Vec<f32> {
        (0..len).map(|_| self.unit() * magnitude).collect()
    }

    /// As [`Random::vector`] with runs of 32 zeros, lone outliers and runs of a far smaller magnitude.
    pub(crate) fn rough_vector(&mut self, len: usize, magnitude: f32) -> Vec<f32> {
        let mut x = self.vector(len, magnitude);
        for run in x.chunks_mut(32) {
            match self.below(6) {
                0 => run.fill(0.0),
                1 => run[0] = magnitude * 8.0,
                2 => run.iter_mut().for_each(|v| *v *= 1e-6),
                _ => {}
            }
        }
        x
    }
}

/// Half-precision scales worth a test: zeros, the least and the greatest subnormal, the least normal, the greatest.
const EXTREME_HALVES: [u16; 8] = [0x0000, 0x8000, 0x0001, 0x83FF, 0x0400, 0x7BFF, 0xFBFF, 0x3C00];

/// Where the half-precision scales of a block lie, and the largest integer that each is multiplied with.
fn scales(quant: QuantType) -> &'static [(usize, f64)] {
    match quant {
        QuantType::F32 | QuantType::F16 | QuantType::BF16 => &[],
        QuantType::Q4_0 => &[(0, 15.0)],
        QuantType::IQ4_NL => &[(0, 127.0)],
        QuantType::Q4_1 => &[(0, 15.0), (2, 1.0)],
        QuantType::Q5_0 => &[(0, 31.0)],
        QuantType::Q5_1 => &[(0, 31.0), (2, 1.0)],
        QuantType::Q8_0 => &[(0, 128.0)],
        QuantType::Q4_K => &[(0, 63.0 * 15.0), (2, 63.0)],
        QuantType::Q5_K => &[(0, 63.0 * 31.0), (2, 63.0)],
        QuantType::Q6_K => &[(208, 128.0 * 63.0)],
    }
}

/// `n_blocks` random blocks; with `extreme`, a third of the scales are extreme.
pub(crate) fn weights(format: &Format, n_blocks: usize, extreme: bool, random: &mut Random) -> Vec<u8> {
    let mut bytes = vec![0; n_blocks * format.block_bytes];
    for block in bytes.chunks_exact_mut(format.block_bytes) {
        match format.quant {
            QuantType::F32 => block.copy_from_slice(&random.unit().to_le_bytes()),
            QuantType::F16 => block.copy_from_slice(&half(extreme, random).to_le_bytes()),
            QuantType::BF16 => block.copy_from_slice(&random.unit().to_le_bytes()[2..]),
            quant => {
                block.iter_mut().for_each(|byte| *byte = random.bits() as u8);
                for &(at, _) in scales(quant) {
                    block[at..at + 2].copy_from_slice(&half(extreme, random).to_le_bytes());
                }
            }
        }
    }
    bytes
}

/// The bits of a finite half.
fn half(extreme: bool, random: &mut Random) -> u16 {
    if extreme && random.below(3) == 0 {
        EXTREME_HALVES[random.below(8) as usize]
    } else {
        half::f16::from_f32(random.unit() * 0.1).to_bits()
    }
}

/// Bounds for one weight row: on the sum of the absolute products with an activation row, and on their integer parts.
pub(crate) struct TermBound {
    /// No partial sum of the dot product is larger.
    pub(crate) products: f64,
    /// The same with all floating-point scales taken as 1: what an underflow of a scale can be multiplied with.
    pub(crate) integers: f64,
}

/// Bounds the terms of the dot product of `row` and the activations `x`, from the scales in the blocks.
pub(crate) fn term_bound(format: &Format, row: &[u8], x: &[f32]) -> TermBound {
    let mut bound = TermBound { products: 0.0, integers: 0.0 };
    for (block, x) in row.chunks_exact(format.block_bytes).zip(x.chunks_exact(format.block_len)) {
        // A quantised activation is at most one half step of 1/127 of the largest off.
        let largest = x.iter().fold(0.0, |a: f64, v| a.max(f64::from(v.abs())));
        let sum: f64 = x.iter().map(|v| f64::from(v.abs()) + largest / 127.0).sum();
        let mut weight = [0.0f32];
        if format.block_len == 1 {
            Kernels::scalar().dequantise(format.quant, block, &mut weight);
        }
        bound.products += f64::from(weight[0].abs()) * sum;
        bound.integers += 1.0;
        for &(at, factor) in scales(format.quant) {
            let scale = half::f16::from_le_bytes([block[at], block[at + 1]]).to_f64();
            bound.products += scale.abs() * factor * sum;
            bound.integers += factor * 127.0 * format.block_len as f64;
        }
    }
    bound
}

/// The rows of `x` (each `cols` long) in an activation type, as a tier writes them.
pub(crate) fn activations(kernels: &Kernels, activation: ActivationType, x: &[f32], cols: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for row in x.chunks_exact(cols) {
        let start = out.len();
        out.resize(start + activation.row_bytes(cols), 0);
        kernels.quantise(activation, row, &mut out[start..]);
    }
    out
}
