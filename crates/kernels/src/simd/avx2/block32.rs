//! The products of the formats with blocks of 32: eight weight rows by up to four tokens at a time.
//!
//! A block of eight rows is unpacked to eight vectors, vector `c` with weights `4c..4c+4` of row `r` in lane `r`; four
//! activation bytes, broadcast, then meet eight rows in one instruction. With few tokens the vectors stay in registers;
//! with many, blocks are unpacked eight deep into a panel on the stack and applied to up to [`TOKENS`] tokens before the
//! next eight. A lane's float operations are the same either way: per block one product with the weight scale, one fused
//! addition of the minimum times the activation sum, one fused addition into the accumulator, block after block.

use std::arch::x86_64::*;

use super::dot::{Dot, SIGNED_8};
use super::lanes::{EIGHT, broadcast_4, each, load_16, prefetch, store_f32};
use crate::activation::{Q8_1Chunk, Q8_1Row};
use crate::ops::matmul::MatmulArgs;

/// Tokens that share an unpacked panel. At 64, unpacking is about 3% of the work and the activations of 4,096 columns
/// (304 KiB) stay in the second-level cache while the rows pass by.
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

/// Multiplies blocks of `BYTES` bytes, which `unpack` makes of eight rows, on a processor with the instructions of `D`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn matmul<D: Dot, const BYTES: usize, const CHAIN: usize>(
    args: &mut MatmulArgs<'_>,
    unpack: impl Fn([&[u8; BYTES]; 8]) -> Block,
) {
    match args.n_tokens {
        1 => multiply_few::<D, BYTES, CHAIN, 1>(args, unpack),
        2 => multiply_few::<D, BYTES, CHAIN, 2>(args, unpack),
        3 => multiply_few::<D, BYTES, CHAIN, 3>(args, unpack),
        4 => multiply_few::<D, BYTES, CHAIN, 4>(args, unpack),
        _ => multiply_many::<D, BYTES, CHAIN>(args, unpack),
    }
}

/// Rows `first..first + 8`; lanes past the last row repeat it, their results are dropped.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn eight_rows<'a, const BYTES: usize>(
    args: &MatmulArgs<'a>,
    first: usize,
    row_blocks: usize,
) -> [&'a [[u8; BYTES]]; 8] {
    let blocks = args.weights.as_chunks::<BYTES>().0;
    each(EIGHT, |r| &blocks[(first + r).min(args.n_rows - 1) * row_blocks..][..row_blocks])
}

/// Multiplies all rows with `T` tokens; the unpacked quants stay in registers.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn multiply_few<D: Dot, const BYTES: usize, const CHAIN: usize, const T: usize>(
    args: &mut MatmulArgs<'_>,
    unpack: impl Fn([&[u8; BYTES]; 8]) -> Block,
) {
    let row_blocks = args.cols / 32;
    let tokens: [Q8_1Row; T] = tokens(args.activations, args.cols);
    for first_row in (0..args.n_rows).step_by(8) {
        let rows = eight_rows::<BYTES>(args, first_row, row_blocks);
        let mut sums = [_mm256_setzero_ps(); T];
        let whole = row_blocks / DEPTH;
        for c in 0..whole {
            let part: [&[[u8; BYTES]; DEPTH]; 8] = each(rows, |row| &row.as_chunks().0[c]);
            each(part, |part| prefetch(part.as_flattened(), 8 * row_blocks * BYTES));
            let activations = Activations::<T, DEPTH>::new(&tokens, c * DEPTH);
            for b in 0..DEPTH {
                activations.add_product::<D, CHAIN>(&unpack(each(part, |row| &row[b])), b, &mut sums);
            }
        }
        for b in whole * DEPTH..row_blocks {
            let activations = Activations::<T, 1>::new(&tokens, b);
            activations.add_product::<D, CHAIN>(&unpack(each(rows, |row| &row[b])), 0, &mut sums);
        }
        store_sums(args, first_row, 0, &sums);
    }
}

