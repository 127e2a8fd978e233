//! The products of F32, F16 and BF16.
//!
//! A dot product has one accumulator of four lanes, filled four columns at a time and summed in one fixed order. Columns
//! past the last four are padded with zeros.
//!
//! Weights are widened to f32, once for all tokens of a tile. Arm's instructions on narrow floats (`fmlal`, `bfdot`,
//! `bfmmla`) take both factors narrow: activations would be rounded to 11 or 8 bits, which loses more than the weights'
//! format does, so they are not used. Three BF16 parts would hold an activation exactly and cost three `bfmmla` where four
//! `fmla` do, but that instruction may flush subnormals and does not round to nearest.

use std::arch::aarch64::*;

use super::lanes::{each, load_halves, load_singles, padded_tail};
use super::tiles::{self, Tile, activation_row};
use crate::ops::matmul::MatmulArgs;

#[target_feature(enable = "neon")]
pub(super) fn matmul_f32(args: &mut MatmulArgs<'_>) {
    tiles::matmul(args, &Floats(|bytes: &[u8; 16]| load_singles(bytes)));
}

#[target_feature(enable = "neon")]
pub(super) fn matmul_f16(args: &mut MatmulArgs<'_>) {
    tiles::matmul(args, &Floats(|bytes: &[u8; 8]| load_halves(bytes)));
}

#[target_feature(enable = "neon")]
pub(super) fn matmul_bf16(args: &mut MatmulArgs<'_>) {
    tiles::matmul(args, &Floats(|bytes: &[u8; 8]| load_bf16(bytes)));
}

#[inline]
#[target_feature(enable = "neon")]
fn load_bf16(bytes: &[u8; 8]) -> float32x4_t {
    vreinterpretq_f32_u32(vshll_n_u16::<16>(vcreate_u16(u64::from_le_bytes(*bytes))))
}

/// A format by its widening of the `FOUR` bytes of four weights.
struct Floats<W, const FOUR: usize>(W);

impl<W: Fn(&[u8; FOUR]) -> float32x4_t, const FOUR: usize> Tile for Floats<W, FOUR> {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn multiply<const T: usize>(&self, args: &MatmulArgs<'_>, row: usize, token: usize) -> [float32x4_t; T] {
        let row_bytes = args.weight_row_bytes();
        let rows = each([0, 1, 2, 3], |r| &args.weights[(row + r).min(args.n_rows - 1) * row_bytes..][..row_bytes]);
        let tokens: [&[u8]; T] = std::array::from_fn(|t| &activation_row(args, token + t)[..args.cols * 4]);
        let mut sums = [[vdupq_n_f32(0.0); 4]; T];
        let mut add = |rows: [&[u8; FOUR]; 4], tokens: [&[u8; 16]; T]| {
            let weights = each(rows, &self.0);
            for (sums, token) in sums.iter_mut().zip(tokens) {
                let token = load_singles(token);
                for (sum, weights) in sums.iter_mut().zip(weights) {
                    *sum = vfmaq_f32(*sum, weights, token);
                }
            }
        };
        let n_fours = args.cols / 4;
        let row_fours = each(rows, |row| &row.as_chunks::<FOUR>().0[..n_fours]);
        let token_fours = tokens.map(|token| &token.as_chunks::<16>().0[..n_fours]);
        for i in 0..n_fours {
            add(each(row_fours, |row| &row[i]), token_fours.map(|token| &token[i]));
        }
        if !args.cols.is_multiple_of(4) {
            add(rows.map(padded_tail).each_ref(), tokens.map(padded_tail).each_ref());
        }
        sums.map(|[a, b, c, d]| vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d)))
    }
}
