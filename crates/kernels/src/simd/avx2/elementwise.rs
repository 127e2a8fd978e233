//! Operations on each number by itself: addition, the gated activation, storing keys and values.

use std::arch::x86_64::*;

use super::exp::exp;
use super::lanes::{load_f32, store_16, store_f32};
use crate::activation;
use crate::ops::gate::{Activation, GELU_CUBE, GELU_SLOPE};
use crate::ops::kv::{self, KvType};

/// Adds `y` to `x`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn add(x: &mut [f32], y: &[f32]) {
    combine(x, y, |x, y| _mm256_add_ps(x, y));
}

/// Replaces `gate` by `activation(gate) * up`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn gate(activation: Activation, gate: &mut [f32], up: &[f32]) {
    let one = _mm256_set1_ps(1.0);
    let gated = |x, exponent, up| _mm256_mul_ps(_mm256_div_ps(x, _mm256_add_ps(one, exp(exponent))), up);
    match activation {
        Activation::Silu => combine(gate, up, |x, up| gated(x, _mm256_xor_ps(x, _mm256_set1_ps(-0.0)), up)),
        Activation::Gelu => combine(gate, up, |x, up| {
            let cube = _mm256_mul_ps(_mm256_mul_ps(_mm256_set1_ps(GELU_CUBE), x), x);
            gated(x, _mm256_mul_ps(_mm256_mul_ps(_mm256_set1_ps(GELU_SLOPE), x), _mm256_add_ps(cube, one)), up)
        }),
    }
}

/// Replaces `x` by `f(x, y)`, eight numbers at a time.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn combine(x: &mut [f32], y: &[f32], f: impl Fn(__m256, __m256) -> __m256) {
    let (x_eights, x_rest) = x.as_chunks_mut::<8>();
    let (y_eights, y_rest) = y.as_chunks::<8>();
    for (x, y) in x_eights.iter_mut().zip(y_eights) {
        store_f32(f(load_f32(x), load_f32(y)), x);
    }
    let (mut x_last, mut y_last) = ([0.0; 8], [0.0; 8]);
    x_last[..x_rest.len()].copy_from_slice(x_rest);
    y_last[..y_rest.len()].copy_from_slice(y_rest);
    store_f32(f(load_f32(&x_last), load_f32(&y_last)), &mut x_last);
    x_rest.copy_from_slice(&x_last[..x_rest.len()]);
}

/// Writes `x` in the cache's type.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn store_kv(kv_type: KvType, x: &[f32], out: &mut [u8]) {
    match kv_type {
        KvType::F32 => activation::store_f32(x, out),
        KvType::F16 => store_halves(x, out),
        KvType::Q8_0 => kv::store_kv(kv_type, x, out),
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn store_halves(x: &[f32], out: &mut [u8]) {
    let halves = |x: &[f32; 8]| _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(load_f32(x));
    let (x_eights, x_rest) = x.as_chunks::<8>();
    let (out_eights, out_rest) = out.as_chunks_mut::<16>();
    for (x, out) in x_eights.iter().zip(out_eights) {
        store_16(halves(x), out);
    }
    let (mut x_last, mut out_last) = ([0.0; 8], [0; 16]);
    x_last[..x_rest.len()].copy_from_slice(x_rest);
    store_16(halves(&x_last), &mut out_last);
    out_rest.copy_from_slice(&out_last[..out_rest.len()]);
}
