//! Turns a failed access to a mapped file into an error instead of the end of the process.
//!
//! Touching a page past the end of a truncated file, or one that the disk cannot read, raises SIGBUS. If the page belongs to
//! a guarded mapping, the handler maps zeros in its place and records that it did; the pass goes on, and the check after it
//! discards its result. Any other SIGBUS has its default effect.

use std::io::{Error, Result};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nix::libc::{c_int, c_void, siginfo_t};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Mapped files at once, enough for the parts of a few models.
const MAX_GUARDED: usize = 1024;

/// Size of a page that is replaced.
static PAGE: AtomicUsize = AtomicUsize::new(0);

struct Place {
    start: AtomicUsize,
    /// 0 if the place is free.
    len: AtomicUsize,
    hit: AtomicBool,
}

static PLACES: [Place; MAX_GUARDED] =
    [const { Place { start: AtomicUsize::new(0), len: AtomicUsize::new(0), hit: AtomicBool::new(false) } };
        MAX_GUARDED];

/// A range of addresses, guarded until this is dropped.
#[derive(Debug)]
pub(super) struct Guarded(usize);

impl Guarded {
    /// Guards `len` bytes from `start`. The owner of the mapping drops this before the mapping.
    ///
    /// Errors: the system refuses the handler, or there are too many.
    pub(super) fn new(start: usize, len: usize) -> Result<Guarded> {
        install()?;
        let claimed =
            |place: &Place| place.len.compare_exchange(0, len.max(1), Ordering::SeqCst, Ordering::SeqCst).is_ok();
        let index = PLACES.iter().position(claimed).ok_or_else(|| Error::other("too many mapped files"))?;
        PLACES[index].hit.store(false, Ordering::SeqCst);
        PLACES[index].start.store(start, Ordering::SeqCst);
        Ok(Guarded(index))
    }

    /// Whether zeros have replaced bytes that could not be read.
    pub(super) fn was_hit(&self) -> bool {
        PLACES[self.0].hit.load(Ordering::SeqCst)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        PLACES[self.0].start.store(0, Ordering::SeqCst);
        PLACES[self.0].len.store(0, Ordering::SeqCst);
    }
}

fn install() -> Result<()> {
    static ONCE: Once = Once::new();
    static FAILED: AtomicBool = AtomicBool::new(false);
    ONCE.call_once(|| {
        PAGE.store(rustix::param::page_size(), Ordering::SeqCst);
        let action = SigAction::new(SigHandler::SigAction(on_bus_error), SaFlags::SA_NODEFER, SigSet::empty());
        // SAFETY: the handler makes one system call and touches atomics, both of which signals allow.
        let installed = unsafe { sigaction(Signal::SIGBUS, &action) };
        FAILED.store(installed.is_err(), Ordering::SeqCst);
    });
    if FAILED.load(Ordering::SeqCst) { Err(Error::other("the system refuses a handler for SIGBUS")) } else { Ok(()) }
}

extern "C" fn on_bus_error(_signal: c_int, info: *mut siginfo_t, _context: *mut c_void) {
    // SAFETY: the system passes a valid pointer to a handler that is installed with SA_SIGINFO, as `SigAction` does.
    let address = unsafe { (*info).si_addr() } as usize;
    let page = PAGE.load(Ordering::SeqCst);
    let inside = |place: &&Place| {
        let start = place.start.load(Ordering::SeqCst);
        start != 0 && (start..start + place.len.load(Ordering::SeqCst).next_multiple_of(page)).contains(&address)
    };
    if let Some(place) = PLACES.iter().find(inside)
        && put_zeros(address - address % page, page)
    {
        place.hit.store(true, Ordering::SeqCst);
        return;
    }
    // Not ours: the default action follows when the instruction is retried.
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: no handler is installed, the default is restored.
    let _ = unsafe { sigaction(Signal::SIGBUS, &default) };
}

fn put_zeros(address: usize, len: usize) -> bool {
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
    let flags = MapFlags::PRIVATE | MapFlags::FIXED;
    // SAFETY: the page belongs to a guarded mapping, so nothing else is there, and its readers find zeros.
    unsafe { mmap_anonymous(address as *mut c_void, len, ProtFlags::READ, flags) }.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_cut_short_under_its_mapping_reads_as_zeros_and_is_noticed() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 1 << 20]).unwrap();
        // SAFETY: as in `Mapping::new`.
        let map = unsafe { memmap2::Mmap::map(&file).unwrap() };
        let guard = Guarded::new(map.as_ptr() as usize, map.len()).unwrap();
        assert_eq!((map[0], map[(1 << 20) - 1], guard.was_hit()), (7, 7, false));
        file.set_len(1 << 18).unwrap();
        assert_eq!((map[0], map[(1 << 20) - 1], map[1 << 19]), (7, 0, 0));
        assert!(guard.was_hit());
    }
}
