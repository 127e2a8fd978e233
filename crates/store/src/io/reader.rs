//! [`Reader`]: how bytes get from files into slots. What to read, and when, is the caller's business.

use std::io::Result;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::io::span::Span;
use crate::slot::Slot;

/// A disk that completes no request for this long has stopped answering.
pub(crate) const DISK_PATIENCE: Duration = Duration::from_secs(60);

/// A slot to fill.
#[derive(Debug)]
pub(crate) struct ReadRequest {
    /// The caller's name for the request. No two requests in flight at one reader share a tag.
    pub(crate) tag: u64,
    /// What to read.
    pub(crate) span: Span,
    /// Where it goes.
    pub(crate) slot: Slot,
}

/// A completed request.
#[derive(Debug)]
pub(crate) struct ReadDone {
    /// The request's tag.
    pub(crate) tag: u64,
    /// The request's slot, whether or not the read succeeded.
    pub(crate) slot: Slot,
    /// Whether the slot is full.
    pub(crate) result: Result<()>,
    /// When the drive began to work on it, and when it was done.
    pub(crate) time: Range<Instant>,
}

/// Moves bytes from files into slots, several requests at once, completing them in any order.
pub(crate) trait Reader: Send {
    /// Submits a request and returns at once.
    fn submit(&mut self, request: ReadRequest);

    /// Returns a completed request, waiting at most `timeout` for one; with a timeout of zero it only polls.
    fn wait(&mut self, timeout: Duration) -> Option<ReadDone>;
}
