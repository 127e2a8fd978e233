//! The forward pass: from tokens to logits.
//!
//! Start with `pass.rs`, which is the whole pass. Every kind of work is one [`Batch`] of [`Segment`]s; a [`Backend`] runs
//! the arithmetic, of which [`CpuBackend`] is one. Engines see a [`LanguageModel`] and know nothing of tensors.
//!
//! Deliberately absent: text, sampling, requests.

mod batch;
mod cpu;
mod error;
mod footprint;
mod kv;
mod language_model;
mod logits;
mod measure;
mod ops;
mod pass;
mod placement;
mod projection;
mod rotations;
mod runner;
mod scratch;
mod seq_id;
mod vectors;

pub use batch::{Batch, LogitRows, Segment};
pub use cpu::backend::{CpuBackend, CpuOptions};
pub use cpu::cores::auto_threads;
pub use cpu::footprint::CpuFootprint;
pub use cpu::kv::spill::KvSpill;
pub use error::ForwardError;
pub use footprint::Footprint;
pub use kernels::KvType;
pub use kv::ops::KvOps;
pub use kv::page::{KvRow, PAGE_TOKENS, PageId};
pub use kv::pages::KvPages;
pub use kv::sequences::Sequences;
pub use kv::window::Window;
pub use language_model::LanguageModel;
pub use logits::Logits;
pub use measure::weight_bytes_per_second;
pub use ops::{AttendShape, Backend, Device, Ops, Projection};
pub use placement::{Placement, Row};
pub use runner::{Runner, RunnerOptions};
pub use scratch::{BatchSize, activation_bytes};
pub use seq_id::SeqId;
