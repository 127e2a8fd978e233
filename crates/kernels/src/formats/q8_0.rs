//! Q8_0: 32 signed bytes with one half-precision scale.
//!
//! A block is `f16 scale, [i8; 32]`, a weight `scale * quant`.

use super::block32::{self, Symmetric};
use super::blocks::{Blocks, f16_at, part};
use crate::activation::ActivationType;

const BYTES: usize = size_of::<(u16, [i8; 32])>();
const _: () = assert!(BYTES == 34);

pub(super) const Q8_0: Blocks = Blocks {
    len: 32,
    bytes: BYTES,
    activation: ActivationType::Q8_1,
    dequantise: |row, out| block32::dequantise_symmetric(row, out, unpack),
    dot: |row, activation, cols| block32::dot_symmetric(row, activation, cols, unpack),
};

fn unpack(block: &[u8; BYTES]) -> Symmetric {
    Symmetric { scale: f16_at(block, 0), quants: part::<32>(block, 2).map(u8::cast_signed) }
}
