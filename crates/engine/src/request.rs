//! What goes into a generation and what comes out of it.

use std::time::Duration;

use model::TokenId;
use store::ReadStats;

use crate::{SamplingOptions, TokenLogprob};

/// A request to continue a prompt.
#[derive(Clone, Debug, Default)]
pub struct GenerateRequest {
    /// The prompt, special tokens included.
    pub prompt: Vec<TokenId>,
    /// Most tokens to generate; `None` goes on until the model ends or the context is full.
    pub max_tokens: Option<usize>,
    /// How the next token is chosen.
    pub sampling: SamplingOptions,
    /// Texts that end the generation and are not part of it.
    pub stop: Vec<String>,
    /// With how many alternatives each token's log-probability is reported, if at all.
    pub logprobs: Option<usize>,
}

impl GenerateRequest {
    /// Tokens that prompt and answer may have together in a context of `ctx` tokens, into which the prompt fits.
    pub(crate) fn max_len(&self, ctx: usize) -> usize {
        let room = ctx - self.prompt.len();
        self.prompt.len() + self.max_tokens.unwrap_or(room).min(room)
    }
}

/// What happens while a request runs.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// The prompt has been taken in up to here, of so many tokens.
    Prefill {
        /// Tokens taken in.
        done: usize,
        /// Tokens of the prompt.
        total: usize,
    },
    /// A token was generated; `text` is what can be shown now, which may be nothing yet or more than this token's.
    Token {
        /// The token.
        id: TokenId,
        /// Whole characters that belong to no stop text.
        text: &'a str,
    },
    /// The generation has ended, and this text was held back in case a stop text or a character would be completed.
    Rest {
        /// Whole characters.
        text: &'a str,
    },
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended its answer, or a stop text came up.
    Stop,
    /// The limit of tokens was reached, or the context is full.
    Length,
    /// The caller wanted no more.
    Cancelled,
}

/// A finished generation.
#[derive(Clone, Debug)]
pub struct Generation {
    /// The whole text.
    pub text: String,
    /// Every generated token, without the one that ended the answer.
    pub tokens: Vec<TokenId>,
    /// One entry a token, if they were asked for.
    pub logprobs: Vec<StepLogprobs>,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Of them, those that had been computed before.
    pub cached_tokens: usize,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Where the time went.
    pub timings: Timings,
    /// What was read up to the first token.
    pub prefill_reads: ReadStats,
    /// What was read after it.
    pub decode_reads: ReadStats,
}

/// The log-probability of a chosen token and of its best rivals, natural logarithm, before sampling's changes.
#[derive(Clone, Debug)]
pub struct StepLogprobs {
    /// The chosen token.
    pub chosen: TokenLogprob,
    /// The most probable tokens, best first.
    pub top: Vec<TokenLogprob>,
}

/// Where the time of a generation went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timings {
    /// From the start to the first token's logits.
    pub prefill: Duration,
    /// From there to the end.
    pub decode: Duration,
    /// Passes after the prefill.
    pub decode_passes: usize,
}

impl Timings {
    /// Tokens a second after the first, or 0 if there were none.
    pub fn tokens_per_second(&self) -> f64 {
        if self.decode_passes == 0 { 0.0 } else { self.decode_passes as f64 / self.decode.as_secs_f64() }
    }
}

impl FinishReason {
    /// The word that APIs and `--json` use.
    pub fn name(self) -> &'static str {
        match self {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
            FinishReason::Cancelled => "cancelled",
        }
    }
}
