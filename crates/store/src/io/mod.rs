//! Readers: how bytes get from the file into slots.
//!
//! A [`Reader`] takes requests without waiting and hands back slots when they are full, in any order. What to read and
//! when is not its business.

mod file;
mod pread;

pub use file::IoMode;
pub(crate) use file::{ModelFile, open};
pub(crate) use pread::PreadPool;

use std::ops::Range;
use std::time::Instant;

use crate::SlabId;
use crate::slot::{Slot, Span};

/// A slot to fill.
#[derive(Debug)]
pub(crate) struct ReadRequest {
    /// The slab that it is for.
    pub(crate) slab: SlabId,
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

/// Moves bytes from the file into slots, several at once.
pub(crate) trait Reader: Send {
    /// Takes a request; returns at once.
    fn submit(&mut self, request: ReadRequest);

    /// A request that is done, if there is one.
    fn try_wait(&mut self) -> Option<ReadDone>;

    /// Waits for a request to be done. Panics if none is under way.
    fn wait(&mut self) -> ReadDone;
}
