//! Which sequence has which pages of the cache, and how many tokens.

use std::collections::BTreeMap;

use super::ops::KvOps;
use super::owners::PageOwners;
use super::page::{KvRow, PAGE_TOKENS, PageId};
use super::window::Window;
use crate::batch::{Batch, Segment};
use crate::error::ForwardError;
use crate::placement::{Placement, Row};
use crate::seq_id::SeqId;

/// A sequence in the cache.
#[derive(Debug, Default)]
struct Sequence {
    /// Tokens whose keys and values are there.
    len: usize,
    /// At least those of its tokens, in order.
    pages: Vec<PageId>,
    /// The parents of drafts that the last pass computed behind its tokens, until some are accepted.
    tree: Vec<Option<usize>>,
}

/// The sequences in a cache: bookkeeping alone, for whatever holds the bytes.
#[derive(Debug)]
pub struct Sequences {
    ctx: usize,
    window: Window,
    max_rows: usize,
    pages: PageOwners,
    sequences: BTreeMap<SeqId, Sequence>,
}

impl Sequences {
    /// For sequences of up to `ctx` tokens in `n_pages` pages.
    pub fn new(ctx: usize, n_pages: usize) -> Sequences {
        Sequences::with_window(ctx, n_pages, Window::ALL, 0)
    }

    /// The same, for passes of up to `max_rows` tokens that see no further than a window. Pages that no token will see
    /// again are free, except for one behind the window, so that tokens can be taken back.
    pub fn with_window(ctx: usize, n_pages: usize, window: Window, max_rows: usize) -> Sequences {
        Sequences { ctx, window, max_rows, pages: PageOwners::new(n_pages), sequences: BTreeMap::new() }
    }

    /// Gives every token of a batch its position and a page to lie in, but lengthens no sequence yet. Afterwards the pass
    /// must [`commit`](Sequences::commit) or [`abandon`](Sequences::abandon) the batch.
    ///
    /// Errors: a segment does not begin at its sequence's end, or there is no room. Nothing has changed then.
    pub fn admit(&mut self, batch: &Batch) -> Result<Placement, ForwardError> {
        batch.segments.iter().for_each(|segment| self.discard_tree(segment.seq));
        let mut wanted = 0;
        for segment in &batch.segments {
            let (seq, start, n) = (segment.seq, segment.start, segment.tokens.len());
            let len = self.len(seq);
            if start != len {
                return Err(ForwardError::Position { seq, start, len });
            }
            if len + n > self.ctx {
                return Err(ForwardError::ContextFull { ctx: self.ctx, wanted: len + n });
            }
            wanted += self.n_new_pages(seq, n);
        }
        if wanted > self.pages.n_free() {
            return Err(ForwardError::KvFull { wanted, free: self.pages.n_free() });
        }
        let mut placement = Placement { n_few: batch.n_few(), ..Placement::default() };
        for segment in &batch.segments {
            let sequence = self.sequences.entry(segment.seq).or_default();
            let copied = sequence.make_room(segment.tokens.len(), &mut self.pages);
            placement.copies.extend(copied);
            placement.pages.push(sequence.pages.clone());
        }
        for (i, segment) in batch.in_row_order() {
            add_rows(&mut placement.rows, i, segment);
        }
        Ok(placement)
    }

    /// Appends the rows of a tree that are a path from its root, and discards the others: the places of their keys and
    /// values, each with the one that it moves to.
    ///
    /// Errors: there is no such path. Nothing has changed then.
    pub(crate) fn accept(&mut self, seq: SeqId, rows: &[usize]) -> Result<Vec<(KvRow, KvRow)>, ForwardError> {
        let not_a_path = || ForwardError::NotAPath { seq, rows: rows.to_vec() };
        let sequence = self.sequences.get_mut(&seq).ok_or_else(not_a_path)?;
        let parents = [None].into_iter().chain(rows.iter().copied().map(Some));
        if !rows.iter().zip(parents).all(|(row, parent)| sequence.tree.get(*row) == Some(&parent)) {
            return Err(not_a_path());
        }
        let place = |slot: usize| KvRow { page: sequence.pages[slot / PAGE_TOKENS], row: slot % PAGE_TOKENS };
        let moves = rows.iter().enumerate().filter(|(to, from)| *to != **from);
        let pairs = moves.map(|(to, from)| (place(sequence.len + from), place(sequence.len + to))).collect();
        sequence.len += rows.len();
        self.discard_tree(seq);
        self.release_behind_window(seq);
        Ok(pairs)
    }

