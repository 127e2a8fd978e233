//! What a pass hands out, and which rows it computes that for.

use std::ops::Range;

use store::Buffer;

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
    /// first or last token, or the sum over its tokens where the mean is asked for, so that a prompt can be split.
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

/// The rows that meet the output head: those that are summed as they would be alone, then the others.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct LogitPlan {
    few: Vec<usize>,
    long: Vec<usize>,
    /// In the batch's order: whether a row is a long one, and its index among its kind.
    order: Vec<(bool, usize)>,
}

impl LogitPlan {
    /// Adds rows of a pass.
    pub(crate) fn add(&mut self, rows: Range<usize>, is_long: bool) {
        let kind = if is_long { &mut self.long } else { &mut self.few };
        self.order.extend((kind.len()..).take(rows.len()).map(|index| (is_long, index)));
        kind.extend(rows);
    }

    /// The rows, in the order in which they meet the output head.
    pub(crate) fn rows(&self) -> Vec<usize> {
        [&self.few[..], &self.long].concat()
    }

    /// Rows that are summed as they would be alone; they come first.
    pub(crate) fn n_few(&self) -> usize {
        self.few.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// The results in the batch's order. Shapes: `values` is `[rows, n_vocab]`.
    pub(crate) fn logits(&self, values: Buffer<f32>, n_vocab: usize) -> Logits {
        let place = |&(is_long, index): &(bool, usize)| if is_long { self.n_few() + index } else { index };
        Logits { values, n_vocab, places: self.order.iter().map(place).collect(), pooled: Vec::new() }
    }
}
