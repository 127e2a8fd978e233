//! `chat`: turns, commands, and a context that fills.

use testkit::real_model;

use crate::support::{Tiny, call, call_with_stdin, json};

#[test]
fn a_turn_says_what_run_says_and_knows_the_turns_before() {
    let model = real_model!();
    let flags = ["--temperature=0", "-n24", "--ctx=512", "--memory-budget=200M"];
    let chat = call_with_stdin(
        &[&["chat", &model], &flags[..]].concat(),
        b"What is the capital of France?\n/stats\nAnd of Italy?\n/retry\n/stats\n/exit\nnot said\n",
    );
    let run = json(&[&["run", &model, "-p", "What is the capital of France?"], &flags[..]].concat());
    let text = chat.text();
    let first = run["text"].as_str().unwrap().trim_end_matches('\n');
    assert!(text.starts_with(first), "{text:?} begins with {first:?}");
    let rest: Vec<&str> = text[first.len()..].lines().filter(|line| !line.is_empty()).collect();
    assert!(rest.len() >= 2 && rest[..rest.len() / 2] == rest[rest.len() / 2..], "the same again: {rest:?}");
    assert!(chat.stderr.contains(" cached)"), "only what is new is computed: {}", chat.stderr);
}

#[test]
fn commands_do_what_they_say() {
    let tiny = Tiny::chat();
    let base = ["chat", tiny.path(), "--temperature=0", "-n8", "--ctx=128", "--system=a"];
    let said = |input: &str| call_with_stdin(&base, input.as_bytes());
    let first = said("hello\n").text();
    let cleared = said("hello\n/clear\nhello\n").text();
    assert_eq!(cleared, format!("{first}{first}"));
    assert_ne!(said("/system the the the\nhello\n").text(), first);
    assert!(!said("\"\"\"\nhe\nllo\"\"\"\n").text().is_empty());
    let wrong = call_with_stdin(&base, b"hello\n\xff\nhello\n");
    assert!(wrong.text().starts_with(&first), "{wrong:?}");
    let unknown = said("/bogus\n/help\n");
    assert!(unknown.stderr.contains("/bogus") && unknown.stderr.contains("/retry"), "{unknown:?}");
    let plain = Tiny::plain();
    assert!(call(&["chat", plain.path()]).refused(2).contains("chat template"));
}

#[test]
fn a_full_context_is_an_error_or_shifts() {
    let tiny = Tiny::chat();
    let base = ["chat", tiny.path(), "--temperature=0", "--ctx=64"];
    let long = format!("{}\nhello\n", "the ".repeat(200));
    let refused = call_with_stdin(&[&base[..], &["-n4"]].concat(), long.as_bytes());
    assert!(refused.stderr.contains("but the context holds 64") && !refused.stdout.is_empty(), "{refused:?}");
    // Who has sent the messages through a pipe hears of it by the status.
    assert!(refused.code == Some(1) && refused.stderr.contains("1 of 2 messages got no answer"), "{refused:?}");
    let shifted = call_with_stdin(&[&base[..], &["-n100", "--context-shift"]].concat(), long.as_bytes());
    assert!(!shifted.stderr.contains("error"), "{shifted:?}");
    // The smallest contexts, and texts that repeat themselves.
    for ctx in ["--ctx=2", "--ctx=3", "--ctx=5"] {
        let small = json(&["run", tiny.path(), "--raw", "-p", "h", ctx, "-n9", "--temperature=0", "--context-shift"]);
        assert_eq!(small["tokens"].as_array().unwrap().len(), 9, "{ctx}");
    }
    assert!(
        call(&["run", tiny.path(), "--raw", "-p", "h", "--ctx=1", "--context-shift"])
            .refused(1)
            .contains("the context holds 1")
    );
    // `run` goes on beyond the context too.
    let run = ["run", tiny.path(), "--raw", "-p", "hello", "--ctx=32", "-n100", "--temperature=0"];
    assert!(json(&run)["tokens"].as_array().unwrap().len() < 32);
    let more = json(&[&run[..], &["--context-shift"]].concat());
    let again = json(&[&run[..], &["--context-shift", "--sink-tokens=2"]].concat());
    assert_eq!(more["tokens"].as_array().unwrap().len(), 100);
    assert_ne!(more["tokens"], again["tokens"]);
}
