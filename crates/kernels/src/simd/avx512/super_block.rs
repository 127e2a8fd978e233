//! Long prompts in the formats with super-blocks of 256: sixteen weight rows by up to eight tokens at a time.
//!
//! As [`super::block32`], with one super-block as the panel. A lane's float operations are the same for any number of
//! rows and tokens: per group one fused addition of dot product times weight scale, the minima times the scaled
//! activation sums beside them, and per super-block the former times the activation scale plus the latter.
//!
//! Of 82 instructions a super-block and token for which a multiplier is needed (Q6_K: 81), 64 are dot products: a processor
//! that starts one of either a cycle is at most at 78% of its int8 peak.

use std::arch::x86_64::*;

use super::activation;
use super::block32::{Activations, TILE, TOKENS, sixteen_rows};
use super::lanes::{Rows, add_to_column, each};
use crate::ops::MatmulArgs;

/// One super-block of sixteen rows: a weight of group `g` is `scales[g] * quant + mins[g]` or, with sixteen groups,
/// `scales[g] * (quant - 32)`.
pub(super) struct Panel<const GROUPS: usize> {
    /// Unsigned; vector `c` of run `s` has weights `32 s + 4c..` of row `r` in lane `r`.
    pub(super) quants: [[__m512i; 8]; 8],
    pub(super) scales: [__m512; GROUPS],
    pub(super) mins: [__m512; 8],
}

/// Multiplies super-blocks of `BYTES` bytes, which `unpack` makes of sixteen rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn matmul<const BYTES: usize, const GROUPS: usize>(
    args: &mut MatmulArgs<'_>,
    unpack: impl Fn(Rows<&[u8; BYTES]>, &mut Panel<GROUPS>),
) {
    let row_blocks = args.cols / 256;
    let zero = _mm512_setzero_ps();
    let mut panel = Panel { quants: [[_mm512_setzero_si512(); 8]; 8], scales: [zero; GROUPS], mins: [zero; 8] };
    args.out.fill(0.0);
    for first_token in (0..args.n_tokens).step_by(TOKENS) {
        let tokens = first_token..args.n_tokens.min(first_token + TOKENS);
        for b in 0..row_blocks {
            for first_row in (0..args.n_rows).step_by(16) {
                unpack(each(sixteen_rows::<BYTES>(args, first_row), |row| &row[b]), &mut panel);
                let activations = Activations::new(args, b / 2, tokens.clone());
                if b.is_multiple_of(2) {
                    multiply_panel::<GROUPS, 0>(args, &panel, activations, first_row);
                } else {
                    multiply_panel::<GROUPS, 8>(args, &panel, activations, first_row);
                }
            }
        }
    }
}

/// Adds the products of a panel and the eight groups from `FIRST` on of a chunk of each token.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn multiply_panel<const GROUPS: usize, const FIRST: usize>(
    args: &mut MatmulArgs<'_>,
    panel: &Panel<GROUPS>,
    activations: Activations<'_>,
    first_row: usize,
) {
    let mut token = activations.tokens.start;
    while token + TILE <= activations.tokens.end {
        let sums = multiply_tile::<TILE, GROUPS, FIRST>(panel, activations.of(token));
        (0..TILE).for_each(|t| add_to_column(args, first_row, token + t, sums[t]));
        token += TILE;
    }
    for token in token..activations.tokens.end {
        let [sum] = multiply_tile::<1, GROUPS, FIRST>(panel, activations.of(token));
        add_to_column(args, first_row, token, sum);
    }
}

/// The products of a panel and eight groups of a chunk of each of `T` tokens.
// As a function of its own, so that the compiler's loops are those below.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn multiply_tile<const T: usize, const GROUPS: usize, const FIRST: usize>(
    panel: &Panel<GROUPS>,
    activations: [&activation::Chunk; T],
) -> [__m512; T] {
    let mut sums = [_mm512_setzero_ps(); T];
    let mut mins = [_mm512_setzero_ps(); T];
    for run in 0..8 {
        for half in 0..GROUPS / 8 {
            let mut dots = [_mm512_setzero_si512(); T];
            if GROUPS == 16 {
                let offset = _mm512_set1_epi32(if half == 0 { 0xFFE0 } else { -32 << 16 });
                for t in 0..T {
                    dots[t] = _mm512_madd_epi16(offset, activations[t].group_half_sums(FIRST + run));
                }
            }
            for c in half * (64 / GROUPS)..(half + 1) * (64 / GROUPS) {
                let weights = panel.quants[run][c];
                for t in 0..T {
                    dots[t] = _mm512_dpbusd_epi32(dots[t], weights, activations[t].group_quants(FIRST + run, c));
                }
            }
            for t in 0..T {
                let scale = panel.scales[run * (GROUPS / 8) + half];
                sums[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[t]), scale, sums[t]);
            }
        }
        if GROUPS == 8 {
            for t in 0..T {
                mins[t] = _mm512_fmadd_ps(panel.mins[run], activations[t].group_scaled_sum(FIRST + run), mins[t]);
            }
        }
    }
    for t in 0..T {
        sums[t] = _mm512_fmadd_ps(sums[t], activations[t].group_scale(FIRST), mins[t]);
    }
    sums
}
