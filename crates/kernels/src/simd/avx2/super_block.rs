//! The products of the formats with super-blocks of 256: eight weight rows by up to four tokens at a time.
//!
//! As [`super::block32`], with one super-block as the panel. The dot products of the groups are multiplied with the
//! groups' integer scales and summed exactly; minima meet the activation sums the same way. A lane's float operations are
//! the same for any number of rows and tokens: per super-block `d * dots - dmin * mins`, then one fused addition of that
//! times the activation scale into the accumulator.

use std::arch::x86_64::*;

use super::block32::{eight_rows, store_sums};
use super::dot::{Dot, UNSIGNED_6};
use super::lanes::{broadcast_4, each, part, prefetch, transpose_32};
use super::q4::{high, low};
use crate::activation::Q8KRow;
use crate::ops::matmul::MatmulArgs;

/// Tokens that share an unpacked panel; see [`super::block32`].
const TOKENS: usize = 64;

/// What the super-blocks of eight rows have beside the quants: a weight is `d * scale * quant - dmin * min`.
pub(super) struct Scales {
    /// Per 32 weights (the first eight) or per 16, as a pair of equal 16-bit numbers.
    pub(super) scales: [__m256i; 16],
    /// The minima of two runs of 16 weights, as a pair of 16-bit numbers.
    pub(super) mins: [__m256i; 8],
    pub(super) d: __m256,
    pub(super) dmin: __m256,
}

/// 32 weights of eight rows: vector `c` has weights `4c..4c+4` of row `r` in lane `r`.
pub(super) type Run = [__m256i; 8];

/// How a format is unpacked from eight blocks at a time.
pub(super) struct Unpack<S, U, M> {
    /// Where the nibbles begin in a block.
    pub(super) nibbles: usize,
    /// Reads all but the quants.
    pub(super) scales: S,
    /// Reads the upper bits of the quants of half 0 or 1 of the block, if they lie apart.
    pub(super) upper: U,
    /// Adds the upper bits to the nibbles of a run, given the number of the run in its half.
    pub(super) merge: M,
}

/// The runs of a half whose nibbles are the low and the high halves of 32 bytes, the first or the second.
const fn runs_of_part<const CHAIN: usize>(part: usize) -> [usize; 2] {
    if CHAIN == UNSIGNED_6 { [part, part + 2] } else { [2 * part, 2 * part + 1] }
}

impl<S, U, M: Fn(&Run, &Run, usize) -> Run> Unpack<S, U, M> {
    /// Calls `visit` with the number and the quants of each run of half 0 or 1 of eight blocks.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn visit_half<const BYTES: usize, const CHAIN: usize>(
        &self,
        block: [&[u8; BYTES]; 8],
        half: usize,
        mut visit: impl FnMut(usize, &Run),
    ) where
        U: Fn([&[u8; BYTES]; 8], usize) -> Run,
    {
        let upper = (self.upper)(block, half);
        self.visit_part::<BYTES, CHAIN, 0>(block, half, &upper, &mut visit);
        self.visit_part::<BYTES, CHAIN, 1>(block, half, &upper, &mut visit);
    }

    /// The two runs of part `PART`, a constant so that all shifts are.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn visit_part<const BYTES: usize, const CHAIN: usize, const PART: usize>(
        &self,
        block: [&[u8; BYTES]; 8],
        half: usize,
        upper: &Run,
        visit: &mut impl FnMut(usize, &Run),
    ) {
        let at = self.nibbles + 64 * half + 32 * PART;
        let bytes = transpose_32(each(block, |block| part(block, at)));
        let [first, second] = const { runs_of_part::<CHAIN>(PART) };
        visit(4 * half + first, &(self.merge)(&each(bytes, |b| low(b)), upper, first));
        visit(4 * half + second, &(self.merge)(&each(bytes, |b| high(b)), upper, second));
    }
}

