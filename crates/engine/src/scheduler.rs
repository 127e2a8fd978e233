//! Decides what each pass computes, so that one scan of the weights serves every sequence that can go on.
//!
//! A sequence waits, prefills, decodes and ends. It is admitted when the pages that it may need at most are free or only
//! cached, so nothing that runs ever waits for memory or is preempted; first come, first served. A pass is one token of
//! every sequence that decodes and chunks of prompts as long as [`Pace`] allows. A prompt starts from the longest prefix
//! that some sequence in the KV cache has already.
//!
//! Deliberately absent: the model, its files and the tokenizer. The KV cache is only asked for numbers of pages; whoever
//! calls carries out what is decided here.

use std::collections::VecDeque;
use std::time::Duration;

use forward::{Batch, KvOps, PAGE_TOKENS, SeqId};
use model::TokenId;

use crate::error::EngineError;
use crate::pace::Pace;
use crate::prompt_cache::{LEAST_TOKENS, PromptCache, common_prefix};
use crate::sequence::Sequence;

/// What a scheduler accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sequences that run at once, at least 1.
    pub max_batch: usize,
    /// Sequences that may wait.
    pub max_queue: usize,
    /// Pages of the KV cache that may keep finished sequences; 0 keeps none.
    pub cache_pages: usize,
}

/// How many sequences there are, by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Waiting sequences.
    pub queued: usize,
    /// Sequences in prefill.
    pub prefilling: usize,
    /// Sequences that decode.
    pub decoding: usize,
}

/// All sequences, and what is cached of finished ones.
pub(crate) struct Scheduler {
    limits: Limits,
    pub(crate) waiting: VecDeque<Sequence>,
    /// In the order of admission.
    pub(crate) running: Vec<Sequence>,
    pub(crate) cache: PromptCache,
    pace: Pace,
}

/// Tokens of a running sequence that a pass computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// Index of the sequence in [`Scheduler::running`].
    pub(crate) index: usize,
    pub(crate) n: usize,
}

/// The first `len` tokens of a sequence in the KV cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    pub(crate) seq: SeqId,
    pub(crate) len: usize,
}

impl Scheduler {
    /// A scheduler without sequences.
    pub(crate) fn new(limits: Limits) -> Scheduler {
        let cache = PromptCache::new(limits.cache_pages);
        Scheduler { limits, waiting: VecDeque::new(), running: Vec::new(), cache, pace: Pace::default() }
    }

    /// Queues a sequence. Errors: too many wait.
    pub(crate) fn submit(&mut self, sequence: Sequence) -> Result<(), EngineError> {
        if self.waiting.len() >= self.limits.max_queue {
            return Err(EngineError::QueueFull { max: self.limits.max_queue });
        }
        self.waiting.push_back(sequence);
        Ok(())
    }

    /// A sequence that has not ended.
    pub(crate) fn find(&mut self, id: SeqId) -> Option<&mut Sequence> {
        self.running.iter_mut().chain(&mut self.waiting).find(|sequence| sequence.id == id)
    }

    /// Whether no sequence is left.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// How many sequences there are, by state.
    pub(crate) fn load(&self) -> Load {
        let prefilling = self.running.iter().filter(|sequence| sequence.n_prefill_left() > 0).count();
        Load { queued: self.waiting.len(), prefilling, decoding: self.running.len() - prefilling }
    }

    /// Removes the sequences that have ended, running or not.
    pub(crate) fn retire(&mut self) -> Vec<Sequence> {
        let mut ended: Vec<Sequence> = self.running.extract_if(.., |sequence| sequence.has_ended()).collect();
        while let Some(at) = self.waiting.iter().position(Sequence::has_ended) {
            ended.extend(self.waiting.remove(at));
        }
        ended
    }

    /// Lets one more sequence run, if there is room for all the pages that it may need: it is the last of those that run
    /// now. Also, the prefix that it can start from.
    pub(crate) fn admit(&mut self, kv: &dyn KvOps, max_rows: usize) -> Option<(&mut Sequence, Option<Prefix>)> {
        if self.running.len() >= self.limits.max_batch.min(max_rows) {
            return None;
        }
        let at = self.waiting.iter().position(|sequence| !self.awaits_prefix(sequence))?;
        let reserved: usize = self.running.iter().map(|sequence| kv.pages_for(sequence.max_len())).sum();
        if reserved + kv.pages_for(self.waiting[at].max_len()) > kv.n_pages() {
            return None;
        }
        let sequence = self.waiting.remove(at)?;
        let prefix = self.longest_cached(&sequence);
        self.running.push(sequence);
        Some((self.running.last_mut()?, prefix))
    }

