//! One generation's own state: what was said so far, and what is chosen, shown and counted next.

use std::ops::ControlFlow;
use std::time::Instant;

use forward::Logits;
use model::{Pooling, SpecialTokens, TextDecoder, TokenId, Tokenizer};
use store::ReadStats;

use crate::request::{Event, FinishReason, GenerateRequest, Generation, Overflow, StepLogprobs, Timings};
use crate::sampler::{Sampler, logprob_of, top_logprobs};
use crate::stop::StopMatcher;
use crate::{Constraint, EngineError};

/// Where a generation's events go; breaking from it cancels.
pub(crate) type Listener<'a> = &'a mut dyn FnMut(Event) -> ControlFlow<()>;

/// A generation on its way.
pub(crate) struct Running {
    ctx: usize,
    overflow: Overflow,
    prompt_tokens: usize,
    cached_tokens: usize,
    max_tokens: usize,
    n_logprobs: Option<usize>,
    sampler: Sampler,
    constraint: Option<Constraint>,
    decoder: TextDecoder,
    stop: StopMatcher,
    pooling: Option<Pooling>,
    /// What was added up of them.
    hidden: Vec<f32>,
    /// The prompt, then what was generated, without what was dropped when the context was full.
    context: Vec<TokenId>,
    /// Tokens of the context that are taken in before the next one is chosen.
    n_intake: usize,
    generated: Vec<TokenId>,
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
    /// Begins a request, at `since`, in a context of `ctx` tokens, of which the prompt leaves at least one free or the
    /// request's way with overflow does.
    pub(crate) fn new(request: GenerateRequest, ctx: usize, reads: ReadStats, since: Instant) -> Running {
        Running {
            ctx,
            overflow: request.overflow,
            prompt_tokens: request.prompt.len(),
            cached_tokens: 0,
            max_tokens: request.max_answer(ctx),
            n_logprobs: request.logprobs,
            sampler: Sampler::new(&request.sampling),
            constraint: request.constraint,
            decoder: TextDecoder::default(),
            stop: StopMatcher::new(&request.stop),
            pooling: request.pooling,
            hidden: Vec::new(),
            n_intake: request.prompt.len(),
            context: request.prompt,
            generated: Vec::new(),
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

    /// The prompt, then what was generated, without what was dropped when the context was full.
    pub(crate) fn context(&self) -> &[TokenId] {
        &self.context
    }

    /// The tokens that are taken in before the next one is chosen: the prompt, or what is left of a context that was full.
    pub(crate) fn intake(&self) -> &[TokenId] {
        &self.context[..self.n_intake]
    }

    /// Whether the prompt has been taken in.
    pub(crate) fn is_prefilled(&self) -> bool {
        self.after_prefill.is_some()
    }

    /// How the prompt's hidden states are wanted, if they are.
    pub(crate) fn pooling(&self) -> Option<Pooling> {
        self.pooling
    }

    /// Adds hidden states, of some more tokens of the prompt.
    pub(crate) fn add_hidden(&mut self, states: &[f32]) {
        match self.pooling {
            Some(Pooling::Mean) if !self.hidden.is_empty() => {
                self.hidden.iter_mut().zip(states).for_each(|(sum, state)| *sum += state);
            }
            Some(Pooling::First) if !self.hidden.is_empty() => {}
            _ => self.hidden = states.to_vec(),
        }
    }

    /// Makes room in a context that is full: how many tokens of it are still what they were, if that was necessary.
    pub(crate) fn shift(&mut self) -> Option<usize> {
        if self.context.len() < self.ctx {
            return None;
        }
        let before = self.context.clone();
        self.overflow.make_room(&mut self.context, self.ctx);
        self.n_intake = self.context.len();
        let n_same = before.iter().zip(&self.context).take_while(|(a, b)| a == b).count();
        // Where a text repeats itself all may be the same, but the last token's logits are wanted.
        Some(n_same.min(self.context.len() - 1))
    }

    /// Tokens that the sequence may have at once.
    pub(crate) fn max_len(&self) -> usize {
        (self.prompt_tokens + self.max_tokens).min(self.ctx)
    }

    /// The prompt has been taken in: from here on, time and reads are those of decoding.
    pub(crate) fn prefilled(&mut self, reads: &ReadStats) {
        self.timings.prefill = self.since.elapsed();
        self.since = Instant::now();
        self.after_prefill = Some(*reads);
    }

    /// Tokens of the prompt that were not known.
    pub(crate) fn n_computed(&self) -> usize {
        self.prompt_tokens - self.cached_tokens
    }

    /// Seconds that a token of the prompt took, of those that were computed.
    pub(crate) fn seconds_per_prompt_token(&self) -> f64 {
        self.timings.prefill.as_secs_f64() / self.n_computed().max(1) as f64
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
        let token = self.sample(logits.row(row))?;
        if tokenizer.is_end_of_generation(token) {
            return Ok(Some(FinishReason::Stop));
        }
        let ended = self.take(token, logits.row(row), tokenizer, listener);
        let ended = match &mut self.constraint {
            Some(constraint) if ended.is_none() => {
                constraint.accept(token)?;
                constraint.is_complete().then_some(FinishReason::Stop)
            }
            _ => ended,
        };
        let is_full = self.n_generated() == self.max_tokens;
        Ok(ended.or(is_full.then_some(FinishReason::Length)))
    }

    fn sample(&mut self, logits: &[f32]) -> Result<TokenId, EngineError> {
        match &mut self.constraint {
            Some(constraint) => self.sampler.sample_allowed(logits, &self.context, constraint),
            None => Ok(self.sampler.sample(logits, &self.context)?),
        }
    }

    /// Adds a token to the text and shows what can be shown; the reason if that ends the generation.
    fn take(
        &mut self,
        token: TokenId,
        logits: &[f32],
        tokenizer: &Tokenizer,
        listener: Listener<'_>,
    ) -> Option<FinishReason> {
        self.context.push(token);
        self.generated.push(token);
        if let Some(n) = self.n_logprobs {
            let chosen = logprob_of(logits, token);
            self.logprobs.push(StepLogprobs { chosen, top: top_logprobs(logits, n) });
        }
        let text = self.decoder.push(&tokenizer.piece(token, SpecialTokens::Hide));
        let outcome = self.stop.push(&text);
        self.text.push_str(&outcome.emit);
        let logprobs = self.n_logprobs.and(self.logprobs.last());
        let flow = listener(Event::Token { id: token, text: &outcome.emit, logprobs });
        match (outcome.stopped, flow) {
            (true, _) => Some(FinishReason::Stop),
            (false, ControlFlow::Break(())) => Some(FinishReason::Cancelled),
            (false, ControlFlow::Continue(())) => None,
        }
    }

    /// The hidden states that were asked for.
    fn pooled(&mut self) -> Vec<f32> {
        let n = self.prompt_tokens as f32;
        if self.pooling == Some(Pooling::Mean) {
            self.hidden.iter_mut().for_each(|sum| *sum /= n);
        }
        std::mem::take(&mut self.hidden)
    }

    fn n_generated(&self) -> usize {
        self.generated.len()
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
        let hidden = self.pooled();
        Generation {
            text: self.text,
            hidden,
            tokens: self.generated,
            logprobs: self.logprobs,
            prompt_tokens: self.prompt_tokens,
            cached_tokens: self.cached_tokens,
            finish_reason: reason,
            stop_text: self.stop.stopped_by().map(str::to_owned),
            timings: self.timings,
            prefill_reads: after_prefill.since(&self.at_start),
            decode_reads: reads.since(&after_prefill),
        }
    }
}
