//! Root-mean-square normalisation: squares summed in eight lanes of f64.

use std::arch::x86_64::*;

use super::lanes::{load_f32, store_f32};
use crate::ops::rms_norm::rms_scale;

/// Replaces `x` by `x / sqrt(mean(x^2) + eps) * weight`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn rms_norm_in_place(x: &mut [f32], weight: &[f32], eps: f32) {
    let scale = rms_scale(sum_of_squares(x), x.len(), eps);
    let (eights, rest) = x.as_chunks_mut::<8>();
    let (weight_eights, weight_rest) = weight.as_chunks::<8>();
    for (x, weight) in eights.iter_mut().zip(weight_eights) {
        let scaled = _mm256_mul_ps(load_f32(x), _mm256_set1_ps(scale));
        store_f32(_mm256_mul_ps(scaled, load_f32(weight)), x);
    }
    rest.iter_mut().zip(weight_rest).for_each(|(x, weight)| *x = *x * scale * weight);
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn sum_of_squares(x: &[f32]) -> f64 {
    let (eights, rest) = x.as_chunks::<8>();
    let (mut low, mut high) = (_mm256_setzero_pd(), _mm256_setzero_pd());
    for eight in eights {
        let eight = load_f32(eight);
        let (a, b) =
            (_mm256_cvtps_pd(_mm256_castps256_ps128(eight)), _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(eight)));
        low = _mm256_fmadd_pd(a, a, low);
        high = _mm256_fmadd_pd(b, b, high);
    }
    let four = _mm256_add_pd(low, high);
    let two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd::<1>(four));
    let sum = _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
    sum + rest.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>()
}
