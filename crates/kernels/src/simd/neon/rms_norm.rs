//! Root-mean-square normalisation: squares summed in eight lanes of f64.

use std::arch::aarch64::*;

use super::lanes::{load_f32, store_f32};
use crate::ops::rms_norm::rms_scale;

/// Replaces `x` by `x / sqrt(mean(x^2) + eps) * weight`.
#[target_feature(enable = "neon")]
pub(super) fn rms_norm_in_place(x: &mut [f32], weight: &[f32], eps: f32) {
    let scale = rms_scale(sum_of_squares(x), x.len(), eps);
    let (fours, rest) = x.as_chunks_mut::<4>();
    let (weight_fours, weight_rest) = weight.as_chunks::<4>();
    for (x, weight) in fours.iter_mut().zip(weight_fours) {
        store_f32(vmulq_f32(vmulq_n_f32(load_f32(x), scale), load_f32(weight)), x);
    }
    rest.iter_mut().zip(weight_rest).for_each(|(x, weight)| *x = *x * scale * weight);
}

#[target_feature(enable = "neon")]
fn sum_of_squares(x: &[f32]) -> f64 {
    let (eights, rest) = x.as_chunks::<8>();
    let mut sums = [vdupq_n_f64(0.0); 4];
    for eight in eights {
        let [a, b] = [0, 1].map(|i| load_f32(&eight.as_chunks().0[i]));
        let wide =
            [vcvt_f64_f32(vget_low_f32(a)), vcvt_high_f64_f32(a), vcvt_f64_f32(vget_low_f32(b)), vcvt_high_f64_f32(b)];
        for (sum, wide) in sums.iter_mut().zip(wide) {
            *sum = vfmaq_f64(*sum, wide, wide);
        }
    }
    let [a, b, c, d] = sums;
    let sum = vaddvq_f64(vaddq_f64(vaddq_f64(a, b), vaddq_f64(c, d)));
    sum + rest.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>()
}
