//! The KV cache's bookkeeping and its memory.
//!
//! [`Sequences`] knows which sequence has which place and how long it is; [`KvCache`] holds the bytes. Taking back
//! tokens is bookkeeping alone: what lies past a sequence's length is never read.

mod cache;
mod sequences;

pub(crate) use cache::KvCache;
pub(crate) use sequences::Sequences;

use crate::SeqId;

/// What an engine may do to the sequences in the KV cache.
pub trait KvOps {
    /// Tokens that a sequence has; 0 for one that is not there.
    fn len(&self, seq: SeqId) -> usize;

    /// Takes back all tokens from `len` on. Shorter sequences are left as they are.
    fn truncate(&mut self, seq: SeqId, len: usize);

    /// Forgets a sequence and frees its place.
    fn remove(&mut self, seq: SeqId);

    /// The most tokens that a sequence can have.
    fn context(&self) -> usize;
}
