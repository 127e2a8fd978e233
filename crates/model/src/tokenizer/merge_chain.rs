//! Merges neighbours by priority: the loop that both tokenizers share.
//!
//! A [`MergeChain`] holds the symbols of one word as a linked list and the mergeable pairs in a heap. The caller decides
//! which pairs merge and in which order. A merge leaves stale pairs in the heap; they are recognised when popped, because
//! a symbol only ever grows or disappears. So a word of n symbols always costs O(n log n).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::vocabulary::TokenId;

/// Marks a symbol without a token; no vocabulary has this many.
pub(super) const ABSENT: TokenId = TokenId::MAX;

/// No neighbour.
const END: u32 = u32::MAX;

/// A run of the word's bytes, and the token that spells it.
#[derive(Clone, Copy)]
pub(super) struct Symbol {
    pub(super) start: u32,
    /// In bytes; 0 once it is merged into the symbol on its left.
    pub(super) len: u32,
    pub(super) token: TokenId,
    prev: u32,
    next: u32,
}

/// What two neighbours merge into.
pub(super) struct Merge {
    /// Smaller merges first; on a tie, the leftmost pair.
    pub(super) order: u32,
    pub(super) token: TokenId,
}

/// A pair in the heap. The derived order compares the fields from top to bottom.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    order: u32,
    left: u32,
    right: u32,
    /// The length of both when the pair was found.
    len: u32,
    token: TokenId,
}

/// The symbols of a word and its mergeable pairs; reused across words.
#[derive(Default)]
pub(super) struct MergeChain {
    symbols: Vec<Symbol>,
    pairs: BinaryHeap<Reverse<Pair>>,
}

impl MergeChain {
    /// Removes the previous word.
    pub(super) fn clear(&mut self) {
        self.symbols.clear();
        self.pairs.clear();
    }

    /// Appends a symbol of `len` bytes.
    ///
    /// Panics past 4 GiB in one word.
    pub(super) fn push(&mut self, len: usize, token: TokenId) {
        let start = self.symbols.last().map_or(0, |last| last.start + last.len);
        let len = u32::try_from(len).expect("a symbol is a character");
        start.checked_add(len).expect("a word is shorter than 4 GiB");
        let index = self.symbols.len() as u32;
        if let Some(last) = self.symbols.last_mut() {
            last.next = index;
        }
        self.symbols.push(Symbol { start, len, token, prev: index.wrapping_sub(1), next: END });
    }

    /// Merges until no pair is left; `find` returns the merge of two neighbours.
    pub(super) fn merge(&mut self, find: impl Fn(&Symbol, &Symbol) -> Option<Merge>) {
        for right in 1..self.symbols.len() as u32 {
            self.offer(right - 1, right, &find);
        }
        while let Some(Reverse(pair)) = self.pairs.pop() {
            if self.is_stale(&pair) {
                continue;
            }
            self.join(&pair);
            let (prev, next) = (self.symbols[pair.left as usize].prev, self.symbols[pair.left as usize].next);
            self.offer(prev, pair.left, &find);
            self.offer(pair.left, next, &find);
        }
    }

    /// The symbols that are left, in order.
    pub(super) fn symbols(&self) -> impl Iterator<Item = &Symbol> {
        self.symbols.iter().filter(|symbol| symbol.len > 0)
    }

    fn offer(&mut self, left: u32, right: u32, find: &impl Fn(&Symbol, &Symbol) -> Option<Merge>) {
        if left == END || right == END {
            return;
        }
        let (a, b) = (&self.symbols[left as usize], &self.symbols[right as usize]);
        if let Some(Merge { order, token }) = find(a, b) {
            self.pairs.push(Reverse(Pair { order, left, right, len: a.len + b.len, token }));
        }
    }

    /// Whether either side has grown or disappeared since the pair was found.
    fn is_stale(&self, pair: &Pair) -> bool {
        let (left, right) = (&self.symbols[pair.left as usize], &self.symbols[pair.right as usize]);
        left.len == 0 || right.len == 0 || left.len + right.len != pair.len
    }

    fn join(&mut self, pair: &Pair) {
        let next = self.symbols[pair.right as usize].next;
        self.symbols[pair.right as usize].len = 0;
        if next != END {
            self.symbols[next as usize].prev = pair.left;
        }
        let left = &mut self.symbols[pair.left as usize];
        (left.len, left.token, left.next) = (pair.len, pair.token, next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Merges equal neighbours; the token of a symbol is its length, longer is more urgent.
    fn merged(lens: &[usize]) -> Vec<u32> {
        let mut chain = MergeChain::default();
        for &len in lens {
            chain.push(len, len as TokenId);
        }
        chain.merge(|a, b| (a.len == b.len).then_some(Merge { order: 100 - a.len, token: 2 * a.len }));
        chain.symbols().map(|symbol| symbol.token).collect()
    }

    #[test]
    fn of_equal_pairs_the_leftmost_merges_first() {
        assert_eq!(merged(&[1, 1, 1]), [2, 1]);
        assert_eq!(merged(&[1; 7]), [4, 2, 1]);
    }

    #[test]
    fn urgency_beats_position() {
        assert_eq!(merged(&[1, 1, 2, 2]), [2, 4]);
    }

    #[test]
    fn nothing_and_one_symbol_stay_as_they_are() {
        assert_eq!(merged(&[]), [0u32; 0]);
        assert_eq!(merged(&[3]), [3]);
    }
}
