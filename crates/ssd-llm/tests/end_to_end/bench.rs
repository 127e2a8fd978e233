//! `bench` measures what `plan` predicts: budget by budget, pass by pass, with a limit that follows from what it tells.

use std::io::{BufRead, BufReader};

use serde_json::Value;
use testkit::real_model;

use crate::support::{Tiny, call, finish, json, keys, number, signal, spawn, text_of};

/// What is told of every budget, sorted.
const FIELDS: [&str; 9] = [
    "budget_bytes",
    "bytes_per_token",
    "decode",
    "disk",
    "limit_tokens_per_second",
    "peak_bytes",
    "percent_of_limit",
    "pinned_bytes",
    "prefill",
];

const MIB: f64 = (1 << 20) as f64;

fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("{key} is an array in {value}"))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    f64::midpoint(values[(n - 1) / 2], values[n / 2])
}

#[track_caller]
fn assert_near(a: f64, b: f64, what: &str) {
    assert!((a - b).abs() <= 1e-6 * a.abs().max(b.abs()), "{what}: {a} and {b}");
}

/// The figures of one budget follow from each other.
#[track_caller]
fn assert_consistent(budget: &Value, n_passes: usize) {
    let passes = array(&budget["decode"], "passes");
    assert_eq!(passes.len(), n_passes, "{budget}");
    let all = |key: &str| passes.iter().map(|pass| number(pass, key)).collect::<Vec<f64>>();
    for pass in passes {
        assert_eq!(keys(pass), ["bytes_read", "compute_ms", "hit_rate", "ms", "stall_ms"]);
        assert_near(number(pass, "ms"), number(pass, "stall_ms") + number(pass, "compute_ms"), "a pass's time");
        assert!((0.0..=1.0).contains(&number(pass, "hit_rate")), "{pass}");
    }
    let at = |path: &str| number(budget, path);
    let n_sequences = at("decode.sequences");
    let rate = 1e3 * n_sequences * n_passes as f64 / all("ms").iter().sum::<f64>();
    assert_near(at("decode.tokens_per_second"), rate, "the rate");
    assert_near(at("bytes_per_token"), median(all("bytes_read")) / n_sequences, "bytes a token");
    let disk_s = at("bytes_per_token") / at("disk.direct_read_bytes_per_second");
    let limit = 1.0 / disk_s.max(median(all("compute_ms")) / n_sequences / 1e3);
    assert_near(at("limit_tokens_per_second"), limit, "the limit");
    let share = 100.0 * at("decode.tokens_per_second") / at("limit_tokens_per_second");
    assert_near(at("percent_of_limit"), share, "the share");
    assert_near(at("prefill.tokens_per_second"), 1e3 * at("prefill.tokens") / at("prefill.ms"), "the prompt's rate");
    assert!(at("disk.request_bytes") > 0.0 && at("disk.depth") >= 1.0 && at("peak_bytes") > 0.0, "{budget}");
}

#[track_caller]
fn assert_has_a_start(bench: &Value) {
    let cold = &bench["start"]["cold_ms"];
    assert!(cold.as_f64().is_some_and(|ms| ms > 0.0) || !cfg!(target_os = "linux"), "{bench}");
    assert!(number(bench, "start.warm_ms") > 0.0, "{bench}");
}

#[test]
fn a_model_that_fits_has_every_field() {
    let model = Tiny::plain();
    let bench = json(&["bench", model.path(), "-n", "3", "--prompt-tokens", "20"]);
    let mut expected = [&FIELDS[..], &["budgets", "start"]].concat();
    expected.sort_unstable();
    assert_eq!(keys(&bench), expected);
    assert_consistent(&bench, 3);
    assert_has_a_start(&bench);
    assert_eq!(number(&bench, "prefill.tokens"), 20.0);
    let budgets = array(&bench, "budgets");
    let fitting = budgets.last().expect("there is a budget");
    assert_eq!(keys(fitting), FIELDS);
    assert_eq!(number(fitting, "bytes_per_token") as usize % 4, 0, "rows of the embedding at most: {fitting}");
    assert!(number(fitting, "bytes_per_token") < number(fitting, "pinned_bytes") / 100.0, "{fitting}");
}

