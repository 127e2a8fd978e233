//! The products of the formats with blocks of 32: sixteen weight rows by up to eight tokens at a time.
//!
//! A block of sixteen rows is unpacked to eight vectors, vector `c` with weights `4c..4c+4` of row `r` in lane `r`; four
//! activation bytes, broadcast, then meet sixteen rows in one instruction. Blocks are unpacked eight deep into a panel on
//! the stack and applied to up to [`TOKENS`] tokens before the next eight. A lane's float operations are the same for
//! any number of rows and tokens: per block one product with the weight scale, one fused addition of the minimum times
//! the activation sum (formats with minima), one fused addition into the accumulator, block after block.

use std::arch::x86_64::*;

use super::lanes::{Rows, broadcast_4, each, prefetch, store_f32};
use crate::activation::{Q8_1Chunk, Q8_1Row};
use crate::ops::MatmulArgs;

/// Tokens that share an unpacked panel: the activations of 64 tokens of 4,096 columns (305 KiB) stay in the second-level
/// cache while the rows pass by.
pub(super) const TOKENS: usize = 64;

/// Blocks in a panel: 5 KiB, so that it stays in the first-level cache beside the activations.
const DEPTH: usize = 8;

/// One block of sixteen rows: weights are `scale * (quant - OFFSET)`, or `scale * quant + min` if `OFFSET` is [`AFFINE`].
#[derive(Clone, Copy)]
pub(super) struct Block {
    /// Unsigned.
    pub(super) quants: [__m512i; 8],
    pub(super) scale: __m512,
    pub(super) min: __m512,
}

/// The offset of formats with minima.
pub(super) const AFFINE: i32 = 0;

/// Multiplies blocks of `BYTES` bytes, which `unpack` makes of sixteen rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn matmul<const BYTES: usize, const OFFSET: i32>(
    args: &mut MatmulArgs<'_>,
    unpack: impl Fn(Rows<&[u8; BYTES]>) -> Block,
) {
    let (cols, row_blocks, row_bytes) = (args.cols, args.cols / 32, args.activation_row_bytes());
    let zero = Block { quants: [_mm512_setzero_si512(); 8], scale: _mm512_setzero_ps(), min: _mm512_setzero_ps() };
    let mut panel = [zero; DEPTH];
    for (i, activations) in args.activations.chunks(TOKENS * row_bytes).enumerate() {
        let n_tokens = activations.len() / row_bytes;
        for first_row in (0..args.n_rows).step_by(16) {
            let rows = sixteen_rows::<BYTES>(args, first_row);
            let mut sums = [_mm512_setzero_ps(); TOKENS];
            let sums = &mut sums[..n_tokens];
            let whole = row_blocks / DEPTH;
            for c in 0..whole {
                let part: Rows<&[[u8; BYTES]; DEPTH]> = each(rows, |row| &row.as_chunks().0[c]);
                each(part, |part| prefetch(part.as_flattened(), 16 * row_blocks * BYTES));
                for (b, block) in panel.iter_mut().enumerate() {
                    *block = unpack(each(part, |row| &row[b]));
                }
                multiply_panel::<OFFSET, DEPTH>(cols, &panel, c * DEPTH, activations, sums);
            }
            for b in whole * DEPTH..row_blocks {
                multiply_panel::<OFFSET, 1>(cols, &[unpack(each(rows, |row| &row[b]))], b, activations, sums);
            }
            store_sums(args, first_row, i * TOKENS, sums);
        }
    }
}

/// The blocks of rows `first..first + 16`. Rows past the end repeat the last one; their results are dropped.
#[inline(always)]
pub(super) fn sixteen_rows<'a, const BYTES: usize>(args: &MatmulArgs<'a>, first: usize) -> Rows<&'a [[u8; BYTES]]> {
    let row_blocks = args.cols / args.format.block_len;
    let blocks = args.weights.as_chunks::<BYTES>().0;
    std::array::from_fn(|r| &blocks[(first + r).min(args.n_rows - 1) * row_blocks..][..row_blocks])
}

