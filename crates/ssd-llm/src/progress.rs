//! The progress line on standard error, if that is a terminal. It is updated during passes too, since a pass over a large
//! model takes long; how much was read shows that it goes on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::size;

/// How often the read rate is updated.
const RATE_EVERY: Duration = Duration::from_secs(1);

const TICK: Duration = Duration::from_millis(200);

/// A line that is drawn at most ten times a second and cleared when done.
pub(crate) struct Progress {
    bar: ProgressBar,
    start: Option<Instant>,
    tokens: usize,
}

impl Progress {
    /// A line that also shows how `bytes_read` grows.
    pub(crate) fn new(bytes_read: &Arc<AtomicU64>) -> Progress {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        let style = ProgressStyle::with_template("{spinner} {msg}{reading}").expect("the template is well-formed");
        let reading = Arc::new(Mutex::new(Reading::new(bytes_read)));
        bar.set_style(style.with_key("reading", move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
            // A line that cannot be written is skipped.
            let _ = out.write_str(&reading.lock().unwrap_or_else(PoisonError::into_inner).tell());
        }));
        bar.set_message("first pass");
        bar.enable_steady_tick(TICK);
        Progress { bar, start: None, tokens: 0 }
    }

    /// Shows the progress of prefill.
    pub(crate) fn prefill(&mut self, done: usize, total: usize) {
        self.say(format!("prompt {done}/{total} tokens"));
        self.start = Some(Instant::now());
    }

    /// Counts a token and shows the rate.
    pub(crate) fn token(&mut self) {
        self.tokens += 1;
        let elapsed = self.start.map_or(Duration::ZERO, |s| s.elapsed()).as_secs_f64();
        let rate = if elapsed > 0.0 { self.tokens as f64 / elapsed } else { 0.0 };
        self.say(format!("{} tokens, {rate:.1} tokens/s", self.tokens));
    }

    /// Shows another message.
    pub(crate) fn say(&self, message: String) {
        self.bar.set_message(message);
        self.bar.tick();
    }

    /// Clears the line.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// How much was read since the line appeared, and how fast recently.
struct Reading {
    bytes_read: Arc<AtomicU64>,
    /// Bytes read before that.
    before: u64,
    since: Instant,
    bytes: u64,
    rate: f64,
}

impl Reading {
    fn new(bytes_read: &Arc<AtomicU64>) -> Reading {
        let before = bytes_read.load(Ordering::Relaxed);
        Reading { bytes_read: Arc::clone(bytes_read), before, since: Instant::now(), bytes: 0, rate: 0.0 }
    }

    /// The bytes if there are any, and the rate if there is one.
    fn tell(&mut self) -> String {
        let bytes = self.bytes_read.load(Ordering::Relaxed) - self.before;
        let elapsed = self.since.elapsed();
        if elapsed >= RATE_EVERY {
            self.rate = (bytes - self.bytes) as f64 / elapsed.as_secs_f64();
            (self.since, self.bytes) = (Instant::now(), bytes);
        }
        match (bytes, self.rate as u64) {
            (0, _) => String::new(),
            (_, 0) => format!(", read {}", size::show(bytes)),
            (_, rate) => format!(", read {} ({}/s)", size::show(bytes), size::show(rate)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_reading_is_of_this_line_and_now() {
        let bytes_read = Arc::new(AtomicU64::new(7 << 30));
        let mut reading = Reading::new(&bytes_read);
        assert_eq!(reading.tell(), "");
        bytes_read.fetch_add(3 << 20, Ordering::Relaxed);
        assert_eq!(reading.tell(), ", read 3.00 MiB");
        reading.since -= RATE_EVERY;
        assert!(reading.tell().starts_with(", read 3.00 MiB (") && reading.rate > 1e6, "{}", reading.tell());
        reading.since -= RATE_EVERY;
        assert_eq!(reading.tell(), ", read 3.00 MiB");
    }
}
