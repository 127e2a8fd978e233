//! `/v1/responses`: a conversation in items, whose stream is events with names.
//!
//! Nothing is kept: a request brings the whole conversation. An answer that its limit or the context has cut short ends as
//! `incomplete`, in its status and in the last event, as on OpenAI's own server.

pub(crate) mod handler;
mod input;
mod writer;
