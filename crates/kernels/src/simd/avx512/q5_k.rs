//! Q5_K: as Q4_K, with the fifth bits of all groups in 32 bytes.

use std::arch::x86_64::*;

use super::few::{self, Chunk};
use super::lanes::{each, load_32, load_lanes, part, transpose_32};
use super::q4::{high, low};
use super::q4_k::{nibbles, scales_and_mins, unpack_scales};
use super::super_block;
use crate::ops::matmul::MatmulArgs;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn matmul(args: &mut MatmulArgs<'_>) {
    if !args.is_long {
        return few::matmul::<176, 2, 1, { few::AFFINE }>(args, |blocks| chunk(blocks));
    }
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

/// Two consecutive blocks of a row.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn chunk(blocks: &[[u8; 176]; 2]) -> Chunk<1> {
    let (scale, min) = scales_and_mins(each(blocks.each_ref(), |block| part(block, 0)));
    let mut quants = nibbles(each(blocks.each_ref(), |block| part(block, 48)));
    let [first, second] = each(blocks.each_ref(), |block| load_32(part(block, 16)));
    let fifth = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(first), second);
    // Bit `g` of a byte belongs to group `g`; turning the lane brings it to bit 4.
    const TURNS: [i32; 16] = [4, 3, 2, 1, 0, 31, 30, 29, 4, 3, 2, 1, 0, 31, 30, 29];
    for (c, quants) in quants.iter_mut().enumerate() {
        let order: [i32; 16] = std::array::from_fn(|g| (g / 8 * 8 + c) as i32);
        let bits = _mm512_rolv_epi32(_mm512_permutexvar_epi32(load_lanes(&order), fifth), load_lanes(&TURNS));
        *quants = _mm512_or_si512(*quants, _mm512_and_si512(bits, _mm512_set1_epi8(16)));
    }
    Chunk { quants, scales: [scale], min }
}
