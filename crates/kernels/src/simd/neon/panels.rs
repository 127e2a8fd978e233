//! The loops of quantised products with many tokens: sixteen weight rows by up to 64 tokens.
//!
//! A *chunk* is 256 columns. The weights of sixteen rows are unpacked and arranged chunk by chunk in a panel on the stack
//! (about 6 KiB) and applied to all tokens of the group before the next chunk; the tokens of a chunk are arranged four at a
//! time, once for all sixteen rows. The innermost step multiplies eight rows by four tokens, whose sums stay in registers
//! through the chunk. The float operations of one row and one token are those of [`super::tiles`] in the same order, so a
//! value does not depend on the company it is computed in.
//!
//! On paper: a core with two or four vector pipes starts two or four `smmla` a cycle, 64 or 128 multiplications and
//! additions; `sdot` does half. The innermost step of 32 columns is 32 `smmla` (or 64 `sdot`) for 32 results. As compiled,
//! with blocks of 32 it has 92 instructions for the matrix instruction (107 with minima): 24 (32) conversions,
//! multiplications and additions of floats and 8 zeroings share the vector pipes with it, which leaves it half of them. With
//! super-blocks it has 75 (95 with scales per 16 columns): 8 (16) multiplications by scales and 8 (16) zeroings beside the 32,
//! which leaves it two thirds (half). `scripts/count-instructions.sh` counts the rest, too.

use std::arch::aarch64::*;

use super::lanes::store_f32;
use super::layout::Layout;
use crate::ops::matmul::MatmulArgs;

/// Tokens that meet sixteen rows before the next sixteen come: 64 rows of 4,096 activations (305 KiB) stay in the
/// second-level cache while the weights pass by.
const TOKENS: usize = 64;

/// Groups of four rows in a panel.
const QUADS: usize = 4;

/// The products of four rows and two tokens.
pub(super) type Unit = [float32x4_t; 2];

/// A quantised format, by its chunks.
pub(super) trait Panels {
    /// Whether to multiply eight rows by four tokens at once, or four rows.
    const WIDE: bool;
    type Layout: Layout;
    /// A chunk of four rows.
    type Rows: Copy;
    /// A chunk of two tokens.
    type Tokens: Copy;

    /// Room for chunks.
    ///
    /// # Safety
    ///
    /// The processor has the tier's instructions; so for all functions here.
    unsafe fn empty(&self) -> (Self::Rows, Self::Tokens);

