//! What the choice of a reader depends on.

/// How weights are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoMode {
    /// Past the page cache, or through it if that is refused; mapped if all weights fit and the system has no huge pages.
    Auto,
    /// Past the page cache in the best way available; an error if that is refused.
    Direct,
    /// Past the page cache through io_uring; an error if either is refused.
    Uring,
    /// Past the page cache by threads with positioned reads; an error if that is refused.
    Pread,
    /// Through the page cache, which is told to drop what was read.
    Buffered,
    /// Mapped: the weights are in the page cache.
    Mmap,
}

/// Whether all weights stay in memory once they are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fits {
    Yes,
    No,
}
