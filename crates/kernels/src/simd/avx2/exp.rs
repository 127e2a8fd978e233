//! `exp` of eight numbers.
//!
//! The argument is split into `n ln 2 + r` with `|r| <= ln 2 / 2`; a Taylor polynomial of degree 7 gives `exp(r)` (its
//! remainder, 2.1e-4 / 8!, is a tenth of a unit in the last place) and `2^n` is applied as two factors, so that results
//! pass gradually into subnormal numbers, zero and infinity. At most 2 units in the last place off. NaN stays NaN.

use std::arch::x86_64::*;

/// `exp` of every lane.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn exp(x: __m256) -> __m256 {
    // Beyond these bounds the result is 0 or infinite anyway. `min` and `max` return their second operand for NaN.
    let x = _mm256_min_ps(_mm256_set1_ps(90.0), _mm256_max_ps(_mm256_set1_ps(-105.0), x));
    const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    let n = _mm256_round_ps::<NEAREST>(_mm256_mul_ps(x, _mm256_set1_ps(std::f32::consts::LOG2_E)));
    // ln 2 in two parts, the first with trailing zeros so that n times it is exact (Cephes, expf.c).
    let r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693_359_4), x);
    let r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.121_944_4e-4), r);
    let mut y = _mm256_set1_ps(1.0 / 5040.0);
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(coefficient));
    }
    let n = _mm256_cvtps_epi32(n);
    let half = _mm256_srai_epi32::<1>(n);
    _mm256_mul_ps(_mm256_mul_ps(y, power_of_two(half)), power_of_two(_mm256_sub_epi32(n, half)))
}

/// `2^n` for `n` in -126..=127.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn power_of_two(n: __m256i) -> __m256 {
    _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(n, _mm256_set1_epi32(127))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::avx2::cpu::is_supported;
    use crate::simd::avx2::lanes;

    #[target_feature(enable = "avx2,fma,f16c")]
    fn exp_of(x: f32) -> f32 {
        let mut out = [0.0; 8];
        lanes::store_f32(exp(_mm256_set1_ps(x)), &mut out);
        out[3]
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
        for i in -104_000..88_700 {
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
        assert_eq!([exp(0.0), exp(-0.0), exp(f32::NEG_INFINITY), exp(-1e30), exp(-105.0)], [1.0, 1.0, 0.0, 0.0, 0.0]);
        assert_eq!([exp(f32::INFINITY), exp(1e30), exp(88.73)], [f32::INFINITY; 3]);
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(88.72) < f32::INFINITY);
    }
}
