//! The one error type of this crate.

use store::StoreError;

use crate::seq_id::SeqId;

/// Why a batch was not computed. The KV cache has not changed then.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// Weights could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A token id is not in the vocabulary.
    #[error("token {token} is out of range (vocabulary size {n_vocab})")]
    Token {
        /// The id.
        token: u32,
        /// The vocabulary's size.
        n_vocab: usize,
    },
    /// A segment does not start where its sequence ends.
    #[error("sequence {seq:?} has {len} tokens, but the segment starts at {start}")]
    Position {
        /// The sequence.
        seq: SeqId,
        /// The segment's first position.
        start: usize,
        /// The sequence's length.
        len: usize,
    },
    /// A sequence would outgrow its context.
    #[error("{wanted} tokens do not fit a context of {ctx}; use a larger --ctx or less text")]
    ContextFull {
        /// The context's size in tokens.
        ctx: usize,
        /// Tokens that the sequence would have.
        wanted: usize,
    },
    /// Tokens that are needed again have left the window of a sequence.
    #[error(
        "the first {len} tokens of sequence {seq:?} see tokens that have left its window; prefill the prompt again"
    )]
    OutOfWindow {
        /// The sequence.
        seq: SeqId,
        /// Tokens that were asked for.
        len: usize,
    },
    /// The KV cache has too few free pages.
    #[error("the batch needs {wanted} pages of the KV cache, but {free} are free; wait for another sequence to end")]
    KvFull {
        /// Pages that the batch needs.
        wanted: usize,
        /// Pages that are free.
        free: usize,
    },
    /// More tokens in a batch than the scratch buffers hold.
    #[error("a batch of {rows} tokens exceeds the {max} that fit a pass")]
    TooManyRows {
        /// In the batch.
        rows: usize,
        /// The limit.
        max: usize,
    },
    /// The batch has no tokens, or a segment has none, or a sequence has two segments, or a parent follows its child.
    #[error("a batch needs tokens in every segment, one segment per sequence, and parents before their children")]
    Malformed,
    /// The rows to accept are not a path of the tree that the last pass computed for their sequence.
    #[error("rows {rows:?} are not a path of a draft tree of sequence {seq:?}")]
    NotAPath {
        /// The sequence.
        seq: SeqId,
        /// The rows.
        rows: Vec<usize>,
    },
}
