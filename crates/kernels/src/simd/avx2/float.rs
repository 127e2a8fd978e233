//! The products of F32, F16 and BF16: two weight rows by up to four tokens at a time.
//!
//! A dot product of one row and one token always has one accumulator of eight lanes, filled eight columns at a time and
//! summed in one fixed order, so its bits do not depend on the tile it is in. Columns past the last eight are padded
//! with zeros.

use std::arch::x86_64::*;

use super::lanes::{load_16, load_32, prefetch, sum_f32};
use crate::ops::matmul::MatmulArgs;

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn matmul_f32(args: &mut MatmulArgs<'_>) {
    matmul::<4, 32>(args, |bytes| _mm256_castsi256_ps(load_32(bytes)));
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn matmul_f16(args: &mut MatmulArgs<'_>) {
    matmul::<2, 16>(args, |bytes| _mm256_cvtph_ps(load_16(bytes)));
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn matmul_bf16(args: &mut MatmulArgs<'_>) {
    matmul::<2, 16>(args, |bytes| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(load_16(bytes)))));
}

/// Multiplies weights of `BYTES` bytes each; `widen` makes f32 of the `EIGHT` bytes of eight of them.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn matmul<const BYTES: usize, const EIGHT: usize>(args: &mut MatmulArgs<'_>, widen: impl Fn(&[u8; EIGHT]) -> __m256) {
    let (cols, n_rows, n_tokens) = (args.cols, args.n_rows, args.n_tokens);
    let weights = |row: usize| &args.weights[row * cols * BYTES..][..cols * BYTES];
    let row_bytes = args.activation_row_bytes();
    let activations = |token: usize| &args.activations[token * row_bytes..][..cols * 4];
    // Four tokens stay in the first-level cache while all rows pass by.
    for token in (0..n_tokens).step_by(4) {
        let tokens: [&[u8]; 4] = std::array::from_fn(|t| activations((token + t).min(n_tokens - 1)));
        for row in (0..n_rows).step_by(4) {
            let rows: [&[u8]; 4] = std::array::from_fn(|r| weights((row + r).min(n_rows - 1)));
            let (n, m) = (4.min(n_rows - row), 4.min(n_tokens - token));
            let mut tile = [[0.0; 4]; 4];
            if m == 1 {
                for (tile, sums) in tile.iter_mut().zip(multiply_tile::<4, 1, EIGHT>(rows, [tokens[0]], &widen)) {
                    tile[0] = sums[0];
                }
            } else {
                let [a, b, c, d] = rows;
                [tile[0], tile[1]] = multiply_tile([a, b], tokens, &widen);
                [tile[2], tile[3]] = multiply_tile([c, d], tokens, &widen);
            }
            for (r, sums) in tile.iter().enumerate().take(n) {
                for (t, sum) in sums.iter().enumerate().take(m) {
                    args.out[(token + t) * n_rows + row + r] = *sum;
                }
            }
        }
    }
}

/// The dot products of `R` rows and `T` tokens.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn multiply_tile<const R: usize, const T: usize, const EIGHT: usize>(
    rows: [&[u8]; R],
    tokens: [&[u8]; T],
    widen: impl Fn(&[u8; EIGHT]) -> __m256,
) -> [[f32; T]; R] {
    let mut sums = [[_mm256_setzero_ps(); T]; R];
    let mut add = |weights: [&[u8; EIGHT]; R], activations: [&[u8; 32]; T]| {
        let activations = activations.map(|a| _mm256_castsi256_ps(load_32(a)));
        for (sums, weights) in sums.iter_mut().zip(weights) {
            let weights = widen(weights);
            for (sum, activation) in sums.iter_mut().zip(activations) {
                *sum = _mm256_fmadd_ps(weights, activation, *sum);
            }
        }
    };
    let n_eights = tokens[0].len() / 32;
    let row_eights = rows.map(|row| &row.as_chunks::<EIGHT>().0[..n_eights]);
    let token_eights = tokens.map(|token| &token.as_chunks::<32>().0[..n_eights]);
    for i in 0..n_eights {
        if T == 1 && (i * EIGHT).is_multiple_of(64) {
            for row in row_eights {
                prefetch(&row[i], 4 * rows[0].len());
            }
        }
        add(row_eights.map(|row| &row[i]), token_eights.map(|token| &token[i]));
    }
    if !tokens[0].len().is_multiple_of(32) {
        let row_tails = rows.map(padded_tail::<EIGHT>);
        let token_tails = tokens.map(padded_tail::<32>);
        add(row_tails.each_ref(), token_tails.each_ref());
    }
    sums.map(|sums| sums.map(|sum| sum_f32(sum)))
}

/// What is left after the last whole `N` bytes, with zeros behind.
fn padded_tail<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let tail = bytes.as_chunks::<N>().1;
    let mut padded = [0; N];
    padded[..tail.len()].copy_from_slice(tail);
    padded
}
