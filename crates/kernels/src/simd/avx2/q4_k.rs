//! Q4_K: nibbles and 6-bit scales of eight rows, unpacked in lanes.

use std::arch::x86_64::*;

use super::dot::{Dot, UNSIGNED_4};
use super::lanes::{EIGHT, each, gather_4, gather_two_halves, part};
use super::q4::{high, low};
use super::super_block::{self, Run, Scales, Unpack};
use crate::ops::matmul::MatmulArgs;

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn matmul<D: Dot>(args: &mut MatmulArgs<'_>) {
    let unpack = Unpack {
        nibbles: 16,
        scales: |rows: [&[u8; 144]; 8]| unpack_scales(each(rows, |row| part(row, 0))),
        upper: |_: [&[u8; 144]; 8], _| [_mm256_setzero_si256(); 8],
        merge: |nibbles: &Run, _: &Run, _| *nibbles,
    };
    super_block::matmul::<D, 144, UNSIGNED_4>(args, &unpack);
}

/// Unpacks the 16 bytes that open a Q4_K or Q5_K block: `f16 d, f16 dmin` and twelve bytes of scales and minima.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn unpack_scales(rows: [&[u8; 16]; 8]) -> Scales {
    let [d, dmin] = gather_two_halves(each(rows, |row| part(row, 0)));
    let scales = gather_4(each(rows, |row| part(row, 4)));
    let mins = gather_4(each(rows, |row| part(row, 8)));
    let both = gather_4(each(rows, |row| part(row, 12)));
    let six = _mm256_set1_epi8(63);
    let two = _mm256_set1_epi8(0x30);
    let top = |bytes| _mm256_and_si256(_mm256_srli_epi16::<2>(bytes), two);
    let four_scales = [_mm256_and_si256(scales, six), _mm256_or_si256(low(both), top(scales))];
    let four_mins = [_mm256_and_si256(mins, six), _mm256_or_si256(high(both), top(mins))];
    let mut scales = [_mm256_setzero_si256(); 16];
    for g in EIGHT {
        scales[g] = byte_as_pair(four_scales[g / 4], g % 4);
    }
    Scales { scales, mins: each(EIGHT, |g| byte_as_pair(four_mins[g / 4], g % 4)), d, dmin }
}

/// Byte `at` of every lane as a pair of equal 16-bit numbers.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn byte_as_pair(bytes: __m256i, at: usize) -> __m256i {
    let at = at as i8;
    let (a, b, c, d) = (at, 4 + at, 8 + at, 12 + at);
    let order = _mm_setr_epi8(a, -1, a, -1, b, -1, b, -1, c, -1, c, -1, d, -1, d, -1);
    _mm256_shuffle_epi8(bytes, _mm256_broadcastsi128_si256(order))
}
