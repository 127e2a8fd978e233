//! What `bench` measured at one budget, and what follows from it: rates, the limit, a JSON object and a row of the table.
//!
//! The limit is the speed of a pass that reads everything streamed at the rate of direct reads, or computes without a pause,
//! whichever is slower. Shares of it may exceed 100%, since the disk is measured before and after the passes.

use engine::{DiskSpeed, Pass, TimedPasses};
use serde_json::{Value, json};
use store::ResidencyPlan;

use crate::size;

/// One budget, measured. There is at least one decode pass.
pub(crate) struct Measured {
    pub(crate) plan: ResidencyPlan,
    /// The mean of before and after the passes.
    pub(crate) disk: DiskSpeed,
    pub(crate) passes: TimedPasses,
    pub(crate) peak_bytes: u64,
}

/// Time from opening the file to the first token, in milliseconds.
#[derive(Clone, Copy)]
pub(crate) struct Start {
    /// With the file dropped from the page cache; `None` if the system cannot do that.
    pub(crate) cold_ms: Option<f64>,
    /// Once more right after that.
    pub(crate) warm_ms: f64,
    pub(crate) budget_bytes: u64,
}

impl Measured {
    /// Decoded tokens per second of all sequences together, over all passes.
    pub(crate) fn tokens_per_second(&self) -> f64 {
        let decode = &self.passes.decode;
        let total: f64 = decode.iter().map(|pass| pass.elapsed.as_secs_f64()).sum();
        (decode.len() as f64 * self.n_sequences()) / total.max(1e-9)
    }

    /// Tokens of a decode pass.
    pub(crate) fn n_sequences(&self) -> f64 {
        self.passes.n_sequences as f64
    }

    /// Bytes that a decode pass reads, per token.
    pub(crate) fn bytes_per_token(&self) -> f64 {
        self.median(|pass| pass.reads.bytes_read as f64) / self.n_sequences()
    }

    /// Seconds that a decode pass computes, per token.
    pub(crate) fn compute_s(&self) -> f64 {
        self.median(|pass| pass.compute().as_secs_f64()) / self.n_sequences()
    }

    /// The upper bound of tokens per second.
    pub(crate) fn limit(&self) -> f64 {
        limit(self.bytes_per_token(), self.disk.bytes_per_second, self.compute_s())
    }

    /// Speed as a share of the limit.
    pub(crate) fn percent_of_limit(&self) -> f64 {
        100.0 * self.tokens_per_second() / self.limit()
    }

    fn prompt_rate(&self) -> f64 {
        self.passes.prompt_tokens as f64 / self.passes.prefill.elapsed.as_secs_f64().max(1e-9)
    }

    fn pinned_bytes(&self) -> u64 {
        self.passes.decode.last().unwrap_or(&self.passes.prefill).reads.pinned_bytes
    }

    fn median(&self, of: impl Fn(&Pass) -> f64) -> f64 {
        median(self.passes.decode.iter().map(of).collect())
    }

    /// The object of a budget.
    pub(crate) fn json(&self) -> Value {
        let prefill = &self.passes.prefill;
        let pass = |pass: &Pass| {
            json!({
                "ms": millis(pass.elapsed.as_secs_f64()),
                "bytes_read": pass.reads.bytes_read,
                "stall_ms": millis(pass.reads.stall.as_secs_f64()),
                "compute_ms": millis(pass.compute().as_secs_f64()),
                "hit_rate": hit_rate(pass),
            })
        };
        json!({
            "disk": {
                "direct_read_bytes_per_second": self.disk.bytes_per_second,
                "request_bytes": self.disk.request_bytes,
                "depth": self.disk.depth,
            },
            "prefill": {
                "tokens": self.passes.prompt_tokens,
                "tokens_per_second": self.prompt_rate(),
                "bytes_read": prefill.reads.bytes_read,
                "ms": millis(prefill.elapsed.as_secs_f64()),
            },
            "decode": {
                "sequences": self.passes.n_sequences,
                "tokens_per_second": self.tokens_per_second(),
                "passes": self.passes.decode.iter().map(pass).collect::<Vec<_>>(),
            },
            "bytes_per_token": self.bytes_per_token(),
            "limit_tokens_per_second": self.limit(),
            "percent_of_limit": self.percent_of_limit(),
            "budget_bytes": self.plan.budget.limit_bytes,
            "pinned_bytes": self.pinned_bytes(),
            "peak_bytes": self.peak_bytes,
        })
    }

