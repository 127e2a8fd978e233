//! Q4_0 and Q4_1: 32 weights of 4 bits with one half-precision scale, Q4_1 with a minimum as well.
//!
//! Q4_0 is `f16 scale, [u8; 16]`, weight `scale * (quant - 8)`. Q4_1 is `f16 scale, f16 min, [u8; 16]`, weight
//! `scale * quant + min`. Byte `i` holds weight `i` in its low and weight `i + 16` in its high half.

use super::block32::{self, Affine, Symmetric, nibbles};
use super::blocks::{Blocks, f16_at, part};
use crate::activation::ActivationType;

const BYTES_Q4_0: usize = size_of::<(u16, [u8; 16])>();
const BYTES_Q4_1: usize = size_of::<(u16, u16, [u8; 16])>();
const _: () = assert!(BYTES_Q4_0 == 18 && BYTES_Q4_1 == 20);

pub(super) const Q4_0: Blocks = Blocks {
    len: 32,
    bytes: BYTES_Q4_0,
    activation: ActivationType::Q8_1,
    dequantise: |row, out| block32::dequantise_symmetric(row, out, unpack_q4_0),
    dot: |row, activation, cols| block32::dot_symmetric(row, activation, cols, unpack_q4_0),
};

pub(super) const Q4_1: Blocks = Blocks {
    len: 32,
    bytes: BYTES_Q4_1,
    activation: ActivationType::Q8_1,
    dequantise: |row, out| block32::dequantise_affine(row, out, unpack_q4_1),
    dot: |row, activation, cols| block32::dot_affine(row, activation, cols, unpack_q4_1),
};

fn unpack_q4_0(block: &[u8; BYTES_Q4_0]) -> Symmetric {
    Symmetric { scale: f16_at(block, 0), quants: nibbles(part(block, 2)).map(|q| q.cast_signed() - 8) }
}

fn unpack_q4_1(block: &[u8; BYTES_Q4_1]) -> Affine {
    Affine { scale: f16_at(block, 0), min: f16_at(block, 2), quants: nibbles(part(block, 4)).map(u8::cast_signed) }
}
