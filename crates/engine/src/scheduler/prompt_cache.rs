//! What finished requests have computed, kept for the next prompt that begins like them.
//!
//! An entry is a sequence in the KV cache with its tokens. A prompt takes over the pages of the entry that it has most in
//! common with, down to a token; the first page that they do not share whole is copied when it is written. The entry that
//! was used least recently leaves first, and all of them leave when a running request needs their pages.

use forward::{KvOps, PAGE_TOKENS, SeqId};
use model::TokenId;

use super::common;

/// Fewer common tokens are computed faster than their page is copied.
pub(super) const LEAST_TOKENS: usize = 8;

/// What the cache has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Prompts whose beginning was there.
    pub hits: u64,
    /// Tokens that were not computed again.
    pub saved_tokens: u64,
    /// Pages that the entries have, shared ones counted for each.
    pub pages: usize,
}

/// Finished sequences, the least recently used first.
#[derive(Debug)]
pub(super) struct PromptCache {
    max_pages: usize,
    entries: Vec<Entry>,
    hits: u64,
    saved_tokens: u64,
}

#[derive(Debug)]
struct Entry {
    seq: SeqId,
    tokens: Vec<TokenId>,
}

impl Entry {
    fn n_pages(&self) -> usize {
        self.tokens.len().div_ceil(PAGE_TOKENS)
    }
}

impl PromptCache {
    pub(super) fn new(max_pages: usize) -> PromptCache {
        PromptCache { max_pages, entries: Vec::new(), hits: 0, saved_tokens: 0 }
    }

    pub(super) fn stats(&self) -> CacheStats {
        CacheStats { hits: self.hits, saved_tokens: self.saved_tokens, pages: self.n_pages() }
    }

    fn n_pages(&self) -> usize {
        self.entries.iter().map(Entry::n_pages).sum()
    }

    /// Every entry, and how many tokens it begins with in common with a prompt.
    pub(super) fn common(&self, prompt: &[TokenId]) -> impl Iterator<Item = (SeqId, usize)> {
        self.entries.iter().map(|entry| (entry.seq, common(&entry.tokens, prompt)))
    }

    /// Every entry with its tokens.
    pub(super) fn entries(&self) -> impl Iterator<Item = (SeqId, &[TokenId])> {
        self.entries.iter().map(|entry| (entry.seq, &entry.tokens[..]))
    }

    /// Counts a prompt that begins with `len` tokens of a sequence, which may be that of an entry.
    pub(super) fn hit(&mut self, seq: SeqId, len: usize) {
        self.hits += 1;
        self.saved_tokens += len as u64;
        if let Some(at) = self.entries.iter().position(|entry| entry.seq == seq) {
            let entry = self.entries.remove(at);
            self.entries.push(entry);
        }
    }

    /// Takes over a finished sequence, whose keys and values are those of `tokens`. What cannot be kept is removed.
    pub(super) fn keep(&mut self, kv: &mut dyn KvOps, seq: SeqId, tokens: Vec<TokenId>) {
        let entry = Entry { seq, tokens };
        let is_known = self.entries.iter().any(|other| other.tokens.starts_with(&entry.tokens));
        if is_known || entry.tokens.len() < LEAST_TOKENS || entry.n_pages() > self.max_pages {
            return kv.remove(seq);
        }
        // What the new one begins with needs no entry of its own.
        self.entries.retain(|other| {
            let goes = entry.tokens.starts_with(&other.tokens);
            if goes {
                kv.remove(other.seq);
            }
            !goes
        });
        self.entries.push(entry);
        while self.n_pages() > self.max_pages {
            self.evict(kv);
        }
    }

    /// Gives up the entry that was used least recently; whether there was one.
    pub(super) fn evict(&mut self, kv: &mut dyn KvOps) -> bool {
        if self.entries.is_empty() {
            return false;
        }
        kv.remove(self.entries.remove(0).seq);
        true
    }
}
