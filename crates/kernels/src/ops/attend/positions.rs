//! Tiles of positions and what a token sees of them.

use std::ops::Range;

/// Positions between two updates of the running softmax. Tiles begin at multiples of it.
///
/// Counted in instructions, not measured: at 64, updating a query (the exponentials, and its output in and out of the
/// registers) is about a tenth of the products.
pub(crate) const TILE: usize = 64;

/// What a token sees of a run or of a part of it: its first positions, and those from further on.
#[derive(Clone, Debug)]
pub(super) struct Visible {
    pub(super) n_sinks: usize,
    /// Begins behind the sinks.
    pub(super) window: Range<usize>,
}

impl Visible {
    /// The part of `n` positions from `first` on, counted from there.
    pub(super) fn part(&self, first: usize, n: usize) -> Visible {
        let at = |position: usize| position.saturating_sub(first).min(n);
        Visible { n_sinks: at(self.n_sinks), window: at(self.window.start)..at(self.window.end) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.n_sinks == 0 && self.window.is_empty()
    }
}
