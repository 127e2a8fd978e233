//! The one error type of this crate.

use store::StoreError;

use crate::SeqId;

/// Why a batch was not computed. The KV cache is then as it was before.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// Weights could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A token id is not in the vocabulary.
    #[error("token id {token} is not in the vocabulary of {n_vocab}")]
    Token {
        /// The id.
        token: u32,
        /// The vocabulary's size.
        n_vocab: usize,
    },
    /// A segment does not begin where its sequence ends.
    #[error("sequence {seq:?} has {len} tokens, but the segment begins at {start}")]
    Position {
        /// The sequence.
        seq: SeqId,
        /// The segment's first position.
        start: usize,
        /// The sequence's length.
        len: usize,
    },
    /// A sequence would outgrow its context.
    #[error("a context of {ctx} tokens cannot take {wanted}; use a larger --ctx or less text")]
    ContextFull {
        /// The context's size in tokens.
        ctx: usize,
        /// Tokens that the sequence would have.
        wanted: usize,
    },
    /// Tokens that are needed again have left the window of a sequence.
    #[error("sequence {seq:?} has forgotten what its first {len} tokens see: take in the prompt again")]
    OutOfWindow {
        /// The sequence.
        seq: SeqId,
        /// Tokens that were asked for.
        len: usize,
    },
    /// The KV cache has too few free pages.
    #[error("the KV cache has {free} free pages, and the batch needs {wanted}; wait for another sequence to end")]
    KvFull {
        /// Pages that the batch needs.
        wanted: usize,
        /// Pages that are free.
        free: usize,
    },
    /// More tokens in a batch than the scratch buffers hold.
    #[error("a batch of {rows} tokens is more than the {max} that fit a pass")]
    TooManyRows {
        /// In the batch.
        rows: usize,
        /// The limit.
        max: usize,
    },
    /// The batch has no tokens, or a segment has none, or a sequence has two segments.
    #[error("a batch needs at least one token in every segment, and at most one segment per sequence")]
    Malformed,
}
