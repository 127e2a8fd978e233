//! Records that memory has no room for, in a file of their own.
//!
//! A [`SpillFile`] has places for records that all have the same parts; for a KV cache a record is a page of tokens and a
//! part what one layer has of it. Records are written whole, a few at once. They are read part by part in the order of a
//! pass, part `n` of all that are wanted before part `n + 1` of any, and around into the next pass: two buffers hold one
//! part each, so that one is read while the other is in use.
//!
//! Deliberately absent: which record lies where and which are wanted, and any meaning of their bytes.

mod file;
mod layout;
mod read_ahead;

pub use file::SpillFile;
pub use read_ahead::SpilledPart;
