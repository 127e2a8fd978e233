//! Q4_0 and Q4_1: nibbles.

use std::arch::aarch64::*;

use super::block32::{self, AFFINE, Block, SYMMETRIC};
use super::dot::Dot;
use super::lanes::{each, gather_4, gather_half, load_16, part, widen_two_halves};
use crate::ops::matmul::MatmulArgs;

#[target_feature(enable = "neon")]
pub(super) fn matmul_q4_0<D: Dot>(args: &mut MatmulArgs<'_>) {
    block32::matmul::<D, 18, SYMMETRIC>(args, |rows| Block {
        quants: each(rows, |row| centred_nibbles(part(row, 2))),
        scale: vmulq_n_f32(gather_half(each(rows, |row| part(row, 0))), 1.0 / 16.0),
        min: vdupq_n_f32(0.0),
    });
}

#[target_feature(enable = "neon")]
pub(super) fn matmul_q4_1<D: Dot>(args: &mut MatmulArgs<'_>) {
    block32::matmul::<D, 20, AFFINE>(args, |rows| {
        let [scale, min] = widen_two_halves(gather_4(each(rows, |row| part(row, 0))));
        let quants = each(rows, |row| {
            let bytes = load_16(part(row, 4));
            [vreinterpretq_s8_u8(low(bytes)), vreinterpretq_s8_u8(high(bytes))]
        });
        Block { quants, scale, min }
    });
}

/// The low halves of the bytes, then the high ones, each less 8 and times 16: with bit 3 flipped, a half in the upper
/// bits of a signed byte is just that.
#[inline]
#[target_feature(enable = "neon")]
fn centred_nibbles(bytes: &[u8; 16]) -> [int8x16_t; 2] {
    let flipped = veorq_u8(load_16(bytes), vdupq_n_u8(0x88));
    let (low, high) = (vshlq_n_u8::<4>(flipped), vandq_u8(flipped, vdupq_n_u8(0xF0)));
    [vreinterpretq_s8_u8(low), vreinterpretq_s8_u8(high)]
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn low(bytes: uint8x16_t) -> uint8x16_t {
    vandq_u8(bytes, vdupq_n_u8(15))
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn high(bytes: uint8x16_t) -> uint8x16_t {
    vshrq_n_u8::<4>(bytes)
}
