//! Many requests at once: every pass is one batch of all that can go on, so that one scan of the weights serves them all.
//!
//! A request is queued, takes in its prompt, decodes and is done. [`Scheduler::step`] plans a batch of a token for every
//! request that decodes and, behind them, spans of prompts as long as [`Pace`] allows; runs it; and hands on what came of
//! it. A request is admitted when the pages that it may need at most are free or only cached, so that nothing that runs
//! ever waits for memory or is thrown out. First come, first served. What a finished request leaves in the KV cache stays
//! with the [`PromptCache`], and a prompt begins with the longest beginning that some sequence has already.
//!
//! Deliberately absent: threads, channels, clocks other than a pass's duration.

mod disk_cache;
mod pace;
mod prompt_cache;

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use forward::{Batch, ForwardError, KvOps, LanguageModel, LogitRows, Logits, PAGE_TOKENS, Segment, SeqId};
use kernels::FEW_TOKENS;
use model::{Pooling, TokenId, Tokenizer};
use store::StoreError;

use crate::EngineError;
use crate::generation::Running;
use crate::request::{Event, FinishReason, GenerateRequest, Generation};
pub use disk_cache::{CacheIdentity, DiskCache};
use pace::Pace;
pub use prompt_cache::CacheStats;
use prompt_cache::PromptCache;

/// The context of a request that was cancelled while it waited, which it never uses.
const CANCELLED_CTX: usize = usize::MAX / 16;

/// Names a request that was submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// What a scheduler takes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests that run at once, at least 1.
    pub max_batch: usize,
    /// Requests that may wait.
    pub max_queue: usize,
    /// Pages of the KV cache that may keep what finished requests have computed; 0 keeps nothing.
    pub cache_pages: usize,
}

/// A request that has ended.
#[derive(Debug)]
pub struct Finished {
    /// Which one.
    pub id: RequestId,
    /// What came of it.
    pub result: Result<Generation, EngineError>,
}

/// How much is going on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests that wait.
    pub queued: usize,
    /// Requests whose prompts are being taken in.
    pub prefilling: usize,
    /// Requests that decode.
    pub decoding: usize,
}

/// Decides what each pass computes.
pub struct Scheduler {
    limits: Limits,
    queue: VecDeque<(RequestId, GenerateRequest)>,
    /// In the order of their admission.
    jobs: Vec<Job>,
    cache: PromptCache,
    disk: Option<DiskCache>,
    pace: Pace,
    next_id: u64,
    /// Sequences that were restored; their names count down from the highest.
    n_restored: u64,
    /// Seconds that a token of a prompt took lately.
    seconds_per_token: f64,
}

/// A request that runs.
struct Job {
    id: RequestId,
    seq: SeqId,
    running: Running,
    /// Tokens that the sequence has in the KV cache.
    len: usize,
    is_cancelled: bool,
}

/// Tokens of a job that a batch takes in.
struct Span {
    job: usize,
    n: usize,
}

impl Job {
    /// Tokens that are still to be taken in before one is chosen; 0 when the request decodes.
    fn n_prompt_left(&self) -> usize {
        self.running.intake().len().saturating_sub(self.len)
    }

    /// Drops the oldest tokens if the context is full; what follows them is then taken in again.
    fn shift(&mut self, kv: &mut dyn KvOps) {
        if let Some(n_kept) = self.running.shift() {
            kv.truncate(self.seq, n_kept);
            // A window may have let go of what lies there.
            self.len = kv.len(self.seq);
        }
    }

    /// The most pages that it may come to have.
    fn max_pages(&self, kv: &dyn KvOps) -> usize {
        kv.pages_for(self.running.max_len())
    }
}

impl Scheduler {
    /// A scheduler without requests.
    pub fn new(limits: Limits) -> Scheduler {
        let cache = PromptCache::new(limits.cache_pages);
        Scheduler {
            limits,
            queue: VecDeque::new(),
            jobs: Vec::new(),
            cache,
            disk: None,
            pace: Pace::default(),
            next_id: 0,
            n_restored: 0,
            seconds_per_token: 0.0,
        }
    }

