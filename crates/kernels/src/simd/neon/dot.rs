//! Dot products of signed bytes: with the instruction made for them, or without.
//!
//! How the products of 16 bytes are spread over the four lanes differs between the two; the sum of the lanes, which is
//! all that callers use, does not.

use std::arch::aarch64::*;
use std::arch::asm;

use super::lanes::each;

/// A way to add the products of 16 pairs of signed bytes to the sum of four lanes.
pub(super) trait Dot {
    /// `sum` with the products added. Bytes may be -128 on one side only.
    fn dot(sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t;
}

/// The `sdot` instruction. Only for tables that are handed out to processors that have it.
pub(super) enum Sdot {}

impl Dot for Sdot {
    #[inline(always)]
    fn dot(mut sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
        // The directive lets the assembler know the instruction without a `#[target_feature]` on all callers.
        // SAFETY: `super::KERNELS` leaves the module only if `has_sdot` found the instruction, which reads and writes
        // only the named registers.
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
}

/// Multiplication to 16 bits, then addition of neighbours to 32.
pub(super) enum Widening {}

impl Dot for Widening {
    #[inline(always)]
    fn dot(sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
        // SAFETY: vectors are made and this tier's tables are handed out only where NEON is there.
        unsafe {
            let low = vmull_s8(vget_low_s8(a), vget_low_s8(b));
            let high = vmull_high_s8(a, b);
            vpadalq_s16(vpadalq_s16(sum, low), high)
        }
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
    use super::*;
    use crate::simd::neon::{has_sdot, lanes};

    #[target_feature(enable = "neon")]
    fn sum<D: Dot>(a: [i8; 16], b: [i8; 16]) -> i32 {
        let load = |x: [i8; 16]| vreinterpretq_s8_u8(lanes::load_16(&x.map(i8::cast_unsigned)));
        vaddvq_s32(D::dot(vdupq_n_s32(-5), load(a), load(b)))
    }

    #[test]
    fn both_ways_give_the_exact_sum() {
        let ramp: [i8; 16] = std::array::from_fn(|i| (i as i16 * 16 - 127) as i8);
        for (a, b) in [(ramp, ramp), ([-128; 16], [127; 16]), ([127; 16], [-127; 16]), (ramp, [1; 16])] {
            let want: i32 = -20 + a.iter().zip(b).map(|(&a, b)| i32::from(a) * i32::from(b)).sum::<i32>();
            // SAFETY: tests run only where the architecture's base is there.
            assert_eq!(unsafe { sum::<Widening>(a, b) }, want);
            if has_sdot() {
                // SAFETY: as above.
                assert_eq!(unsafe { sum::<Sdot>(a, b) }, want);
            }
        }
    }
}
