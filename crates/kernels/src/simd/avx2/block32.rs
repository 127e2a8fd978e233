//! The products of the formats with blocks of 32: eight weight rows by up to four tokens at a time.
//!
//! A block of eight rows is unpacked to eight vectors, vector `c` with weights `4c..4c+4` of row `r` in lane `r`; four
//! activation bytes, broadcast, then meet eight rows in one instruction. Blocks are unpacked eight deep into a panel on
//! the stack and applied to up to [`TOKENS`] tokens before the next eight. A lane's float operations are the same for
//! any number of rows and tokens: per block one product with the weight scale, one fused addition of the minimum times
//! the activation sum, one fused addition into the accumulator, block after block.

use std::arch::x86_64::*;

use super::lanes::{broadcast_4, store_f32};
use crate::activation::Q8_1Row;
use crate::ops::MatmulArgs;

/// Tokens that share an unpacked panel. At 64, unpacking is about 3% of the work and the activations of 4,096 columns
/// (305 KiB) stay in the second-level cache while the rows pass by.
const TOKENS: usize = 64;

/// Blocks in a panel: 2.5 KiB, so that it stays in the first-level cache beside the activations.
const DEPTH: usize = 8;

/// One block of eight rows: weights are `scale * quant + min`.
#[derive(Clone, Copy)]
pub(super) struct Block {
    pub(super) quants: [__m256i; 8],
    pub(super) scale: __m256,
    pub(super) min: __m256,
}

/// How the quants of a format may be summed.
///
/// `maddubs` multiplies unsigned weights with signed activations and adds pairs to 16 bits; `UNSIGNED_4` may add eight
/// such results (8 * 2 * 15 * 127 < 2^15), `UNSIGNED_5` four. `SIGNED_8` adds none, moves the sign of the weight to the
/// activation first and has no minimum.
pub(super) const UNSIGNED_4: usize = 8;
pub(super) const UNSIGNED_5: usize = 4;
pub(super) const SIGNED_8: usize = 1;

/// Multiplies blocks of `BYTES` bytes, which `unpack` makes of eight rows.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn matmul<const BYTES: usize, const CHAIN: usize>(
    args: &mut MatmulArgs<'_>,
    unpack: impl Fn([&[u8; BYTES]; 8]) -> Block,
) {
    let (cols, row_blocks) = (args.cols, args.cols / 32);
    let blocks = args.weights.as_chunks::<BYTES>().0;
    let row_bytes = args.activation_row_bytes();
    for (i, activations) in args.activations.chunks(TOKENS * row_bytes).enumerate() {
        let n_tokens = activations.len() / row_bytes;
        let view = |t: usize| Q8_1Row::new(&activations[t.min(n_tokens - 1) * row_bytes..][..row_bytes], cols);
        let tokens: [Q8_1Row; TOKENS] = std::array::from_fn(view);
        for first_row in (0..args.n_rows).step_by(8) {
            // Lanes past the last row repeat it; their results are dropped.
            let rows: [&[[u8; BYTES]]; 8] =
                std::array::from_fn(|r| &blocks[(first_row + r).min(args.n_rows - 1) * row_blocks..][..row_blocks]);
            let mut sums = [_mm256_setzero_ps(); TOKENS];
            multiply_rows::<BYTES, CHAIN>(rows, &tokens[..n_tokens], &mut sums, &unpack);
            store_sums(args, first_row, i * TOKENS, &sums[..n_tokens]);
        }
    }
}

/// Adds the products of eight rows and some tokens to `sums`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn multiply_rows<const BYTES: usize, const CHAIN: usize>(
    rows: [&[[u8; BYTES]]; 8],
    tokens: &[Q8_1Row],
    sums: &mut [__m256; TOKENS],
    unpack: impl Fn([&[u8; BYTES]; 8]) -> Block,
) {
    let zero = Block { quants: [_mm256_setzero_si256(); 8], scale: _mm256_setzero_ps(), min: _mm256_setzero_ps() };
    let mut panel = [zero; DEPTH];
    for first in (0..rows[0].len()).step_by(DEPTH) {
        let depth = DEPTH.min(rows[0].len() - first);
        let part = rows.map(|row| &row[first..first + depth]);
        for (b, block) in panel[..depth].iter_mut().enumerate() {
            *block = unpack(part.map(|row| &row[b]));
        }
        let panel = &panel[..depth];
        let (tiles, rest) = tokens.as_chunks::<4>();
        let (tile_sums, rest_sums) = sums[..tokens.len()].as_chunks_mut::<4>();
        for (tile, sums) in tiles.iter().zip(tile_sums) {
            multiply_tile::<4, CHAIN>(panel, first, tile, sums);
        }
        for (token, sum) in rest.as_chunks::<1>().0.iter().zip(rest_sums.as_chunks_mut::<1>().0) {
            multiply_tile::<1, CHAIN>(panel, first, token, sum);
        }
    }
}

