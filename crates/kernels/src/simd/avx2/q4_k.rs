//! Q4_K: nibbles and 6-bit scales of eight rows, unpacked in lanes.

use std::arch::x86_64::*;

use super::lanes::{gather_4, gather_two_halves, part, transpose_32};
use super::q4::{high, low};
use super::super_block::{self, Panel, UNSIGNED_4};
use crate::ops::MatmulArgs;

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn matmul(args: &mut MatmulArgs<'_>) {
    super_block::matmul::<144, UNSIGNED_4>(args, |rows, panel| {
        unpack_scales(rows.map(|row| part(row, 0)), panel);
        for (i, pair) in panel.quants.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let bytes = transpose_32(rows.map(|row| part(row, 16 + 32 * i)));
            *pair = [bytes.map(|b| low(b)), bytes.map(|b| high(b))];
        }
    });
}

/// Unpacks the 16 bytes that open a Q4_K or Q5_K block: `f16 d, f16 dmin` and twelve bytes of scales and minima.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn unpack_scales(rows: [&[u8; 16]; 8], panel: &mut Panel) {
    [panel.d, panel.dmin] = gather_two_halves(rows.map(|row| part(row, 0)));
    let scales = gather_4(rows.map(|row| part(row, 4)));
    let mins = gather_4(rows.map(|row| part(row, 8)));
    let both = gather_4(rows.map(|row| part(row, 12)));
    let six = _mm256_set1_epi8(63);
    let two = _mm256_set1_epi8(0x30);
    let top = |bytes| _mm256_and_si256(_mm256_srli_epi16::<2>(bytes), two);
    let scales = [_mm256_and_si256(scales, six), _mm256_or_si256(low(both), top(scales))];
    let mins = [_mm256_and_si256(mins, six), _mm256_or_si256(high(both), top(mins))];
    for g in 0..8 {
        panel.scales[g] = byte_as_pair(scales[g / 4], g % 4);
        panel.mins[g] = byte_as_pair(mins[g / 4], g % 4);
    }
}

/// Byte `at` of every lane as a pair of equal 16-bit numbers.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn byte_as_pair(bytes: __m256i, at: usize) -> __m256i {
    let at = at as i8;
    let order = |lane: i8| lane + at;
    let (a, b, c, d) = (order(0), order(4), order(8), order(12));
    let order = _mm_setr_epi8(a, -1, a, -1, b, -1, b, -1, c, -1, c, -1, d, -1, d, -1);
    _mm256_shuffle_epi8(bytes, _mm256_broadcastsi128_si256(order))
}
