//! `plan` predicts what `run` then does: the smallest budget it names works, and one MiB less does not.

use serde_json::Value;
use testkit::real_model;

use crate::support::{Tiny, call, json, number};

const FIELDS: [&str; 7] = [
    "weights_bytes",
    "pinned_bytes",
    "streamed_bytes_per_pass",
    "kv_bytes",
    "fixed_bytes",
    "minimum_budget_bytes",
    "predicted_tokens_per_second",
];

const MIB: u64 = 1 << 20;

fn plan(model: &str, flags: &[&str]) -> Value {
    let plan = json(&[&["plan", model], flags].concat());
    for field in FIELDS {
        assert!(number(&plan, field) >= 0.0, "{field} in {plan}");
    }
    plan
}

#[test]
fn the_fields_describe_the_model() {
    let plan = plan(&real_model!(), &["--ctx", "1024", "--memory-budget", "1G"]);
    let at = |field: &str| number(&plan, field);
    // The tensors of the file take 96,576,768 bytes; plans may leave out norms and the like.
    assert!((95e6..97e6).contains(&at("weights_bytes")), "{plan}");
    assert_eq!(at("pinned_bytes") + at("streamed_bytes_per_pass"), at("weights_bytes"));
    // Keys and values of 30 layers with 3 heads of 64 numbers of 2 bytes.
    assert_eq!(at("kv_bytes"), f64::from(2 * 30 * 3 * 64 * 2 * 1024));
    let whole = at("weights_bytes") + at("kv_bytes") + at("fixed_bytes");
    assert!(at("minimum_budget_bytes") > 0.0 && at("minimum_budget_bytes") <= whole, "{plan}");
    assert!(at("predicted_tokens_per_second") > 0.0, "{plan}");
}

#[test]
fn context_and_type_set_the_size_of_the_kv_cache() {
    let model = Tiny::plain();
    let kv_bytes = |flags: &[&str]| number(&plan(model.path(), flags), "kv_bytes");
    let small = kv_bytes(&["--ctx", "64", "--kv-type", "f16"]);
    assert!(small > 0.0);
    assert_eq!(kv_bytes(&["--ctx", "128", "--kv-type", "f16"]), 2.0 * small);
    assert_eq!(kv_bytes(&["--ctx", "64", "--kv-type", "f32"]), 2.0 * small);
    // What has left a window takes no memory, however long the context is.
    let real = real_model!();
    let kv_bytes = |flags: &[&str]| number(&plan(&real, flags), "kv_bytes");
    let windowed = |ctx: &str| kv_bytes(&["--ctx", ctx, "--sliding-window", "100", "--sink-tokens", "4"]);
    assert_eq!(windowed("1500"), windowed("4000"));
    assert!(windowed("4000") < kv_bytes(&["--ctx", "4000"]) / 4.0);
}

#[test]
fn without_json_it_is_a_table() {
    let model = real_model!();
    let text = call(&["plan", &model, "--ctx", "512", "--memory-budget", "1G"]).text();
    for word in ["GiB", "weights", "KV", "tokens/s"] {
        assert!(text.contains(word), "{word} is missing in\n{text}");
    }
}

/// The size that an error names after "at least", as `--memory-budget` takes it: `17.6 MiB` is `17.6M`.
fn named_size(error: &str) -> String {
    let (_, rest) = error.split_once("at least ").unwrap_or_else(|| panic!("the smallest budget in: {error}"));
    let mut words = rest.split_whitespace();
    let (amount, unit) = (words.next().expect("a number"), words.next().expect("a unit"));
    format!("{amount}{}", &unit[..1])
}

fn assert_smallest_budget(model: &str, flags: &[&str]) {
    let minimum = number(&plan(model, flags), "minimum_budget_bytes") as u64;
    let run = |budget: &str| {
        let fixed = ["run", model, "--raw", "-p", "hello", "-n", "2", "--temperature", "0", "--memory-budget", budget];
        call(&[&fixed, flags].concat())
    };
    let answer = run(&minimum.to_string());
    assert_eq!(answer.code, Some(0), "the smallest budget works: {answer:?}");

    let error = run(&(minimum - MIB).to_string()).refused(1);
    let named = run(&named_size(&error));
    assert_eq!(named.code, Some(0), "the budget that the error names works: {error}: {named:?}");
}

#[test]
fn the_smallest_budget_works_and_less_is_refused() {
    let tiny = Tiny::chat();
    assert_smallest_budget(tiny.path(), &["--threads", "2"]);
    assert_smallest_budget(tiny.path(), &["--threads", "1", "--ctx", "64", "--kv-type", "f32"]);
    assert_smallest_budget(&real_model!(), &["--threads", "2", "--ctx", "512"]);
}
