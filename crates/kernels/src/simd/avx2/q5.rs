//! Q5_0 and Q5_1: as Q4_0 and Q4_1, with the fifth bits spread from one 32-bit word per row.

use std::arch::x86_64::*;

use super::block32::{self, Block};
use super::dot::{Dot, UNSIGNED_5};
use super::lanes::{each, gather_4, gather_half, gather_two_halves, part, transpose_16};
use super::q4::nibbles;
use crate::ops::matmul::MatmulArgs;

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn matmul_q5_0<D: Dot>(args: &mut MatmulArgs<'_>) {
    block32::matmul::<D, 22, UNSIGNED_5>(args, |rows| {
        let scale = gather_half(each(rows, |row| part(row, 0)));
        // Quants stay 0..31; their offset of 16 becomes a minimum.
        let min = _mm256_mul_ps(scale, _mm256_set1_ps(-16.0));
        let low = nibbles(transpose_16(each(rows, |row| part(row, 6))));
        Block { quants: add_fifth_bits(gather_4(each(rows, |row| part(row, 2))), low), scale, min }
    });
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn matmul_q5_1<D: Dot>(args: &mut MatmulArgs<'_>) {
    block32::matmul::<D, 24, UNSIGNED_5>(args, |rows| {
        let [scale, min] = gather_two_halves(each(rows, |row| part(row, 0)));
        let low = nibbles(transpose_16(each(rows, |row| part(row, 8))));
        Block { quants: add_fifth_bits(gather_4(each(rows, |row| part(row, 4))), low), scale, min }
    });
}

/// Sets bit 4 of the bytes of vector `c` where bits `4c..4c+4` of the lane's word are set.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_fifth_bits(words: __m256i, mut quants: [__m256i; 8]) -> [__m256i; 8] {
    for (c, quants) in quants.iter_mut().enumerate() {
        // Copy the byte that holds the four bits to all bytes of the lane, then pick one bit in each.
        let byte = c as i32 / 2;
        let order = _mm256_add_epi8(lane_starts(), _mm256_set1_epi8(byte as i8));
        let bits = if c % 2 == 0 { 0x0804_0201 } else { 0x8040_2010u32.cast_signed() };
        let picked = _mm256_and_si256(_mm256_shuffle_epi8(words, order), _mm256_set1_epi32(bits));
        let is_set = _mm256_cmpeq_epi8(picked, _mm256_set1_epi32(bits));
        *quants = _mm256_or_si256(*quants, _mm256_and_si256(is_set, _mm256_set1_epi8(16)));
    }
    quants
}

/// Per byte, where its 32-bit lane starts within the half of the vector.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn lane_starts() -> __m256i {
    _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12))
}
