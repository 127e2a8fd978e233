//! The unit of the KV cache.

use kernels::AttendArgs;

/// Tokens of a page: a tile of the attention kernels.
pub const PAGE_TOKENS: usize = AttendArgs::TILE;

/// A page of the KV cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageId(pub(crate) u32);

impl PageId {
    /// Stands for a page that no token sees any more.
    pub(crate) const GONE: PageId = PageId(u32::MAX);
}

/// The place of one token's keys and values: a page and a row of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvRow {
    /// The page.
    pub page: PageId,
    /// Its row.
    pub row: usize,
}
