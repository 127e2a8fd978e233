//! One sequence from the moment its request is submitted until it has ended.
//!
//! A [`Sequence`] owns its tokens, its length in the KV cache, and everything that turns logits into text: sampler,
//! constraint, decoder and stop matcher. It is created by a [`GenerateRequest`] and ends as a [`Generation`].
//!
//! Deliberately absent: the model, and the decision when a sequence runs.

use std::ops::ControlFlow;
use std::time::Instant;

use forward::{LogitRows, Segment, SeqId};
use model::{Pooling, SpecialTokens, TextDecoder, TokenId, Tokenizer};
use store::ReadStats;

use crate::constraint::matcher::Constraint;
use crate::error::EngineError;
use crate::request::{Event, FinishReason, GenerateRequest, Generation, Overflow, StepLogprobs, Timings};
use crate::sampler::chain::Sampler;
use crate::sampler::logprobs::{logprob_of, top_logprobs};
use crate::stop::StopMatcher;

/// Where a sequence's events go; breaking from it cancels the sequence.
pub(crate) type Listener<'a> = &'a mut dyn FnMut(Event) -> ControlFlow<()>;

/// How a sequence has ended.
pub(crate) type End = Result<FinishReason, EngineError>;

/// A request on its way.
pub(crate) struct Sequence {
    pub(crate) id: SeqId,
    /// Tokens in the KV cache that have been computed or restored.
    pub(crate) len: usize,
    /// Whether its first pages are on their way from a file: it takes part in no pass until they have arrived.
    pub(crate) is_restoring: bool,
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
    /// The sum of the hidden states so far.
    hidden: Vec<f32>,
    /// The prompt and the generated tokens, without those dropped by context shifts.
    tokens: Vec<TokenId>,
    /// Tokens that must be in the KV cache before the next one is sampled.
    n_prefill: usize,
    generated: Vec<TokenId>,
    text: String,
    logprobs: Vec<StepLogprobs>,
    timings: Timings,
    /// When the prefill began, or when it ended.
    since: Instant,
    /// Read counts when the prefill began, and when it ended.
    at_start: Option<ReadStats>,
    after_prefill: Option<ReadStats>,
    end: Option<End>,
}

impl Sequence {
    /// A sequence that waits, for a context of `ctx` tokens in which the prompt fits.
    pub(crate) fn new(id: SeqId, request: GenerateRequest, ctx: usize) -> Sequence {
        Sequence {
            id,
            len: 0,
            is_restoring: false,
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
            n_prefill: request.prompt.len(),
            tokens: request.prompt,
            generated: Vec::new(),
            text: String::new(),
            logprobs: Vec::new(),
            timings: Timings::default(),
            since: Instant::now(),
            at_start: None,
            after_prefill: None,
            end: None,
        }
    }

    /// Starts the clock: from here on, time and reads are those of the prefill.
    pub(crate) fn begin(&mut self, reads: ReadStats, now: Instant) {
        (self.at_start, self.since) = (Some(reads), now);
    }

    /// Records that the KV cache has the first `len` tokens already.
    pub(crate) fn begin_with(&mut self, len: usize) {
        (self.len, self.cached_tokens) = (len, len);
    }

    /// The tokens whose keys and values are in the KV cache.
    pub(crate) fn computed(&self) -> &[TokenId] {
        &self.tokens[..self.len.min(self.tokens.len())]
    }

    /// The tokens of the prefill: the prompt, or what a context shift has left.
    pub(crate) fn prefill(&self) -> &[TokenId] {
        &self.tokens[..self.n_prefill]
    }

    /// Tokens to compute before the next one is sampled; 0 for a sequence that decodes.
    pub(crate) fn n_prefill_left(&self) -> usize {
        self.n_prefill.saturating_sub(self.len)
    }

    /// The most tokens that the KV cache holds of the sequence at once.
    pub(crate) fn max_len(&self) -> usize {
        (self.prompt_tokens + self.max_tokens).min(self.ctx)
    }

    /// Whether every token has to be computed, cached or not: pooling may want all hidden states.
    pub(crate) fn needs_every_row(&self) -> bool {
        self.pooling.is_some_and(|pooling| pooling != Pooling::Last)
    }

    /// The next `n` tokens, as a part of a batch.
    pub(crate) fn segment(&self, n: usize) -> Segment {
        let left = self.n_prefill_left();
        Segment {
            seq: self.id,
            start: self.len,
            tokens: self.tokens[self.len..self.len + n].to_vec(),
            logits: match self.pooling {
                Some(pooling) => LogitRows::Pooled(pooling),
                None if n < left => LogitRows::None,
                None => LogitRows::Last,
            },
            prompt_len: if left > 0 { self.n_prefill } else { 0 },
            parents: Vec::new(),
        }
    }

    /// Counts `n` tokens that a pass has computed. Whether they were the end of the prompt.
    pub(crate) fn advance(&mut self, n: usize, reads: &ReadStats, listener: Listener<'_>) -> bool {
        self.len += n;
        if self.after_prefill.is_some() {
            self.timings.decode_passes += 1;
            return false;
        }
        if listener(Event::Prefill { done: self.len, total: self.n_prefill }).is_break() {
            self.end_with(Ok(FinishReason::Cancelled));
        }
        if self.n_prefill_left() > 0 {
            return false;
        }
        self.timings.prefill = self.since.elapsed();
        self.since = Instant::now();
        self.after_prefill = Some(*reads);
        true
    }

