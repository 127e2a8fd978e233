//! What a file leaves in the page cache, and how to be rid of it, so that the cache does not grow at the budget's expense.
//! All of it is advice: where it is not taken, the cache is merely larger.

use std::fs::File;
use std::io::Result;
use std::path::Path;

/// From where to where behind a read pages are dropped once more: further than reads under way reach.
const BEHIND: (u64, u64) = (32 << 20, 96 << 20);

/// Lets the page cache drop a whole file, so that whoever reads it next meets the disk. Whether this system can be asked
/// to; pages that somebody has mapped stay in any case.
///
/// Errors: the file cannot be opened.
pub fn forget_file(path: &Path) -> Result<bool> {
    drop_pages(&File::open(path)?, 0, 0);
    Ok(cfg!(target_os = "linux"))
}

/// Lets the page cache drop a stretch of a file.
pub(super) fn forget(file: &File, offset: u64, len: u64) {
    drop_pages(file, offset, len);
}

/// Lets the page cache drop a stretch that was read and, once more, what was read a while before it: of pages that several
/// threads have just brought in, Linux has been seen to keep a third when it is told to drop them at once.
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
