//! Long prompts in the formats with blocks of 32: sixteen weight rows by up to eight tokens at a time.
//!
//! A block of sixteen rows is unpacked to eight vectors, vector `c` with weights `4c..4c+4` of row `r` in lane `r`; four
//! activation bytes, broadcast, then meet sixteen rows in one instruction. Sixteen blocks are unpacked into a panel on
//! the stack and applied to all tokens before the next sixteen, the sums waiting in the output meanwhile; so that the part of
//! the activations that a panel meets stays in the second-level cache, columns are the outer loop and rows the inner one. A
//! lane's float operations are the same for any number of rows and tokens: per block one product with the product of
//! both scales, added in one fused step, then the minimum times the scaled activation sum (formats with minima).
//!
//! Of ten (formats with minima: eleven) instructions a block and token for which a multiplier is needed, eight are dot
//! products: a processor that starts one of either a cycle is at most at 80% (73%) of its int8 peak.

use std::arch::x86_64::*;
use std::ops::Range;

use super::activation;
use super::lanes::{Rows, add_to_column, each};
use crate::ops::MatmulArgs;

/// Tokens that meet a weight vector while it is in a register.
pub(super) const TILE: usize = 8;

/// Tokens that meet a panel: a chunk of each, 192 KiB in all, stays in the second-level cache while the rows pass by.
pub(super) const TOKENS: usize = 256;

/// Blocks in a panel: those of a chunk of activations. 10 KiB, which stay in the first-level cache beside the activations.
const DEPTH: usize = activation::GROUPS;

/// One block of sixteen rows: weights are `scale * (quant - 2^SHIFT)`, or `scale * quant + min` if `SHIFT` is [`AFFINE`].
#[derive(Clone, Copy)]
pub(super) struct Block {
    /// Unsigned.
    pub(super) quants: [__m512i; 8],
    pub(super) scale: __m512,
    pub(super) min: __m512,
}

/// Stands for the offset of formats with minima.
pub(super) const AFFINE: u32 = 0;

/// Multiplies blocks of `BYTES` bytes, which `unpack` makes of sixteen rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn matmul<const BYTES: usize, const SHIFT: u32>(
    args: &mut MatmulArgs<'_>,
    unpack: impl Fn(Rows<&[u8; BYTES]>) -> Block,
) {
    let (row_blocks, row_chunks) = (args.cols / 32, args.cols.div_ceil(activation::COLUMNS));
    let zero = Block { quants: [_mm512_setzero_si512(); 8], scale: _mm512_setzero_ps(), min: _mm512_setzero_ps() };
    let mut panel = [zero; DEPTH];
    args.out.fill(0.0);
    for first_token in (0..args.n_tokens).step_by(TOKENS) {
        let tokens = first_token..args.n_tokens.min(first_token + TOKENS);
        for chunk in 0..row_chunks {
            let depth = DEPTH.min(row_blocks - chunk * DEPTH);
            for first_row in (0..args.n_rows).step_by(16) {
                let rows = each(sixteen_rows::<BYTES>(args, first_row), |row| &row[chunk * DEPTH..][..depth]);
                for (b, block) in panel[..depth].iter_mut().enumerate() {
                    *block = unpack(each(rows, |row| &row[b]));
                }
                let activations = Activations::new(args, chunk, tokens.clone());
                multiply_panel::<SHIFT>(args, &panel[..depth], activations, first_row);
            }
        }
    }
}

/// A chunk of each of some tokens.
pub(super) struct Activations<'a> {
    /// From that chunk of the first token of all on.
    bytes: &'a [u8],
    row_bytes: usize,
    pub(super) tokens: Range<usize>,
}

impl<'a> Activations<'a> {
    #[inline(always)]
    pub(super) fn new(args: &MatmulArgs<'a>, chunk: usize, tokens: Range<usize>) -> Activations<'a> {
        let bytes = &args.activations[chunk * size_of::<activation::Chunk>()..];
        Activations { bytes, row_bytes: args.activation_row_bytes(), tokens }
    }

    /// The chunks of `T` tokens.
    #[inline(always)]
    pub(super) fn of<const T: usize>(&self, first: usize) -> [&'a activation::Chunk; T] {
        std::array::from_fn(|t| activation::chunk_at(self.bytes, (first + t) * self.row_bytes))
    }
}

/// The blocks of rows `first..first + 16`. Rows past the end repeat the last one; their results are dropped.
#[inline(always)]
pub(super) fn sixteen_rows<'a, const BYTES: usize>(args: &MatmulArgs<'a>, first: usize) -> Rows<&'a [[u8; BYTES]]> {
    let row_blocks = args.cols / args.format.block_len;
    let blocks = args.weights.as_chunks::<BYTES>().0;
    std::array::from_fn(|r| &blocks[(first + r).min(args.n_rows - 1) * row_blocks..][..row_blocks])
}

/// Adds the products of a panel and a chunk of each token.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn multiply_panel<const SHIFT: u32>(
    args: &mut MatmulArgs<'_>,
    panel: &[Block],
    activations: Activations<'_>,
    first_row: usize,
) {
    let mut token = activations.tokens.start;
    while token + TILE <= activations.tokens.end {
        let sums = multiply_tile::<TILE, SHIFT>(panel, activations.of(token));
        (0..TILE).for_each(|t| add_to_column(args, first_row, token + t, sums[t]));
        token += TILE;
    }
    for token in token..activations.tokens.end {
        let [sum] = multiply_tile::<1, SHIFT>(panel, activations.of(token));
        add_to_column(args, first_row, token, sum);
    }
}

/// The products of a panel and a chunk of each of `T` tokens.
// As a function of its own, so that the compiler's loops are those below.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn multiply_tile<const T: usize, const SHIFT: u32>(
    panel: &[Block],
    activations: [&activation::Chunk; T],
) -> [__m512; T] {
    let mut sums = [_mm512_setzero_ps(); T];
    for (g, block) in panel.iter().enumerate().take(DEPTH) {
        let mut dots = [_mm512_setzero_si512(); T];
        if SHIFT != AFFINE {
            for t in 0..T {
                dots[t] = _mm512_slli_epi32::<SHIFT>(activations[t].group_negated_sum(g));
            }
        }
        for (c, &weights) in block.quants.iter().enumerate() {
            for t in 0..T {
                dots[t] = _mm512_dpbusd_epi32(dots[t], weights, activations[t].group_quants(g, c));
            }
        }
        for t in 0..T {
            let scale = _mm512_mul_ps(block.scale, activations[t].group_scale(g));
            sums[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[t]), scale, sums[t]);
            if SHIFT == AFFINE {
                sums[t] = _mm512_fmadd_ps(block.min, activations[t].group_scaled_sum(g), sums[t]);
            }
        }
    }
    sums
}
