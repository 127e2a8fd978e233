//! Which sequence has which pages of the cache, and how many tokens.

use std::collections::BTreeMap;

use super::pages::Pages;
use super::{KvOps, PAGE_TOKENS, PageId, Window};
use crate::{Batch, ForwardError, Placement, Row, SeqId};

/// A sequence in the cache.
#[derive(Debug, Default)]
struct Sequence {
    /// Tokens whose keys and values are there.
    len: usize,
    /// At least those of its tokens, in order.
    pages: Vec<PageId>,
}

/// The sequences in a cache: bookkeeping alone, for whatever holds the bytes.
#[derive(Debug)]
pub struct Sequences {
    ctx: usize,
    window: Window,
    max_rows: usize,
    pages: Pages,
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
        Sequences { ctx, window, max_rows, pages: Pages::new(n_pages), sequences: BTreeMap::new() }
    }

    /// Gives every token of a batch its position and a page to lie in, but lengthens no sequence yet. Afterwards the pass
    /// must [`commit`](Sequences::commit) or [`abandon`](Sequences::abandon) the batch.
    ///
    /// Errors: a segment does not begin at its sequence's end, or there is no room. Nothing has changed then.
    pub fn admit(&mut self, batch: &Batch) -> Result<Placement, ForwardError> {
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
            let tokens = segment.tokens.iter().zip(segment.start..);
            placement.rows.extend(tokens.map(|(&token, position)| Row { token, segment: i, position }));
        }
        Ok(placement)
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

    /// Lengthens the sequences by their segments, once the pass has succeeded.
    pub fn commit(&mut self, batch: &Batch) {
        for segment in &batch.segments {
            if let Some(sequence) = self.sequences.get_mut(&segment.seq) {
                sequence.len += segment.tokens.len();
                let first = sequence.len.saturating_sub(PAGE_TOKENS);
                for (i, page) in sequence.pages.iter_mut().enumerate().filter(|(i, _)| !self.window.sees(*i, first)) {
                    debug_assert!(i * PAGE_TOKENS < sequence.len);
                    self.pages.release(std::mem::replace(page, PageId::GONE));
                }
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
    fn shared_page(&self, pages: &Pages) -> Option<PageId> {
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
    fn make_room(&mut self, n: usize, pages: &mut Pages) -> Option<(PageId, PageId)> {
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

impl KvOps for Sequences {
    fn len(&self, seq: SeqId) -> usize {
        self.sequences.get(&seq).map_or(0, |sequence| sequence.len)
    }

    fn truncate(&mut self, seq: SeqId, len: usize) {
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
        self.sequences.insert(copy, Sequence { len, pages });
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
mod tests {
    use super::*;
    use crate::LogitRows;

    const CTX: usize = 4 * PAGE_TOKENS;

    fn batch(seq: u64, start: usize, n: usize) -> Batch {
        Batch::one(SeqId(seq), start, vec![0; n], LogitRows::Last)
    }

    fn grow(sequences: &mut Sequences, seq: u64, n: usize) -> Placement {
        let batch = batch(seq, sequences.len(SeqId(seq)), n);
        let placement = sequences.admit(&batch).unwrap();
        sequences.commit(&batch);
        placement
    }

    #[test]
    fn a_refused_batch_changes_nothing() {
        let mut sequences = Sequences::new(CTX, 5);
        assert!(matches!(sequences.admit(&batch(1, 1, 1)), Err(ForwardError::Position { len: 0, .. })));
        assert!(matches!(sequences.admit(&batch(1, 0, CTX + 1)), Err(ForwardError::ContextFull { .. })));
        grow(&mut sequences, 1, CTX);
        let two = Batch { segments: [batch(2, 0, 64), batch(3, 0, 1)].map(|b| b.segments[0].clone()).to_vec() };
        assert!(matches!(sequences.admit(&two), Err(ForwardError::KvFull { wanted: 2, free: 1 })));
        assert_eq!((sequences.len(SeqId(1)), sequences.n_free_pages()), (CTX, 1));
        grow(&mut sequences, 2, 64);
        assert_eq!(sequences.n_free_pages(), 0);
    }

    #[test]
    fn truncating_and_removing_make_room() {
        let mut sequences = Sequences::new(CTX, 4);
        grow(&mut sequences, 1, CTX);
        sequences.truncate(SeqId(1), 65);
        assert_eq!((sequences.n_free_pages(), sequences.n_new_pages(SeqId(1), 63)), (2, 0));
        let placement = grow(&mut sequences, 1, 1);
        assert_eq!(placement.rows, [Row { token: 0, segment: 0, position: 65 }]);
        sequences.remove(SeqId(1));
        assert_eq!((sequences.len(SeqId(1)), sequences.n_free_pages()), (0, 4));
    }

    #[test]
    fn what_a_failed_pass_took_is_free_again() {
        let mut sequences = Sequences::new(CTX, 4);
        grow(&mut sequences, 1, 60);
        let both = Batch { segments: [batch(1, 60, 70), batch(2, 0, 1)].map(|b| b.segments[0].clone()).to_vec() };
        sequences.admit(&both).unwrap();
        assert_eq!(sequences.n_free_pages(), 0);
        sequences.abandon(&both);
        assert_eq!((sequences.len(SeqId(1)), sequences.n_free_pages()), (60, 3));
    }

    #[test]
    fn a_fork_shares_pages_until_it_writes() {
        let mut sequences = Sequences::new(CTX, 6);
        grow(&mut sequences, 1, 100);
        assert!(sequences.fork(SeqId(1), SeqId(2), 101).is_err());
        sequences.fork(SeqId(1), SeqId(2), 90).unwrap();
        assert_eq!((sequences.len(SeqId(2)), sequences.n_free_pages()), (90, 4));
        assert_eq!((sequences.n_new_pages(SeqId(2), 1), sequences.n_new_pages(SeqId(2), 0)), (1, 0));
        // The first to write gets the copy; the other then has the page alone.
        let [from, to] = match grow(&mut sequences, 2, 1).copies[..] {
            [(from, to)] => [from, to],
            ref copies => panic!("{copies:?}"),
        };
        assert_ne!(from, to);
        assert_eq!(grow(&mut sequences, 1, 1).copies, []);
        assert_eq!(sequences.n_free_pages(), 3);
        sequences.remove(SeqId(1));
        assert_eq!(sequences.n_free_pages(), 4);
        sequences.remove(SeqId(2));
        assert_eq!(sequences.n_free_pages(), 6);
    }

    #[test]
    fn a_refused_pass_leaves_a_fork_its_page() {
        let mut sequences = Sequences::new(CTX, 6);
        grow(&mut sequences, 1, 100);
        sequences.fork(SeqId(1), SeqId(2), 90).unwrap();
        let pages = sequences.pages_of(SeqId(2)).to_vec();
        let both = Batch { segments: [batch(1, 100, 5), batch(2, 90, 40)].map(|b| b.segments[0].clone()).to_vec() };
        let placement = sequences.admit(&both).unwrap();
        assert_eq!(placement.copies.len(), 1);
        sequences.refuse(&both, &placement);
        assert_eq!((sequences.pages_of(SeqId(1)), sequences.pages_of(SeqId(2))), (&pages[..], &pages[..]));
        assert_eq!(sequences.n_free_pages(), 4);
        assert_eq!(sequences.admit(&both).unwrap().copies.len(), 1);
    }

    #[test]
    fn a_fork_at_the_end_of_a_page_copies_nothing() {
        let mut sequences = Sequences::new(CTX, 4);
        grow(&mut sequences, 1, 64);
        sequences.fork(SeqId(1), SeqId(2), 64).unwrap();
        assert_eq!(grow(&mut sequences, 2, 1).copies, []);
        assert_eq!(sequences.n_free_pages(), 2);
        // Taking back into the shared page and writing there leaves the other's alone.
        sequences.truncate(SeqId(2), 10);
        assert_eq!(grow(&mut sequences, 2, 1).copies.len(), 1);
        sequences.fork(SeqId(2), SeqId(2), 3).unwrap();
        assert_eq!((sequences.len(SeqId(2)), sequences.len(SeqId(1))), (3, 64));
    }

    #[test]
    fn what_has_left_the_window_is_free() {
        let window = Window { len: 100, n_sinks: 4 };
        let mut sequences = Sequences::with_window(40 * PAGE_TOKENS, 40, window, 64);
        let mut most = 0;
        for _ in 0..38 {
            grow(&mut sequences, 1, 64);
            most = most.max(40 - sequences.n_free_pages());
        }
        assert!(most <= window.n_pages(38 * 64, 64) && most < 8, "{most} pages");
        let len = sequences.len(SeqId(1));
        // A page's worth can be taken back; what lies further back is gone.
        sequences.truncate(SeqId(1), len - 60);
        assert_eq!(sequences.len(SeqId(1)), len - 60);
        assert!(matches!(sequences.fork(SeqId(1), SeqId(2), 300), Err(ForwardError::OutOfWindow { .. })));
        sequences.fork(SeqId(1), SeqId(2), 3).unwrap();
        sequences.truncate(SeqId(1), 300);
        assert_eq!((sequences.len(SeqId(1)), sequences.n_free_pages()), (0, 39));
        sequences.remove(SeqId(2));
        assert_eq!(sequences.n_free_pages(), 40);
    }

    /// Whatever is done, a page is free or has as many owners as sequences that list it.
    #[test]
    fn no_page_is_lost_or_owned_twice() {
        let mut state = 7u64;
        let mut random = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % n
        };
        let mut sequences = Sequences::new(CTX, 12);
        for _ in 0..20_000 {
            let (seq, other) = (SeqId(random(5)), SeqId(random(5)));
            let len = sequences.len(seq);
            match random(5) {
                0 => sequences.truncate(seq, random(len as u64 + 1) as usize),
                1 => sequences.remove(seq),
                2 => sequences.fork(seq, other, random(len as u64 + 1) as usize).unwrap(),
                _ => {
                    let batch = batch(seq.0, len, random(90) as usize + 1);
                    if sequences.admit(&batch).is_ok() {
                        if random(4) == 0 { sequences.abandon(&batch) } else { sequences.commit(&batch) }
                    }
                }
            }
            let mut n_owners = [0; 12];
            for sequence in sequences.sequences.values() {
                assert_eq!(sequence.pages.len(), sequence.len.div_ceil(PAGE_TOKENS));
                sequence.pages.iter().for_each(|page| n_owners[page.0 as usize] += 1);
            }
            assert_eq!(n_owners.iter().filter(|n| **n == 0).count(), sequences.n_free_pages());
            for (page, n) in n_owners.iter().enumerate() {
                assert_eq!(sequences.pages.is_shared(PageId(page as u32)), *n > 1);
            }
        }
        (0..5).for_each(|seq| sequences.remove(SeqId(seq)));
        assert_eq!(sequences.n_free_pages(), 12);
    }
}
