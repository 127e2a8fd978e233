//! A mapped model file, whose slabs are in the page cache.
//!
//! Slabs are fetched before they are used, in ranges as large as other readers' requests, and dropped behind the pass unless
//! they are kept. Touching a mapped file that has been truncated raises a signal; `bus_guard` turns it into an error.

use std::fs::File;
use std::io::Result;
use std::os::unix::fs::FileExt;

use memmap2::{Advice, Mmap};

use crate::io::bus_guard::Guarded;
use crate::io::cached;
use crate::io::open_file::OpenFile;
use crate::io::short_reads::{advance, ends_early};

/// Size of the buffer for reads into the page cache: small enough for a thread's stack.
const PASSING_BYTES: usize = 64 << 10;

/// Linux maps pages that are in the page cache in ranges of this length (`fault_around_bytes`).
const VISIBLE_AROUND: usize = 64 << 10;

/// A mapped file.
#[derive(Debug)]
pub(crate) struct Mapping {
    /// Declared before the map, which it must not outlive.
    guard: Guarded,
    map: Mmap,
    file: File,
}

impl Mapping {
    /// Maps a whole file; reads nothing yet.
    ///
    /// Errors: the system refuses.
    pub(crate) fn new(file: &OpenFile) -> Result<Mapping> {
        let file = file.file().try_clone()?;
        // SAFETY: the bytes may change while they are read if another process writes to the file. They are used as numbers, of
        // which any bits are valid. The guard handles a file that is truncated.
        let map = unsafe { Mmap::map(&file)? };
        let guard = Guarded::new(map.as_ptr() as usize, map.len())?;
        // `fetch` says what is needed; the system need not guess.
        let _ = map.advise(Advice::Random);
        Ok(Mapping { guard, map, file })
    }

    /// Length of the file when it was mapped, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    /// Bytes of the file. Panics if the range is outside it.
    pub(crate) fn bytes(&self, at: usize, len: usize) -> &[u8] {
        &self.map[at..at + len]
    }

    /// Brings bytes into memory.
    ///
    /// They are read into a buffer that is discarded, because the system then reads further ahead and in larger pages than
    /// after advice or a page fault: 0.36 instead of 0.45 s for a cold file of 669 MB. And a read that fails is an error,
    /// where a fault is a signal. Errors: the file has become shorter, or the bytes cannot be read.
    pub(crate) fn fetch(&self, offset: u64, len: usize) -> Result<()> {
        let at = usize::try_from(offset).map_err(|_| ends_early())?;
        let mut passing = [0; PASSING_BYTES];
        let mut done = 0;
        while done < len {
            let part = PASSING_BYTES.min(len - done);
            done = advance(done, self.file.read_at(&mut passing[..part], offset + done as u64), len, 1)?;
        }
        // The pages are there; this maps all of them at once instead of one by one when they are touched.
        #[cfg(target_os = "linux")]
        let _ = self.map.advise_range(Advice::PopulateRead, at, len);
        if at + len <= self.len() { Ok(()) } else { Err(ends_early()) }
    }

    /// Drops bytes from memory; they can be fetched again.
    pub(crate) fn forget(&self, at: usize, len: usize) {
        if len == 0 {
            // A length of 0 means the whole file to the system.
            return;
        }
        // The pages around have been mapped with those that were fetched, and would count as memory of this process.
        let start = at - at % VISIBLE_AROUND;
        let end = (at + len).next_multiple_of(VISIBLE_AROUND).min(self.len());
        // SAFETY: dropped pages of a mapped file come back with the file's bytes when they are touched.
        let _ = unsafe { self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, end - start) };
        cached::forget(&self.file, at as u64, len as u64);
    }

    /// Whether bytes that could not be read were used, so that what was computed with them is wrong.
    pub(crate) fn was_lost(&self) -> bool {
        self.guard.was_hit()
    }
}
