//! The KV cache's bookkeeping and its memory.
//!
//! The cache is cut into pages of [`PAGE_TOKENS`] tokens, each with the keys and values of all layers. [`Sequences`] knows
//! which sequence has which pages and how long it is; [`KvCache`] holds the bytes. Sequences with a common beginning
//! share its pages; who writes into a shared page gets a copy first. Taking back tokens is bookkeeping alone: what lies
//! past a sequence's length is never read. Where memory does not hold all pages, the others are in a file, and only the
//! cache knows which.

mod cache;
mod pages;
mod sequences;
mod spill;
mod window;

pub(crate) use cache::{KvCache, LayerKv};
pub use pages::PageId;
pub use sequences::Sequences;
pub use spill::KvSpill;
pub use window::Window;

use kernels::AttendArgs;

use crate::{ForwardError, SeqId};

/// Tokens of a page: a tile of the attention kernels.
pub const PAGE_TOKENS: usize = AttendArgs::TILE;

/// What an engine may do to the sequences in the KV cache.
pub trait KvOps {
    /// Tokens that a sequence has; 0 for one that is not there.
    fn len(&self, seq: SeqId) -> usize;

    /// Takes back all tokens from `len` on. Shorter sequences are left as they are; one that would see tokens which have
    /// left its window for good becomes empty.
    fn truncate(&mut self, seq: SeqId, len: usize);

    /// Forgets a sequence; pages that no other has are free again.
    fn remove(&mut self, seq: SeqId);

    /// Makes `copy` a sequence with the first `len` tokens of `seq`, in the same pages. What `copy` was before is
    /// forgotten.
    ///
    /// Errors: `seq` has fewer tokens, or tokens that the copy sees have left its window for good.
    fn fork(&mut self, seq: SeqId, copy: SeqId, len: usize) -> Result<(), ForwardError>;

    /// The most tokens that a sequence can have.
    fn context(&self) -> usize;

    /// Pages of [`PAGE_TOKENS`] tokens in the cache.
    fn n_pages(&self) -> usize;

    /// Pages that no sequence has.
    fn n_free_pages(&self) -> usize;

    /// The most pages that a sequence has on its way to `len` tokens.
    fn pages_for(&self, len: usize) -> usize;

    /// Pages that `n` more tokens of a sequence would take.
    fn n_new_pages(&self, seq: SeqId, n: usize) -> usize;
}
