//! How much memory this process may use, according to the system and to its control groups.
//!
//! A `Room` is a limit and what is left below it: one for the machine, and one for every control group with a limit.
//! [`available_memory`] serves the choice of a budget; the watch on memory pressure keeps `Groups`, whose files stay open.
//!
//! Deliberately absent: what to do about a shortage.

mod available;
#[cfg(target_os = "linux")]
pub(crate) mod group;
mod peak;
#[cfg(target_os = "linux")]
pub(crate) mod reread;
pub(crate) mod room;

pub use available::available_memory;
pub use peak::peak_memory;
