//! Long prompts in F32, F16 and BF16: 32 weight rows by up to eight tokens at a time.
//!
//! As [`super::block32`], with weights that are widened to f32 when a panel is made of them: vector `c` has column `c` of
//! row `r` in lane `r`, and an activation, broadcast, meets sixteen rows in one fused step. A lane's operations are the same
//! for any number of rows and tokens: a chain over the columns of each panel, added to the output after the last.
//!
//! BF16 too is multiplied in f32. `vdpbf16ps` rounds activations to eight bits, and on Intel's processors (Emerald Rapids)
//! it does half as many products a second as fused steps in f32.

use std::arch::x86_64::*;

use super::block32::{TILE, TOKENS};
use super::lanes::{Rows, add_to_column, each, padded_tail, part, prefetch, prefetch_column, transpose_16};
use crate::ops::matmul::MatmulArgs;

/// Columns of a panel: 16 KiB for 32 rows, which stay in the first-level cache beside the activations.
const DEPTH: usize = 128;

/// The columns of two times sixteen rows.
type Panels = [[__m512; 2]; DEPTH];

/// Multiplies weights of `BYTES` bytes each; `widen` makes `PER_LANE` columns of lanes that hold as many weights.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn matmul<const BYTES: usize, const PER_LANE: usize>(
    args: &mut MatmulArgs<'_>,
    widen: impl Fn(__m512i) -> [__m512; PER_LANE],
) {
    let mut panels = [[_mm512_setzero_ps(); 2]; DEPTH];
    args.out.fill(0.0);
    for first_token in (0..args.n_tokens).step_by(TOKENS) {
        let end = args.n_tokens.min(first_token + TOKENS);
        for first_column in (0..args.cols).step_by(DEPTH) {
            let depth = DEPTH.min(args.cols - first_column);
            for first_row in (0..args.n_rows).step_by(32) {
                for i in 0..2 {
                    let rows = sixteen_rows::<BYTES>(args, first_row + 16 * i, first_column, depth);
                    fill_panel::<BYTES, PER_LANE>(rows, i, &mut panels, &widen);
                }
                let mut token = first_token;
                while token + TILE <= end {
                    multiply_tile::<TILE>(args, &panels[..depth], first_column, first_row, token);
                    token += TILE;
                }
                for token in token..end {
                    multiply_tile::<1>(args, &panels[..depth], first_column, first_row, token);
                }
            }
        }
    }
}

/// The bytes of some columns of rows `first..first + 16`. Rows past the end repeat the last one; their results are
/// dropped.
#[inline(always)]
fn sixteen_rows<'a, const BYTES: usize>(
    args: &MatmulArgs<'a>,
    first: usize,
    first_column: usize,
    depth: usize,
) -> Rows<&'a [u8]> {
    std::array::from_fn(|r| {
        let row = (first + r).min(args.n_rows - 1);
        &args.weights[(row * args.cols + first_column) * BYTES..][..depth * BYTES]
    })
}

/// Writes the columns of sixteen rows to one of the panels, with zeros behind.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn fill_panel<const BYTES: usize, const PER_LANE: usize>(
    rows: Rows<&[u8]>,
    panel: usize,
    panels: &mut Panels,
    widen: impl Fn(__m512i) -> [__m512; PER_LANE],
) {
    let n_whole = rows[0].len() / 16;
    for (i, columns) in panels.chunks_exact_mut(16 / BYTES).enumerate() {
        let lanes = if i < n_whole {
            transpose_16(each(rows, |row| part(row, 16 * i)))
        } else if i == n_whole {
            let tails = each(rows, padded_tail::<16>);
            transpose_16(tails.each_ref())
        } else {
            [_mm512_setzero_si512(); 4]
        };
        for (lanes, columns) in lanes.into_iter().zip(columns.chunks_exact_mut(PER_LANE)) {
            for (column, widened) in columns.iter_mut().zip(widen(lanes)) {
                column[panel] = widened;
            }
        }
    }
}

/// Adds the products of the panels' columns and those from `first_column` on of `T` tokens.
// Not inlined, so that the compiler keeps the loops below as they are.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn multiply_tile<const T: usize>(
    args: &mut MatmulArgs<'_>,
    panels: &[[__m512; 2]],
    first_column: usize,
    first_row: usize,
    token: usize,
) {
    let row_bytes = args.activation_row_bytes();
    let mut activations = [&[][..]; T];
    for (t, row) in activations.iter_mut().enumerate() {
        let bytes = &args.activations[(token + t) * row_bytes + first_column * 4..][..panels.len() * 4];
        *row = bytes.as_chunks::<4>().0;
        prefetch::<_MM_HINT_T0>(bytes, T * row_bytes);
        (0..2).for_each(|i| prefetch_column(args, first_row + 16 * i, token + t));
    }
    let mut sums = [[_mm512_setzero_ps(); 2]; T];
    for (c, [first, second]) in panels.iter().enumerate() {
        for t in 0..T {
            let x = _mm512_set1_ps(f32::from_le_bytes(activations[t][c]));
            sums[t] = [_mm512_fmadd_ps(*first, x, sums[t][0]), _mm512_fmadd_ps(*second, x, sums[t][1])];
        }
    }
    let one = _mm512_set1_ps(1.0);
    for (t, [first, second]) in sums.into_iter().enumerate() {
        add_to_column(args, first_row, token + t, first, one);
        if first_row + 16 < args.n_rows {
            add_to_column(args, first_row + 16, token + t, second, one);
        }
    }
}
