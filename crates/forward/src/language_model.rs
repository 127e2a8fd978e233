//! What an engine needs of a model: logits for a batch, and room for sequences.

use store::ReadStats;

use crate::{Batch, ForwardError, KvOps, Logits, SeqId};

/// Something that turns batches of tokens into logits.
pub trait LanguageModel: Send {
    /// Computes one pass over a batch and appends its tokens to their sequences.
    ///
    /// Errors: see [`ForwardError`]; no sequence has changed then.
    fn forward(&mut self, batch: &Batch) -> Result<Logits, ForwardError>;

    /// The sequences in the KV cache.
    fn kv(&mut self) -> &mut dyn KvOps;

    /// Bytes of a page of the KV cache.
    fn page_bytes(&self) -> usize;

    /// The bytes of a sequence's page `index`, if it has so many and they can be read.
    fn page(&mut self, seq: SeqId, index: usize) -> Option<&[u8]>;

    /// Makes `seq` a sequence of `len` tokens whose pages `fill` writes, given each one's index; when it returns `false`,
    /// there is no sequence. Whether there is.
    ///
    /// Errors: the context or the KV cache has no room, or a page cannot be moved. Panics if `seq` is there already.
    fn insert(
        &mut self,
        seq: SeqId,
        len: usize,
        fill: &mut dyn FnMut(usize, &mut [u8]) -> bool,
    ) -> Result<bool, ForwardError>;

    /// The most tokens that a batch may have.
    fn max_rows(&self) -> usize;

    /// Counts of what was read for the passes so far.
    fn read_stats(&self) -> ReadStats;
}
