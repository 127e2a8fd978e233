//! Q4_K: super-blocks of 256 weights of 4 bits.
//!
//! A block is `f16 d, f16 dmin, [u8; 12] scales and minima, [u8; 128] quants`; see [`super::super_block`].

use super::part;
use super::super_block::{self, SuperBlock, nibbles};

pub(super) const BYTES: usize = size_of::<(u16, u16, [u8; 12], [u8; 128])>();
const _: () = assert!(BYTES == 144);

fn unpack(block: &[u8; BYTES]) -> SuperBlock {
    SuperBlock::new(block, nibbles(part(block, 16)))
}

pub(super) fn dequantise(row: &[u8], out: &mut [f32]) {
    super_block::dequantise(row, out, unpack);
}

pub(super) fn dot(row: &[u8], activation: &[u8], cols: usize) -> f32 {
    super_block::dot(row, activation, cols, unpack)
}