/// Multiplies super-blocks of `BYTES` bytes on a processor with the instructions of `D`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn matmul<D: Dot, const BYTES: usize, const CHAIN: usize>(
    args: &mut MatmulArgs<'_>,
    unpack: &Unpack<
        impl Fn([&[u8; BYTES]; 8]) -> Scales,
        impl Fn([&[u8; BYTES]; 8], usize) -> Run,
        impl Fn(&Run, &Run, usize) -> Run,
    >,
) {
    match args.n_tokens {
        1 => multiply_few::<D, BYTES, CHAIN, 1>(args, unpack),
        2 => multiply_few::<D, BYTES, CHAIN, 2>(args, unpack),
        _ => multiply_many::<D, BYTES, CHAIN>(args, unpack),
    }
}

/// Multiplies all rows with `T` tokens; the unpacked quants stay in registers.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn multiply_few<D: Dot, const BYTES: usize, const CHAIN: usize, const T: usize>(
    args: &mut MatmulArgs<'_>,
    unpack: &Unpack<
        impl Fn([&[u8; BYTES]; 8]) -> Scales,
        impl Fn([&[u8; BYTES]; 8], usize) -> Run,
        impl Fn(&Run, &Run, usize) -> Run,
    >,
) {
    let row_blocks = args.cols / 256;
    let tokens: [Q8KRow; T] = tokens(args.activations, args.cols);
    for first_row in (0..args.n_rows).step_by(8) {
        let rows = eight_rows::<BYTES>(args, first_row, row_blocks);
        let mut sums = [_mm256_setzero_ps(); T];
        for b in 0..row_blocks {
            let block = each(rows, |row| &row[b]);
            each(block, |block| prefetch(block, 8 * row_blocks * BYTES));
            let scales = (unpack.scales)(block);
            let activations = tokens.each_ref().map(|token| token.quants(b));
            let mut dots = [_mm256_setzero_si256(); T];
            for half in 0..2 {
                unpack.visit_half::<BYTES, CHAIN>(block, half, |run, quants| {
                    add_dots::<D, T, CHAIN>(&scales, run, quants, &activations, &mut dots);
                });
            }
            add_products::<D, T>(&scales, &dots, &tokens, b, &mut sums);
        }
        store_sums(args, first_row, 0, &sums);
    }
}

/// Multiplies all rows with all tokens, panel by panel.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn multiply_many<D: Dot, const BYTES: usize, const CHAIN: usize>(
    args: &mut MatmulArgs<'_>,
    unpack: &Unpack<
        impl Fn([&[u8; BYTES]; 8]) -> Scales,
        impl Fn([&[u8; BYTES]; 8], usize) -> Run,
        impl Fn(&Run, &Run, usize) -> Run,
    >,
) {
    let (row_blocks, row_bytes) = (args.cols / 256, args.activation_row_bytes());
    let mut panel: [Run; 8] = [[_mm256_setzero_si256(); 8]; 8];
    for (i, activations) in args.activations.chunks(TOKENS * row_bytes).enumerate() {
        let n_tokens = activations.len() / row_bytes;
        for first_row in (0..args.n_rows).step_by(8) {
            let rows = eight_rows::<BYTES>(args, first_row, row_blocks);
            let mut sums = [_mm256_setzero_ps(); TOKENS];
            for b in 0..row_blocks {
                let block = each(rows, |row| &row[b]);
                let scales = (unpack.scales)(block);
                for half in 0..2 {
                    unpack.visit_half::<BYTES, CHAIN>(block, half, |run, quants| panel[run] = *quants);
                }
                multiply_panel::<D, CHAIN>(args.cols, &scales, &panel, b, activations, &mut sums[..n_tokens]);
            }
            store_sums(args, first_row, i * TOKENS, &sums[..n_tokens]);
        }
    }
}

/// The `T` rows of `activations`.
#[inline(always)]
fn tokens<const T: usize>(activations: &[u8], cols: usize) -> [Q8KRow<'_>; T] {
    let row_bytes = activations.len() / T;
    std::array::from_fn(|t| Q8KRow::new(&activations[t * row_bytes..][..row_bytes], cols))
}

