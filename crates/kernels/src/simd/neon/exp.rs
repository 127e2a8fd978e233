//! `exp` of four numbers.
//!
//! The argument is split into `n ln 2 + r` with `|r| <= ln 2 / 2`; a Taylor polynomial of degree 7 gives `exp(r)` (its
//! remainder, 2.1e-4 / 8!, is a tenth of a unit in the last place) and `2^n` is applied as two factors, so that results
//! pass gradually into subnormal numbers, zero and infinity. At most 2 units in the last place off. NaN stays NaN.

use std::arch::aarch64::*;

/// `exp` of every lane.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn exp(x: float32x4_t) -> float32x4_t {
    // Beyond these bounds the result is 0 or infinite anyway. The instructions keep NaN.
    let x = vminq_f32(vdupq_n_f32(90.0), vmaxq_f32(vdupq_n_f32(-105.0), x));
    let n = vrndnq_f32(vmulq_n_f32(x, std::f32::consts::LOG2_E));
    // ln 2 in two parts, the first with trailing zeros so that n times it is exact (Cephes, expf.c).
    let r = vfmsq_n_f32(x, n, 0.693_359_4);
    let r = vfmsq_n_f32(r, n, -2.121_944_4e-4);
    let mut y = vdupq_n_f32(1.0 / 5040.0);
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        y = vfmaq_f32(vdupq_n_f32(coefficient), y, r);
    }
    let n = vcvtq_s32_f32(n);
    let half = vshrq_n_s32::<1>(n);
    vmulq_f32(vmulq_f32(y, power_of_two(half)), power_of_two(vsubq_s32(n, half)))
}

/// `2^n` for `n` in -126..=127.
#[inline]
#[target_feature(enable = "neon")]
fn power_of_two(n: int32x4_t) -> float32x4_t {
    vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(n, vdupq_n_s32(127))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exp_of(x: f32) -> f32 {
        // SAFETY: NEON belongs to the architecture's base.
        unsafe { vgetq_lane_f32::<3>(exp(vdupq_n_f32(x))) }
    }

    /// The distance of `got` from the exact value in units in the last place of f32.
    fn units_off(x: f32, got: f32) -> f64 {
        let want = f64::from(x).exp();
        let exponent = (want as f32).max(f32::MIN_POSITIVE).log2().floor() as i32;
        (f64::from(got) - want).abs() / 2f64.powi(exponent - 23)
    }

    #[test]
    fn is_within_two_units_over_the_whole_range() {
        for i in -104_000..88_700 {
            let x = i as f32 * 0.001 + 0.000_37;
            let got = exp_of(x);
            assert!(units_off(x, got) <= 2.0, "{x}: {got}");
        }
    }

    #[test]
    fn handles_the_ends_of_the_range() {
        assert_eq!([0.0, -0.0, f32::NEG_INFINITY, -1e30, -105.0].map(exp_of), [1.0, 1.0, 0.0, 0.0, 0.0]);
        assert_eq!([f32::INFINITY, 1e30, 88.73].map(exp_of), [f32::INFINITY; 3]);
        assert!(exp_of(f32::NAN).is_nan());
        assert!(exp_of(88.72) < f32::INFINITY);
    }
}
