//! The products of the formats with super-blocks of 256: sixteen weight rows by up to eight tokens at a time.
//!
//! As [`super::block32`], with one super-block as the panel. The dot products of the groups are multiplied with the
//! groups' integer scales and summed exactly; minima and offsets meet the activation sums the same way. A lane's float
//! operations are the same for any number of rows and tokens: per super-block `d * dots - dmin * mins` (formats with
//! minima) or `d * dots`, then one fused addition of that times the activation scale into the accumulator.

use std::arch::x86_64::*;

use super::block32::{TOKENS, sixteen_rows, store_sums};
use super::lanes::{Rows, broadcast_4, each, prefetch};
use crate::activation::Q8KRow;
use crate::ops::MatmulArgs;

/// One super-block of sixteen rows: a weight of group `g` is `d * scales[g] * quant - dmin * min` or, with sixteen
/// groups, `d * scales[g] * (quant - 32)`.
pub(super) struct Panel<const GROUPS: usize> {
    /// Unsigned; vector `c` of run `s` has weights `32 s + 4c..` of row `r` in lane `r`.
    pub(super) quants: [[__m512i; 8]; 8],
    pub(super) scales: [__m512i; GROUPS],
    /// What two neighbouring activation sums are multiplied with, as a pair of 16-bit numbers: the minima of their runs
    /// of 16 weights or, with sixteen groups, the scales.
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
    let (cols, row_blocks, row_bytes) = (args.cols, args.cols / 256, args.activation_row_bytes());
    let zero = _mm512_setzero_si512();
    let (quants, scales, mins) = ([[zero; 8]; 8], [zero; GROUPS], [zero; 8]);
    let mut panel = Panel { quants, scales, mins, d: _mm512_setzero_ps(), dmin: _mm512_setzero_ps() };
    for (i, activations) in args.activations.chunks(TOKENS * row_bytes).enumerate() {
        let n_tokens = activations.len() / row_bytes;
        for first_row in (0..args.n_rows).step_by(16) {
            let rows = sixteen_rows::<BYTES>(args, first_row);
            let mut sums = [_mm512_setzero_ps(); TOKENS];
            for b in 0..row_blocks {
                let block = each(rows, |row| &row[b]);
                each(block, |block| prefetch(block, 16 * row_blocks * BYTES));
                unpack(block, &mut panel);
                multiply_panel(cols, &panel, b, activations, &mut sums[..n_tokens]);
            }
            store_sums(args, first_row, i * TOKENS, &sums[..n_tokens]);
        }
    }
}

/// Adds the products of a panel, which is block `b` of its row, and all tokens of `activations`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn multiply_panel<const GROUPS: usize>(
    cols: usize,
    panel: &Panel<GROUPS>,
    b: usize,
    activations: &[u8],
    sums: &mut [__m512],
) {
    let row_bytes = activations.len() / sums.len();
    let mut t = 0;
    while t < sums.len() {
        let (sums, activations) = (&mut sums[t..], &activations[t * row_bytes..]);
        t += match sums.len() {
            8.. => multiply_tile::<8, GROUPS>(cols, panel, b, activations, sums),
            4.. => multiply_tile::<4, GROUPS>(cols, panel, b, activations, sums),
            2.. => multiply_tile::<2, GROUPS>(cols, panel, b, activations, sums),
            _ => multiply_tile::<1, GROUPS>(cols, panel, b, activations, sums),
        };
    }
}

/// Adds the products of a panel and the first `T` of the tokens; returns `T`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn multiply_tile<const T: usize, const GROUPS: usize>(
    cols: usize,
    panel: &Panel<GROUPS>,
    b: usize,
    activations: &[u8],
    sums: &mut [__m512],
) -> usize {
    let row_bytes = activations.len() / sums.len();
    let (mut quants, mut activation_sums, mut scales) = ([&[0; 256]; T], [&[0; 32]; T], [0.0; T]);
    for t in 0..T {
        let token = row_view(&activations[t * row_bytes..][..row_bytes], cols);
        (quants[t], activation_sums[t], scales[t]) = (token.quants(b), token.sum_bytes(b), token.scale(b));
    }
    let dots = multiply_quants(panel, quants);
    for t in 0..T {
        let mut mins = _mm512_setzero_si512();
        for (pair, &min) in panel.mins.iter().enumerate() {
            mins = _mm512_dpwssd_epi32(mins, min, broadcast_4(activation_sums[t], 4 * pair));
        }
        let value = if GROUPS == 8 {
            let mins = _mm512_mul_ps(panel.dmin, _mm512_cvtepi32_ps(mins));
            _mm512_fmsub_ps(panel.d, _mm512_cvtepi32_ps(dots[t]), mins)
        } else {
            let centred = _mm512_sub_epi32(dots[t], _mm512_slli_epi32::<5>(mins));
            _mm512_mul_ps(panel.d, _mm512_cvtepi32_ps(centred))
        };
        sums[t] = _mm512_fmadd_ps(value, _mm512_set1_ps(scales[t]), sums[t]);
    }
    T
}

/// The scaled integer dot products of a panel and one super-block of `T` tokens.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn multiply_quants<const T: usize, const GROUPS: usize>(
    panel: &Panel<GROUPS>,
    activations: [&[u8; 256]; T],
) -> [__m512i; T] {
    let mut dots = [_mm512_setzero_si512(); T];
    for (run, weights) in panel.quants.iter().enumerate() {
        let activations = each(activations, |quants| &quants.as_chunks::<32>().0[run]);
        let groups = weights.chunks_exact(64 / GROUPS).zip(&panel.scales[run * GROUPS / 8..]);
        for (g, (weights, &scale)) in groups.enumerate() {
            let mut group = [_mm512_setzero_si512(); T];
            for (c, &weights) in weights.iter().enumerate() {
                for t in 0..T {
                    let activation = broadcast_4(activations[t], 4 * (g * (64 / GROUPS) + c));
                    group[t] = _mm512_dpbusd_epi32(group[t], weights, activation);
                }
            }
            for t in 0..T {
                dots[t] = _mm512_add_epi32(dots[t], _mm512_mullo_epi32(group[t], scale));
            }
        }
    }
    dots
}

/// The view of an activation row.
#[inline(always)]
fn row_view(row: &[u8], cols: usize) -> Q8KRow<'_> {
    Q8KRow::new(row, cols)
}
