//! What a format's file contributes to the table, and how its fields are read.

use crate::activation::ActivationType;

/// The blocks of a format and the scalar arithmetic on rows of them.
pub(super) struct Blocks {
    /// Weights per block.
    pub(super) len: usize,
    /// Bytes per block.
    pub(super) bytes: usize,
    /// What a row is multiplied with.
    pub(super) activation: ActivationType,
    /// Writes the weights of a row as f32.
    pub(super) dequantise: fn(&[u8], &mut [f32]),
    /// The dot product of a row and an activation row of this many columns.
    pub(super) dot: fn(&[u8], &[u8], usize) -> f32,
}

/// The `N` bytes of `block` that start at `at`.
pub(super) fn part<const N: usize>(block: &[u8], at: usize) -> &[u8; N] {
    block[at..].first_chunk().expect("the fields of a block lie inside it")
}

/// The half-precision number at byte `at` of `block`.
pub(super) fn f16_at(block: &[u8], at: usize) -> f32 {
    half::f16::from_le_bytes(*part(block, at)).to_f32()
}
