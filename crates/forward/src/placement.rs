//! A batch with its places in the KV cache, as backends see it.

use crate::kv::page::{KvRow, PAGE_TOKENS, PageId};

/// One token of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The token id.
    pub token: u32,
    /// The segment that it belongs to.
    pub segment: usize,
    /// The token's position in its text, which is the number of tokens that it sees before it.
    pub position: usize,
    /// Where its keys and values are stored, counted from the start of its sequence. In a chain it is the position.
    pub slot: usize,
    /// The row that it continues; `None` continues the sequence as it was before the batch.
    pub parent: Option<usize>,
}

/// A batch with its places in the KV cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// The tokens.
    pub rows: Vec<Row>,
    /// For each segment, the pages of its sequence in order; a slot's page is at index `slot / PAGE_TOKENS`.
    pub pages: Vec<Vec<PageId>>,
    /// Rows that are summed as they would be alone; they come first. The others belong to long prompts.
    pub n_few: usize,
    /// Pages to copy before the pass, from the first to the second: the batch writes to them, and others read them.
    pub copies: Vec<(PageId, PageId)>,
}

impl Row {
    /// Whether all tokens that it sees are in the slots of their positions.
    pub fn is_in_place(&self) -> bool {
        self.slot == self.position
    }
}

impl Placement {
    /// Where a row's keys and values are stored.
    pub fn place(&self, row: &Row) -> KvRow {
        KvRow { page: self.pages[row.segment][row.slot / PAGE_TOKENS], row: row.slot % PAGE_TOKENS }
    }

    /// A row and those that it continues, from the last to the first.
    pub fn ancestry(&self, row: usize) -> impl Iterator<Item = &Row> {
        std::iter::successors(Some(&self.rows[row]), |row| row.parent.map(|parent| &self.rows[parent]))
    }
}
