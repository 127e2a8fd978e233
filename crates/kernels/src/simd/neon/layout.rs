//! Where the numbers of four rows and two tokens stand in vectors.
//!
//! A *unit* is the product of four rows and two tokens: eight numbers in two vectors. [`Squares`] has rows 0 and 1 by both
//! tokens in the first vector and rows 2 and 3 in the second, as the matrix instruction writes them. [`Columns`] has a
//! vector per token with one row per lane. Both read eight consecutive quants of two tokens from one vector
//! ([`pair_tokens`]).

use std::arch::aarch64::*;

use super::lanes::{each, transpose};

/// An arrangement of the operands and the results of a unit.
pub(super) trait Layout {
    /// Arranges 16 bytes of each of four rows: the first two vectors have the first eight of each.
    fn arrange_16(rows: [int8x16_t; 4]) -> [int8x16_t; 4];

    /// Arranges eight bytes of each of four rows, which come as the first and the last four with one row per lane.
    fn arrange_8(words: [int8x16_t; 2]) -> [int8x16_t; 2];

    /// Brings the 32 bits of each row, one row per lane, to the places of that row's results.
    fn per_row(bits: uint32x4_t) -> [uint32x4_t; 2];

    /// Brings the 32 bits of each token to the places of that token's results.
    fn per_token(bits: [u32; 2]) -> [uint32x4_t; 2];

    /// The results of each token, one row per lane.
    fn by_token(unit: [float32x4_t; 2]) -> [float32x4_t; 2];
}

/// [`Layout::per_row`] of floats.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn floats_per_row<L: Layout>(x: float32x4_t) -> [float32x4_t; 2] {
    let [a, b] = L::per_row(vreinterpretq_u32_f32(x));
    [vreinterpretq_f32_u32(a), vreinterpretq_f32_u32(b)]
}

/// [`Layout::per_row`] of integers.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn integers_per_row<L: Layout>(x: int32x4_t) -> [int32x4_t; 2] {
    let [a, b] = L::per_row(vreinterpretq_u32_s32(x));
    [vreinterpretq_s32_u32(a), vreinterpretq_s32_u32(b)]
}

/// [`Layout::per_token`] of floats.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn floats_per_token<L: Layout>([a, b]: [f32; 2]) -> [float32x4_t; 2] {
    let [a, b] = L::per_token([a.to_bits(), b.to_bits()]);
    [vreinterpretq_f32_u32(a), vreinterpretq_f32_u32(b)]
}

/// The first eight bytes of both tokens, then the last eight.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn pair_tokens([a, b]: [int8x16_t; 2]) -> [int8x16_t; 2] {
    let (a, b) = (vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b));
    [vreinterpretq_s8_s64(vzip1q_s64(a, b)), vreinterpretq_s8_s64(vzip2q_s64(a, b))]
}

/// Two rows by two tokens in a vector, the row's results side by side.
pub(super) enum Squares {}

impl Layout for Squares {
    #[inline(always)]
    fn arrange_16([a, b, c, d]: [int8x16_t; 4]) -> [int8x16_t; 4] {
        // SAFETY: vectors are made only where NEON is there.
        unsafe {
            let ([ab_0, ab_1], [cd_0, cd_1]) = (pair_tokens([a, b]), pair_tokens([c, d]));
            [ab_0, cd_0, ab_1, cd_1]
        }
    }

    #[inline(always)]
    fn arrange_8([first, last]: [int8x16_t; 2]) -> [int8x16_t; 2] {
        // SAFETY: vectors are made only where NEON is there.
        unsafe {
            let (first, last) = (vreinterpretq_s32_s8(first), vreinterpretq_s32_s8(last));
            [vreinterpretq_s8_s32(vzip1q_s32(first, last)), vreinterpretq_s8_s32(vzip2q_s32(first, last))]
        }
    }

    #[inline(always)]
    fn per_row(bits: uint32x4_t) -> [uint32x4_t; 2] {
        // SAFETY: vectors are made only where NEON is there.
        unsafe { [vzip1q_u32(bits, bits), vzip2q_u32(bits, bits)] }
    }

    #[inline(always)]
    fn per_token([a, b]: [u32; 2]) -> [uint32x4_t; 2] {
        // SAFETY: a tier's code runs only where NEON is there.
        let both = unsafe { vreinterpretq_u32_u64(vdupq_n_u64(u64::from(a) | u64::from(b) << 32)) };
        [both, both]
    }

    #[inline(always)]
    fn by_token([rows_01, rows_23]: [float32x4_t; 2]) -> [float32x4_t; 2] {
        // SAFETY: vectors are made only where NEON is there.
        unsafe { [vuzp1q_f32(rows_01, rows_23), vuzp2q_f32(rows_01, rows_23)] }
    }
}

/// A vector per token, one row per lane.
pub(super) enum Columns {}

impl Layout for Columns {
    #[inline(always)]
    fn arrange_16(rows: [int8x16_t; 4]) -> [int8x16_t; 4] {
        // SAFETY: vectors are made only where NEON is there.
        unsafe {
            let columns = transpose(each(rows, |row| vreinterpretq_u32_s8(row)));
            each(columns, |words| vreinterpretq_s8_u32(words))
        }
    }

    #[inline(always)]
    fn arrange_8(words: [int8x16_t; 2]) -> [int8x16_t; 2] {
        words
    }

    #[inline(always)]
    fn per_row(bits: uint32x4_t) -> [uint32x4_t; 2] {
        [bits, bits]
    }

    #[inline(always)]
    fn per_token([a, b]: [u32; 2]) -> [uint32x4_t; 2] {
        // SAFETY: a tier's code runs only where NEON is there.
        unsafe { [vdupq_n_u32(a), vdupq_n_u32(b)] }
    }

    #[inline(always)]
    fn by_token(unit: [float32x4_t; 2]) -> [float32x4_t; 2] {
        unit
    }
}
