//! The activation quantisers: the same bytes as the scalar ones.
//!
//! Magnitudes are compared as integers, which orders them as the numbers are ordered with NaN above all; the scales come
//! from the scalar code and rounding is to the nearest, ties to even, on both sides.

use std::arch::aarch64::*;

use super::lanes::{each, load_f32, store_16};
use crate::activation::{q8_1_scale, q8_k_scale, row_parts};

/// Quantises a row to Q8_1.
#[target_feature(enable = "neon")]
pub(super) fn quantise_q8_1(x: &[f32], out: &mut [u8]) {
    let parts = row_parts(out, x.len(), 32);
    let (blocks, quants) = (x.as_chunks::<32>().0, parts.quants.as_chunks_mut::<32>().0);
    for (((x, quants), scale), sum) in blocks.iter().zip(quants).zip(parts.scales).zip(parts.sums) {
        let (inverse, value) = q8_1_scale(largest_magnitude(x));
        *scale = value.to_le_bytes();
        let halves = x.as_chunks::<16>().0.iter().zip(quants.as_chunks_mut::<16>().0);
        *sum = halves.map(|(x, quants)| quantise_16(x, inverse, quants)).sum::<i16>().to_le_bytes();
    }
}

/// Quantises a row to Q8_K.
#[target_feature(enable = "neon")]
pub(super) fn quantise_q8_k(x: &[f32], out: &mut [u8]) {
    let parts = row_parts(out, x.len(), 256);
    let sums = parts.sums.as_chunks_mut::<16>().0;
    let (blocks, quants) = (x.as_chunks::<256>().0, parts.quants.as_chunks_mut::<256>().0);
    for (((x, quants), scale), sums) in blocks.iter().zip(quants).zip(parts.scales).zip(sums) {
        let (inverse, value) = q8_k_scale(first_of_magnitude(x, largest_magnitude(x)));
        *scale = value.to_le_bytes();
        let runs = x.as_chunks::<16>().0.iter().zip(quants.as_chunks_mut::<16>().0);
        for ((x, quants), sum) in runs.zip(sums) {
            *sum = quantise_16(x, inverse, quants).to_le_bytes();
        }
    }
}

/// The largest magnitude, or NaN if there is one.
#[inline]
#[target_feature(enable = "neon")]
fn largest_magnitude(x: &[f32]) -> f32 {
    let mut max = vdupq_n_u32(0);
    for four in x.as_chunks::<4>().0 {
        max = vmaxq_u32(max, vreinterpretq_u32_f32(vabsq_f32(load_f32(four))));
    }
    f32::from_bits(vmaxvq_u32(max))
}

/// The first number with this magnitude.
#[inline]
#[target_feature(enable = "neon")]
fn first_of_magnitude(x: &[f32; 256], largest: f32) -> f32 {
    let is_largest = |magnitude: f32| magnitude.to_bits() == largest.to_bits();
    let run = x.as_chunks::<16>().0.iter().find(|run| is_largest(largest_magnitude(*run)));
    run.into_iter().flatten().copied().find(|v| is_largest(v.abs())).unwrap_or(largest)
}

/// Writes 16 quants and returns their sum.
#[inline]
#[target_feature(enable = "neon")]
fn quantise_16(x: &[f32; 16], inverse: f32, quants: &mut [u8; 16]) -> i16 {
    if inverse == 0.0 {
        *quants = [0; 16];
        return 0;
    }
    let [a, b, c, d] = each([0, 1, 2, 3], |i| vcvtnq_s32_f32(vmulq_n_f32(load_f32(&x.as_chunks().0[i]), inverse)));
    let low = vqmovn_high_s32(vqmovn_s32(a), b);
    let high = vqmovn_high_s32(vqmovn_s32(c), d);
    let bytes = vmaxq_s8(vqmovn_high_s16(vqmovn_s16(low), high), vdupq_n_s8(-127));
    store_16(vreinterpretq_u8_s8(bytes), quants);
    vaddlvq_s8(bytes)
}
