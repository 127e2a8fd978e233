//! The files of a folder: which of them count, and which have to go.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::prompt_cache::entry::{Entry, Format, remove_damaged};
use crate::prompt_cache::writer::{EXTENSION, PREFIX};

/// A file that is being written grows; one that has not for this long was left by a program that ended.
const ABANDONED: Duration = Duration::from_secs(60);

/// The least recently used files that have to go, so that the others take at most `max_bytes`.
pub(super) fn oldest<'a>(
    entries: impl IntoIterator<Item = &'a Entry>,
    max_bytes: u64,
    format: &Format,
) -> Vec<PathBuf> {
    let mut entries: Vec<&Entry> = entries.into_iter().collect();
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.used));
    let mut total = 0;
    let mut fits = |entry: &Entry| {
        total += format.file_bytes(entry.tokens.len());
        total <= max_bytes
    };
    let n_kept = entries.iter().take_while(|entry| fits(entry)).count();
    entries[n_kept..].iter().map(|entry| entry.path.clone()).collect()
}

/// The files of a folder that belong to this format.
pub(super) fn read_folder(folder: &Path, format: &Format) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for item in fs::read_dir(folder)? {
        let path = item?.path();
        let is_named = path.extension().is_some_and(|extension| extension == EXTENSION);
        let is_left = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX));
        if is_left && age(&path) > ABANDONED {
            remove_damaged(&path, "it was left half written");
        } else if is_named {
            match format.read_entry(&path) {
                Ok(Some(entry)) => entries.push(entry),
                Ok(None) => {}
                Err(error) => remove_damaged(&path, &error.to_string()),
            }
        }
    }
    Ok(entries)
}

fn age(path: &Path) -> Duration {
    let modified = fs::metadata(path).and_then(|data| data.modified());
    modified.ok().and_then(|at| at.elapsed().ok()).unwrap_or_default()
}
