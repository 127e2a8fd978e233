//! A bound on memory: how much there is, and how much is left.

/// A bound on memory and what is left below it, in bytes. Swap counts for neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// What can still be taken without pushing anything into swap.
    pub(crate) available: u64,
    /// What there is in all.
    pub(crate) total: u64,
}
