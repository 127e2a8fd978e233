//! Q4_0 and Q4_1: nibbles of sixteen rows, transposed while still packed.

use std::arch::x86_64::*;

use super::block32::{self, Block};
use super::few::{self, Chunk};
use super::gather::fields;
use super::lanes::{each, gather_4, gather_half, part, transpose_16, widen_two_halves};
use crate::ops::matmul::MatmulArgs;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn matmul_q4_0(args: &mut MatmulArgs<'_>) {
    if !args.is_long {
        return few::matmul::<18, 16, 1, 8>(args, |blocks| chunk_q4_0(blocks));
    }
    block32::matmul::<18, false>(args, |rows| Block {
        quants: each(nibbles(transpose_16(each(rows, |row| part(row, 2)))), |quants| _mm512_slli_epi16::<4>(quants)),
        scale: _mm512_mul_ps(gather_half(each(rows, |row| part(row, 0))), _mm512_set1_ps(1.0 / 16.0)),
        min: _mm512_setzero_ps(),
    });
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn matmul_q4_1(args: &mut MatmulArgs<'_>) {
    if !args.is_long {
        return few::matmul::<20, 16, 1, { few::AFFINE }>(args, |blocks| chunk_q4_1(blocks));
    }
    block32::matmul::<20, true>(args, |rows| {
        let [scale, min] = widen_two_halves(gather_4(each(rows, |row| part(row, 0))));
        Block { quants: nibbles(transpose_16(each(rows, |row| part(row, 4)))), scale, min }
    });
}

/// Sixteen consecutive blocks of a row.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn chunk_q4_0(blocks: &[[u8; 18]; 16]) -> Chunk<1> {
    Chunk {
        quants: nibbles(transpose_16(each(blocks.each_ref(), |block| part(block, 2)))),
        scales: [widen_two_halves(fields::<18, 0>(blocks))[0]],
        min: _mm512_setzero_ps(),
    }
}

/// As [`chunk_q4_0`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn chunk_q4_1(blocks: &[[u8; 20]; 16]) -> Chunk<1> {
    let [scale, min] = widen_two_halves(fields::<20, 0>(blocks));
    Chunk { quants: nibbles(transpose_16(each(blocks.each_ref(), |block| part(block, 4)))), scales: [scale], min }
}

/// The low halves of the bytes, then the high ones.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn nibbles([a, b, c, d]: [__m512i; 4]) -> [__m512i; 8] {
    [low(a), low(b), low(c), low(d), high(a), high(b), high(c), high(d)]
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn low(bytes: __m512i) -> __m512i {
    _mm512_and_si512(bytes, _mm512_set1_epi8(15))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn high(bytes: __m512i) -> __m512i {
    low(_mm512_srli_epi16::<4>(bytes))
}
