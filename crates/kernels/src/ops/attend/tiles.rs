//! The loop of the vector tiers: queries by tiles of positions.
//!
//! For every tile: the scores of all queries, weights from the scores, weighted values. The steps are a tier's
//! ([`AttendSteps`]); this file decides what meets what. Keys and values that meet many queries are first widened to
//! f32, a chunk at a time that stays in the first-level cache; few queries read the cache's own bytes. Both give the
//! same bits. What a query does not see is not added at all, so nothing that stands there can reach it.

use std::ops::Range;

pub(crate) use super::args::TILE;
use super::args::{AttendArgs, Visible};
use super::part::{PADDING, PartLayout};
use crate::ops::{KvType, soft_cap};

/// Positions that are widened at once: 16 KiB of 128 numbers each, half of a first-level cache.
const CHUNK: usize = 32;

/// From this many queries on, keys and values are widened first.
const MANY_QUERIES: usize = 9;

/// Queries that meet values together.
pub(crate) const QUERIES: usize = 4;

/// The steps of a tier.
pub(crate) struct AttendSteps {
    /// Writes cached rows as f32, `[n, dim]` with zeros up to a multiple of 16: `(cached, n, dim, out)`.
    pub(crate) widen: fn(CachedRows<'_>, usize, usize, &mut [f32]),
    /// See [`ScoreArgs`].
    pub(crate) score: fn(&mut ScoreArgs<'_>),
    /// Turns scores into weights relative to the greatest score so far, given as the second argument.
    pub(crate) soften: fn(&mut [f32; TILE], f32) -> Softened,
    /// See [`ValueArgs`].
    pub(crate) add_values: fn(&mut ValueArgs<'_>),
}

/// Rows of the cache, one after another.
#[derive(Clone, Copy)]
pub(crate) struct CachedRows<'a> {
    pub(crate) kv_type: KvType,
    pub(crate) bytes: &'a [u8],
}

/// Keys or values of a length that is a multiple of 16.
#[derive(Clone, Copy)]
pub(crate) enum Rows<'a> {
    /// As the cache has them.
    Cached(CachedRows<'a>),
    /// One after another.
    Wide(&'a [f32]),
}

/// Rows of the cache that are needed soon: as many as are being worked on. Only their addresses matter.
#[derive(Clone, Copy)]
pub(crate) struct Ahead {
    first: *const u8,
    pub(crate) row_bytes: usize,
}

/// `scores[q * TILE + k]` becomes the product of query `q` and key `k`.
///
/// A product has the same bits whatever other queries and keys there are. Up to three scores behind the last are
/// written too, with anything.
pub(crate) struct ScoreArgs<'a> {
    /// `[n_queries, dim]`, scaled.
    pub(crate) queries: &'a [f32],
    /// A multiple of 16.
    pub(crate) dim: usize,
    pub(crate) keys: Rows<'a>,
    pub(crate) n_keys: usize,
    pub(crate) scores: &'a mut [f32],
    pub(crate) ahead: Ahead,
}

/// What softening a tile of scores found.
pub(crate) struct Softened {
    /// The greatest score so far.
    pub(crate) max: f32,
    /// The sum of the tile's weights.
    pub(crate) sum: f32,
    /// What makes sums that were relative to the former greatest score relative to this one.
    pub(crate) factor: f32,
}

/// The values of up to four parts are multiplied with their factors, then every position's weighted value is added.
///
/// A number of the result is one chain over the positions, whatever other queries there are.
pub(crate) struct ValueArgs<'a> {
    /// The weight of query `q` at position `p` is `weights[q * TILE + p]`.
    pub(crate) weights: &'a [f32],
    pub(crate) factors: &'a [f32],
    pub(crate) values: Rows<'a>,
    /// The positions to add.
    pub(crate) positions: Range<usize>,
    /// A multiple of 16.
    pub(crate) dim: usize,
    /// The parts of the queries, one after another.
    pub(crate) parts: &'a mut [f32],
    pub(crate) part_len: usize,
    pub(crate) ahead: Option<Ahead>,
}

impl ValueArgs<'_> {
    pub(crate) fn n_queries(&self) -> usize {
        self.factors.len()
    }
}

