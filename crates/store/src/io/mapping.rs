//! A model file in the address space: the page cache is then the memory that its slabs are in.
//!
//! Slabs are fetched before they are used, in ranges as large as other readers' requests, and forgotten behind the pass
//! where they are not kept. A file that is cut short under a mapping raises a signal in whoever touches it; `bus_guard`
//! makes that an error.

use std::fs::File;
use std::io::Result;
use std::os::unix::fs::FileExt;

use memmap2::{Advice, Mmap};

use crate::io::bus_guard::Guarded;
use crate::io::cached;
use crate::io::open_file::OpenFile;
use crate::io::short_reads::{advance, ends_early};

/// Bytes that pass by at once on the way into the page cache: little enough for a thread's stack.
const PASSING_BYTES: usize = 64 << 10;

/// Linux makes pages visible in stretches of this length where they are in the page cache (`fault_around_bytes`).
const VISIBLE_AROUND: usize = 64 << 10;

/// A mapped file.
#[derive(Debug)]
pub(crate) struct Mapping {
    /// Before the map, which it must not outlive.
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
        // SAFETY: the bytes may change while they are looked at if somebody writes to the file. They are numbers to us: any
        // bits are a value. A file that is cut short is the guard's business.
        let map = unsafe { Mmap::map(&file)? };
        let guard = Guarded::new(map.as_ptr() as usize, map.len())?;
        // What is fetched is said below; the system need not guess.
        let _ = map.advise(Advice::Random);
        Ok(Mapping { guard, map, file })
    }

    /// Bytes of the whole file when it was mapped.
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    /// Bytes of the file. Panics if they are outside it.
    pub(crate) fn bytes(&self, at: usize, len: usize) -> &[u8] {
        &self.map[at..at + len]
    }

    /// Brings bytes into memory.
    ///
    /// They are read, and thrown away, because the system then reads further ahead and in larger pages than when it is
    /// advised that they will be needed or when they are touched: 0.36 against 0.45 s for a cold file of 669 MB. And a
    /// read that fails is an error, where a touch is a signal. Errors: the file has become shorter, or they cannot be
    /// read.
    pub(crate) fn fetch(&self, offset: u64, len: usize) -> Result<()> {
        let at = usize::try_from(offset).map_err(|_| ends_early())?;
        let mut passing = [0; PASSING_BYTES];
        let mut done = 0;
        while done < len {
            let part = PASSING_BYTES.min(len - done);
            done = advance(done, self.file.read_at(&mut passing[..part], offset + done as u64), len, 1)?;
        }
        // The pages are there; this only makes them visible, all at once and not one by one when they are touched.
        #[cfg(target_os = "linux")]
        let _ = self.map.advise_range(Advice::PopulateRead, at, len);
        if at + len <= self.len() { Ok(()) } else { Err(ends_early()) }
    }

    /// Gives bytes up; they can be fetched again.
    pub(crate) fn forget(&self, at: usize, len: usize) {
        if len == 0 {
            // To the system no bytes means all of them.
            return;
        }
        // Pages around those that were fetched have become visible with them, and would count as this program's memory.
        let start = at - at % VISIBLE_AROUND;
        let end = (at + len).next_multiple_of(VISIBLE_AROUND).min(self.len());
        // SAFETY: of a mapping of a file, pages that are dropped come back with the file's bytes when they are touched.
        let _ = unsafe { self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, end - start) };
        cached::forget(&self.file, at as u64, len as u64);
    }

    /// Whether bytes were used that could not be read, so that what was computed with them is wrong.
    pub(crate) fn was_lost(&self) -> bool {
        self.guard.was_hit()
    }
}
