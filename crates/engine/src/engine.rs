//! A model at work: sequences in, tokens out.
//!
//! [`Engine::submit`] queues a request, and [`Engine::step`] runs one pass for all sequences that can go on: schedule, run,
//! sample, emit. [`Engine::run`] does so until one request has ended.
//!
//! With [`Engine::use_files`], prompts start from pages in files as well: see `engine::files`.
//!
//! Deliberately absent: what a pass computes, which the [`Scheduler`] decides; threads and channels, which
//! [`Service`](crate::Service) adds.

mod prompt_files;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forward::{ForwardError, KvOps, Logits, PAGE_TOKENS, SeqId};
use store::{PromptFiles, StoreError};

use crate::error::EngineError;
use crate::load::LoadedModel;
use crate::prompt_cache::CacheStats;
use crate::request::{Event, FinishReason, GenerateRequest, Generation};
use crate::scheduler::{Chunk, Limits, Load, Scheduler};
use crate::sequence::Sequence;

/// Prompts with fewer tokens than this tell nothing about the speed of a prefill.
const TIMED_TOKENS: usize = 16;

/// How long a step waits for pages from files when there is nothing to compute.
const ARRIVAL_WAIT: Duration = Duration::from_millis(10);

/// A sequence that has ended.
#[derive(Debug)]
pub struct Finished {
    /// Its request, as [`Engine::submit`] named it.
    pub id: SeqId,
    /// The outcome.
    pub result: Result<Generation, EngineError>,
}

/// Where the events of all sequences go; breaking from it cancels the sequence.
type Listener<'a> = &'a mut dyn FnMut(SeqId, Event) -> ControlFlow<()>;

/// A loaded model and the sequences that it works on.
pub struct Engine {
    /// The model, for everything but passes.
    pub loaded: LoadedModel,
    scheduler: Scheduler,
    files: Option<PromptFiles>,
    saving: Option<SaveRound>,
    n_ids: u64,
    /// Seconds that a prompt token took lately.
    seconds_per_token: f64,
}

/// What is still to be saved of the prompt cache.
struct SaveRound {
    todo: Vec<SeqId>,
    /// The sequence that is being saved.
    current: Option<SeqId>,
}

impl Engine {
    /// An engine without sequences.
    pub fn new(loaded: LoadedModel, limits: Limits) -> Engine {
        Engine {
            loaded,
            scheduler: Scheduler::new(limits),
            files: None,
            saving: None,
            n_ids: 0,
            seconds_per_token: 0.0,
        }
    }

    /// Queues a request; the name of its sequence.
    ///
    /// Errors: an option is out of range, the prompt is empty or too long for the context or the KV cache, or too many
    /// requests wait.
    pub fn submit(&mut self, mut request: GenerateRequest) -> Result<SeqId, EngineError> {
        request.sampling.validate()?;
        let ctx = context(self.loaded.model.kv());
        match request.prompt.len() {
            0 => return Err(EngineError::EmptyPrompt),
            // An embedding needs no room for an answer.
            prompt if prompt == ctx && request.pooling.is_some() => {}
            prompt if !request.overflow.make_room(&mut request.prompt, ctx) => {
                return Err(EngineError::PromptTooLong { prompt, ctx });
            }
            _ => {}
        }
        let id = SeqId(self.n_ids);
        self.scheduler.submit(Sequence::new(id, request, ctx))?;
        self.n_ids += 1;
        Ok(id)
    }

    /// Cancels a sequence: it ends with the next [`Engine::step`], before its pass. One that has ended stays as it is.
    pub fn cancel(&mut self, id: SeqId) {
        if let Some(sequence) = self.scheduler.find(id) {
            sequence.end_with(Ok(FinishReason::Cancelled));
        }
    }

    /// Whether no sequence is left.
    pub fn is_idle(&self) -> bool {
        self.scheduler.is_idle()
    }

    /// How many sequences there are, by state.
    pub fn load(&self) -> Load {
        self.scheduler.load()
    }

    /// What the prompt cache has done so far.
    pub fn cache_stats(&self) -> CacheStats {
        self.scheduler.cache.stats()
    }

    /// Empties the prompt cache.
    pub fn clear_cache(&mut self) {
        while let Some(seq) = self.scheduler.cache.evict() {
            self.loaded.model.kv().remove(seq);
        }
    }

    /// One pass for all sequences that can go on, and those that ended with it; no pass if there are none.
    ///
    /// `listener` hears what happens to each; breaking from it cancels that sequence. A pass that fails ends the sequences
    /// it computed, each with the error.
    pub fn step(&mut self, listener: Listener<'_>) -> Vec<Finished> {
        let mut finished = self.retire(listener);
        self.admit();
        self.receive(Duration::ZERO);
        let pass = self.scheduler.schedule(self.loaded.model.max_rows());
        if pass.is_empty() {
            self.receive(ARRIVAL_WAIT);
            return finished;
        }
        let start = Instant::now();
        match self.forward(&pass) {
            Ok(logits) => {
                self.scheduler.observe(&pass, start.elapsed());
                self.sample(&pass, &logits, listener);
            }
            Err(ForwardError::Store(StoreError::Stopped)) => self.interrupt(listener),
            Err(error) => self.fail(&pass, error),
        }
        finished.extend(self.retire(listener));
        finished
    }

