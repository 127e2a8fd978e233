//! Long prompts in the formats with blocks of 32: 32 weight rows by up to eight tokens at a time.
//!
//! A block of sixteen rows is unpacked to eight vectors, vector `c` with weights `4c..4c+4` of row `r` in lane `r`; four
//! activation bytes, broadcast, then meet sixteen rows in one instruction. Sixteen blocks of 32 rows are unpacked into two panels
//! on the stack and applied to all tokens before the next sixteen, the sums waiting in the output meanwhile; so that the part of
//! the activations that a panel meets stays in the second-level cache, columns are the outer loop and rows the inner one. A
//! lane's float operations are the same for any number of rows and tokens: per block one product with the product of
//! both scales, added in one fused step, then the minimum times the scaled activation sum (formats with minima).
//!
//! Two panels give a tile of sixteen independent chains of dot products: with eight, a processor that starts two of them a
//! cycle and takes five for each is idle for a good part. All weights without a minimum have the offset 128, so
//! that what it takes off is the same for all formats and comes with the activations.
//!
//! Of eleven (formats with minima: twelve) instructions a block, token and sixteen rows that those processors run on the same
//! units, eight are dot products: it is at most at 73% (67%) of its int8 peak. Where only multiplications compete, it
//! is 80% (73%).

use std::arch::x86_64::*;
use std::ops::Range;

use super::activation;
use super::lanes::{Rows, add_to_column, each, prefetch};
use crate::ops::matmul::MatmulArgs;

/// Tokens that meet a weight vector while it is in a register.
pub(super) const TILE: usize = 8;

/// Tokens that meet a panel: a chunk of each, 384 KiB in all, stays in the second-level cache while the rows pass by.
pub(super) const TOKENS: usize = 512;

/// Blocks in a panel: those of a chunk of activations. Two panels have 20 KiB, which stay in the first-level cache beside the
/// activations.
const DEPTH: usize = activation::GROUPS;

/// One block of sixteen rows: weights are `scale * (quant - 128)`, or with a minimum `scale * quant + min`.
#[derive(Clone, Copy)]
pub(super) struct Block {
    /// Unsigned.
    pub(super) quants: [__m512i; 8],
    pub(super) scale: __m512,
    pub(super) min: __m512,
}

/// Multiplies blocks of `BYTES` bytes, which `unpack` makes of sixteen rows; with minima if `IS_AFFINE`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn matmul<const BYTES: usize, const IS_AFFINE: bool>(
    args: &mut MatmulArgs<'_>,
    unpack: impl Fn(Rows<&[u8; BYTES]>) -> Block,
) {
    let (row_blocks, row_chunks) = (args.cols / 32, args.cols.div_ceil(activation::COLUMNS));
    let zero = Block { quants: [_mm512_setzero_si512(); 8], scale: _mm512_setzero_ps(), min: _mm512_setzero_ps() };
    let mut panels = [[zero; DEPTH]; 2];
    args.out.fill(0.0);
    for first_token in (0..args.n_tokens).step_by(TOKENS) {
        let tokens = first_token..args.n_tokens.min(first_token + TOKENS);
        for chunk in 0..row_chunks {
            let depth = DEPTH.min(row_blocks - chunk * DEPTH);
            for first_row in (0..args.n_rows).step_by(32) {
                let n_panels = (args.n_rows - first_row).div_ceil(16).min(2);
                for (i, panel) in panels[..n_panels].iter_mut().enumerate() {
                    let rows = sixteen_rows::<BYTES>(args, first_row + 16 * i);
                    let rows = each(rows, |row| &row[chunk * DEPTH..][..depth]);
                    for (b, block) in panel[..depth].iter_mut().enumerate() {
                        *block = unpack(each(rows, |row| &row[b]));
                    }
                    // The next ones are too far behind for the processor to ask for them in time.
                    each(rows, |row| prefetch::<_MM_HINT_T1>(row.as_flattened(), DEPTH * BYTES));
                }
                let activations = Activations::new(args, chunk, tokens.clone());
                let [first, second] = &panels;
                if n_panels == 2 {
                    multiply_panels::<2, IS_AFFINE>(args, [&first[..depth], &second[..depth]], activations, first_row);
                } else {
                    multiply_panels::<1, IS_AFFINE>(args, [&first[..depth]], activations, first_row);
                }
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

    /// How far behind the chunks of a tile those of the next lie, in bytes.
    #[inline(always)]
    pub(super) fn to_next_tile(&self) -> usize {
        TILE * self.row_bytes
    }
}

/// The blocks of rows `first..first + 16`. Rows past the end repeat the last one; their results are dropped.
#[inline(always)]
pub(super) fn sixteen_rows<'a, const BYTES: usize>(args: &MatmulArgs<'a>, first: usize) -> Rows<&'a [[u8; BYTES]]> {
    let row_blocks = args.cols / args.format.block_len;
    let blocks = args.weights.as_chunks::<BYTES>().0;
    std::array::from_fn(|r| &blocks[(first + r).min(args.n_rows - 1) * row_blocks..][..row_blocks])
}

/// Adds the products of the panels and a chunk of each token.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn multiply_panels<const R: usize, const IS_AFFINE: bool>(
    args: &mut MatmulArgs<'_>,
    panels: [&[Block]; R],
    activations: Activations<'_>,
    first_row: usize,
) {
    let mut token = activations.tokens.start;
    while token + TILE <= activations.tokens.end {
        multiply_tile::<TILE, R, IS_AFFINE>(args, panels, &activations, first_row, token);
        token += TILE;
    }
    for token in token..activations.tokens.end {
        multiply_tile::<1, R, IS_AFFINE>(args, panels, &activations, first_row, token);
    }
}

/// Adds the products of `R` panels and a chunk of each of the `T` tokens from `token` on.
// Not inlined, so that the compiler keeps the loops below as they are.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn multiply_tile<const T: usize, const R: usize, const IS_AFFINE: bool>(
    args: &mut MatmulArgs<'_>,
    panels: [&[Block]; R],
    activations: &Activations<'_>,
    first_row: usize,
    token: usize,
) {
    let (to_next_tile, activations) = (activations.to_next_tile(), activations.of::<T>(token));
    let mut sums = [[_mm512_setzero_ps(); R]; T];
    for g in 0..DEPTH.min(panels[0].len()) {
        let blocks = each(panels, |panel| &panel[g]);
        activations.iter().for_each(|chunk| chunk.prefetch_line(g, to_next_tile));
        let mut dots = [[_mm512_setzero_si512(); R]; T];
        if !IS_AFFINE {
            for t in 0..T {
                dots[t] = [activations[t].group_offset(g); R];
            }
        }
        for c in 0..8 {
            let weights = each(blocks, |block| block.quants[c]);
            for t in 0..T {
                let quants = activations[t].group_quants(g, c);
                for r in 0..R {
                    dots[t][r] = _mm512_dpbusd_epi32(dots[t][r], weights[r], quants);
                }
            }
        }
        for t in 0..T {
            for r in 0..R {
                let scale = _mm512_mul_ps(blocks[r].scale, activations[t].group_scale(g));
                sums[t][r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[t][r]), scale, sums[t][r]);
                if IS_AFFINE {
                    sums[t][r] = _mm512_fmadd_ps(blocks[r].min, activations[t].group_scaled_sum(g), sums[t][r]);
                }
            }
        }
    }
    let one = _mm512_set1_ps(1.0);
    for (t, sums) in sums.iter().enumerate() {
        for (r, sum) in sums.iter().enumerate() {
            add_to_column(args, first_row + 16 * r, token + t, *sum, one);
        }
    }
}
