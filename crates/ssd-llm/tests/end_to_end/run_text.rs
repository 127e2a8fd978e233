//! What `run` prints: the text alone, cut before a stop string wherever tokens end, and never half a character.

use std::io::Read;

use testkit::{TinyModel, TinySpec, Vocabulary, real_model};

use crate::support::{Outcome, Tiny, call, finish, json, spawn};

const PLANET: &str = "The largest planet in the solar system is";

/// Sixteen greedy tokens of the real model after [`PLANET`].
fn planet(model: &str, more: &[&str]) -> Vec<String> {
    let args = ["run", model, "--raw", "-p", PLANET, "-n", "16", "--temperature", "0"].map(str::to_owned);
    args.into_iter().chain(more.iter().map(|&arg| arg.to_owned())).collect()
}

fn planet_json(model: &str, more: &[&str]) -> (String, String) {
    let args = planet(model, more);
    let answer = json(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let string = |key: &str| answer[key].as_str().unwrap_or_else(|| panic!("{key} in {answer}")).to_owned();
    (string("text"), string("finish_reason"))
}

/// What the run prints without the newline that may close it.
fn printed(outcome: &Outcome) -> String {
    let text = outcome.text();
    text.strip_suffix('\n').unwrap_or(&text).to_owned()
}

#[test]
fn stdout_has_the_text_and_stderr_the_statistics() {
    let model = Tiny::chat();
    let args = ["run", model.path(), "-p", "hello", "-n", "8", "--temperature", "0"];
    let outcome = call(&args);
    assert_eq!(printed(&outcome), json(&args)["text"].as_str().expect("the text"));
    assert!(outcome.stderr.contains("tokens/s"), "statistics on stderr: {outcome:?}");
    assert!(!outcome.stderr.contains('\r') && !outcome.stderr.contains('\x1b'), "no progress line in a pipe");
}

#[test]
fn a_stop_string_across_tokens_ends_the_text_and_is_not_shown() {
    let model = real_model!();
    let (whole, reason) = planet_json(&model, &[]);
    assert_eq!(reason, "length");
    // From inside a word into the next one: tokens begin with the space between them.
    let space = whole.match_indices(' ').nth(2).expect("sixteen tokens have three spaces").0;
    let stop = &whole[space - 2..space + 3];
    let before = &whole[..whole.find(stop).expect("it was cut from there")];
    assert!(!before.is_empty());

    assert_eq!(planet_json(&model, &["--stop", stop]), (before.to_owned(), "stop".to_owned()));
    let args = planet(&model, &["--stop", stop]);
    let outcome = call(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(printed(&outcome), before);
}

#[test]
fn the_first_of_several_stop_strings_ends_the_text() {
    let model = real_model!();
    let (whole, _) = planet_json(&model, &[]);
    let middle = whole.len() / 2;
    let late = &whole[middle..middle + 4];
    let early = &whole[3..7];
    let expected = &whole[..whole.find(early).expect("it was cut from there")];
    let (text, reason) = planet_json(&model, &["--stop", "\u{2603}", "--stop", late, "--stop", early]);
    assert_eq!((text.as_str(), reason.as_str()), (expected, "stop"));
}

#[test]
fn a_stop_string_that_only_begins_is_shown() {
    let model = real_model!();
    let (whole, _) = planet_json(&model, &[]);
    let begun = format!("{}\u{2603}", &whole[whole.len() - 5..]);
    assert_eq!(planet_json(&model, &["--stop", &begun]), (whole.clone(), "length".to_owned()));
}

#[test]
fn an_emoji_of_several_tokens_appears_whole_or_not_at_all() {
    // The model continues the row for certain, with three tokens a piece.
    let model = real_model!();
    for (n, pieces) in [("2", 0), ("3", 1), ("5", 1), ("6", 2)] {
        let args = ["run", &model, "--raw", "-p", "🎉🎉🎉🎉🎉🎉", "-n", n, "--temperature", "0"];
        let expected = "🎉".repeat(pieces);
        assert_eq!(json(&args)["text"], expected, "{n} tokens");
        assert_eq!(printed(&call(&args)), expected, "{n} tokens");
    }
}

#[test]
fn whatever_bytes_a_model_says_each_write_is_whole_characters() {
    for vocabulary in [Vocabulary::ByteBpe, Vocabulary::SentencePiece] {
        let model = Tiny::of_spec(TinySpec { vocabulary, ..TinyModel::llama() });
        for seed in ["1", "2", "3", "4"] {
            let args = ["run", model.path(), "-p", "hello", "-n", "200", "--temperature", "2", "--seed", seed];
            let mut child = spawn(&args);
            let mut pipe = child.stdout.take().expect("stdout is a pipe");
            let mut chunk = vec![0; 1 << 16];
            loop {
                let n = pipe.read(&mut chunk).expect("the pipe can be read");
                if n == 0 {
                    break;
                }
                assert!(std::str::from_utf8(&chunk[..n]).is_ok(), "whole characters in {:?}", &chunk[..n]);
            }
            assert_eq!(finish(child).code, Some(0));
        }
    }
}
