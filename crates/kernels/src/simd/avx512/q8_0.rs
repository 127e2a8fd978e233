//! Q8_0: signed bytes of sixteen rows, made unsigned by an offset of 128.

use std::arch::x86_64::*;

use super::block32::{self, Block};
use super::lanes::{each, gather_half, part, transpose_32};
use crate::ops::MatmulArgs;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn matmul(args: &mut MatmulArgs<'_>) {
    block32::matmul::<34, 128>(args, |rows| {
        let mut quants = transpose_32(each(rows, |row| part(row, 2)));
        for quants in &mut quants {
            *quants = _mm512_xor_si512(*quants, _mm512_set1_epi8(-128));
        }
        Block { quants, scale: gather_half(each(rows, |row| part(row, 0))), min: _mm512_setzero_ps() }
    });
}
