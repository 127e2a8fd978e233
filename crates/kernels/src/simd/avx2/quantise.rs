//! The activation quantisers: the same bytes as the scalar ones.
//!
//! Magnitudes are compared as integers, which orders them as the numbers are ordered with NaN above all; the scales come
//! from the scalar code and rounding is to the nearest, ties to even, on both sides.

use std::arch::x86_64::*;

use super::lanes::{load_f32, store_32};
use crate::activation::{q8_1_scale, q8_k_scale, row_parts};

/// Quantises a row to Q8_1.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn quantise_q8_1(x: &[f32], out: &mut [u8]) {
    let parts = row_parts(out, x.len(), 32);
    let (blocks, quants) = (x.as_chunks::<32>().0, parts.quants.as_chunks_mut::<32>().0);
    for (((x, quants), scale), sum) in blocks.iter().zip(quants).zip(parts.scales).zip(parts.sums) {
        let (inverse, value) = q8_1_scale(largest_magnitude(x.as_chunks().0));
        *scale = value.to_le_bytes();
        let [low, high] = quantise_32(x, inverse, quants);
        *sum = (low + high).to_le_bytes();
    }
}

/// Quantises a row to Q8_K.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn quantise_q8_k(x: &[f32], out: &mut [u8]) {
    let parts = row_parts(out, x.len(), 256);
    let sums = parts.sums.as_chunks_mut::<16>().0;
    let (blocks, quants) = (x.as_chunks::<256>().0, parts.quants.as_chunks_mut::<256>().0);
    for (((x, quants), scale), sums) in blocks.iter().zip(quants).zip(parts.scales).zip(sums) {
        let largest = largest_magnitude(x.as_chunks().0);
        let (inverse, value) = q8_k_scale(first_of_magnitude(x, largest));
        *scale = value.to_le_bytes();
        let runs = x.as_chunks::<32>().0.iter().zip(quants.as_chunks_mut::<32>().0);
        for ((x, quants), sums) in runs.zip(sums.as_chunks_mut::<2>().0) {
            *sums = quantise_32(x, inverse, quants).map(i16::to_le_bytes);
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn magnitude(x: &[f32; 8]) -> __m256i {
    _mm256_and_si256(_mm256_castps_si256(load_f32(x)), _mm256_set1_epi32(i32::MAX))
}

/// The largest magnitude, or NaN if there is one.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::simd) fn largest_magnitude(eights: &[[f32; 8]]) -> f32 {
    let mut max = _mm256_setzero_si256();
    for eight in eights {
        max = _mm256_max_epi32(max, magnitude(eight));
    }
    let four = _mm_max_epi32(_mm256_castsi256_si128(max), _mm256_extracti128_si256::<1>(max));
    let two = _mm_max_epi32(four, _mm_unpackhi_epi64(four, four));
    let one = _mm_max_epi32(two, _mm_shuffle_epi32::<0b01>(two));
    f32::from_bits(_mm_cvtsi128_si32(one).cast_unsigned())
}

/// The first number with this magnitude.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::simd) fn first_of_magnitude(x: &[f32; 256], largest: f32) -> f32 {
    let wanted = _mm256_set1_epi32(largest.to_bits().cast_signed());
    for eight in x.as_chunks::<8>().0 {
        let found = _mm256_castsi256_ps(_mm256_cmpeq_epi32(magnitude(eight), wanted));
        let lane = (_mm256_movemask_ps(found) as u32).trailing_zeros();
        if lane < 8 {
            return eight[lane as usize];
        }
    }
    largest
}

/// Writes 32 quants and returns the sums of the first and the last sixteen.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::simd) fn quantise_32(x: &[f32; 32], inverse: f32, quants: &mut [u8; 32]) -> [i16; 2] {
    if inverse == 0.0 {
        *quants = [0; 32];
        return [0; 2];
    }
    let eights = x.as_chunks::<8>().0;
    let quant = |i: usize| _mm256_cvtps_epi32(_mm256_mul_ps(load_f32(&eights[i]), _mm256_set1_ps(inverse)));
    let (a, b) = (_mm256_packs_epi32(quant(0), quant(1)), _mm256_packs_epi32(quant(2), quant(3)));
    // Packing works within halves of the vector and leaves groups of four in the order 0 2 4 6 1 3 5 7.
    let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    let bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b), order);
    let bytes = _mm256_max_epi8(bytes, _mm256_set1_epi8(-127));
    store_32(bytes, quants);
    sums_of_16(bytes)
}

/// The sums of the first and the last sixteen signed bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn sums_of_16(bytes: __m256i) -> [i16; 2] {
    // With 128 added a byte is unsigned, and the instruction sums eight unsigned bytes.
    let shifted = _mm256_xor_si256(bytes, _mm256_set1_epi8(-128));
    let eights = _mm256_sad_epu8(shifted, _mm256_setzero_si256());
    let sixteens = _mm256_add_epi64(eights, _mm256_unpackhi_epi64(eights, eights));
    let (low, high) = (_mm256_castsi256_si128(sixteens), _mm256_extracti128_si256::<1>(sixteens));
    [low, high].map(|sum| (_mm_cvtsi128_si32(sum) - 16 * 128) as i16)
}
