//! Attention: up to two query heads by four cached positions at a time.
//!
//! A score is one chain of eight lanes over the head's dimensions, summed in one fixed order; a number of the output is
//! one chain over the positions. Neither depends on how many heads or positions share the call, so a head has the same
//! bits in every group. Dimensions past the last eight are padded with zeros.

use std::arch::x86_64::*;

use super::lanes::{load_16, load_32, load_f32, store_f32, sum_f32, sum_four_f32};
use super::softmax::softmax;
use crate::ops::{AttendArgs, KvType};

/// Scores, softmax and the weighted sum of the values.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn attend(args: &mut AttendArgs<'_>) {
    match args.kv_type {
        KvType::F16 => attend_in::<2, 16>(args, |bytes| _mm256_cvtph_ps(load_16(bytes))),
        KvType::F32 => attend_in::<4, 32>(args, |bytes| _mm256_castsi256_ps(load_32(bytes))),
    }
}

/// Attends with a cache of `BYTES` bytes a number; `widen` makes f32 of the `EIGHT` bytes of eight of them.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn attend_in<const BYTES: usize, const EIGHT: usize>(
    args: &mut AttendArgs<'_>,
    widen: impl Fn(&[u8; EIGHT]) -> __m256,
) {
    let mut head = 0;
    while head + 2 <= args.n_group {
        attend_heads::<2, BYTES, EIGHT>(args, head, &widen);
        head += 2;
    }
    if head < args.n_group {
        attend_heads::<1, BYTES, EIGHT>(args, head, &widen);
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn attend_heads<const H: usize, const BYTES: usize, const EIGHT: usize>(
    args: &mut AttendArgs<'_>,
    first: usize,
    widen: impl Fn(&[u8; EIGHT]) -> __m256,
) {
    let n = args.n_positions;
    let queries: [&[f32]; H] = std::array::from_fn(|h| &args.queries[(first + h) * args.head_dim..][..args.head_dim]);
    let key = |p: usize| &args.keys[p * args.key_stride..][..args.head_dim * BYTES];
    let scores = &mut args.scores[first * n..][..H * n];
    let mut p = 0;
    while p + 4 <= n {
        let dots = dot_tile::<H, 4, EIGHT>(queries, [key(p), key(p + 1), key(p + 2), key(p + 3)], &widen);
        for (h, dots) in dots.into_iter().enumerate() {
            for (i, dot) in sum_four_f32(dots).into_iter().enumerate() {
                scores[h * n + p + i] = args.scale * dot;
            }
        }
        p += 4;
    }
    for p in p..n {
        for (h, [dot]) in dot_tile::<H, 1, EIGHT>(queries, [key(p)], &widen).into_iter().enumerate() {
            scores[h * n + p] = args.scale * sum_f32(dot);
        }
    }
    scores.chunks_exact_mut(n.max(1)).for_each(|row| softmax(row));
    sum_values::<H, BYTES, EIGHT>(args, first, &widen);
}

/// The products of `H` queries and `P` keys, still in eight lanes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn dot_tile<const H: usize, const P: usize, const EIGHT: usize>(
    queries: [&[f32]; H],
    keys: [&[u8]; P],
    widen: impl Fn(&[u8; EIGHT]) -> __m256,
) -> [[__m256; P]; H] {
    let mut sums = [[_mm256_setzero_ps(); P]; H];
    let mut add = |queries: [&[f32; 8]; H], keys: [&[u8; EIGHT]; P]| {
        let keys = keys.map(&widen);
        for (sums, query) in sums.iter_mut().zip(queries) {
            let query = load_f32(query);
            for (sum, key) in sums.iter_mut().zip(keys) {
                *sum = _mm256_fmadd_ps(query, key, *sum);
            }
        }
    };
    let n_eights = queries[0].len() / 8;
    let query_eights = queries.map(|query| &query.as_chunks::<8>().0[..n_eights]);
    let key_eights = keys.map(|key| &key.as_chunks::<EIGHT>().0[..n_eights]);
    for i in 0..n_eights {
        add(query_eights.map(|query| &query[i]), key_eights.map(|key| &key[i]));
    }
    if !queries[0].len().is_multiple_of(8) {
        let query_tails = queries.map(|query| padded(query.as_chunks::<8>().1));
        let key_tails = keys.map(|key| padded(key.as_chunks::<EIGHT>().1));
        add(query_tails.each_ref(), key_tails.each_ref());
    }
    sums
}

/// Writes the weighted sums of the values for `H` heads.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn sum_values<const H: usize, const BYTES: usize, const EIGHT: usize>(
    args: &mut AttendArgs<'_>,
    first: usize,
    widen: impl Fn(&[u8; EIGHT]) -> __m256,
) {
    let dim = args.value_dim;
    let mut at = 0;
    while at + 32 <= dim {
        let sums = sum_columns::<H, 4, EIGHT>(args, first, |p, i| {
            let start = p * args.value_stride + at * BYTES;
            widen(args.values[start..][..4 * EIGHT].as_chunks().0[i..].first().expect("four times eight numbers"))
        });
        for (h, sums) in sums.into_iter().enumerate() {
            let out = args.out[(first + h) * dim + at..][..32].as_chunks_mut::<8>().0;
            out.iter_mut().zip(sums).for_each(|(out, sum)| store_f32(sum, out));
        }
        at += 32;
    }
    while at < dim {
        let width = 8.min(dim - at);
        let sums = sum_columns::<H, 1, EIGHT>(args, first, |p, _| {
            widen(&padded(&args.values[p * args.value_stride + at * BYTES..][..width * BYTES]))
        });
        for (h, [sum]) in sums.into_iter().enumerate() {
            let mut lanes = [0.0; 8];
            store_f32(sum, &mut lanes);
            args.out[(first + h) * dim + at..][..width].copy_from_slice(&lanes[..width]);
        }
        at += width;
    }
}

/// The weighted sums over all positions of `V` vectors of eight columns; `value(p, i)` is vector `i` of position `p`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn sum_columns<const H: usize, const V: usize, const EIGHT: usize>(
    args: &AttendArgs<'_>,
    first: usize,
    value: impl Fn(usize, usize) -> __m256,
) -> [[__m256; V]; H] {
    let n = args.n_positions;
    let weights: [&[f32]; H] = std::array::from_fn(|h| &args.scores[(first + h) * n..][..n]);
    let mut sums = [[_mm256_setzero_ps(); V]; H];
    for p in 0..n {
        let values: [__m256; V] = std::array::from_fn(|i| value(p, i));
        for (sums, weights) in sums.iter_mut().zip(weights) {
            let weight = _mm256_set1_ps(weights[p]);
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum = _mm256_fmadd_ps(weight, value, *sum);
            }
        }
    }
    sums
}

/// `x` with zeros behind.
#[inline]
fn padded<T: Copy + Default, const N: usize>(x: &[T]) -> [T; N] {
    let mut padded = [T::default(); N];
    padded[..x.len()].copy_from_slice(x);
    padded
}
