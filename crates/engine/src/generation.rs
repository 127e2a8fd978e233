//! One generation's own state: what was said so far, and what is chosen, shown and counted next.

use std::ops::ControlFlow;
use std::time::Instant;

use forward::Logits;
use model::{SpecialTokens, TextDecoder, TokenId, Tokenizer};
use store::ReadStats;

use crate::EngineError;
use crate::request::{Event, FinishReason, GenerateRequest, Generation, StepLogprobs, Timings};
use crate::sampler::{Sampler, logprob_of, top_logprobs};
use crate::stop::StopMatcher;

/// Where a generation's events go; breaking from it cancels.
pub(crate) type Listener<'a> = &'a mut dyn FnMut(Event) -> ControlFlow<()>;

/// A generation on its way.
pub(crate) struct Running {
    prompt_tokens: usize,
    cached_tokens: usize,
    max_tokens: usize,
    n_logprobs: Option<usize>,
    sampler: Sampler,
    decoder: TextDecoder,
    stop: StopMatcher,
    /// The prompt, then what was generated.
    history: Vec<TokenId>,
    text: String,
    logprobs: Vec<StepLogprobs>,
    timings: Timings,
    /// When the prompt was begun, or when the first token's logits were there.
    since: Instant,
    /// What had been read when the prompt was begun, and when it had been taken in.
    at_start: ReadStats,
    after_prefill: Option<ReadStats>,
}

impl Running {
    /// Begins a request, at `since`, in a context of `ctx` tokens, of which the prompt leaves at least one free.
    pub(crate) fn new(request: GenerateRequest, ctx: usize, reads: ReadStats, since: Instant) -> Running {
        Running {
            prompt_tokens: request.prompt.len(),
            cached_tokens: 0,
            max_tokens: request.max_len(ctx) - request.prompt.len(),
            n_logprobs: request.logprobs,
            sampler: Sampler::new(&request.sampling),
            decoder: TextDecoder::default(),
            stop: StopMatcher::new(&request.stop),
            history: request.prompt,
            text: String::new(),
            logprobs: Vec::new(),
            timings: Timings::default(),
            since,
            at_start: reads,
            after_prefill: None,
        }
    }

    /// Remembers that so many tokens of the prompt need not be computed.
    pub(crate) fn found_cached(&mut self, n: usize) {
        self.cached_tokens = n;
    }

    /// The prompt, then what was generated.
    pub(crate) fn history(&self) -> &[TokenId] {
        &self.history
    }

    pub(crate) fn prompt(&self) -> &[TokenId] {
        &self.history[..self.prompt_tokens]
    }

    /// Tokens that the sequence may have in the end.
    pub(crate) fn max_len(&self) -> usize {
        self.prompt_tokens + self.max_tokens
    }

    /// The prompt has been taken in: from here on, time and reads are those of decoding.
    pub(crate) fn prefilled(&mut self, reads: &ReadStats) {
        self.timings.prefill = self.since.elapsed();
        self.since = Instant::now();
        self.after_prefill = Some(*reads);
    }

    /// Seconds that a token of the prompt took, of those that were computed.
    pub(crate) fn seconds_per_prompt_token(&self) -> f64 {
        self.timings.prefill.as_secs_f64() / (self.prompt_tokens - self.cached_tokens).max(1) as f64
    }

    /// Counts a pass after the prefill.
    pub(crate) fn decoded(&mut self) {
        self.timings.decode_passes += 1;
    }

    /// Chooses the next token by row `row` of the logits, and shows what can be shown; the reason if that ends the
    /// generation.
    pub(crate) fn choose(
        &mut self,
        logits: &Logits,
        row: usize,
        tokenizer: &Tokenizer,
        listener: Listener<'_>,
    ) -> Result<Option<FinishReason>, EngineError> {
        if self.n_generated() == self.max_tokens {
            return Ok(Some(FinishReason::Length));
        }
        let token = self.sampler.sample(logits.row(row), &self.history)?;
        if tokenizer.is_end_of_generation(token) {
            return Ok(Some(FinishReason::Stop));
        }
        let ended = self.take(token, logits.row(row), tokenizer, listener);
        let is_full = self.n_generated() == self.max_tokens;
        Ok(ended.or(is_full.then_some(FinishReason::Length)))
    }

    /// Adds a token to the text and shows what can be shown; the reason if that ends the generation.
    fn take(
        &mut self,
        token: TokenId,
        logits: &[f32],
        tokenizer: &Tokenizer,
        listener: Listener<'_>,
    ) -> Option<FinishReason> {
        self.history.push(token);
        if let Some(n) = self.n_logprobs {
            let chosen = logprob_of(logits, token);
            self.logprobs.push(StepLogprobs { chosen, top: top_logprobs(logits, n) });
        }
        let text = self.decoder.push(&tokenizer.piece(token, SpecialTokens::Hide));
        let outcome = self.stop.push(&text);
        self.text.push_str(&outcome.emit);
        let flow = listener(Event::Token { id: token, text: &outcome.emit });
        match (outcome.stopped, flow) {
            (true, _) => Some(FinishReason::Stop),
            (false, ControlFlow::Break(())) => Some(FinishReason::Cancelled),
            (false, ControlFlow::Continue(())) => None,
        }
    }

    fn n_generated(&self) -> usize {
        self.history.len() - self.prompt_tokens
    }

    /// Ends the generation. What was held back is shown, unless a stop text has ended it; a character that a limit has cut
    /// short is no part of the text.
    pub(crate) fn finish(mut self, reason: FinishReason, reads: &ReadStats, listener: Listener<'_>) -> Generation {
        let after_prefill = match &self.after_prefill {
            Some(after_prefill) => {
                self.timings.decode = self.since.elapsed();
                *after_prefill
            }
            None => {
                self.timings.prefill = self.since.elapsed();
                *reads
            }
        };
        let last = if reason == FinishReason::Stop { self.decoder.finish() } else { String::new() };
        let outcome = self.stop.push(&last);
        let rest = outcome.emit + &self.stop.finish();
        if !rest.is_empty() {
            self.text.push_str(&rest);
            // Nothing is left to cancel.
            let _ = listener(Event::Rest { text: &rest });
        }
        Generation {
            text: self.text,
            tokens: self.history.split_off(self.prompt_tokens),
            logprobs: self.logprobs,
            prompt_tokens: self.prompt_tokens,
            cached_tokens: self.cached_tokens,
            finish_reason: reason,
            timings: self.timings,
            prefill_reads: after_prefill.since(&self.at_start),
            decode_reads: reads.since(&after_prefill),
        }
    }
}
