//! A model file in the address space: the page cache is then the memory that its slabs are in.
//!
//! Slabs are fetched before they are used, in ranges as large as other readers' requests, and forgotten behind the pass
//! where they are not kept. A file that is cut short under a mapping raises a signal in whoever touches it; `bus_guard`
//! makes that an error.

use std::fs::File;
use std::io::Result;

use memmap2::{Advice, Mmap};

use super::bus_guard::Guarded;
use super::{ModelFile, ends_early};

/// A mapped file.
#[derive(Debug)]
pub(crate) struct Mapping {
    map: Mmap,
    file: File,
    guard: Guarded,
}

impl Mapping {
    /// Maps a whole file; reads nothing yet.
    ///
    /// Errors: the system refuses.
    pub(crate) fn new(file: &ModelFile) -> Result<Mapping> {
        let file = file.file().try_clone()?;
        // SAFETY: the bytes may change while they are looked at if somebody writes to the file. They are numbers to us: any
        // bits are a value. A file that is cut short is the guard's business.
        let map = unsafe { Mmap::map(&file)? };
        let guard = Guarded::new(map.as_ptr() as usize, map.len())?;
        // What is fetched is said below; the system need not guess.
        let _ = map.advise(Advice::Random);
        Ok(Mapping { map, file, guard })
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
    /// Errors: the file has become shorter, or they cannot be read.
    pub(crate) fn fetch(&self, offset: u64, len: usize) -> Result<()> {
        let at = usize::try_from(offset).map_err(|_| ends_early())?;
        let now = self.file.metadata()?.len();
        if now < (at + len) as u64 {
            return Err(ends_early());
        }
        let _ = self.map.advise_range(Advice::WillNeed, at, len);
        #[cfg(target_os = "linux")]
        match self.map.advise_range(Advice::PopulateRead, at, len) {
            Ok(()) => return Ok(()),
            // Linux before 5.14 does not know it.
            Err(e) if e.kind() == std::io::ErrorKind::InvalidInput => {}
            Err(e) => return Err(e),
        }
        let touched = self.map[at..at + len].iter().step_by(PAGE).fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
        std::hint::black_box(touched);
        if self.was_lost() { Err(ends_early()) } else { Ok(()) }
    }

    /// Gives bytes up; they can be fetched again.
    pub(crate) fn forget(&self, at: usize, len: usize) {
        // SAFETY: of a mapping of a file, pages that are dropped come back with the file's bytes when they are touched.
        let _ = unsafe { self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, at, len) };
        super::file::forget(&self.file, at as u64, len);
    }

    /// Whether bytes were used that could not be read, so that what was computed with them is wrong.
    pub(crate) fn was_lost(&self) -> bool {
        self.guard.was_hit()
    }
}

/// Touching one byte in each brings all pages in; larger pages are touched more often than need be.
const PAGE: usize = 4096;