/// Multiplies all rows with all tokens, panel by panel.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn multiply_many<D: Dot, const BYTES: usize, const CHAIN: usize>(
    args: &mut MatmulArgs<'_>,
    unpack: impl Fn([&[u8; BYTES]; 8]) -> Block,
) {
    let (cols, row_blocks, row_bytes) = (args.cols, args.cols / 32, args.activation_row_bytes());
    let zero = Block { quants: [_mm256_setzero_si256(); 8], scale: _mm256_setzero_ps(), min: _mm256_setzero_ps() };
    let mut panel = [zero; DEPTH];
    for (i, activations) in args.activations.chunks(TOKENS * row_bytes).enumerate() {
        let n_tokens = activations.len() / row_bytes;
        for first_row in (0..args.n_rows).step_by(8) {
            let rows = eight_rows::<BYTES>(args, first_row, row_blocks);
            let mut sums = [_mm256_setzero_ps(); TOKENS];
            let sums = &mut sums[..n_tokens];
            let whole = row_blocks / DEPTH;
            for c in 0..whole {
                let part: [&[[u8; BYTES]; DEPTH]; 8] = each(rows, |row| &row.as_chunks().0[c]);
                for (b, block) in panel.iter_mut().enumerate() {
                    *block = unpack(each(part, |row| &row[b]));
                }
                multiply_panel::<D, CHAIN, DEPTH>(cols, &panel, c * DEPTH, activations, sums);
            }
            for b in whole * DEPTH..row_blocks {
                multiply_panel::<D, CHAIN, 1>(cols, &[unpack(each(rows, |row| &row[b]))], b, activations, sums);
            }
            store_sums(args, first_row, i * TOKENS, sums);
        }
    }
}

/// The `T` rows of `activations`.
#[inline(always)]
fn tokens<const T: usize>(activations: &[u8], cols: usize) -> [Q8_1Row<'_>; T] {
    let row_bytes = activations.len() / T;
    std::array::from_fn(|t| Q8_1Row::new(&activations[t * row_bytes..][..row_bytes], cols))
}

/// Adds the products of a panel, whose first block is block `first` of its row, and all tokens of `activations`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn multiply_panel<P: Dot, const CHAIN: usize, const D: usize>(
    cols: usize,
    panel: &[Block; D],
    first: usize,
    activations: &[u8],
    sums: &mut [__m256],
) {
    let row_bytes = activations.len() / sums.len();
    let (tiles, rest) = sums.as_chunks_mut::<4>();
    let (tile_bytes, rest_bytes) = activations.split_at(tiles.len() * 4 * row_bytes);
    for (sums, rows) in tiles.iter_mut().zip(tile_bytes.chunks_exact(4 * row_bytes)) {
        multiply_tile::<P, 4, CHAIN, D>(&tokens(rows, cols), panel, first, sums);
    }
    if let Some(sums) = rest.as_mut_array::<3>() {
        multiply_tile::<P, 3, CHAIN, D>(&tokens(rest_bytes, cols), panel, first, sums);
    } else if let Some(sums) = rest.as_mut_array::<2>() {
        multiply_tile::<P, 2, CHAIN, D>(&tokens(rest_bytes, cols), panel, first, sums);
    } else if let Some(sums) = rest.as_mut_array::<1>() {
        multiply_tile::<P, 1, CHAIN, D>(&tokens(rest_bytes, cols), panel, first, sums);
    }
}

/// Adds the products of a panel and `T` tokens.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn multiply_tile<P: Dot, const T: usize, const CHAIN: usize, const D: usize>(
    tokens: &[Q8_1Row<'_>; T],
    panel: &[Block; D],
    first: usize,
    sums: &mut [__m256; T],
) {
    let activations = Activations::<T, D>::new(tokens, first);
    let mut totals = *sums;
    for (b, block) in panel.iter().enumerate() {
        activations.add_product::<P, CHAIN>(block, b, &mut totals);
    }
    *sums = totals;
}

/// `D` consecutive activation blocks of `T` tokens.
struct Activations<'a, const T: usize, const D: usize> {
    chunks: [Q8_1Chunk<'a, D>; T],
    sums: [[f32; D]; T],
}

