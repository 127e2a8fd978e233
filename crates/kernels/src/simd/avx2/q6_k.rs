//! Q6_K: nibbles and upper bit pairs of eight rows, with a signed scale per 16 weights.

use std::arch::x86_64::*;

use super::lanes::{gather_half, part, transpose_16, transpose_32};
use super::q4::{high, low};
use super::super_block::{self, Panel, UNSIGNED_6};
use crate::ops::MatmulArgs;

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn matmul(args: &mut MatmulArgs<'_>) {
    super_block::matmul::<210, UNSIGNED_6>(args, |rows, panel| {
        unpack_scales(rows.map(|row| part(row, 192)), panel);
        panel.d = gather_half(rows.map(|row| part(row, 208)));
        // Quants stay 0..63; their offset of 32 becomes a minimum of 32 d times the scale.
        panel.dmin = _mm256_mul_ps(panel.d, _mm256_set1_ps(32.0));
        for (half, runs) in panel.quants.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let first = transpose_32(rows.map(|row| part(row, 64 * half)));
            let second = transpose_32(rows.map(|row| part(row, 64 * half + 32)));
            let upper = transpose_32(rows.map(|row| part(row, 128 + 32 * half)));
            for c in 0..8 {
                runs[0][c] = _mm256_or_si256(low(first[c]), bits_4_5(_mm256_slli_epi16::<4>(upper[c])));
                runs[1][c] = _mm256_or_si256(low(second[c]), bits_4_5(_mm256_slli_epi16::<2>(upper[c])));
                runs[2][c] = _mm256_or_si256(high(first[c]), bits_4_5(upper[c]));
                runs[3][c] = _mm256_or_si256(high(second[c]), bits_4_5(_mm256_srli_epi16::<2>(upper[c])));
            }
        }
    });
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn bits_4_5(bytes: __m256i) -> __m256i {
    _mm256_and_si256(bytes, _mm256_set1_epi8(0x30))
}

/// Widens the sixteen signed scales to pairs of equal numbers, and to the pairs of neighbours that meet the sums.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn unpack_scales(rows: [&[u8; 16]; 8], panel: &mut Panel) {
    for (i, four) in transpose_16(rows).into_iter().enumerate() {
        // 16-bit numbers with a scale in the upper byte; the shift then carries the sign down.
        let even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(four));
        let odd = _mm256_srai_epi16::<8>(four);
        // `even` holds scales 0 and 2 of the lane, `odd` scales 1 and 3.
        panel.scales[4 * i] = low_as_pair(even);
        panel.scales[4 * i + 1] = low_as_pair(odd);
        panel.scales[4 * i + 2] = high_as_pair(even);
        panel.scales[4 * i + 3] = high_as_pair(odd);
        panel.mins[2 * i] = _mm256_blend_epi16::<0xAA>(even, _mm256_slli_epi32::<16>(odd));
        panel.mins[2 * i + 1] = _mm256_blend_epi16::<0xAA>(_mm256_srli_epi32::<16>(even), odd);
    }
}

/// The lower 16 bits of every lane, twice.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn low_as_pair(x: __m256i) -> __m256i {
    _mm256_blend_epi16::<0xAA>(x, _mm256_slli_epi32::<16>(x))
}

/// The upper 16 bits of every lane, twice.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn high_as_pair(x: __m256i) -> __m256i {
    _mm256_blend_epi16::<0xAA>(_mm256_srli_epi32::<16>(x), x)
}
