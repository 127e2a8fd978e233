//! Q4_0 and Q4_1: nibbles of eight rows, transposed while still packed.

use std::arch::x86_64::*;

use super::block32::{self, Block};
use super::dot::{Dot, UNSIGNED_4};
use super::lanes::{each, gather_half, gather_two_halves, part, transpose_16};
use crate::ops::matmul::MatmulArgs;

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn matmul_q4_0<D: Dot>(args: &mut MatmulArgs<'_>) {
    block32::matmul::<D, 18, UNSIGNED_4>(args, |rows| {
        let scale = gather_half(each(rows, |row| part(row, 0)));
        // Quants stay 0..15; their offset of 8 becomes a minimum.
        let min = _mm256_mul_ps(scale, _mm256_set1_ps(-8.0));
        Block { quants: nibbles(transpose_16(each(rows, |row| part(row, 2)))), scale, min }
    });
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn matmul_q4_1<D: Dot>(args: &mut MatmulArgs<'_>) {
    block32::matmul::<D, 20, UNSIGNED_4>(args, |rows| {
        let [scale, min] = gather_two_halves(each(rows, |row| part(row, 0)));
        Block { quants: nibbles(transpose_16(each(rows, |row| part(row, 4)))), scale, min }
    });
}

/// The low halves of the bytes, then the high ones.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn nibbles([a, b, c, d]: [__m256i; 4]) -> [__m256i; 8] {
    [low(a), low(b), low(c), low(d), high(a), high(b), high(c), high(d)]
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn low(bytes: __m256i) -> __m256i {
    _mm256_and_si256(bytes, _mm256_set1_epi8(15))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn high(bytes: __m256i) -> __m256i {
    low(_mm256_srli_epi16::<4>(bytes))
}
