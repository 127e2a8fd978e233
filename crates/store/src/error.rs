//! The one error type of this crate, besides the plan's.

use crate::size;

/// Why weights could not be brought into memory.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file could not be opened.
    #[error("cannot open {path}: {source}")]
    Open {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A read failed or came short.
    #[error("cannot read {len} bytes of tensor {tensor} at offset {offset} of {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// The tensor.
        tensor: String,
        /// Where in the file.
        offset: u64,
        /// How many bytes.
        len: usize,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is no longer what it was when its header was read.
    #[error("{path} has been changed since it was opened ({what}): run again once it is complete")]
    Changed {
        /// The file.
        path: String,
        /// What is different.
        what: String,
    },
    /// The file that keys and values spill to could not be made, written or read.
    #[error(
        "cannot {doing} the file for keys and values in {folder}: {source}; use --mmap-kv=DIR with a folder on a disk \
         with more room, or none and a smaller --ctx"
    )]
    Spill {
        /// Where it is.
        folder: String,
        /// What could not be done.
        doing: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// Somebody wanted no more while a pass ran.
    #[error("stopped")]
    Stopped,
    /// More is asked for than the budget has left.
    #[error(
        "{what} needs {}, but the memory budget has {} left (held: {held}); use a larger --memory-budget",
        size::show(*.bytes), size::show(*.left)
    )]
    OverBudget {
        /// What it is for.
        what: &'static str,
        /// What it needs.
        bytes: u64,
        /// What is left.
        left: u64,
        /// Who holds how much.
        held: String,
    },
    /// The system has no memory for a slab.
    #[error("no memory for {len} bytes of weights: {source}; use a smaller --memory-budget")]
    Memory {
        /// How many bytes.
        len: usize,
        /// What the system said.
        source: std::io::Error,
    },
    /// A tensor's rows do not fit this machine's address space.
    #[error("tensor {tensor} is too large for this machine")]
    TooLarge {
        /// The tensor.
        tensor: String,
    },
}
