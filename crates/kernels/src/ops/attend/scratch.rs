//! Scratch memory of the loop in [`super::tiles`]: its parts and its length.

use super::part::PADDING;
use super::positions::TILE;

/// Positions that are widened at once: 16 KiB of 128 numbers each, half of a first-level cache.
pub(super) const CHUNK: usize = 32;

/// The parts of scratch memory.
pub(super) struct Scratch<'a> {
    /// Scaled queries, `[n_queries, padded head_dim]`.
    pub(super) queries: &'a mut [f32],
    /// `[n_queries, TILE]`.
    pub(super) scores: &'a mut [f32],
    /// `[n_queries]`.
    pub(super) factors: &'a mut [f32],
    /// A chunk of keys or values.
    pub(super) wide: &'a mut [f32],
}

impl<'a> Scratch<'a> {
    pub(super) fn new(memory: &'a mut [f32], n_queries: usize, head_dim: usize, value_dim: usize) -> Scratch<'a> {
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

pub(super) fn padded(dim: usize) -> usize {
    dim.next_multiple_of(PADDING)
}