/// Adds the products of a panel, whose first block is block `first` of its row, and all tokens of `activations`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn multiply_panel<const OFFSET: i32, const D: usize>(
    cols: usize,
    panel: &[Block; D],
    first: usize,
    activations: &[u8],
    sums: &mut [__m512],
) {
    let row_bytes = activations.len() / sums.len();
    let mut t = 0;
    while t < sums.len() {
        let (sums, activations) = (&mut sums[t..], &activations[t * row_bytes..]);
        t += match sums.len() {
            8.. => multiply_tile::<8, OFFSET, D>(cols, panel, first, activations, sums),
            4.. => multiply_tile::<4, OFFSET, D>(cols, panel, first, activations, sums),
            2.. => multiply_tile::<2, OFFSET, D>(cols, panel, first, activations, sums),
            _ => multiply_tile::<1, OFFSET, D>(cols, panel, first, activations, sums),
        };
    }
}

/// Adds the products of a panel and the first `T` of the tokens; returns `T`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn multiply_tile<const T: usize, const OFFSET: i32, const D: usize>(
    cols: usize,
    panel: &[Block; D],
    first: usize,
    activations: &[u8],
    sums: &mut [__m512],
) -> usize {
    let row_bytes = activations.len() / sums.len();
    let (mut quants, mut scales, mut activation_sums) = ([&[[0; 32]; D]; T], [&[[0; 4]; D]; T], [[0; D]; T]);
    for t in 0..T {
        let token = chunk(&activations[t * row_bytes..][..row_bytes], cols, first);
        (quants[t], scales[t]) = (token.quants, token.scales);
        for (wide, sum) in activation_sums[t].iter_mut().zip(token.sums) {
            *wide = i32::from(i16::from_le_bytes(*sum));
        }
    }
    let sums: &mut [__m512; T] = sums.first_chunk_mut().expect("a tile has no more tokens than there are sums");
    let mut totals = *sums;
    for (b, block) in panel.iter().enumerate() {
        let mut dots = [_mm512_setzero_si512(); T];
        if OFFSET != AFFINE {
            for t in 0..T {
                dots[t] = _mm512_set1_epi32(-OFFSET * activation_sums[t][b]);
            }
        }
        for (c, &weights) in block.quants.iter().enumerate() {
            for t in 0..T {
                dots[t] = _mm512_dpbusd_epi32(dots[t], weights, broadcast_4(&quants[t][b], 4 * c));
            }
        }
        for t in 0..T {
            let mut value = _mm512_mul_ps(block.scale, _mm512_cvtepi32_ps(dots[t]));
            if OFFSET == AFFINE {
                let sum = _mm512_cvtepi32_ps(_mm512_set1_epi32(activation_sums[t][b]));
                value = _mm512_fmadd_ps(block.min, sum, value);
            }
            let scale = _mm512_set1_ps(f32::from_le_bytes(scales[t][b]));
            totals[t] = _mm512_fmadd_ps(value, scale, totals[t]);
        }
    }
    *sums = totals;
    T
}

/// Blocks `first..first + D` of an activation row.
#[inline(always)]
fn chunk<const D: usize>(row: &[u8], cols: usize, first: usize) -> Q8_1Chunk<'_, D> {
    Q8_1Row::new(row, cols).chunk(first)
}

/// Writes the sums of tokens `first_token..` for rows `first_row..first_row + 16`, as far as the rows reach.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn store_sums(args: &mut MatmulArgs<'_>, first_row: usize, first_token: usize, sums: &[__m512]) {
    let mut lanes = [0.0; 16];
    for (t, sum) in sums.iter().enumerate() {
        store_f32(*sum, &mut lanes);
        let rows = args.out[first_row * args.n_tokens..].chunks_exact_mut(args.n_tokens);
        for (row, lane) in rows.zip(lanes) {
            row[first_token + t] = lane;
        }
    }
}