#[test]
fn a_prompt_is_cut_to_what_the_context_leaves() {
    let model = Tiny::plain();
    let outcome =
        call(&["bench", model.path(), "--max-tokens", "4", "--prompt-tokens", "500", "--ctx", "64", "--json"]);
    assert_eq!(number(&outcome.json(), "prefill.tokens"), 60.0);
    assert!(outcome.stderr.contains("60 tokens"), "{outcome:?}");
    let error = call(&["bench", model.path(), "-n", "64", "--ctx", "64"]).refused(1);
    assert!(error.contains("-n"), "{error}");
}

#[test]
fn one_budget_is_measured_as_it_is_asked_for() {
    let (budget, model) = ("64M", real_model!());
    let flags = ["--ctx", "256", "--memory-budget", budget];
    let bench = json(&[&["bench", &model, "-n", "3", "--prompt-tokens", "32"], &flags[..]].concat());
    let plan = json(&[&["plan", &model], &flags[..]].concat());
    assert_consistent(&bench, 3);
    assert_has_a_start(&bench);
    assert_eq!(array(&bench, "budgets").len(), 1);
    assert_eq!(number(&bench, "budget_bytes"), 64.0 * MIB);
    // Slabs that are under way when a pass ends count for the next, and rows of the embedding are read besides.
    let streamed = number(&plan, "streamed_bytes_per_pass");
    let read = number(&bench, "bytes_per_token");
    assert!((read / streamed - 1.0).abs() < 0.05, "{read} of {streamed} bytes");
    assert!(number(&bench, "prefill.bytes_read") >= number(&plan, "weights_bytes"), "the first pass is the load");
}

#[test]
fn a_batch_shares_what_a_pass_reads() {
    let model = real_model!();
    let flags = ["-n", "3", "--prompt-tokens", "8", "--ctx", "32", "--memory-budget", "64M", "--json"];
    let bench = |batch: &[&str]| call(&[&["bench", &model], &flags[..], batch].concat()).json();
    let (one, four) = (bench(&[]), bench(&["--batch", "4"]));
    assert_consistent(&one, 3);
    assert_consistent(&four, 3);
    assert_eq!((number(&one, "decode.sequences"), number(&four, "decode.sequences")), (1.0, 4.0));
    assert_eq!(number(&four, "prefill.tokens"), 32.0, "each has a prompt of its own");
    // Keys and values of three more sequences leave a little less to weights.
    let share = number(&four, "bytes_per_token") / number(&one, "bytes_per_token");
    assert!((0.25..0.3).contains(&share), "{share} of the bytes a token");
    for n in ["0", "513", "-1", "some"] {
        let error = call(&["bench", &model, "--batch", n]).refused(2);
        assert!(error.contains("--batch"), "{error}");
    }
}

#[test]
fn a_batch_of_any_size_is_one_pass() {
    let model = Tiny::plain();
    for batch in ["16", "17", "200", "512"] {
        let bench = json(&["bench", model.path(), "-n", "2", "--prompt-tokens", "3", "--ctx", "8", "--batch", batch]);
        assert_consistent(&bench, 2);
        assert_eq!(number(&bench, "decode.sequences").to_string(), batch);
    }
}

#[test]
fn a_warm_prompt_reads_no_weights() {
    let model = real_model!();
    let flags = ["-n", "2", "--prompt-tokens", "32", "--ctx", "64", "--memory-budget", "1G", "--io", "direct"];
    let bench = |warm: &[&str]| json(&[&["bench", &model], &flags[..], warm].concat());
    let (cold, warm) = (bench(&[]), bench(&["--warm"]));
    assert_consistent(&warm, 2);
    assert_eq!(number(&warm, "prefill.tokens"), 32.0);
    assert!(number(&cold, "prefill.bytes_read") > 80.0 * MIB, "{cold}");
    assert!(number(&warm, "prefill.bytes_read") < MIB, "rows of the embedding at most: {warm}");
    assert!(warm["start"].is_null(), "{warm}");
}

