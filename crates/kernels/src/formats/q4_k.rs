//! Q4_K: super-blocks of 256 weights of 4 bits.
//!
//! A block is `f16 d, f16 dmin, [u8; 12] scales and minima, [u8; 128] quants`; see [`super::super_block`].

use super::blocks::{Blocks, part};
use super::super_block::{self, SuperBlock, nibbles};
use crate::activation::ActivationType;

const BYTES: usize = size_of::<(u16, u16, [u8; 12], [u8; 128])>();
const _: () = assert!(BYTES == 144);

pub(super) const Q4_K: Blocks = Blocks {
    len: 256,
    bytes: BYTES,
    activation: ActivationType::Q8_K,
    dequantise: |row, out| super_block::dequantise(row, out, unpack),
    dot: |row, activation, cols| super_block::dot(row, activation, cols, unpack),
};

fn unpack(block: &[u8; BYTES]) -> SuperBlock {
    SuperBlock::new(block, nibbles(part(block, 16)))
}
