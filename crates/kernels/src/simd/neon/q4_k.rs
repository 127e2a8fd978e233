//! Q4_K: nibbles, and 6-bit scales and minima.

use std::arch::aarch64::*;

use super::dot::Dot;
use super::lanes::{each, load_16, load_32, part, transpose, widen_two_halves};
use super::q4::{high, low};
use super::super_block::{self, Header};
use crate::ops::matmul::MatmulArgs;

#[target_feature(enable = "neon")]
pub(super) fn matmul<D: Dot>(args: &mut MatmulArgs<'_>) {
    super_block::matmul::<D, 144, 8>(
        args,
        |rows| header(each(rows, |row| part(row, 0))),
        |rows, half, run| {
            each(rows, |row| {
                let [first, second] = load_32(part(row, 16 + 64 * half + 32 * (run / 2)));
                let nibbles = |bytes| if run.is_multiple_of(2) { low(bytes) } else { high(bytes) };
                [vreinterpretq_s8_u8(nibbles(first)), vreinterpretq_s8_u8(nibbles(second))]
            })
        },
    );
}

/// Unpacks the 16 bytes that open a Q4_K or Q5_K block: `f16 d, f16 dmin` and twelve bytes of scales and minima.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn header(rows: [&[u8; 16]; 4]) -> Header<8> {
    let [halves, scales, mins, both] = transpose(each(rows, |row| vreinterpretq_u32_u8(load_16(row))));
    let [d, dmin] = widen_two_halves(halves);
    let both = vreinterpretq_u8_u32(both);
    let scales = six_bits(vreinterpretq_u8_u32(scales), low(both));
    let mins = six_bits(vreinterpretq_u8_u32(mins), high(both));
    let [s0, s1, s2, s3] = bytes_of_lanes(scales[0]);
    let [s4, s5, s6, s7] = bytes_of_lanes(scales[1]);
    Header { d, scales: [s0, s1, s2, s3, s4, s5, s6, s7], minus_dmin: vnegq_f32(dmin), mins }
}

/// The numbers of groups 0-3 are the low six bits of `first`, those of groups 4-7 the nibbles `low_of_last` under the
/// two bits that are left.
#[inline]
#[target_feature(enable = "neon")]
fn six_bits(first: uint8x16_t, low_of_last: uint8x16_t) -> [uint8x16_t; 2] {
    let top = vandq_u8(vshrq_n_u8::<2>(first), vdupq_n_u8(0x30));
    [vandq_u8(first, vdupq_n_u8(63)), vorrq_u8(low_of_last, top)]
}

/// Vector `i` of the result has byte `i` of every lane.
#[inline]
#[target_feature(enable = "neon")]
fn bytes_of_lanes(bytes: uint8x16_t) -> [int32x4_t; 4] {
    let words = vreinterpretq_u32_u8(bytes);
    let last = |words| vandq_u32(words, vdupq_n_u32(255));
    let bytes = [last(words), last(vshrq_n_u32::<8>(words)), last(vshrq_n_u32::<16>(words)), vshrq_n_u32::<24>(words)];
    each(bytes, |bytes| vreinterpretq_s32_u32(bytes))
}
