//! `run` answers: the same words from everywhere the prompt may come, llama.cpp's words where llama.cpp is sure of them,
//! and the same ones again whatever the threads, the budget and the run.

use serde_json::Value;
use testkit::{TinyModel, TinySpec, real_model};

use crate::support::{Outcome, Tiny, call, call_with_stdin, ids, json, number, recorded};

const QUESTION: &str = "What is the capital of France?";

/// The text of a greedy run of the real model, eight tokens long.
fn greedy_text(model: &str, more: &[&str]) -> String {
    call(&[&["run", model, "-p", QUESTION, "-n", "8", "--temperature", "0"], more].concat()).text()
}

#[test]
fn answers_are_those_of_llama_cpp() {
    let model = real_model!();
    for case in recorded(include_str!("../data/greedy.json")) {
        let certain = number(&case, "certain") as usize;
        let n = certain.to_string();
        let text = |key: &str| case[key].as_str();
        let mut args = vec!["run", &model, "--temperature", "0", "--max-tokens", &n];
        match (text("raw"), text("user"), text("system")) {
            (Some(raw), ..) => args.extend(["--raw", "--prompt", raw]),
            (None, Some(user), None) => args.extend(["--prompt", user]),
            (None, Some(user), Some(system)) => args.extend(["--prompt", user, "--system", system]),
            _ => panic!("no prompt in {case}"),
        }
        let answer = json(&args);
        assert_eq!(answer["prompt_tokens"], case["prompt_tokens"], "{case}");
        assert_eq!(ids(&answer["tokens"])[..], ids(&case["tokens"])[..certain], "{case}");
    }
}

#[test]
fn a_prompt_from_standard_input_is_a_prompt() {
    let model = real_model!();
    let args = ["run", &model, "-n", "8", "--temperature", "0"];
    assert_eq!(call_with_stdin(&args, QUESTION.as_bytes()).text(), greedy_text(&model, &[]));
}

#[test]
fn temperature_zero_gives_the_same_text_whatever_the_seed() {
    let model = real_model!();
    assert_eq!(greedy_text(&model, &["--seed", "1"]), greedy_text(&model, &["--seed", "2"]));
}

#[test]
fn a_window_changes_nothing_while_all_is_inside_it() {
    let model = real_model!();
    let whole = greedy_text(&model, &[]);
    assert_eq!(greedy_text(&model, &["--sliding-window", "200", "--sink-tokens", "4"]), whole);
    assert_ne!(greedy_text(&model, &["--sliding-window", "3"]), whole);
}

#[test]
fn the_window_of_a_models_file_is_that_of_the_flag() {
    let windowed = Tiny::of_spec(TinySpec { sliding_window: Some(5), ..TinyModel::llama() });
    let plain = Tiny::plain();
    let answer = |model: &Tiny, more: &[&str]| {
        let fixed =
            ["run", model.path(), "--raw", "-p", "a long prompt", "-n", "8", "--temperature", "0", "--logprobs", "3"];
        json(&[&fixed, more].concat())["logprobs"].clone()
    };
    assert_eq!(answer(&windowed, &[]), answer(&plain, &["--sliding-window", "5"]));
    assert_ne!(answer(&windowed, &[]), answer(&plain, &[]));
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let model = real_model!();
    let answer = |threads: &[&str]| {
        let fixed = ["run", &model, "-p", QUESTION, "-n", "6", "--temperature", "0", "--logprobs", "5"];
        let answer = json(&[&fixed, threads].concat());
        (ids(&answer["tokens"]), answer["logprobs"].clone())
    };
    let one = answer(&["--threads", "1"]);
    assert_eq!(one.0.len(), 6);
    assert_eq!(one, answer(&["--threads", "2"]));
    assert_eq!(one, answer(&["--tensor-parallel", "3"]));
}

#[test]
fn the_budget_changes_no_bit() {
    let model = Tiny::plain();
    let minimum = number(&json(&["plan", model.path(), "--threads", "2"]), "minimum_budget_bytes").to_string();
    let answer = |more: &[&str]| {
        let fixed = ["run", model.path(), "-p", "hello", "-n", "16", "--threads", "2", "--temperature", "0"];
        let answer = json(&[&fixed, more, &["--logprobs", "3"]].concat());
        (ids(&answer["tokens"]), answer["logprobs"].clone())
    };
    assert_eq!(answer(&[]), answer(&["--memory-budget", &minimum]));
}

#[test]
fn a_budget_below_the_weights_streams_and_changes_no_bit() {
    let model = real_model!();
    let answer = |more: &[&str]| {
        let fixed = ["run", &model, "-p", "What is photosynthesis?", "-n", "4", "--temperature", "0", "--ctx", "256"];
        json(&[&fixed, more, &["--logprobs", "3"]].concat())
    };
    let resident = answer(&["--memory-budget", "1G"]);
    assert_eq!(resident["io"]["bytes_per_token"], 0.0, "what fits is read once");
    for (budget, bytes) in [("64M", 64u64 << 20), ("48M", 48 << 20)] {
        for io in ["auto", "buffered"] {
            let streamed = answer(&["--memory-budget", budget, "--io", io]);
            for field in ["text", "tokens", "logprobs"] {
                assert_eq!(streamed[field], resident[field], "{field} at {budget}, --io {io}");
            }
            let read = streamed["io"]["bytes_per_token"].as_f64().expect("a number");
            let pinned = streamed["memory"]["pinned_bytes"].as_f64().expect("a number");
            // The weights of a pass are 92 MiB; read-ahead may be a few slabs into the next.
            assert!((read + pinned) / f64::from(1 << 20) > 91.0, "{read} read a token, {pinned} pinned");
            let peak = streamed["memory"]["peak_bytes"].as_u64().expect("a number");
            assert!(peak <= bytes, "{peak} bytes of memory under {budget}");
        }
    }
}

