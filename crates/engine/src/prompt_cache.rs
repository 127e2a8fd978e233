//! Finished sequences that stay in the KV cache for the next prompt with the same beginning.
//!
//! An entry is a sequence with its tokens. A prompt starts from the entry with which it has the longest prefix in common,
//! down to the token; the first page that differs is copied when it is written. The least recently used entry is evicted
//! first, and any entry when a running sequence needs its pages.
//!
//! Deliberately absent: the KV cache itself. What no longer belongs to an entry is returned, for the caller to remove.

use forward::{PAGE_TOKENS, SeqId};
use model::TokenId;

/// Fewer common tokens are computed faster than their page is copied.
pub(crate) const LEAST_TOKENS: usize = 8;

/// What the prompt cache has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Prompts with a cached prefix.
    pub hits: u64,
    /// Tokens that were not computed again.
    pub saved_tokens: u64,
    /// Pages of all entries; shared pages count once for each.
    pub pages: usize,
}

impl CacheStats {
    /// The counts of two caches.
    pub(crate) fn plus(&self, other: &CacheStats) -> CacheStats {
        CacheStats {
            hits: self.hits + other.hits,
            saved_tokens: self.saved_tokens + other.saved_tokens,
            pages: self.pages + other.pages,
        }
    }
}

/// Finished sequences, the least recently used first.
#[derive(Debug)]
pub(crate) struct PromptCache {
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
    pub(crate) fn new(max_pages: usize) -> PromptCache {
        PromptCache { max_pages, entries: Vec::new(), hits: 0, saved_tokens: 0 }
    }

    pub(crate) fn stats(&self) -> CacheStats {
        CacheStats { hits: self.hits, saved_tokens: self.saved_tokens, pages: self.n_pages() }
    }

    fn n_pages(&self) -> usize {
        self.entries.iter().map(Entry::n_pages).sum()
    }

    /// Every entry, with the length of the prefix that it has in common with a prompt.
    pub(crate) fn common(&self, prompt: &[TokenId]) -> impl Iterator<Item = (SeqId, usize)> {
        self.entries.iter().map(|entry| (entry.seq, common_prefix(&entry.tokens, prompt)))
    }

    /// Every entry with its tokens.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (SeqId, &[TokenId])> {
        self.entries.iter().map(|entry| (entry.seq, &entry.tokens[..]))
    }

    /// Counts `len` tokens that were not computed again. The entry that they came from, if it was one, is now the most
    /// recently used.
    pub(crate) fn hit(&mut self, seq: SeqId, len: usize) {
        self.hits += 1;
        self.saved_tokens += len as u64;
        if let Some(at) = self.entries.iter().position(|entry| entry.seq == seq) {
            let entry = self.entries.remove(at);
            self.entries.push(entry);
        }
    }

    /// Keeps a finished sequence whose keys and values are those of `tokens`; returns the sequences that go instead, which
    /// may be this one.
    pub(crate) fn keep(&mut self, seq: SeqId, tokens: Vec<TokenId>) -> Vec<SeqId> {
        let entry = Entry { seq, tokens };
        let is_known = self.entries.iter().any(|other| other.tokens.starts_with(&entry.tokens));
        if is_known || entry.tokens.len() < LEAST_TOKENS || entry.n_pages() > self.max_pages {
            return vec![seq];
        }
        // A prefix of the new entry is redundant.
        let redundant = self.entries.extract_if(.., |other| entry.tokens.starts_with(&other.tokens));
        let mut gone: Vec<SeqId> = redundant.map(|entry| entry.seq).collect();
        self.entries.push(entry);
        while self.n_pages() > self.max_pages {
            gone.extend(self.evict());
        }
        gone
    }

    /// Gives up the least recently used entry, if there is one.
    pub(crate) fn evict(&mut self) -> Option<SeqId> {
        if self.entries.is_empty() { None } else { Some(self.entries.remove(0).seq) }
    }
}

/// The number of tokens at the beginning that two sequences have in common.
pub(crate) fn common_prefix(a: &[TokenId], b: &[TokenId]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
