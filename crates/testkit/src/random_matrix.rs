//! Random weights: the bytes of a file together with their exact values.
//!
//! [`Matrix::random`] draws the quants and packed scales of a block uniformly, so that every bit of a format matters, and
//! chooses the half-precision scales such that the weights have about the desired standard deviation. It only adds and
//! multiplies, so a seed gives the same bytes on every machine.

use half::{bf16, f16};
use rand::{Rng, RngExt};

use crate::tensor_type::TensorType;

/// A matrix of a tiny model.
///
/// Shapes: `values` is `[rows, cols]`, row after row, as are the blocks in `bytes`.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// Rows: outputs of the product with a vector.
    pub rows: usize,
    /// Columns: inputs of the product with a vector.
    pub cols: usize,
    /// The type of `bytes`.
    pub tensor_type: TensorType,
    /// The tensor's data in the file.
    pub bytes: Vec<u8>,
    /// The exact values that `bytes` stand for.
    pub values: Vec<f64>,
}

impl Matrix {
    /// Draws a matrix whose weights have about the standard deviation `std`.
    ///
    /// Panics if `cols` is no whole number of blocks.
    pub fn random(rng: &mut impl Rng, tensor_type: TensorType, [rows, cols]: [usize; 2], std: f64) -> Matrix {
        let block_len = tensor_type.block_len();
        assert_eq!(cols % block_len, 0, "{cols} columns are no whole number of {tensor_type:?} blocks of {block_len}");
        let mut bytes = Vec::with_capacity(rows * cols / block_len * tensor_type.block_bytes());
        for _ in 0..rows * cols / block_len {
            push_block(&mut bytes, rng, tensor_type, std);
        }
        let values = tensor_type.dequantise(&bytes);
        Matrix { rows, cols, tensor_type, bytes, values }
    }

    /// Row `i` of the values.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.cols..][..self.cols]
    }

    /// The product with a vector: `out[i] = sum over j of values[i][j] * x[j]`.
    pub(crate) fn times(&self, x: &[f64]) -> Vec<f64> {
        assert_eq!(x.len(), self.cols, "the vector fits the matrix");
        (0..self.rows).map(|i| self.row(i).iter().zip(x).map(|(w, x)| w * x).sum()).collect()
    }
}

/// Draws `len` f32 values around `mean`, uniformly, with the standard deviation `std`.
pub(crate) fn random_vector(rng: &mut impl Rng, len: usize, mean: f64, std: f64) -> Vec<f64> {
    (0..len).map(|_| f64::from((mean + spread(rng, std)) as f32)).collect()
}

/// A uniform value around 0 with the standard deviation `std`; a uniform value on [-1, 1] has 1/sqrt(3).
fn spread(rng: &mut impl Rng, std: f64) -> f64 {
    rng.random_range(-1.0..1.0) * 3f64.sqrt() * std
}

/// Appends one random block.
///
/// The divisors are the standard deviations of the integer part of a weight: a uniform 4-bit number has 4.6, 5-bit 9.2,
/// a byte 73. In Q4_K and Q5_K it is the product with a 6-bit scale (root mean square 36) less 7.5 or 15.5 times
/// another 6-bit number: together 257 and 525. In Q6_K, with signed 8-bit scales, 74 * 18.5 = 1367.
fn push_block(bytes: &mut Vec<u8>, rng: &mut impl Rng, tensor_type: TensorType, std: f64) {
    let magnitude = std * rng.random_range(0.7..1.3);
    let signed = if rng.random() { magnitude } else { -magnitude };
    match tensor_type {
        TensorType::F32 => bytes.extend((spread(rng, std) as f32).to_le_bytes()),
        TensorType::F16 => push_half(bytes, spread(rng, std)),
        TensorType::BF16 => bytes.extend(bf16::from_f64(spread(rng, std)).to_le_bytes()),
        TensorType::Q8_0 => {
            push_half(bytes, signed / 73.0);
            // No quantiser produces -128, and a dot product may rely on that.
            bytes.extend((0..32).map(|_| rng.random_range(-127i8..=127).cast_unsigned()));
        }
        TensorType::Q4_0 => {
            push_half(bytes, signed / 4.6);
            push_random(bytes, rng, 16);
        }
        TensorType::Q5_0 => {
            push_half(bytes, signed / 9.2);
            push_random(bytes, rng, 4 + 16);
        }
        TensorType::Q4_1 => {
            push_half(bytes, magnitude / 4.6);
            push_half(bytes, -magnitude / 4.6 * rng.random_range(6.5..8.5));
            push_random(bytes, rng, 16);
        }
        TensorType::Q5_1 => {
            push_half(bytes, magnitude / 9.2);
            push_half(bytes, -magnitude / 9.2 * rng.random_range(14.0..17.0));
            push_random(bytes, rng, 4 + 16);
        }
        TensorType::Q4_K => {
            push_half(bytes, magnitude / 257.0);
            push_half(bytes, magnitude / 257.0 * 7.5);
            push_random(bytes, rng, 12 + 128);
        }
        TensorType::Q5_K => {
            push_half(bytes, magnitude / 525.0);
            push_half(bytes, magnitude / 525.0 * 15.5);
            push_random(bytes, rng, 12 + 32 + 128);
        }
        TensorType::Q6_K => {
            push_random(bytes, rng, 128 + 64 + 16);
            push_half(bytes, signed / 1367.0);
        }
    }
}

fn push_half(bytes: &mut Vec<u8>, value: f64) {
    bytes.extend(f16::from_f64(value).to_le_bytes());
}

fn push_random(bytes: &mut Vec<u8>, rng: &mut impl Rng, n_bytes: usize) {
    let start = bytes.len();
    bytes.resize(start + n_bytes, 0);
    rng.fill_bytes(&mut bytes[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn weights_of_every_type_have_about_the_wanted_spread() {
        for tensor_type in TensorType::ALL {
            let matrix = Matrix::random(&mut ChaCha8Rng::seed_from_u64(1), tensor_type, [64, 256], 0.1);
            assert_eq!(matrix.bytes.len(), 64 * 256 / tensor_type.block_len() * tensor_type.block_bytes());
            let mean = matrix.values.iter().sum::<f64>() / matrix.values.len() as f64;
            let square = matrix.values.iter().map(|w| w * w).sum::<f64>() / matrix.values.len() as f64;
            assert!((0.08..0.12).contains(&square.sqrt()), "{tensor_type:?}: {}", square.sqrt());
            assert!(mean.abs() < 0.02, "{tensor_type:?}: mean {mean}");
        }
    }
}