#[test]
fn a_seed_repeats_its_text_and_others_differ() {
    let model = Tiny::chat();
    let text = |seed: &str| {
        let answer = json(&["run", model.path(), "-p", "hello", "-n", "20", "--temperature", "1", "--seed", seed]);
        ids(&answer["tokens"])
    };
    let seeds = ["0", "1", "2", "42", "18446744073709551615"];
    let texts = seeds.map(text);
    assert_eq!(texts, seeds.map(text));
    for (i, a) in texts.iter().enumerate() {
        for (b, seed) in texts[..i].iter().zip(seeds) {
            assert_ne!(a, b, "seeds {} and {seed}", seeds[i]);
        }
    }
}

#[test]
fn scalar_kernels_answer_as_the_fastest_do() {
    // Tiny F32 models differ between kernels in the last bits only: their first tokens agree.
    let model = Tiny::plain();
    let tokens = |kernels: &str| {
        let args = ["run", model.path(), "-p", "hello", "-n", "4", "--temperature", "0", "--kernels", kernels];
        ids(&json(&args)["tokens"])
    };
    assert_eq!(tokens("scalar"), tokens("auto"));
}

#[test]
fn max_tokens_ends_the_text() {
    let model = Tiny::plain();
    for n in [1, 2, 7] {
        let answer = json(&["run", model.path(), "-p", "hello", "-n", &n.to_string(), "--temperature", "0"]);
        assert_eq!(ids(&answer["tokens"]).len(), n);
        assert_eq!(answer["finish_reason"], "length");
    }
}

#[test]
fn a_full_context_ends_the_text() {
    let model = Tiny::plain();
    let answer = json(&["run", model.path(), "-p", "hello", "--ctx", "24", "--temperature", "0", "-n", "1000"]);
    assert_eq!(answer["finish_reason"], "length");
    let used = number(&answer, "prompt_tokens") as usize + ids(&answer["tokens"]).len();
    // The last token need not enter the context any more.
    assert!((24..=25).contains(&used), "{used} tokens in a context of 24");
}

#[test]
fn the_template_is_the_models_own_and_raw_leaves_it_out() {
    let model = Tiny::chat();
    let answer = |more: &[&str]| {
        let answer = json(&[&["run", model.path(), "-n", "6", "--temperature", "0"], more].concat());
        (number(&answer, "prompt_tokens"), ids(&answer["tokens"]))
    };
    let user = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n";
    let raw = answer(&["--raw", "-p", "hello"]);
    let chat = answer(&["-p", "hello"]);
    assert!(raw.0 < chat.0, "the template adds tokens: {} and {}", raw.0, chat.0);
    assert_eq!(chat, answer(&["--raw", "-p", user]));

    let with_system = answer(&["-p", "hello", "--system", "and the"]);
    assert!(with_system.0 > chat.0);
    assert_eq!(with_system, answer(&["--raw", "-p", &format!("<|im_start|>system\nand the<|im_end|>\n{user}")]));
}

#[test]
fn a_model_without_a_template_continues_the_prompt() {
    let model = Tiny::plain();
    let answer = |more: &[&str]| {
        let args = ["run", model.path(), "-p", "hello", "-n", "6", "--temperature", "0"];
        let answer = json(&[&args, more].concat());
        (answer["prompt_tokens"].clone(), ids(&answer["tokens"]))
    };
    assert_eq!(answer(&[]), answer(&["--raw"]));
}

#[test]
fn a_system_message_changes_the_answer() {
    let model = real_model!();
    let answer = |more: &[&str]| -> Value {
        let fixed = ["run", &model, "-p", "Name the primary colours.", "-n", "6", "--temperature", "0"];
        json(&[&fixed, more].concat())
    };
    let (plain, french) = (answer(&[]), answer(&["--system", "Answer in French."]));
    assert_ne!(plain["prompt_tokens"], french["prompt_tokens"]);
    assert_ne!(plain["text"], french["text"]);
}

/// A process's memory is what the system counts, not what the program says of itself.
#[cfg(target_os = "linux")]
#[test]
fn the_smallest_budget_holds_all_memory_of_the_process() {
    use std::io::Read;

    use crate::support::{finish, signal, spawn};

    let model = real_model!();
    let engine = ["--ctx", "512", "--threads", "2"];
    let plan = json(&[&["plan", &model], &engine[..]].concat());
    let budget = number(&plan, "minimum_budget_bytes");
    let args = ["run", &model, "--raw", "-p", "Once upon a time", "-n", "400", "--temperature", "0"];
    let mut child = spawn(&[&args, &engine[..], &["--memory-budget", &budget.to_string()]].concat());
    // With the first byte of text, every weight has been read.
    let stdout = child.stdout.as_mut().expect("stdout is a pipe");
    stdout.read_exact(&mut [0]).expect("the text begins");
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("the process still runs");
    signal("INT", child.id());
    let Outcome { code, .. } = finish(child);
    assert_eq!(code, Some(0));

    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the system counts memory");
    let kib: f64 = peak.trim().trim_end_matches("kB").trim().parse().expect("a number of KiB");
    assert!(kib * 1024.0 <= budget, "{kib} KiB in memory at most, with a budget of {} KiB", budget / 1024.0);
}
