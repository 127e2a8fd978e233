//! Readers: how bytes get from files into slots.
//!
//! A `Reader` takes requests without blocking and hands slots back once they are full, in any order. `OpenFiles` chooses
//! the reader for an [`IoMode`]: io_uring, a pool of threads, or a pool that faults in a mapping. `Throttled` paces any of
//! them.
//!
//! Deliberately absent: what to read and when.

mod bus_guard;
mod cached;
pub(crate) mod mapping;
pub(crate) mod mode;
pub(crate) mod open_file;
pub(crate) mod open_files;
pub(crate) mod pread;
pub(crate) mod reader;
mod short_reads;
pub(crate) mod span;
pub(crate) mod throttled;
mod unnamed;
#[cfg(target_os = "linux")]
mod uring;

pub use cached::forget_file;
pub use mode::IoMode;
pub use unnamed::warn_if_in_memory;
