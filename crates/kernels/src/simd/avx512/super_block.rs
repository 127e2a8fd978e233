//! Long prompts in the formats with super-blocks of 256: 32 weight rows by up to eight tokens at a time.
//!
//! As [`super::block32`], with one super-block as the panel. A lane's float operations are the same for any number of
//! rows and tokens: per group one fused addition of dot product times weight scale; what the minima (or the offset of
//! Q6_K) add is summed exactly, and added when it has its scale; all that times the activation scale is added to the output.
//!
//! Of 87 instructions a super-block, token and sixteen rows that a processor with two vector units runs on either, 64 are
//! dot products: it is at most at 74% of its int8 peak (Q6_K: 107, 60%).

use std::arch::x86_64::*;

use super::block32::{Activations, TILE, TOKENS, sixteen_rows};
use super::lanes::{Rows, Sums, add_to_column, each, prefetch, prefetch_column};
use crate::ops::matmul::MatmulArgs;

/// One super-block of sixteen rows: a weight of group `g` is `scales[g] * quant + min_scale * min[g]`, with eight groups
/// of 32 or sixteen of 16.
#[derive(Clone, Copy)]
pub(super) struct Panel<const GROUPS: usize> {
    /// Unsigned; vector `c` of run `s` has weights `32 s + 4c..` of row `r` in lane `r`.
    pub(super) quants: [[__m512i; 8]; 8],
    pub(super) scales: [__m512; GROUPS],
    /// The minima of groups `2p` and `2p + 1` as 16-bit numbers; vectors past the groups are zeros.
    pub(super) mins: [__m512i; 8],
    pub(super) min_scale: __m512,
}

/// Multiplies super-blocks of `BYTES` bytes, which `unpack` makes of sixteen rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn matmul<const BYTES: usize, const GROUPS: usize>(
    args: &mut MatmulArgs<'_>,
    unpack: impl Fn(Rows<&[u8; BYTES]>, &mut Panel<GROUPS>),
) {
    let row_blocks = args.cols / 256;
    let (zero, zeros) = (_mm512_setzero_ps(), _mm512_setzero_si512());
    let empty = Panel { quants: [[zeros; 8]; 8], scales: [zero; GROUPS], mins: [zeros; 8], min_scale: zero };
    let mut panels = [empty; 2];
    args.out.fill(0.0);
    for first_token in (0..args.n_tokens).step_by(TOKENS) {
        let tokens = first_token..args.n_tokens.min(first_token + TOKENS);
        for b in 0..row_blocks {
            for first_row in (0..args.n_rows).step_by(32) {
                let n_panels = (args.n_rows - first_row).div_ceil(16).min(2);
                for (i, panel) in panels[..n_panels].iter_mut().enumerate() {
                    let blocks = each(sixteen_rows::<BYTES>(args, first_row + 16 * i), |row| &row[b]);
                    unpack(blocks, panel);
                    // The next ones are too far behind for the processor to ask for them in time.
                    each(blocks, |block| prefetch::<_MM_HINT_T1>(block, BYTES));
                }
                let activations = Activations::new(args, b / 2, tokens.clone());
                let one = panels.first_chunk::<1>().filter(|_| n_panels == 1);
                match (b % 2, one) {
                    (0, None) => multiply_panels::<2, GROUPS, 0>(args, &panels, activations, first_row),
                    (_, None) => multiply_panels::<2, GROUPS, 8>(args, &panels, activations, first_row),
                    (0, Some(one)) => multiply_panels::<1, GROUPS, 0>(args, one, activations, first_row),
                    (_, Some(one)) => multiply_panels::<1, GROUPS, 8>(args, one, activations, first_row),
                }
            }
        }
    }
}

/// Adds the products of the panels and the eight groups from `FIRST` on of a chunk of each token.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn multiply_panels<const R: usize, const GROUPS: usize, const FIRST: usize>(
    args: &mut MatmulArgs<'_>,
    panels: &[Panel<GROUPS>; R],
    activations: Activations<'_>,
    first_row: usize,
) {
    let mut token = activations.tokens.start;
    while token + TILE <= activations.tokens.end {
        multiply_tile::<TILE, R, GROUPS, FIRST>(args, panels, &activations, first_row, token);
        token += TILE;
    }
    for token in token..activations.tokens.end {
        multiply_tile::<1, R, GROUPS, FIRST>(args, panels, &activations, first_row, token);
    }
}

/// Adds the products of `R` panels and eight groups of a chunk of each of the `T` tokens from `token` on.
// Not inlined, so that the compiler keeps the loops below as they are.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[expect(clippy::needless_range_loop, reason = "several arrays have the same two indices")]
fn multiply_tile<const T: usize, const R: usize, const GROUPS: usize, const FIRST: usize>(
    args: &mut MatmulArgs<'_>,
    panels: &[Panel<GROUPS>; R],
    activations: &Activations<'_>,
    first_row: usize,
    token: usize,
) {
    let (to_next_tile, activations) = (activations.to_next_tile(), activations.of::<T>(token));
    for t in 0..T {
        (0..R).for_each(|r| prefetch_column(args, first_row + 16 * r, token + t));
    }
    let mut sums = Sums::<T, R>::zeros(GROUPS == 8);
    for run in 0..8 {
        for chunk in activations {
            chunk.prefetch_line(run, to_next_tile);
            if run < 4 {
                chunk.prefetch_line(8 + run, to_next_tile);
            }
        }
        for half in 0..GROUPS / 8 {
            let mut dots = [[_mm512_setzero_si512(); R]; T];
            for c in half * (64 / GROUPS)..(half + 1) * (64 / GROUPS) {
                for t in 0..T {
                    let quants = activations[t].group_quants(FIRST + run, c);
                    for r in 0..R {
                        dots[t][r] = _mm512_dpbusd_epi32(dots[t][r], panels[r].quants[run][c], quants);
                    }
                }
            }
            for t in 0..T {
                for r in 0..R {
                    let scale = panels[r].scales[run * (GROUPS / 8) + half];
                    sums.set(t, r, _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[t][r]), scale, sums.get(t, r)));
                }
            }
        }
    }
    let mut mins = [[_mm512_setzero_si512(); R]; T];
    for pair in 0..GROUPS / 2 {
        for t in 0..T {
            let pair_sums = match GROUPS {
                8 => activations[t].pair_sums(FIRST / 2 + pair),
                _ => activations[t].group_half_sums(FIRST + pair),
            };
            for r in 0..R {
                mins[t][r] = _mm512_dpwssd_epi32(mins[t][r], panels[r].mins[pair], pair_sums);
            }
        }
    }
    for t in 0..T {
        for r in 0..R {
            let sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(mins[t][r]), panels[r].min_scale, sums.get(t, r));
            add_to_column(args, first_row + 16 * r, token + t, sum, activations[t].group_scale(FIRST));
        }
    }
}
