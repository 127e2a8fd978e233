//! The vectors of attention: four lanes.

use std::arch::aarch64::*;

use super::exp::exp;
use super::lanes::{load_f32, load_halves, load_singles, part, prefetch_row, store_f32};
use crate::ops::attend::positions::TILE;
use crate::ops::attend::steps::{Ahead, AttendSteps, CachedRows, ScoreArgs, Softened, ValueArgs};
use crate::ops::soft_cap::soft_cap;
use crate::simd::attend::{self, Lanes, attend_steps, methods};
use crate::simd::doors::door;

/// The tier's instructions.
#[derive(Clone, Copy)]
struct Neon(());

attend_steps!(Neon, "neon");

impl Lanes<4, 4, 4> for Neon {
    type Vector = float32x4_t;

    methods! {
        load(x: &[f32; 4]) -> float32x4_t = load_f32(x);
        load_halves(x: &[[u8; 2]; 4]) -> float32x4_t = load_halves(part(x.as_flattened(), 0));
        load_singles(x: &[[u8; 4]; 4]) -> float32x4_t = load_singles(part(x.as_flattened(), 0));
        store(x: float32x4_t, out: &mut [f32; 4]) = store_f32(x, out);
        splat(x: f32) -> float32x4_t = vdupq_n_f32(x);
        add(x: float32x4_t, y: float32x4_t) -> float32x4_t = vaddq_f32(x, y);
        subtract(x: float32x4_t, y: float32x4_t) -> float32x4_t = vsubq_f32(x, y);
        multiply(x: float32x4_t, y: float32x4_t) -> float32x4_t = vmulq_f32(x, y);
        fuse(x: float32x4_t, y: float32x4_t, sum: float32x4_t) -> float32x4_t = vfmaq_f32(sum, x, y);
        // Unlike `vmaxq_f32` this takes the number of a number and a NaN; the NaN's weight is one anyway.
        max(x: float32x4_t, y: float32x4_t) -> float32x4_t = vmaxnmq_f32(y, x);
        exp(x: float32x4_t) -> float32x4_t = exp(x);
        greatest(x: float32x4_t) -> f32 = vmaxnmvq_f32(x);
        sum(x: float32x4_t) -> f32 = vaddvq_f32(x);
        sums(x: [float32x4_t; 4]) -> [f32; 4] = {
            let mut sums = [0.0; 4];
            store_f32(vpaddq_f32(vpaddq_f32(x[0], x[1]), vpaddq_f32(x[2], x[3])), &mut sums);
            sums
        };
    }

    #[inline(always)]
    fn prefetch_row(self, ahead: Ahead, i: usize) {
        prefetch_row(ahead, i);
    }
}
