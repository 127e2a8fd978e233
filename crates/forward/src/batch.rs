//! The one shape of work: segments of sequences, and which of their rows want logits.
//!
//! Prefill is many tokens with [`LogitRows::Last`], decode is one; verifying a draft is a few with [`LogitRows::All`],
//! perplexity is many with [`LogitRows::From`], an embedding is many with [`LogitRows::Pooled`].

use std::ops::Range;

use kernels::FEW_TOKENS;
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
    /// Tokens of the whole prompt that these tokens are part of; 0 for generated tokens and drafts. It decides how their rows
    /// are summed, so that logits depend neither on how a prompt is split into passes nor on the other segments.
    pub prompt_len: usize,
}

/// What one pass computes.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// At most one per sequence.
    pub segments: Vec<Segment>,
}

/// The logits that a batch asked for, row by row in the batch's order.
#[derive(Debug, Default)]
pub struct Logits {
    values: Buffer<f32>,
    n_vocab: usize,
    /// Where in `values` each row is.
    places: Vec<usize>,
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
    /// Rows that are summed as they would be alone; they come first. The others belong to long prompts.
    pub n_few: usize,
    /// Pages to copy before the pass, from the first to the second: the batch writes into them, and others read them.
    pub copies: Vec<(PageId, PageId)>,
}

impl Batch {
    /// A batch of one segment of generated tokens.
    pub fn one(seq: SeqId, start: usize, tokens: Vec<u32>, logits: LogitRows) -> Batch {
        Batch::prompt(seq, start, tokens, logits, 0)
    }

    /// A batch of one segment: a part of a prompt of `prompt_len` tokens.
    pub fn prompt(seq: SeqId, start: usize, tokens: Vec<u32>, logits: LogitRows, prompt_len: usize) -> Batch {
        Batch { segments: vec![Segment { seq, start, tokens, logits, prompt_len }] }
    }

    /// Tokens in all segments.
    pub fn n_rows(&self) -> usize {
        self.segments.iter().map(|s| s.tokens.len()).sum()
    }

    /// The segments in the order of their rows in a pass: long prompts come last.
    pub(crate) fn in_row_order(&self) -> impl Iterator<Item = (usize, &Segment)> {
        let of = |is_long| self.segments.iter().enumerate().filter(move |(_, segment)| segment.is_long() == is_long);
        of(false).chain(of(true))
    }

    /// Rows that are summed as they would be alone; they come first.
    pub(crate) fn n_few(&self) -> usize {
        self.segments.iter().filter(|segment| !segment.is_long()).map(|segment| segment.tokens.len()).sum()
    }

    /// The rows of each segment.
    fn rows(&self) -> Vec<Range<usize>> {
        let mut rows = vec![0..0; self.segments.len()];
        let mut first = 0;
        for (i, segment) in self.in_row_order() {
            rows[i] = first..first + segment.tokens.len();
            first = rows[i].end;
        }
        rows
    }

    /// The rows whose logits are wanted.
    pub(crate) fn logit_rows(&self) -> LogitPlan {
        let mut plan = LogitPlan::default();
        let mut long = Vec::new();
        for (segment, rows) in self.segments.iter().zip(self.rows()) {
            let from = match segment.logits {
                LogitRows::None | LogitRows::Pooled(_) => rows.end,
                LogitRows::Last => rows.end - 1,
                LogitRows::All => rows.start,
                LogitRows::From(index) => rows.end.min(rows.start + index),
            };
            // A prompt's last row is summed as a generated token's; scoring a text is a long batch here too.
            let is_long = segment.is_long() && segment.logits != LogitRows::Last;
            for row in from..rows.end {
                plan.order.push((is_long, if is_long { long.len() } else { plan.rows.len() }));
                if is_long { long.push(row) } else { plan.rows.push(row) }
            }
        }
        plan.n_few = plan.rows.len();
        plan.rows.extend(long);
        plan
    }

    /// For each segment that wants hidden states, the rows whose states are added up.
    pub(crate) fn pooled_rows(&self) -> Vec<Vec<usize>> {
        let pooled = |(segment, rows): (&Segment, Range<usize>)| match segment.logits {
            LogitRows::Pooled(Pooling::Mean) => Some(rows.collect()),
            LogitRows::Pooled(Pooling::First) => Some(vec![rows.start]),
            LogitRows::Pooled(Pooling::Last) => Some(vec![rows.end - 1]),
            _ => None,
        };
        self.segments.iter().zip(self.rows()).filter_map(pooled).collect()
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
        let mut tokens = self.segments.iter().flat_map(|s| &s.tokens);
        match tokens.find(|&&t| t as usize >= n_vocab) {
            Some(&token) => Err(ForwardError::Token { token, n_vocab }),
            None => Ok(()),
        }
    }
}

impl Segment {
    /// Whether its rows are summed as those of a long prompt.
    fn is_long(&self) -> bool {
        self.prompt_len > FEW_TOKENS
    }
}

/// The rows that meet the output head.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct LogitPlan {
    /// Rows of the pass, in the order in which they meet it.
    pub(crate) rows: Vec<usize>,
    /// Of them, the first ones, which are summed as they would be alone.
    pub(crate) n_few: usize,
    /// In the batch's order: whether a row is one of the others, and its index among its kind.
    order: Vec<(bool, usize)>,
}

impl LogitPlan {
    /// The results in the batch's order. Shapes: `values` is `[rows, n_vocab]`.
    pub(crate) fn logits(&self, values: Buffer<f32>, n_vocab: usize) -> Logits {
        let place = |&(is_long, index): &(bool, usize)| if is_long { self.n_few + index } else { index };
        Logits { values, n_vocab, places: self.order.iter().map(place).collect(), pooled: Vec::new() }
    }
}

impl Logits {
    /// Rows of `n_vocab` logits each, one after another.
    pub fn new(values: Buffer<f32>, n_vocab: usize) -> Logits {
        let places = (0..values.values().len() / n_vocab.max(1)).collect();
        Logits { values, n_vocab, places, pooled: Vec::new() }
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
        self.places.len()
    }

    /// One row, `[n_vocab]`. Panics if `index` is out of range.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values.values()[self.places[index] * self.n_vocab..][..self.n_vocab]
    }
}
