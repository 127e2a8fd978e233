//! Q5_0 and Q5_1: as Q4_0 and Q4_1, with the fifth bits spread from one 32-bit word per row.

use std::arch::x86_64::*;

use super::block32::{self, Block};
use super::few::{self, Chunk};
use super::gather::fields;
use super::lanes::{each, gather_4, gather_half, part, pick_bytes, transpose_16, widen_two_halves};
use super::q4::nibbles;
use crate::ops::matmul::MatmulArgs;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn matmul_q5_0(args: &mut MatmulArgs<'_>) {
    if !args.is_long {
        return few::matmul::<22, 16, 1, 16>(args, |blocks| chunk_q5_0(blocks));
    }
    block32::matmul::<22, false>(args, |rows| {
        let low = nibbles(transpose_16(each(rows, |row| part(row, 6))));
        let quants = add_fifth_bits(gather_4(each(rows, |row| part(row, 2))), low);
        Block {
            quants: each(quants, |quants| _mm512_slli_epi16::<3>(quants)),
            scale: _mm512_mul_ps(gather_half(each(rows, |row| part(row, 0))), _mm512_set1_ps(1.0 / 8.0)),
            min: _mm512_setzero_ps(),
        }
    });
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn matmul_q5_1(args: &mut MatmulArgs<'_>) {
    if !args.is_long {
        return few::matmul::<24, 16, 1, { few::AFFINE }>(args, |blocks| chunk_q5_1(blocks));
    }
    block32::matmul::<24, true>(args, |rows| {
        let [scale, min] = widen_two_halves(gather_4(each(rows, |row| part(row, 0))));
        let low = nibbles(transpose_16(each(rows, |row| part(row, 8))));
        Block { quants: add_fifth_bits(gather_4(each(rows, |row| part(row, 4))), low), scale, min }
    });
}

/// Sixteen consecutive blocks of a row.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn chunk_q5_0(blocks: &[[u8; 22]; 16]) -> Chunk<1> {
    let low = nibbles(transpose_16(each(blocks.each_ref(), |block| part(block, 6))));
    Chunk {
        quants: add_fifth_bits(fields::<22, 2>(blocks), low),
        scales: [widen_two_halves(fields::<22, 0>(blocks))[0]],
        min: _mm512_setzero_ps(),
    }
}

/// As [`chunk_q5_0`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn chunk_q5_1(blocks: &[[u8; 24]; 16]) -> Chunk<1> {
    let [scale, min] = widen_two_halves(fields::<24, 0>(blocks));
    let low = nibbles(transpose_16(each(blocks.each_ref(), |block| part(block, 8))));
    Chunk { quants: add_fifth_bits(fields::<24, 4>(blocks), low), scales: [scale], min }
}

/// Sets bit 4 of the bytes of vector `c` where bits `4c..4c+4` of the lane's word are set.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn add_fifth_bits(words: __m512i, mut quants: [__m512i; 8]) -> [__m512i; 8] {
    for (byte, [first, second]) in quants.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        // The byte that holds the bits of both vectors in all bytes of the lane, of which each picks one bit.
        let bits = pick_bytes(words, [byte as i8; 4]);
        *first = set_bit_4(*first, bits, 0x0804_0201);
        *second = set_bit_4(*second, bits, 0x8040_2010u32.cast_signed());
    }
    quants
}

/// Sets bit 4 of those bytes of `x` in which `bits` has a bit of `mask`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn set_bit_4(x: __m512i, bits: __m512i, mask: i32) -> __m512i {
    let is_set = _mm512_test_epi8_mask(bits, _mm512_set1_epi32(mask));
    _mm512_mask_add_epi8(x, is_set, x, _mm512_set1_epi8(16))
}
