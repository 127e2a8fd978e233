//! Reads GGUF files: the header, the model that it describes, the tokenizer and the chat template.
//!
//! [`gguf::Gguf`] is the parsed header. [`ModelSpec`] describes the network as data (closed enums, one tensor reference
//! for every weight), [`Tokenizer`] turns text into token ids and back, [`ChatTemplate`] renders messages.
//!
//! Deliberately absent: reading tensor bytes (the `store` crate does) and arithmetic (the `kernels` and `forward` crates).

mod arch;
mod chat_template;
mod error;
pub mod gguf;
mod spec;
mod tokenizer;

pub use chat_template::{ChatTemplate, RenderOptions};
pub use error::ModelError;
pub use spec::{
    Attention, Branch, Dense, Layer, Linear, Matrix, Mixer, ModelSpec, Norm, Part, Pooling, Residual, Rope, TensorId,
    Use, Vector, When,
};
pub use tokenizer::{EncodeOptions, SpecialTokens, TextDecoder, TokenId, Tokenizer};
