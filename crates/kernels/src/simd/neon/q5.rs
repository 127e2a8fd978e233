//! Q5_0 and Q5_1: nibbles, with the fifth bits spread from one 32-bit word per row.
//!
//! Both keep quants less 16, which a nibble becomes by filling the upper half of its byte with the inverted fifth bit.

use std::arch::aarch64::*;

use super::block32::{self, AFFINE, Block, SYMMETRIC};
use super::dot::Dot;
use super::lanes::{each, gather_4, gather_half, load_16, part, widen_two_halves};
use super::q4::high;
use crate::ops::matmul::MatmulArgs;

#[target_feature(enable = "neon")]
pub(super) fn matmul_q5_0<D: Dot>(args: &mut MatmulArgs<'_>) {
    block32::matmul::<D, 22, SYMMETRIC>(args, |rows| Block {
        quants: each(rows, |row| centred_quants(part(row, 2), part(row, 6))),
        scale: gather_half(each(rows, |row| part(row, 0))),
        min: vdupq_n_f32(0.0),
    });
}

#[target_feature(enable = "neon")]
pub(super) fn matmul_q5_1<D: Dot>(args: &mut MatmulArgs<'_>) {
    block32::matmul::<D, 24, AFFINE>(args, |rows| {
        let [scale, min] = widen_two_halves(gather_4(each(rows, |row| part(row, 0))));
        Block {
            quants: each(rows, |row| centred_quants(part(row, 4), part(row, 8))),
            scale,
            min: vfmaq_n_f32(min, scale, 16.0),
        }
    });
}

/// The quants of a row, less 16.
#[inline]
#[target_feature(enable = "neon")]
fn centred_quants(fifth_bits: &[u8; 4], nibbles: &[u8; 16]) -> [int8x16_t; 2] {
    let clear = vreinterpretq_u8_u32(vdupq_n_u32(!u32::from_le_bytes(*fifth_bits)));
    let nibbles = load_16(nibbles);
    [join(nibbles, spread_bits::<0>(clear)), join(high(nibbles), spread_bits::<2>(clear))]
}

/// 0xFF in byte `i` if bit `i` of the 16 bits that start at byte `FIRST` is set, else 0.
#[inline]
#[target_feature(enable = "neon")]
fn spread_bits<const FIRST: u8>(word: uint8x16_t) -> uint8x16_t {
    let byte_of = vcombine_u8(vdup_n_u8(FIRST), vdup_n_u8(FIRST + 1));
    let bit_of = vreinterpretq_u8_u64(vdupq_n_u64(0x8040_2010_0804_0201));
    vtstq_u8(vqtbl1q_u8(word, byte_of), bit_of)
}

/// The lower halves of `low` under the lower halves of `high`.
#[inline]
#[target_feature(enable = "neon")]
fn join(low: uint8x16_t, high: uint8x16_t) -> int8x16_t {
    vreinterpretq_s8_u8(vsliq_n_u8::<4>(low, high))
}
