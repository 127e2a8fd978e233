//! What a service is doing and has done, for other threads to read.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use store::ReadStats;

use crate::prompt_cache::CacheStats;
use crate::scheduler::Load;

/// The time over which recent rates are taken, and the time between two samples of the totals.
const RECENT: Duration = Duration::from_secs(5);
const SAMPLE_EVERY: Duration = Duration::from_millis(200);

/// The state of a service, and its work since the start.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Whether the model is in memory.
    pub is_loaded: bool,
    /// Whether the thread has ended, after which no request is answered.
    pub has_failed: bool,
    /// Requests by state.
    pub load: Load,
    /// The prompt cache.
    pub cache: CacheStats,
    /// Pages of the KV cache.
    pub n_pages: usize,
    /// Free pages of the KV cache.
    pub n_free_pages: usize,
    /// Bytes of a page.
    pub page_bytes: usize,
    /// Since the start.
    pub totals: Totals,
    /// In the last seconds.
    pub recent: Totals,
}

/// Work done in a period of time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// The period, idle time included.
    pub time: Duration,
    /// Time in passes.
    pub pass_time: Duration,
    /// Passes.
    pub passes: u64,
    /// Requests that have ended.
    pub requests: u64,
    /// Failed requests.
    pub failed: u64,
    /// Prompt tokens, cached ones included.
    pub prompt_tokens: u64,
    /// Generated tokens.
    pub generated_tokens: u64,
    /// Bytes of weights read.
    pub bytes_read: u64,
    /// Time that passes waited for them.
    pub stall: Duration,
    /// Slabs that were in memory when they were needed.
    pub hits: u64,
    /// Slabs that were needed.
    pub slabs: u64,
    /// Bytes of weights that are pinned now.
    pub pinned_bytes: u64,
}

/// Counts work, and remembers the totals of the last seconds.
pub(super) struct Meter {
    started: Instant,
    /// Without the reads of the model that is loaded now.
    pub(super) totals: Totals,
    samples: VecDeque<(Instant, Totals)>,
}

impl Meter {
    pub(super) fn new() -> Meter {
        Meter { started: Instant::now(), totals: Totals::default(), samples: VecDeque::new() }
    }

    /// Adds the reads of a model that is about to be unloaded for good.
    pub(super) fn unload(&mut self, reads: &ReadStats) {
        self.totals = Totals { pinned_bytes: 0, ..self.totals.with_reads(reads) };
    }

    /// The totals since the start, and those of the last seconds. `reads` are those of the model that is loaded now.
    pub(super) fn read(&mut self, reads: &ReadStats) -> (Totals, Totals) {
        let now = Instant::now();
        let totals = Totals { time: now - self.started, ..self.totals.with_reads(reads) };
        while self.samples.len() > 1 && self.samples.front().is_some_and(|(at, _)| now - *at > RECENT) {
            self.samples.pop_front();
        }
        if self.samples.back().is_none_or(|(at, _)| now - *at > SAMPLE_EVERY) {
            self.samples.push_back((now, totals));
        }
        (totals, self.samples.front().map_or(totals, |(_, earlier)| totals.since(earlier)))
    }
}

impl Totals {
    fn with_reads(&self, reads: &ReadStats) -> Totals {
        Totals {
            bytes_read: self.bytes_read + reads.bytes_read,
            stall: self.stall + reads.stall,
            hits: self.hits + reads.hits,
            slabs: self.slabs + reads.hits + reads.prefetch_hits + reads.misses,
            pinned_bytes: reads.pinned_bytes,
            ..*self
        }
    }

    /// What has been added since `earlier`.
    fn since(&self, earlier: &Totals) -> Totals {
        Totals {
            time: self.time - earlier.time,
            pass_time: self.pass_time - earlier.pass_time,
            passes: self.passes - earlier.passes,
            requests: self.requests - earlier.requests,
            failed: self.failed - earlier.failed,
            prompt_tokens: self.prompt_tokens - earlier.prompt_tokens,
            generated_tokens: self.generated_tokens - earlier.generated_tokens,
            bytes_read: self.bytes_read - earlier.bytes_read,
            stall: self.stall - earlier.stall,
            hits: self.hits - earlier.hits,
            slabs: self.slabs - earlier.slabs,
            pinned_bytes: self.pinned_bytes,
        }
    }
}
