//! Ollama's API, `/api/*`, as its clients use it.
//!
//! Answers are streamed as lines of JSON unless a request says otherwise. Durations are in nanoseconds; zero values are left
//! out. Source: ollama's `docs/api.md` and `api/types.go`.

mod chat;
pub(crate) mod description;
mod embed;
mod generate;
mod go_template;
mod library;
mod lines;
mod options;
pub(crate) mod reply;
pub(crate) mod routes;
