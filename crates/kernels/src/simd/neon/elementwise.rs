//! Operations on each number by itself: the gated activation, storing keys and values.

use std::arch::aarch64::*;

use super::exp::exp;
use super::lanes::{load_f32, padded_tail, store_f32};
use crate::activation;
use crate::ops::gate::{Activation, GELU_CUBE, GELU_SLOPE};
use crate::ops::kv::{self, KvType};

/// Replaces `gate` by `activation(gate) * up`.
#[target_feature(enable = "neon")]
pub(super) fn gate(activation: Activation, gate: &mut [f32], up: &[f32]) {
    let (mut gate_last, up_last) = (padded_tail(gate), padded_tail(up));
    let (gate_fours, gate_rest) = gate.as_chunks_mut::<4>();
    for (gate, up) in gate_fours.iter_mut().zip(up.as_chunks::<4>().0) {
        gate_four(activation, gate, up);
    }
    gate_four(activation, &mut gate_last, &up_last);
    gate_rest.copy_from_slice(&gate_last[..gate_rest.len()]);
}

#[inline]
#[target_feature(enable = "neon")]
fn gate_four(activation: Activation, gate: &mut [f32; 4], up: &[f32; 4]) {
    let (x, one) = (load_f32(gate), vdupq_n_f32(1.0));
    let exponent = match activation {
        Activation::Silu => vnegq_f32(x),
        Activation::Gelu => {
            let cube = vmulq_f32(vmulq_n_f32(x, GELU_CUBE), x);
            vmulq_f32(vmulq_n_f32(x, GELU_SLOPE), vaddq_f32(cube, one))
        }
    };
    store_f32(vmulq_f32(vdivq_f32(x, vaddq_f32(one, exp(exponent))), load_f32(up)), gate);
}

/// Writes `x` in the cache's type.
#[target_feature(enable = "neon")]
pub(super) fn store_kv(kv_type: KvType, x: &[f32], out: &mut [u8]) {
    match kv_type {
        KvType::Q8_0 => kv::store_kv(kv_type, x, out),
        KvType::F32 => activation::store_f32(x, out),
        KvType::F16 => store_halves(x, out),
    }
}

#[target_feature(enable = "neon")]
fn store_halves(x: &[f32], out: &mut [u8]) {
    let halves = |x| vget_lane_u64::<0>(vreinterpret_u64_f16(vcvt_f16_f32(load_f32(x)))).to_le_bytes();
    let (out_fours, out_rest) = out.as_chunks_mut::<8>();
    for (x, out) in x.as_chunks().0.iter().zip(out_fours) {
        *out = halves(x);
    }
    out_rest.copy_from_slice(&halves(&padded_tail(x))[..out_rest.len()]);
}
