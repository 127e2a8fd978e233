//! Q5_0 and Q5_1: as [`super::q4`], with the fifth bits of the 32 weights in a 32-bit word before the nibbles.
//!
//! Q5_0 is `f16 scale, u32 high, [u8; 16]`, weight `scale * (quant - 16)`. Q5_1 is `f16 scale, f16 min, u32 high,
//! [u8; 16]`, weight `scale * quant + min`. Bit `i` of `high` is bit 4 of quant `i`.

use super::block32::{self, Affine, Symmetric, nibbles};
use super::blocks::{Blocks, f16_at, part};
use crate::activation::ActivationType;

const BYTES_Q5_0: usize = size_of::<(u16, [u8; 4], [u8; 16])>();
const BYTES_Q5_1: usize = size_of::<(u16, u16, [u8; 4], [u8; 16])>();
const _: () = assert!(BYTES_Q5_0 == 22 && BYTES_Q5_1 == 24);

pub(super) const Q5_0: Blocks = Blocks {
    len: 32,
    bytes: BYTES_Q5_0,
    activation: ActivationType::Q8_1,
    dequantise: |row, out| block32::dequantise_symmetric(row, out, unpack_q5_0),
    dot: |row, activation, cols| block32::dot_symmetric(row, activation, cols, unpack_q5_0),
};

pub(super) const Q5_1: Blocks = Blocks {
    len: 32,
    bytes: BYTES_Q5_1,
    activation: ActivationType::Q8_1,
    dequantise: |row, out| block32::dequantise_affine(row, out, unpack_q5_1),
    dot: |row, activation, cols| block32::dot_affine(row, activation, cols, unpack_q5_1),
};

/// Joins the fifth bits to the nibbles.
fn quants(high: &[u8; 4], low: &[u8; 16]) -> [i8; 32] {
    let (high, low) = (u32::from_le_bytes(*high), nibbles(low));
    std::array::from_fn(|i| {
        let fifth = if high >> i & 1 == 1 { 16 } else { 0 };
        (low[i] | fifth).cast_signed()
    })
}

fn unpack_q5_0(block: &[u8; BYTES_Q5_0]) -> Symmetric {
    Symmetric { scale: f16_at(block, 0), quants: quants(part(block, 2), part(block, 6)).map(|q| q - 16) }
}

fn unpack_q5_1(block: &[u8; BYTES_Q5_1]) -> Affine {
    Affine { scale: f16_at(block, 0), min: f16_at(block, 2), quants: quants(part(block, 4), part(block, 8)) }
}
