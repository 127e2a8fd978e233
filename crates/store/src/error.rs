//! The error type of this crate; the plan has its own.

use crate::size;

/// Why weights, or spilled keys and values, could not be brought into memory.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file could not be opened.
    #[error("cannot open {path}: {source}")]
    Open {
        /// The file.
        path: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// A read failed or came short.
    #[error("cannot read {len} bytes of tensor {tensor} at offset {offset} of {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// The tensor.
        tensor: String,
        /// The offset in the file.
        offset: u64,
        /// The length in bytes.
        len: usize,
        /// The system's error.
        source: std::io::Error,
    },
    /// A file has changed since its header was read.
    #[error("{path} has been changed since it was opened ({what}); run again once it is complete")]
    Changed {
        /// The file.
        path: String,
        /// What has changed.
        what: String,
    },
    /// The spill file could not be created, written or read.
    #[error(
        "cannot {doing} the file for keys and values in {folder}: {source}; use --mmap-kv=DIR with a folder on a disk \
         with more room, or none and a smaller --ctx"
    )]
    Spill {
        /// The folder that it is in.
        folder: String,
        /// The operation that failed.
        doing: &'static str,
        /// The system's error.
        source: std::io::Error,
    },
    /// The pass was told to stop.
    #[error("stopped")]
    Stopped,
    /// A reservation exceeds what the budget has left.
    #[error(
        "{what} needs {}, but the memory budget has {} left (held: {held}); use a larger --memory-budget",
        size::show(*.bytes), size::show(*.left)
    )]
    OverBudget {
        /// What the reservation is for.
        what: &'static str,
        /// The size of the reservation, in bytes.
        bytes: u64,
        /// What the budget has left, in bytes.
        left: u64,
        /// The other reservations.
        held: String,
    },
    /// The system has no memory left.
    #[error("cannot allocate {len} bytes: {source}; use a smaller --memory-budget")]
    Memory {
        /// The length in bytes.
        len: usize,
        /// The system's error.
        source: std::io::Error,
    },
    /// A tensor's rows do not fit this machine's address space.
    #[error("tensor {tensor} is too large for this machine")]
    TooLarge {
        /// The tensor.
        tensor: String,
    },
}
