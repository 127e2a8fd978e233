//! The steps of attention, four lanes at a time.
//!
//! A score is one chain of four lanes over the head's dimensions, summed in one fixed order; a number of the output is
//! one chain over the positions. Up to four queries meet four keys.

use std::arch::aarch64::*;

use super::exp::exp;
use super::lanes::{load_f32, load_halves, load_singles, prefetch_row, store_f32};
use crate::ops::tiles::{CachedRows, QUERIES, Rows, ScoreArgs, Softened, TILE, ValueArgs};
use crate::ops::{KvType, widen_q8_0};

/// Writes cached rows as f32 with zeros behind.
#[target_feature(enable = "neon")]
pub(super) fn widen(rows: CachedRows<'_>, n: usize, dim: usize, out: &mut [f32]) {
    let padded = dim.next_multiple_of(16);
    for (i, out) in (0..n).zip(out.chunks_exact_mut(padded)) {
        let row = rows.row(i, dim);
        if rows.kv_type == KvType::Q8_0 {
            widen_q8_0(row, out);
            continue;
        }
        let out = out.as_chunks_mut::<4>().0;
        match rows.kv_type {
            KvType::F16 => widen_row(row, out, |bytes| load_halves(bytes)),
            KvType::Q8_0 => unreachable!("the row has been widened"),
            KvType::F32 => widen_row(row, out, |bytes| load_singles(bytes)),
        }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn widen_row<const FOUR: usize>(row: &[u8], out: &mut [[f32; 4]], widen: impl Fn(&[u8; FOUR]) -> float32x4_t) {
    let (fours, rest) = row.as_chunks::<FOUR>();
    for (four, out) in fours.iter().zip(&mut *out) {
        store_f32(widen(four), out);
    }
    // What is left, with zeros behind, and then zeros alone.
    for (i, out) in out.iter_mut().enumerate().skip(fours.len()) {
        let mut last = [0; FOUR];
        if i == fours.len() {
            last[..rest.len()].copy_from_slice(rest);
        }
        store_f32(widen(&last), out);
    }
}

/// The products of queries and keys.
#[target_feature(enable = "neon")]
pub(super) fn score(args: &mut ScoreArgs<'_>) {
    let dim = args.dim;
    match args.keys {
        Rows::Wide(keys) => score_in(args, |k| keys[k * dim..][..dim].as_chunks().0, |key| load_f32(key)),
        Rows::Cached(keys) => match keys.kv_type {
            KvType::F16 => {
                score_in(args, |k| keys.row(k, dim).as_chunks().0, |key: &[u8; 8]| load_halves(key));
            }
            KvType::Q8_0 => unreachable!("rows of Q8_0 are widened before they meet queries"),
            KvType::F32 => score_in(args, |k| keys.row(k, dim).as_chunks().0, |key: &[u8; 16]| load_singles(key)),
        },
    }
}

/// Scores keys that come as rows of `T`; `widen` makes f32 of the four numbers in one.
#[inline]
#[target_feature(enable = "neon")]
fn score_in<'k, T: 'k>(
    args: &mut ScoreArgs<'_>,
    key: impl Fn(usize) -> &'k [T] + Copy,
    widen: impl Fn(&T) -> float32x4_t + Copy,
) {
    let n_queries = args.queries.len() / args.dim.max(1);
    for k in (0..args.n_keys).step_by(4) {
        (k..k + 4).for_each(|k| prefetch_row(args.ahead, k));
        // Keys past the end repeat the last one.
        let last = args.n_keys - 1;
        let keys = [key(k), key((k + 1).min(last)), key((k + 2).min(last)), key((k + 3).min(last))];
        let mut q = 0;
        while q + QUERIES <= n_queries {
            score_queries::<QUERIES, T>(args, q, k, keys, widen);
            q += QUERIES;
        }
        (q..n_queries).for_each(|q| score_queries::<1, T>(args, q, k, keys, widen));
    }
}

/// Writes the products of `Q` queries from `q` on and four keys from `k` on.
#[inline]
#[target_feature(enable = "neon")]
fn score_queries<const Q: usize, T>(
    args: &mut ScoreArgs<'_>,
    q: usize,
    k: usize,
    keys: [&[T]; 4],
    widen: impl Fn(&T) -> float32x4_t + Copy,
) {
    let mut queries: [&[[f32; 4]]; Q] = [&[]; Q];
    for i in 0..Q {
        queries[i] = args.queries[(q + i) * args.dim..][..args.dim].as_chunks().0;
    }
    let sums = dots(queries, keys, widen);
    for i in 0..Q {
        let scores = args.scores[(q + i) * TILE + k..].first_chunk_mut().expect("a tile holds whole vectors");
        store_f32(sums[i], scores);
    }
}

/// The products of `Q` queries and four keys, one key per lane.
#[inline]
#[target_feature(enable = "neon")]
fn dots<const Q: usize, T>(
    queries: [&[[f32; 4]]; Q],
    keys: [&[T]; 4],
    widen: impl Fn(&T) -> float32x4_t + Copy,
) -> [float32x4_t; Q] {
    let n = queries[0].len();
    let (mut query_rows, mut key_rows) = (queries, keys);
    for q in 0..Q {
        query_rows[q] = &queries[q][..n];
    }
    for k in 0..4 {
        key_rows[k] = &keys[k][..n];
    }
    let mut sums = [[vdupq_n_f32(0.0); 4]; Q];
    for i in 0..n {
        let mut key = [vdupq_n_f32(0.0); 4];
        for k in 0..4 {
            key[k] = widen(&key_rows[k][i]);
        }
        for q in 0..Q {
            let query = load_f32(&query_rows[q][i]);
            for k in 0..4 {
                sums[q][k] = vfmaq_f32(sums[q][k], query, key[k]);
            }
        }
    }
    let mut scores = [vdupq_n_f32(0.0); Q];
    for q in 0..Q {
        let [a, b, c, d] = sums[q];
        scores[q] = vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d));
    }
    scores
}

