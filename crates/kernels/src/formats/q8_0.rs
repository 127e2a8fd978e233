//! Q8_0: 32 signed bytes with one half-precision scale.
//!
//! A block is `f16 scale, [i8; 32]`, a weight `scale * quant`.

use super::block32::{self, Symmetric};
use super::{f16_at, part};

pub(super) const BYTES: usize = size_of::<(u16, [i8; 32])>();
const _: () = assert!(BYTES == 34);

fn unpack(block: &[u8; BYTES]) -> Symmetric {
    Symmetric { scale: f16_at(block, 0), quants: part::<32>(block, 2).map(u8::cast_signed) }
}

pub(super) fn dequantise(row: &[u8], out: &mut [f32]) {
    block32::dequantise_symmetric(row, out, unpack);
}

pub(super) fn dot(row: &[u8], activation: &[u8], cols: usize) -> f32 {
    block32::dot_symmetric(row, activation, cols, unpack)
}
