//! One generation alone: a scheduler with a single request.

use std::ops::ControlFlow;

use forward::LanguageModel;
use model::Tokenizer;

use crate::request::{Event, GenerateRequest, Generation};
use crate::{EngineError, Limits, Scheduler};

/// Continues a prompt, telling `on_event` as it goes; breaking from it cancels.
///
/// Errors: the options are out of range, the prompt is empty or too long for the context, or a pass fails. The
/// sequence's pages in the KV cache are free again in every case.
pub fn generate(
    model: &mut dyn LanguageModel,
    tokenizer: &Tokenizer,
    request: &GenerateRequest,
    on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
) -> Result<Generation, EngineError> {
    let mut scheduler = Scheduler::new(Limits { max_batch: 1, max_queue: 1, cache_pages: 0 });
    scheduler.run(model, tokenizer, request, on_event)
}
