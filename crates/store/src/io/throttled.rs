//! Paces another reader to a rate, as if the disk were slower: for sharing a disk with others, and for seeing on any disk
//! how well reading and computing overlap.
//!
//! Every request gets the time at which a disk of that rate would be done with it, one after another, and is handed back
//! then and no sooner.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::io::reader::{ReadDone, ReadRequest, Reader};

/// A reader behind a slower disk.
pub(crate) struct Throttled {
    inner: Box<dyn Reader>,
    bytes_per_second: f64,
    /// When the slower disk will be done with all that it was asked for.
    free_at: Instant,
    /// From when to when the slower disk works on a request that is under way.
    planned: HashMap<u64, (Instant, Instant)>,
    /// Done too early.
    held: Vec<ReadDone>,
}

impl Throttled {
    /// Paces `inner` to `bytes_per_second`.
    pub(crate) fn new(inner: Box<dyn Reader>, bytes_per_second: f64) -> Throttled {
        Throttled { inner, bytes_per_second, free_at: Instant::now(), planned: HashMap::new(), held: Vec::new() }
    }

    /// Keeps what is done until its time.
    fn hold(&mut self, mut done: ReadDone) {
        if let Some((from, until)) = self.planned.remove(&done.tag) {
            done.time = from..until.max(done.time.end);
        }
        self.held.push(done);
    }

    /// The one whose time comes first.
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
            // While others are still being read, the one to be handed back next may be among them.
            if self.planned.is_empty() {
                std::thread::sleep(until - now);
            } else if let Some(done) = self.inner.wait(until - now) {
                self.hold(done);
            }
        }
    }
}
