//! What an engine may do to the sequences in the KV cache.

use crate::error::ForwardError;
use crate::seq_id::SeqId;

/// The sequences in the KV cache.
pub trait KvOps {
    /// Tokens that a sequence has; 0 for one that is not there.
    fn len(&self, seq: SeqId) -> usize;

    /// Discards all tokens from `len` on. Shorter sequences do not change; one that would see tokens which have left its
    /// window for good becomes empty.
    fn truncate(&mut self, seq: SeqId, len: usize);

    /// Removes a sequence and frees the pages that no other has.
    fn remove(&mut self, seq: SeqId);

    /// Makes `copy` a sequence with the first `len` tokens of `seq`, in the same pages. It replaces what
    /// `copy` was before.
    ///
    /// Errors: `seq` has fewer tokens, or tokens that the copy sees have left its window for good.
    fn fork(&mut self, seq: SeqId, copy: SeqId, len: usize) -> Result<(), ForwardError>;

    /// The most tokens that a sequence can have.
    fn context(&self) -> usize;

    /// Pages of [`PAGE_TOKENS`](crate::PAGE_TOKENS) tokens in the cache.
    fn n_pages(&self) -> usize;

    /// Pages that no sequence has.
    fn n_free_pages(&self) -> usize;

    /// The most pages that a sequence has on its way to `len` tokens.
    fn pages_for(&self, len: usize) -> usize;

    /// Pages that `n` more tokens of a sequence would take.
    fn n_new_pages(&self, seq: SeqId, n: usize) -> usize;
}
