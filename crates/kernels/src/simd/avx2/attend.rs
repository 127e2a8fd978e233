//! The steps of attention, eight lanes at a time.
//!
//! A score is one chain of eight lanes over the head's dimensions, summed in one fixed order; a number of the output is
//! one chain over the positions. Four queries meet two keys, or one query four.

use std::arch::x86_64::*;

use super::exp::exp;
use super::lanes::{load_16, load_32, load_f32, prefetch_row, store_f32, sum_f32, sum_four_f32};
use crate::ops::tiles::{CachedRows, QUERIES, Rows, ScoreArgs, Softened, TILE, ValueArgs};
use crate::ops::{KvType, widen_q8_0};

/// Writes cached rows as f32 with zeros behind.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn widen(rows: CachedRows<'_>, n: usize, dim: usize, out: &mut [f32]) {
    let padded = dim.next_multiple_of(16);
    for (i, out) in (0..n).zip(out.chunks_exact_mut(padded)) {
        let row = rows.row(i, dim);
        if rows.kv_type == KvType::Q8_0 {
            widen_q8_0(row, out);
            continue;
        }
        let out = out.as_chunks_mut::<8>().0;
        match rows.kv_type {
            KvType::F16 => widen_row(row, out, |bytes| _mm256_cvtph_ps(load_16(bytes))),
            KvType::Q8_0 => unreachable!("the row has been widened"),
            KvType::F32 => widen_row(row, out, |bytes| _mm256_castsi256_ps(load_32(bytes))),
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn widen_row<const EIGHT: usize>(row: &[u8], out: &mut [[f32; 8]], widen: impl Fn(&[u8; EIGHT]) -> __m256) {
    let (eights, rest) = row.as_chunks::<EIGHT>();
    for (eight, out) in eights.iter().zip(&mut *out) {
        store_f32(widen(eight), out);
    }
    // What is left, with zeros behind, and then zeros alone.
    for (i, out) in out.iter_mut().enumerate().skip(eights.len()) {
        let mut last = [0; EIGHT];
        if i == eights.len() {
            last[..rest.len()].copy_from_slice(rest);
        }
        store_f32(widen(&last), out);
    }
}

/// The products of queries and keys.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn score(args: &mut ScoreArgs<'_>) {
    let dim = args.dim;
    match args.keys {
        Rows::Wide(keys) => score_in(args, |k| keys[k * dim..][..dim].as_chunks().0, |key| load_f32(key)),
        Rows::Cached(keys) => match keys.kv_type {
            KvType::F16 => {
                score_in(args, |k| keys.row(k, dim).as_chunks().0, |key: &[u8; 16]| _mm256_cvtph_ps(load_16(key)));
            }
            KvType::Q8_0 => unreachable!("rows of Q8_0 are widened before they meet queries"),
            KvType::F32 => {
                score_in(args, |k| keys.row(k, dim).as_chunks().0, |key: &[u8; 32]| _mm256_castsi256_ps(load_32(key)))
            }
        },
    }
}

/// Scores keys that come as rows of `T`; `widen` makes f32 of the eight numbers in one.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn score_in<'k, T: 'k>(
    args: &mut ScoreArgs<'_>,
    key: impl Fn(usize) -> &'k [T] + Copy,
    widen: impl Fn(&T) -> __m256 + Copy,
) {
    let (dim, last_key) = (args.dim, args.n_keys - 1);
    let query = |q: usize| args.queries[q * dim..][..dim].as_chunks::<8>().0;
    let n_queries = args.queries.len() / dim.max(1);
    if n_queries == 1 {
        for k in (0..args.n_keys).step_by(4) {
            let mut keys = [key(k); 4];
            for (i, row) in keys.iter_mut().enumerate() {
                *row = key((k + i).min(last_key));
                prefetch_row(args.ahead, k + i);
            }
            let sums = sum_four_f32(dots::<1, 4, T>([query(0)], keys, widen)[0]);
            args.scores[k..][..4].copy_from_slice(&sums);
        }
        return;
    }
    for k in (0..args.n_keys).step_by(2) {
        let keys = [key(k), key((k + 1).min(last_key))];
        for i in 0..2 {
            prefetch_row(args.ahead, k + i);
        }
        for q in (0..n_queries).step_by(QUERIES) {
            let at = |i: usize| query((q + i).min(n_queries - 1));
            let [a, b, c, d] = dots::<4, 2, T>([at(0), at(1), at(2), at(3)], keys, widen);
            let sums = [sum_four_f32([a[0], a[1], b[0], b[1]]), sum_four_f32([c[0], c[1], d[0], d[1]])];
            for (i, sums) in sums.as_flattened().as_chunks::<2>().0.iter().enumerate().take(n_queries - q) {
                args.scores[(q + i) * TILE + k..][..2].copy_from_slice(sums);
            }
        }
    }
}

/// The products of `Q` queries and `K` keys, still in eight lanes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn dots<const Q: usize, const K: usize, T>(
    queries: [&[[f32; 8]]; Q],
    keys: [&[T]; K],
    widen: impl Fn(&T) -> __m256 + Copy,
) -> [[__m256; K]; Q] {
    let mut sums = [[_mm256_setzero_ps(); K]; Q];
    let n = queries[0].len();
    let (mut query_rows, mut key_rows) = (queries, keys);
    for q in 0..Q {
        query_rows[q] = &queries[q][..n];
    }
    for k in 0..K {
        key_rows[k] = &keys[k][..n];
    }
    for i in 0..n {
        let mut key = [_mm256_setzero_ps(); K];
        for k in 0..K {
            key[k] = widen(&key_rows[k][i]);
        }
        for q in 0..Q {
            let query = load_f32(&query_rows[q][i]);
            for k in 0..K {
                sums[q][k] = _mm256_fmadd_ps(query, key[k], sums[q][k]);
            }
        }
    }
    sums
}

