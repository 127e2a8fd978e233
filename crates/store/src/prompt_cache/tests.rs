//! Folders of computed prompts: what comes back is what was given, whatever happened to the files.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kernels::KvType;
use tempfile::TempDir;

use crate::ledger::Ledger;
use crate::prompt_cache::entry::CacheIdentity;
use crate::prompt_cache::files::{Arrival, PromptFiles, PromptFilesOptions, Saving};

const PAGE_TOKENS: usize = 64;
const WAIT: Duration = Duration::from_millis(20);

fn open(folder: &Path, page_bytes: usize, max_bytes: u64) -> PromptFiles {
    let identity = CacheIdentity { model: 7 << 100, kv_type: KvType::F16 };
    let options =
        PromptFilesOptions { folder: folder.to_owned(), identity, page_tokens: PAGE_TOKENS, page_bytes, max_bytes };
    PromptFiles::open(options, &Ledger::new(1 << 30)).unwrap()
}

fn tokens(n: usize, salt: u32) -> Vec<u32> {
    (0..n as u32).map(|i| i * 3 + salt).collect()
}

fn page(index: usize, page_bytes: usize, salt: u32) -> Vec<u8> {
    (0..page_bytes as u32).map(|i| (i * 7 + index as u32 * 13 + salt) as u8).collect()
}

fn save(files: &mut PromptFiles, tokens: &[u32], page_bytes: usize, salt: u32) {
    assert!(files.wants(tokens));
    files.save(tokens, 1.0);
    loop {
        match files.saving(WAIT).unwrap() {
            Saving::Idle => break,
            Saving::Page(i) => drop(files.save_page(&page(i, page_bytes, salt))),
            Saving::Last => {}
        }
    }
}

/// The pages of a prompt, and how its restore ended; none if it did not begin.
fn restore(files: &mut PromptFiles, prompt: &[u32]) -> Option<(Vec<Vec<u8>>, Arrival)> {
    let mut pages = Vec::new();
    if files.restore(5, prompt, 0) == 0 {
        return None;
    }
    loop {
        let mut take = |key, index, bytes: &[u8]| {
            assert_eq!((key, index), (5, pages.len()));
            pages.push(bytes.to_vec());
            true
        };
        if let Some(arrival) = files.arrivals(WAIT, &mut take).pop() {
            return Some((pages, arrival));
        }
    }
}

fn names(folder: &TempDir) -> Vec<PathBuf> {
    fs::read_dir(folder.path()).unwrap().map(|item| item.unwrap().path()).collect()
}

#[test]
fn pages_come_back_whatever_their_size_and_place() {
    for page_bytes in [256, 4096, 5000, 12_288, 70_001] {
        for n_tokens in [64, 100, 1000, 1100] {
            let folder = tempfile::tempdir().unwrap();
            let all = tokens(n_tokens, 1);
            save(&mut open(folder.path(), page_bytes, 1 << 24), &all, page_bytes, 1);
            let mut files = open(folder.path(), page_bytes, 1 << 24);
            assert!(!files.wants(&all) && !files.wants(&all[..70.min(n_tokens)]));
            let prompt = [&all[..], &[9]].concat();
            let (pages, arrival) = restore(&mut files, &prompt).unwrap();
            assert_eq!(arrival, Arrival::Complete { key: 5, len: n_tokens });
            for (i, found) in pages.iter().enumerate() {
                assert!(*found == page(i, page_bytes, 1), "page {i} of {page_bytes} bytes, {n_tokens} tokens");
            }
            assert_eq!(pages.len(), n_tokens.div_ceil(PAGE_TOKENS));
            // A part of it, and what differs from the start.
            if n_tokens > 200 {
                let (pages, _) = restore(&mut files, &[&all[..130], &[9, 9]].concat()).unwrap();
                assert_eq!(pages.len(), 3);
            }
            assert!(restore(&mut files, &tokens(500, 2)).is_none());
        }
    }
}

#[test]
fn memory_is_counted_and_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::new(PromptFiles::buffer_bytes(5000));
    let identity = CacheIdentity { model: 1, kv_type: KvType::F16 };
    let folder = folder.path().to_owned();
    let options =
        PromptFilesOptions { folder, identity, page_tokens: PAGE_TOKENS, page_bytes: 5000, max_bytes: 1 << 20 };
    let files = PromptFiles::open(options.clone(), &ledger).unwrap();
    assert_eq!(ledger.used_bytes(), PromptFiles::buffer_bytes(5000));
    assert!(PromptFiles::open(options, &ledger).is_err());
    drop(files);
    assert_eq!(ledger.used_bytes(), 0);
}

#[test]
fn a_restore_that_is_cancelled_leaves_the_next_one_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = open(folder.path(), 5000, 1 << 24);
    for salt in [1, 2] {
        save(&mut files, &tokens(1000, salt), 5000, salt);
    }
    assert_eq!(files.restore(1, &tokens(1000, 1), 0), 999);
    assert_eq!(files.restore(2, &tokens(1000, 2), 0), 999);
    files.cancel(1);
    let mut n = 0;
    while files.is_restoring() {
        let mut take = |key, index, bytes: &[u8]| {
            n += 1;
            key == 2 && bytes == page(index, 5000, 2)
        };
        let ended = files.arrivals(WAIT, &mut take);
        assert!(ended.is_empty() || ended == [Arrival::Complete { key: 2, len: 999 }]);
    }
    assert_eq!(n, 16);
}

#[test]
fn a_save_that_is_abandoned_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = open(folder.path(), 5000, 1 << 24);
    files.save(&tokens(1000, 1), 1.0);
    assert!(files.save_page(&page(0, 5000, 1)));
    files.abandon_save();
    save(&mut files, &tokens(1000, 2), 5000, 2);
    assert_eq!(names(&folder).len(), 1);
    assert!(restore(&mut files, &tokens(1000, 1)).is_none());
}

/// Whatever byte of a file is changed and wherever it is cut, what is restored is right or it is not restored.
#[test]
fn a_damaged_file_is_never_believed() {
    const PAGE_BYTES: usize = 256;
    let folder = tempfile::tempdir().unwrap();
    let all = tokens(112, 1);
    save(&mut open(folder.path(), PAGE_BYTES, 1 << 20), &all, PAGE_BYTES, 1);
    let path = names(&folder).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    let check = |bytes: &[u8], what: &str| {
        fs::write(&path, bytes).unwrap();
        let mut files = open(folder.path(), PAGE_BYTES, 1 << 20);
        match restore(&mut files, &[&all[..], &[9]].concat()) {
            None => assert!(!path.exists() || !bytes.starts_with(b"ssd-llmK") || is_foreign(bytes), "{what}"),
            Some((_, arrival)) => {
                assert_eq!(arrival, Arrival::Failed { key: 5 }, "{what}");
                // The folder is as good as new.
                save(&mut files, &all, PAGE_BYTES, 1);
                assert!(restore(&mut files, &[&all[..], &[9]].concat()).is_some(), "{what}");
            }
        }
    };
    for at in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        check(&bytes, &format!("byte {at}"));
        check(&whole[..at], &format!("cut at {at}"));
    }
}

/// Whether the fixed part of a header says that the file belongs to somebody else.
fn is_foreign(bytes: &[u8]) -> bool {
    bytes.len() >= 56 && {
        let folder = tempfile::tempdir().unwrap();
        let mut files = open(folder.path(), 256, 1 << 20);
        save(&mut files, &tokens(112, 1), 256, 1);
        fs::read(&names(&folder)[0]).unwrap()[8..40] != bytes[8..40]
    }
}
