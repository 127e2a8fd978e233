//! Test support that shares no code with what it tests: it depends on no crate of the workspace.
//!
//! - [`GgufWriter`]: GGUF files, valid and invalid ones.
//! - [`TinyModel`]: a small random model of a real architecture, as a file and as exact weights.
//! - [`mod@reference`]: its logits in f64, straight from the definitions.
//! - [`compare`]: distances between an engine's logits and the reference's.
//! - [`temp_model()`]: a model file that is deleted at the end of a test.
//! - [`real_model()`]: the real model, or one line that says how to get it.
//! - [`write_parts()`]: the files of a split model.

pub mod compare;
mod gguf_value;
mod gguf_writer;
mod random_matrix;
mod real_model;
pub mod reference;
mod split_files;
mod temp_model;
mod tensor_type;
mod tiny_gguf;
mod tiny_model;
mod tiny_settings;
mod tiny_vocab;

pub use gguf_value::{GgufElement, GgufValue, ggml_type};
pub use gguf_writer::GgufWriter;
pub use random_matrix::Matrix;
pub use real_model::real_model;
pub use split_files::write_parts;
pub use temp_model::temp_model;
pub use tensor_type::TensorType;
pub use tiny_model::{Architecture, Output, TinyLayer, TinyModel, TinySpec};
pub use tiny_vocab::{CHATML, Vocabulary};
