//! The GGUF container: header, metadata and tensor table, versions 2 and 3.
//!
//! [`Gguf::open`] reads the header alone, never tensor data. Every count and length is checked against the bytes that
//! are left in the file before anything is allocated, so a hostile file costs no more memory than its own size.

mod metadata;
mod value;

pub use metadata::Metadata;
pub use value::{Array, StringArray, Value};
