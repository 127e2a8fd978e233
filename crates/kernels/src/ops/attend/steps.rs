//! What a tier brings to the loop in [`super::tiles`], and the operands of each step.

use std::ops::Range;

use super::positions::TILE;
use crate::ops::kv::KvType;

/// Queries that meet values together.
pub(crate) const QUERIES: usize = 4;

/// The steps of a tier.
pub(crate) struct AttendSteps {
    /// Writes cached rows as f32, `[n, dim]` with zeros up to a multiple of 16: `(cached, n, dim, out)`.
    pub(crate) widen: fn(CachedRows<'_>, usize, usize, &mut [f32]),
    /// See [`ScoreArgs`].
    pub(crate) score: fn(&mut ScoreArgs<'_>),
    /// Replaces each score `s` by `cap * tanh(s / cap)`.
    pub(crate) cap: fn(&mut [f32; TILE], f32),
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

/// Keys or values of a length that is a multiple of 16, one after another.
#[derive(Clone, Copy)]
pub(crate) enum Rows<'a> {
    /// In half precision, as the cache has them.
    Halves(&'a [u8]),
    /// In single precision, as the cache has them.
    Singles(&'a [u8]),
    /// Widened.
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
/// A product has the same bits whatever other queries and keys there are. Scores behind the last are
/// overwritten up to the next multiple of 16.
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
    pub(super) fn from(self, first: usize, dim: usize) -> CachedRows<'a> {
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
    pub(super) fn new(tile: &[u8], first: usize, row_bytes: usize) -> Ahead {
        Ahead { first: tile.as_ptr().wrapping_add(first * row_bytes), row_bytes }
    }

    /// The address of row `i`, which need not exist.
    #[inline(always)]
    pub(crate) fn row(self, i: usize) -> *const u8 {
        self.first.wrapping_add(i * self.row_bytes)
    }
}
