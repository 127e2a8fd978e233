//! Dequantises tensors weight by weight, in f64.
//!
//! [`TensorType`] lists the types of tiny models with their numbers and block sizes; [`TensorType::weight`] reads one
//! weight of a block as the block's layout defines it (the structs of ggml's `ggml-common.h`). It is slow and shares no
//! code with the `kernels` crate, whose decoders are tested against it. `tests/peers.rs` in turn compares it with values
//! that the Python package `gguf` decoded.
//!
//! Quantised weights are small integers times half-precision scales, so every value is exact, without rounding.

use half::{bf16, f16};

use crate::gguf_value::ggml_type;

/// A tensor type that a tiny model can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types)]
#[expect(missing_docs, reason = "the variants are ggml's own type names")]
pub enum TensorType {
    F32,
    F16,
    BF16,
    Q8_0,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q4_K,
    Q5_K,
    Q6_K,
}

impl TensorType {
    /// Every type, for tests that iterate over them.
    pub const ALL: [TensorType; 11] = [
        TensorType::F32,
        TensorType::F16,
        TensorType::BF16,
        TensorType::Q8_0,
        TensorType::Q4_0,
        TensorType::Q4_1,
        TensorType::Q5_0,
        TensorType::Q5_1,
        TensorType::Q4_K,
        TensorType::Q5_K,
        TensorType::Q6_K,
    ];

    /// The number of the type in a GGUF tensor table.
    pub fn ggml_id(self) -> u32 {
        match self {
            TensorType::F32 => ggml_type::F32,
            TensorType::F16 => ggml_type::F16,
            TensorType::BF16 => ggml_type::BF16,
            TensorType::Q8_0 => ggml_type::Q8_0,
            TensorType::Q4_0 => ggml_type::Q4_0,
            TensorType::Q4_1 => ggml_type::Q4_1,
            TensorType::Q5_0 => ggml_type::Q5_0,
            TensorType::Q5_1 => ggml_type::Q5_1,
            TensorType::Q4_K => ggml_type::Q4_K,
            TensorType::Q5_K => ggml_type::Q5_K,
            TensorType::Q6_K => ggml_type::Q6_K,
        }
    }

    /// The number under `general.file_type` for files mostly of this type.
    pub fn file_type(self) -> u32 {
        match self {
            TensorType::F32 => 0,
            TensorType::F16 => 1,
            TensorType::Q4_0 => 2,
            TensorType::Q4_1 => 3,
            TensorType::Q8_0 => 7,
            TensorType::Q5_0 => 8,
            TensorType::Q5_1 => 9,
            TensorType::Q4_K => 15,
            TensorType::Q5_K => 17,
            TensorType::Q6_K => 18,
            TensorType::BF16 => 32,
        }
    }

    /// Weights per block.
    pub fn block_len(self) -> usize {
        match self {
            TensorType::F32 | TensorType::F16 | TensorType::BF16 => 1,
            TensorType::Q4_K | TensorType::Q5_K | TensorType::Q6_K => 256,
            _ => 32,
        }
    }

    /// Bytes per block.
    pub fn block_bytes(self) -> usize {
        match self {
            TensorType::F32 => 4,
            TensorType::F16 | TensorType::BF16 => 2,
            TensorType::Q8_0 => 2 + 32,
            TensorType::Q4_0 => 2 + 16,
            TensorType::Q4_1 => 2 + 2 + 16,
            TensorType::Q5_0 => 2 + 4 + 16,
            TensorType::Q5_1 => 2 + 2 + 4 + 16,
            TensorType::Q4_K => 2 + 2 + 12 + 128,
            TensorType::Q5_K => 2 + 2 + 12 + 32 + 128,
            TensorType::Q6_K => 128 + 64 + 16 + 2,
        }
    }

    /// The exact values of all weights in `bytes`, a run of whole blocks.
    ///
    /// Panics if `bytes` is not a whole number of blocks.
    pub fn dequantise(self, bytes: &[u8]) -> Vec<f64> {
        assert_eq!(bytes.len() % self.block_bytes(), 0, "{self:?}: the last block is incomplete");
        let blocks = bytes.chunks_exact(self.block_bytes());
        blocks.flat_map(|block| (0..self.block_len()).map(move |i| self.weight(block, i))).collect()
    }

