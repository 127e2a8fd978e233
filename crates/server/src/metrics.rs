//! Counters of requests and histograms of their times, for `/metrics` and the page.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the histograms' buckets, in seconds: a disk-bound model takes seconds a token.
pub(crate) const BOUNDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// What the server has counted since its start; the engine counts its own.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// Answered HTTP requests by the hundreds of their status: 1xx to 5xx.
    pub(crate) responses: [AtomicU64; 5],
    /// From a request's arrival at the engine to its first token.
    pub(crate) first_token: Histogram,
    /// From a token to the next.
    pub(crate) between_tokens: Histogram,
    /// Requests that their clients gave up.
    pub(crate) cancelled: AtomicU64,
}

/// Times, counted into buckets.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// Those that belong to no earlier bound; the last is for what exceeds all.
    pub(crate) buckets: [AtomicU64; BOUNDS.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    pub(crate) fn observe(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let at = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.buckets[at].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// All times together, in seconds.
    #[expect(clippy::cast_precision_loss, reason = "a sum of microseconds")]
    pub(crate) fn sum(&self) -> f64 {
        self.sum_us.load(Ordering::Relaxed) as f64 * 1e-6
    }
}

impl Metrics {
    pub(crate) fn responded(&self, status: u16) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.responses[class].fetch_add(1, Ordering::Relaxed);
    }
}