    fn row(&self) -> [String; HEADINGS.len()] {
        let share = 100.0 * self.pinned_bytes() as f64 / self.plan.weights_bytes.max(1) as f64;
        [
            size::show(self.plan.budget.limit_bytes),
            size::show(self.pinned_bytes()),
            format!("{share:.0}%"),
            format!("{:.1}", self.prompt_rate()),
            format!("{:.2}", self.tokens_per_second()),
            size::show(self.bytes_per_token() as u64),
            format!("{:.1} ms", millis(self.median(|pass| pass.reads.stall.as_secs_f64()))),
            format!("{:.1} ms", millis(self.median(|pass| pass.compute().as_secs_f64()))),
            format!("{:.0}%", 100.0 * self.median(hit_rate)),
            format!("{:.2}", self.limit()),
            format!("{:.0}%", self.percent_of_limit()),
        ]
    }
}

const HEADINGS: [&str; 11] = [
    "budget",
    "pinned",
    "share",
    "prefill t/s",
    "decode t/s",
    "bytes/token",
    "stall",
    "compute",
    "hit rate",
    "limit t/s",
    "of limit",
];

/// The table of all budgets. Panics if there are none.
pub(crate) fn table(all: &[Measured], start: Option<Start>) -> String {
    let first = &all[0];
    let head = format!(
        "disk {}/s (direct reads of up to {}, {} in flight), weights {}, prompt {} tokens, {} decode passes of {} tokens\n\n",
        size::show(median(all.iter().map(|m| m.disk.bytes_per_second).collect()) as u64),
        size::show(first.disk.request_bytes as u64),
        all.iter().map(|m| m.disk.depth).max().unwrap_or(0),
        size::show(first.plan.weights_bytes),
        first.passes.prompt_tokens,
        first.passes.decode.len(),
        first.passes.n_sequences,
    );
    let rows: Vec<_> = std::iter::once(HEADINGS.map(str::to_owned)).chain(all.iter().map(Measured::row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEADINGS.len()).map(width).collect();
    let line = |row: &[String; HEADINGS.len()]| {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:>width$}"));
        cells.collect::<Vec<_>>().join("  ") + "\n"
    };
    head + &rows.iter().map(line).collect::<String>() + &start.map(Start::line).unwrap_or_default()
}

impl Start {
    fn line(self) -> String {
        let cold = self.cold_ms.map(|ms| format!("{ms:.0} ms cold, ")).unwrap_or_default();
        let budget = size::show(self.budget_bytes);
        format!("\ntime to first token of a short prompt: {cold}{:.0} ms warm, at a budget of {budget}\n", self.warm_ms)
    }

    pub(crate) fn json(self) -> Value {
        json!({ "cold_ms": self.cold_ms, "warm_ms": self.warm_ms })
    }
}

/// Tokens per second of passes that read this many bytes from this disk and compute for this long.
pub(crate) fn limit(bytes: f64, bytes_per_second: f64, compute_s: f64) -> f64 {
    1.0 / (bytes / bytes_per_second).max(compute_s).max(1e-9)
}

/// The middle value, or the mean of the two middle ones; 0 without values.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

fn hit_rate(pass: &Pass) -> f64 {
    let reads = &pass.reads;
    let asked = reads.hits + reads.prefetch_hits + reads.misses;
    if asked > 0 { reads.hits as f64 / asked as f64 } else { 0.0 }
}

fn millis(seconds: f64) -> f64 {
    seconds * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slower_of_disk_and_arithmetic_is_the_limit() {
        assert_eq!(limit(500.0, 1000.0, 0.25), 2.0);
        assert_eq!(limit(100.0, 1000.0, 0.25), 4.0);
    }

    #[test]
    fn the_median_needs_no_order() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(Vec::new()), 0.0);
    }
}
