//! `perplexity` scores as llama-perplexity does: whole windows, the second half of each.
//!
//! A window of `n` tokens scores those at `n / 2 + 1 .. n`, so 512 tokens score 255. What llama.cpp's own logits give for
//! the same windows is recorded in `tests/data/perplexity.json`.

use serde_json::Value;
use testkit::real_model;

use crate::support::{Tiny, call, json, keys, number, prose, recorded, text_of};

/// A text file that lives as long as its test.
fn text_file(text: &str) -> tempfile::TempPath {
    let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    std::fs::write(&file, text).expect("a temporary file can be written");
    file.into_temp_path()
}

/// The recorded case of windows of `ctx` tokens, with the file that holds its text.
fn case(ctx: u64) -> (Value, tempfile::TempPath) {
    let cases = recorded(include_str!("../data/perplexity.json"));
    let case = cases.into_iter().find(|case| case["ctx"] == ctx).expect("the windows were recorded");
    let file = text_file(prose(number(&case, "bytes") as usize));
    (case, file)
}

#[track_caller]
fn assert_near(answer: &Value, case: &Value, percent: f64) {
    let ratio = number(answer, "perplexity") / number(case, "perplexity");
    assert!((ratio - 1.0).abs() <= percent / 100.0, "{ratio} times llama.cpp's {case}");
    assert_eq!(answer["n_scored"], case["n_scored"]);
}

#[test]
fn two_thousand_tokens_score_within_a_third_of_a_percent_of_llama_cpp() {
    let (case, file) = case(512);
    let answer = json(&["perplexity", &real_model!(), text_of(&file)]);
    assert_eq!(keys(&answer), ["mean_nll", "n_scored", "perplexity"]);
    assert_near(&answer, &case, 0.3);
}

#[test]
fn ctx_sets_the_window_and_logprobs_explain_the_score() {
    let (case, file) = case(64);
    let model = real_model!();
    let args = ["perplexity", &model, text_of(&file), "--ctx", "64"];
    let answer = json(&[&args[..], &["--logprobs", "3"]].concat());
    // 155 tokens average less than a thousand do.
    assert_near(&answer, &case, 1.0);

    let scored = answer["logprobs"].as_array().expect("a list");
    assert_eq!(scored.len() as u64, answer["n_scored"]);
    for token in scored {
        assert_eq!(keys(token), ["id", "logprob", "top"]);
        let top: Vec<f64> =
            token["top"].as_array().expect("a list").iter().map(|rival| number(rival, "logprob")).collect();
        assert!(top.len() == 3 && top.is_sorted_by(|a, b| a >= b), "{token}");
        assert!(number(token, "logprob") <= top[0], "{token}");
    }
    let mean = scored.iter().map(|token| -number(token, "logprob")).sum::<f64>() / scored.len() as f64;
    assert!((mean - number(&answer, "mean_nll")).abs() < 1e-5);
    assert!((mean.exp() / number(&answer, "perplexity") - 1.0).abs() < 1e-5);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let (model, file) = (Tiny::plain(), text_file(prose(400)));
    let score = |threads: &str| {
        json(&["perplexity", model.path(), text_of(&file), "--ctx", "64", "--threads", threads, "--logprobs", "2"])
    };
    let one = score("1");
    assert!(number(&one, "n_scored") > 60.0, "{one}");
    assert_eq!(one, score("2"));
    assert_eq!(one, score("3"));
}

#[test]
fn without_json_the_perplexity_is_printed() {
    let (model, file) = (Tiny::plain(), text_file(prose(400)));
    let args = ["perplexity", model.path(), text_of(&file), "--ctx", "32"];
    let expected = number(&json(&args), "perplexity");
    let text = call(&args).text();
    let numbers = text.split(|c: char| !c.is_ascii_digit() && c != '.').filter_map(|word| word.parse::<f64>().ok());
    assert!(numbers.into_iter().any(|n| (n / expected - 1.0).abs() < 1e-3), "{expected} in {text:?}");
}

#[test]
fn a_text_that_cannot_be_scored_is_refused() {
    let model = Tiny::plain();
    let score = |path: &str| call(&["perplexity", model.path(), path, "--ctx", "64"]).refused(1);

    let missing = score("no-such-text.txt");
    assert!(missing.contains("no-such-text.txt"), "{missing}");
    let folder = std::env::temp_dir();
    assert!(score(text_of(&folder)).contains(text_of(&folder)));
    for text in ["", "too short"] {
        let file = text_file(text);
        let error = score(text_of(&file));
        assert!(error.contains("64"), "the error says how many tokens a window has: {error}");
    }
    let binary = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    std::fs::write(&binary, [b'a', 0xFF, 0xFE].repeat(200)).expect("a temporary file can be written");
    let error = score(text_of(binary.path()));
    assert!(error.contains("UTF-8"), "{error}");
}
