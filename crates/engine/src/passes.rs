//! Timed passes: one prompt or several, then a fixed number of tokens.
//!
//! [`time_passes`] is to speed what `score` is to quality; a [`Pass`] tells where its time and bytes went. Deliberately
//! absent: text and sampling; the most probable token is always chosen.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use forward::{Batch, LanguageModel, LogitRows, Logits, Segment, SeqId};
use model::TokenId;
use store::ReadStats;

use crate::error::EngineError;
use crate::sampler::chain::Sampler;
use crate::sampler::options::SamplingOptions;

/// What to compute.
#[derive(Clone, Copy, Debug)]
pub struct PassesRequest<'a> {
    /// What each sequence begins with; they begin at different places in it.
    pub prompt: &'a [TokenId],
    /// Passes after the prompts, each with one token a sequence.
    pub n_decode: usize,
    /// Sequences that are decoded together.
    pub n_sequences: usize,
}

/// One pass, or several that belong together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pass {
    /// From its beginning to its logits.
    pub elapsed: Duration,
    /// Reads during that time.
    pub reads: ReadStats,
}

/// The prompts' passes and those after them.
#[derive(Clone, Debug, Default)]
pub struct TimedPasses {
    /// Sequences that were decoded together.
    pub n_sequences: usize,
    /// Tokens of all prompts that were prefilled.
    pub prompt_tokens: usize,
    /// The prompts.
    pub prefill: Pass,
    /// One token of each sequence each.
    pub decode: Vec<Pass>,
}

impl Pass {
    /// The time in which it did not wait for the disk.
    pub fn compute(&self) -> Duration {
        self.elapsed.saturating_sub(self.reads.stall)
    }
}

/// Prefills a prompt for each sequence, then decodes one token of each per pass, end-of-text tokens included.
///
/// `on_pass` hears the tokens computed after each pass; breaking ends with what was measured so far.
/// Errors: the prompt is empty, prompt and passes do not fit the context, or a pass fails. The sequences' places in the
/// KV cache are free again in every case. Panics if there are no sequences.
pub fn time_passes(
    model: &mut dyn LanguageModel,
    request: PassesRequest<'_>,
    on_pass: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<TimedPasses, EngineError> {
    let (ctx, wanted) = (model.kv().context(), request.prompt.len() + request.n_decode);
    assert!(request.n_sequences > 0, "passes are those of sequences");
    if request.prompt.is_empty() {
        return Err(EngineError::EmptyPrompt);
    }
    if wanted > ctx {
        return Err(EngineError::PromptTooLong { prompt: wanted, ctx });
    }
    let mut timed = TimedPasses { n_sequences: request.n_sequences, ..TimedPasses::default() };
    let result = prefill(model, request, &mut timed, on_pass).and_then(|first| match first {
        Some(tokens) => decode(model, request, tokens, &mut timed, on_pass),
        None => Ok(()),
    });
    (0..request.n_sequences).for_each(|i| model.kv().remove(sequence(i)));
    result.map(|()| timed)
}

/// Prefills the prompts and returns the first token after each, or nothing if `on_pass` ended it.
fn prefill(
    model: &mut dyn LanguageModel,
    request: PassesRequest<'_>,
    timed: &mut TimedPasses,
    on_pass: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<Option<Vec<TokenId>>, EngineError> {
    let mut first = Vec::with_capacity(request.n_sequences);
    let begun = Clock::start(model);
    for i in 0..request.n_sequences {
        let prompt = prompt_of(request.prompt, i);
        let mut logits = Logits::default();
        let mut start = 0;
        for tokens in prompt.chunks(model.max_rows()) {
            let end = start + tokens.len();
            let rows = if end == prompt.len() { LogitRows::Last } else { LogitRows::None };
            logits = model.forward(&Batch::prompt(sequence(i), start, tokens.to_vec(), rows, prompt.len()))?;
            start = end;
            timed.prefill = begun.stop(model);
            timed.prompt_tokens += tokens.len();
            if on_pass(timed.prompt_tokens).is_break() {
                return Ok(None);
            }
        }
        first.push(greedy().sample(logits.row(0), &[])?);
    }
    Ok(Some(first))
}

/// Decodes from `tokens` on, one a sequence.
fn decode(
    model: &mut dyn LanguageModel,
    request: PassesRequest<'_>,
    mut tokens: Vec<TokenId>,
    timed: &mut TimedPasses,
    on_pass: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<(), EngineError> {
    let mut greedy = greedy();
    for start in (request.prompt.len()..).take(request.n_decode) {
        let segment = |(i, &token)| Segment {
            seq: sequence(i),
            start,
            tokens: vec![token],
            logits: LogitRows::Last,
            prompt_len: 0,
            parents: Vec::new(),
        };
        let batch = Batch { segments: tokens.iter().enumerate().map(segment).collect() };
        let begun = Clock::start(model);
        let logits = model.forward(&batch)?;
        timed.decode.push(begun.stop(model));
        if on_pass(timed.prompt_tokens + timed.decode.len() * tokens.len()).is_break() {
            break;
        }
        for (row, token) in tokens.iter_mut().enumerate() {
            *token = greedy.sample(logits.row(row), &[])?;
        }
    }
    Ok(())
}

fn sequence(index: usize) -> SeqId {
    SeqId(index as u64)
}

/// The prompt of a sequence: all have the same tokens, but each begins at another one, so that no two are alike.
fn prompt_of(prompt: &[TokenId], sequence: usize) -> Vec<TokenId> {
    let mut own = prompt.to_vec();
    own.rotate_left(sequence % prompt.len());
    own
}

fn greedy() -> Sampler {
    Sampler::new(&SamplingOptions { temperature: 0.0, ..SamplingOptions::default() })
}

/// Where things were when a pass began.
struct Clock {
    start: Instant,
    before: ReadStats,
}

impl Clock {
    fn start(model: &dyn LanguageModel) -> Clock {
        Clock { start: Instant::now(), before: model.read_stats() }
    }

    fn stop(&self, model: &dyn LanguageModel) -> Pass {
        Pass { elapsed: self.start.elapsed(), reads: model.read_stats().since(&self.before) }
    }
}