    /// Lets prompts begin with what the files of a directory hold as well.
    pub fn use_disk(&mut self, disk: DiskCache) {
        self.disk = Some(disk);
    }

    /// Writes what the prompt cache holds to the directory of [`Scheduler::use_disk`], as far as it is not there yet.
    ///
    /// Errors: a file cannot be written. The others are whole, and so are those that were there.
    pub fn save(&mut self, model: &mut dyn LanguageModel) -> std::io::Result<()> {
        let Some(disk) = &mut self.disk else { return Ok(()) };
        for (seq, tokens) in self.cache.entries() {
            // What fits less than a page is computed at once.
            if tokens.len() >= PAGE_TOKENS {
                disk.save(model, seq, tokens, self.seconds_per_token)?;
            }
        }
        Ok(())
    }

    /// Takes on a request.
    ///
    /// Errors: its options are out of range, its prompt is empty or too long for the context or the KV cache, or too many
    /// requests wait.
    pub fn submit(
        &mut self,
        model: &mut dyn LanguageModel,
        request: GenerateRequest,
    ) -> Result<RequestId, EngineError> {
        request.sampling.validate()?;
        let kv = model.kv();
        let ctx = context(kv);
        let mut request = request;
        match request.prompt.len() {
            0 => return Err(EngineError::EmptyPrompt),
            // An embedding needs no room for an answer.
            prompt if prompt == ctx && request.pooling.is_some() => {}
            prompt if !request.overflow.make_room(&mut request.prompt, ctx) => {
                return Err(EngineError::PromptTooLong { prompt, ctx });
            }
            _ => {}
        }
        if self.queue.len() >= self.limits.max_queue {
            return Err(EngineError::QueueFull { max: self.limits.max_queue });
        }
        let id = RequestId(self.next_id);
        self.next_id += 1;
        self.queue.push_back((id, request));
        Ok(id)
    }

    /// Ends a request before the next pass, as cancelled. One that has ended already is left alone.
    pub fn cancel(&mut self, id: RequestId) {
        if let Some(job) = self.jobs.iter_mut().find(|job| job.id == id) {
            job.is_cancelled = true;
        } else if let Some(at) = self.queue.iter().position(|(queued, _)| *queued == id) {
            // It runs for a moment, so that it ends like all others.
            let (id, request) = self.queue.remove(at).expect("it has just been found");
            let request = GenerateRequest { max_tokens: Some(0), ..request };
            let running = Running::new(request, CANCELLED_CTX, Default::default(), Instant::now());
            self.jobs.push(Job { id, seq: SeqId(id.0), running, len: 0, is_cancelled: true });
        }
    }

