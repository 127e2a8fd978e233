//! The products of F32, F16 and BF16 with up to sixteen tokens: four weight rows by up to four tokens at a time.
//!
//! A dot product of one row and one token always has one accumulator of sixteen lanes, filled sixteen columns at a time
//! and summed in one fixed order, so its bits do not depend on the tile it is in. Columns past the last sixteen come
//! first, padded with zeros. [`super::float_panels`] multiplies more tokens.

use std::arch::x86_64::*;

use super::float_panels;
use super::lanes::{each, load_32, load_singles, padded_tail, prefetch, widen_two_halves};
use crate::ops::matmul::MatmulArgs;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn matmul_f32(args: &mut MatmulArgs<'_>) {
    if args.is_long {
        return float_panels::matmul::<4, 1>(args, |singles| [_mm512_castsi512_ps(singles)]);
    }
    matmul::<4, 64>(args, |bytes| load_singles(bytes));
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn matmul_f16(args: &mut MatmulArgs<'_>) {
    if args.is_long {
        return float_panels::matmul::<2, 2>(args, |pairs| widen_two_halves(pairs));
    }
    matmul::<2, 32>(args, |bytes| _mm512_cvtph_ps(load_32(bytes)));
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn matmul_bf16(args: &mut MatmulArgs<'_>) {
    if args.is_long {
        let upper = _mm512_set1_epi32(0xFFFF_0000_u32.cast_signed());
        return float_panels::matmul::<2, 2>(args, |pairs| {
            each([_mm512_slli_epi32::<16>(pairs), _mm512_and_si512(pairs, upper)], |bits| _mm512_castsi512_ps(bits))
        });
    }
    matmul::<2, 32>(args, |bytes| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(load_32(bytes)))));
}

/// Multiplies weights of `BYTES` bytes each; `widen` makes f32 of the `SIXTEEN` bytes of sixteen of them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn matmul<const BYTES: usize, const SIXTEEN: usize>(
    args: &mut MatmulArgs<'_>,
    widen: impl Fn(&[u8; SIXTEEN]) -> __m512,
) {
    for row in (0..args.n_rows).step_by(4) {
        let mut token = 0;
        while token + 4 <= args.n_tokens {
            multiply_tile::<4, BYTES, SIXTEEN>(args, row, token, &widen);
            token += 4;
        }
        for token in token..args.n_tokens {
            multiply_tile::<1, BYTES, SIXTEEN>(args, row, token, &widen);
        }
    }
}

/// Writes the dot products of up to four rows and `T` tokens.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn multiply_tile<const T: usize, const BYTES: usize, const SIXTEEN: usize>(
    args: &mut MatmulArgs<'_>,
    row: usize,
    token: usize,
    widen: impl Fn(&[u8; SIXTEEN]) -> __m512,
) {
    let (cols, last) = (args.cols, args.n_rows - 1);
    let rows = each([0, 1, 2, 3], |r| &args.weights[(row + r).min(last) * cols * BYTES..][..cols * BYTES]);
    let mut tokens = [&args.activations[..0]; T];
    for (t, row) in tokens.iter_mut().enumerate() {
        *row = &args.activations[(token + t) * args.activation_row_bytes()..][..cols * 4];
    }
    let mut sums = [[_mm512_setzero_ps(); T]; 4];
    // The rest comes first: a call behind the loop would drive the sums out of their registers.
    if !cols.is_multiple_of(16) {
        let (row_tails, token_tails) = (each(rows, padded_tail), each(tokens, padded_tail));
        sums = add_products(sums, row_tails.each_ref(), token_tails.each_ref(), &widen);
    }
    let n_sixteens = cols / 16;
    let row_sixteens = each(rows, |row| &row.as_chunks::<SIXTEEN>().0[..n_sixteens]);
    let token_sixteens = each(tokens, |token| &token.as_chunks::<64>().0[..n_sixteens]);
    for i in 0..n_sixteens {
        if token == 0 {
            // Rows are too short for the processor to foresee them.
            each(row_sixteens, |row| prefetch::<_MM_HINT_T0>(&row[i], 4 * cols * BYTES));
        }
        let (weights, activations) = (each(row_sixteens, |row| &row[i]), each(token_sixteens, |token| &token[i]));
        sums = add_products(sums, weights, activations, &widen);
    }
    for (r, sums) in sums.iter().enumerate().take(args.n_rows - row) {
        for (t, sum) in sums.iter().enumerate() {
            args.out[(token + t) * args.n_rows + row + r] = _mm512_reduce_add_ps(*sum);
        }
    }
}

/// Adds the products of sixteen columns of four rows and `T` tokens.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn add_products<const T: usize, const SIXTEEN: usize>(
    mut sums: [[__m512; T]; 4],
    weights: [&[u8; SIXTEEN]; 4],
    activations: [&[u8; 64]; T],
    widen: impl Fn(&[u8; SIXTEEN]) -> __m512,
) -> [[__m512; T]; 4] {
    for r in 0..4 {
        let weights = widen(weights[r]);
        for t in 0..T {
            sums[r][t] = _mm512_fmadd_ps(weights, load_singles(activations[t]), sums[r][t]);
        }
    }
    sums
}
