//! The steps of attention, sixteen lanes at a time.
//!
//! A score is one chain of sixteen lanes over the head's dimensions, summed in one fixed order; a number of the output is
//! one chain over the positions. Four queries meet four keys, or one query sixteen, in sixteen accumulators, whose sums
//! then fill one vector.

use std::arch::x86_64::*;

use super::exp::exp;
use super::lanes::{each, load_16, load_32, load_f32, load_singles, prefetch_row, store_f32, sum_sixteen_f32};
use crate::ops::tiles::{CachedRows, QUERIES, Rows, ScoreArgs, Softened, TILE, ValueArgs};
use crate::ops::{KvType, q8_0_block};

/// Writes cached rows as f32 with zeros behind.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn widen(rows: CachedRows<'_>, n: usize, dim: usize, out: &mut [f32]) {
    let padded = dim.next_multiple_of(16);
    for (i, out) in (0..n).zip(out.chunks_exact_mut(padded)) {
        let row = rows.row(i, dim);
        if rows.kv_type == KvType::Q8_0 {
            widen_blocks(row, out);
            continue;
        }
        let out = out.as_chunks_mut::<16>().0;
        match rows.kv_type {
            KvType::F16 => widen_row(row, out, |bytes| _mm512_cvtph_ps(load_32(bytes))),
            KvType::Q8_0 => unreachable!("the row has been widened"),
            KvType::F32 => widen_row(row, out, |bytes| load_singles(bytes)),
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn widen_row<const SIXTEEN: usize>(row: &[u8], out: &mut [[f32; 16]], widen: impl Fn(&[u8; SIXTEEN]) -> __m512) {
    let (sixteens, rest) = row.as_chunks::<SIXTEEN>();
    for (sixteen, out) in sixteens.iter().zip(&mut *out) {
        store_f32(widen(sixteen), out);
    }
    // What is left, with zeros behind, and then zeros alone.
    for (i, out) in out.iter_mut().enumerate().skip(sixteens.len()) {
        let mut last = [0; SIXTEEN];
        if i == sixteens.len() {
            last[..rest.len()].copy_from_slice(rest);
        }
        store_f32(widen(&last), out);
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

/// The products of queries and keys.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn score(args: &mut ScoreArgs<'_>) {
    let dim = args.dim;
    match args.keys {
        Rows::Wide(keys) => score_in(args, |k| keys[k * dim..][..dim].as_chunks().0, |key| load_f32(key)),
        Rows::Cached(keys) => match keys.kv_type {
            KvType::F16 => {
                score_in(args, |k| keys.row(k, dim).as_chunks().0, |key: &[u8; 32]| _mm512_cvtph_ps(load_32(key)));
            }
            KvType::Q8_0 => unreachable!("rows of Q8_0 are widened before they meet queries"),
            KvType::F32 => score_in(args, |k| keys.row(k, dim).as_chunks().0, |key: &[u8; 64]| load_singles(key)),
        },
    }
}

/// Scores keys that come as rows of `T`; `widen` makes f32 of the sixteen numbers in one.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn score_in<'k, T: 'k>(
    args: &mut ScoreArgs<'_>,
    key: impl Fn(usize) -> &'k [T] + Copy,
    widen: impl Fn(&T) -> __m512 + Copy,
) {
    let (dim, last_key) = (args.dim, args.n_keys - 1);
    let query = |q: usize| args.queries[q * dim..][..dim].as_chunks::<16>().0;
    let n_queries = args.queries.len() / dim.max(1);
    if n_queries == 1 {
        for k in (0..args.n_keys).step_by(16) {
            let mut keys = [key(k); 16];
            for (i, row) in keys.iter_mut().enumerate() {
                *row = key((k + i).min(last_key));
                prefetch_row(args.ahead, k + i);
            }
            let sums = sum_sixteen_f32(dots::<1, 16, T>([query(0)], keys, widen));
            store_f32(sums, args.scores[k..].first_chunk_mut().expect("a tile holds whole vectors"));
        }
        return;
    }
    for k in (0..args.n_keys).step_by(4) {
        let keys = each([0, 1, 2, 3], |i| key((k + i).min(last_key)));
        for i in 0..4 {
            prefetch_row(args.ahead, k + i);
        }
        for q in (0..n_queries).step_by(QUERIES) {
            let queries = each([0, 1, 2, 3], |i| query((q + i).min(n_queries - 1)));
            let mut sums = [0.0; 16];
            store_f32(sum_sixteen_f32(dots::<4, 4, T>(queries, keys, widen)), &mut sums);
            for (i, sums) in sums.as_chunks::<4>().0.iter().enumerate().take(n_queries - q) {
                args.scores[(q + i) * TILE + k..][..4].copy_from_slice(sums);
            }
        }
    }
}

/// The products of `Q` queries and `K` keys, still in sixteen lanes; all keys of the first query come first.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn dots<const Q: usize, const K: usize, T>(
    queries: [&[[f32; 16]]; Q],
    keys: [&[T]; K],
    widen: impl Fn(&T) -> __m512 + Copy,
) -> [__m512; 16] {
    let mut sums = [_mm512_setzero_ps(); 16];
    let n = queries[0].len();
    let queries = each(queries, |query| &query[..n]);
    let keys = each(keys, |key| &key[..n]);
    for i in 0..n {
        let query = each(queries, |query| load_f32(&query[i]));
        for k in 0..K {
            let key = widen(&keys[k][i]);
            for q in 0..Q {
                sums[q * K + k] = _mm512_fmadd_ps(query[q], key, sums[q * K + k]);
            }
        }
    }
    sums
}

/// Turns scores into weights.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn soften(scores: &mut [f32; TILE], before: f32) -> Softened {
    let vectors = scores.as_chunks_mut::<16>().0;
    let mut max = _mm512_set1_ps(before);
    for vector in &*vectors {
        max = _mm512_max_ps(load_f32(vector), max);
    }
    let max = _mm512_reduce_max_ps(max);
    // Scores of minus infinity have no weight even when there is no other.
    let base = _mm512_set1_ps(if max == f32::NEG_INFINITY { 0.0 } else { max });
    let mut sum = _mm512_setzero_ps();
    for vector in vectors {
        let weights = exp(_mm512_sub_ps(load_f32(vector), base));
        sum = _mm512_add_ps(sum, weights);
        store_f32(weights, vector);
    }
    let factor = if before == max { 1.0 } else { _mm512_cvtss_f32(exp(_mm512_sub_ps(_mm512_set1_ps(before), base))) };
    Softened { max, sum: _mm512_reduce_add_ps(sum), factor }
}

