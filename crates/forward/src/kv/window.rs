//! What a token sees of the tokens before it.

use super::page::PAGE_TOKENS;

/// A window over the last tokens, and the first ones beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The most tokens that a token sees, of which it is the last.
    pub len: usize,
    /// The sequence's first tokens, which it sees in any case.
    pub n_sinks: usize,
}

impl Window {
    /// All tokens.
    pub const ALL: Window = Window { len: usize::MAX, n_sinks: 0 };

    /// Whether the page at `index` has a token that some token from position `first` on sees.
    pub(super) fn sees(self, index: usize, first: usize) -> bool {
        let (start, end) = (index * PAGE_TOKENS, (index + 1) * PAGE_TOKENS);
        start < self.n_sinks || (first + 1).saturating_sub(self.len) < end
    }

    /// The most pages that a sequence of `len` tokens needs, if passes compute up to `max_rows` and the last page's worth of
    /// tokens may be discarded.
    pub fn n_pages(self, len: usize, max_rows: usize) -> usize {
        let windowed = self.len.saturating_add(max_rows).div_ceil(PAGE_TOKENS).saturating_add(3);
        len.div_ceil(PAGE_TOKENS).min(windowed.saturating_add(self.n_sinks.div_ceil(PAGE_TOKENS)))
    }
}
