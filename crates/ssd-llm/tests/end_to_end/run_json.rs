//! `run --json` prints one object whose fields scripts may rely on, and whose numbers must agree with each other.

use serde_json::Value;
use testkit::real_model;

use crate::support::{Tiny, call, ids, json, keys, number};

#[test]
fn the_object_has_the_fields_of_the_contract() {
    let model = Tiny::chat();
    let answer = json(&["run", model.path(), "-p", "hello", "-n", "4", "--temperature", "0"]);
    let top = ["finish_reason", "io", "memory", "prompt_tokens", "text", "timings", "tokens"];
    assert_eq!(keys(&answer), top);
    assert_eq!(keys(&answer["timings"]), ["decode_ms", "prefill_ms", "tokens_per_second"]);
    let io = ["bytes_per_token", "bytes_read", "compute_ms", "disk_bytes_per_second", "percent_of_limit", "stall_ms"];
    let found = keys(&answer["io"]);
    assert!(io.iter().all(|key| found.contains(key)), "{found:?}");
    let phases =
        ["prefill_bytes_read", "prefill_stall_ms", "prefill_compute_ms", "decode_stall_ms", "decode_compute_ms"];
    assert!(phases.iter().all(|key| found.contains(key)), "{found:?}");
    let counts = ["decode_passes", "hits", "prefetch_hits", "misses", "evictions", "hit_rate", "given_up_bytes"];
    assert!(counts.iter().all(|key| found.contains(key)), "{found:?}");
    assert_eq!(keys(&answer["memory"]), ["budget_bytes", "peak_bytes", "pinned_bytes"]);
}

#[test]
fn the_numbers_agree_with_each_other() {
    let model = real_model!();
    let plan = json(&["plan", &model, "--ctx", "512", "--memory-budget", "1.5G"]);
    let answer = json(&[
        "run",
        &model,
        "--raw",
        "-p",
        "1 1 1 1 1 1 1",
        "-n",
        "8",
        "--temperature",
        "0",
        "--ctx",
        "512",
        "--memory-budget",
        "1.5G",
    ]);
    let at = |path: &str| number(&answer, path);
    assert_eq!((at("prompt_tokens"), ids(&answer["tokens"]).len()), (13.0, 8));
    assert_eq!(answer["finish_reason"], "length");

    assert!(at("timings.prefill_ms") > 0.0 && at("timings.decode_ms") > 0.0, "{answer}");
    // Eight tokens, of which the prefill already gave the first: seven or eight of them are counted.
    let tokens = at("timings.tokens_per_second") * at("timings.decode_ms") / 1000.0;
    assert!((6.9..8.1).contains(&tokens), "{tokens} tokens at that speed, {answer}");

    assert_eq!(at("memory.budget_bytes"), 1.5 * f64::from(1 << 30));
    assert_eq!(at("memory.pinned_bytes"), number(&plan, "pinned_bytes"));
    assert!(at("memory.peak_bytes") >= at("memory.pinned_bytes"), "{answer}");
    assert!(at("memory.peak_bytes") <= at("memory.budget_bytes"), "{answer}");

    // Everything fits the budget: each weight is read once, and little more than the weights.
    let weights = number(&plan, "weights_bytes");
    assert!((weights..weights * 1.02).contains(&at("io.bytes_read")), "{answer}");
    assert!(at("io.bytes_per_token") < weights * 0.01, "{answer}");
    assert!(at("io.disk_bytes_per_second") > 0.0, "{answer}");
    assert!(at("io.stall_ms") >= 0.0 && at("io.compute_ms") > 0.0, "{answer}");
    assert!((0.0..=100.0).contains(&at("io.percent_of_limit")), "{answer}");
}

#[test]
fn sizes_take_units_of_1024_and_fractions() {
    let model = Tiny::plain();
    let mib = f64::from(1 << 20);
    for (size, bytes) in [("65536K", 64.0 * mib), ("64M", 64.0 * mib), ("0.25G", 256.0 * mib), ("100000000", 1e8)] {
        let answer = json(&["run", model.path(), "-p", "hello", "-n", "1", "--memory-budget", size]);
        assert_eq!(number(&answer, "memory.budget_bytes"), bytes, "{size}");
    }
}

#[test]
fn the_object_tells_the_text_that_is_printed_without_it() {
    let model = real_model!();
    let args = ["run", &model, "-p", "Name the primary colours.", "-n", "10", "--temperature", "0"];
    let plain = call(&args);
    let text = plain.text();
    assert_eq!(json(&args)["text"], text.strip_suffix('\n').unwrap_or(&text));
}

#[test]
fn a_model_that_ends_its_answer_says_stop_and_hides_its_end_token() {
    let model = real_model!();
    let answer = json(&["run", &model, "-p", "What is 2+2? Answer with one number.", "-n", "24", "--temperature", "0"]);
    assert_eq!(answer["finish_reason"], "stop", "{answer}");
    let text = answer["text"].as_str().expect("the text is a string");
    assert!(!text.is_empty() && !text.contains("<|im_end|>"), "{answer}");
}

#[test]
fn logprobs_report_each_token_and_its_best_rivals() {
    let model = Tiny::chat();
    let run = |more: &[&str]| json(&[&["run", model.path(), "-p", "hello", "-n", "6"], more].concat());
    let greedy = run(&["--temperature", "0", "--logprobs", "4"]);
    assert_logprobs(&greedy, 4);
    for token in greedy["logprobs"].as_array().expect("a list") {
        assert_eq!(token["id"], token["top"][0]["id"], "greedy takes the best: {token}");
    }
    assert_logprobs(&run(&["--temperature", "1", "--seed", "3", "--logprobs", "300"]), 300);
    assert_logprobs(&run(&["--temperature", "1", "--seed", "3", "--logprobs", "0"]), 0);
    assert_eq!(run(&[]).get("logprobs"), None);
}

/// Holds what is true of `logprobs` with `n_top` rivals a token: the distribution before sampling changes it.
fn assert_logprobs(answer: &Value, n_top: usize) {
    let tokens = answer["logprobs"].as_array().unwrap_or_else(|| panic!("a list in {answer}"));
    let listed: Vec<u64> = tokens.iter().map(|token| token["id"].as_u64().expect("an id")).collect();
    assert_eq!(listed, ids(&answer["tokens"]));
    for token in tokens {
        assert_eq!(keys(token), ["id", "logprob", "top"]);
        let top = token["top"].as_array().expect("a list");
        assert_eq!(top.len(), n_top);
        let logprobs: Vec<f64> = top.iter().map(|rival| number(rival, "logprob")).collect();
        assert!(logprobs.is_sorted_by(|a, b| a >= b), "best first: {token}");
        assert!(logprobs.iter().all(|&logprob| logprob <= 0.0), "{token}");
        let mass: f64 = logprobs.iter().map(|logprob| logprob.exp()).sum();
        // Three hundred tokens are the whole vocabulary of a tiny model.
        assert!(mass < 1.0 + 1e-4 && (n_top < 300 || mass > 1.0 - 1e-4), "probabilities add up to {mass}");
        let itself = top.iter().find(|rival| rival["id"] == token["id"]);
        assert!(itself.is_none_or(|rival| rival["logprob"] == token["logprob"]), "{token}");
    }
}
