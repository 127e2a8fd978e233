//! Sequences and time: from a prompt to a text.
//!
//! [`ModelFile::open`] reads a file's header and [`ModelFile::load`] makes it a [`LoadedModel`]. An [`Engine`] continues
//! prompts with it, many in the same passes, and reports [`Event`]s as they happen; a [`Service`] runs an engine on a
//! thread. [`score()`] measures how well a model predicts a text.
//!
//! Deliberately absent: tensors, flags, HTTP.

mod constraint;
mod engine;
mod error;
mod fingerprint;
mod kv_share;
mod load;
mod options;
mod pace;
mod passes;
mod perplexity;
mod prompt_cache;
mod request;
mod sampler;
mod scheduler;
mod sequence;
mod service;
mod sizing;
mod stop;

pub use constraint::{CallFormat, Constraint, Grammar, GrammarCompiler, TokenMask, Tool, ToolCalls, ToolChoice};
pub use engine::{Engine, Finished};
pub use error::EngineError;
pub use load::{DiskSpeed, LoadedModel, MachineSpeed, ModelFile, load_tokenizer};
pub use options::EngineOptions;
pub use passes::{Pass, PassesRequest, TimedPasses, time_passes};
pub use perplexity::{Score, ScoreRequest, score};
pub use prompt_cache::CacheStats;
pub use request::{Event, FinishReason, GenerateRequest, Generation, Overflow, StepLogprobs, Timings};
pub use sampler::{Sampler, SamplingError, SamplingOptions, TokenLogprob};
pub use scheduler::{Limits, Load};
pub use service::{Listener, Reply, Service, ServiceOptions, Snapshot, Ticket, Totals};
pub use stop::{StopMatcher, StopOutcome};
