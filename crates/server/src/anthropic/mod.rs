//! Anthropic's API, `/v1/messages`, as its clients and coding agents use it.
//!
//! `request` reads a request, `conversation` turns it into what a chat template sees, `messages` answers it and `reply` writes
//! the answer. Tools that Anthropic's own server would run, caching hints and beta headers are accepted and ignored.
//! Source: Anthropic's Messages API, version 2023-06-01.

mod conversation;
pub(crate) mod description;
pub(crate) mod errors;
pub(crate) mod messages;
mod reply;
mod request;
