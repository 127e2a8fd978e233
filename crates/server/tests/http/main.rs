//! The server with a tiny model, over HTTP: what clients of each API hear, and what all of them hear when something is wrong.

mod anthropic;
mod openai;
mod openapi;
mod support;
mod transport;
