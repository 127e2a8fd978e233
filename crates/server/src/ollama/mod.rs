//! Ollama's API, `/api/*`, as its clients use it.
//!
//! Answers are streamed as lines of JSON unless a request says otherwise. Durations are in nanoseconds; zero values are left
//! out. Source: ollama's `docs/api.md` and `api/types.go`.

pub(crate) mod chat;
pub(crate) mod description;
pub(crate) mod embed;
pub(crate) mod generate;
mod go_template;
pub(crate) mod library;
mod lines;
mod options;
pub(crate) mod reply;
