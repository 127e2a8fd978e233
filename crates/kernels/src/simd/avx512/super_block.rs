//! Long prompts in the formats with super-blocks of 256: sixteen weight rows by up to eight tokens at a time.
//!
//! As [`super::block32`], with one super-block as the panel. The dot products of the groups are multiplied with the
//! groups' integer scales and summed exactly; minima and offsets meet the activation sums the same way. A lane's float
//! operations are the same for any number of rows and tokens: per super-block `d * dots - dmin * mins` (formats with
//! minima) or `d * dots`, then one fused addition of that times the activation scale into the sum.
//!
//! Of some seventy instructions a super-block and token for which a multiplier is needed, 64 are dot products.

use std::arch::x86_64::*;

use super::activation::{self, HALF_SUMS, SCALES};
use super::block32::{TILE, sixteen_rows};
use super::lanes::{Rows, add_to_column, broadcast_4, broadcast_single, each};
use crate::ops::MatmulArgs;

/// One super-block of sixteen rows: a weight of group `g` is `d * scales[g] * quant - dmin * min` or, with sixteen
/// groups, `d * scales[g] * (quant - 32)`.
pub(super) struct Panel<const GROUPS: usize> {
    /// Unsigned; vector `c` of run `s` has weights `32 s + 4c..` of row `r` in lane `r`.
    pub(super) quants: [[__m512i; 8]; 8],
    pub(super) scales: [__m512i; GROUPS],
    /// What the activation sums of the first and the last sixteen weights of a run are multiplied with, as a pair of
    /// 16-bit numbers: the minimum of the run or, with sixteen groups, the scales.
    pub(super) mins: [__m512i; 8],
    pub(super) d: __m512,
    pub(super) dmin: __m512,
}

/// Multiplies super-blocks of `BYTES` bytes, which `unpack` makes of sixteen rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn matmul<const BYTES: usize, const GROUPS: usize>(
    args: &mut MatmulArgs<'_>,
    unpack: impl Fn(Rows<&[u8; BYTES]>, &mut Panel<GROUPS>),
) {
    let (row_blocks, row_chunks) = (args.cols / 256, args.cols.div_ceil(activation::COLUMNS));
    let activations = activation::chunks(args.activations);
    let zero = _mm512_setzero_si512();
    let (quants, scales, mins) = ([[zero; 8]; 8], [zero; GROUPS], [zero; 8]);
    let mut panel = Panel { quants, scales, mins, d: _mm512_setzero_ps(), dmin: _mm512_setzero_ps() };
    args.out.fill(0.0);
    for b in 0..row_blocks {
        for first_row in (0..args.n_rows).step_by(16) {
            unpack(each(sixteen_rows::<BYTES>(args, first_row), |row| &row[b]), &mut panel);
            let activations = &activations[b / 2..];
            if b.is_multiple_of(2) {
                multiply_panel::<GROUPS, 0>(args, &panel, activations, row_chunks, first_row);
            } else {
                multiply_panel::<GROUPS, 8>(args, &panel, activations, row_chunks, first_row);
            }
        }
    }
}

/// Adds the products of a panel and every `stride`th chunk of `activations`, of which it meets eight groups from `FIRST`
/// on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn multiply_panel<const GROUPS: usize, const FIRST: usize>(
    args: &mut MatmulArgs<'_>,
    panel: &Panel<GROUPS>,
    activations: &[activation::Chunk],
    stride: usize,
    first_row: usize,
) {
    let mut token = 0;
    while token + TILE <= args.n_tokens {
        let chunks: [_; TILE] = std::array::from_fn(|t| &activations[(token + t) * stride]);
        let sums = multiply_tile::<TILE, GROUPS, FIRST>(panel, chunks);
        (0..TILE).for_each(|t| add_to_column(args, first_row, token + t, sums[t]));
        token += TILE;
    }
    for token in token..args.n_tokens {
        let [sum] = multiply_tile::<1, GROUPS, FIRST>(panel, [&activations[token * stride]]);
        add_to_column(args, first_row, token, sum);
    }
}

/// The products of a panel and a chunk of each of `T` tokens.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn multiply_tile<const T: usize, const GROUPS: usize, const FIRST: usize>(
    panel: &Panel<GROUPS>,
    activations: [&activation::Chunk; T],
) -> [__m512; T] {
    let dots = multiply_quants::<T, GROUPS, FIRST>(panel, activations);
    let mut sums = [_mm512_setzero_ps(); T];
    for t in 0..T {
        let mut mins = _mm512_setzero_si512();
        for (run, &min) in panel.mins.iter().enumerate() {
            let half_sums = broadcast_4(activations[t], HALF_SUMS + 4 * (FIRST + run));
            mins = _mm512_add_epi32(mins, _mm512_madd_epi16(min, half_sums));
        }
        let value = if GROUPS == 8 {
            let mins = _mm512_mul_ps(panel.dmin, _mm512_cvtepi32_ps(mins));
            _mm512_fmsub_ps(panel.d, _mm512_cvtepi32_ps(dots[t]), mins)
        } else {
            let centred = _mm512_sub_epi32(dots[t], _mm512_slli_epi32::<5>(mins));
            _mm512_mul_ps(panel.d, _mm512_cvtepi32_ps(centred))
        };
        sums[t] = _mm512_mul_ps(value, broadcast_single(activations[t], SCALES + 4 * FIRST));
    }
    sums
}

/// The scaled integer dot products of a panel and eight groups of `T` tokens.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn multiply_quants<const T: usize, const GROUPS: usize, const FIRST: usize>(
    panel: &Panel<GROUPS>,
    activations: [&activation::Chunk; T],
) -> [__m512i; T] {
    let mut dots = [_mm512_setzero_si512(); T];
    for (run, weights) in panel.quants.iter().enumerate() {
        let groups = weights.chunks_exact(64 / GROUPS).zip(&panel.scales[run * GROUPS / 8..]);
        for (g, (weights, &scale)) in groups.enumerate() {
            let mut group = [_mm512_setzero_si512(); T];
            for (c, &weights) in weights.iter().enumerate() {
                for t in 0..T {
                    let at = 64 * (g * (64 / GROUPS) + c) + 4 * (FIRST + run);
                    group[t] = _mm512_dpbusd_epi32(group[t], weights, broadcast_4(activations[t], at));
                }
            }
            for t in 0..T {
                dots[t] = _mm512_add_epi32(dots[t], _mm512_mullo_epi32(group[t], scale));
            }
        }
    }
    dots
}
