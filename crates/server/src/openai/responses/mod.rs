//! `/v1/responses`: a conversation in items, streamed as named events.
//!
//! Responses are not stored: a request brings the whole conversation. An answer that a limit or the context cuts short ends as
//! `incomplete`, in its status and in the last event, as on OpenAI's own server.

pub(crate) mod handler;
mod input;
mod writer;