    /// Runs a request to its end, along with everything else that is under way.
    ///
    /// Errors: as for [`Engine::submit`], or a pass fails.
    pub fn run(
        &mut self,
        request: &GenerateRequest,
        listener: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Generation, EngineError> {
        let own = self.submit(request.clone())?;
        loop {
            let mut hear = |id, event: Event| if id == own { listener(event) } else { ControlFlow::Continue(()) };
            let finished = self.step(&mut hear);
            if let Some(finished) = finished.into_iter().find(|finished| finished.id == own) {
                return finished.result;
            }
        }
    }

    /// Lets sequences run, each from the longest prefix that the KV cache or, if that is much more, a file has.
    fn admit(&mut self) {
        let (reads, now) = (self.loaded.model.read_stats(), Instant::now());
        let max_rows = self.loaded.model.max_rows();
        while let Some((sequence, prefix)) = self.scheduler.admit(self.loaded.model.kv(), max_rows) {
            sequence.begin(reads, now);
            if self.restore(prefix.map_or(0, |prefix| prefix.len)) {
                continue;
            }
            if let (Some(prefix), Some(sequence)) = (prefix, self.scheduler.running.last_mut())
                && self.loaded.model.kv().fork(prefix.seq, sequence.id, prefix.len).is_ok()
            {
                sequence.begin_with(prefix.len);
                self.scheduler.cache.hit(prefix.seq, prefix.len);
            }
        }
    }

    fn forward(&mut self, pass: &[Chunk]) -> Result<Logits, ForwardError> {
        let kv = self.loaded.model.kv();
        while let Some(seq) = self.scheduler.evict_for(pass, kv) {
            kv.remove(seq);
        }
        self.loaded.model.forward(&self.scheduler.batch(pass))
    }

    /// Continues each sequence by what a pass has computed for it.
    fn sample(&mut self, pass: &[Chunk], logits: &Logits, listener: Listener<'_>) {
        let reads = self.loaded.model.read_stats();
        let (mut row, mut pooled_row) = (0, 0);
        for chunk in pass {
            let sequence = &mut self.scheduler.running[chunk.index];
            let id = sequence.id;
            let mut hear = |event: Event| listener(id, event);
            if sequence.advance(chunk.n, &reads, &mut hear)
                && let (TIMED_TOKENS.., seconds) = sequence.prefill_speed()
            {
                self.seconds_per_token = seconds;
            }
            if sequence.pooling().is_some() {
                sequence.pool(logits.pooled(pooled_row));
                pooled_row += 1;
            } else if sequence.n_prefill_left() == 0 {
                if !sequence.has_ended() {
                    sequence.sample(logits.row(row), &self.loaded.tokenizer, &mut hear);
                }
                row += 1;
            }
            if !sequence.has_ended()
                && let Some(n_same) = sequence.shift()
            {
                let kv = self.loaded.model.kv();
                kv.truncate(id, n_same);
                // Less may be left: a window may have let go of what lies there.
                sequence.len = kv.len(id);
            }
        }
    }

    /// Reports that a pass was interrupted.
    fn interrupt(&mut self, listener: Listener<'_>) {
        for sequence in &mut self.scheduler.running {
            if listener(sequence.id, Event::Interrupted).is_break() {
                sequence.end_with(Ok(FinishReason::Cancelled));
            }
        }
    }

    /// Ends the sequences of a pass with its error.
    fn fail(&mut self, pass: &[Chunk], error: ForwardError) {
        let error = Arc::new(error);
        for chunk in pass {
            self.scheduler.running[chunk.index].end_with(Err(EngineError::Pass(Arc::clone(&error))));
        }
    }

    /// Removes the sequences that have ended; the prompt cache keeps those that did not fail.
    fn retire(&mut self, listener: Listener<'_>) -> Vec<Finished> {
        let mut finished = Vec::new();
        for mut sequence in self.scheduler.retire() {
            let (id, end) = (sequence.id, sequence.take_end());
            if let (true, Some(files)) = (sequence.is_restoring, &mut self.files) {
                files.cancel(id.0);
            }
            let gone = match &end {
                Ok(_) => self.scheduler.cache.keep(id, sequence.computed().to_vec()),
                Err(_) => vec![id],
            };
            gone.into_iter().for_each(|seq| self.loaded.model.kv().remove(seq));
            let reads = self.loaded.model.read_stats();
            let result = end.map(|reason| sequence.finish(reason, &reads, &mut |event| listener(id, event)));
            finished.push(Finished { id, result });
        }
        finished
    }
}

/// The most tokens that a sequence can have.
fn context(kv: &dyn KvOps) -> usize {
    let (ctx, n_pages) = (kv.context(), kv.n_pages());
    if kv.pages_for(ctx) <= n_pages { ctx } else { ctx.min(n_pages * PAGE_TOKENS) }
}

#[cfg(test)]
mod tests;
