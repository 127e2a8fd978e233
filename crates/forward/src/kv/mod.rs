//! The KV cache's bookkeeping.
//!
//! The cache is cut into pages of [`PAGE_TOKENS`](page::PAGE_TOKENS) tokens, each with the keys and values of all layers.
//! [`Sequences`](sequences::Sequences) knows which sequence has which pages and how long it is; a backend's
//! [`KvPages`](pages::KvPages) hold the bytes. Sequences with a common prefix share its pages; the first to write to a
//! shared page gets a copy. Discarding tokens is bookkeeping alone: what lies past a sequence's length is never read.

pub(crate) mod ops;
mod owners;
pub(crate) mod page;
pub(crate) mod pages;
pub(crate) mod sequences;
pub(crate) mod window;
