//! Moving bytes into and out of vectors: the only loads and stores of the tier.
//!
//! Every load and store takes a reference to an array of the vector's size, so a caller cannot run past a slice. The
//! gathering helpers turn eight weight rows into vectors with one row per 32-bit lane.

use std::arch::x86_64::*;

use crate::ops::attend::steps::Ahead;

/// Eight numbers.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn load_f32(x: &[f32; 8]) -> __m256 {
    // SAFETY: the reference covers 32 readable bytes; the load needs no alignment.
    unsafe { _mm256_loadu_ps(x.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn store_f32(x: __m256, out: &mut [f32; 8]) {
    // SAFETY: the reference covers 32 writable bytes; the store needs no alignment.
    unsafe { _mm256_storeu_ps(out.as_mut_ptr(), x) }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn load_32(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: the reference covers 32 readable bytes; the load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn store_32(x: __m256i, out: &mut [u8; 32]) {
    // SAFETY: the reference covers 32 writable bytes; the store needs no alignment.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), x) }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn load_16(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: the reference covers 16 readable bytes; the load needs no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn store_16(x: __m128i, out: &mut [u8; 16]) {
    // SAFETY: the reference covers 16 writable bytes; the store needs no alignment.
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), x) }
}

/// The `N` bytes of `bytes` from `at` on, for constant `at`: the check vanishes when both are known.
#[inline(always)]
pub(super) fn part<const N: usize>(bytes: &[u8], at: usize) -> &[u8; N] {
    bytes[at..].first_chunk().expect("the part lies inside the block")
}

/// The numbers of the lanes, to make arrays with [`each`].
pub(super) const EIGHT: [usize; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

/// Asks for the bytes that lie `distance` behind `bytes`, into the second-level cache. Such bytes need not exist.
///
/// Eight rows read side by side are more streams than the processor foresees; the next eight rows lie behind these.
#[inline(always)]
pub(super) fn prefetch(bytes: &[u8], distance: usize) {
    for line in 0..bytes.len().div_ceil(64) {
        let address = bytes.as_ptr().wrapping_add(64 * line + distance).cast();
        // SAFETY: a prefetch reads nothing that the program can see and does not fault at any address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(address) };
    }
}

/// Asks for row `i`, into the second-level cache.
#[inline(always)]
pub(super) fn prefetch_row(ahead: Ahead, i: usize) {
    let row = ahead.row(i);
    for line in 0..ahead.row_bytes.div_ceil(64) {
        // SAFETY: a prefetch reads nothing that the program can see and does not fault at any address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(row.wrapping_add(64 * line).cast()) };
    }
}

/// `f` of each of eight rows. Unlike `array::map` it is always inlined, without which `f` loses the tier's instructions.
#[inline(always)]
pub(super) fn each<T: Copy, U>(rows: [T; 8], f: impl Fn(T) -> U) -> [U; 8] {
    let [a, b, c, d, e, g, h, i] = rows;
    [f(a), f(b), f(c), f(d), f(e), f(g), f(h), f(i)]
}

/// All eight lanes the four bytes at `at`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn broadcast_4(bytes: &[u8], at: usize) -> __m256i {
    _mm256_set1_epi32(i32::from_le_bytes(*part(bytes, at)))
}

/// 16 bytes of each of eight rows as four vectors: vector `c` has bytes `4c..4c+4` of row `r` in lane `r`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn transpose_16(rows: [&[u8; 16]; 8]) -> [__m256i; 4] {
    let pair = |r: usize| _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(load_16(rows[r])), load_16(rows[r + 4]));
    let (r0, r1, r2, r3) = (pair(0), pair(1), pair(2), pair(3));
    let (low01, high01) = (_mm256_unpacklo_epi32(r0, r1), _mm256_unpackhi_epi32(r0, r1));
    let (low23, high23) = (_mm256_unpacklo_epi32(r2, r3), _mm256_unpackhi_epi32(r2, r3));
    [
        _mm256_unpacklo_epi64(low01, low23),
        _mm256_unpackhi_epi64(low01, low23),
        _mm256_unpacklo_epi64(high01, high23),
        _mm256_unpackhi_epi64(high01, high23),
    ]
}

/// 32 bytes of each of eight rows as eight vectors, as [`transpose_16`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn transpose_32(rows: [&[u8; 32]; 8]) -> [__m256i; 8] {
    let [a, b, c, d] = transpose_16(each(rows, |row| part(row, 0)));
    let [e, f, g, h] = transpose_16(each(rows, |row| part(row, 16)));
    [a, b, c, d, e, f, g, h]
}

/// Four bytes of each of eight rows, one row per lane.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn gather_4(rows: [&[u8; 4]; 8]) -> __m256i {
    let [a, b, c, d, e, f, g, h] = each(rows, |row| i32::from_le_bytes(*row));
    _mm256_setr_epi32(a, b, c, d, e, f, g, h)
}

/// The half-precision number of each of eight rows, one row per lane.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn gather_half(rows: [&[u8; 2]; 8]) -> __m256 {
    let [a, b, c, d, e, f, g, h] = each(rows, |row| i16::from_le_bytes(*row));
    _mm256_cvtph_ps(_mm_setr_epi16(a, b, c, d, e, f, g, h))
}

/// Two consecutive half-precision numbers of each of eight rows, one row per lane.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn gather_two_halves(rows: [&[u8; 4]; 8]) -> [__m256; 2] {
    // In each half of the vector: the first numbers of its four rows to the front, the second ones behind.
    let order = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    let pairs = _mm256_shuffle_epi8(gather_4(rows), _mm256_broadcastsi128_si256(order));
    let sorted = _mm256_permute4x64_epi64::<0b11_01_10_00>(pairs);
    [_mm256_cvtph_ps(_mm256_castsi256_si128(sorted)), _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(sorted))]
}

/// The sum of the lanes, always in the same order: neighbours, then pairs, then the halves of the vector.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn sum_f32(x: __m256) -> f32 {
    let pairs = _mm256_hadd_ps(x, x);
    let quads = _mm256_hadd_ps(pairs, pairs);
    _mm_cvtss_f32(_mm_add_ss(_mm256_castps256_ps128(quads), _mm256_extractf128_ps::<1>(quads)))
}

/// The sums of the lanes of four vectors, each in the order of [`sum_f32`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn sum_four_f32([a, b, c, d]: [__m256; 4]) -> [f32; 4] {
    let quads = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    let sums = _mm_add_ps(_mm256_castps256_ps128(quads), _mm256_extractf128_ps::<1>(quads));
    let mut out = [0.0; 4];
    // SAFETY: `out` is 16 writable bytes; the store needs no alignment.
    unsafe { _mm_storeu_ps(out.as_mut_ptr(), sums) };
    out
}
