//! Spilling records to a file when memory has no room for them.
//!
//! A [`SpillFile`] has places for records that all consist of the same parts; for a KV cache, a record is a page of tokens
//! and a part is one layer's share of it. Records are written whole, a few at once. They are read part by part in the order
//! of a pass, part `n` of all that are wanted before part `n + 1` of any, and around into the next pass: two buffers hold
//! one part each, so that one is read while the other is in use.
//!
//! Deliberately absent: which record is in which place, which are wanted, and what their bytes mean.

mod file;
mod layout;
mod read_ahead;

pub use file::SpillFile;
pub use read_ahead::SpilledPart;