impl<'a, const T: usize, const D: usize> Activations<'a, T, D> {
    /// Blocks `first..first + D` of each token.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn new(tokens: &[Q8_1Row<'a>; T], first: usize) -> Activations<'a, T, D> {
        let chunks = std::array::from_fn(|t| tokens[t].chunk::<D>(first));
        let mut sums = [[0.0; D]; T];
        for (sums, chunk) in sums.iter_mut().zip(&chunks) {
            widen_sums(chunk.sums, sums);
        }
        Activations { chunks, sums }
    }

    /// Adds the products of a block of weights and block `b` of every token to `sums`.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn add_product<P: Dot, const CHAIN: usize>(&self, block: &Block, b: usize, sums: &mut [__m256; T]) {
        let dots = self.multiply_quants::<P, CHAIN>(&block.quants, b);
        for t in 0..T {
            let mut value = _mm256_mul_ps(block.scale, _mm256_cvtepi32_ps(dots[t]));
            if CHAIN != SIGNED_8 {
                value = _mm256_fmadd_ps(block.min, _mm256_set1_ps(self.sums[t][b]), value);
            }
            let scale = _mm256_set1_ps(f32::from_le_bytes(self.chunks[t].scales[b]));
            sums[t] = _mm256_fmadd_ps(value, scale, sums[t]);
        }
    }

    /// The integer dot products of one block of eight rows and block `b` of every token.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn multiply_quants<P: Dot, const CHAIN: usize>(&self, weights: &[__m256i; 8], b: usize) -> [__m256i; T] {
        let mut dots = [_mm256_setzero_si256(); T];
        for (run, weights) in weights.chunks_exact(P::chain_len(CHAIN)).enumerate() {
            let mut partial = [_mm256_setzero_si256(); T];
            if CHAIN == SIGNED_8 {
                for (partial, chunk) in partial.iter_mut().zip(&self.chunks) {
                    // SAFETY: `matmul` is for processors with the instructions of `P`.
                    *partial = unsafe { P::start_signed(i16::from_le_bytes(chunk.sums[b])) };
                }
            }
            for (c, &weight) in weights.iter().enumerate() {
                for (partial, chunk) in partial.iter_mut().zip(&self.chunks) {
                    let activation = broadcast_4(&chunk.quants[b], 4 * (run * P::chain_len(CHAIN) + c));
                    // SAFETY: as above.
                    *partial = unsafe {
                        if CHAIN == SIGNED_8 {
                            P::add_signed(*partial, weight, activation)
                        } else {
                            P::add(*partial, weight, activation)
                        }
                    };
                }
            }
            for t in 0..T {
                // SAFETY: as above.
                let quads = unsafe { P::lanes(partial[t]) };
                dots[t] = if run == 0 { quads } else { _mm256_add_epi32(dots[t], quads) };
            }
        }
        dots
    }
}

/// Writes activation sums as floats, eight at once if there are eight.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn widen_sums<const D: usize>(sums: &[[u8; 2]; D], floats: &mut [f32; D]) {
    if let (Some(sums), Some(floats)) = (sums.as_flattened().first_chunk(), floats.first_chunk_mut()) {
        store_f32(_mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(load_16(sums))), floats);
    } else {
        for (float, sum) in floats.iter_mut().zip(sums) {
            *float = f32::from(i16::from_le_bytes(*sum));
        }
    }
}

/// Writes the sums of tokens `first_token..` for rows `first_row..first_row + 8`, up to the last row.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn store_sums(args: &mut MatmulArgs<'_>, first_row: usize, first_token: usize, sums: &[__m256]) {
    let mut lanes = [0.0; 8];
    for (t, sum) in sums.iter().enumerate() {
        store_f32(*sum, &mut lanes);
        let out = &mut args.out[(first_token + t) * args.n_rows..][first_row..args.n_rows.min(first_row + 8)];
        out.iter_mut().zip(lanes).for_each(|(out, lane)| *out = lane);
    }
}
