//! The operands of attention.

use super::part::PartLayout;
use super::positions::{TILE, Visible};
use super::scratch::scratch_len;
use crate::ops::kv::KvType;

/// The operands of [`Kernels::attend`](crate::Kernels::attend): consecutive tokens of a sequence, the query heads of
/// each that share a key-value head, and a run of cached positions.
///
/// The cache comes in tiles of [`AttendArgs::TILE`] positions: the run's position `p` is row `p % TILE` of tile
/// `p / TILE`, where a key-value head's rows lie one after another.
#[derive(Debug)]
pub struct AttendArgs<'a> {
    /// The type of `keys` and `values`.
    pub kv_type: KvType,
    /// Tokens; token `r` stands at position `first_row + r` of the sequence and sees positions up to its own.
    pub n_rows: usize,
    /// Query heads of a token.
    pub n_group: usize,
    /// Numbers in a query and in a key.
    pub head_dim: usize,
    /// Numbers in a value.
    pub value_dim: usize,
    /// The queries of token `r`, `[n_group, head_dim]`, begin at `r * query_stride`.
    pub queries: &'a [f32],
    /// Numbers from one token's queries to the next.
    pub query_stride: usize,
    /// The keys of the run, tiles of `[TILE, head_dim]`; the last may end with the run.
    pub keys: &'a [&'a [u8]],
    /// The values of the run, tiles of `[TILE, value_dim]`; the last may end with the run.
    pub values: &'a [&'a [u8]],
    /// Where in the sequence the run begins: a multiple of [`AttendArgs::TILE`].
    pub start: usize,
    /// Positions in the run.
    pub n_positions: usize,
    /// The first token's position in the sequence.
    pub first_row: usize,
    /// The most positions that a token sees, of which its own is the last.
    pub window: usize,
    /// The sequence's first positions, which a token sees even when they are outside its window.
    pub n_sinks: usize,
    /// What the dot products of queries and keys are multiplied with.
    pub scale: f32,
    /// Turns a scaled score `s` into `cap * tanh(s / cap)`. Source: Gemma 2 report, section 2.
    pub soft_cap: Option<f32>,
    /// At least [`AttendArgs::scratch_len`] numbers; their contents do not matter.
    pub scratch: &'a mut [f32],
    /// What the queries have gathered so far, `[n_rows, n_group, part length]`; the run is added.
    pub parts: &'a mut [f32],
}

impl AttendArgs<'_> {
    /// Positions between two updates of the running softmax. A run that is cut at multiples gives the same bits as one
    /// that is not.
    pub const TILE: usize = TILE;

    /// Numbers of scratch for `n_queries` queries (tokens times heads).
    pub fn scratch_len(n_queries: usize, head_dim: usize, value_dim: usize) -> usize {
        scratch_len(n_queries, head_dim, value_dim)
    }

    /// The run's positions that token `row` sees.
    pub(super) fn visible(&self, row: usize) -> Visible {
        let end = self.first_row + row + 1;
        let first = end.saturating_sub(self.window).saturating_sub(self.start);
        let end = end.saturating_sub(self.start).min(self.n_positions);
        let first = first.min(end);
        Visible { n_sinks: self.n_sinks.saturating_sub(self.start).min(first), window: first..end }
    }

    /// Panics if a slice does not hold what the dimensions say.
    pub(crate) fn check(&self) {
        let n_queries = self.n_rows.checked_mul(self.n_group).expect("attend: queries");
        assert!(self.start.is_multiple_of(TILE), "attend: a run from position {}", self.start);
        assert!(self.first_row.checked_add(self.n_rows).is_some(), "attend: rows");
        let a_row = self.n_group.checked_mul(self.head_dim);
        assert!(holds(self.queries.len(), self.n_rows, self.query_stride, a_row), "attend: queries");
        let can_hold = self.kv_type.holds(self.head_dim) && self.kv_type.holds(self.value_dim);
        assert!(can_hold, "attend: rows of {:?} that end inside a block", self.kv_type);
        assert!(self.holds(self.keys, self.head_dim), "attend: keys end early");
        assert!(self.holds(self.values, self.value_dim), "attend: values end early");
        let parts = n_queries.checked_mul(PartLayout::new(self.value_dim).len());
        assert_eq!(Some(self.parts.len()), parts, "attend: parts");
        let scratch = AttendArgs::scratch_len(n_queries, self.head_dim, self.value_dim);
        assert!(self.scratch.len() >= scratch, "attend: {} of {scratch} numbers of scratch", self.scratch.len());
    }

    /// Whether tiles hold a row of `dim` numbers for every position of the run.
    fn holds(&self, tiles: &[&[u8]], dim: usize) -> bool {
        let holds = |tile: &[u8], n: usize| n.checked_mul(self.kv_type.row_bytes(dim)).is_some_and(|n| n <= tile.len());
        let firsts = (0..self.n_positions).step_by(TILE);
        firsts.len() <= tiles.len()
            && firsts.zip(tiles).all(|(first, tile)| holds(tile, TILE.min(self.n_positions - first)))
    }
}

/// Whether `len` items hold `n` rows of `row_len` that begin `stride` apart.
fn holds(len: usize, n: usize, stride: usize, row_len: Option<usize>) -> bool {
    let Some(last) = n.checked_sub(1) else { return true };
    let end = last.checked_mul(stride).zip(row_len).and_then(|(last, row_len)| last.checked_add(row_len));
    end.is_some_and(|end| end <= len)
}
