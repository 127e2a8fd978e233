//! How many prompt tokens a pass may compute beside sequences that decode.
//!
//! On a disk-bound machine a pass has time for many more tokens than those that decode; on another every token costs.
//! Neither is assumed: the number of tokens follows the time that passes take, so that a stream's time between tokens at
//! most doubles while another one's prompt prefills.

use std::time::Duration;

/// A pass with prompts may take this many times as long as one without. Below two, because a pass's time is known only afterwards.
const TARGET: f64 = 1.7;

/// Prompt tokens to begin with: cheap with the kernels for small batches.
const FIRST: f64 = 8.0;

/// How fast a new observation replaces older ones.
const WEIGHT: f64 = 0.3;

/// The number of prompt tokens for the next pass.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Seconds of a pass without prompts.
    decode: Option<f64>,
    n_rows: f64,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { decode: None, n_rows: FIRST }
    }
}

impl Pace {
    /// Prompt tokens that the next pass may compute beside those that decode. None before a pass without prompts has been
    /// seen.
    pub(crate) fn n_prompt_rows(&self) -> usize {
        if self.decode.is_some() { self.n_rows as usize } else { 0 }
    }

    /// Learns from a pass with `n_prompt` prompt tokens; one without tokens that decode tells nothing.
    pub(crate) fn observe(&mut self, n_prompt: usize, has_decoding: bool, elapsed: Duration) {
        let elapsed = elapsed.as_secs_f64();
        match self.decode {
            _ if !has_decoding => {}
            Some(decode) if n_prompt == 0 => self.decode = Some(decode + WEIGHT * (elapsed - decode)),
            None => self.decode = (n_prompt == 0).then_some(elapsed),
            // A short rest of a prompt tells nothing about a full span.
            Some(decode) if n_prompt >= self.n_rows as usize || elapsed > TARGET * decode => {
                let factor = (TARGET * decode / elapsed.max(1e-9)).clamp(0.5, 2.0);
                self.n_rows = (self.n_rows * factor).max(1.0);
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs prompts beside decoding on a machine where a pass takes this long, by its prompt tokens; the last pass's.
    fn settle(seconds: impl Fn(f64) -> f64) -> f64 {
        let mut pace = Pace::default();
        assert_eq!(pace.n_prompt_rows(), 0);
        pace.observe(0, true, Duration::from_secs_f64(seconds(0.0)));
        for _ in 0..40 {
            let n = pace.n_prompt_rows();
            pace.observe(n, true, Duration::from_secs_f64(seconds(n as f64)));
        }
        seconds(pace.n_prompt_rows() as f64) / seconds(0.0)
    }

    #[test]
    fn time_between_tokens_less_than_doubles() {
        // Compute alone; a disk that hides most; a disk that hides everything there is.
        for ratio in [settle(|n| 0.02 + 0.003 * n), settle(|n| (0.01 * n).max(2.0)), settle(|n| 1.0 + 0.1 * (n / 8.0))]
        {
            assert!((1.3..2.0).contains(&ratio), "{ratio}");
        }
    }

    #[test]
    fn what_costs_too_much_still_goes_on() {
        let mut pace = Pace::default();
        pace.observe(0, true, Duration::from_millis(1));
        (0..50).for_each(|_| pace.observe(pace.n_prompt_rows(), true, Duration::from_secs(1)));
        assert_eq!(pace.n_prompt_rows(), 1);
    }

    #[test]
    fn passes_without_streams_tell_nothing() {
        let mut pace = Pace::default();
        pace.observe(512, false, Duration::from_secs(9));
        assert_eq!(pace.n_prompt_rows(), 0);
        pace.observe(0, true, Duration::from_secs(1));
        pace.observe(512, false, Duration::from_secs(9));
        assert_eq!(pace.n_prompt_rows(), FIRST as usize);
    }
}
