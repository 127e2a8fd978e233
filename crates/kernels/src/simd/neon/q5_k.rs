//! Q5_K: as Q4_K, with the fifth bits of all runs in 32 bytes.

use std::arch::aarch64::*;

use super::dot::Dot;
use super::lanes::{each, load_32, part};
use super::q4::high;
use super::q4_k::header;
use super::super_block;
use crate::ops::matmul::MatmulArgs;

#[target_feature(enable = "neon")]
pub(super) fn matmul<D: Dot>(args: &mut MatmulArgs<'_>) {
    super_block::matmul::<D, 176, 8>(
        args,
        |rows| header(each(rows, |row| part(row, 0))),
        |rows, half, run| {
            each(rows, |row| {
                let [fifth_0, fifth_1] = load_32(part(row, 16));
                let [nibbles_0, nibbles_1] = load_32(part(row, 48 + 64 * half + 32 * (run / 2)));
                let fifth = |bits| vshlq_u8(bits, vdupq_n_s8(-(4 * half as i8 + run as i8)));
                [join(nibbles_0, fifth(fifth_0), run), join(nibbles_1, fifth(fifth_1), run)]
            })
        },
    );
}

/// The nibbles of an even (lower halves) or odd run under the lowest bits of `fifth`.
#[inline]
#[target_feature(enable = "neon")]
fn join(nibbles: uint8x16_t, fifth: uint8x16_t, run: usize) -> int8x16_t {
    let low = if run.is_multiple_of(2) { nibbles } else { high(nibbles) };
    vreinterpretq_s8_u8(vandq_u8(vsliq_n_u8::<4>(low, fifth), vdupq_n_u8(31)))
}
