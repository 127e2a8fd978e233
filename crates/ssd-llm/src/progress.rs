//! The line on standard error that says how far things are, when that is a terminal.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A line that is drawn at most ten times a second and vanishes when done.
pub(crate) struct Progress {
    bar: ProgressBar,
    start: Option<Instant>,
    tokens: usize,
}

impl Progress {
    /// A line that is not yet visible.
    pub(crate) fn new() -> Progress {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        bar.set_style(ProgressStyle::with_template("{spinner} {msg}").expect("the template is well-formed"));
        Progress { bar, start: None, tokens: 0 }
    }

    /// Says that the prompt has been taken in so far.
    pub(crate) fn prefill(&mut self, done: usize, total: usize) {
        self.say(format!("prompt {done}/{total} tokens"));
        self.start = Some(Instant::now());
    }

    /// Counts a token and says how fast they come.
    pub(crate) fn token(&mut self) {
        self.tokens += 1;
        let elapsed = self.start.map_or(Duration::ZERO, |s| s.elapsed()).as_secs_f64();
        let rate = if elapsed > 0.0 { self.tokens as f64 / elapsed } else { 0.0 };
        self.say(format!("{} tokens, {rate:.1} tokens/s", self.tokens));
    }

    /// Says something else.
    pub(crate) fn say(&self, message: String) {
        self.bar.set_message(message);
        self.bar.tick();
    }

    /// Takes the line away.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
