//! A limit on memory and what is left below it.

/// A limit on memory and what is left below it, in bytes. Neither includes swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// What can still be used without pushing anything into swap.
    pub(crate) available: u64,
    /// The limit.
    pub(crate) total: u64,
}
