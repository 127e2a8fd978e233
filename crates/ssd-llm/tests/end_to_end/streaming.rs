//! Streaming changes the speed and nothing else: every way to read and to keep gives the same answer bit for bit, a paced
//! disk is used to its last byte, and the budget holds.

use serde_json::Value;

use testkit::{TinyModel, real_model};

use crate::support::{Tiny, call, finish, ids, json, number, signal, spawn, text_of};

const BUDGET: &str = "56M";
const MIB: f64 = 1024.0 * 1024.0;

fn answer(model: &str, flags: &[&str]) -> Value {
    let fixed = ["run", model, "-p", "Name three rivers.", "-n", "4", "--temperature", "0", "--ctx", "256"];
    json(&[&fixed[..], &["--logprobs", "3"], flags].concat())
}

#[test]
fn every_way_to_read_and_to_keep_gives_the_same_bits() {
    let model = real_model!();
    let resident = answer(&model, &[]);
    assert_eq!(number(&resident, "io.bytes_per_token"), 0.0);
    let ways = [
        &["--io", "direct"][..],
        &["--io", "pread", "--threads", "1"],
        &["--io", "buffered"],
        &["--io", "mmap"],
        &["--cache-policy", "lru"],
        &["--cache-policy", "pin", "--max-read-rate", "2G"],
    ];
    for way in ways {
        let streamed = answer(&model, &[way, &["--memory-budget", BUDGET]].concat());
        assert_eq!(ids(&streamed["tokens"]), ids(&resident["tokens"]), "{way:?}");
        assert_eq!(streamed["logprobs"], resident["logprobs"], "{way:?}");
        assert!(number(&streamed, "io.bytes_per_token") > 20e6, "{way:?} streams: {}", streamed["io"]);
    }
}

#[test]
fn pins_hit_in_every_pass_and_lru_in_none() {
    let model = real_model!();
    let hit_rate =
        |policy| number(&answer(&model, &["--memory-budget", BUDGET, "--cache-policy", policy]), "io.hit_rate");
    assert!(hit_rate("pin") > 0.2);
    assert_eq!(hit_rate("lru"), 0.0);
}

#[test]
fn a_pass_takes_no_longer_than_a_paced_disk_needs() {
    let model = real_model!();
    let run = answer(&model, &["--memory-budget", BUDGET, "--max-read-rate", "60M"]);
    let seconds = number(&run, "timings.decode_ms") / 1e3 / number(&run, "io.decode_passes");
    let needed = number(&run, "io.bytes_per_token") / (60.0 * MIB);
    // No faster, and reading goes on while the processor works: their sum would be well above.
    assert!((needed * 0.9..needed * 1.25).contains(&seconds), "{seconds} s a pass, {needed} s for the disk alone");
}

#[test]
fn a_long_prompt_borrows_memory_and_gives_it_back() {
    let model = real_model!();
    let prompt = "A river is a stream of water. ".repeat(60);
    let run = |budget: &str| {
        let fixed = ["run", &model, "--raw", "-p", &prompt, "-n", "4", "--temperature", "0", "--ctx", "512"];
        json(&[&fixed[..], &["--memory-budget", budget]].concat())
    };
    let (resident, streamed) = (run("1G"), run("66M"));
    assert!(number(&streamed, "prompt_tokens") > 400.0);
    assert_eq!(ids(&streamed["tokens"]), ids(&resident["tokens"]));
    let plan = json(&["plan", &model, "--ctx", "512", "--memory-budget", "66M"]);
    assert!(number(&plan, "lent_bytes") > 4e6, "{plan}");
    // After the prompt all that is planned is pinned, and at no time was there more than the budget.
    assert_eq!(number(&streamed, "memory.pinned_bytes"), number(&plan, "pinned_bytes"));
    assert!(number(&streamed, "memory.peak_bytes") <= 66.0 * MIB, "{}", streamed["memory"]);
    // One pass for the whole prompt: every byte of the weights once, and little more for what is read ahead.
    let weights = number(&plan, "weights_bytes");
    assert!(number(&streamed, "io.prefill_bytes_read") <= 1.05 * weights, "{}", streamed["io"]);
}

#[test]
fn more_than_the_system_has_is_warned_about_and_not_taken() {
    let tiny = Tiny::plain();
    let run = call(&["run", tiny.path(), "--raw", "-p", "hello", "-n", "2", "--memory-budget", "500T", "--json"]);
    assert!(run.stderr.contains("warning") && run.stderr.contains("500.0 TiB"), "{run:?}");
    assert!(number(&run.json(), "memory.budget_bytes") < 400e12);
}

#[test]
fn wrong_words_for_reading_and_keeping_are_refused() {
    let tiny = Tiny::plain();
    for flags in [["--io", "fast"], ["--cache-policy", "mru"], ["--max-read-rate", "1K"], ["--max-read-rate", "x"]] {
        let error = call(&[&["run", tiny.path(), "-p", "hello"][..], &flags].concat()).refused(2);
        assert!(error.contains(flags[0]), "{error}");
    }
}

#[test]
fn a_model_in_several_files_answers_as_one_in_a_single_file() {
    let model = TinyModel::llama().build();
    let whole = Tiny::of_bytes(&model.gguf_bytes());
    let folder = tempfile::tempdir().expect("a folder can be made");
    let parts = testkit::write_parts(folder.path(), "tiny", &model.gguf().split_at(&[0, 5]));
    assert_eq!(parts.len(), 3);
    let run = |path: &str, flags: &[&str]| {
        let fixed = ["run", path, "--raw", "-p", "hello", "-n", "6", "--temperature", "0", "--logprobs", "4"];
        let answer = json(&[&fixed[..], flags].concat());
        (ids(&answer["tokens"]), answer["logprobs"].clone())
    };
    let expected = run(whole.path(), &[]);
    let minimum = number(&json(&["plan", whole.path()]), "minimum_budget_bytes").to_string();
    for part in &parts {
        let part = text_of(part);
        for flags in [&[][..], &["--memory-budget", &minimum], &["--io", "pread"], &["--io", "mmap"]] {
            assert!(run(part, flags) == expected, "{part} {flags:?}");
        }
    }
}

#[test]
fn an_interrupt_ends_a_pass_in_its_middle() {
    let model = real_model!();
    // A first pass of half a minute.
    let child = spawn(&["run", &model, "-p", "hello", "-n", "4", "--ctx", "256", "--max-read-rate", "3M", "--json"]);
    let start = std::time::Instant::now();
    std::thread::sleep(std::time::Duration::from_secs(2));
    signal("INT", child.id());
    let answer = finish(child).json();
    assert_eq!(answer["finish_reason"], "cancelled", "{answer}");
    assert!(start.elapsed().as_secs() < 15, "{:?}", start.elapsed());
}
