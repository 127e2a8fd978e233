//! Q5_K: as Q4_K, with the fifth bits of all groups in 32 bytes.

use std::arch::x86_64::*;

use super::lanes::{EIGHT, each, part, transpose_32};
use super::q4::{high, low};
use super::q4_k::unpack_scales;
use super::super_block::{self, UNSIGNED_5};
use crate::ops::MatmulArgs;

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn matmul(args: &mut MatmulArgs<'_>) {
    super_block::matmul::<176, UNSIGNED_5>(
        args,
        |rows| unpack_scales(each(rows, |row| part(row, 0))),
        |rows, i| {
            let fifth = transpose_32(each(rows, |row| part(row, 16)));
            let bytes = transpose_32(each(rows, |row| part(row, 48 + 32 * i)));
            [
                each(EIGHT, |c| _mm256_or_si256(low(bytes[c]), fifth_bit(fifth[c], 2 * i))),
                each(EIGHT, |c| _mm256_or_si256(high(bytes[c]), fifth_bit(fifth[c], 2 * i + 1))),
            ]
        },
    );
}

/// Bit `group` of every byte, moved to bit 4.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn fifth_bit(bytes: __m256i, group: usize) -> __m256i {
    let moved = if group <= 4 {
        _mm256_sll_epi16(bytes, _mm_cvtsi32_si128(4 - group as i32))
    } else {
        _mm256_srl_epi16(bytes, _mm_cvtsi32_si128(group as i32 - 4))
    };
    _mm256_and_si256(moved, _mm256_set1_epi8(16))
}
