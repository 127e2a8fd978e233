//! One generation: prefill, then token by token until something ends it.

use std::ops::ControlFlow;
use std::time::Instant;

use forward::{Batch, ForwardError, LanguageModel, LogitRows, Logits, SeqId};
use model::{SpecialTokens, TextDecoder, TokenId, Tokenizer};
use store::{ReadStats, StoreError};

use crate::EngineError;
use crate::request::{Event, FinishReason, GenerateRequest, Generation, StepLogprobs, Timings};
use crate::sampler::{Sampler, logprob_of, top_logprobs};
use crate::stop::StopMatcher;

/// The one sequence that a generation uses.
const SEQUENCE: SeqId = SeqId(0);

/// Continues a prompt, telling `on_event` as it goes; breaking from it cancels.
///
/// Errors: the options are out of range, the prompt is empty or too long for the context, or a pass fails. The
/// sequence's place in the KV cache is free again in every case.
pub fn generate(
    model: &mut dyn LanguageModel,
    tokenizer: &Tokenizer,
    request: &GenerateRequest,
    on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
) -> Result<Generation, EngineError> {
    request.sampling.validate()?;
    let ctx = model.kv().context();
    let prompt = request.prompt.len();
    match prompt {
        0 => return Err(EngineError::EmptyPrompt),
        _ if prompt >= ctx => return Err(EngineError::PromptTooLong { prompt, ctx }),
        _ => {}
    }
    let before = model.read_stats();
    let mut run = Run::new(tokenizer, request, ctx);
    let result = run.run(model, on_event);
    model.kv().remove(SEQUENCE);
    let reason = result?;
    let prefill_reads = run.after_prefill.since(&before);
    let decode_reads = model.read_stats().since(&run.after_prefill);
    Ok(run.finish(reason, prefill_reads, decode_reads))
}

/// A generation on its way.
struct Run<'a> {
    tokenizer: &'a Tokenizer,
    request: &'a GenerateRequest,
    max_tokens: usize,
    sampler: Sampler,
    decoder: TextDecoder,
    stop: StopMatcher,
    /// The prompt, then what was generated.
    history: Vec<TokenId>,
    text: String,
    logprobs: Vec<StepLogprobs>,
    timings: Timings,
    /// What had been read when the prompt had been taken in.
    after_prefill: ReadStats,
}

impl<'a> Run<'a> {
    fn new(tokenizer: &'a Tokenizer, request: &'a GenerateRequest, ctx: usize) -> Run<'a> {
        let room = ctx - request.prompt.len();
        Run {
            tokenizer,
            request,
            max_tokens: request.max_tokens.unwrap_or(room).min(room),
            sampler: Sampler::new(&request.sampling),
            decoder: TextDecoder::default(),
            stop: StopMatcher::new(&request.stop),
            history: request.prompt.clone(),
            text: String::new(),
            logprobs: Vec::new(),
            timings: Timings::default(),
            after_prefill: ReadStats::default(),
        }
    }

    fn run(
        &mut self,
        model: &mut dyn LanguageModel,
        on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<FinishReason, EngineError> {
        let start = Instant::now();
        let prefilled = self.prefill(model, on_event)?;
        self.timings.prefill = start.elapsed();
        self.after_prefill = model.read_stats();
        let Some(mut logits) = prefilled else { return Ok(FinishReason::Cancelled) };
        let start = Instant::now();
        let reason = loop {
            if self.n_generated() == self.max_tokens {
                break FinishReason::Length;
            }
            let token = self.sampler.sample(logits.row(0), &self.history)?;
            if self.tokenizer.is_end_of_generation(token) {
                break FinishReason::Stop;
            }
            if let Some(reason) = self.take(token, &logits, on_event) {
                break reason;
            }
            if self.n_generated() == self.max_tokens {
                break FinishReason::Length;
            }
            let len = self.history.len() - 1;
            match pass(model, &Batch::one(SEQUENCE, len, vec![token], LogitRows::Last))? {
                Some(next) => logits = next,
                None => break FinishReason::Cancelled,
            }
            self.timings.decode_passes += 1;
        };
        self.timings.decode = start.elapsed();
        self.release(reason, on_event);
        Ok(reason)
    }

    /// Shows what was held back, unless a stop text has ended the generation. A character that a limit has cut short is
    /// no part of the text.
    fn release(&mut self, reason: FinishReason, on_event: &mut dyn FnMut(Event) -> ControlFlow<()>) {
        let last = if reason == FinishReason::Stop { self.decoder.finish() } else { String::new() };
        let outcome = self.stop.push(&last);
        let rest = outcome.emit + &self.stop.finish();
        if !rest.is_empty() {
            self.text.push_str(&rest);
            // Nothing is left to cancel.
            let _ = on_event(Event::Rest { text: &rest });
        }
    }

    /// Takes in the prompt, as much at once as a pass can; logits of its last token, or none if cancelled.
    fn prefill(
        &mut self,
        model: &mut dyn LanguageModel,
        on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Option<Logits>, EngineError> {
        let prompt = &self.request.prompt;
        let mut done = 0;
        let mut logits = None;
        for tokens in prompt.chunks(model.max_rows()) {
            let rows = if done + tokens.len() == prompt.len() { LogitRows::Last } else { LogitRows::None };
            logits = pass(model, &Batch::one(SEQUENCE, done, tokens.to_vec(), rows))?;
            if logits.is_none() {
                return Ok(None);
            }
            done += tokens.len();
            if on_event(Event::Prefill { done, total: prompt.len() }).is_break() {
                return Ok(None);
            }
        }
        Ok(logits)
    }

    /// Adds a token to the text and shows what can be shown; the reason if that ends the generation.
    fn take(
        &mut self,
        token: TokenId,
        logits: &Logits,
        on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Option<FinishReason> {
        self.history.push(token);
        if let Some(n) = self.request.logprobs {
            let chosen = logprob_of(logits.row(0), token);
            self.logprobs.push(StepLogprobs { chosen, top: top_logprobs(logits.row(0), n) });
        }
        let text = self.decoder.push(&self.tokenizer.piece(token, SpecialTokens::Hide));
        let outcome = self.stop.push(&text);
        self.text.push_str(&outcome.emit);
        let flow = on_event(Event::Token { id: token, text: &outcome.emit });
        match (outcome.stopped, flow) {
            (true, _) => Some(FinishReason::Stop),
            (false, ControlFlow::Break(())) => Some(FinishReason::Cancelled),
            (false, ControlFlow::Continue(())) => None,
        }
    }

    fn n_generated(&self) -> usize {
        self.history.len() - self.request.prompt.len()
    }

    fn finish(self, finish_reason: FinishReason, prefill_reads: ReadStats, decode_reads: ReadStats) -> Generation {
        Generation {
            text: self.text,
            tokens: self.history[self.request.prompt.len()..].to_vec(),
            logprobs: self.logprobs,
            prompt_tokens: self.request.prompt.len(),
            finish_reason,
            timings: self.timings,
            prefill_reads,
            decode_reads,
        }
    }
}

/// One pass, or none if it was stopped in its middle.
fn pass(model: &mut dyn LanguageModel, batch: &Batch) -> Result<Option<Logits>, EngineError> {
    match model.forward(batch) {
        Ok(logits) => Ok(Some(logits)),
        Err(ForwardError::Store(StoreError::Stopped)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
