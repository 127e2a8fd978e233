//! A model file that changes under a run ends what is computed with an error that names it, and nothing worse.
//!
//! However the file is read and whatever is in memory: it is cut short, written to, replaced, changed before it is opened,
//! or fails a pass and is mended. No signal, no panic, no hang; the runner can be asked again and dropped, and leaves no
//! thread and no open file behind.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use crate::common::{LIMIT_BYTES, PROMPT, SEQ, Setup, open, open_read, rows, run};
use forward::{Batch, CpuBackend, ForwardError, LanguageModel, LogitRows, Runner};
use model::gguf::Gguf;
use store::{CachePolicy, IoMode, Ledger, StoreError};
use testkit::{TinyModel, TinySpec, temp_model};

fn tiny() -> TinyModel {
    TinySpec::from_line("llama").build()
}

/// Ways to read and shares in memory. A way that this system or its folder for temporary files refuses is left out.
fn setups() -> Vec<Setup> {
    let modes = [IoMode::Auto, IoMode::Direct, IoMode::Uring, IoMode::Pread, IoMode::Buffered, IoMode::Mmap];
    let works = |io: &IoMode| crate::common::try_open(&tiny(), Setup { io: *io, ..Setup::default() }).is_ok();
    let modes: Vec<IoMode> = modes.into_iter().filter(works).collect();
    assert!(modes.contains(&IoMode::Buffered) && modes.contains(&IoMode::Mmap), "these work everywhere");
    let shares = [0.0, 0.5, 2.0].map(|share| [(share, CachePolicy::Pin), (share, CachePolicy::Lru)]);
    let setup = |io: IoMode| {
        shares.as_flattened().iter().map(move |&(pinned_share, policy)| Setup {
            io,
            pinned_share,
            policy,
            ..Setup::default()
        })
    };
    modes.into_iter().flat_map(setup).collect()
}

fn case(setup: Setup) -> String {
    format!("{:?}, {} in memory, {:?}", setup.io, setup.pinned_share, setup.policy)
}

fn open_at(path: &Path, setup: Setup) -> Runner<CpuBackend> {
    let header = Gguf::open(path).expect("testkit writes GGUF");
    open_read(&header, setup, &Ledger::new(LIMIT_BYTES)).expect("it can be read in this way")
}

/// The tokens from `start` on as one batch.
fn batch(start: usize, n: usize) -> Batch {
    Batch::one(SEQ, start, PROMPT[start..start + n].to_vec(), LogitRows::All)
}

fn error(runner: &mut Runner<CpuBackend>, batch: &Batch) -> ForwardError {
    match runner.forward(batch) {
        Ok(_) => panic!("the pass is believed"),
        Err(error) => error,
    }
}

fn writable(path: &Path) -> File {
    File::options().write(true).open(path).expect("the file is ours")
}

#[test]
fn a_file_that_is_cut_short_ends_every_pass_with_its_name() {
    for setup in setups() {
        for keep in [0, 3, 5, 9].map(|tenths| tiny().gguf_bytes().len() * tenths / 10) {
            let path = temp_model(&tiny().gguf_bytes());
            let mut runner = open_at(&path, setup);
            run(&mut runner, &PROMPT[..6], &[5, 1]);
            writable(&path).set_len(keep as u64).unwrap();
            for _ in 0..3 {
                let error = error(&mut runner, &batch(6, 1)).to_string();
                assert!(error.contains(path.to_str().unwrap()), "{}, cut to {keep}: {error}", case(setup));
            }
        }
    }
}

#[test]
fn a_file_that_is_written_to_has_been_changed() {
    for setup in setups() {
        let path = temp_model(&tiny().gguf_bytes());
        let mut runner = open_at(&path, setup);
        run(&mut runner, &PROMPT[..6], &[5, 1]);
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        writable(&path).set_modified(modified + Duration::from_millis(20)).unwrap();
        for _ in 0..2 {
            let error = error(&mut runner, &batch(6, 1)).to_string();
            let expected = format!("{} has been changed", path.display());
            assert!(error.contains(&expected), "{}: {error}", case(setup));
        }
    }
}

#[test]
fn a_file_that_another_takes_the_place_of_is_still_read() {
    for setup in setups() {
        let alone = run(&mut open(&tiny(), setup), &PROMPT[..8], &[5, 1, 2]);
        let path = temp_model(&tiny().gguf_bytes());
        let mut runner = open_at(&path, setup);
        let before = run(&mut runner, &PROMPT[..6], &[5, 1]);
        let other = temp_model(&[0; 3]);
        std::fs::rename(&other, &path).unwrap();
        let after = rows(&runner.forward(&batch(6, 2)).unwrap());
        assert!([before, after].concat() == alone, "{}", case(setup));
    }
}

