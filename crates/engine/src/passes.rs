//! Passes, timed one by one: a prompt, then tokens that nothing but their number ends.
//!
//! [`time_passes`] is to speed what `score` is to quality; a [`Pass`] tells where its time and bytes went. Deliberately
//! absent: text, and what a token's choice depends on, which is always the most probable.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use forward::{Batch, LanguageModel, LogitRows, Logits, SeqId};
use model::TokenId;
use store::ReadStats;

use crate::EngineError;
use crate::sampler::{Sampler, SamplingOptions};

/// The one sequence that is computed.
const SEQUENCE: SeqId = SeqId(0);

/// One pass, or several that belong together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pass {
    /// From its beginning to its logits.
    pub elapsed: Duration,
    /// What was read meanwhile.
    pub reads: ReadStats,
}

/// A prompt's passes and those after it.
#[derive(Clone, Debug, Default)]
pub struct TimedPasses {
    /// Tokens of the prompt that were taken in.
    pub prompt_tokens: usize,
    /// The prompt.
    pub prefill: Pass,
    /// One token each.
    pub decode: Vec<Pass>,
}

impl Pass {
    /// The time in which it did not wait for the disk.
    pub fn compute(&self) -> Duration {
        self.elapsed.saturating_sub(self.reads.stall)
    }
}

/// Takes in a prompt and then decodes `n_decode` tokens, whatever they are.
///
/// `on_pass` hears the tokens computed after each pass; breaking ends with what was measured so far.
/// Errors: the prompt is empty, prompt and tokens do not fit the context, or a pass fails. The sequence's place in the KV
/// cache is free again in every case.
pub fn time_passes(
    model: &mut dyn LanguageModel,
    prompt: &[TokenId],
    n_decode: usize,
    on_pass: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<TimedPasses, EngineError> {
    let (ctx, wanted) = (model.kv().context(), prompt.len() + n_decode);
    if prompt.is_empty() {
        return Err(EngineError::EmptyPrompt);
    }
    if wanted > ctx {
        return Err(EngineError::PromptTooLong { prompt: wanted, ctx });
    }
    let result = run(model, prompt, n_decode, on_pass);
    model.kv().remove(SEQUENCE);
    result
}

fn run(
    model: &mut dyn LanguageModel,
    prompt: &[TokenId],
    n_decode: usize,
    on_pass: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<TimedPasses, EngineError> {
    let mut timed = TimedPasses::default();
    let mut logits = Logits::default();
    let begun = Clock::start(model);
    for tokens in prompt.chunks(model.max_rows()) {
        let start = timed.prompt_tokens;
        let rows = if start + tokens.len() == prompt.len() { LogitRows::Last } else { LogitRows::None };
        logits = model.forward(&Batch::one(SEQUENCE, start, tokens.to_vec(), rows))?;
        timed.prefill = begun.stop(model);
        timed.prompt_tokens += tokens.len();
        if on_pass(timed.prompt_tokens).is_break() {
            return Ok(timed);
        }
    }
    let mut greedy = Sampler::new(&SamplingOptions { temperature: 0.0, ..SamplingOptions::default() });
    for position in prompt.len()..prompt.len() + n_decode {
        let token = greedy.sample(logits.row(0), &[])?;
        let begun = Clock::start(model);
        logits = model.forward(&Batch::one(SEQUENCE, position, vec![token], LogitRows::Last))?;
        timed.decode.push(begun.stop(model));
        if on_pass(position + 1).is_break() {
            break;
        }
    }
    Ok(timed)
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