    /// Whether a sequence that runs is about to compute much of another one's prompt.
    fn awaits_prefix(&self, sequence: &Sequence) -> bool {
        !sequence.needs_every_row()
            && self.longest_known(sequence.prefill())
                >= self.longest_cached(sequence).map_or(0, |prefix| prefix.len) + PAGE_TOKENS
    }

    /// The longest prefix of a prompt that the KV cache has now; the last token is never part of it, because its logits
    /// are wanted.
    fn longest_cached(&self, sequence: &Sequence) -> Option<Prefix> {
        if sequence.needs_every_row() {
            return None;
        }
        let prompt = sequence.prefill();
        let of_running = |other: &Sequence| (other.id, common_prefix(other.computed(), prompt));
        let all = self.running.iter().map(of_running).chain(self.cache.common(prompt));
        let (seq, len) = all.max_by_key(|(_, len)| *len)?;
        Some(Prefix { seq, len: len.min(prompt.len() - 1) }).filter(|prefix| prefix.len >= LEAST_TOKENS)
    }

    /// How much of a prompt the KV cache will have once the sequences that run have prefilled.
    pub(crate) fn longest_known(&self, prompt: &[TokenId]) -> usize {
        let of_running = |other: &Sequence| common_prefix(other.prefill(), prompt);
        self.running.iter().map(of_running).max().unwrap_or(0).min(prompt.len() - 1)
    }

    /// What the next pass computes: a token of each sequence that decodes, and chunks of prompts as the pace allows, the
    /// oldest first.
    pub(crate) fn schedule(&self, max_rows: usize) -> Vec<Chunk> {
        let sequences = || self.running.iter().enumerate();
        let decodes = |sequence: &Sequence| sequence.n_prefill_left() == 0;
        let decoding = sequences().filter(|(_, sequence)| decodes(sequence));
        let mut pass: Vec<Chunk> = decoding.map(|(index, _)| Chunk { index, n: 1 }).collect();
        let mut left = max_rows.saturating_sub(pass.len());
        if !pass.is_empty() {
            left = left.min(self.pace.n_prompt_rows());
        }
        for (index, sequence) in sequences().filter(|(_, sequence)| !decodes(sequence) && !sequence.is_restoring) {
            let n = sequence.n_prefill_left().min(left);
            if n > 0 {
                pass.push(Chunk { index, n });
                left -= n;
            }
        }
        pass
    }

    /// The tokens of a pass.
    pub(crate) fn batch(&self, pass: &[Chunk]) -> Batch {
        Batch { segments: pass.iter().map(|chunk| self.running[chunk.index].segment(chunk.n)).collect() }
    }

    /// The sequence that leaves the KV cache to make room for a pass, if there is too little and one can.
    pub(crate) fn evict_for(&mut self, pass: &[Chunk], kv: &dyn KvOps) -> Option<SeqId> {
        let wanted: usize = pass.iter().map(|chunk| kv.n_new_pages(self.running[chunk.index].id, chunk.n)).sum();
        self.evict_for_pages(wanted, kv)
    }

    /// The sequence that leaves the KV cache to make room for this many pages, if there is too little and one can.
    pub(crate) fn evict_for_pages(&mut self, wanted: usize, kv: &dyn KvOps) -> Option<SeqId> {
        if wanted > kv.n_free_pages() { self.cache.evict() } else { None }
    }

    /// Learns from the time that a pass took, before its tokens are counted.
    pub(crate) fn observe(&mut self, pass: &[Chunk], elapsed: Duration) {
        let is_prompt = |chunk: &&Chunk| self.running[chunk.index].n_prefill_left() > 0;
        let n_prompt = pass.iter().filter(is_prompt).map(|chunk| chunk.n).sum();
        let has_decoding = !pass.iter().all(|chunk| is_prompt(&chunk));
        self.pace.observe(n_prompt, has_decoding, elapsed);
    }
}

#[cfg(test)]
mod tests;
