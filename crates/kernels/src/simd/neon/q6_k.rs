//! Q6_K: nibbles and upper bit pairs, with a signed scale per 16 weights.
//!
//! Quants are kept less 32 and times 4: then the bit pair, its upper bit flipped, is at the top of a signed byte and
//! leaves no room for bits that would have to be masked off.

use std::arch::aarch64::*;

use super::dot::Dot;
use super::lanes::{each, gather_half, load_16, load_32, part, transpose};
use super::super_block::{self, Header};
use crate::ops::matmul::MatmulArgs;

#[target_feature(enable = "neon")]
pub(super) fn matmul<D: Dot>(args: &mut MatmulArgs<'_>) {
    super_block::matmul::<D, 210, 16>(
        args,
        |rows| Header {
            d: vmulq_n_f32(gather_half(each(rows, |row| part(row, 208))), 0.25),
            scales: scales(each(rows, |row| part(row, 192))),
            minus_dmin: vdupq_n_f32(0.0),
            mins: [vdupq_n_u8(0); 2],
        },
        |rows, half, run| {
            each(rows, |row| {
                let nibbles = load_32(part(row, 64 * half + 32 * (run % 2)));
                let pairs = load_32(part(row, 128 + 32 * half));
                [centred_quants(nibbles[0], pairs[0], run), centred_quants(nibbles[1], pairs[1], run)]
            })
        },
    );
}

/// Sixteen quants of run `run` of a half, less 32 and times 4.
#[inline]
#[target_feature(enable = "neon")]
fn centred_quants(nibbles: uint8x16_t, pairs: uint8x16_t, run: usize) -> int8x16_t {
    let low = if run < 2 { vshlq_n_u8::<2>(nibbles) } else { vandq_u8(vshrq_n_u8::<2>(nibbles), vdupq_n_u8(0x3C)) };
    let flipped = veorq_u8(pairs, vdupq_n_u8(0xAA));
    let pair = vshlq_u8(flipped, vdupq_n_s8(-2 * run as i8));
    vreinterpretq_s8_u8(vsliq_n_u8::<6>(low, pair))
}

/// The sixteen scales of four rows, one row per lane.
#[inline]
#[target_feature(enable = "neon")]
fn scales(rows: [&[u8; 16]; 4]) -> [int32x4_t; 16] {
    let words = transpose(each(rows, |row| vreinterpretq_u32_u8(load_16(row))));
    let mut scales = [vdupq_n_s32(0); 16];
    for (four, words) in scales.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        let words = vreinterpretq_s32_u32(words);
        let shifted = [vshlq_n_s32::<24>(words), vshlq_n_s32::<16>(words), vshlq_n_s32::<8>(words), words];
        *four = each(shifted, |words| vshrq_n_s32::<24>(words));
    }
    scales
}
