//! What a file leaves in the page cache, and how to be rid of it, so that the cache does not grow at the budget's expense.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::{Mutex, PoisonError};

/// So many later stretches have been dropped before one is dropped once more.
const AGAIN_AFTER: usize = 32;

/// The stretches of a file that were dropped last.
///
/// Of pages that several threads have just brought in, Linux keeps a third when it is told to drop them, since each
/// processor holds on to its last ones for a moment. So every stretch is dropped again a little later.
#[derive(Debug, Default)]
pub(super) struct Cached(Mutex<VecDeque<(u64, usize)>>);

impl Cached {
    /// Lets the page cache drop a stretch. That is advice: where it is not taken, the cache is merely larger.
    pub(super) fn forget(&self, file: &File, offset: u64, len: usize) {
        drop_pages(file, offset, len);
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recent.push_back((offset, len));
        let again = if recent.len() > AGAIN_AFTER { recent.pop_front() } else { None };
        drop(recent);
        if let Some((offset, len)) = again {
            drop_pages(file, offset, len);
        }
    }
}

#[cfg(target_os = "linux")]
fn drop_pages(file: &File, offset: u64, len: usize) {
    let len = std::num::NonZeroU64::new(len as u64);
    let _ = rustix::fs::fadvise(file, offset, len, rustix::fs::Advice::DontNeed);
}

#[cfg(not(target_os = "linux"))]
fn drop_pages(_file: &File, _offset: u64, _len: usize) {}
