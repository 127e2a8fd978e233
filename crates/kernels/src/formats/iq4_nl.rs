//! IQ4_NL: 32 weights of 4 bits that pick from a fixed list, with one half-precision scale.
//!
//! A block is `f16 scale, [u8; 16]`, a weight `scale * LEVELS[quant]`; the quants lie as in [`super::q4`].

use super::block32::{self, Symmetric, nibbles};
use super::blocks::{Blocks, f16_at, part};
use crate::activation::ActivationType;

const BYTES: usize = size_of::<(u16, [u8; 16])>();
const _: () = assert!(BYTES == 18);

pub(super) const IQ4_NL: Blocks = Blocks {
    len: 32,
    bytes: BYTES,
    activation: ActivationType::Q8_1,
    dequantise: |row, out| block32::dequantise_symmetric(row, out, unpack),
    dot: |row, activation, cols| block32::dot_symmetric(row, activation, cols, unpack),
};

/// What the quants stand for. Source: `kvalues_iq4nl` in ggml-common.h.
const LEVELS: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

fn unpack(block: &[u8; BYTES]) -> Symmetric {
    Symmetric { scale: f16_at(block, 0), quants: nibbles(part(block, 2)).map(|quant| LEVELS[usize::from(quant)]) }
}
