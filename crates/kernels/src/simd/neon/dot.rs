//! Products of signed bytes: with the instructions made for them, or without.
//!
//! A tier multiplies in one of three ways. Each has one step for a row and a token, whose sums are spread over the four lanes
//! in any way, and one for a unit of four rows and two tokens ([`super::layout`]). All are exact, so all give the same bits.

use std::arch::aarch64::*;
use std::arch::asm;

use super::lanes::each;
use super::layout::{Columns, Layout, Squares};

/// A way to multiply signed bytes. Bytes may be -128 on one side only.
pub(super) trait Dot {
    /// `sum` with the products of 16 pairs of bytes added to any of its lanes.
    fn dot(sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t;

    /// From how many tokens on arranged weights ([`super::panels`]) take fewer instructions than [`super::tiles`].
    const PANELS_FROM: usize;

    /// Whether the sums of four units fit into the registers.
    const WIDE: bool;

    /// Where a unit's operands and results stand.
    type Layout: Layout;

    /// The sums of a unit on the way.
    type Sums: Copy;

    /// Sums of nothing.
    fn zero() -> Self::Sums;

    /// Adds the products of eight bytes of each row and each token.
    fn add_8(sums: Self::Sums, rows: [int8x16_t; 2], tokens: int8x16_t) -> Self::Sums;

    /// Adds the products of 16 bytes of each row and each token.
    #[inline(always)]
    fn add_16(sums: Self::Sums, [a, b, c, d]: [int8x16_t; 4], [first, last]: [int8x16_t; 2]) -> Self::Sums {
        Self::add_8(Self::add_8(sums, [a, b], first), [c, d], last)
    }

    /// The unit of the sums.
    fn total(sums: Self::Sums) -> [int32x4_t; 2];
}

/// The matrix instruction `smmla`, and `sdot` for a single token. Only for tables that are handed out to processors that
/// have both.
pub(super) enum Smmla {}

impl Dot for Smmla {
    const PANELS_FROM: usize = 4;
    const WIDE: bool = true;
    type Layout = Squares;
    type Sums = [int32x4_t; 2];

    #[inline(always)]
    fn dot(sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
        Sdot::dot(sum, a, b)
    }

    #[inline(always)]
    fn zero() -> [int32x4_t; 2] {
        Sdot::zero()
    }

    #[inline(always)]
    fn add_8([first, last]: [int32x4_t; 2], rows: [int8x16_t; 2], tokens: int8x16_t) -> [int32x4_t; 2] {
        [smmla(first, rows[0], tokens), smmla(last, rows[1], tokens)]
    }

