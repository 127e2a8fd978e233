//! The error type of this crate.

use std::sync::Arc;

use forward::ForwardError;
use model::ModelError;
use store::{PlanError, StoreError, size};

use crate::sampler::options::SamplingError;

/// Why a model did not load or a request did not finish.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The file is not a model that runs here.
    #[error("{}", name_once(.path, .source))]
    Model {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: ModelError,
    },
    /// The model's head size does not suit the KV type.
    #[error("--kv-type {kv_type} cannot store this model's head size of {dim}; use --kv-type f16")]
    KvType {
        /// The KV type.
        kv_type: &'static str,
        /// The head size.
        dim: usize,
    },
    /// The KV budget is too small for a pass.
    #[error(
        "this --kv-budget is too small: a pass needs {}; use --kv-budget {} or more",
        size::show(*.least), size::flag(*.least)
    )]
    KvBudget {
        /// The smallest that works, in bytes.
        least: u64,
    },
    /// The file could not be read to identify it.
    #[error("{path}: {source}")]
    Fingerprint {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A pass failed.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// A pass that several sequences shared failed.
    #[error("{0}")]
    Pass(Arc<ForwardError>),
    /// Too many requests wait.
    #[error("{max} requests are waiting already: try again later")]
    QueueFull {
        /// The limit.
        max: usize,
    },
    /// The service is shutting down.
    #[error("the server is shutting down")]
    Stopping,
    /// The engine's thread has ended unexpectedly.
    #[error("the engine has stopped: start the server again")]
    Stopped,
    /// The engine's thread could not be started.
    #[error("cannot start the engine's thread: {0}")]
    Thread(std::io::Error),
    /// The folder of the prompt cache cannot be used.
    #[error("cannot use {path} as a prompt cache: {source}")]
    CacheFolder {
        /// The folder.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The model's file was replaced after it was first loaded.
    #[error("{path} was replaced while this program was running: restart it")]
    Replaced {
        /// The file.
        path: String,
    },
    /// Weights could not be opened or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The budget is too small.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A sampling option is out of its range, or no token could be chosen.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// A grammar, schema or regular expression does not compile, or became too complex while matching.
    #[error("the grammar cannot be used: {message}")]
    Grammar {
        /// What is wrong with it.
        message: String,
    },
    /// A prompt has no tokens.
    #[error("the prompt is empty: give some text")]
    EmptyPrompt,
    /// A prompt leaves no room for an answer.
    #[error("the prompt has {prompt} tokens, but the context holds {ctx}: use --ctx {} or more, or a shorter prompt", .prompt + 1)]
    PromptTooLong {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens of the context.
        ctx: usize,
    },
    /// The context is longer than the model was trained on.
    #[error("--ctx {ctx} is more than the {trained} tokens that the model was made for; use --ctx {trained} or less")]
    ContextTooLong {
        /// The requested length.
        ctx: usize,
        /// The model's limit.
        trained: usize,
    },
    /// The text is too short to score a single window.
    #[error(
        "the text has {tokens} tokens, but scoring needs at least one window of {window}: use a longer text or a smaller --ctx"
    )]
    TextTooShort {
        /// Tokens of the text.
        tokens: usize,
        /// Tokens of a window.
        window: usize,
    },
}

/// The file and what is wrong with it, unless that names the file already.
fn name_once(path: &str, source: &ModelError) -> String {
    let problem = source.to_string();
    if problem.contains(path) { problem } else { format!("{path}: {problem}") }
}
