//! testkit

mod gguf_writer;

pub use gguf_writer::{GgufElement, GgufValue, GgufWriter, ggml_type};
