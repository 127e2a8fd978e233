//! The one shape of work: segments of sequences, and which of their rows want logits.
//!
//! Prefill is many tokens with [`LogitRows::Last`], decode is one; verifying a draft is a few with [`LogitRows::All`],
//! perplexity is many with [`LogitRows::From`], an embedding is many with [`LogitRows::Pooled`].

use std::ops::Range;

use kernels::FEW_TOKENS;
use model::Pooling;

use crate::error::ForwardError;
use crate::logits::LogitPlan;
use crate::seq_id::SeqId;

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
    /// None, but a row of hidden states; see [`Logits::pooled`](crate::Logits::pooled).
    Pooled(Pooling),
}

/// Tokens of one sequence: a run of its text, or a tree of drafts that continue it.
#[derive(Clone, Debug)]
pub struct Segment {
    /// The sequence.
    pub seq: SeqId,
    /// Tokens that the sequence has already.
    pub start: usize,
    /// The tokens, at least one.
    pub tokens: Vec<u32>,
    /// Whose logits are wanted.
    pub logits: LogitRows,
    /// Tokens of the whole prompt that these tokens are part of; 0 for generated tokens and drafts. It decides how their rows
    /// are summed, so that logits depend neither on how a prompt is split into passes nor on the other segments.
    pub prompt_len: usize,
    /// For a tree of drafts, the earlier token of the segment that each token continues; `None` continues the sequence. The
    /// sequence keeps none of them until [`LanguageModel::accept`](crate::LanguageModel::accept) says which.
    ///
    /// Empty for a run: each token continues the one before it, and the sequence keeps them all.
    pub parents: Vec<Option<usize>>,
}

/// What one pass computes.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// At most one per sequence.
    pub segments: Vec<Segment>,
}

impl Segment {
    /// A run of generated tokens.
    pub fn run(seq: SeqId, start: usize, tokens: Vec<u32>, logits: LogitRows) -> Segment {
        Segment { seq, start, tokens, logits, prompt_len: 0, parents: Vec::new() }
    }

    /// Whether the sequence keeps nothing of it by itself.
    pub(crate) fn is_tree(&self) -> bool {
        !self.parents.is_empty()
    }

    /// The token that each token continues.
    pub(crate) fn parent(&self, index: usize) -> Option<usize> {
        if self.is_tree() { self.parents[index] } else { index.checked_sub(1) }
    }

    /// Whether its rows are summed as those of a long prompt.
    fn is_long(&self) -> bool {
        self.prompt_len > FEW_TOKENS
    }

    /// Whether parents come before their children, one for each token.
    fn is_well_formed(&self) -> bool {
        let earlier = |(i, parent): (usize, &Option<usize>)| parent.is_none_or(|parent| parent < i);
        !self.tokens.is_empty()
            && (!self.is_tree() || self.parents.len() == self.tokens.len())
            && self.parents.iter().enumerate().all(earlier)
    }
}

impl Batch {
    /// A batch of one segment of generated tokens.
    pub fn one(seq: SeqId, start: usize, tokens: Vec<u32>, logits: LogitRows) -> Batch {
        Batch { segments: vec![Segment::run(seq, start, tokens, logits)] }
    }

    /// A batch of one segment: a part of a prompt of `prompt_len` tokens.
    pub fn prompt(seq: SeqId, start: usize, tokens: Vec<u32>, logits: LogitRows, prompt_len: usize) -> Batch {
        Batch { segments: vec![Segment { prompt_len, ..Segment::run(seq, start, tokens, logits) }] }
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
    pub(crate) fn logit_plan(&self) -> LogitPlan {
        let mut plan = LogitPlan::default();
        for (segment, rows) in self.segments.iter().zip(self.rows()) {
            let from = match segment.logits {
                LogitRows::None | LogitRows::Pooled(_) => rows.end,
                LogitRows::Last => rows.end - 1,
                LogitRows::All => rows.start,
                LogitRows::From(index) => rows.end.min(rows.start + index),
            };
            // A prompt's last row meets the output head as a generated token's does; a scored text is a long batch there too.
            plan.add(from..rows.end, segment.is_long() && segment.logits != LogitRows::Last);
        }
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
        let is_well_formed = self.segments.iter().all(Segment::is_well_formed);
        if self.segments.is_empty() || seen.len() < self.segments.len() || !is_well_formed {
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
