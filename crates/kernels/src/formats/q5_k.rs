//! Q5_K: super-blocks of 256 weights of 5 bits.
//!
//! A block is `f16 d, f16 dmin, [u8; 12] scales and minima, [u8; 32] fifth bits, [u8; 128] quants`; see
//! [`super::super_block`]. Bit `g` of fifth-bits byte `i` belongs to weight `i` of group `g`.

use super::blocks::{Blocks, part};
use super::super_block::{self, SuperBlock, nibbles};
use crate::activation::ActivationType;

const BYTES: usize = size_of::<(u16, u16, [u8; 12], [u8; 32], [u8; 128])>();
const _: () = assert!(BYTES == 176);

pub(super) const Q5_K: Blocks = Blocks {
    len: 256,
    bytes: BYTES,
    activation: ActivationType::Q8_K,
    dequantise: |row, out| super_block::dequantise(row, out, unpack),
    dot: |row, activation, cols| super_block::dot(row, activation, cols, unpack),
};

fn unpack(block: &[u8; BYTES]) -> SuperBlock {
    let high: &[u8; 32] = part(block, 16);
    let mut quants = nibbles(part(block, 48));
    for (i, q) in quants.iter_mut().enumerate() {
        *q |= (high[i % 32] >> (i / 32) & 1) << 4;
    }
    SuperBlock::new(block, quants)
}
