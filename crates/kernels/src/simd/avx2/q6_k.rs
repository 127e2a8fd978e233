//! Q6_K: nibbles and upper bit pairs of eight rows, with a signed scale per 16 weights.

use std::arch::x86_64::*;

use super::dot::{Dot, UNSIGNED_6};
use super::lanes::{EIGHT, each, gather_half, part, transpose_16, transpose_32};
use super::super_block::{self, Run, Scales, Unpack};
use crate::ops::matmul::MatmulArgs;

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn matmul<D: Dot>(args: &mut MatmulArgs<'_>) {
    let unpack = Unpack {
        nibbles: 0,
        scales: |rows: [&[u8; 210]; 8]| {
            unpack_scales(each(rows, |row| part(row, 192)), gather_half(each(rows, |row| part(row, 208))))
        },
        upper: |rows: [&[u8; 210]; 8], half| transpose_32(each(rows, |row| part(row, 128 + 32 * half))),
        // Bit pair `p` of a byte belongs to run `p` of the half and goes to bits 4 and 5.
        merge: |nibbles: &Run, pairs: &Run, run| {
            let pairs = match run {
                0 => each(*pairs, |pairs| _mm256_slli_epi16::<4>(pairs)),
                1 => each(*pairs, |pairs| _mm256_slli_epi16::<2>(pairs)),
                2 => *pairs,
                _ => each(*pairs, |pairs| _mm256_srli_epi16::<2>(pairs)),
            };
            each(EIGHT, |c| _mm256_or_si256(nibbles[c], _mm256_and_si256(pairs[c], _mm256_set1_epi8(0x30))))
        },
    };
    super_block::matmul::<D, 210, UNSIGNED_6>(args, &unpack);
}

/// Widens the sixteen signed scales to pairs of equal numbers, and to the pairs of neighbours that meet the sums.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn unpack_scales(rows: [&[u8; 16]; 8], d: __m256) -> Scales {
    let zero = _mm256_setzero_si256();
    // Quants stay 0..63; their offset of 32 becomes a minimum of 32 d times the scale.
    let dmin = _mm256_mul_ps(d, _mm256_set1_ps(32.0));
    let mut out = Scales { scales: [zero; 16], mins: [zero; 8], d, dmin };
    for (i, four) in transpose_16(rows).into_iter().enumerate() {
        // `even` holds scales 0 and 2 of the lane as 16-bit numbers, `odd` scales 1 and 3.
        let even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(four));
        let odd = _mm256_srai_epi16::<8>(four);
        out.scales[4 * i] = low_as_pair(even);
        out.scales[4 * i + 1] = low_as_pair(odd);
        out.scales[4 * i + 2] = high_as_pair(even);
        out.scales[4 * i + 3] = high_as_pair(odd);
        out.mins[2 * i] = _mm256_blend_epi16::<0xAA>(even, _mm256_slli_epi32::<16>(odd));
        out.mins[2 * i + 1] = _mm256_blend_epi16::<0xAA>(_mm256_srli_epi32::<16>(even), odd);
    }
    out
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
