//! What a person may get wrong about flags, prompts and paths: each mistake gets one clear line and the right status.
//!
//! Status 2 is for what the command line alone shows to be wrong, 1 for what fails while it is carried out. Wrong model
//! files are in `hostile_models`.

use std::process::Command;
use testkit::real_model;

use crate::support::{Outcome, Tiny, assert_none, call, call_with_stdin, command, finish, text_of};

#[test]
fn values_that_no_flag_takes_are_usage_errors() {
    let model = Tiny::chat();
    let mut problems = Vec::new();
    for (flag, values) in [
        ("--max-tokens", &["0", "-1", "1.5", "many", ""][..]),
        ("--temperature", &["NaN", "-1", "-0.1", "inf", "-inf", "hot", ""]),
        ("--top-k", &["x", "1.5"]),
        ("--top-p", &["2", "-0.5", "NaN", "x"]),
        ("--min-p", &["1.5", "-1", "NaN", "x"]),
        ("--repeat-penalty", &["0", "-1", "NaN", "inf", "x"]),
        ("--frequency-penalty", &["NaN", "inf", "x"]),
        ("--presence-penalty", &["NaN", "-inf", "x"]),
        ("--seed", &["-1", "x", "18446744073709551616"]),
        ("--kv-type", &["q3", "F99", ""]),
        ("--io", &["warp", ""]),
        ("--kernels", &["mmx", ""]),
        ("--threads", &["-1", "two", "99999999999"]),
        ("--memory-budget", &["12Q", "-1", "NaN", "inf", "G", "", "1e999G"]),
        ("--ctx", &["0", "-5", "x", "99999999999999999999"]),
        ("--logprobs", &["-1", "x"]),
    ] {
        for value in values {
            let outcome = call(&["run", model.path(), "-p", "hello", "-n", "2", "--json", flag, value]);
            match outcome.refusal(2) {
                Ok(error) if error.contains(flag) => {}
                Ok(error) => problems.push(format!("{flag} {value:?}: the error does not name the flag: {error}")),
                Err(problem) => problems.push(format!("{flag} {value:?}: {problem}")),
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn a_flag_without_its_value_is_a_usage_error() {
    let model = Tiny::chat();
    for flag in ["--prompt", "-n", "--temperature", "--stop", "--ctx", "--system"] {
        let error = call(&["run", model.path(), flag]).refused(2);
        assert!(error.contains(flag.trim_start_matches('-')) || error.contains("--max-tokens"), "{flag}: {error}");
    }
}

#[test]
fn kernels_of_another_processor_are_refused() {
    let foreign = if cfg!(target_arch = "aarch64") { "avx2" } else { "neon" };
    let model = Tiny::chat();
    let error = call(&["run", model.path(), "-p", "hello", "-n", "2", "--kernels", foreign]).refused(2);
    assert!(error.contains(foreign) && error.contains("auto"), "{error}");
}

#[test]
fn numbers_beyond_all_measure_do_not_harm() {
    let model = Tiny::chat();
    let run = |flag: &str, value: &str| {
        let fixed = ["run", model.path(), "-p", "hello", "-n", "2", "--temperature", "1", "--seed", "1", flag, value];
        let outcome = call(&fixed);
        assert!(!outcome.panicked(), "{outcome:?}");
        outcome
    };
    for (flag, value) in [
        ("--top-k", "1000000"),
        ("--temperature", "1e30"),
        ("--temperature", "1e-30"),
        ("--repeat-penalty", "1e30"),
        ("--frequency-penalty", "1e30"),
        ("--presence-penalty", "-1e30"),
        ("--min-p", "0"),
        ("--memory-budget", "1000000G"),
    ] {
        let outcome = run(flag, value);
        assert!(outcome.code == Some(0) || !outcome.refused(2).is_empty(), "{flag} {value}");
    }
    let everything = call(&["run", model.path(), "-p", "hello", "-n", "18446744073709551615", "--temperature", "0"]);
    assert_eq!(everything.code, Some(0), "as many as the context holds: {everything:?}");
    for ctx in ["1000000000", "18446744073709551615"] {
        let outcome = run("--ctx", ctx);
        assert!(outcome.refusal(1).or_else(|_| outcome.refusal(2)).is_ok(), "{outcome:?}");
    }
}

#[test]
fn an_empty_prompt_is_refused() {
    let model = Tiny::chat();
    let from_flag = call(&["run", model.path(), "-p", ""]);
    let from_stdin = call_with_stdin(&["run", model.path()], b"");
    for outcome in [from_flag, from_stdin] {
        let error = outcome.refused(2);
        assert!(error.contains("prompt"), "{error}");
    }
}

#[test]
fn a_prompt_that_is_not_utf8_is_refused() {
    let model = Tiny::chat();
    let error = call_with_stdin(&["run", model.path()], b"hello \xFF\xFE").refused(1);
    assert!(error.contains("UTF-8"), "{error}");
}

#[cfg(unix)]
#[test]
fn an_argument_that_is_not_utf8_is_refused_unless_it_is_a_path() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let strange = OsStr::from_bytes(b"hello \xFF");
    let model = Tiny::chat();
    let outcome = finish(command(&["run", model.path(), "-p"]).arg(strange).spawn().expect("the binary starts"));
    let error = outcome.refused(2);
    assert!(error.contains("UTF-8"), "{error}");

    // macOS has no file names but UTF-8 ones.
    if cfg!(target_os = "linux") {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path().join(strange);
        std::fs::copy(model.path(), &path).expect("the file can be copied");
        let outcome = finish(command(&["info", "--json"]).arg(&path).spawn().expect("the binary starts"));
        assert_eq!(outcome.json()["architecture"], "llama");
    }
}

#[test]
fn a_prompt_longer_than_the_context_is_refused() {
    let model = real_model!();
    let prompt = "word ".repeat(100);
    let run = |more: &[&str]| call(&[&["run", &model, "--raw", "-p", &prompt, "-n", "1"], more].concat());
    let error = run(&["--ctx", "32"]).refused(1);
    assert!(error.contains("32") && error.contains("context"), "{error}");
    assert_eq!(run(&["--ctx", "128"]).code, Some(0));
}

/// Every command on a model path that cannot be read.
fn all_refuse(path: &str, start: impl Fn(&[&str]) -> Outcome) {
    let commands: [&[&str]; 5] = [
        &["run", path, "-p", "hello"],
        &["info", path],
        &["plan", path],
        &["tokenize", path, "hello"],
        &["perplexity", path, path],
    ];
    for args in commands {
        let error = start(args).refused(1);
        assert!(error.contains(path), "the error names the file: {error}");
    }
}

#[test]
fn a_path_without_a_model_file_is_refused_by_every_command() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    all_refuse(text_of(folder.path()), call);
    all_refuse(text_of(&folder.path().join("missing.gguf")), call);
}

#[test]
fn an_error_says_things_once() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let text = Tiny::of_bytes(b"Just some text, not a model at all.");
    let mut problems = Vec::new();
    for path in [text_of(folder.path()), text_of(&folder.path().join("missing.gguf")), text.path()] {
        for args in [&["info", path][..], &["run", path, "-p", "hello"]] {
            let error = call(args).refused(1);
            let clauses: Vec<&str> = error.split(": ").collect();
            if (1..clauses.len()).any(|i| clauses[..i].contains(&clauses[i])) {
                problems.push(error);
            }
        }
    }
    assert_none(&problems);
}

#[cfg(unix)]
#[test]
fn a_dangling_link_and_a_named_pipe_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let link = folder.path().join("link.gguf");
    std::os::unix::fs::symlink("nowhere.gguf", &link).expect("a link can be made");
    all_refuse(text_of(&link), call);
    let pipe = folder.path().join("pipe.gguf");
    let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo starts");
    assert!(made.success());
    all_refuse(text_of(&pipe), call);
}

#[cfg(unix)]
#[test]
fn a_file_without_permission_is_refused() {
    use std::fs::{File, Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;

    /// "nobody" on Linux and macOS alike, as far as permissions go.
    const NOBODY: u32 = 65534;

    let model = Tiny::chat();
    set_permissions(model.path(), Permissions::from_mode(0o000)).expect("permissions can be set");
    let is_root = File::open(model.path()).is_ok();
    if is_root {
        // Root reads everything, so the binary runs as nobody, if nobody may run it.
        let probe = command(&["--version"]).uid(NOBODY).spawn();
        let Ok(probe) = probe else {
            println!("not shown: run as root, from a folder that others may not enter");
            return;
        };
        assert_eq!(finish(probe).code, Some(0));
    }
    all_refuse(model.path(), |args| {
        let mut command = command(args);
        if is_root {
            command.uid(NOBODY);
        }
        let outcome = finish(command.spawn().expect("the binary starts"));
        assert!(outcome.stderr.to_lowercase().contains("permission denied"), "{outcome:?}");
        outcome
    });
}
