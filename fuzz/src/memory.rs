//! Counts the memory that an input makes its target ask for.
//!
//! The allocator of the whole program counts each thread's live bytes and their peak. [`measured`] reports the peak of
//! one call; the engine compares it with [`MEMORY_LIMIT_BYTES`]. A target that asks for far more would take the machine
//! down before it returns, so past [`EXHAUSTION_BYTES`] the allocator itself saves the running input and ends the process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::{fs, process};

/// Bytes that a target may hold at once beyond what was there before: the limit that makes an input a failure.
pub const MEMORY_LIMIT_BYTES: usize = 256 << 20;

/// Live bytes of a thread at which waiting for the target to return is no longer safe.
const EXHAUSTION_BYTES: isize = 4 * MEMORY_LIMIT_BYTES.cast_signed();

thread_local! {
    /// Bytes that this thread allocated less those that it freed: negative where it frees what others allocated.
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

static EXHAUSTED: AtomicBool = AtomicBool::new(false);

/// Where the running input goes when memory is exhausted, and the input itself.
static RUNNING: Mutex<(Option<PathBuf>, Vec<u8>)> = Mutex::new((None, Vec::new()));

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The system's allocator, counted.
struct Counting;

// SAFETY: every call goes to `System` with the arguments it came with, and what `System` returns is returned; counting
// touches no memory that is handed out.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller keeps `GlobalAlloc`'s contract, which is `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        shrink(layout.size());
        // SAFETY: as in `alloc`; `pointer` came from `System` because all of this allocator's pointers do.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        grow(new_size);
        shrink(layout.size());
        // SAFETY: as in `dealloc`.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

fn grow(n_bytes: usize) {
    let live = LIVE.get().saturating_add_unsigned(n_bytes);
    LIVE.set(live);
    PEAK.set(PEAK.get().max(live));
    if live > EXHAUSTION_BYTES && !EXHAUSTED.swap(true, Relaxed) {
        exhausted();
    }
}

fn shrink(n_bytes: usize) {
    LIVE.set(LIVE.get().saturating_sub_unsigned(n_bytes));
}

/// Saves the running input and ends the process; allocates, which `EXHAUSTED` allows once.
fn exhausted() -> ! {
    let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let (path, input) = &*running;
    eprintln!("the target asks for more than {} MiB", EXHAUSTION_BYTES >> 20);
    if let Some(path) = path {
        match fs::write(path, input) {
            Ok(()) => eprintln!("the input is in {}", path.display()),
            Err(error) => eprintln!("the input could not be written to {}: {error}", path.display()),
        }
    }
    process::exit(1)
}

/// From now on, writes the running input to `path` when memory is exhausted.
pub fn save_input_at_exhaustion(path: PathBuf) {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner).0 = Some(path);
}

/// Runs `work` on `input`; returns with its result the most bytes it held at once.
pub(crate) fn measured<T>(input: &[u8], work: impl FnOnce(&[u8]) -> T) -> (T, usize) {
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    running.1.clear();
    running.1.extend_from_slice(input);
    drop(running);
    let before = LIVE.get();
    PEAK.set(before);
    let result = work(input);
    (result, PEAK.get().abs_diff(before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_counts_what_is_freed_again() {
        let n_bytes = 8 << 20;
        let ((), peak) = measured(&[], |_| drop(Vec::<u8>::with_capacity(n_bytes)));
        assert!((n_bytes..2 * n_bytes).contains(&peak), "{peak}");
    }
}
