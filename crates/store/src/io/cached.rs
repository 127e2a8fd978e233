//! Dropping a file's pages from the page cache, so that the cache does not grow at the budget's expense.
//!
//! All of it is advice: where the system ignores it, the cache is merely larger.

use std::fs::File;
use std::io::Result;
use std::path::Path;

/// How far behind a read, from and to, pages are dropped a second time: beyond the reads in flight.
const BEHIND: (u64, u64) = (32 << 20, 96 << 20);

/// Drops a whole file from the page cache, so that it is read from the disk next time. Returns whether this system supports
/// that; pages that are mapped stay in any case.
///
/// Errors: the file cannot be opened.
pub fn forget_file(path: &Path) -> Result<bool> {
    drop_pages(&File::open(path)?, 0, 0);
    Ok(cfg!(target_os = "linux"))
}

/// Drops a range of a file from the page cache.
pub(super) fn forget(file: &File, offset: u64, len: u64) {
    drop_pages(file, offset, len);
}

/// Drops a range that was read and, for the second time, what was read a while before it: Linux has been seen to keep a third
/// of the pages that several threads have just read if it is told to drop them at once.
pub(super) fn forget_with_what_was_before(file: &File, offset: u64, len: u64) {
    drop_pages(file, offset, len);
    let (near, far) = (offset.saturating_sub(BEHIND.0), offset.saturating_sub(BEHIND.1));
    if near > far {
        drop_pages(file, far, near - far);
    }
}

#[cfg(target_os = "linux")]
fn drop_pages(file: &File, offset: u64, len: u64) {
    let _ = rustix::fs::fadvise(file, offset, std::num::NonZeroU64::new(len), rustix::fs::Advice::DontNeed);
}

#[cfg(not(target_os = "linux"))]
fn drop_pages(_file: &File, _offset: u64, _len: u64) {}
