//! A model at work: sequences in, tokens out.
//!
//! [`Engine::submit`] queues a request, and [`Engine::step`] runs one pass for all sequences that can go on: schedule, run,
//! sample, emit. [`Engine::run`] does so until one request has ended.
//!
//! Deliberately absent: what a pass computes, which the [`Scheduler`] decides; threads and channels, which
//! [`Service`](crate::Service) adds.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use forward::{ForwardError, KvOps, Logits, PAGE_TOKENS, SeqId};
use store::StoreError;

use crate::disk_cache::DiskCache;
use crate::error::EngineError;
use crate::load::LoadedModel;
use crate::prompt_cache::CacheStats;
use crate::request::{Event, FinishReason, GenerateRequest, Generation};
use crate::scheduler::{Chunk, Limits, Load, Scheduler};
use crate::sequence::Sequence;

/// Prompts with fewer tokens than this tell nothing about the speed of a prefill.
const TIMED_TOKENS: usize = 16;

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
    disk: Option<DiskCache>,
    n_ids: u64,
    /// Seconds that a prompt token took lately.
    seconds_per_token: f64,
}

impl Engine {
    /// An engine without sequences.
    pub fn new(loaded: LoadedModel, limits: Limits) -> Engine {
        Engine { loaded, scheduler: Scheduler::new(limits), disk: None, n_ids: 0, seconds_per_token: 0.0 }
    }

    /// Lets prompts begin with what the files of a directory hold as well.
    pub fn use_disk(&mut self, disk: DiskCache) {
        self.disk = Some(disk);
    }

    /// Writes what the prompt cache holds to the directory of [`Engine::use_disk`], as far as it is not there yet.
    ///
    /// Errors: a file cannot be written. The others are whole, and so are those that were there.
    pub fn save(&mut self) -> std::io::Result<()> {
        let Some(disk) = &mut self.disk else { return Ok(()) };
        for (seq, tokens) in self.scheduler.cache.entries() {
            // What fits less than a page is computed at once.
            if tokens.len() >= PAGE_TOKENS {
                disk.save(self.loaded.model.as_mut(), seq, tokens, self.seconds_per_token)?;
            }
        }
        Ok(())
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
        self.restore();
        self.admit();
        let pass = self.scheduler.schedule(self.loaded.model.max_rows());
        if pass.is_empty() {
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

    /// Lets sequences run, each from the longest prefix that the KV cache has.
    fn admit(&mut self) {
        let (reads, now) = (self.loaded.model.read_stats(), Instant::now());
        let max_rows = self.loaded.model.max_rows();
        let kv = self.loaded.model.kv();
        while let Some((sequence, prefix)) = self.scheduler.admit(kv, max_rows) {
            sequence.begin(reads, now);
            if let Some(prefix) = prefix
                && kv.fork(prefix.seq, sequence.id, prefix.len).is_ok()
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

    /// Tells everybody that a pass was stopped.
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

    /// Takes leave of the sequences that have ended; the prompt cache keeps those that did not fail.
    fn retire(&mut self, listener: Listener<'_>) -> Vec<Finished> {
        let mut finished = Vec::new();
        for mut sequence in self.scheduler.retire() {
            let (id, end) = (sequence.id, sequence.take_end());
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

    /// Brings the beginning of the next prompt from the disk into the prompt cache, if that saves time.
    fn restore(&mut self) {
        let (Some(disk), Some(sequence)) = (&mut self.disk, self.scheduler.waiting.front()) else { return };
        let prompt = sequence.prefill();
        let Some((entry, len)) = disk.longest(prompt) else { return };
        let len = len.min(prompt.len() - 1);
        let of_cache = self.scheduler.cache.common(prompt).map(|(_, len)| len);
        let has = of_cache.chain([self.scheduler.longest_known(prompt)]).max().unwrap_or(0);
        if len < has + PAGE_TOKENS || !disk.is_worth_it(entry, len, len - has) {
            return;
        }
        let seq = SeqId(u64::MAX - self.n_ids);
        let kv = self.loaded.model.kv();
        while kv.n_new_pages(seq, len) > kv.n_free_pages()
            && let Some(seq) = self.scheduler.cache.evict()
        {
            kv.remove(seq);
        }
        if let Some(tokens) = disk.restore(entry, len, self.loaded.model.as_mut(), seq) {
            let gone = self.scheduler.cache.keep(seq, tokens);
            gone.into_iter().for_each(|seq| self.loaded.model.kv().remove(seq));
        }
    }
}

/// The most tokens that a sequence can have.
fn context(kv: &dyn KvOps) -> usize {
    let (ctx, n_pages) = (kv.context(), kv.n_pages());
    if kv.pages_for(ctx) <= n_pages { ctx } else { ctx.min(n_pages * PAGE_TOKENS) }
}

#[cfg(test)]
mod tests;
