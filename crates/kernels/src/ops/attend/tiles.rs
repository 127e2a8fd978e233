//! The loop of the vector tiers: queries by tiles of positions.
//!
//! For every tile: the scores of all queries, weights from the scores, weighted values. The steps are a tier's
//! ([`AttendSteps`]); this file decides what meets what. Keys and values that meet many queries are first widened to
//! f32, a chunk at a time that stays in the first-level cache; few queries read the cache's own bytes. Both give the
//! same bits. What a query does not see is not added at all, so nothing that stands there can reach it.

use std::ops::Range;

use super::args::AttendArgs;
use super::part::{PADDING, PartLayout};
use super::positions::{TILE, Visible};
use super::scratch::{CHUNK, Scratch, padded};
use super::steps::{Ahead, AttendSteps, CachedRows, QUERIES, Rows, ScoreArgs, ValueArgs};
use crate::ops::kv::KvType;

/// From this many queries on, keys and values are widened first.
const MANY_QUERIES: usize = 9;

/// Adds a run of positions to the parts of the queries, by the steps of a tier.
pub(crate) fn attend(args: &mut AttendArgs<'_>, steps: &AttendSteps) {
    let (scratch, parts) = (std::mem::take(&mut args.scratch), std::mem::take(&mut args.parts));
    let n_queries = args.n_rows * args.n_group;
    if n_queries == 0 {
        return;
    }
    let mut scratch = Scratch::new(scratch, n_queries, args.head_dim, args.value_dim);
    scale_queries(args, scratch.queries);
    // Later tokens see no less of the first positions, and no earlier window.
    let (of_first, of_last) = (args.visible(0), args.visible(args.n_rows - 1));
    for first in (0..of_last.window.end).step_by(TILE) {
        if first >= of_last.n_sinks && first + TILE <= of_first.window.start {
            continue;
        }
        score_tile(args, steps, &mut scratch, first);
        soften_tile(args, steps, &mut scratch, parts, first);
        add_tile(args, steps, &mut scratch, parts, first);
    }
}

fn scale_queries(args: &AttendArgs<'_>, out: &mut [f32]) {
    let mut heads = out.chunks_exact_mut(padded(args.head_dim).max(1));
    for row in 0..args.n_rows {
        let queries = &args.queries[row * args.query_stride..][..args.n_group * args.head_dim];
        for (query, out) in queries.chunks_exact(args.head_dim.max(1)).zip(&mut heads) {
            let (out, padding) = out.split_at_mut(args.head_dim);
            out.iter_mut().zip(query).for_each(|(out, q)| *out = q * args.scale);
            padding.fill(0.0);
        }
    }
}

/// The chunks of the visible part of the tile at `first`: where each begins and its length.
fn chunks(args: &AttendArgs<'_>, first: usize, widens: bool) -> impl Iterator<Item = (usize, usize)> {
    let end = args.visible(args.n_rows - 1).window.end.min(first + TILE);
    let len = if widens { CHUNK } else { TILE };
    (first..end).step_by(len).map(move |at| (at, len.min(end - at)))
}

/// Whether rows of `dim` numbers are widened before they meet queries.
fn widens(args: &AttendArgs<'_>, dim: usize) -> bool {
    args.n_rows * args.n_group >= MANY_QUERIES || !dim.is_multiple_of(PADDING) || args.kv_type == KvType::Q8_0
}

/// `n` rows of `dim` numbers, widened if there is a place for that.
fn rows<'a>(
    steps: &AttendSteps,
    cached: CachedRows<'a>,
    n: usize,
    dim: usize,
    wide: Option<&'a mut [f32]>,
) -> Rows<'a> {
    match (wide, cached.kv_type) {
        (Some(wide), _) => {
            (steps.widen)(cached, n, dim, wide);
            Rows::Wide(wide)
        }
        (None, KvType::F16) => Rows::Halves(cached.bytes),
        (None, KvType::F32) => Rows::Singles(cached.bytes),
        (None, KvType::Q8_0) => unreachable!("rows of Q8_0 are widened before they meet queries"),
    }
}

fn score_tile(args: &AttendArgs<'_>, steps: &AttendSteps, scratch: &mut Scratch<'_>, first: usize) {
    let keys = CachedRows { kv_type: args.kv_type, bytes: args.keys[first / TILE] };
    let widens = widens(args, args.head_dim);
    for (at, n_keys) in chunks(args, first, widens) {
        let keys = keys.from(at - first, args.head_dim);
        (steps.score)(&mut ScoreArgs {
            queries: scratch.queries,
            dim: padded(args.head_dim),
            keys: rows(steps, keys, n_keys, args.head_dim, widens.then_some(&mut *scratch.wide)),
            n_keys,
            scores: &mut scratch.scores[at - first..],
            ahead: Ahead::new(args.values[first / TILE], at - first, args.kv_type.row_bytes(args.value_dim)),
        });
    }
}

