//! Requests and generations: the input and output of the engine.

use std::time::Duration;

use model::{Pooling, TokenId};
use store::ReadStats;

use crate::constraint::matcher::Constraint;
use crate::sampler::logprobs::TokenLogprob;
use crate::sampler::options::SamplingOptions;

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
    /// How a full context is handled.
    pub overflow: Overflow,
    /// Returns the prompt's hidden states instead of an answer.
    pub pooling: Option<Pooling>,
    /// Keeps the generated text in a grammar. One that may be ended by [`GenerateRequest::max_tokens`] may be incomplete.
    pub constraint: Option<Constraint>,
}

/// How prompts and answers longer than the context are handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The prompt is rejected, the answer ends.
    #[default]
    Stop,
    /// The oldest tokens after the first `n_keep` are dropped, half of them at a time, and the rest is prefilled again.
    Shift {
        /// Tokens at the beginning that stay.
        n_keep: usize,
    },
}

/// An unlimited answer may fill the context at most this many times.
const MAX_ROUNDS: usize = 10;

impl GenerateRequest {
    /// The most tokens of an answer, in a context of `ctx` tokens.
    pub(crate) fn max_answer(&self, ctx: usize) -> usize {
        let most = match self.overflow {
            _ if self.pooling.is_some() => 0,
            Overflow::Stop => ctx - self.prompt.len(),
            Overflow::Shift { .. } => MAX_ROUNDS * ctx,
        };
        self.max_tokens.unwrap_or(most).min(most)
    }
}

impl Overflow {
    /// Drops the oldest tokens of a context that is full, or of a prompt that does not fit; whether there is room then.
    pub(crate) fn make_room(self, tokens: &mut Vec<TokenId>, ctx: usize) -> bool {
        let Overflow::Shift { n_keep } = self else { return tokens.len() < ctx };
        if tokens.len() < ctx {
            return true;
        }
        // A prompt and a token of an answer need two places.
        if ctx < 2 {
            return false;
        }
        // So that half of the rest of the context is free, and the sum of several drops is that of one.
        let n_keep = n_keep.min(ctx / 2);
        let half = ((ctx - n_keep) / 2).max(1);
        let n_drop = (tokens.len() - ctx) / half * half + half;
        tokens.drain(n_keep..n_keep + n_drop);
        tokens.len() < ctx
    }
}

/// What happens while a request runs.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// A part of the prompt has been prefilled.
    Prefill {
        /// Tokens prefilled so far.
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
        /// Its log-probability, if that was asked for.
        logprobs: Option<&'a StepLogprobs>,
    },
    /// A pass was interrupted; it is repeated for the sequences that go on.
    Interrupted,
    /// The generation has ended, and this text was held back in case a stop text or a character would be completed.
    Rest {
        /// Whole characters.
        text: &'a str,
    },
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended its answer, or its constraint did, or a stop text came up.
    Stop,
    /// The token limit was reached, or the context is full.
    Length,
    /// The caller cancelled it.
    Cancelled,
}

/// A finished generation.
#[derive(Clone, Debug)]
pub struct Generation {
    /// The whole text.
    pub text: String,
    /// Hidden states `[dim]`, where they were wanted.
    pub hidden: Vec<f32>,
    /// Every generated token, without the one that ended the answer.
    pub tokens: Vec<TokenId>,
    /// One entry a token, if they were asked for.
    pub logprobs: Vec<StepLogprobs>,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Prompt tokens that were cached.
    pub cached_tokens: usize,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// The stop text that ended it, if one did.
    pub stop_text: Option<String>,
    /// How long it took.
    pub timings: Timings,
    /// Reads up to the first token.
    pub prefill_reads: ReadStats,
    /// Reads after it.
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
    /// Tokens per second after the first, or 0 if there were none.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_made_behind_the_first_tokens() {
        let shift = Overflow::Shift { n_keep: 4 };
        for len in 0..100u32 {
            let all: Vec<u32> = (0..len).collect();
            let mut tokens = all.clone();
            assert!(shift.make_room(&mut tokens, 20), "{len}");
            assert_eq!(tokens[..tokens.len().min(4)], all[..all.len().min(4)]);
            assert!(all.ends_with(&tokens[tokens.len().min(4)..]));
            assert!(if len < 20 { tokens == all } else { (12..20).contains(&tokens.len()) }, "{len}: {tokens:?}");
        }
        for ctx in 2..9 {
            let mut tokens = vec![7; 30];
            assert!(shift.make_room(&mut tokens, ctx) && !tokens.is_empty(), "{ctx}");
        }
        assert!(!shift.make_room(&mut vec![7; 3], 1));
        let mut tokens = vec![0; 20];
        assert!(!Overflow::Stop.make_room(&mut tokens, 20) && tokens.len() == 20);
        assert!(Overflow::Shift { n_keep: 99 }.make_room(&mut tokens, 20));
    }
}
