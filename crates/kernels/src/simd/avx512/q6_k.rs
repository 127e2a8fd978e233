//! Q6_K: nibbles and upper bit pairs of sixteen rows, with a signed scale per 16 weights.

use std::arch::x86_64::*;

use super::lanes::{Rows, ZERO, each, gather_half, part, pick_bytes, transpose_16, transpose_32};
use super::q4::{high, low};
use super::super_block::{self, Panel};
use crate::ops::MatmulArgs;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn matmul(args: &mut MatmulArgs<'_>) {
    super_block::matmul::<210, 16>(args, |rows, panel| {
        unpack_scales(each(rows, |row| part(row, 192)), panel);
        panel.d = gather_half(each(rows, |row| part(row, 208)));
        for (half, runs) in panel.quants.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let first = transpose_32(each(rows, |row| part(row, 64 * half)));
            let second = transpose_32(each(rows, |row| part(row, 64 * half + 32)));
            let upper = transpose_32(each(rows, |row| part(row, 128 + 32 * half)));
            for c in 0..8 {
                runs[0][c] = _mm512_or_si512(low(first[c]), bits_4_5(_mm512_slli_epi16::<4>(upper[c])));
                runs[1][c] = _mm512_or_si512(low(second[c]), bits_4_5(_mm512_slli_epi16::<2>(upper[c])));
                runs[2][c] = _mm512_or_si512(high(first[c]), bits_4_5(upper[c]));
                runs[3][c] = _mm512_or_si512(high(second[c]), bits_4_5(_mm512_srli_epi16::<2>(upper[c])));
            }
        }
    });
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn bits_4_5(bytes: __m512i) -> __m512i {
    _mm512_and_si512(bytes, _mm512_set1_epi8(0x30))
}

/// Widens the sixteen signed scales to lanes, and to the pairs of neighbours that meet the activation sums.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn unpack_scales(rows: Rows<&[u8; 16]>, panel: &mut Panel<16>) {
    for (i, four) in transpose_16(rows).into_iter().enumerate() {
        // A scale in the upper byte of a wider number is then shifted down with its sign.
        for byte in 0..4 {
            let upper = pick_bytes(four, [ZERO, ZERO, ZERO, byte as i8]);
            panel.scales[4 * i + byte] = _mm512_srai_epi32::<24>(upper);
        }
        panel.mins[2 * i] = _mm512_srai_epi16::<8>(pick_bytes(four, [ZERO, 0, ZERO, 1]));
        panel.mins[2 * i + 1] = _mm512_srai_epi16::<8>(pick_bytes(four, [ZERO, 2, ZERO, 3]));
    }
}