    /// Arranges a chunk of rows `row..row + 4`; rows past the end repeat the last one.
    ///
    /// # Safety
    ///
    /// As [`Panels::empty`].
    unsafe fn arrange_rows(&self, args: &MatmulArgs<'_>, row: usize, chunk: usize, out: &mut Self::Rows);

    /// Arranges a chunk of two tokens.
    ///
    /// # Safety
    ///
    /// As [`Panels::empty`].
    unsafe fn arrange_tokens(&self, args: &MatmulArgs<'_>, tokens: [usize; 2], chunk: usize, out: &mut Self::Tokens);

    /// Adds the products of a chunk of `4 Q` rows and `2 P` tokens.
    ///
    /// # Safety
    ///
    /// As [`Panels::empty`].
    unsafe fn multiply<const Q: usize, const P: usize>(
        rows: &[Self::Rows; Q],
        tokens: &[Self::Tokens; P],
        sums: &mut [[Unit; P]; Q],
    );
}

/// Multiplies the operands panel by panel.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn matmul<F: Panels>(args: &mut MatmulArgs<'_>, format: &F) {
    // SAFETY: this function itself may only be called where the tier's instructions are there.
    let (rows, tokens) = unsafe { format.empty() };
    let (mut rows, mut tokens) = ([rows; QUADS], [tokens; 2]);
    for first in (0..args.n_tokens).step_by(TOKENS) {
        let n_pairs = (args.n_tokens - first).min(TOKENS).div_ceil(2);
        for row in (0..args.n_rows).step_by(4 * QUADS) {
            let n_quads = (args.n_rows - row).min(4 * QUADS).div_ceil(4);
            let mut sums = [[[vdupq_n_f32(0.0); 2]; TOKENS / 2]; QUADS];
            for chunk in 0..args.cols.div_ceil(256) {
                for (q, rows) in rows[..n_quads].iter_mut().enumerate() {
                    // SAFETY: as above.
                    unsafe { format.arrange_rows(args, row + 4 * q, chunk, rows) };
                }
                for pair in (0..n_pairs).step_by(2) {
                    let n = (n_pairs - pair).min(2);
                    for (p, tokens) in tokens[..n].iter_mut().enumerate() {
                        let token = first + 2 * (pair + p);
                        let both = [token, (token + 1).min(args.n_tokens - 1)];
                        // SAFETY: as above.
                        unsafe { format.arrange_tokens(args, both, chunk, tokens) };
                    }
                    match n {
                        2 => multiply::<F, 2>(&rows[..n_quads], &tokens, &mut sums, pair),
                        _ => multiply::<F, 1>(&rows[..n_quads], &[tokens[0]], &mut sums, pair),
                    }
                }
            }
            for (q, sums) in sums[..n_quads].iter().enumerate() {
                store::<F>(args, row + 4 * q, first, &sums[..n_pairs]);
            }
        }
    }
}

/// Adds the products of a chunk of all `rows` and of the `P` pairs of tokens from pair `pair` on.
#[inline]
#[target_feature(enable = "neon")]
fn multiply<F: Panels, const P: usize>(
    rows: &[F::Rows],
    tokens: &[F::Tokens; P],
    sums: &mut [[Unit; TOKENS / 2]; QUADS],
    pair: usize,
) {
    let (twos, ones) = rows.split_at(if F::WIDE { rows.len() / 2 * 2 } else { 0 });
    let (sums_of_twos, sums_of_ones) = sums.split_at_mut(twos.len());
    for (rows, sums) in twos.as_chunks::<2>().0.iter().zip(sums_of_twos.as_chunks_mut::<2>().0) {
        multiply_tile::<F, 2, P>(rows, tokens, sums, pair);
    }
    for (rows, sums) in ones.as_chunks::<1>().0.iter().zip(sums_of_ones.as_chunks_mut::<1>().0) {
        multiply_tile::<F, 1, P>(rows, tokens, sums, pair);
    }
}

/// Adds the products of a chunk of `4 Q` rows and `2 P` tokens.
#[inline]
#[target_feature(enable = "neon")]
fn multiply_tile<F: Panels, const Q: usize, const P: usize>(
    rows: &[F::Rows; Q],
    tokens: &[F::Tokens; P],
    sums: &mut [[Unit; TOKENS / 2]; Q],
    pair: usize,
) {
    let mut tile = [[[vdupq_n_f32(0.0); 2]; P]; Q];
    for (tile, sums) in tile.iter_mut().zip(&*sums) {
        tile.copy_from_slice(&sums[pair..pair + P]);
    }
    // SAFETY: this function itself may only be called where the tier's instructions are there.
    unsafe { F::multiply(rows, tokens, &mut tile) };
    for (tile, sums) in tile.iter().zip(sums) {
        sums[pair..pair + P].copy_from_slice(tile);
    }
}

/// Writes the sums of rows `row..row + 4` and of the tokens from `token` on, up to the last of both.
#[inline]
#[target_feature(enable = "neon")]
fn store<F: Panels>(args: &mut MatmulArgs<'_>, row: usize, token: usize, sums: &[Unit]) {
    let n_rows = 4.min(args.n_rows - row);
    for (pair, &unit) in sums.iter().enumerate() {
        let first = token + 2 * pair;
        let mut lanes = [[0.0; 4]; 2];
        for (sums, lanes) in F::Layout::by_token(unit).into_iter().zip(&mut lanes) {
            store_f32(sums, lanes);
        }
        for (t, lanes) in lanes.iter().enumerate().take(args.n_tokens - first) {
            for (r, value) in lanes.iter().enumerate().take(n_rows) {
                args.out[(first + t) * args.n_rows + row + r] = *value;
            }
        }
    }
}
