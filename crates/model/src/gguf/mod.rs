//! The GGUF container: header, metadata and tensor table, versions 2 and 3.
//!
//! [`Gguf::open`] reads only headers, each in one sequential pass: that of the file, and those of the other files if the
//! model is split. [`Metadata`] holds the key-value table, [`TensorInfo`] describes a tensor and locates its bytes,
//! [`GgufFile`] and [`FileStamp`] identify the files that were read.
//!
//! Every count and length is checked against the bytes left in the file, and against a named limit, before anything is
//! allocated: a hostile file gets an error and costs at most a few times its header's size in memory.
//! Deliberately absent: reading tensor bytes, and the meaning of keys (except `general.alignment` and `split.*`) and of
//! tensor names.

pub(crate) mod container;
mod file;
mod ggml_types;
mod header;
mod limits;
pub(crate) mod metadata;
mod metadata_reader;
mod not_gguf;
mod printable;
mod reader;
mod split;
mod split_keys;
pub(crate) mod tensor;
mod tensor_table;
pub(crate) mod value;

pub use container::Gguf;
pub use file::{FileStamp, GgufFile};
pub use metadata::Metadata;
pub use tensor::TensorInfo;
pub use value::{Array, StringArray, Value};
