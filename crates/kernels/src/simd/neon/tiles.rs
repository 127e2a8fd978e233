//! The loops of unquantised products, and of quantised ones with few tokens ([`super::panels`] has those with many): four
//! weight rows by up to four tokens at a time.
//!
//! A format is a [`Tile`]: it multiplies four rows with a few tokens and gives one vector per token, one row per lane.
//! Its float operations for one row and one token are the same in a tile of any width, so a value does not depend on
//! the company it is computed in. Weights are unpacked once per tile.

use std::arch::aarch64::*;

use super::lanes::{each, store_f32};
use crate::ops::matmul::MatmulArgs;

/// Tokens that meet four rows before the next four come: 64 rows of 4,096 activations (305 KiB) stay in the
/// second-level cache while the weights pass by.
const TOKENS: usize = 64;

/// The product of four weight rows and some tokens in one format.
pub(super) trait Tile {
    /// The dot products of rows `row..row + 4` and tokens `token..token + T`; rows past the end repeat the last one.
    ///
    /// # Safety
    ///
    /// The processor has NEON.
    unsafe fn multiply<const T: usize>(&self, args: &MatmulArgs<'_>, row: usize, token: usize) -> [float32x4_t; T];
}

/// Multiplies the operands tile by tile.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn matmul<F: Tile>(args: &mut MatmulArgs<'_>, format: &F) {
    for first in (0..args.n_tokens).step_by(TOKENS) {
        let end = args.n_tokens.min(first + TOKENS);
        for row in (0..args.n_rows).step_by(4) {
            let mut token = first;
            while token < end {
                token += match end - token {
                    4.. => store::<4, F>(args, format, row, token),
                    2.. => store::<2, F>(args, format, row, token),
                    _ => store::<1, F>(args, format, row, token),
                };
            }
        }
    }
}

/// Writes one tile of `T` tokens, up to the last row, and returns `T`.
#[inline]
#[target_feature(enable = "neon")]
fn store<const T: usize, F: Tile>(args: &mut MatmulArgs<'_>, format: &F, row: usize, token: usize) -> usize {
    // SAFETY: this function itself may only be called where NEON is there.
    let sums: [float32x4_t; T] = unsafe { format.multiply(args, row, token) };
    for (t, sum) in sums.into_iter().enumerate() {
        let mut lanes = [0.0; 4];
        store_f32(sum, &mut lanes);
        let out = &mut args.out[(token + t) * args.n_rows..][row..args.n_rows.min(row + 4)];
        out.iter_mut().zip(lanes).for_each(|(out, lane)| *out = lane);
    }
    T
}

/// The blocks of rows `row..row + 4`; rows past the end repeat the last one.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn four_rows<'a, const BYTES: usize>(args: &MatmulArgs<'a>, row: usize) -> [&'a [[u8; BYTES]]; 4] {
    let row_blocks = args.cols / args.format.block_len;
    let blocks = args.weights.as_chunks::<BYTES>().0;
    each([0, 1, 2, 3], |r| &blocks[(row + r).min(args.n_rows - 1) * row_blocks..][..row_blocks])
}

/// The bytes of activation row `token`.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn activation_row<'a>(args: &MatmulArgs<'a>, token: usize) -> &'a [u8] {
    let row_bytes = args.activation_row_bytes();
    &args.activations[token * row_bytes..][..row_bytes]
}
