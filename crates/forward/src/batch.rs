//! The one shape of work: segments of sequences, and which of their rows want logits.
//!
//! Prefill is many tokens with [`LogitRows::Last`], decode is one; verifying a draft is a few with [`LogitRows::All`],
//! perplexity is many with [`LogitRows::From`], an embedding is many with [`LogitRows::Pooled`].

use model::Pooling;
use store::Buffer;

use crate::{ForwardError, PageId};

/// Names a sequence in the KV cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeqId(pub u64);

/// Which tokens of a segment want logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogitRows {
    /// None: more of the same prompt follows.
    None,
    /// The last one.
    Last,
    /// All of them.
    All,
    /// Those from this index in the segment on.
    From(usize),
    /// None, but a row of hidden states; see [`Logits::pooled`].
    Pooled(Pooling),
}

/// Consecutive tokens of one sequence.
#[derive(Clone, Debug)]
pub struct Segment {
    /// The sequence.
    pub seq: SeqId,
    /// Position of the first token: the number of tokens that the sequence has already.
    pub start: usize,
    /// The tokens, at least one.
    pub tokens: Vec<u32>,
    /// Whose logits are wanted.
    pub logits: LogitRows,
    /// Part of a prompt of more than [`FEW_TOKENS`](kernels::FEW_TOKENS) tokens. Its rows have the bits that they would
    /// have in one long batch, and those of the other segments the bits that they have alone, in whatever company: so a text
    /// does not depend on how prompts are cut, or on who else is served.
    pub is_long: bool,
}

/// What one pass computes.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// At most one a sequence; those of long prompts come last.
    pub segments: Vec<Segment>,
}

/// The logits that a batch asked for, row by row in the batch's order.
#[derive(Debug, Default)]
pub struct Logits {
    values: Buffer<f32>,
    n_vocab: usize,
    /// A row for each segment that wants one.
    pooled: Vec<Vec<f32>>,
}

/// One token of a batch as the backend sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The token id.
    pub token: u32,
    /// The segment that it belongs to.
    pub segment: usize,
    /// The token's position in its sequence.
    pub position: usize,
}

/// A batch with its places in the KV cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// The tokens.
    pub rows: Vec<Row>,
    /// For each segment, the pages of its sequence in order; a position's page is at index `position / PAGE_TOKENS`.
    pub pages: Vec<Vec<PageId>>,
    /// Of the rows, how many are computed as a small batch; they come first.
    pub n_few: usize,
    /// Pages to copy before the pass, from the first to the second: the batch writes into them, and others read them.
    pub copies: Vec<(PageId, PageId)>,
}

impl Batch {
    /// A batch of one segment.
    pub fn one(seq: SeqId, start: usize, tokens: Vec<u32>, logits: LogitRows) -> Batch {
        Batch { segments: vec![Segment { seq, start, tokens, logits, is_long: false }] }
    }

    /// Tokens in all segments.
    pub fn n_rows(&self) -> usize {
        self.segments.iter().map(|s| s.tokens.len()).sum()
    }

    /// Of its rows, how many are computed as a small batch; they come first.
    pub(crate) fn n_few(&self) -> usize {
        let short = self.segments.iter().take_while(|segment| !segment.is_long);
        few_of(short.map(|segment| segment.tokens.len()).sum())
    }

    /// Indices of the rows whose logits are wanted.
    pub(crate) fn logit_rows(&self) -> Vec<usize> {
        let mut first = 0;
        let mut rows = Vec::new();
        for segment in &self.segments {
            let n = segment.tokens.len();
            let from = match segment.logits {
                LogitRows::None | LogitRows::Pooled(_) => n,
                LogitRows::Last => n - 1,
                LogitRows::All => 0,
                LogitRows::From(index) => index.min(n),
            };
            rows.extend(first + from..first + n);
            first += n;
        }
        rows
    }

    /// For each segment that wants hidden states, the rows whose states are added up.
    pub(crate) fn pooled_rows(&self) -> Vec<Vec<usize>> {
        let mut first = 0;
        let mut rows = Vec::new();
        for segment in &self.segments {
            let n = segment.tokens.len();
            if let LogitRows::Pooled(pooling) = segment.logits {
                rows.push(match pooling {
                    Pooling::Mean => (first..first + n).collect(),
                    Pooling::First => vec![first],
                    Pooling::Last => vec![first + n - 1],
                });
            }
            first += n;
        }
        rows
    }

    pub(crate) fn check(&self, n_vocab: usize, max_rows: usize) -> Result<(), ForwardError> {
        let mut seen: Vec<SeqId> = self.segments.iter().map(|s| s.seq).collect();
        seen.sort_unstable();
        seen.dedup();
        if self.segments.is_empty() || seen.len() < self.segments.len() {
            return Err(ForwardError::Malformed);
        }
        if self.segments.iter().any(|s| s.tokens.is_empty()) {
            return Err(ForwardError::Malformed);
        }
        if self.n_rows() > max_rows {
            return Err(ForwardError::TooManyRows { rows: self.n_rows(), max: max_rows });
        }
        if !self.segments.is_sorted_by_key(|segment| segment.is_long) {
            return Err(ForwardError::Malformed);
        }
        let mut tokens = self.segments.iter().flat_map(|s| &s.tokens);
        match tokens.find(|&&t| t as usize >= n_vocab) {
            Some(&token) => Err(ForwardError::Token { token, n_vocab }),
            None => Ok(()),
        }
    }
}

/// Of `n` rows that belong to no long prompt, how many are computed as a small batch: all, or none if they are too many.
pub(crate) fn few_of(n: usize) -> usize {
    if n <= kernels::FEW_TOKENS { n } else { 0 }
}

impl Logits {
    /// Rows of `n_vocab` logits each, one after another.
    pub fn new(values: Buffer<f32>, n_vocab: usize) -> Logits {
        Logits { values, n_vocab, pooled: Vec::new() }
    }

    /// The same, with hidden states.
    pub fn with_pooled(self, pooled: Vec<Vec<f32>>) -> Logits {
        Logits { pooled, ..self }
    }

    /// Hidden states behind the last norm, `[dim]`, of the segments that want them, in their order: those of the segment's
    /// first or last token, or the sum over its tokens where the mean is asked for, so that a prompt can be cut.
    pub fn pooled(&self, index: usize) -> &[f32] {
        &self.pooled[index]
    }

    /// The number of rows.
    pub fn n_rows(&self) -> usize {
        self.values.values().len() / self.n_vocab.max(1)
    }

    /// One row, `[n_vocab]`. Panics if there are not so many.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values.values()[index * self.n_vocab..(index + 1) * self.n_vocab]
    }
}
