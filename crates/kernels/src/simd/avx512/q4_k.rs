//! Q4_K: nibbles and 6-bit scales of sixteen rows, unpacked in lanes.

use std::arch::x86_64::*;

use super::lanes::{Rows, ZERO, each, part, pick_bytes, transpose_16, transpose_32, widen_two_halves};
use super::q4::{high, low};
use super::super_block::{self, Panel};
use crate::ops::MatmulArgs;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn matmul(args: &mut MatmulArgs<'_>) {
    super_block::matmul::<144, 8>(args, |rows, panel| {
        unpack_scales(each(rows, |row| part(row, 0)), panel);
        for (i, pair) in panel.quants.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let bytes = transpose_32(each(rows, |row| part(row, 16 + 32 * i)));
            for c in 0..8 {
                pair[0][c] = low(bytes[c]);
                pair[1][c] = high(bytes[c]);
            }
        }
    });
}

/// Unpacks the 16 bytes that open a Q4_K or Q5_K block: `f16 d, f16 dmin` and twelve bytes of scales and minima.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn unpack_scales(rows: Rows<&[u8; 16]>, panel: &mut Panel<8>) {
    let [halves, scales, mins, both] = transpose_16(rows);
    [panel.d, panel.dmin] = widen_two_halves(halves);
    let (six, two) = (_mm512_set1_epi8(63), _mm512_set1_epi8(0x30));
    let top = |bytes| _mm512_and_si512(_mm512_srli_epi16::<2>(bytes), two);
    let scales = [_mm512_and_si512(scales, six), _mm512_or_si512(low(both), top(scales))];
    let mins = [_mm512_and_si512(mins, six), _mm512_or_si512(high(both), top(mins))];
    for g in 0..8 {
        let byte = g as i8 % 4;
        panel.scales[g] = pick_bytes(scales[g / 4], [byte, ZERO, ZERO, ZERO]);
        panel.mins[g] = pick_bytes(mins[g / 4], [byte, ZERO, byte, ZERO]);
    }
}
