//! Softmax over one row of scores.
//!
//! The last numbers of a row are padded with minus infinity, whose exponential is zero.

use std::arch::x86_64::*;

use super::exp::exp;
use super::lanes::{load_f32, store_f32, sum_f32};

/// Replaces `x` by `exp(x - max) / sum`; see the scalar function for rows of broken numbers.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn softmax(x: &mut [f32]) {
    let (eights, rest) = x.as_chunks_mut::<8>();
    let mut last = [f32::NEG_INFINITY; 8];
    last[..rest.len()].copy_from_slice(rest);
    let max = largest(eights, &last);
    if max == f32::NEG_INFINITY {
        return x.fill(0.0);
    }
    let max = _mm256_set1_ps(max);
    let mut sum = _mm256_setzero_ps();
    for eight in eights.iter_mut().chain([&mut last]) {
        let value = exp(_mm256_sub_ps(load_f32(eight), max));
        sum = _mm256_add_ps(sum, value);
        store_f32(value, eight);
    }
    let inverse = _mm256_set1_ps(1.0 / sum_f32(sum));
    for eight in eights.iter_mut().chain([&mut last]) {
        store_f32(_mm256_mul_ps(load_f32(eight), inverse), eight);
    }
    rest.copy_from_slice(&last[..rest.len()]);
}

/// The largest number, or NaN if there is one.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn largest(eights: &[[f32; 8]], last: &[f32; 8]) -> f32 {
    let mut max = load_f32(last);
    let mut broken = _mm256_cmp_ps::<_CMP_UNORD_Q>(max, max);
    for eight in eights {
        let eight = load_f32(eight);
        max = _mm256_max_ps(max, eight);
        broken = _mm256_or_ps(broken, _mm256_cmp_ps::<_CMP_UNORD_Q>(eight, eight));
    }
    if _mm256_movemask_ps(broken) != 0 {
        return f32::NAN;
    }
    let mut lanes = [0.0; 8];
    store_f32(max, &mut lanes);
    lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
}
