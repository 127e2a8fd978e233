//! A watch on memory pressure, which tells the store to keep fewer weights before the system starts to swap.
//!
//! A `Watch` looks at the system from time to time, on the thread that runs the pass. It sees an `Observation`, gathered by
//! one file per operating system, from which the pure `Decision` derives a `StepDown`. There is no step up: what is taken
//! back would soon have to be given up again.
//!
//! Deliberately absent: which weights go.

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
