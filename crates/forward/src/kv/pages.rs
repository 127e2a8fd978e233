//! The bytes of keys and values, wherever a backend keeps them.

use store::{ReadStats, StoreError};

use super::page::{KvRow, PageId};
use super::sequences::Sequences;
use crate::placement::Placement;

/// Pages of keys and values of all layers.
pub trait KvPages: Send {
    /// Rows of keys and values as the backend's operations make them.
    type Tensor;

    /// Bytes of a page.
    fn page_bytes(&self) -> usize;

    /// Begins a pass: copies shared pages that it writes, and makes all pages that it writes ready for that.
    ///
    /// Errors: a page cannot be moved. No token is lost, but copies were not made.
    fn begin(&mut self, placement: &Placement, sequences: &Sequences) -> Result<(), StoreError>;

    /// Stores keys and values of an attention step in the rows' slots.
    fn append(&mut self, layer: usize, placement: &Placement, k: &Self::Tensor, v: &Self::Tensor);

    /// Copies keys and values of all layers from the first place of each pair to the second, in order. Both are in pages that
    /// the last pass wrote.
    fn copy_rows(&mut self, pairs: &[(KvRow, KvRow)]);

    /// The bytes of a page, all layers.
    ///
    /// Errors: it cannot be read.
    fn page(&mut self, page: PageId) -> Result<&[u8], StoreError>;

    /// The same, to be written whole.
    ///
    /// Errors: there is no place for it.
    fn page_mut(&mut self, page: PageId, sequences: &Sequences) -> Result<&mut [u8], StoreError>;

    /// What was read of keys and values so far, and how long passes waited for it.
    fn stats(&self) -> ReadStats;
}
