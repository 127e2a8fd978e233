//! The rows of the format table and, per format, its scalar arithmetic.
//!
//! One file per family: [`float`] (F32, F16, BF16), [`q4`], [`q5`] and [`q8_0`] (blocks of 32), [`q4_k`], [`q5_k`] and
//! [`q6_k`] (super-blocks of 256). [`block32`] and [`super_block`] hold the loops that the families share. Every layout
//! is ggml's. These functions are the oracle of the SIMD tiers: written for the reader, exact in their integers, one
//! rounding per multiplication. A row of weights comes in as bytes of any alignment; its length was checked by
//! [`crate::Kernels`].

mod block32;
mod float;
mod q4;
mod q4_k;
mod q5;
mod q5_k;
mod q6_k;
mod q8_0;
mod super_block;

use crate::format::{ActivationType, Format, QuantType};

/// All formats, in the order of [`QuantType`].
pub(crate) static FORMATS: [Format; 11] = [
    Format {
        quant: QuantType::F32,
        name: "F32",
        ggml_id: 0,
        block_len: 1,
        block_bytes: 4,
        activation: ActivationType::F32,
        dequantise: float::dequantise_f32,
        dot: float::dot_f32,
    },
    Format {
        quant: QuantType::F16,
        name: "F16",
        ggml_id: 1,
        block_len: 1,
        block_bytes: 2,
        activation: ActivationType::F32,
        dequantise: float::dequantise_f16,
        dot: float::dot_f16,
    },
    Format {
        quant: QuantType::BF16,
        name: "BF16",
        ggml_id: 30,
        block_len: 1,
        block_bytes: 2,
        activation: ActivationType::F32,
        dequantise: float::dequantise_bf16,
        dot: float::dot_bf16,
    },
    Format {
        quant: QuantType::Q4_0,
        name: "Q4_0",
        ggml_id: 2,
        block_len: 32,
        block_bytes: q4::BYTES_Q4_0,
        activation: ActivationType::Q8_1,
        dequantise: q4::dequantise_q4_0,
        dot: q4::dot_q4_0,
    },
    Format {
        quant: QuantType::Q4_1,
        name: "Q4_1",
        ggml_id: 3,
        block_len: 32,
        block_bytes: q4::BYTES_Q4_1,
        activation: ActivationType::Q8_1,
        dequantise: q4::dequantise_q4_1,
        dot: q4::dot_q4_1,
    },
    Format {
        quant: QuantType::Q5_0,
        name: "Q5_0",
        ggml_id: 6,
        block_len: 32,
        block_bytes: q5::BYTES_Q5_0,
        activation: ActivationType::Q8_1,
        dequantise: q5::dequantise_q5_0,
        dot: q5::dot_q5_0,
    },
    Format {
        quant: QuantType::Q5_1,
        name: "Q5_1",
        ggml_id: 7,
        block_len: 32,
        block_bytes: q5::BYTES_Q5_1,
        activation: ActivationType::Q8_1,
        dequantise: q5::dequantise_q5_1,
        dot: q5::dot_q5_1,
    },
    Format {
        quant: QuantType::Q8_0,
        name: "Q8_0",
        ggml_id: 8,
        block_len: 32,
        block_bytes: q8_0::BYTES,
        activation: ActivationType::Q8_1,
        dequantise: q8_0::dequantise,
        dot: q8_0::dot,
    },
    Format {
        quant: QuantType::Q4_K,
        name: "Q4_K",
        ggml_id: 12,
        block_len: 256,
        block_bytes: q4_k::BYTES,
        activation: ActivationType::Q8_K,
        dequantise: q4_k::dequantise,
        dot: q4_k::dot,
    },
    Format {
        quant: QuantType::Q5_K,
        name: "Q5_K",
        ggml_id: 13,
        block_len: 256,
        block_bytes: q5_k::BYTES,
        activation: ActivationType::Q8_K,
        dequantise: q5_k::dequantise,
        dot: q5_k::dot,
    },
    Format {
        quant: QuantType::Q6_K,
        name: "Q6_K",
        ggml_id: 14,
        block_len: 256,
        block_bytes: q6_k::BYTES,
        activation: ActivationType::Q8_K,
        dequantise: q6_k::dequantise,
        dot: q6_k::dot,
    },
];

/// The `N` bytes of `block` that start at `at`.
fn part<const N: usize>(block: &[u8], at: usize) -> &[u8; N] {
    block[at..].first_chunk().expect("the fields of a block lie inside it")
}

/// The half-precision number at byte `at` of `block`.
fn f16_at(block: &[u8], at: usize) -> f32 {
    half::f16::from_le_bytes(*part(block, at)).to_f32()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_the_order_of_the_enum() {
        for (i, format) in FORMATS.iter().enumerate() {
            assert_eq!(format.quant as usize, i, "{}", format.name);
            assert_eq!(QuantType::from_ggml_id(format.ggml_id), Some(format.quant));
            assert_eq!(format!("{:?}", format.quant), format.name);
        }
        assert_eq!(QuantType::from_ggml_id(4), None);
    }

    #[test]
    fn row_bytes_refuses_partial_blocks_and_overflow() {
        assert_eq!(QuantType::Q4_K.row_bytes(512), Some(288));
        assert_eq!(QuantType::Q4_K.row_bytes(500), None);
        assert_eq!(QuantType::F32.row_bytes(usize::MAX / 2), None);
        assert_eq!(ActivationType::Q8_1.row_bytes(64), 832);
        assert_eq!(ActivationType::Q8_K.row_bytes(768), 2 * 768 + 64);
    }
}
