//! The products of the formats with blocks of 32.
//!
//! Per block, row and token: the exact integer dot product, one product with the weight scale, one fused addition of the
//! minimum times the activation sum (formats with minima), one fused addition of that times the activation scale.

use std::arch::aarch64::*;
use std::marker::PhantomData;

use super::dot::{Dot, dot_rows};
use super::lanes::{each, load_signed_32};
use super::tiles::{self, Tile, activation_row, four_rows};
use crate::activation::{Q8_1Chunk, Q8_1Row};
use crate::ops::MatmulArgs;

/// Blocks whose lengths are checked together.
const DEPTH: usize = 8;

/// One block of four rows: weights are `scale * quant + min`.
pub(super) struct Block {
    pub(super) quants: [[int8x16_t; 2]; 4],
    pub(super) scale: float32x4_t,
    pub(super) min: Option<float32x4_t>,
}

/// Multiplies blocks of `BYTES` bytes, which `unpack` makes of four rows.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn matmul<D: Dot, const BYTES: usize>(
    args: &mut MatmulArgs<'_>,
    unpack: impl Fn([&[u8; BYTES]; 4]) -> Block,
) {
    tiles::matmul(args, &Blocks { unpack, dot: PhantomData::<D> });
}

/// A format by its unpacking.
struct Blocks<D, U, const BYTES: usize> {
    unpack: U,
    dot: PhantomData<D>,
}

impl<D: Dot, U: Fn([&[u8; BYTES]; 4]) -> Block, const BYTES: usize> Tile for Blocks<D, U, BYTES> {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn multiply<const T: usize>(&self, args: &MatmulArgs<'_>, row: usize, token: usize) -> [float32x4_t; T] {
        let rows = four_rows::<BYTES>(args, row);
        let tokens: [_; T] = std::array::from_fn(|t| Q8_1Row::new(activation_row(args, token + t), args.cols));
        let mut sums = [vdupq_n_f32(0.0); T];
        let whole = rows[0].len() / DEPTH;
        for c in 0..whole {
            let rows: [&[_; DEPTH]; 4] = each(rows, |row| &row.as_chunks().0[c]);
            self.add_products(rows, tokens.each_ref().map(|token| token.chunk(c * DEPTH)), &mut sums);
        }
        for b in whole * DEPTH..rows[0].len() {
            let rows: [&[_; 1]; 4] = each(rows, |row| &row.as_chunks().0[b]);
            self.add_products(rows, tokens.each_ref().map(|token| token.chunk(b)), &mut sums);
        }
        sums
    }
}

impl<D: Dot, U: Fn([&[u8; BYTES]; 4]) -> Block, const BYTES: usize> Blocks<D, U, BYTES> {
    /// Adds the products of `N` blocks of four rows and of `T` tokens.
    #[inline]
    #[target_feature(enable = "neon")]
    fn add_products<const T: usize, const N: usize>(
        &self,
        rows: [&[[u8; BYTES]; N]; 4],
        tokens: [Q8_1Chunk<'_, N>; T],
        sums: &mut [float32x4_t; T],
    ) {
        for b in 0..N {
            let block = (self.unpack)(each(rows, |row| &row[b]));
            for (sum, token) in sums.iter_mut().zip(&tokens) {
                let dots = dot_rows::<D>(&block.quants, load_signed_32(&token.quants[b]));
                let mut value = vmulq_f32(block.scale, vcvtq_f32_s32(dots));
                if let Some(min) = block.min {
                    value = vfmaq_n_f32(value, min, f32::from(i16::from_le_bytes(token.sums[b])));
                }
                *sum = vfmaq_n_f32(*sum, value, f32::from_le_bytes(token.scales[b]));
            }
        }
    }
}
