//! OpenAI's API, `/v1/*`, as its clients use it, with common extensions of llama.cpp and vLLM.
//!
//! `chat` and `responses` hold conversations and share `ask`; `completions` continues a text without a template, in the same
//! `envelope` as chats. Streams are events that end with `[DONE]`, except for `responses`, whose events have names. Unknown
//! fields are ignored, and `null` counts as absent. Source: OpenAI's API reference.

mod ask;
pub(crate) mod chat;
mod chat_writer;
pub(crate) mod completions;
pub(crate) mod description;
pub(crate) mod embeddings;
mod envelope;
mod logprobs;
pub(crate) mod models;
pub(crate) mod reply;
pub(crate) mod responses;
mod sampling;
#[cfg(test)]
mod testing;
mod usage;
