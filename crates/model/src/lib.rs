//! What a GGUF file says: its header, the model it describes, its tokenizer and its chat template.
//!
//! [`gguf::Gguf`] is the parsed header. [`ModelSpec`] describes the network as data (closed enums, one tensor reference
//! for every weight), [`Tokenizer`] turns text into token ids and back, [`ChatTemplate`] renders messages.
//!
//! Deliberately absent: reading tensor bytes (the `store` crate does) and arithmetic (the `kernels` and `forward` crates).

mod error;
pub mod gguf;

pub use error::ModelError;