    /// The exact value of weight `i` of one block.
    fn weight(self, block: &[u8], i: usize) -> f64 {
        match self {
            TensorType::F32 => f32::from_le_bytes([block[0], block[1], block[2], block[3]]).into(),
            TensorType::F16 => half_at(block, 0),
            TensorType::BF16 => bf16::from_le_bytes([block[0], block[1]]).to_f64(),
            TensorType::Q8_0 => half_at(block, 0) * f64::from(block[2 + i].cast_signed()),
            TensorType::Q4_0 => half_at(block, 0) * (nibble_of_32(&block[2..], i) - 8.0),
            TensorType::Q4_1 => half_at(block, 0) * nibble_of_32(&block[4..], i) + half_at(block, 2),
            TensorType::Q5_0 => half_at(block, 0) * (five_bits_of_32(&block[2..], i) - 16.0),
            TensorType::Q5_1 => half_at(block, 0) * five_bits_of_32(&block[4..], i) + half_at(block, 2),
            TensorType::Q4_K => {
                let q = nibble_of_64s(&block[16..], i);
                scaled_k(block, i / 32, q)
            }
            TensorType::Q5_K => {
                // Bit s of qh[l] is the fifth bit of weight l of sub-block s.
                let fifth = (block[16 + i % 32] >> (i / 32)) & 1;
                let q = nibble_of_64s(&block[48..], i) + 16.0 * f64::from(fifth);
                scaled_k(block, i / 32, q)
            }
            TensorType::Q6_K => six_bit(block, i),
        }
    }
}

fn half_at(block: &[u8], offset: usize) -> f64 {
    f16::from_le_bytes([block[offset], block[offset + 1]]).to_f64()
}

/// Blocks of 32: the low nibbles of 16 bytes are weights 0..16, the high nibbles weights 16..32.
fn nibble_of_32(qs: &[u8], i: usize) -> f64 {
    f64::from(if i < 16 { qs[i] & 15 } else { qs[i - 16] >> 4 })
}

/// Blocks of 32 with 4 bytes of fifth bits, weight i's at bit i, before the nibbles.
fn five_bits_of_32(qh_qs: &[u8], i: usize) -> f64 {
    let fifth = (qh_qs[i / 8] >> (i % 8)) & 1;
    nibble_of_32(&qh_qs[4..], i) + 16.0 * f64::from(fifth)
}

/// Super-blocks: each 32 bytes hold 64 weights, the first 32 in the low nibbles.
fn nibble_of_64s(qs: &[u8], i: usize) -> f64 {
    let byte = qs[i / 64 * 32 + i % 32];
    f64::from(if i % 64 < 32 { byte & 15 } else { byte >> 4 })
}

/// `d * scale[s] * q - dmin * min[s]`, with the twelve bytes at 4 holding eight 6-bit scales and eight 6-bit minima.
///
/// Bytes 0..4 hold scales 0..4 and bytes 4..8 minima 0..4 in their low six bits. Byte 8 + j holds the low four bits of
/// scale 4 + j and of minimum 4 + j, whose upper two bits are the upper two of bytes j and 4 + j.
fn scaled_k(block: &[u8], s: usize, q: f64) -> f64 {
    let packed = &block[4..16];
    let (scale, min) = if s < 4 {
        (packed[s] & 63, packed[s + 4] & 63)
    } else {
        let low = packed[s + 4];
        ((low & 15) | (packed[s - 4] >> 6 << 4), (low >> 4) | (packed[s] >> 6 << 4))
    };
    half_at(block, 0) * f64::from(scale) * q - half_at(block, 2) * f64::from(min)
}

/// Weight `i` of a Q6_K block: `ql[128]`, `qh[64]`, `scales: [i8; 16]`, `d`.
///
/// Each half of the block, 128 weights, is four runs of 32: runs 0 and 1 are the low nibbles of 64 bytes of `ql`, runs
/// 2 and 3 the high ones; the upper two bits of run r's weight l are bits 2r and 2r + 1 of byte l of 32 of `qh`.
fn six_bit(block: &[u8], i: usize) -> f64 {
    let (part, run, l) = (i / 128, i % 128 / 32, i % 32);
    let low = block[part * 64 + run % 2 * 32 + l];
    let low = if run < 2 { low & 15 } else { low >> 4 };
    let high = (block[128 + part * 32 + l] >> (2 * run)) & 3;
    let scale = f64::from(block[192 + i / 16].cast_signed());
    half_at(block, 208) * scale * (f64::from(low | high << 4) - 32.0)
}
