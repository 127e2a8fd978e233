//! How much memory this process may take: the system's word, and that of its control groups where they allow less.
//!
//! A [`Room`] is a bound and what is left below it. There is one for the machine and one for every control group with a
//! limit. [`available_memory`] is asked when a budget is chosen; who has to look again and again
//! keeps `Groups`, whose files stay open. What is done about a shortage is not decided here.

mod available;
#[cfg(target_os = "linux")]
pub(crate) mod group;
mod peak;
#[cfg(target_os = "linux")]
pub(crate) mod reread;
pub(crate) mod room;

pub use available::available_memory;
pub use peak::peak_memory;
