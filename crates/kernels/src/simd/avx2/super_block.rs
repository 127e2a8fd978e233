//! The products of the formats with super-blocks of 256: eight weight rows by up to four tokens at a time.
//!
//! As [`super::block32`], with one super-block as the panel. The dot products of the groups are multiplied with the
//! groups' integer scales and summed exactly; minima meet the activation sums the same way. A lane's float operations are
//! the same for any number of rows and tokens: per super-block `d * dots - dmin * mins`, then one fused addition of that
//! times the activation scale into the accumulator.

use std::arch::x86_64::*;

use super::block32::store_sums;
use super::lanes::broadcast_4;
use crate::activation::Q8KRow;
use crate::ops::MatmulArgs;

/// Tokens that share an unpacked panel; see [`super::block32`].
const TOKENS: usize = 64;

/// One super-block of eight rows: a weight of group `g` is `d * scales[g] * quant - dmin * mins[g]`.
pub(super) struct Panel {
    /// Vector `c` of run `s` has weights `32 s + 4c..` of row `r` in lane `r`.
    pub(super) quants: [[__m256i; 8]; 8],
    /// Per 32 weights (the first eight) or per 16, as a pair of equal 16-bit numbers.
    pub(super) scales: [__m256i; 16],
    /// The minima of two runs of 16 weights, as a pair of 16-bit numbers.
    pub(super) mins: [__m256i; 8],
    pub(super) d: __m256,
    pub(super) dmin: __m256,
}

/// How many results of `maddubs` fit in 16 bits: 8 * 2 * 15 * 127, 4 * 2 * 31 * 127 and 2 * 2 * 63 * 127 are below 2^15.
pub(super) const UNSIGNED_4: usize = 8;
pub(super) const UNSIGNED_5: usize = 4;
/// This one also means that scales belong to 16 weights.
pub(super) const UNSIGNED_6: usize = 2;

/// Multiplies super-blocks of `BYTES` bytes, which `unpack` makes of eight rows.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn matmul<const BYTES: usize, const CHAIN: usize>(
    args: &mut MatmulArgs<'_>,
    unpack: impl Fn([&[u8; BYTES]; 8], &mut Panel),
) {
    let (cols, row_blocks) = (args.cols, args.cols / 256);
    let blocks = args.weights.as_chunks::<BYTES>().0;
    let row_bytes = args.activation_row_bytes();
    let mut panel = empty_panel();
    for (i, activations) in args.activations.chunks(TOKENS * row_bytes).enumerate() {
        let n_tokens = activations.len() / row_bytes;
        let view = |t: usize| Q8KRow::new(&activations[t.min(n_tokens - 1) * row_bytes..][..row_bytes], cols);
        let tokens: [Q8KRow; TOKENS] = std::array::from_fn(view);
        for first_row in (0..args.n_rows).step_by(8) {
            // Lanes past the last row repeat it; their results are dropped.
            let rows: [&[[u8; BYTES]]; 8] =
                std::array::from_fn(|r| &blocks[(first_row + r).min(args.n_rows - 1) * row_blocks..][..row_blocks]);
            let mut sums = [_mm256_setzero_ps(); TOKENS];
            for block in 0..row_blocks {
                unpack(rows.map(|row| &row[block]), &mut panel);
                multiply_tokens::<CHAIN>(&panel, block, &tokens[..n_tokens], &mut sums[..n_tokens]);
            }
            store_sums(args, first_row, i * TOKENS, &sums[..n_tokens]);
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn empty_panel() -> Panel {
    let zero = _mm256_setzero_si256();
    let (d, dmin) = (_mm256_setzero_ps(), _mm256_setzero_ps());
    Panel { quants: [[zero; 8]; 8], scales: [zero; 16], mins: [zero; 8], d, dmin }
}

/// Adds the products of a panel, which is block `block` of its row, and some tokens to `sums`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn multiply_tokens<const CHAIN: usize>(panel: &Panel, block: usize, tokens: &[Q8KRow], sums: &mut [__m256]) {
    let (tiles, rest) = tokens.as_chunks::<4>();
    let (tile_sums, rest_sums) = sums.as_chunks_mut::<4>();
    for (tile, sums) in tiles.iter().zip(tile_sums) {
        multiply_tile::<4, CHAIN>(panel, block, tile, sums);
    }
    for (token, sum) in rest.as_chunks::<1>().0.iter().zip(rest_sums.as_chunks_mut::<1>().0) {
        multiply_tile::<1, CHAIN>(panel, block, token, sum);
    }
}

/// Adds the products of a panel and `T` tokens to `sums`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn multiply_tile<const T: usize, const CHAIN: usize>(
    panel: &Panel,
    block: usize,
    tokens: &[Q8KRow; T],
    sums: &mut [__m256; T],
) {
    let dots = multiply_quants::<T, CHAIN>(panel, tokens.each_ref().map(|token| token.quants(block)));
    for t in 0..T {
        let bytes = tokens[t].sum_bytes(block);
        let mut mins = _mm256_setzero_si256();
        for (pair, &min) in panel.mins.iter().enumerate() {
            mins = _mm256_add_epi32(mins, _mm256_madd_epi16(min, broadcast_4(bytes, 4 * pair)));
        }
        let mins = _mm256_mul_ps(panel.dmin, _mm256_cvtepi32_ps(mins));
        let value = _mm256_fmsub_ps(panel.d, _mm256_cvtepi32_ps(dots[t]), mins);
        sums[t] = _mm256_fmadd_ps(value, _mm256_set1_ps(tokens[t].scale(block)), sums[t]);
    }
}

/// The scaled integer dot products of a panel and one super-block of `T` tokens.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn multiply_quants<const T: usize, const CHAIN: usize>(panel: &Panel, activations: [&[u8; 256]; T]) -> [__m256i; T] {
    let mut dots = [_mm256_setzero_si256(); T];
    for (s, weights) in panel.quants.iter().enumerate() {
        let activations = activations.map(|a| &a.as_chunks::<32>().0[s]);
        for (run, weights) in weights.as_chunks::<CHAIN>().0.iter().enumerate() {
            let mut pairs = [_mm256_setzero_si256(); T];
            for (c, &weight) in weights.iter().enumerate() {
                for t in 0..T {
                    let activation = broadcast_4(activations[t], 4 * (run * CHAIN + c));
                    let product = _mm256_maddubs_epi16(weight, activation);
                    pairs[t] = if c == 0 { product } else { _mm256_add_epi16(pairs[t], product) };
                }
            }
            let scale = if CHAIN == UNSIGNED_6 { panel.scales[2 * s + run / 2] } else { panel.scales[s] };
            for t in 0..T {
                dots[t] = _mm256_add_epi32(dots[t], _mm256_madd_epi16(pairs[t], scale));
            }
        }
    }
    dots
}
