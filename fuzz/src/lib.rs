//! Fuzz targets: everything that reads bytes from strangers.
//!
//! A [`Target`] is a function that must survive any input, with the seeds that mutation starts from; [`TARGETS`] lists them.
//! The tests run every target on its seeds. `scripts/fuzz.sh` mutates them with libFuzzer, guided by coverage.
//!
//! Deliberately absent: corpora in the repository; the seeds are code and cannot fall behind the formats.

mod messages;
mod target;
mod targets;

pub use target::{TARGETS, Target};