/// Turns scores into weights.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn soften(scores: &mut [f32; TILE], before: f32) -> Softened {
    let vectors = scores.as_chunks_mut::<8>().0;
    let mut max = _mm256_set1_ps(before);
    for vector in &*vectors {
        max = _mm256_max_ps(load_f32(vector), max);
    }
    let mut lanes = [0.0; 8];
    store_f32(max, &mut lanes);
    let max = lanes.into_iter().fold(before, f32::max);
    // Scores of minus infinity have no weight even when there is no other.
    let base = _mm256_set1_ps(if max == f32::NEG_INFINITY { 0.0 } else { max });
    let mut sum = _mm256_setzero_ps();
    for vector in vectors {
        let weights = exp(_mm256_sub_ps(load_f32(vector), base));
        sum = _mm256_add_ps(sum, weights);
        store_f32(weights, vector);
    }
    let factor = _mm256_cvtss_f32(exp(_mm256_sub_ps(_mm256_set1_ps(before), base)));
    Softened { max, sum: sum_f32(sum), factor }
}

/// Adds weighted values.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn add_values(args: &mut ValueArgs<'_>) {
    let dim = args.dim;
    match args.values {
        Rows::Wide(values) => add_in(args, |p| values[p * dim..][..dim].as_chunks().0, |value| load_f32(value)),
        Rows::Cached(values) => match values.kv_type {
            KvType::F16 => {
                add_in(args, |p| values.row(p, dim).as_chunks().0, |value: &[u8; 16]| _mm256_cvtph_ps(load_16(value)));
            }
            KvType::Q8_0 => unreachable!("rows of Q8_0 are widened before they meet queries"),
            KvType::F32 => add_in(
                args,
                |p| values.row(p, dim).as_chunks().0,
                |value: &[u8; 32]| _mm256_castsi256_ps(load_32(value)),
            ),
        },
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_in<'v, T: 'v>(
    args: &mut ValueArgs<'_>,
    value: impl Fn(usize) -> &'v [T] + Copy,
    widen: impl Fn(&T) -> __m256 + Copy,
) {
    let n = args.dim / 8;
    let mut at = 0;
    if args.n_queries() == 1 {
        while at + 8 <= n {
            add_columns::<1, 8, T>(args, at, value, widen);
            at += 8;
        }
        (at..n).for_each(|at| add_columns::<1, 1, T>(args, at, value, widen));
    } else {
        while at + 2 <= n {
            add_columns::<QUERIES, 2, T>(args, at, value, widen);
            at += 2;
        }
        debug_assert_eq!(at, n, "values are padded to whole pairs of vectors");
    }
}

/// Adds `V` vectors of columns from vector `at` on to the parts of `Q` queries, of which the last may be repeated.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_columns<'v, const Q: usize, const V: usize, T: 'v>(
    args: &mut ValueArgs<'_>,
    at: usize,
    value: impl Fn(usize) -> &'v [T] + Copy,
    widen: impl Fn(&T) -> __m256 + Copy,
) {
    let last = args.n_queries() - 1;
    let mut sums = [[_mm256_setzero_ps(); V]; Q];
    let mut weights = [&args.weights[..0]; Q];
    for q in 0..Q {
        let query = q.min(last);
        let factor = _mm256_set1_ps(args.factors[query]);
        let part: &[[f32; 8]; V] = part(&args.parts[query * args.part_len..], at);
        for v in 0..V {
            sums[q][v] = _mm256_mul_ps(factor, load_f32(&part[v]));
        }
        weights[q] = &args.weights[query * TILE..][..args.positions.end];
    }
    for p in args.positions.clone() {
        if let (0, Some(ahead)) = (at, args.ahead) {
            prefetch_row(ahead, p);
        }
        let value: &[T; V] = value(p)[at..].first_chunk().expect("the columns lie inside the value");
        let mut values = [_mm256_setzero_ps(); V];
        for v in 0..V {
            values[v] = widen(&value[v]);
        }
        for q in 0..Q {
            let weight = _mm256_set1_ps(weights[q][p]);
            for v in 0..V {
                sums[q][v] = _mm256_fmadd_ps(weight, values[v], sums[q][v]);
            }
        }
    }
    // A loop of constant length keeps the sums in registers.
    for (q, sums) in sums.iter().enumerate() {
        if q > last {
            break;
        }
        let part = args.parts[q * args.part_len..].as_chunks_mut::<8>().0;
        let part: &mut [[f32; 8]; V] = part[at..].first_chunk_mut().expect("the columns lie inside the part");
        for v in 0..V {
            store_f32(sums[v], &mut part[v]);
        }
    }
}

/// `V` vectors of a part from vector `at` on.
#[inline(always)]
fn part<const V: usize>(part: &[f32], at: usize) -> &[[f32; 8]; V] {
    part.as_chunks::<8>().0[at..].first_chunk().expect("the columns lie inside the part")
}