/// Adds the products of a panel, whose first block is block `first` of its row, and `T` tokens to `sums`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn multiply_tile<const T: usize, const CHAIN: usize>(
    panel: &[Block],
    first: usize,
    tokens: &[Q8_1Row; T],
    sums: &mut [__m256; T],
) {
    let tokens = tokens.each_ref().map(|token| token.blocks(first, panel.len()));
    let activation_sums = tokens.each_ref().map(|(_, _, sums)| widen_sums(sums));
    for (b, block) in panel.iter().enumerate() {
        let dots = multiply_quants::<T, CHAIN>(&block.quants, tokens.each_ref().map(|(quants, _, _)| &quants[b]));
        for t in 0..T {
            let mut value = _mm256_mul_ps(block.scale, _mm256_cvtepi32_ps(dots[t]));
            if CHAIN != SIGNED_8 {
                value = _mm256_fmadd_ps(block.min, _mm256_set1_ps(activation_sums[t][b % DEPTH]), value);
            }
            let scale = _mm256_set1_ps(f32::from_le_bytes(tokens[t].1[b]));
            sums[t] = _mm256_fmadd_ps(value, scale, sums[t]);
        }
    }
}

/// The integer dot products of one block of eight rows and one block of `T` tokens.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn multiply_quants<const T: usize, const CHAIN: usize>(
    weights: &[__m256i; 8],
    activations: [&[u8; 32]; T],
) -> [__m256i; T] {
    let ones = _mm256_set1_epi16(1);
    let mut dots = [_mm256_setzero_si256(); T];
    for (run, weights) in weights.as_chunks::<CHAIN>().0.iter().enumerate() {
        let mut pairs = [_mm256_setzero_si256(); T];
        for (c, &weight) in weights.iter().enumerate() {
            for t in 0..T {
                let activation = broadcast_4(activations[t], 4 * (run * CHAIN + c));
                let product = if CHAIN == SIGNED_8 {
                    _mm256_maddubs_epi16(_mm256_abs_epi8(weight), _mm256_sign_epi8(activation, weight))
                } else {
                    _mm256_maddubs_epi16(weight, activation)
                };
                pairs[t] = if c == 0 { product } else { _mm256_add_epi16(pairs[t], product) };
            }
        }
        for t in 0..T {
            dots[t] = _mm256_add_epi32(dots[t], _mm256_madd_epi16(pairs[t], ones));
        }
    }
    dots
}

/// The activation sums of up to [`DEPTH`] blocks as floats.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn widen_sums(sums: &[[u8; 2]]) -> [f32; DEPTH] {
    let mut bytes = [[0; 2]; DEPTH];
    match sums.first_chunk() {
        Some(whole) => bytes = *whole,
        None => bytes[..sums.len()].copy_from_slice(sums),
    }
    bytes.map(|sum| f32::from(i16::from_le_bytes(sum)))
}

/// Writes the sums of tokens `first_token..` for rows `first_row..first_row + 8`, as far as the rows reach.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn store_sums(args: &mut MatmulArgs<'_>, first_row: usize, first_token: usize, sums: &[__m256]) {
    let mut lanes = [0.0; 8];
    for (t, sum) in sums.iter().enumerate() {
        store_f32(*sum, &mut lanes);
        let out = args.out[first_row * args.n_tokens..].iter_mut().skip(first_token + t).step_by(args.n_tokens);
        for (out, lane) in out.zip(lanes) {
            *out = lane;
        }
    }
}