    /// Discards the drafts of a sequence that nobody has accepted.
    fn discard_tree(&mut self, seq: SeqId) {
        let Some(sequence) = self.sequences.get_mut(&seq).filter(|sequence| !sequence.tree.is_empty()) else { return };
        sequence.tree.clear();
        let kept = sequence.len.div_ceil(PAGE_TOKENS);
        sequence.pages.drain(kept..).for_each(|page| self.pages.release(page));
    }

    /// Frees the pages that no further token sees.
    fn release_behind_window(&mut self, seq: SeqId) {
        let Some(sequence) = self.sequences.get_mut(&seq) else { return };
        let first = sequence.len.saturating_sub(PAGE_TOKENS);
        for (i, page) in sequence.pages.iter_mut().enumerate().filter(|(i, _)| !self.window.sees(*i, first)) {
            debug_assert!(i * PAGE_TOKENS < sequence.len);
            self.pages.release(std::mem::replace(page, PageId::GONE));
        }
    }

    /// Adds a sequence of `len` tokens, whose keys and values the caller brings.
    ///
    /// Errors: the context is shorter, or too few pages are free. Panics if `seq` is there already.
    pub fn insert(&mut self, seq: SeqId, len: usize) -> Result<(), ForwardError> {
        assert!(!self.sequences.contains_key(&seq), "{seq:?} is there already");
        if len > self.ctx {
            return Err(ForwardError::ContextFull { ctx: self.ctx, wanted: len });
        }
        let (wanted, free) = (self.n_new_pages(seq, len), self.pages.n_free());
        if wanted > free {
            return Err(ForwardError::KvFull { wanted, free });
        }
        let mut sequence = Sequence::default();
        sequence.make_room(len, &mut self.pages);
        self.sequences.insert(seq, Sequence { len, ..sequence });
        Ok(())
    }

    /// The pages of a sequence, in order.
    pub(crate) fn pages_of(&self, seq: SeqId) -> &[PageId] {
        self.sequences.get(&seq).map_or(&[], |sequence| &sequence.pages)
    }

    /// Of every page that some sequence has, how old it is: whether a next token may be written to it, and its index in the
    /// sequence that it stands first in. The lowest is the oldest.
    pub(crate) fn ages(&self) -> BTreeMap<PageId, (bool, usize)> {
        let mut ages = BTreeMap::new();
        for sequence in self.sequences.values() {
            let is_next = |i: usize| i >= sequence.len / PAGE_TOKENS;
            for (i, page) in sequence.pages.iter().enumerate().filter(|(_, page)| **page != PageId::GONE) {
                let (may_be_next, index) = ages.entry(*page).or_insert((is_next(i), i));
                (*may_be_next, *index) = (*may_be_next || is_next(i), i.min(*index));
            }
        }
        ages
    }

    /// Takes back an admission of which nothing was done: copies were not made, and pages are no longer taken.
    pub(crate) fn refuse(&mut self, batch: &Batch, placement: &Placement) {
        for segment in &batch.segments {
            let Some(sequence) = self.sequences.get_mut(&segment.seq) else { continue };
            let Some(page) = sequence.pages.get_mut(sequence.len / PAGE_TOKENS) else { continue };
            if let Some(&(from, to)) = placement.copies.iter().find(|(_, to)| to == page) {
                self.pages.share(from);
                self.pages.release(to);
                *page = from;
            }
        }
        self.abandon(batch);
    }

    /// Lengthens the sequences by their segments, once the pass has succeeded. Trees wait for
    /// `accept`.
    pub fn commit(&mut self, batch: &Batch) {
        for segment in &batch.segments {
            let Some(sequence) = self.sequences.get_mut(&segment.seq) else { continue };
            if segment.is_tree() {
                sequence.tree.clone_from(&segment.parents);
            } else {
                sequence.len += segment.tokens.len();
                self.release_behind_window(segment.seq);
            }
        }
    }

    /// Frees the pages that were taken for a batch whose pass has failed.
    pub fn abandon(&mut self, batch: &Batch) {
        for segment in &batch.segments {
            match self.len(segment.seq) {
                0 => self.remove(segment.seq),
                len => self.truncate(segment.seq, len),
            }
        }
    }
}

