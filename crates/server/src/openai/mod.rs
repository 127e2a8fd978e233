//! OpenAI's API, `/v1/*`, as its clients use it, with common extensions of llama.cpp and vLLM.
//!
//! `chat` and `responses` hold conversations and share `ask`; `completions` continues a text without a template, in the same
//! `envelope` as chats. Streams are events that end with `[DONE]`, except for `responses`, whose events have names. Unknown
//! fields are ignored, and `null` counts as absent. Source: OpenAI's API reference.

mod ask;
mod chat;
mod chat_writer;
mod completions;
pub(crate) mod description;
mod embeddings;
mod envelope;
mod logprobs;
mod models;
pub(crate) mod reply;
mod responses;
pub(crate) mod routes;
mod sampling;
#[cfg(test)]
mod testing;
mod usage;
