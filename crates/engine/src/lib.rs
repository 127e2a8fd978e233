//! Sequences and time: from a prompt to a text.
//!
//! [`ModelFile::open`] understands a file and [`ModelFile::load`] makes it a [`LoadedModel`]; a [`Scheduler`] continues
//! prompts, one or many in the same passes, telling an observer [`Event`]s as they happen; a [`Service`] does so on a thread
//! of its own. [`score()`] measures how well a
//! text is predicted. The [`Sampler`] chooses tokens and the [`StopMatcher`] ends texts.
//!
//! Deliberately absent: tensors, flags, HTTP.

mod constraint;
mod engine;
mod error;
mod fingerprint;
mod kv_share;
mod load;
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
pub use load::{DiskSpeed, EngineOptions, LoadedModel, MachineSpeed, ModelFile, load_tokenizer};
pub use passes::{Pass, PassesRequest, TimedPasses, time_passes};
pub use perplexity::{Score, ScoreRequest, score};
pub use prompt_cache::CacheStats;
pub use request::{Event, FinishReason, GenerateRequest, Generation, Overflow, StepLogprobs, Timings};
pub use sampler::{Sampler, SamplingError, SamplingOptions, TokenLogprob};
pub use scheduler::{Limits, Load};
pub use service::{Listener, Reply, Service, ServiceOptions, Snapshot, Ticket, Totals};
pub use stop::{StopMatcher, StopOutcome};
