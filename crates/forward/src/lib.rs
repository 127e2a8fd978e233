//! The forward pass: from tokens to logits.
//!
//! Start with [`Runner`] in `runner.rs`, which is the whole pass, and follow it into `attention.rs` and
//! `feed_forward.rs`. Every kind of work is one [`Batch`] of [`Segment`]s; what runs the arithmetic is a [`Backend`],
//! of which [`CpuBackend`] is one. Engines see a [`LanguageModel`] and know nothing of tensors.
//!
//! Deliberately absent: text, sampling, requests.

mod attention;
mod backend;
mod batch;
mod cpu;
mod error;
mod feed_forward;
mod kv;
mod language_model;
mod measure;
mod rope;
mod runner;
mod scratch;

pub use backend::{AttendShape, Backend, Projection};
pub use batch::{Batch, LogitRows, Logits, Placement, Row, Segment, SeqId};
pub use cpu::{CpuBackend, CpuOptions, auto_threads};
pub use error::ForwardError;
pub use kernels::KvType;
pub use kv::{KvOps, KvSpill, PAGE_TOKENS, PageId, Sequences, Window};
pub use language_model::LanguageModel;
pub use measure::weight_bytes_per_second;
pub use runner::{Runner, RunnerOptions};
pub use scratch::{BatchSize, activation_bytes};
