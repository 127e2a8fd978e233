//! Softmax over one row of scores.
//!
//! The last numbers of a row are padded with minus infinity, whose exponential is zero.

use std::arch::aarch64::*;

use super::exp::exp;
use super::lanes::{load_f32, store_f32};

/// Replaces `x` by `exp(x - max) / sum`; see the scalar function for rows of broken numbers.
#[target_feature(enable = "neon")]
pub(super) fn softmax(x: &mut [f32]) {
    let (fours, rest) = x.as_chunks_mut::<4>();
    let mut last = [f32::NEG_INFINITY; 4];
    last[..rest.len()].copy_from_slice(rest);
    // The maximum of a NaN and anything is a NaN.
    let max = vmaxvq_f32(fours.iter().fold(load_f32(&last), |max, four| vmaxq_f32(max, load_f32(four))));
    if max == f32::NEG_INFINITY {
        return x.fill(0.0);
    }
    let mut sum = vdupq_n_f32(0.0);
    for four in fours.iter_mut().chain([&mut last]) {
        let value = exp(vsubq_f32(load_f32(four), vdupq_n_f32(max)));
        sum = vaddq_f32(sum, value);
        store_f32(value, four);
    }
    let inverse = 1.0 / vaddvq_f32(sum);
    for four in fours.iter_mut().chain([&mut last]) {
        store_f32(vmulq_n_f32(load_f32(four), inverse), four);
    }
    rest.copy_from_slice(&last[..rest.len()]);
}
