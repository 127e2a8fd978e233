//! How much memory this process may take: the system's word, and that of its control groups where they allow less.
//!
//! A [`Room`] is a bound and what is left below it. There is one for the machine and one for every control group with a
//! limit. [`available_memory`] is asked when a budget is chosen; who has to look again and again
//! keeps `Groups`, whose files stay open. What is done about a shortage is not decided here.

#[cfg(target_os = "linux")]
mod group;
mod peak;
#[cfg(target_os = "linux")]
mod reread;
mod room;

#[cfg(target_os = "linux")]
pub(crate) use group::{Groups, unified_folders};
pub use peak::peak_memory;
#[cfg(target_os = "linux")]
pub(crate) use reread::{Reread, value};
pub(crate) use room::Room;
pub use room::available_memory;
