//! One file a target.

pub(crate) mod gguf;
mod gguf_seeds;
pub(crate) mod grammar;
pub(crate) mod http;
pub(crate) mod prompt_cache;
pub(crate) mod template;
pub(crate) mod tokenizer;
