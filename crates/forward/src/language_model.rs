//! What an engine needs of a model: logits for a batch, and room for sequences.

use store::ReadStats;

use crate::batch::Batch;
use crate::error::ForwardError;
use crate::kv::ops::KvOps;
use crate::logits::Logits;
use crate::seq_id::SeqId;

/// Something that turns batches of tokens into logits.
pub trait LanguageModel: Send {
    /// Computes one pass over a batch and appends its tokens to their sequences, those of trees aside.
    ///
    /// Errors: see [`ForwardError`]; no sequence has changed then.
    fn forward(&mut self, batch: &Batch) -> Result<Logits, ForwardError>;

    /// Appends tokens of the tree that the last pass computed for `seq`: the indices `rows` of its segment, each of which
    /// continues the one before it. All others are discarded, and so is the whole tree when anything else is done with the
    /// sequence.
    ///
    /// Errors: there is no such tree, or the rows are not a path from its root.
    fn accept(&mut self, seq: SeqId, rows: &[usize]) -> Result<(), ForwardError>;

    /// The sequences in the KV cache.
    fn kv(&mut self) -> &mut dyn KvOps;

    /// Bytes of a page of the KV cache.
    fn page_bytes(&self) -> usize;

    /// The bytes of page `index` of a sequence, if it has that page and it can be read.
    fn page(&mut self, seq: SeqId, index: usize) -> Option<&[u8]>;

    /// Makes `seq` a sequence of `len` tokens. Nobody may compute with it before the caller has written all of its pages.
    ///
    /// Errors: the context or the KV cache has no room. Panics if `seq` is there already.
    fn insert(&mut self, seq: SeqId, len: usize) -> Result<(), ForwardError>;

    /// The bytes of page `index` of a sequence, to be written whole; none if it does not have that page, or no room can be
    /// made for it in memory.
    fn page_mut(&mut self, seq: SeqId, index: usize) -> Option<&mut [u8]>;

    /// The most tokens that a batch may have.
    fn max_rows(&self) -> usize;

    /// Counts of what was read for the passes so far.
    fn read_stats(&self) -> ReadStats;
}
