//! Keys and values on the CPU: in memory, or in memory and a file.

pub(crate) mod cache;
pub(super) mod layout;
mod memory;
pub(crate) mod spill;