/// Adds weighted values.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn add_values(args: &mut ValueArgs<'_>) {
    let dim = args.dim;
    match args.values {
        Rows::Wide(values) => add_in(args, |p| values[p * dim..][..dim].as_chunks().0, |value| load_f32(value)),
        Rows::Cached(values) => match values.kv_type {
            KvType::F16 => {
                add_in(args, |p| values.row(p, dim).as_chunks().0, |value: &[u8; 32]| _mm512_cvtph_ps(load_32(value)));
            }
            KvType::Q8_0 => unreachable!("rows of Q8_0 are widened before they meet queries"),
            KvType::F32 => add_in(args, |p| values.row(p, dim).as_chunks().0, |value: &[u8; 64]| load_singles(value)),
        },
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn add_in<'v, T: 'v>(
    args: &mut ValueArgs<'_>,
    value: impl Fn(usize) -> &'v [T] + Copy,
    widen: impl Fn(&T) -> __m512 + Copy,
) {
    let n = args.dim / 16;
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
        (at..n).for_each(|at| add_columns::<QUERIES, 1, T>(args, at, value, widen));
    }
}

/// Adds `V` vectors of columns from vector `at` on to the parts of `Q` queries, of which the last may be repeated.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn add_columns<'v, const Q: usize, const V: usize, T: 'v>(
    args: &mut ValueArgs<'_>,
    at: usize,
    value: impl Fn(usize) -> &'v [T] + Copy,
    widen: impl Fn(&T) -> __m512 + Copy,
) {
    let last = args.n_queries() - 1;
    let mut sums = [[_mm512_setzero_ps(); V]; Q];
    let mut weights = [&args.weights[..0]; Q];
    for q in 0..Q {
        let query = q.min(last);
        let factor = _mm512_set1_ps(args.factors[query]);
        let part: &[[f32; 16]; V] = part(&args.parts[query * args.part_len..], at);
        for v in 0..V {
            sums[q][v] = _mm512_mul_ps(factor, load_f32(&part[v]));
        }
        weights[q] = &args.weights[query * TILE..][..args.positions.end];
    }
    for p in args.positions.clone() {
        if let (0, Some(ahead)) = (at, args.ahead) {
            prefetch_row(ahead, p);
        }
        let value: &[T; V] = value(p)[at..].first_chunk().expect("the columns lie inside the value");
        let mut values = [_mm512_setzero_ps(); V];
        for v in 0..V {
            values[v] = widen(&value[v]);
        }
        for q in 0..Q {
            let weight = _mm512_set1_ps(weights[q][p]);
            for v in 0..V {
                sums[q][v] = _mm512_fmadd_ps(weight, values[v], sums[q][v]);
            }
        }
    }
    // A loop of constant length keeps the sums in registers.
    for (q, sums) in sums.iter().enumerate() {
        if q > last {
            break;
        }
        let part = args.parts[q * args.part_len..].as_chunks_mut::<16>().0;
        let part: &mut [[f32; 16]; V] = part[at..].first_chunk_mut().expect("the columns lie inside the part");
        for v in 0..V {
            store_f32(sums[v], &mut part[v]);
        }
    }
}

/// `V` vectors of a part from vector `at` on.
#[inline(always)]
fn part<const V: usize>(part: &[f32], at: usize) -> &[[f32; 16]; V] {
    part.as_chunks::<16>().0[at..].first_chunk().expect("the columns lie inside the part")
}
