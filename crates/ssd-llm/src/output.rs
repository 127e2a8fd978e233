//! What the commands print: JSON objects, whose names are a contract, and the closing statistics.

use std::io::{ErrorKind, Write};

use engine::{EngineOptions, Generation, StepLogprobs, TokenLogprob};
use serde_json::{Value, json};
use store::{ResidencyPlan, peak_memory};

use crate::size;

/// Writes to standard output. Returns `false` if its reader has gone away, which is not an error.
pub(crate) fn print(text: &str) -> anyhow::Result<bool> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(anyhow::Error::new(e).context("cannot write to standard output")),
    }
}

/// Writes a line to standard error, if it is open.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Warns if the budget was capped to what the system has.
pub(crate) fn warn_if_capped(options: &EngineOptions, plan: &ResidencyPlan) {
    let limit = plan.budget.limit_bytes;
    if let Some(asked) = options.memory_budget.filter(|asked| *asked > limit) {
        let (asked, limit) = (size::show(asked), size::show(limit));
        say(&format!("warning: --memory-budget {asked} is more than this system has available: using {limit}"));
    }
}

/// An error and its causes in one line, without repeating causes that the line already contains.
pub(crate) fn chain(error: &anyhow::Error) -> String {
    let mut line = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line
}

/// The object of `run --json`.
pub(crate) fn run_json(generation: &Generation, plan: &ResidencyPlan) -> Value {
    let timings = &generation.timings;
    let mut object = json!({
        "text": generation.text,
        "tokens": generation.tokens,
        "prompt_tokens": generation.prompt_tokens,
        "finish_reason": generation.finish_reason.name(),
        "timings": {
            "prefill_ms": millis(timings.prefill),
            "decode_ms": millis(timings.decode),
            "tokens_per_second": timings.tokens_per_second(),
        },
        "io": io_json(generation),
        "memory": {
            "budget_bytes": plan.budget.limit_bytes,
            "pinned_bytes": generation.decode_reads.pinned_bytes,
            "peak_bytes": peak_memory(),
        },
    });
    if generation.cached_tokens > 0 {
        object["cached_tokens"] = json!(generation.cached_tokens);
    }
    if !generation.logprobs.is_empty() {
        object["logprobs"] = generation.logprobs.iter().map(step_json).collect();
    }
    object
}

/// A token's log-probability, and its alternatives.
pub(crate) fn step_json(step: &StepLogprobs) -> Value {
    let one = |t: &TokenLogprob| json!({ "id": t.id, "logprob": t.logprob });
    let mut object = one(&step.chosen);
    object["top"] = step.top.iter().map(one).collect();
    object
}

/// The closing lines of a run.
pub(crate) fn statistics(generation: &Generation, plan: &ResidencyPlan) -> String {
    let timings = &generation.timings;
    let io = Io::of(generation);
    let prefill = timings.prefill.as_secs_f64();
    let prompt_rate = (generation.prompt_tokens - generation.cached_tokens) as f64 / prefill.max(1e-9);
    let cached = match generation.cached_tokens {
        0 => String::new(),
        n => format!(" ({n} cached)"),
    };
    format!(
        "prompt {} tokens{cached} in {prefill:.2} s ({prompt_rate:.1} tokens/s), answer {} tokens in {:.2} s ({:.1} tokens/s), {}\n\
         read {} at {}/s, {} per token; waited {:.2} s, computed {:.2} s: {:.0}% of the limit\n\
         memory: {} of weights pinned ({:.0}%), peak {}, budget {}",
        generation.prompt_tokens,
        generation.tokens.len(),
        timings.decode.as_secs_f64(),
        timings.tokens_per_second(),
        generation.finish_reason.name(),
        size::show(io.bytes_read),
        size::show(io.bytes_per_second as u64),
        size::show(io.bytes_per_token as u64),
        io.stall_s,
        io.compute_s,
        io.percent_of_limit,
        size::show(generation.decode_reads.pinned_bytes),
        100.0 * generation.decode_reads.pinned_bytes as f64 / plan.weights_bytes.max(1) as f64,
        size::show(peak_memory()),
        size::show(plan.budget.limit_bytes),
    )
}

/// Time and bytes of a generation.
struct Io {
    bytes_read: u64,
    bytes_per_token: f64,
    bytes_per_second: f64,
    stall_s: f64,
    compute_s: f64,
    percent_of_limit: f64,
}

impl Io {
    fn of(generation: &Generation) -> Io {
        let (prefill, decode) = (generation.prefill_reads, generation.decode_reads);
        let bytes_read = prefill.bytes_read + decode.bytes_read;
        let stall = prefill.stall + decode.stall;
        let busy_s = (prefill.busy + decode.busy).as_secs_f64();
        let total = generation.timings.prefill + generation.timings.decode;
        let decode_s = generation.timings.decode.as_secs_f64();
        // A pass is no faster than the disk alone, at the rate it reached, or than the arithmetic alone.
        let limit_s = decode.busy.as_secs_f64().max(decode_s - decode.stall.as_secs_f64());
        Io {
            bytes_read,
            bytes_per_token: decode.bytes_read as f64 / (generation.timings.decode_passes.max(1)) as f64,
            bytes_per_second: if busy_s > 0.0 { bytes_read as f64 / busy_s } else { 0.0 },
            stall_s: stall.as_secs_f64(),
            compute_s: total.saturating_sub(stall).as_secs_f64(),
            percent_of_limit: if decode_s > 0.0 { 100.0 * (limit_s / decode_s).min(1.0) } else { 0.0 },
        }
    }
}

fn io_json(generation: &Generation) -> Value {
    let io = Io::of(generation);
    let (prefill, decode) = (generation.prefill_reads, generation.decode_reads);
    let asked = decode.hits + decode.prefetch_hits + decode.misses;
    json!({
        "bytes_read": io.bytes_read,
        "bytes_per_token": io.bytes_per_token,
        "disk_bytes_per_second": io.bytes_per_second,
        "stall_ms": io.stall_s * 1e3,
        "compute_ms": io.compute_s * 1e3,
        "percent_of_limit": io.percent_of_limit,
        "prefill_bytes_read": prefill.bytes_read,
        "prefill_stall_ms": millis(prefill.stall),
        "prefill_compute_ms": millis(generation.timings.prefill.saturating_sub(prefill.stall)),
        "decode_stall_ms": millis(decode.stall),
        "decode_compute_ms": millis(generation.timings.decode.saturating_sub(decode.stall)),
        "decode_passes": generation.timings.decode_passes,
        "hits": decode.hits,
        "prefetch_hits": decode.prefetch_hits,
        "misses": decode.misses,
        "evictions": decode.evictions,
        "hit_rate": if asked > 0 { decode.hits as f64 / asked as f64 } else { 0.0 },
        "given_up_bytes": decode.given_up_bytes + prefill.given_up_bytes,
    })
}

fn millis(duration: std::time::Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