/// Adds the products of a panel, which is block `b` of its row, and all tokens of `activations`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn multiply_panel<D: Dot, const CHAIN: usize>(
    cols: usize,
    scales: &Scales,
    panel: &[Run; 8],
    b: usize,
    activations: &[u8],
    sums: &mut [__m256],
) {
    let row_bytes = activations.len() / sums.len();
    let (tiles, rest) = sums.as_chunks_mut::<4>();
    let (tile_bytes, rest_bytes) = activations.split_at(tiles.len() * 4 * row_bytes);
    for (sums, rows) in tiles.iter_mut().zip(tile_bytes.chunks_exact(4 * row_bytes)) {
        multiply_tile::<D, 4, CHAIN>(&tokens(rows, cols), scales, panel, b, sums);
    }
    if let Some(sums) = rest.as_mut_array::<3>() {
        multiply_tile::<D, 3, CHAIN>(&tokens(rest_bytes, cols), scales, panel, b, sums);
    } else if let Some(sums) = rest.as_mut_array::<2>() {
        multiply_tile::<D, 2, CHAIN>(&tokens(rest_bytes, cols), scales, panel, b, sums);
    } else if let Some(sums) = rest.as_mut_array::<1>() {
        multiply_tile::<D, 1, CHAIN>(&tokens(rest_bytes, cols), scales, panel, b, sums);
    }
}

/// Adds the products of a panel and `T` tokens.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn multiply_tile<D: Dot, const T: usize, const CHAIN: usize>(
    tokens: &[Q8KRow; T],
    scales: &Scales,
    panel: &[Run; 8],
    b: usize,
    sums: &mut [__m256; T],
) {
    let activations = tokens.each_ref().map(|token| token.quants(b));
    let mut dots = [_mm256_setzero_si256(); T];
    for (run, weights) in panel.iter().enumerate() {
        add_dots::<D, T, CHAIN>(scales, run, weights, &activations, &mut dots);
    }
    add_products::<D, T>(scales, &dots, tokens, b, sums);
}

/// Adds the scaled integer dot products of run `run` to `dots`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_dots<D: Dot, const T: usize, const CHAIN: usize>(
    scales: &Scales,
    run: usize,
    weights: &Run,
    activations: &[&[u8; 256]; T],
    dots: &mut [__m256i; T],
) {
    let len = D::chain_len(CHAIN);
    for (i, weights) in weights.chunks_exact(len).enumerate() {
        let mut partial = [_mm256_setzero_si256(); T];
        for (c, &weight) in weights.iter().enumerate() {
            for t in 0..T {
                let activation = broadcast_4(activations[t], 32 * run + 4 * (i * len + c));
                // SAFETY: `matmul` is for processors with the instructions of `D`.
                partial[t] = unsafe { D::add(partial[t], weight, activation) };
            }
        }
        let scale = if CHAIN == UNSIGNED_6 { scales.scales[2 * run + i * len / 4] } else { scales.scales[run] };
        for t in 0..T {
            // SAFETY: as above.
            dots[t] = unsafe { D::add_scaled(dots[t], partial[t], scale) };
        }
    }
}

/// Adds the products of one super-block to `sums`, given its integer dot products.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_products<D: Dot, const T: usize>(
    scales: &Scales,
    dots: &[__m256i; T],
    tokens: &[Q8KRow; T],
    b: usize,
    sums: &mut [__m256; T],
) {
    for t in 0..T {
        let bytes = tokens[t].sum_bytes(b);
        let mut mins = _mm256_setzero_si256();
        for (pair, &min) in scales.mins.iter().enumerate() {
            // SAFETY: `matmul` is for processors with the instructions of `D`.
            mins = unsafe { D::add_pairs(mins, min, broadcast_4(bytes, 4 * pair)) };
        }
        let mins = _mm256_mul_ps(scales.dmin, _mm256_cvtepi32_ps(mins));
        let value = _mm256_fmsub_ps(scales.d, _mm256_cvtepi32_ps(dots[t]), mins);
        sums[t] = _mm256_fmadd_ps(value, _mm256_set1_ps(tokens[t].scale(b)), sums[t]);
    }
}