#[test]
fn the_disk_is_no_faster_than_reads_may_be() {
    let model = real_model!();
    let flags = ["--ctx", "256", "--memory-budget", "64M", "--max-read-rate", "200M"];
    let bench = json(&[&["bench", &model, "-n", "2", "--prompt-tokens", "8"], &flags[..]].concat());
    assert!(number(&bench, "disk.direct_read_bytes_per_second") < 220.0 * MIB, "{bench}");
}

#[test]
fn without_a_budget_there_are_several() {
    let model = real_model!();
    let outcome = call(&["bench", &model, "-n", "2", "--prompt-tokens", "8", "--ctx", "1024", "--json"]);
    let bench = outcome.json();
    let budgets = array(&bench, "budgets");
    assert!(budgets.len() >= 3, "{bench}");
    budgets.iter().for_each(|budget| assert_consistent(budget, 2));
    let bytes: Vec<f64> = budgets.iter().map(|budget| number(budget, "budget_bytes")).collect();
    assert!(bytes.is_sorted(), "{bytes:?}");
    let [.., largest_streaming, fitting] = budgets else { panic!("several budgets") };
    assert_eq!(bench["budget_bytes"], largest_streaming["budget_bytes"]);
    assert_eq!(bench["decode"], largest_streaming["decode"]);
    assert!(number(fitting, "pinned_bytes") > number(largest_streaming, "pinned_bytes"), "{bench}");
    assert!(outcome.stderr.contains("skipping the budget of 23.0 MiB"), "a quarter is too little: {}", outcome.stderr);
}

#[test]
fn without_json_it_is_a_table() {
    let model = Tiny::plain();
    let text = call(&["bench", model.path(), "-n", "2", "--prompt-tokens", "8"]).text();
    for word in ["disk", "prefill t/s", "decode t/s", "of limit", "MiB", "100%", "warm"] {
        assert!(text.contains(word), "{word} is missing in\n{text}");
    }
}

#[test]
fn a_picture_has_the_points_and_the_limit() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("speed.svg");
    let model = Tiny::plain();
    let args = ["bench", model.path(), "-n", "2", "--prompt-tokens", "8", "--plot", text_of(&file)];
    let budgets = json(&args)["budgets"].as_array().map_or(0, Vec::len);
    let svg = std::fs::read_to_string(&file).expect("the picture is written");
    assert!(svg.starts_with("<svg"), "{svg}");
    for label in ["memory budget (MiB)", "tokens/s", "limit", "measured"] {
        assert!(svg.contains(label), "{label} is missing in\n{svg}");
    }
    // One circle a point, and one in the legend.
    assert_eq!(svg.matches("<circle").count(), budgets + 1);
    assert!(svg.matches("<polyline").count() >= 2, "{svg}");
}

#[test]
fn a_picture_that_cannot_be_drawn_is_refused_before_any_work() {
    for name in ["speed.png", "svg", "speed.svg.gz"] {
        let error = call(&["bench", "no-such-model.gguf", "--plot", name]).refused(2);
        assert!(error.contains(name) && error.contains(".svg"), "{error}");
    }
    let error = call(&["bench", "no-such-model.gguf", "--plot", "no-such-folder/speed.svg"]).refused(1);
    assert!(error.contains("no-such-folder"), "{error}");
}

#[test]
fn ctrl_c_ends_it_with_what_there_is() {
    let model = real_model!();
    // The line that says that the prompt is truncated comes after Ctrl-C is handled.
    let mut child = spawn(&["bench", &model, "--json", "-n", "1000", "--ctx", "1010", "--memory-budget", "1G"]);
    let mut stderr = BufReader::new(child.stderr.take().expect("stderr is a pipe"));
    let mut line = String::new();
    stderr.read_line(&mut line).expect("the line can be read");
    assert!(line.contains("prompt truncated"), "{line}");
    signal("INT", child.id());
    let outcome = finish(child);
    match outcome.code {
        Some(0) => assert!(array(&outcome.json()["decode"], "passes").len() < 1000, "{outcome:?}"),
        code => assert_eq!((code, outcome.stdout.len()), (Some(1), 0), "nothing was decoded yet: {outcome:?}"),
    }
}
