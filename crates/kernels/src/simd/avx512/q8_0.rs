//! Q8_0: signed bytes of sixteen rows, made unsigned by an offset of 128.

use std::arch::x86_64::*;

use super::block32::{self, Block};
use super::few::{self, Chunk};
use super::gather::fields;
use super::lanes::{each, gather_half, part, transpose_32, widen_two_halves};
use crate::ops::matmul::MatmulArgs;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn matmul(args: &mut MatmulArgs<'_>) {
    if !args.is_long {
        return few::matmul::<34, 16, 1, 128>(args, |blocks| chunk(blocks));
    }
    block32::matmul::<34, false>(args, |rows| {
        let mut quants = transpose_32(each(rows, |row| part(row, 2)));
        for quants in &mut quants {
            *quants = _mm512_xor_si512(*quants, _mm512_set1_epi8(-128));
        }
        Block { quants, scale: gather_half(each(rows, |row| part(row, 0))), min: _mm512_setzero_ps() }
    });
}

/// Sixteen consecutive blocks of a row.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn chunk(blocks: &[[u8; 34]; 16]) -> Chunk<1> {
    let signed = transpose_32(each(blocks.each_ref(), |block| part(block, 2)));
    Chunk {
        quants: each(signed, |quants| _mm512_xor_si512(quants, _mm512_set1_epi8(-128))),
        scales: [widen_two_halves(fields::<34, 0>(blocks))[0]],
        min: _mm512_setzero_ps(),
    }
}
