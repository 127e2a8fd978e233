//! The vectors of attention: eight lanes.

use std::arch::x86_64::*;

use super::exp::exp;
use super::lanes::{load_16, load_32, load_f32, part, prefetch_row, store_f32, sum_f32, sum_four_f32};
use crate::ops::attend::positions::TILE;
use crate::ops::attend::steps::{Ahead, AttendSteps, CachedRows, ScoreArgs, Softened, ValueArgs};
use crate::ops::soft_cap::soft_cap;
use crate::simd::attend::{self, Lanes, attend_steps, methods};
use crate::simd::doors::door;

/// The tier's instructions.
#[derive(Clone, Copy)]
struct Avx2(());

attend_steps!(Avx2, "avx2,fma,f16c");

impl Lanes<8, 4, 2> for Avx2 {
    type Vector = __m256;

    methods! {
        load(x: &[f32; 8]) -> __m256 = load_f32(x);
        load_halves(x: &[[u8; 2]; 8]) -> __m256 = _mm256_cvtph_ps(load_16(part(x.as_flattened(), 0)));
        load_singles(x: &[[u8; 4]; 8]) -> __m256 = _mm256_castsi256_ps(load_32(part(x.as_flattened(), 0)));
        store(x: __m256, out: &mut [f32; 8]) = store_f32(x, out);
        splat(x: f32) -> __m256 = _mm256_set1_ps(x);
        add(x: __m256, y: __m256) -> __m256 = _mm256_add_ps(x, y);
        subtract(x: __m256, y: __m256) -> __m256 = _mm256_sub_ps(x, y);
        multiply(x: __m256, y: __m256) -> __m256 = _mm256_mul_ps(x, y);
        fuse(x: __m256, y: __m256, sum: __m256) -> __m256 = _mm256_fmadd_ps(x, y, sum);
        max(x: __m256, y: __m256) -> __m256 = _mm256_max_ps(x, y);
        exp(x: __m256) -> __m256 = exp(x);
        sum(x: __m256) -> f32 = sum_f32(x);
        sums(x: [__m256; 4]) -> [f32; 4] = sum_four_f32(x);
    }

    #[inline(always)]
    fn greatest(self, x: __m256) -> f32 {
        let mut lanes = [0.0; 8];
        self.store(x, &mut lanes);
        lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }

    #[inline(always)]
    fn prefetch_row(self, ahead: Ahead, i: usize) {
        prefetch_row(ahead, i);
    }
}
