//! Q5_K: as Q4_K, with the fifth bits of all groups in 32 bytes.

use std::arch::x86_64::*;

use super::lanes::{each, part, transpose_32};
use super::q4::{high, low};
use super::q4_k::unpack_scales;
use super::super_block;
use crate::ops::MatmulArgs;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn matmul(args: &mut MatmulArgs<'_>) {
    super_block::matmul::<176, 8>(args, |rows, panel| {
        unpack_scales(each(rows, |row| part(row, 0)), panel);
        let fifth = transpose_32(each(rows, |row| part(row, 16)));
        for (i, pair) in panel.quants.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let bytes = transpose_32(each(rows, |row| part(row, 48 + 32 * i)));
            for c in 0..8 {
                pair[0][c] = _mm512_or_si512(low(bytes[c]), fifth_bit(fifth[c], 2 * i));
                pair[1][c] = _mm512_or_si512(high(bytes[c]), fifth_bit(fifth[c], 2 * i + 1));
            }
        }
    });
}

/// Bit `group` of every byte, moved to bit 4.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn fifth_bit(bytes: __m512i, group: usize) -> __m512i {
    let moved = if group <= 4 {
        _mm512_sll_epi16(bytes, _mm_cvtsi32_si128(4 - group as i32))
    } else {
        _mm512_srl_epi16(bytes, _mm_cvtsi32_si128(group as i32 - 4))
    };
    _mm512_and_si512(moved, _mm512_set1_epi8(16))
}
