//! The vectors of attention: sixteen lanes.

use std::arch::x86_64::*;

use super::exp::exp;
use super::lanes::{load_16, load_32, load_f32, load_singles, part, prefetch_row, store_f32, sum_sixteen_f32};
use crate::ops::attend::positions::TILE;
use crate::ops::attend::steps::{Ahead, AttendSteps, CachedRows, ScoreArgs, Softened, ValueArgs};
use crate::ops::kv::q8_0_block;
use crate::ops::soft_cap::soft_cap;
use crate::simd::attend::{self, Lanes, attend_steps, methods};
use crate::simd::doors::door;

/// The tier's instructions.
#[derive(Clone, Copy)]
struct Avx512(());

attend_steps!(Avx512, "avx512f,avx512bw,avx512vl,avx512vnni");

impl Lanes<16, 16, 4> for Avx512 {
    type Vector = __m512;

    methods! {
        load(x: &[f32; 16]) -> __m512 = load_f32(x);
        load_halves(x: &[[u8; 2]; 16]) -> __m512 = _mm512_cvtph_ps(load_32(part(x.as_flattened(), 0)));
        load_singles(x: &[[u8; 4]; 16]) -> __m512 = load_singles(part(x.as_flattened(), 0));
        store(x: __m512, out: &mut [f32; 16]) = store_f32(x, out);
        splat(x: f32) -> __m512 = _mm512_set1_ps(x);
        add(x: __m512, y: __m512) -> __m512 = _mm512_add_ps(x, y);
        subtract(x: __m512, y: __m512) -> __m512 = _mm512_sub_ps(x, y);
        multiply(x: __m512, y: __m512) -> __m512 = _mm512_mul_ps(x, y);
        fuse(x: __m512, y: __m512, sum: __m512) -> __m512 = _mm512_fmadd_ps(x, y, sum);
        max(x: __m512, y: __m512) -> __m512 = _mm512_max_ps(x, y);
        exp(x: __m512) -> __m512 = exp(x);
        greatest(x: __m512) -> f32 = _mm512_reduce_max_ps(x);
        sum(x: __m512) -> f32 = _mm512_reduce_add_ps(x);
        sums(x: [__m512; 16]) -> [f32; 16] = {
            let mut sums = [0.0; 16];
            store_f32(sum_sixteen_f32(x), &mut sums);
            sums
        };
        widen_q8_0(row: &[u8], out: &mut [f32]) = widen_blocks(row, out);
    }

    #[inline(always)]
    fn prefetch_row(self, ahead: Ahead, i: usize) {
        prefetch_row(ahead, i);
    }
}

/// Widens a row of Q8_0. What the compiler makes of the other tiers' loop took four times as long here.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn widen_blocks(row: &[u8], out: &mut [f32]) {
    for (block, out) in row.as_chunks().0.iter().zip(out.as_chunks_mut::<16>().0.as_chunks_mut::<2>().0) {
        let (scale, quants) = q8_0_block(block);
        for (quants, out) in quants.as_chunks().0.iter().zip(out) {
            let wide = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(load_16(quants)));
            store_f32(_mm512_mul_ps(_mm512_set1_ps(scale), wide), out);
        }
    }
}
