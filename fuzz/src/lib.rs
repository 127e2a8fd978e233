//! Throws damaged inputs at what reads untrusted bytes.
//!
//! A [`Target`] is a function that must survive any input, with the seeds that mutation starts from. [`fuzz`] mutates
//! and runs them, keeps inputs that reach something new, and stops at the first panic or at more than
//! [`MEMORY_LIMIT_BYTES`] of memory, with the input that did it. Runs with the same seed and count are the same.
//!
//! What is new is told by coverage counters where the crate is compiled with `-C instrument-coverage`, which stable
//! Rust has, and else by the target's outcome alone. Deliberately absent: corpora on disk; the seeds are code.

mod coverage;
mod engine;
mod gguf_seeds;
mod memory;
mod mutate;
mod target;

pub use engine::{Failure, Plan, Report, fuzz};
pub use memory::{MEMORY_LIMIT_BYTES, save_input_at_exhaustion};
pub use target::{TARGETS, Target};
