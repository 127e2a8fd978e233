//! A watch on memory pressure: it tells the store to keep fewer weights before the system starts to swap.
//!
//! A [`Watch`] looks at the system now and then from the thread that runs the pass. What it sees is an `Observation`,
//! gathered by one file for each operating system; what follows from it is decided by `Decision`, which is pure. A
//! `StepDown` is its answer. There is no step up: who gives back what was taken away gets to take it away again.
//! Which weights go is the store's business.

mod decision;
#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod system;
#[cfg(target_os = "macos")]
#[path = "macos.rs"]
mod system;
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
#[path = "elsewhere.rs"]
mod system;
pub(crate) mod watch;
