//! `--mmap-kv`: keys and values that memory does not hold are in a file, and nothing shows but the speed; however the
//! program ends, the file is gone.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use serde_json::json as object;
use testkit::{TinySpec, real_model};

use crate::http::Server;
use crate::support::{Tiny, call, call_with_stdin, command, finish, ids, json, number, prose, signal, spawn, text_of};

const MIB: f64 = 1024.0 * 1024.0;

/// A prompt of about 1,700 tokens, of which a few hundred fit.
fn arguments<'a>(model: &'a str, prompt: &'a str) -> [&'a str; 12] {
    ["run", model, "--raw", "-p", prompt, "-n", "12", "--temperature", "0", "--ctx", "2048", "--json"]
}

/// A tiny model with much to keep of each token, and arguments with which a share of 8 MiB is half of it.
fn tiny() -> Tiny {
    Tiny::of_spec(TinySpec::from_line("llama layers=16 context=4096"))
}

fn short(model: &str) -> [&str; 10] {
    ["run", model, "--raw", "-p", "hello", "-n2", "--ctx", "4096", "--kv-type", "f32"]
}

fn names(folder: &Path) -> Vec<String> {
    let items = fs::read_dir(folder).into_iter().flatten().flatten();
    items.map(|item| item.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_long_prompt_is_answered_the_same_and_the_file_is_gone() {
    let (model, folder) = (real_model!(), tempfile::tempdir().unwrap());
    let inside = folder.path().join("made when missing");
    let spill = format!("--mmap-kv={}", text_of(&inside));
    let prompt = prose(7500);
    let with = |flags: &[&str]| json(&[&arguments(&model, prompt)[..11], &["--logprobs", "3"], flags].concat());
    let whole = with(&["--memory-budget", "300M"]);
    assert!(number(&whole, "prompt_tokens") > 1500.0);
    assert_eq!(number(&whole, "io.bytes_per_token"), 0.0);
    let spilled = with(&["--memory-budget", "180M", &spill, "--kv-budget", "24M"]);
    assert_eq!(ids(&spilled["tokens"]), ids(&whole["tokens"]));
    assert_eq!(spilled["logprobs"], whole["logprobs"]);
    // Each token reads what is in the file, which is counted.
    assert!(number(&spilled, "io.bytes_per_token") > 15.0 * MIB, "{}", spilled["io"]);
    assert!(number(&spilled, "memory.peak_bytes") <= 180.0 * MIB, "{}", spilled["memory"]);
    assert!(inside.is_dir() && names(&inside).is_empty(), "{:?}", names(&inside));
    // What was computed can be kept, and goes back into the file when it is restored.
    let cache = format!("--prompt-cache={}", text_of(&folder.path().join("prompts")));
    with(&[&spill, "--kv-budget", "24M", &cache]);
    let restored = with(&[&spill, "--kv-budget", "24M", &cache]);
    assert!(number(&restored, "cached_tokens") > 1500.0, "{restored}");
    // One token of the prompt is computed where there were many, in the other order of sums.
    assert_eq!(ids(&restored["tokens"])[0], ids(&whole["tokens"])[0]);
}

#[test]
fn the_plan_shows_what_is_in_memory_and_what_is_not() {
    let model = real_model!();
    let plan = |flags: &[&str]| json(&[&["plan", &model, "--ctx", "4096"], flags].concat());
    let all = plan(&["--memory-budget", "1G"]);
    assert_eq!(number(&all, "kv_spilled_bytes"), 0.0);
    let whole = number(&all, "kv_bytes");
    let some = plan(&["--memory-budget", "1G", "--mmap-kv", "--kv-budget", "40M"]);
    assert!(number(&some, "kv_bytes") <= 40.0 * MIB && number(&some, "kv_bytes") > 30.0 * MIB, "{some}");
    assert!(number(&some, "kv_bytes") + number(&some, "kv_spilled_bytes") >= whole, "{some}");
    // Where there is room for all, nothing spills; and less than without the flag is enough.
    assert_eq!(number(&plan(&["--memory-budget", "1G", "--mmap-kv"]), "kv_spilled_bytes"), 0.0);
    let small = plan(&["--memory-budget", "110M", "--mmap-kv"]);
    assert!(number(&small, "kv_spilled_bytes") > 0.0, "{small}");
    assert!(number(&small, "minimum_budget_bytes") < number(&all, "minimum_budget_bytes") - 0.5 * whole, "{small}");
    let table = call(&["plan", &model, "--ctx", "4096", "--memory-budget", "110M", "--mmap-kv"]).text();
    assert!(table.contains("KV spilled"), "{table}");
}

#[test]
fn a_program_that_is_killed_leaves_nothing_behind() {
    let (model, folder) = (real_model!(), tempfile::tempdir().unwrap());
    let spill = format!("--mmap-kv={}", text_of(folder.path()));
    let flags = ["--memory-budget", "180M", &spill, "--kv-budget", "24M"];
    let child = spawn(&[&arguments(&model, prose(7500))[..], &flags].concat());
    let (id, begun) = (child.id(), std::time::Instant::now());
    // Into the prompt, as far as the system tells who has the file open.
    while cfg!(target_os = "linux") && !has_open(id, folder.path()) && begun.elapsed() < Duration::from_secs(60) {
        sleep(Duration::from_millis(5));
    }
    sleep(Duration::from_millis(300));
    signal("KILL", id);
    assert_eq!(finish(child).code, None);
    // One that was killed before its file had lost its name, and what is none of ours.
    let mut gone = Command::new("true").spawn().unwrap();
    let left = format!("ssd-llm-kv-{}-0", gone.id());
    gone.wait().unwrap();
    [&left, "notes.txt"].iter().for_each(|name| fs::write(folder.path().join(name), "x").unwrap());
    call(&[&short(tiny().path())[..], &["--kv-budget", "8M", &spill]].concat()).text();
    assert_eq!(names(folder.path()), ["notes.txt"]);
}

/// Whether a process has a file open that was in a folder.
fn has_open(id: u32, folder: &Path) -> bool {
    let files = fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().flatten();
    let mut targets = files.filter_map(|file| fs::read_link(file.path()).ok());
    targets.any(|target| target.starts_with(folder))
}

#[test]
fn without_a_folder_it_is_the_users() {
    let (tiny, home) = (tiny(), tempfile::tempdir().unwrap());
    let mut command = command(&[&short(tiny.path())[..], &["--kv-budget", "8M", "--mmap-kv"]].concat());
    command.env("HOME", home.path()).env_remove("XDG_CACHE_HOME");
    finish(command.spawn().unwrap()).text();
    assert_eq!(names(home.path()).len(), 1, "a folder for caches: {:?}", names(home.path()));
}

#[test]
fn shares_and_folders_that_cannot_be_are_refused() {
    let tiny = tiny();
    let run = short(tiny.path());
    let refused = |flags: &[&str], code| call(&[&run[..], flags].concat()).refused(code);
    assert!(refused(&["--kv-budget", "8M"], 2).contains("add --mmap-kv"));
    let error = refused(&["--mmap-kv", "--kv-budget", "1"], 1);
    assert!(error.contains(" MiB; use --kv-budget "), "{error}");
    let least = error.rsplit("--kv-budget ").next().and_then(|rest| rest.split_whitespace().next()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let spill = format!("--mmap-kv={}", text_of(folder.path()));
    call(&[&run[..], &[&spill, "--kv-budget", least]].concat()).text();
    let error = refused(&[&format!("--mmap-kv={}", tiny.path()), "--kv-budget", least], 1);
    assert!(error.contains(tiny.path()), "{error}");
}

#[test]
fn servers_and_conversations_spill_too() {
    let (model, folder) = (real_model!(), tempfile::tempdir().unwrap());
    let spill = format!("--mmap-kv={}", text_of(folder.path()));
    let few = [&spill, "--kv-budget=40M", "--memory-budget=200M"];
    let prompt = prose(7000);
    let run = json(&["run", &model, "--raw", "-p", prompt, "-n12", "--temperature=0", "--ctx=2048"]);
    let server = Server::start(&model, &[&few[..], &["--ctx=2048", "--max-batch=2", "--name=smol"]].concat());
    let options = object!({ "temperature": 0, "num_predict": 12 });
    let body = object!({ "model": "smol", "prompt": prompt, "raw": true, "stream": false, "options": options });
    assert_eq!(server.post("/api/generate", &body).json()["response"], run["text"]);
    // One context alone is larger than what memory has for both.
    assert!(server.stat("/kv/n_pages") * server.stat("/kv/page_bytes") > 2.0 * 40.0 * MIB);
    assert_eq!(server.end().code, Some(0));

    let turns = format!("{} Who is this about?\nAnd where?\n", prompt.replace('\n', " "));
    let said = |flags: &[&str]| {
        let fixed = ["chat", &model, "-n12", "--temperature=0", "--ctx=2048"];
        call_with_stdin(&[&fixed[..], flags].concat(), turns.as_bytes()).text()
    };
    assert_eq!(said(&few), said(&["--memory-budget=400M"]));
    assert!(names(folder.path()).is_empty(), "{:?}", names(folder.path()));
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_in_memory_is_warned_of_even_when_nothing_spills() {
    let tiny = tiny();
    let warned = |folder: &str| {
        let outcome =
            call(&[&short(tiny.path())[..], &["--memory-budget=1G", &format!("--mmap-kv={folder}")]].concat());
        outcome.text();
        outcome.stderr.contains("use a folder on a disk")
    };
    // Not there, and so not made either.
    assert!(warned("/dev/shm/ssd-llm-none/inside"));
    assert!(!Path::new("/dev/shm/ssd-llm-none").exists());
}
