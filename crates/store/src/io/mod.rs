//! Readers: how bytes get from files into slots.
//!
//! A [`Reader`] takes requests without waiting and hands back slots when they are full, in any order. What to read and
//! when is not its business. [`OpenFiles`] chooses it for an [`IoMode`].

mod bus_guard;
mod cached;
mod file;
mod mapping;
mod mode;
mod open_files;
mod pread;
mod short_reads;
mod throttled;
mod unnamed;
#[cfg(target_os = "linux")]
mod uring;

pub use cached::forget_file;
pub(crate) use file::ModelFile;
pub(crate) use mapping::Mapping;
pub use mode::IoMode;
pub(crate) use open_files::{Fits, OpenFiles, Way};
pub(crate) use pread::PreadPool;
pub(crate) use throttled::Throttled;
pub use unnamed::warn_if_in_memory;
#[cfg(target_os = "linux")]
pub(crate) use uring::Uring;

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::SlabId;
use crate::slot::{Slot, Span};

/// A disk that finishes no request for so long has stopped answering.
pub(crate) const DISK_PATIENCE: Duration = Duration::from_secs(60);

/// A slot to fill.
#[derive(Debug)]
pub(crate) struct ReadRequest {
    /// The slab that it is for.
    pub(crate) slab: SlabId,
    /// Which of the model's files it lies in.
    pub(crate) file: usize,
    /// What to read.
    pub(crate) span: Span,
    /// Where it goes.
    pub(crate) slot: Slot,
}

/// A slot that is full, or whose read has failed.
#[derive(Debug)]
pub(crate) struct ReadDone {
    /// The slab that it was for.
    pub(crate) slab: SlabId,
    /// The slot, also when the read has failed.
    pub(crate) slot: Slot,
    /// What became of it.
    pub(crate) result: std::io::Result<()>,
    /// From when to when the drive worked on it.
    pub(crate) time: Range<Instant>,
}

/// Moves bytes from files into slots, several at once.
pub(crate) trait Reader: Send {
    /// Takes a request; returns at once.
    fn submit(&mut self, request: ReadRequest);

    /// A request that is done, waiting at most `timeout` for one. With no time to wait it looks and returns at once.
    fn wait(&mut self, timeout: Duration) -> Option<ReadDone>;
}
