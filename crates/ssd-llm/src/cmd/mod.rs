//! The commands, one file each.

pub(crate) mod bench;
mod cache;
pub(crate) mod chat;
pub(crate) mod info;
pub(crate) mod perplexity;
pub(crate) mod plan;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod tokenize;