/// Turns scores into weights.
#[target_feature(enable = "neon")]
pub(super) fn soften(scores: &mut [f32; TILE], before: f32) -> Softened {
    let vectors = scores.as_chunks_mut::<4>().0;
    let mut max = vdupq_n_f32(before);
    for vector in &*vectors {
        // Unlike `vmaxq_f32` this takes the number of a number and a NaN; the NaN's weight is one anyway.
        max = vmaxnmq_f32(max, load_f32(vector));
    }
    let max = vmaxnmvq_f32(max);
    // Scores of minus infinity have no weight even when there is no other.
    let base = vdupq_n_f32(if max == f32::NEG_INFINITY { 0.0 } else { max });
    let mut sum = vdupq_n_f32(0.0);
    for vector in vectors {
        let weights = exp(vsubq_f32(load_f32(vector), base));
        sum = vaddq_f32(sum, weights);
        store_f32(weights, vector);
    }
    let factor = vgetq_lane_f32::<0>(exp(vsubq_f32(vdupq_n_f32(before), base)));
    Softened { max, sum: vaddvq_f32(sum), factor }
}

/// Adds weighted values.
#[target_feature(enable = "neon")]
pub(super) fn add_values(args: &mut ValueArgs<'_>) {
    let dim = args.dim;
    match args.values {
        Rows::Wide(values) => add_in(args, |p| values[p * dim..][..dim].as_chunks().0, |value| load_f32(value)),
        Rows::Cached(values) => match values.kv_type {
            KvType::F16 => {
                add_in(args, |p| values.row(p, dim).as_chunks().0, |value: &[u8; 8]| load_halves(value));
            }
            KvType::Q8_0 => unreachable!("rows of Q8_0 are widened before they meet queries"),
            KvType::F32 => add_in(args, |p| values.row(p, dim).as_chunks().0, |value: &[u8; 16]| load_singles(value)),
        },
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn add_in<'v, T: 'v>(
    args: &mut ValueArgs<'_>,
    value: impl Fn(usize) -> &'v [T] + Copy,
    widen: impl Fn(&T) -> float32x4_t + Copy,
) {
    if let Some(ahead) = args.ahead {
        args.positions.clone().for_each(|p| prefetch_row(ahead, p));
    }
    let n = args.dim / 4;
    let mut at = 0;
    if args.n_queries() == 1 {
        while at + 8 <= n {
            add_columns::<1, 8, T>(args, at, value, widen);
            at += 8;
        }
        (at..n).for_each(|at| add_columns::<1, 1, T>(args, at, value, widen));
    } else {
        while at + 4 <= n {
            add_columns::<QUERIES, 4, T>(args, at, value, widen);
            at += 4;
        }
        debug_assert_eq!(at, n, "values are padded to whole groups of vectors");
    }
}

/// Adds `V` vectors of columns from vector `at` on to the parts of `Q` queries, of which the last may be repeated.
#[inline]
#[target_feature(enable = "neon")]
fn add_columns<'v, const Q: usize, const V: usize, T: 'v>(
    args: &mut ValueArgs<'_>,
    at: usize,
    value: impl Fn(usize) -> &'v [T] + Copy,
    widen: impl Fn(&T) -> float32x4_t + Copy,
) {
    let last = args.n_queries() - 1;
    let mut sums = [[vdupq_n_f32(0.0); V]; Q];
    let mut weights = [&args.weights[..0]; Q];
    for q in 0..Q {
        let query = q.min(last);
        let factor = vdupq_n_f32(args.factors[query]);
        let part: &[[f32; 4]; V] = part(&args.parts[query * args.part_len..], at);
        for v in 0..V {
            sums[q][v] = vmulq_f32(factor, load_f32(&part[v]));
        }
        weights[q] = &args.weights[query * TILE..][..args.positions.end];
    }
    for p in args.positions.clone() {
        let value: &[T; V] = value(p)[at..].first_chunk().expect("the columns lie inside the value");
        let mut values = [vdupq_n_f32(0.0); V];
        for v in 0..V {
            values[v] = widen(&value[v]);
        }
        for q in 0..Q {
            let weight = vdupq_n_f32(weights[q][p]);
            for v in 0..V {
                sums[q][v] = vfmaq_f32(sums[q][v], weight, values[v]);
            }
        }
    }
    // A loop of constant length keeps the sums in registers.
    for (q, sums) in sums.iter().enumerate() {
        if q > last {
            break;
        }
        let part = args.parts[q * args.part_len..].as_chunks_mut::<4>().0;
        let part: &mut [[f32; 4]; V] = part[at..].first_chunk_mut().expect("the columns lie inside the part");
        for v in 0..V {
            store_f32(sums[v], &mut part[v]);
        }
    }
}

/// `V` vectors of a part from vector `at` on.
#[inline(always)]
fn part<const V: usize>(part: &[f32], at: usize) -> &[[f32; 4]; V] {
    part.as_chunks::<4>().0[at..].first_chunk().expect("the columns lie inside the part")
}