impl<'a> CachedRows<'a> {
    /// The rows of `dim` numbers from row `first` on.
    fn from(self, first: usize, dim: usize) -> CachedRows<'a> {
        CachedRows { bytes: &self.bytes[first * self.kv_type.row_bytes(dim)..], ..self }
    }

    /// The bytes of a row of `dim` numbers.
    #[inline(always)]
    pub(crate) fn row(self, row: usize, dim: usize) -> &'a [u8] {
        let row_bytes = self.kv_type.row_bytes(dim);
        &self.bytes[row * row_bytes..][..row_bytes]
    }
}

impl Ahead {
    /// Rows of `row_bytes` from row `first` of a tile on.
    fn new(tile: &[u8], first: usize, row_bytes: usize) -> Ahead {
        Ahead { first: tile.as_ptr().wrapping_add(first * row_bytes), row_bytes }
    }

    /// The address of row `i`, which need not exist.
    #[inline(always)]
    pub(crate) fn row(self, i: usize) -> *const u8 {
        self.first.wrapping_add(i * self.row_bytes)
    }
}

/// The parts of scratch memory.
struct Scratch<'a> {
    /// Scaled queries, `[n_queries, padded head_dim]`.
    queries: &'a mut [f32],
    /// `[n_queries, TILE]`.
    scores: &'a mut [f32],
    /// `[n_queries]`.
    factors: &'a mut [f32],
    /// A chunk of keys or values.
    wide: &'a mut [f32],
}

impl<'a> Scratch<'a> {
    fn new(memory: &'a mut [f32], n_queries: usize, head_dim: usize, value_dim: usize) -> Scratch<'a> {
        // Vectors that straddle cache lines cost twice.
        let at = memory.as_ptr().align_offset(64).min(PADDING);
        let (queries, rest) = memory[at..].split_at_mut(n_queries * padded(head_dim));
        let (scores, rest) = rest.split_at_mut(n_queries * TILE);
        let (wide, rest) = rest.split_at_mut(CHUNK * padded(head_dim.max(value_dim)));
        Scratch { queries, scores, factors: &mut rest[..n_queries], wide }
    }
}

/// Numbers of scratch for `n_queries` queries.
pub(super) fn scratch_len(n_queries: usize, head_dim: usize, value_dim: usize) -> usize {
    n_queries * (padded(head_dim) + TILE + 1) + CHUNK * padded(head_dim.max(value_dim)) + PADDING
}

fn padded(dim: usize) -> usize {
    dim.next_multiple_of(PADDING)
}

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

/// The chunks of the tile at `first`, as far as a query sees it: where each begins and its length.
fn chunks(args: &AttendArgs<'_>, first: usize, widens: bool) -> impl Iterator<Item = (usize, usize)> {
    let end = args.visible(args.n_rows - 1).window.end.min(first + TILE);
    let len = if widens { CHUNK } else { TILE };
    (first..end).step_by(len).map(move |at| (at, len.min(end - at)))
}

/// Whether rows of `dim` numbers are widened before they meet queries.
fn widens(args: &AttendArgs<'_>, dim: usize) -> bool {
    args.n_rows * args.n_group >= MANY_QUERIES || !dim.is_multiple_of(PADDING) || args.kv_type == KvType::Q8_0
}

fn score_tile(args: &AttendArgs<'_>, steps: &AttendSteps, scratch: &mut Scratch<'_>, first: usize) {
    let keys = CachedRows { kv_type: args.kv_type, bytes: args.keys[first / TILE] };
    let widens = widens(args, args.head_dim);
    for (at, n_keys) in chunks(args, first, widens) {
        let keys = keys.from(at - first, args.head_dim);
        let mut rows = Rows::Cached(keys);
        if widens {
            (steps.widen)(keys, n_keys, args.head_dim, scratch.wide);
            rows = Rows::Wide(scratch.wide);
        }
        (steps.score)(&mut ScoreArgs {
            queries: scratch.queries,
            dim: padded(args.head_dim),
            keys: rows,
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
                soft_cap(scores, cap);
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
        let mut rows = Rows::Cached(values);
        if widens {
            (steps.widen)(values, n, args.value_dim, scratch.wide);
            rows = Rows::Wide(scratch.wide);
        }
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