#[test]
fn a_file_that_changes_between_header_and_weights_is_not_opened() {
    for setup in setups() {
        let change = |change: &dyn Fn(&Path)| {
            let path = temp_model(&tiny().gguf_bytes());
            let header = Gguf::open(&path).unwrap();
            change(&path);
            let opened = open_read(&header, setup, &Ledger::new(LIMIT_BYTES));
            let error = opened.err().unwrap_or_else(|| panic!("{}: it is opened", case(setup)));
            assert!(error.to_string().contains(path.to_str().unwrap()), "{}: {error}", case(setup));
            error
        };
        let changed = |error| matches!(error, StoreError::Changed { .. });
        assert!(changed(change(&|path| writable(path).set_len(5000).unwrap())));
        assert!(changed(change(
            &|path| std::fs::rename(temp_model(&tiny().gguf_bytes()).keep().unwrap(), path).unwrap()
        )));
        change(&|path| writable(path).set_len(0).unwrap());
        change(&|path| std::fs::remove_file(path).unwrap());
    }
}

#[test]
fn a_pass_that_failed_leaves_the_sequence_as_it_was() {
    // What was mapped is not read again, so there a file that was broken once stays so.
    for setup in setups().into_iter().filter(|s| !matches!(s.io, IoMode::Mmap | IoMode::Auto)) {
        let alone = run(&mut open(&tiny(), setup), &PROMPT[..9], &[5, 4]);
        let path = temp_model(&tiny().gguf_bytes());
        let mut runner = open_at(&path, setup);
        run(&mut runner, &PROMPT[..5], &[5]);
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        for keep in [0.2, 0.6, 0.9] {
            let bytes = tiny().gguf_bytes();
            writable(&path).set_len((bytes.len() as f64 * keep) as u64).unwrap();
            error(&mut runner, &batch(5, 4));
            std::fs::write(&path, bytes).unwrap();
            writable(&path).set_modified(modified).unwrap();
            let again = rows(&runner.forward(&batch(5, 4)).unwrap());
            assert!(again == alone[5..], "{}, cut to {keep}", case(setup));
            runner.kv().truncate(SEQ, 5);
        }
    }
}

#[test]
fn a_batch_that_found_no_memory_can_be_sent_again() {
    let large = Batch::one(SEQ, 0, PROMPT.repeat(6), LogitRows::All);
    let setup = Setup { pinned_share: 0.9, ..Setup::default() };
    let expected = rows(&open(&tiny(), setup).forward(&large).unwrap());
    let path = temp_model(&tiny().gguf_bytes());
    let ledger = Ledger::new(LIMIT_BYTES);
    let mut runner = open_read(&Gguf::open(&path).unwrap(), setup, &ledger).unwrap();
    assert!(rows(&runner.forward(&large).unwrap()) == expected);
    runner.kv().remove(SEQ);

    // Somebody else takes what the weights have lent, so that the buffers cannot be made smaller.
    let taken = ledger.reserve("another", ledger.limit_bytes() - ledger.used_bytes()).unwrap();
    let error = error(&mut runner, &batch(0, 1)).to_string();
    assert!(error.contains("another"), "{error}");
    drop(taken);
    assert!(rows(&runner.forward(&large).unwrap()) == expected);
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_is_left_of_runners_that_are_gone() {
    if std::env::var_os("COUNT_IN_THIS_PROCESS").is_none() {
        // Other tests of this process have threads and files of their own.
        let own = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["faults::nothing_is_left_of_runners_that_are_gone", "--exact", "--test-threads=1"])
            .env("COUNT_IN_THIS_PROCESS", "1")
            .output()
            .unwrap();
        assert!(own.status.success(), "{}", String::from_utf8_lossy(&own.stdout));
        return;
    }
    let files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    for setup in setups() {
        let path = temp_model(&tiny().gguf_bytes());
        let cycle = |i: usize| {
            writable(&path).set_len(tiny().gguf_bytes().len() as u64).unwrap();
            std::fs::write(&path, tiny().gguf_bytes()).unwrap();
            let mut runner = open_at(&path, setup);
            if !i.is_multiple_of(3) {
                run(&mut runner, &PROMPT[..2], &[1, 1]);
            }
            if i % 3 == 2 {
                writable(&path).set_len(4000).unwrap();
                error(&mut runner, &batch(2, 1));
            }
        };
        (0..3).for_each(cycle);
        let before = (threads(), files());
        (0..18).for_each(cycle);
        // A thread that has been joined is gone from the list a moment later.
        let gone = (0..10_000).any(|_| {
            std::thread::yield_now();
            threads().len() <= before.0.len() && files() <= before.1
        });
        assert!(gone, "{}: {before:?} became {:?}", case(setup), (threads(), files()));
    }
}

/// The names of this process's threads, without those that the kernel keeps for a while for io_uring.
#[cfg(target_os = "linux")]
fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux tells");
    let names = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| !name.starts_with("iou-")).collect()
}