impl Sequence {
    /// The page that the next token lies in, if that is neither a new one nor the sequence's alone.
    fn shared_page(&self, pages: &PageOwners) -> Option<PageId> {
        let page = self.pages.get(self.len / PAGE_TOKENS).copied();
        page.filter(|page| pages.is_shared(*page))
    }

    /// Whether all that the token at position `len` sees is still there.
    fn has_all(&self, len: usize, window: Window) -> bool {
        let pages = self.pages[..len.div_ceil(PAGE_TOKENS)].iter().enumerate();
        pages.into_iter().all(|(i, page)| *page != PageId::GONE || !window.sees(i, len))
    }

    /// Takes pages for `n` more tokens, and a copy of the page that the first of them shares with another sequence: the
    /// page to copy and where to.
    fn make_room(&mut self, n: usize, pages: &mut PageOwners) -> Option<(PageId, PageId)> {
        let mut take = || pages.take().expect("the free pages have been counted");
        let n_pages = (self.len + n).div_ceil(PAGE_TOKENS);
        while self.pages.len() < n_pages {
            self.pages.push(take());
        }
        let shared = self.shared_page(pages)?;
        let own = pages.take().expect("the free pages have been counted");
        self.pages[self.len / PAGE_TOKENS] = own;
        pages.release(shared);
        Some((shared, own))
    }
}

/// Adds the rows of a segment, which are stored one after another.
fn add_rows(rows: &mut Vec<Row>, segment_index: usize, segment: &Segment) {
    let first = rows.len();
    for (i, &token) in segment.tokens.iter().enumerate() {
        let parent = segment.parent(i).map(|parent| first + parent);
        let position = parent.map_or(segment.start, |parent| rows[parent].position + 1);
        rows.push(Row { token, segment: segment_index, position, slot: segment.start + i, parent });
    }
}

impl KvOps for Sequences {
    fn len(&self, seq: SeqId) -> usize {
        self.sequences.get(&seq).map_or(0, |sequence| sequence.len)
    }

    fn truncate(&mut self, seq: SeqId, len: usize) {
        self.discard_tree(seq);
        if let Some(sequence) = self.sequences.get_mut(&seq) {
            let len = sequence.len.min(len);
            sequence.len = if sequence.has_all(len, self.window) { len } else { 0 };
            let kept = sequence.len.div_ceil(PAGE_TOKENS);
            sequence.pages.drain(kept..).for_each(|page| self.pages.release(page));
        }
    }

    fn remove(&mut self, seq: SeqId) {
        if let Some(sequence) = self.sequences.remove(&seq) {
            sequence.pages.into_iter().for_each(|page| self.pages.release(page));
        }
    }

    fn fork(&mut self, seq: SeqId, copy: SeqId, len: usize) -> Result<(), ForwardError> {
        self.discard_tree(seq);
        let has = self.len(seq);
        if len > has {
            return Err(ForwardError::Position { seq, start: len, len: has });
        }
        if seq == copy && self.sequences.get(&seq).is_none_or(|sequence| sequence.has_all(len, self.window)) {
            self.truncate(seq, len);
            return Ok(());
        }
        let pages: Vec<PageId> = match self.sequences.get(&seq) {
            Some(sequence) if !sequence.has_all(len, self.window) => {
                return Err(ForwardError::OutOfWindow { seq, len });
            }
            Some(sequence) => sequence.pages[..len.div_ceil(PAGE_TOKENS)].to_vec(),
            None => Vec::new(),
        };
        pages.iter().for_each(|&page| self.pages.share(page));
        self.remove(copy);
        self.sequences.insert(copy, Sequence { len, pages, tree: Vec::new() });
        Ok(())
    }

    fn context(&self) -> usize {
        self.ctx
    }

    fn n_pages(&self) -> usize {
        self.pages.n()
    }

    fn n_free_pages(&self) -> usize {
        self.pages.n_free()
    }

    fn pages_for(&self, len: usize) -> usize {
        self.window.n_pages(len, self.max_rows)
    }

    fn n_new_pages(&self, seq: SeqId, n: usize) -> usize {
        let Some(sequence) = self.sequences.get(&seq) else { return n.div_ceil(PAGE_TOKENS) };
        let more = (sequence.len + n).div_ceil(PAGE_TOKENS).saturating_sub(sequence.pages.len());
        more + usize::from(n > 0 && sequence.shared_page(&self.pages).is_some())
    }
}

#[cfg(test)]
mod tests;
