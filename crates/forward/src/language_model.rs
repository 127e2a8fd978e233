//! What an engine needs of a model: logits for a batch, and room for sequences.

use store::ReadStats;

use crate::{Batch, ForwardError, KvOps, Logits};

/// Something that turns batches of tokens into logits.
pub trait LanguageModel: Send {
    /// Computes one pass over a batch and appends its tokens to their sequences.
    ///
    /// Errors: see [`ForwardError`]; no sequence has changed then.
    fn forward(&mut self, batch: &Batch) -> Result<Logits, ForwardError>;

    /// The sequences in the KV cache.
    fn kv(&mut self) -> &mut dyn KvOps;

    /// The most tokens that a batch may have.
    fn max_rows(&self) -> usize;

    /// Counts of what was read for the passes so far.
    fn read_stats(&self) -> ReadStats;
}
