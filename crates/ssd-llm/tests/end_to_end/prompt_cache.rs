//! `run --prompt-cache`: a prompt that was computed once is not computed again, and the answer is the same; nothing that
//! happens to the files makes it another one.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::real_model;

use crate::support::{Tiny, call, command, finish, json, number, signal, spawn};

/// More than a page of tokens.
fn prompt(salt: usize) -> String {
    (0..150).map(|i| char::from(b'a' + (i * (salt % 5 + 3) + i / 7 + salt) as u8 % 26)).collect()
}

fn arguments<'a>(model: &'a str, prompt: &'a str, cache: &'a str) -> [&'a str; 9] {
    ["run", model, "--raw", "-p", prompt, "-n4", "--temperature=0", "--ctx=256", cache]
}

/// Tokens of the prompt that were known.
fn cached(answer: &Value) -> f64 {
    answer["cached_tokens"].as_f64().unwrap_or(0.0)
}

fn answer(model: &str, prompt: &str, folder: &Path) -> Value {
    let cache = format!("--prompt-cache={}", folder.display());
    call(&[&arguments(model, prompt, &cache)[..], &["--json"]].concat()).json()
}

#[test]
fn a_second_run_begins_where_the_first_one_ended() {
    let (model, folder) = (real_model!(), tempfile::tempdir().unwrap());
    let folder = folder.path().join("made").join("when missing");
    let text = "The quick brown fox jumps over the lazy dog. ".repeat(40);
    let first = answer(&model, &text[..700], &folder);
    let second = answer(&model, &text[..700], &folder);
    assert_eq!(cached(&first), 0.0);
    assert_eq!(cached(&second), number(&first, "prompt_tokens") - 1.0);
    assert_eq!((&first["text"], &first["tokens"]), (&second["text"], &second["tokens"]));
    // Another end: what is common is known.
    let other = answer(&model, &format!("{}Surprise", &text[..600]), &folder);
    assert!(cached(&other) > 100.0, "{other}");
    // Keys and values of tokens that see less, or in another type, are others.
    let cache = format!("--prompt-cache={}", folder.display());
    let f32s = json(&[&arguments(&model, &text[..700], &cache)[..], &["--kv-type=f32"]].concat());
    assert_eq!(cached(&f32s), 0.0);
    let windowed = [&arguments(&model, &text[..700], &cache)[..], &["--json", "--sliding-window=50"]].concat();
    assert_eq!(cached(&call(&windowed).json()), 0.0);
    // So are those of a model with the same header and one other weight; the metadata is not in the last bytes.
    let mut bytes = fs::read(&model).unwrap();
    let sampled = bytes.len() / 64 * 40;
    bytes[sampled] ^= 1;
    let other_model = folder.join("other.gguf");
    fs::write(&other_model, bytes).unwrap();
    let other_model = other_model.to_str().unwrap();
    assert_eq!(cached(&answer(other_model, &text[..700], &folder)), 0.0);
}

#[test]
fn without_a_folder_it_is_the_users() {
    let (model, home) = (Tiny::plain(), tempfile::tempdir().unwrap());
    let text = prompt(0);
    let known = || {
        let mut command = command(&[&arguments(model.path(), &text, "--prompt-cache")[..], &["--json"]].concat());
        command.env("HOME", home.path()).env_remove("XDG_CACHE_HOME");
        cached(&finish(command.spawn().unwrap()).json())
    };
    assert_eq!(known(), 0.0);
    // A tiny model computes faster than it reads; only the file shows that it was kept.
    known();
    let kept = walk(home.path());
    assert!(kept.iter().any(|path| path.ends_with(".ssdkv")), "{kept:?}");
}

fn walk(folder: &Path) -> Vec<String> {
    let items = fs::read_dir(folder).into_iter().flatten().flatten().map(|item| item.path());
    items.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path.display().to_string()] }).collect()
}

#[test]
fn the_files_take_no_more_than_the_budget() {
    let (model, folder) = (Tiny::plain(), tempfile::tempdir().unwrap());
    let cache = format!("--prompt-cache={}", folder.path().display());
    let kept = |budget: &str, salt: usize| {
        call(&[&arguments(model.path(), &prompt(salt), &cache)[..], &["--prompt-cache-budget", budget]].concat())
            .text();
        walk(folder.path()).len()
    };
    assert_eq!(kept("1K", 0), 0, "one file is more than that");
    assert_eq!((kept("1G", 0), kept("1G", 1)), (1, 2));
    let bytes = fs::metadata(&walk(folder.path())[0]).unwrap().len();
    // The one that was not used for longest leaves.
    assert_eq!(kept(&(2 * bytes + 100).to_string(), 2), 2);
}

#[test]
fn a_folder_that_cannot_be_used_is_refused() {
    let model = Tiny::plain();
    let cache = format!("--prompt-cache={}", model.path());
    let error = call(&arguments(model.path(), "x", &cache)).refused(1);
    assert!(error.contains("prompt cache") && error.contains(model.path()), "{error}");
}

/// Programs that are killed while they write leave a whole file or none; `SSD_LLM_KILLS` says how many.
#[test]
#[cfg(unix)]
fn killed_at_any_moment() {
    let kills = std::env::var("SSD_LLM_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(10);
    let (model, folder) = (Tiny::plain(), tempfile::tempdir().unwrap());
    let cache = format!("--prompt-cache={}", folder.path().display());
    let begun = Instant::now();
    call(&arguments(model.path(), &prompt(0), &cache)).text();
    let whole_run = begun.elapsed();
    for i in 1..=kills {
        let text = prompt(i);
        let child = spawn(&arguments(model.path(), &text, &cache));
        sleep(whole_run.mul_f64(0.2 + 0.9 * i as f64 / kills as f64).min(Duration::from_secs(5)));
        signal("KILL", child.id());
        finish(child);
        // Whoever comes next finds nothing that is wrong, and says what it would say without it.
        let cached = call(&arguments(model.path(), &text, &cache)).text();
        let computed = call(&arguments(model.path(), &text, "--io=auto")).text();
        assert_eq!(cached, computed, "kill {i}");
    }
}
