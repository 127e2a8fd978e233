//! What a reader is chosen by.

/// How weights are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoMode {
    /// Past the page cache, and through it where that is refused; mapped where all weights fit and the system has no huge
    /// pages.
    Auto,
    /// Past the page cache by the best way that there is; an error where that is refused.
    Direct,
    /// Past the page cache through io_uring; an error where either is refused.
    Uring,
    /// Past the page cache by threads with positioned reads; an error where that is refused.
    Pread,
    /// Through the page cache, which is told to forget what was read.
    Buffered,
    /// Mapped into memory: the page cache is where the weights are.
    Mmap,
}

/// Whether all weights stay in memory once they are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fits {
    Yes,
    No,
}
