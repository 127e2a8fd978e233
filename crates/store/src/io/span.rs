//! Reads of whole blocks, which is what direct reads consist of.

/// Alignment of direct reads, in memory and in the file: a page. A file system that requires more is not read directly.
pub(crate) const ALIGNMENT: usize = 4096;

/// A read of whole blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// Index of the file among those that the reader was opened on.
    pub(crate) file: usize,
    /// Offset in the file, a multiple of [`ALIGNMENT`].
    pub(crate) offset: u64,
    /// Length in bytes, a multiple of [`ALIGNMENT`].
    pub(crate) len: usize,
    /// Bytes that have to arrive; the file may end inside the last block.
    pub(crate) needed: usize,
}
