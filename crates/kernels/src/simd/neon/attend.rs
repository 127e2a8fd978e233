//! Attention: up to four query heads by four cached positions at a time.
//!
//! A score is one chain of four lanes over the head's dimensions, summed in one fixed order; a number of the output is
//! one chain over the positions. Neither depends on how many heads or positions share the call, so a head has the same
//! bits in every group. Dimensions past the last four are padded with zeros.

use std::arch::aarch64::*;

use super::lanes::{each, load_f32, load_halves, load_singles, padded, padded_tail, store_f32};
use super::softmax::softmax;
use crate::ops::{AttendArgs, KvType};

/// Scores, softmax and the weighted sum of the values.
#[target_feature(enable = "neon")]
pub(super) fn attend(args: &mut AttendArgs<'_>) {
    match args.kv_type {
        KvType::F16 => attend_in::<2, 8>(args, |bytes| load_halves(bytes)),
        KvType::F32 => attend_in::<4, 16>(args, |bytes| load_singles(bytes)),
    }
}

/// Attends with a cache of `BYTES` bytes a number; `widen` makes f32 of the `FOUR` bytes of four of them.
#[target_feature(enable = "neon")]
fn attend_in<const BYTES: usize, const FOUR: usize>(
    args: &mut AttendArgs<'_>,
    widen: impl Fn(&[u8; FOUR]) -> float32x4_t + Copy,
) {
    let mut head = 0;
    while head < args.n_group {
        head += match args.n_group - head {
            4.. => attend_heads::<4, BYTES, FOUR>(args, head, widen),
            2.. => attend_heads::<2, BYTES, FOUR>(args, head, widen),
            _ => attend_heads::<1, BYTES, FOUR>(args, head, widen),
        };
    }
}

/// Attends with heads `first..first + H` and returns `H`.
#[inline]
#[target_feature(enable = "neon")]
fn attend_heads<const H: usize, const BYTES: usize, const FOUR: usize>(
    args: &mut AttendArgs<'_>,
    first: usize,
    widen: impl Fn(&[u8; FOUR]) -> float32x4_t + Copy,
) -> usize {
    let n = args.n_positions;
    let queries: [&[f32]; H] = std::array::from_fn(|h| &args.queries[(first + h) * args.head_dim..][..args.head_dim]);
    let key = |p: usize| &args.keys[p * args.key_stride..][..args.head_dim * BYTES];
    let scores = &mut args.scores[first * n..][..H * n];
    for p in (0..n).step_by(4) {
        // Keys past the end repeat the last one.
        let keys = each([0, 1, 2, 3], |i| key((p + i).min(n - 1)));
        for (h, dots) in dot_tile::<H, FOUR>(queries, keys, widen).into_iter().enumerate() {
            let width = 4.min(n - p);
            let mut lanes = [0.0; 4];
            store_f32(vmulq_n_f32(dots, args.scale), &mut lanes);
            scores[h * n + p..][..width].copy_from_slice(&lanes[..width]);
        }
    }
    scores.chunks_exact_mut(n.max(1)).for_each(|row| softmax(row));
    sum_values::<H, BYTES, FOUR>(args, first, widen);
    H
}

/// The products of `H` queries and four keys, one key per lane.
#[inline]
#[target_feature(enable = "neon")]
fn dot_tile<const H: usize, const FOUR: usize>(
    queries: [&[f32]; H],
    keys: [&[u8]; 4],
    widen: impl Fn(&[u8; FOUR]) -> float32x4_t + Copy,
) -> [float32x4_t; H] {
    let mut sums = [[vdupq_n_f32(0.0); 4]; H];
    let mut add = |queries: [&[f32; 4]; H], keys: [&[u8; FOUR]; 4]| {
        let keys = each(keys, widen);
        for (sums, query) in sums.iter_mut().zip(queries) {
            let query = load_f32(query);
            for (sum, key) in sums.iter_mut().zip(keys) {
                *sum = vfmaq_f32(*sum, query, key);
            }
        }
    };
    let n_fours = queries[0].len() / 4;
    let query_fours = queries.map(|query| &query.as_chunks::<4>().0[..n_fours]);
    let key_fours = each(keys, |key| &key.as_chunks::<FOUR>().0[..n_fours]);
    for i in 0..n_fours {
        add(query_fours.map(|query| &query[i]), each(key_fours, |key| &key[i]));
    }
    if !queries[0].len().is_multiple_of(4) {
        add(queries.map(padded_tail).each_ref(), keys.map(padded_tail).each_ref());
    }
    sums.map(|[a, b, c, d]| vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d)))
}

/// Writes the weighted sums of the values for `H` heads.
#[inline]
#[target_feature(enable = "neon")]
fn sum_values<const H: usize, const BYTES: usize, const FOUR: usize>(
    args: &mut AttendArgs<'_>,
    first: usize,
    widen: impl Fn(&[u8; FOUR]) -> float32x4_t + Copy,
) {
    let dim = args.value_dim;
    let mut at = 0;
    while at + 16 <= dim {
        let sums = sum_columns::<H, 4>(args, first, |p| {
            let values = &args.values[p * args.value_stride + at * BYTES..][..4 * FOUR];
            each([0, 1, 2, 3], |i| widen(&values.as_chunks().0[i]))
        });
        for (h, sums) in sums.into_iter().enumerate() {
            let out = args.out[(first + h) * dim + at..][..16].as_chunks_mut::<4>().0;
            out.iter_mut().zip(sums).for_each(|(out, sum)| store_f32(sum, out));
        }
        at += 16;
    }
    while at < dim {
        let width = 4.min(dim - at);
        let sums = sum_columns::<H, 1>(args, first, |p| {
            [widen(&padded(&args.values[p * args.value_stride + at * BYTES..][..width * BYTES]))]
        });
        for (h, [sum]) in sums.into_iter().enumerate() {
            let mut lanes = [0.0; 4];
            store_f32(sum, &mut lanes);
            args.out[(first + h) * dim + at..][..width].copy_from_slice(&lanes[..width]);
        }
        at += width;
    }
}

/// The weighted sums over all positions of `V` vectors of four columns; `values(p)` are those of position `p`.
#[inline]
#[target_feature(enable = "neon")]
fn sum_columns<const H: usize, const V: usize>(
    args: &AttendArgs<'_>,
    first: usize,
    values: impl Fn(usize) -> [float32x4_t; V],
) -> [[float32x4_t; V]; H] {
    let n = args.n_positions;
    let weights: [&[f32]; H] = std::array::from_fn(|h| &args.scores[(first + h) * n..][..n]);
    let mut sums = [[vdupq_n_f32(0.0); V]; H];
    for p in 0..n {
        let values = values(p);
        for (sums, weights) in sums.iter_mut().zip(weights) {
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum = vfmaq_n_f32(*sum, value, weights[p]);
            }
        }
    }
    sums
}