    /// Prompt tokens that were computed, and seconds that each of them took.
    pub(crate) fn prefill_speed(&self) -> (usize, f64) {
        let n = self.prompt_tokens - self.cached_tokens;
        (n, self.timings.prefill.as_secs_f64() / n.max(1) as f64)
    }

    /// How the prompt's hidden states are pooled, if they are wanted instead of an answer.
    pub(crate) fn pooling(&self) -> Option<Pooling> {
        self.pooling
    }

    /// Adds the pooled hidden states of some more tokens; those of the last ones end the sequence.
    pub(crate) fn pool(&mut self, states: &[f32]) {
        match self.pooling {
            Some(Pooling::Mean) if !self.hidden.is_empty() => {
                self.hidden.iter_mut().zip(states).for_each(|(sum, state)| *sum += state);
            }
            Some(Pooling::First) if !self.hidden.is_empty() => {}
            _ => self.hidden = states.to_vec(),
        }
        if self.n_prefill_left() == 0 {
            self.end_with(Ok(FinishReason::Stop));
        }
    }

    /// Samples the next token from a row of logits and emits the text that is certain by now.
    pub(crate) fn sample(&mut self, logits: &[f32], tokenizer: &Tokenizer, listener: Listener<'_>) {
        match self.try_sample(logits, tokenizer, listener) {
            Ok(None) => {}
            Ok(Some(reason)) => self.end_with(Ok(reason)),
            Err(error) => self.end_with(Err(error)),
        }
    }

    fn try_sample(
        &mut self,
        logits: &[f32],
        tokenizer: &Tokenizer,
        listener: Listener<'_>,
    ) -> Result<Option<FinishReason>, EngineError> {
        if self.is_at_limit() {
            return Ok(Some(FinishReason::Length));
        }
        let token = match &mut self.constraint {
            Some(constraint) => self.sampler.sample_allowed(logits, &self.tokens, constraint)?,
            None => self.sampler.sample(logits, &self.tokens)?,
        };
        if tokenizer.is_end_of_generation(token) {
            return Ok(Some(FinishReason::Stop));
        }
        let ended = self.emit(token, logits, tokenizer, listener);
        let ended = match &mut self.constraint {
            Some(constraint) if ended.is_none() => {
                constraint.accept(token)?;
                constraint.is_complete().then_some(FinishReason::Stop)
            }
            _ => ended,
        };
        Ok(ended.or(self.is_at_limit().then_some(FinishReason::Length)))
    }

    fn is_at_limit(&self) -> bool {
        self.generated.len() == self.max_tokens
    }

    /// Appends a token and emits its text; the reason if that ends the sequence.
    fn emit(
        &mut self,
        token: TokenId,
        logits: &[f32],
        tokenizer: &Tokenizer,
        listener: Listener<'_>,
    ) -> Option<FinishReason> {
        self.tokens.push(token);
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

    /// Makes room in a full context: how many tokens in the KV cache stay valid, if that was necessary.
    pub(crate) fn shift(&mut self) -> Option<usize> {
        if self.tokens.len() < self.ctx {
            return None;
        }
        let before = self.tokens.clone();
        self.overflow.make_room(&mut self.tokens, self.ctx);
        self.n_prefill = self.tokens.len();
        let n_same = before.iter().zip(&self.tokens).take_while(|(a, b)| a == b).count();
        // A repetitive text may be the same throughout, but the last token's logits are wanted.
        Some(n_same.min(self.tokens.len() - 1))
    }

    /// Ends the sequence, unless it has ended already. It leaves the scheduler at the end of the step.
    pub(crate) fn end_with(&mut self, end: End) {
        self.end.get_or_insert(end);
    }

    /// Whether the sequence has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// How the sequence has ended. Panics if it has not.
    pub(crate) fn take_end(&mut self) -> End {
        self.end.take().expect("only sequences that have ended are retired")
    }

    /// The mean where that is asked for, otherwise the states as they are.
    fn pooled(&mut self) -> Vec<f32> {
        let n = self.prompt_tokens as f32;
        if self.pooling == Some(Pooling::Mean) {
            self.hidden.iter_mut().for_each(|sum| *sum /= n);
        }
        std::mem::take(&mut self.hidden)
    }

    /// What the sequence has become. Text that was held back is emitted, unless a stop string has ended it; a character
    /// cut short by a limit is dropped.
    pub(crate) fn finish(mut self, reason: FinishReason, reads: &ReadStats, listener: Listener<'_>) -> Generation {
        let after_prefill = match &self.after_prefill {
            Some(after_prefill) => {
                self.timings.decode = self.since.elapsed();
                *after_prefill
            }
            None if self.at_start.is_some() => {
                self.timings.prefill = self.since.elapsed();
                *reads
            }
            None => *reads,
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
            prefill_reads: after_prefill.since(&self.at_start.unwrap_or(*reads)),
            decode_reads: reads.since(&after_prefill),
        }
    }
}
