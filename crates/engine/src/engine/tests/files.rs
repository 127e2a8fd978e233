//! Prompts in files: what is restored is right, and what is damaged or foreign is recognized.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::fake::{LIMITS, PAGE_BYTES, answer, engine, prompt, request, run, submit_all};
use store::CacheIdentity;

use crate::engine::Engine;
use crate::request::{FinishReason, GenerateRequest};
use crate::scheduler::Limits;

fn identity() -> CacheIdentity {
    CacheIdentity { model: 7 << 100, kv_type: forward::KvType::F16 }
}

/// An engine that has just been started, with the files of a folder.
fn started(folder: &Path, identity: CacheIdentity, max_bytes: u64) -> Engine {
    let (mut engine, _) = engine(40, Limits { cache_pages: 40, ..LIMITS });
    engine.use_files(folder, identity, max_bytes).unwrap();
    // The fake takes no time.
    engine.seconds_per_token = 1.0;
    engine
}

/// Runs a request, saves what it leaves, and tells how many tokens of it were there before.
fn run_and_save(engine: &mut Engine, request: &GenerateRequest) -> usize {
    engine.submit(request.clone()).unwrap();
    let generation = run(engine).pop().unwrap().result.unwrap();
    assert_eq!(generation.tokens, answer(request));
    engine.seconds_per_token = 1.0;
    engine.save().unwrap();
    generation.cached_tokens
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|item| item.unwrap().path()).collect()
}

#[test]
fn a_prompt_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let start = |identity| started(folder.path(), identity, 1 << 20);
    let first = request(prompt(1, 200, 10, 1), 5);
    assert_eq!(run_and_save(&mut start(identity()), &first), 0);
    assert_eq!(run_and_save(&mut start(identity()), &first), 209);
    assert_eq!(run_and_save(&mut start(identity()), &request(prompt(1, 130, 30, 2), 5)), 130);
    // Too little in common, another model, another way of storing.
    assert_eq!(run_and_save(&mut start(identity()), &request(prompt(1, 50, 30, 2), 5)), 0);
    assert_eq!(run_and_save(&mut start(CacheIdentity { model: 8, ..identity() }), &first), 0);
    let other_type = CacheIdentity { kv_type: forward::KvType::F32, ..identity() };
    assert_eq!(run_and_save(&mut start(other_type), &first), 0);
    // What goes on where another ends takes its place.
    let n_files = files(folder.path()).len();
    let longer = request([&first.prompt[..], &answer(&first)[..], &[41]].concat(), 3);
    assert_eq!(run_and_save(&mut start(identity()), &longer), 214);
    assert_eq!(files(folder.path()).len(), n_files);
}

#[test]
fn prompts_that_are_computed_faster_than_read_are_computed() {
    let folder = tempfile::tempdir().unwrap();
    let first = request(prompt(1, 200, 10, 1), 5);
    let mut engine = started(folder.path(), identity(), 1 << 20);
    engine.submit(first.clone()).unwrap();
    run(&mut engine);
    engine.seconds_per_token = 1e-9;
    engine.save().unwrap();
    assert_eq!(run_and_save(&mut started(folder.path(), identity(), 1 << 20), &first), 0);
}

#[test]
fn the_folder_stays_as_small_as_it_must() {
    let folder = tempfile::tempdir().unwrap();
    let max_bytes = 5 * PAGE_BYTES as u64 * 2;
    for i in 0..6 {
        run_and_save(&mut started(folder.path(), identity(), max_bytes), &request(prompt(3 * i, 200, 10, i), 5));
        let total: u64 = files(folder.path()).iter().map(|path| path.metadata().unwrap().len()).sum();
        assert!(total <= max_bytes, "{total}");
    }
    // The last one is still there.
    let last = request(prompt(15, 200, 10, 5), 5);
    assert_eq!(run_and_save(&mut started(folder.path(), identity(), max_bytes), &last), 209);
    // A smaller budget holds from the start.
    started(folder.path(), identity(), PAGE_BYTES as u64);
    assert_eq!(files(folder.path()), Vec::<PathBuf>::new());
}

/// The store's tests damage every part of a file; here, the request is answered all the same.
#[test]
fn a_damaged_file_is_computed_instead() {
    let folder = tempfile::tempdir().unwrap();
    let first = request(prompt(1, 100, 10, 1), 3);
    run_and_save(&mut started(folder.path(), identity(), 1 << 20), &first);
    let path = files(folder.path()).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    for at in [3, 45, 100, 600, whole.len() - 300, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        for bytes in [&bytes[..], &whole[..at]] {
            fs::remove_dir_all(folder.path()).unwrap();
            fs::create_dir(folder.path()).unwrap();
            fs::write(&path, bytes).unwrap();
            // The answer is checked; damage in the last page's unused end is found too.
            assert_eq!(run_and_save(&mut started(folder.path(), identity(), 1 << 20), &first), 0, "byte {at}");
        }
    }
}

/// While pages arrive, others go on; a request that is cancelled meanwhile leaves nothing behind.
#[test]
fn restoring_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let (first, other) = (request(prompt(1, 200, 10, 1), 5), request(prompt(9, 100, 0, 0), 40));
    run_and_save(&mut started(folder.path(), identity(), 1 << 20), &first);
    let (mut engine, fake) = engine(40, LIMITS);
    engine.use_files(folder.path(), identity(), 1 << 20).unwrap();
    for _ in 0..3 {
        let cancelled = engine.submit(first.clone()).unwrap();
        submit_all(&mut engine, &[other.clone(), first.clone()]);
        engine.step(&mut |_, _| ControlFlow::Continue(()));
        engine.cancel(cancelled);
        let finished = run(&mut engine);
        let reasons: Vec<_> = finished.iter().map(|f| f.result.as_ref().unwrap().finish_reason).collect();
        assert_eq!(reasons, [FinishReason::Cancelled, FinishReason::Length, FinishReason::Length]);
        assert_eq!(finished[1].result.as_ref().unwrap().tokens, answer(&other));
        assert_eq!(finished[2].result.as_ref().unwrap().tokens, answer(&first));
        engine.clear_cache();
        assert_eq!(fake.left(), (40, 0));
    }
}

#[test]
fn foreign_files_are_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let long_ago = std::time::SystemTime::now() - std::time::Duration::from_mins(10);
        fs::File::options().append(true).open(&path).unwrap().set_modified(long_ago).unwrap();
        path
    };
    let theirs = [
        write("notes.ssdkv", b"notes"),
        write("long.ssdkv", &[7; 500]),
        write(".writing-novel", b"It was a dark and stormy night."),
        write("notes.txt", b"ssd-llmK"),
    ];
    let ours = [
        write("cut.ssdkv", b"ssd-llmK"),
        write("empty.ssdkv", b""),
        write(".writing-a1", b"ssd-llmK\x01\0\0\0"),
        write(".writing-b2", b"ssd"),
    ];
    // One that opens a pipe waits for whoever writes to it.
    let pipe = folder.path().join("pipe.ssdkv");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    started(folder.path(), identity(), 1 << 20);
    assert!(pipe.exists());
    assert!(theirs.iter().all(|path| path.exists()), "{:?}", files(folder.path()));
    assert!(!ours.iter().any(|path| path.exists()), "{:?}", files(folder.path()));
}