fn soften_tile(args: &AttendArgs<'_>, steps: &AttendSteps, scratch: &mut Scratch<'_>, parts: &mut [f32], first: usize) {
    let layout = PartLayout::new(args.value_dim);
    let scores = scratch.scores.as_chunks_mut::<TILE>().0;
    for (q, (scores, part)) in scores.iter_mut().zip(parts.chunks_exact_mut(layout.len())).enumerate() {
        scratch.factors[q] = 1.0;
        let visible = visible(args, q, first, TILE);
        if !visible.is_empty() {
            if let Some(cap) = args.soft_cap {
                (steps.cap)(scores, cap);
            }
            scores[visible.n_sinks..visible.window.start].fill(f32::NEG_INFINITY);
            scores[visible.window.end..].fill(f32::NEG_INFINITY);
            let [max, sum] = part[layout.padded_dim()..].first_chunk_mut().expect("a part ends in its score and sum");
            let softened = (steps.soften)(scores, *max);
            (*max, *sum) = (softened.max, *sum * softened.factor + softened.sum);
            scratch.factors[q] = softened.factor;
        }
    }
}

fn add_tile(args: &AttendArgs<'_>, steps: &AttendSteps, scratch: &mut Scratch<'_>, parts: &mut [f32], first: usize) {
    let values = CachedRows { kv_type: args.kv_type, bytes: args.values[first / TILE] };
    let next_keys = args.keys.get(first / TILE + 1);
    let widens = widens(args, args.value_dim);
    let n_queries = args.n_rows * args.n_group;
    for (at, n) in chunks(args, first, widens) {
        let values = values.from(at - first, args.value_dim);
        let rows = rows(steps, values, n, args.value_dim, widens.then_some(&mut *scratch.wide));
        let ahead = next_keys.map(|keys| Ahead::new(keys, at - first, args.kv_type.row_bytes(args.head_dim)));
        for q in (0..n_queries).step_by(QUERIES) {
            let weights = &scratch.scores[at - first..];
            let chunk = Chunk { at, n, rows, weights, ahead: ahead.filter(|_| q == 0) };
            let group = q..n_queries.min(q + QUERIES);
            add_chunk(args, steps, chunk, &mut scratch.factors[..n_queries], parts, group);
        }
    }
}

/// Values of a part of a tile and the weights that queries give them.
#[derive(Clone, Copy)]
struct Chunk<'a> {
    at: usize,
    n: usize,
    rows: Rows<'a>,
    weights: &'a [f32],
    ahead: Option<Ahead>,
}

/// Adds a chunk to the parts of a group of queries, to each in the order of the positions: of the sinks and of the windows,
/// what only some see and what all see together.
fn add_chunk(
    args: &AttendArgs<'_>,
    steps: &AttendSteps,
    chunk: Chunk<'_>,
    factors: &mut [f32],
    parts: &mut [f32],
    group: Range<usize>,
) {
    let layout = PartLayout::new(args.value_dim);
    let mut add = |queries: Range<usize>, positions: Range<usize>, ahead| {
        if positions.is_empty() {
            return;
        }
        (steps.add_values)(&mut ValueArgs {
            weights: &chunk.weights[queries.start * TILE..],
            factors: &factors[queries.clone()],
            values: chunk.rows,
            positions,
            dim: layout.padded_dim(),
            parts: &mut parts[queries.start * layout.len()..queries.end * layout.len()],
            part_len: layout.len(),
            ahead,
        });
        // Further values of the tile meet a part that is relative to the new greatest score already.
        factors[queries].fill(1.0);
    };
    let visible = |q: usize| visible(args, q, chunk.at, chunk.n);
    // Later queries see more sinks, and a window from a later position on and up to a later one.
    let n_sinks = visible(group.start).n_sinks;
    add(group.clone(), 0..n_sinks, None);
    group.clone().for_each(|q| add(q..q + 1, n_sinks..visible(q).n_sinks, None));
    let common = visible(group.end - 1).window.start..visible(group.start).window.end;
    if common.is_empty() {
        return group.for_each(|q| add(q..q + 1, visible(q).window, None));
    }
    group.clone().for_each(|q| add(q..q + 1, visible(q).window.start..common.start, None));
    add(group.clone(), common.clone(), chunk.ahead);
    group.for_each(|q| add(q..q + 1, common.end..visible(q).window.end, None));
}

/// Which of the `n` positions from `first` on query `q` sees, counted from `first`.
fn visible(args: &AttendArgs<'_>, q: usize, first: usize, n: usize) -> Visible {
    args.visible(q / args.n_group).part(first, n)
}
