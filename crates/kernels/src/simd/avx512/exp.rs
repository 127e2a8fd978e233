//! `exp` of sixteen numbers.
//!
//! As [`super::super::avx2`]'s: the argument is split into `n ln 2 + r` with `|r| <= ln 2 / 2` and a Taylor polynomial of
//! degree 7 gives `exp(r)`. An instruction scales by `2^n`. At most 2 units in the last place off. NaN stays NaN. What would be
//! subnormal is 0: Intel's processors take a hundred cycles or more to produce a subnormal number, and to add one.

use std::arch::x86_64::*;

/// The least number whose result is not subnormal, rounded up.
const LEAST: f32 = -87.336_54;

/// `exp` of every lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn exp(x: __m512) -> __m512 {
    let is_normal = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(x, _mm512_set1_ps(LEAST));
    // Beyond these bounds the result is 0 or infinite anyway. `min` and `max` return their second operand for NaN.
    let x = _mm512_min_ps(_mm512_set1_ps(90.0), _mm512_max_ps(_mm512_set1_ps(LEAST), x));
    const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    let n = _mm512_roundscale_ps::<NEAREST>(_mm512_mul_ps(x, _mm512_set1_ps(std::f32::consts::LOG2_E)));
    // ln 2 in two parts, the first with trailing zeros so that n times it is exact (Cephes, expf.c).
    let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693_359_4), x);
    let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.121_944_4e-4), r);
    let mut y = _mm512_set1_ps(1.0 / 5040.0);
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(coefficient));
    }
    _mm512_maskz_scalef_ps(is_normal, y, n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::avx512::cpu::is_supported;
    use crate::simd::avx512::lanes;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn exp_of(x: f32) -> f32 {
        let mut out = [0.0; 16];
        lanes::store_f32(exp(_mm512_set1_ps(x)), &mut out);
        out[11]
    }

    /// The distance of `got` from the exact value in units in the last place of f32.
    fn units_off(x: f32, got: f32) -> f64 {
        let want = f64::from(x).exp();
        let exponent = (want as f32).max(f32::MIN_POSITIVE).log2().floor() as i32;
        (f64::from(got) - want).abs() / 2f64.powi(exponent - 23)
    }

    #[test]
    fn is_within_two_units_over_the_whole_range() {
        if !is_supported() {
            return;
        }
        for i in -87_336..88_700 {
            let x = i as f32 * 0.001 + 0.000_37;
            // SAFETY: `is_supported` found the instructions.
            let got = unsafe { exp_of(x) };
            assert!(units_off(x, got) <= 2.0, "{x}: {got}");
        }
    }

    #[test]
    fn handles_the_ends_of_the_range() {
        if !is_supported() {
            return;
        }
        // SAFETY: `is_supported` found the instructions.
        let exp = |x| unsafe { exp_of(x) };
        assert_eq!([exp(0.0), exp(-0.0), exp(f32::NEG_INFINITY), exp(-1e30), exp(-87.4)], [1.0, 1.0, 0.0, 0.0, 0.0]);
        assert!(exp(LEAST) >= f32::MIN_POSITIVE);
        assert_eq!([exp(f32::INFINITY), exp(1e30), exp(88.73)], [f32::INFINITY; 3]);
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(88.72) < f32::INFINITY);
    }
}
