//! The door of the program: help and version on stdout, and a word on what was typed wrong.

use crate::support::call;

#[test]
fn help_names_every_command_and_every_flag_of_run() {
    let help = call(&["--help"]).text();
    for command in ["run", "info", "plan", "bench", "perplexity", "tokenize"] {
        assert!(help.contains(command), "{command} is missing in\n{help}");
        assert!(call(&[command, "--help"]).text().contains("Usage"), "{command} --help");
    }
    let run = call(&["run", "--help"]).text();
    for flag in [
        "--prompt",
        "--max-tokens",
        "--raw",
        "--system",
        "--json",
        "--logprobs",
        "--temperature",
        "--top-k",
        "--top-p",
        "--min-p",
        "--repeat-penalty",
        "--frequency-penalty",
        "--presence-penalty",
        "--seed",
        "--stop",
        "--memory-budget",
        "--ctx",
        "--threads",
        "--tensor-parallel",
        "--io",
        "--max-read-rate",
        "--cache-policy",
        "--kv-type",
        "--kernels",
    ] {
        assert!(run.contains(flag), "{flag} is missing in\n{run}");
    }
}

#[test]
fn version_is_one_line() {
    let text = call(&["--version"]).text();
    assert!(text.starts_with("ssd-llm ") && text.trim_end().lines().count() == 1, "{text:?}");
}

#[test]
fn no_arguments_show_the_help_as_a_mistake() {
    let outcome = call(&[]);
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stdout.is_empty());
    assert!(outcome.stderr.contains("Usage") && outcome.stderr.contains("perplexity"), "{outcome:?}");
}

#[test]
fn what_is_not_there_is_named() {
    for (args, named) in [
        (&["frobnicate"][..], "frobnicate"),
        (&["run"], "MODEL"),
        (&["info"], "MODEL"),
        (&["tokenize", "model.gguf"], "TEXT"),
        (&["perplexity", "model.gguf"], "FILE"),
        (&["run", "model.gguf", "--frobnicate"], "--frobnicate"),
        (&["info", "model.gguf", "--temperature", "1"], "--temperature"),
        (&["info", "one.gguf", "two.gguf"], "two.gguf"),
        (&["--frobnicate"], "--frobnicate"),
    ] {
        let error = call(args).refused(2);
        assert!(error.contains(named), "{args:?}: {error}");
    }
}
