//! Paces another reader to a rate, as if the disk were slower: to share a disk, and to see on any disk how well reads and
//! arithmetic overlap.
//!
//! Each request is given the time at which a disk of that rate, which serves one after another, would complete it, and is
//! handed back no sooner.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::io::reader::{ReadDone, ReadRequest, Reader};

/// A reader behind a slower disk.
pub(crate) struct Throttled {
    inner: Box<dyn Reader>,
    bytes_per_second: f64,
    /// When the slower disk will have completed all requests.
    free_at: Instant,
    /// By tag, when the slower disk begins and completes a request in flight.
    planned: HashMap<u64, (Instant, Instant)>,
    /// Completed too early.
    held: Vec<ReadDone>,
}

impl Throttled {
    /// Paces `inner` to `bytes_per_second`.
    pub(crate) fn new(inner: Box<dyn Reader>, bytes_per_second: f64) -> Throttled {
        Throttled { inner, bytes_per_second, free_at: Instant::now(), planned: HashMap::new(), held: Vec::new() }
    }

    /// Keeps a completed request until its time.
    fn hold(&mut self, mut done: ReadDone) {
        if let Some((from, until)) = self.planned.remove(&done.tag) {
            done.time = from..until.max(done.time.end);
        }
        self.held.push(done);
    }

    /// The completed request whose time comes first.
    fn first_held(&self) -> Option<usize> {
        (0..self.held.len()).min_by_key(|i| self.held[*i].time.end)
    }
}

impl Reader for Throttled {
    fn submit(&mut self, request: ReadRequest) {
        let from = self.free_at.max(Instant::now());
        let takes = Duration::from_secs_f64(request.span.needed as f64 / self.bytes_per_second);
        self.free_at = from + takes;
        self.planned.insert(request.tag, (from, self.free_at));
        self.inner.submit(request);
    }

    fn wait(&mut self, timeout: Duration) -> Option<ReadDone> {
        let deadline = Instant::now() + timeout;
        loop {
            while let Some(done) = self.inner.wait(Duration::ZERO) {
                self.hold(done);
            }
            let now = Instant::now();
            let first = self.first_held();
            if let Some(i) = first.filter(|i| self.held[*i].time.end <= now) {
                return Some(self.held.swap_remove(i));
            }
            if now >= deadline {
                return None;
            }
            let until = first.map_or(deadline, |i| self.held[i].time.end.min(deadline));
            // The next request to hand back may still be in flight.
            if self.planned.is_empty() {
                std::thread::sleep(until - now);
            } else if let Some(done) = self.inner.wait(until - now) {
                self.hold(done);
            }
        }
    }
}
