//! Runs end cleanly when the world around them changes: the reader of a pipe leaves, the disk is full, Ctrl-C is pressed.
//!
//! The long runs here ask for [`MANY`] tokens, far more than are ever made; a run that does not notice its end makes them
//! all, and says so in its statistics.

use std::io::Read;
use std::process::{Child, Stdio};
use testkit::real_model;

use crate::support::{Outcome, Tiny, assert_none, call, command, finish, prose, signal, spawn, text_of};

const MANY: &str = "3000";

/// A long run of the real model whose first bytes of text have been read.
fn begun(model: &str) -> (Child, Vec<u8>) {
    let mut child = spawn(&["run", model, "--raw", "-p", "Once upon a time", "-n", MANY, "--temperature", "0"]);
    let mut first = vec![0; 64];
    let n = child.stdout.as_mut().expect("stdout is a pipe").read(&mut first).expect("the text begins");
    first.truncate(n);
    assert!(!first.is_empty(), "there is some text: {:?}", finish(child));
    (child, first)
}

#[track_caller]
fn assert_ended_early(outcome: &Outcome) {
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(!outcome.panicked() && !outcome.stderr.contains("error"), "{outcome:?}");
    assert!(!outcome.stderr.contains(MANY), "the run did not go on to its end: {outcome:?}");
}

#[test]
fn a_reader_that_leaves_ends_the_run() {
    let (mut child, _) = begun(&real_model!());
    drop(child.stdout.take());
    assert_ended_early(&finish(child));
}

#[test]
fn ctrl_c_ends_the_run_with_its_statistics() {
    let (child, first) = begun(&real_model!());
    signal("INT", child.id());
    let outcome = finish(child);
    assert_ended_early(&outcome);
    let text = [first, outcome.stdout].concat();
    assert!(std::str::from_utf8(&text).is_ok(), "the text so far is whole: {text:?}");
    assert!(outcome.stderr.contains("tokens/s"), "statistics on stderr: {}", outcome.stderr);
}

/// One quick command line of every kind.
fn every_command<'a>(model: &'a str, text: &'a str) -> Vec<Vec<&'a str>> {
    let run = ["run", model, "-p", "hello", "-n", "8", "--temperature", "0"];
    let score = ["perplexity", model, text, "--ctx", "32"];
    let bench = ["bench", model, "-n", "2", "--prompt-tokens", "8"];
    let plain: [&[&str]; 6] = [&run, &score, &bench, &["info", model], &["plan", model], &["tokenize", model, "hello"]];
    let as_json = plain.map(|args| [args, &["--json"]].concat());
    plain.map(<[_]>::to_vec).into_iter().chain(as_json).collect()
}

fn prose_file() -> tempfile::TempPath {
    let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    std::fs::write(&file, prose(400)).expect("a temporary file can be written");
    file.into_temp_path()
}

#[test]
fn a_closed_stdout_is_no_failure_of_any_command() {
    let (model, text) = (Tiny::chat(), prose_file());
    let mut problems = Vec::new();
    for args in every_command(model.path(), text_of(&text)).into_iter().chain([vec!["--help"], vec!["--version"]]) {
        let (reader, writer) = std::io::pipe().expect("a pipe can be made");
        drop(reader);
        let outcome = finish(command(&args).stdout(writer).spawn().expect("the binary starts"));
        if outcome.code != Some(0) || outcome.stderr.contains("error") || outcome.panicked() {
            problems.push(format!("{args:?}: {outcome:?}"));
        }
    }
    assert_none(&problems);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_stdout_is_an_error_of_every_command() {
    let (model, text) = (Tiny::chat(), prose_file());
    let mut problems = Vec::new();
    for args in every_command(model.path(), text_of(&text)) {
        let full = std::fs::File::create("/dev/full").expect("Linux has a full disk for tests");
        let outcome = finish(command(&args).stdout(full).spawn().expect("the binary starts"));
        match outcome.refusal(1) {
            Ok(error) if error.contains("No space left") => {}
            other => problems.push(format!("{args:?}: {other:?}")),
        }
    }
    assert_none(&problems);
}

#[test]
fn a_closed_stderr_does_not_change_the_answer() {
    let model = Tiny::chat();
    let args = ["run", model.path(), "-p", "hello", "-n", "8", "--temperature", "0"];
    let expected = call(&args).text();
    let (reader, writer) = std::io::pipe().expect("a pipe can be made");
    drop(reader);
    let outcome = finish(command(&args).stderr(writer).spawn().expect("the binary starts"));
    assert_eq!(outcome.text(), expected);
    let quiet = finish(command(&args).stderr(Stdio::null()).spawn().expect("the binary starts"));
    assert_eq!(quiet.text(), expected);
}