    #[inline(always)]
    fn total(sums: [int32x4_t; 2]) -> [int32x4_t; 2] {
        sums
    }
}

/// Adds the products of two rows of eight bytes and two tokens of eight bytes.
#[inline(always)]
fn smmla(mut sum: int32x4_t, rows: int8x16_t, tokens: int8x16_t) -> int32x4_t {
    // The directive lets the assembler know the instruction without a `#[target_feature]` on all callers.
    // SAFETY: `super::KERNELS_I8MM` leaves the module only if `has_smmla` found the instruction, which reads and writes
    // only the named registers.
    unsafe {
        asm!(
            ".arch_extension i8mm",
            "smmla {sum:v}.4s, {rows:v}.16b, {tokens:v}.16b",
            sum = inout(vreg) sum,
            rows = in(vreg) rows,
            tokens = in(vreg) tokens,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// The `sdot` instruction. Only for tables that are handed out to processors that have it.
pub(super) enum Sdot {}

impl Dot for Sdot {
    const PANELS_FROM: usize = 8;
    const WIDE: bool = true;
    type Layout = Columns;
    type Sums = [int32x4_t; 2];

    #[inline(always)]
    fn dot(mut sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
        // SAFETY: `super::KERNELS` and `super::KERNELS_I8MM` leave the module only if `has_sdot` found the instruction,
        // which reads and writes only the named registers.
        unsafe {
            asm!(
                ".arch_extension dotprod",
                "sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b",
                sum = inout(vreg) sum,
                a = in(vreg) a,
                b = in(vreg) b,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        sum
    }

    #[inline(always)]
    fn zero() -> [int32x4_t; 2] {
        // SAFETY: a tier's code runs only where NEON is there.
        unsafe { [vdupq_n_s32(0); 2] }
    }

    #[inline(always)]
    fn add_8([first, last]: [int32x4_t; 2], rows: [int8x16_t; 2], tokens: int8x16_t) -> [int32x4_t; 2] {
        let first = sdot_lane::<1>(sdot_lane::<0>(first, rows[0], tokens), rows[1], tokens);
        let last = sdot_lane::<3>(sdot_lane::<2>(last, rows[0], tokens), rows[1], tokens);
        [first, last]
    }

    #[inline(always)]
    fn total(sums: [int32x4_t; 2]) -> [int32x4_t; 2] {
        sums
    }
}

/// Adds to each lane the products of its four bytes in `rows` and the four in lane `LANE` of `tokens`.
#[inline(always)]
fn sdot_lane<const LANE: u32>(mut sum: int32x4_t, rows: int8x16_t, tokens: int8x16_t) -> int32x4_t {
    // SAFETY: as in `Sdot::dot`.
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "sdot {sum:v}.4s, {rows:v}.16b, {tokens:v}.4b[{lane}]",
            sum = inout(vreg) sum,
            rows = in(vreg) rows,
            tokens = in(vreg) tokens,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// Multiplication to 16 bits, which hold two products (2 * 128 * 127 < 2^15), then addition of neighbours to 32.
pub(super) enum Widening {}

impl Dot for Widening {
    const PANELS_FROM: usize = 17;
    const WIDE: bool = false;
    type Layout = Squares;
    /// Per result a vector whose lanes are still to be summed.
    type Sums = [[int32x4_t; 4]; 2];

    #[inline(always)]
    fn dot(sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
        // SAFETY: vectors are made only where NEON is there.
        unsafe { vpadalq_s16(sum, vmlal_high_s8(vmull_s8(vget_low_s8(a), vget_low_s8(b)), a, b)) }
    }

    #[inline(always)]
    fn zero() -> [[int32x4_t; 4]; 2] {
        // SAFETY: a tier's code runs only where NEON is there.
        unsafe { [[vdupq_n_s32(0); 4]; 2] }
    }

    #[inline(always)]
    fn add_8(sums: [[int32x4_t; 4]; 2], rows: [int8x16_t; 2], tokens: int8x16_t) -> [[int32x4_t; 4]; 2] {
        // SAFETY: vectors are made only where NEON is there.
        unsafe {
            let swapped = vextq_s8::<8>(tokens, tokens);
            let add = |[a, b, c, d]: [int32x4_t; 4], rows: int8x16_t| {
                let low = vget_low_s8(rows);
                [
                    vpadalq_s16(a, vmull_s8(low, vget_low_s8(tokens))),
                    vpadalq_s16(b, vmull_s8(low, vget_low_s8(swapped))),
                    vpadalq_s16(c, vmull_high_s8(rows, swapped)),
                    vpadalq_s16(d, vmull_high_s8(rows, tokens)),
                ]
            };
            [add(sums[0], rows[0]), add(sums[1], rows[1])]
        }
    }

    #[inline(always)]
    fn add_16(sums: [[int32x4_t; 4]; 2], rows: [int8x16_t; 4], tokens: [int8x16_t; 2]) -> [[int32x4_t; 4]; 2] {
        // SAFETY: vectors are made only where NEON is there.
        unsafe {
            let swapped = [vextq_s8::<8>(tokens[0], tokens[0]), vextq_s8::<8>(tokens[1], tokens[1])];
            let low = |rows: [int8x16_t; 2], tokens: [int8x16_t; 2]| {
                let first = vmull_s8(vget_low_s8(rows[0]), vget_low_s8(tokens[0]));
                vmlal_s8(first, vget_low_s8(rows[1]), vget_low_s8(tokens[1]))
            };
            let high = |rows: [int8x16_t; 2], tokens: [int8x16_t; 2]| {
                vmlal_high_s8(vmull_high_s8(rows[0], tokens[0]), rows[1], tokens[1])
            };
            let add = |[a, b, c, d]: [int32x4_t; 4], rows: [int8x16_t; 2]| {
                [
                    vpadalq_s16(a, low(rows, tokens)),
                    vpadalq_s16(b, low(rows, swapped)),
                    vpadalq_s16(c, high(rows, swapped)),
                    vpadalq_s16(d, high(rows, tokens)),
                ]
            };
            [add(sums[0], [rows[0], rows[2]]), add(sums[1], [rows[1], rows[3]])]
        }
    }

    #[inline(always)]
    fn total([rows_01, rows_23]: [[int32x4_t; 4]; 2]) -> [int32x4_t; 2] {
        // SAFETY: vectors are made only where NEON is there.
        unsafe { [sum_lanes(rows_01), sum_lanes(rows_23)] }
    }
}

/// The sums of the lanes of four vectors, one vector per lane.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn sum_lanes([a, b, c, d]: [int32x4_t; 4]) -> int32x4_t {
    vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d))
}

/// The dot products of 32 quants of four rows and 32 activation quants.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn dot_rows<D: Dot>(rows: &[[int8x16_t; 2]; 4], [low, high]: [int8x16_t; 2]) -> int32x4_t {
    sum_lanes(each(*rows, |row| D::dot(D::dot(vdupq_n_s32(0), row[0], low), row[1], high)))
}

#[cfg(test)]
mod tests {
    use super::super::layout::pair_tokens;
    use super::*;
    use crate::simd::neon::cpu::{has_sdot, has_smmla};
    use crate::simd::neon::lanes;

    fn exact(a: [i8; 16], b: [i8; 16]) -> i32 {
        a.iter().zip(b).map(|(&a, b)| i32::from(a) * i32::from(b)).sum()
    }

    #[target_feature(enable = "neon")]
    fn load(x: [i8; 16]) -> int8x16_t {
        vreinterpretq_s8_u8(lanes::load_16(&x.map(i8::cast_unsigned)))
    }

    /// One token by one row, then four rows by two tokens, of which the first eight bytes count twice.
    #[target_feature(enable = "neon")]
    fn check<D: Dot>(rows: [[i8; 16]; 4], tokens: [[i8; 16]; 2]) {
        assert_eq!(vaddvq_s32(D::dot(vdupq_n_s32(-5), load(rows[0]), load(tokens[0]))), exact(rows[0], tokens[0]) - 20);
        let (rows_16, tokens_16) = (each(rows, |row| load(row)), pair_tokens([load(tokens[0]), load(tokens[1])]));
        let arranged = D::Layout::arrange_16(rows_16);
        let sums = D::add_16(D::zero(), arranged, tokens_16);
        let [a, b] = D::total(D::add_8(sums, [arranged[0], arranged[1]], tokens_16[0]));
        let sums = D::Layout::by_token([vcvtq_f32_s32(a), vcvtq_f32_s32(b)]);
        for (sums, token) in sums.into_iter().zip(tokens) {
            let mut lanes = [0.0; 4];
            lanes::store_f32(sums, &mut lanes);
            let first = |x: [i8; 16]| std::array::from_fn(|i| if i < 8 { x[i] } else { 0 });
            assert_eq!(lanes, rows.map(|row| (exact(row, token) + exact(first(row), token)) as f32));
        }
    }

    #[test]
    fn all_ways_give_the_exact_sum() {
        let ramp: [i8; 16] = std::array::from_fn(|i| (i as i16 * 16 - 127) as i8);
        let back: [i8; 16] = std::array::from_fn(|i| (100 - i as i16 * 7) as i8);
        for tokens in [[[127; 16], ramp], [back, [1; 16]], [[-127; 16], back]] {
            let rows = [ramp, [-128; 16], [127; 16], back];
            // SAFETY: tests run only where the architecture's base is there.
            unsafe { check::<Widening>(rows, tokens) };
            if has_sdot() {
                // SAFETY: the processor has the instruction.
                unsafe { check::<Sdot>(rows, tokens) };
            }
            if has_smmla() {
                // SAFETY: as above.
                unsafe { check::<Smmla>(rows, tokens) };
            }
        }
    }
}
