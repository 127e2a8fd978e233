//! The GGUF container: header, metadata and tensor table, versions 2 and 3.
//!
//! [`Gguf::open`] reads the header alone, never tensor data, in one sequential pass, and those of the other files when
//! the model is split into several. [`Metadata`] holds the key-value table, [`TensorInfo`] says what each tensor is and
//! where its bytes lie, [`GgufFile`] and [`FileStamp`] which files were read.
//!
//! Every count and length is checked against the bytes that are left in the file, and against a named limit, before
//! anything is allocated: a hostile file gets an error and costs no more memory than a few times its header's size.
//! Deliberately absent: reading tensor bytes, the meaning of keys (but `general.alignment` and
//! `split.*`) and of tensor names.

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