    /// Whether no request is left.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.jobs.is_empty()
    }

    /// How much is going on.
    pub fn load(&self) -> Load {
        let prefilling = self.jobs.iter().filter(|job| job.n_prompt_left() > 0).count();
        Load { queued: self.queue.len(), prefilling, decoding: self.jobs.len() - prefilling }
    }

    /// What the prompt cache has done so far.
    pub fn cache_stats(&self) -> CacheStats {
        self.cache.stats()
    }

    /// Gives back the pages of the prompt cache.
    pub fn clear_cache(&mut self, model: &mut dyn LanguageModel) {
        while self.cache.evict(model.kv()) {}
    }

    /// One pass for all that can go on, and the requests that ended with it; nothing if the scheduler is idle.
    ///
    /// `on_event` hears what happens to each request; breaking from it cancels that one. A pass that fails ends the
    /// requests that it was for, each with the error.
    pub fn step(
        &mut self,
        model: &mut dyn LanguageModel,
        tokenizer: &Tokenizer,
        on_event: &mut dyn FnMut(RequestId, Event) -> ControlFlow<()>,
    ) -> Vec<Finished> {
        let mut finished = Vec::new();
        self.end(model, &mut finished, on_event, |job| job.is_cancelled.then_some(Ok(FinishReason::Cancelled)));
        self.admit(model);
        let spans = self.plan(model.max_rows());
        if spans.is_empty() {
            return finished;
        }
        self.make_room(model.kv(), &spans);
        let start = Instant::now();
        let result = model.forward(&self.batch(&spans));
        match result {
            Ok(logits) => {
                let of_prompts = |span: &&Span| self.jobs[span.job].n_prompt_left() > 0;
                let n_prompt = spans.iter().filter(of_prompts).map(|span| span.n).sum();
                self.pace.observe(n_prompt, !spans.iter().all(|span| of_prompts(&span)), start.elapsed());
                let mut ended = self.take(model, tokenizer, &spans, &logits, on_event);
                self.end(model, &mut finished, on_event, |job| {
                    ended.iter().position(|(id, _)| *id == job.id).map(|at| ended.swap_remove(at).1)
                });
            }
            Err(ForwardError::Store(StoreError::Stopped)) => {
                let ids = self.jobs.iter().map(|job| job.id);
                let ended: Vec<RequestId> = ids.filter(|id| on_event(*id, Event::Interrupted).is_break()).collect();
                self.end(model, &mut finished, on_event, |job| {
                    ended.contains(&job.id).then_some(Ok(FinishReason::Cancelled))
                });
            }
            Err(error) => {
                let error = Arc::new(error);
                let ids: Vec<RequestId> = spans.iter().map(|span| self.jobs[span.job].id).collect();
                self.end(model, &mut finished, on_event, |job| {
                    ids.contains(&job.id).then(|| Err(EngineError::Pass(Arc::clone(&error))))
                });
            }
        }
        finished
    }

    /// Runs a request to its end, and whatever else goes on meanwhile; for those who have nothing else.
    ///
    /// Errors: as for [`Scheduler::submit`], or a pass fails.
    pub fn run(
        &mut self,
        model: &mut dyn LanguageModel,
        tokenizer: &Tokenizer,
        request: &GenerateRequest,
        on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Generation, EngineError> {
        let own = self.submit(model, request.clone())?;
        loop {
            let mut hear = |id, event: Event| if id == own { on_event(event) } else { ControlFlow::Continue(()) };
            let finished = self.step(model, tokenizer, &mut hear);
            if let Some(finished) = finished.into_iter().find(|finished| finished.id == own) {
                return finished.result;
            }
        }
    }

    /// Lets requests run, in the order in which they came, while there is room for all that they may need.
    fn admit(&mut self, model: &mut dyn LanguageModel) {
        let (reads, start) = (model.read_stats(), Instant::now());
        self.restore(model);
        let max_jobs = self.limits.max_batch.min(model.max_rows());
        let kv = model.kv();
        let ctx = context(kv);
        let mut at = 0;
        while at < self.queue.len() && self.jobs.len() < max_jobs {
            let request = &self.queue[at].1;
            let prompt = &request.prompt;
            // All but the last token, whose logits are wanted.
            // The mean is that of all hidden states, so all are computed.
            let is_whole = request.pooling.is_some_and(|pooling| pooling != Pooling::Last);
            let (cached, known) = match is_whole {
                true => (None, 0),
                false => (self.longest_cached(prompt), self.longest_known(prompt)),
            };
            if known >= cached.map_or(0, |(_, len)| len) + PAGE_TOKENS {
                // Another request is about to compute its beginning.
                at += 1;
                continue;
            }
            let reserved: usize = self.jobs.iter().map(|job| job.max_pages(kv)).sum();
            if reserved + kv.pages_for(request.max_len(ctx)) > kv.n_pages() {
                break;
            }
            let (id, request) = self.queue.remove(at).expect("the loop is inside the queue");
            let running = Running::new(request, ctx, reads, start);
            self.begin(kv, Job { id, seq: SeqId(id.0), running, len: 0, is_cancelled: false }, cached);
        }
    }

    /// Brings the beginning of the next prompt from the disk into the prompt cache, if that saves time.
    fn restore(&mut self, model: &mut dyn LanguageModel) {
        let (Some(disk), Some((_, request))) = (&mut self.disk, self.queue.front()) else { return };
        if self.jobs.len() >= self.limits.max_batch {
            return;
        }
        let prompt = &request.prompt;
        let Some((entry, len)) = disk.longest(prompt) else { return };
        let len = len.min(prompt.len() - 1);
        let of_jobs = self.jobs.iter().map(|job| common(job.running.intake(), prompt));
        let has = of_jobs.chain(self.cache.common(prompt).map(|(_, len)| len)).max().unwrap_or(0);
        let is_more = len >= has + PAGE_TOKENS && len.div_ceil(PAGE_TOKENS) <= self.limits.cache_pages;
        if !is_more || !disk.is_worth_it(entry, len, len - has) {
            return;
        }
        let seq = SeqId(u64::MAX - self.n_restored);
        let kv = model.kv();
        while kv.n_new_pages(seq, len) > kv.n_free_pages() && self.cache.evict(kv) {}
        if let Some(tokens) = disk.restore(entry, len, model, seq) {
            self.n_restored += 1;
            self.cache.keep(model.kv(), seq, tokens);
        }
    }

    /// Adds a job, which begins with what the cache has.
    fn begin(&mut self, kv: &mut dyn KvOps, mut job: Job, cached: Option<(SeqId, usize)>) {
        if let Some((seq, len)) = cached
            && kv.fork(seq, job.seq, len).is_ok()
        {
            job.len = len;
            job.running.found_cached(len);
            self.cache.hit(seq, len);
        }
        self.jobs.push(job);
    }

    /// The sequence that begins with most of a prompt and how much of it, of what the KV cache has now; the last token is
    /// never counted, because its logits are wanted.
    fn longest_cached(&self, prompt: &[TokenId]) -> Option<(SeqId, usize)> {
        let of_job = |job: &Job| (job.seq, common(&job.running.context()[..job.len], prompt));
        let all = self.jobs.iter().map(of_job).chain(self.cache.common(prompt));
        let best = all.max_by_key(|(_, len)| *len)?;
        Some((best.0, best.1.min(prompt.len() - 1))).filter(|(_, len)| *len >= prompt_cache::LEAST_TOKENS)
    }

    /// How much of a prompt the requests that run will have computed when they have taken in theirs.
    fn longest_known(&self, prompt: &[TokenId]) -> usize {
        let of_job = |job: &Job| common(job.running.intake(), prompt);
        self.jobs.iter().filter(|job| !job.is_cancelled).map(of_job).max().unwrap_or(0).min(prompt.len() - 1)
    }

    /// What the next pass takes in: a token of each request that decodes, and of prompts what the pace allows, the oldest
    /// first.
    fn plan(&self, max_rows: usize) -> Vec<Span> {
        let indices = || 0..self.jobs.len();
        let decodes = |job: &usize| self.jobs[*job].n_prompt_left() == 0;
        let mut spans: Vec<Span> = indices().filter(decodes).map(|job| Span { job, n: 1 }).collect();
        let mut left = max_rows.saturating_sub(spans.len());
        if !spans.is_empty() {
            left = left.min(self.pace.n_prompt_rows());
        }
        for job in indices().filter(|job| !decodes(job)) {
            let n = self.jobs[job].n_prompt_left().min(left);
            if n > 0 {
                spans.push(Span { job, n });
                left -= n;
            }
        }
        spans
    }

    /// Takes pages from the prompt cache until there are enough for a batch.
    fn make_room(&mut self, kv: &mut dyn KvOps, spans: &[Span]) {
        let wanted =
            |kv: &dyn KvOps| spans.iter().map(|span| kv.n_new_pages(self.jobs[span.job].seq, span.n)).sum::<usize>();
        while wanted(kv) > kv.n_free_pages() && self.cache.evict(kv) {}
    }

    fn batch(&self, spans: &[Span]) -> Batch {
        let segment = |span: &Span| {
            let job = &self.jobs[span.job];
            let left = job.n_prompt_left();
            Segment {
                seq: job.seq,
                start: job.len,
                tokens: job.running.context()[job.len..job.len + span.n].to_vec(),
                logits: match job.running.pooling() {
                    Some(pooling) => LogitRows::Pooled(pooling),
                    None if span.n < left => LogitRows::None,
                    None => LogitRows::Last,
                },
                prompt_len: if left > 0 { job.running.intake().len() } else { 0 },
                parents: Vec::new(),
            }
        };
        Batch { segments: spans.iter().map(segment).collect() }
    }

    /// Hands on what a pass has computed; the requests that end with it, and how.
    fn take(
        &mut self,
        model: &mut dyn LanguageModel,
        tokenizer: &Tokenizer,
        spans: &[Span],
        logits: &Logits,
        on_event: &mut dyn FnMut(RequestId, Event) -> ControlFlow<()>,
    ) -> Vec<(RequestId, Result<FinishReason, EngineError>)> {
        let reads = model.read_stats();
        let mut ended = Vec::new();
        let (mut row, mut pooled_row) = (0, 0);
        for span in spans {
            let job = &mut self.jobs[span.job];
            let id = job.id;
            let was_prompt = !job.running.is_prefilled();
            job.len += span.n;
            let mut result = Ok(None);
            if was_prompt {
                let (done, total) = (job.len, job.running.intake().len());
                if on_event(id, Event::Prefill { done, total }).is_break() {
                    result = Ok(Some(FinishReason::Cancelled));
                }
            } else {
                job.running.decoded();
            }
            if job.running.pooling().is_some() {
                job.running.add_hidden(logits.pooled(pooled_row));
                pooled_row += 1;
            }
            if job.n_prompt_left() == 0 {
                if was_prompt {
                    job.running.prefilled(&reads);
                    if job.running.n_computed() > FEW_TOKENS {
                        self.seconds_per_token = job.running.seconds_per_prompt_token();
                    }
                }
                if job.running.pooling().is_some() {
                    result = result.map(|ended| ended.or(Some(FinishReason::Stop)));
                } else {
                    if matches!(result, Ok(None)) {
                        result = job.running.choose(logits, row, tokenizer, &mut |event| on_event(id, event));
                    }
                    row += 1;
                }
                if matches!(result, Ok(None)) {
                    job.shift(model.kv());
                }
            }
            match result {
                Ok(None) => {}
                Ok(Some(reason)) => ended.push((id, Ok(reason))),
                Err(error) => ended.push((id, Err(error))),
            }
        }
        ended
    }

    /// Ends the jobs for which `how` gives a reason or an error.
    fn end(
        &mut self,
        model: &mut dyn LanguageModel,
        finished: &mut Vec<Finished>,
        on_event: &mut dyn FnMut(RequestId, Event) -> ControlFlow<()>,
        mut how: impl FnMut(&Job) -> Option<Result<FinishReason, EngineError>>,
    ) {
        let mut at = 0;
        while at < self.jobs.len() {
            let Some(result) = how(&self.jobs[at]) else {
                at += 1;
                continue;
            };
            let job = self.jobs.remove(at);
            let tokens = job.running.context()[..job.len.min(job.running.context().len())].to_vec();
            match &result {
                Ok(_) => self.cache.keep(model.kv(), job.seq, tokens),
                Err(_) => model.kv().remove(job.seq),
            }
            let id = job.id;
            let reads = model.read_stats();
            let result = result.map(|reason| job.running.finish(reason, &reads, &mut |event| on_event(id, event)));
            finished.push(Finished { id, result });
        }
    }
}

/// The most tokens that a sequence can have.
fn context(kv: &dyn KvOps) -> usize {
    let (ctx, n_pages) = (kv.context(), kv.n_pages());
    if kv.pages_for(ctx) <= n_pages { ctx } else { ctx.min(n_pages * PAGE_TOKENS) }
}

/// How many tokens two sequences begin with in common.
fn common(a: &[TokenId], b: &[TokenId]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests;
