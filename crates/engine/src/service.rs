//! The engine on a thread of its own: requests come in from anywhere, and what happens to them goes to their listeners.
//!
//! [`Service::start`] takes a loaded model; [`Service::submit`] hands it a request and returns at once. The [`Ticket`] that it
//! gives cancels the request when it is dropped. Between requests the weights can be let go of ([`Service::unload`]); the next
//! request brings them back. [`Service::snapshot`] tells what is going on without waiting for a pass.
//!
//! Deliberately absent: async code; listeners are called on the engine's thread and must not wait.

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use store::ReadStats;

use crate::scheduler::{CacheStats, DiskCache, Limits, Load, RequestId, Scheduler};
use crate::{EngineError, EngineOptions, Event, GenerateRequest, Generation, LoadedModel, ModelFile};

/// After so long without a request, prompts are written to the disk.
const SAVE_AFTER: Duration = Duration::from_secs(20);

/// Over how long the rates of a snapshot are taken, and how often at most they are looked at.
const RECENT: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How often a stop looks whether the requests have ended.
const STOP_POLL: Duration = Duration::from_millis(10);

/// Where what happens to a request goes; breaking from it cancels. It is called on the engine's thread.
pub type Listener = Box<dyn FnMut(Reply<'_>) -> ControlFlow<()> + Send>;

/// What a listener hears.
pub enum Reply<'a> {
    /// Something happened.
    Event(Event<'a>),
    /// The request has ended; nothing follows.
    Done(Result<Box<Generation>, EngineError>),
}

/// What a service is made of.
pub struct ServiceOptions {
    /// How the model is loaded, again after it was unloaded.
    pub engine: EngineOptions,
    /// What is taken on at once.
    pub limits: Limits,
    /// Where computed prompts are kept between starts, and in how many bytes.
    pub cache: Option<(PathBuf, u64)>,
}

/// What goes on, and what has been done since the start.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Whether the model is in memory.
    pub is_loaded: bool,
    /// Whether the thread has ended, after which nothing is answered any more.
    pub has_failed: bool,
    /// Requests.
    pub load: Load,
    /// The prompt cache.
    pub cache: CacheStats,
    /// Pages of the KV cache, and how many of them are free.
    pub n_pages: usize,
    /// Of them, those that nothing is in.
    pub n_free_pages: usize,
    /// Bytes of each.
    pub page_bytes: usize,
    /// Since the start.
    pub totals: Totals,
    /// In the last seconds.
    pub recent: Totals,
}

/// Work done in some time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// The time, in which there may have been nothing to do.
    pub time: Duration,
    /// Time in passes.
    pub pass_time: Duration,
    /// Passes.
    pub passes: u64,
    /// Requests that have ended.
    pub requests: u64,
    /// Of them, those that failed.
    pub failed: u64,
    /// Tokens of prompts that were taken in, those that were known included.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub generated_tokens: u64,
    /// Bytes of weights read.
    pub bytes_read: u64,
    /// Time in which a pass waited for them.
    pub stall: Duration,
    /// Slabs that were in memory when they were needed, and all that were needed.
    pub hits: u64,
    /// All slabs that were needed.
    pub slabs: u64,
    /// Bytes of weights that are kept now.
    pub pinned_bytes: u64,
}

/// A model that answers requests, on a thread of its own.
pub struct Service {
    commands: Sender<Command>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    most: usize,
}

/// A request on its way; dropping it cancels the request.
pub struct Ticket {
    id: u64,
    is_cancelled: Arc<AtomicBool>,
    commands: Sender<Command>,
    shared: Arc<Shared>,
}

/// What both sides see.
#[derive(Default)]
struct Shared {
    snapshot: Mutex<Snapshot>,
    /// Requests that have not ended.
    n_open: AtomicUsize,
    /// Of them, those that somebody waits for.
    n_wanted: AtomicUsize,
    is_stopping: AtomicBool,
    /// Ends the pass that is running.
    stop_pass: Mutex<Arc<AtomicBool>>,
    next_id: AtomicUsize,
}

enum Command {
    Submit(u64, Box<GenerateRequest>, Arc<AtomicBool>, Listener),
    Cancel(u64),
    CancelAll,
    Unload,
    Stop,
}

/// The thread's side.
struct Worker {
    model: Option<LoadedModel>,
    options: ServiceOptions,
    path: PathBuf,
    identity: u128,
    scheduler: Scheduler,
    open: HashMap<RequestId, Open>,
    shared: Arc<Shared>,
    started: Instant,
    totals: Totals,
    /// What had been read by models that were unloaded.
    read_before: ReadStats,
    looks: VecDeque<(Instant, Totals)>,
    is_saved: bool,
}

/// A request as the thread knows it.
struct Open {
    ticket: u64,
    is_cancelled: Arc<AtomicBool>,
    listener: Listener,
}

impl Service {
    /// Starts a thread for a model.
    ///
    /// Errors: the model cannot be told from others, or the folder of computed prompts cannot be used.
    pub fn start(file: &ModelFile, model: LoadedModel, options: ServiceOptions) -> Result<Service, EngineError> {
        let identity = file.cache_identity(&options.engine)?;
        let mut scheduler = Scheduler::new(options.limits);
        if let Some((folder, max_bytes)) = &options.cache {
            let disk = DiskCache::open(folder, identity, model.model.page_bytes(), *max_bytes);
            scheduler.use_disk(disk.map_err(|source| {
                let path = folder.display().to_string();
                EngineError::CacheFolder { path, source }
            })?);
        }
        let most = options.limits.max_batch + options.limits.max_queue;
        let shared = Arc::new(Shared::default());
        *lock(&shared.stop_pass) = Arc::clone(&model.stop);
        let mut worker = Worker {
            path: file.path().to_owned(),
            identity: identity.model,
            model: Some(model),
            options,
            scheduler,
            open: HashMap::new(),
            shared: Arc::clone(&shared),
            started: Instant::now(),
            totals: Totals::default(),
            read_before: ReadStats::default(),
            looks: VecDeque::new(),
            is_saved: true,
        };
        worker.tell();
        let (commands, receiver) = channel();
        let thread = std::thread::Builder::new().name("engine".to_owned()).spawn(move || worker.run(&receiver));
        let thread = thread.map_err(EngineError::Thread)?;
        Ok(Service { commands, shared, thread: Mutex::new(Some(thread)), most })
    }

    /// Hands over a request; `listener` hears what happens to it, its end last.
    ///
    /// Errors: too many requests wait, or the service is stopping. All other errors reach the listener.
    pub fn submit(&self, request: GenerateRequest, listener: Listener) -> Result<Ticket, EngineError> {
        if self.shared.is_stopping.load(Ordering::Relaxed) {
            return Err(EngineError::Stopping);
        }
        let is_room = |n: usize| (n < self.most).then_some(n + 1);
        if self.shared.n_open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_room).is_err() {
            return Err(EngineError::QueueFull { max: self.most });
        }
        self.shared.n_wanted.fetch_add(1, Ordering::Relaxed);
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed) as u64;
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let ticket = Ticket {
            id,
            is_cancelled: Arc::clone(&is_cancelled),
            commands: self.commands.clone(),
            shared: Arc::clone(&self.shared),
        };
        let command = Command::Submit(id, Box::new(request), is_cancelled, listener);
        self.commands.send(command).map_err(|_| EngineError::Stopped)?;
        Ok(ticket)
    }

    /// Lets go of the model's memory if no request is on its way. The next request loads it again.
    pub fn unload(&self) {
        // A thread that has ended holds no memory.
        let _ = self.commands.send(Command::Unload);
    }

    /// What goes on; never waits for a pass.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = lock(&self.shared.snapshot).clone();
        snapshot.has_failed = lock(&self.thread).as_ref().is_none_or(JoinHandle::is_finished);
        // Requests that the thread has not looked at yet wait.
        let known = snapshot.load.queued + snapshot.load.prefilling + snapshot.load.decoding;
        snapshot.load.queued += self.shared.n_open.load(Ordering::Relaxed).saturating_sub(known);
        snapshot
    }

    /// Takes no more requests, gives those that are there `grace` to end, cancels the rest, writes what was computed to the
    /// disk, and ends the thread.
    pub fn stop(&self, grace: Duration) {
        self.shared.is_stopping.store(true, Ordering::Relaxed);
        let end = Instant::now() + grace;
        while self.shared.n_open.load(Ordering::Relaxed) > 0 && Instant::now() < end && !self.snapshot().has_failed {
            std::thread::sleep(STOP_POLL);
        }
        self.shared.n_wanted.store(0, Ordering::Relaxed);
        // The thread has ended already where nobody hears this.
        let _ = self.commands.send(Command::CancelAll);
        let _ = self.commands.send(Command::Stop);
        lock(&self.shared.stop_pass).store(true, Ordering::Relaxed);
        if let Some(thread) = lock(&self.thread).take() {
            // Its panic, if it had one, was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.is_cancelled.swap(true, Ordering::Relaxed) {
            return;
        }
        // A pass that nobody waits for need not go on.
        let before = self.shared.n_wanted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        let _ = self.commands.send(Command::Cancel(self.id));
        if before == Ok(1) {
            lock(&self.shared.stop_pass).store(true, Ordering::Relaxed);
        }
    }
}

impl Worker {
    fn run(mut self, commands: &Receiver<Command>) {
        let mut is_open = true;
        while is_open || !self.scheduler.is_idle() {
            if self.scheduler.is_idle() {
                match commands.recv_timeout(SAVE_AFTER) {
                    Ok(command) => is_open = self.obey(command),
                    Err(RecvTimeoutError::Timeout) => self.save(),
                    Err(RecvTimeoutError::Disconnected) => is_open = false,
                }
            }
            while let Ok(command) = commands.try_recv() {
                is_open &= self.obey(command);
            }
            if !self.scheduler.is_idle() {
                self.step();
            }
            self.tell();
        }
        self.save();
    }

    /// Does what was asked; whether more may come.
    fn obey(&mut self, command: Command) -> bool {
        match command {
            Command::Submit(ticket, request, is_cancelled, listener) => {
                self.submit(Open { ticket, is_cancelled, listener }, *request);
            }
            Command::Cancel(ticket) => {
                let id = self.open.iter().find(|(_, open)| open.ticket == ticket).map(|(id, _)| *id);
                id.into_iter().for_each(|id| self.scheduler.cancel(id));
            }
            Command::CancelAll => {
                for (id, open) in &self.open {
                    open.is_cancelled.store(true, Ordering::Relaxed);
                    self.scheduler.cancel(*id);
                }
            }
            Command::Unload => self.unload(),
            Command::Stop => return false,
        }
        true
    }

    fn submit(&mut self, mut open: Open, request: GenerateRequest) {
        let result = self.loaded().map(|_| ()).and_then(|()| {
            let model = self.model.as_mut().expect("it has just been loaded");
            self.scheduler.submit(model.model.as_mut(), request)
        });
        match result {
            Ok(id) => {
                self.open.insert(id, open);
            }
            Err(error) => {
                self.totals.requests += 1;
                self.totals.failed += 1;
                let _ = (open.listener)(Reply::Done(Err(error)));
                self.close(&open);
            }
        }
    }

    /// The model, which is loaded if it is not there.
    fn loaded(&mut self) -> Result<&mut LoadedModel, EngineError> {
        if self.model.is_none() {
            let file = ModelFile::open(&self.path)?;
            if file.cache_identity(&self.options.engine)?.model != self.identity {
                return Err(EngineError::Replaced { path: self.path.display().to_string() });
            }
            let model = file.load(&self.options.engine)?;
            *lock(&self.shared.stop_pass) = Arc::clone(&model.stop);
            self.model = Some(model);
        }
        Ok(self.model.as_mut().expect("it is there or has just been loaded"))
    }

    fn unload(&mut self) {
        if !self.scheduler.is_idle() {
            return;
        }
        self.save();
        if let Some(mut model) = self.model.take() {
            self.scheduler.clear_cache(model.model.as_mut());
            self.read_before = added(&self.read_before, &model.model.read_stats());
        }
    }

    /// Writes what was computed to the disk, if there is something new and a place for it.
    fn save(&mut self) {
        if self.is_saved {
            return;
        }
        self.is_saved = true;
        let Some(model) = &mut self.model else { return };
        if let Err(error) = self.scheduler.save(model.model.as_mut()) {
            tracing::warn!("the prompt cache was not written: {error}");
        }
    }

    fn step(&mut self) {
        let Some(model) = &mut self.model else { return };
        lock(&self.shared.stop_pass).store(false, Ordering::Relaxed);
        self.is_saved = false;
        let start = Instant::now();
        let (open, totals) = (&mut self.open, &mut self.totals);
        let mut on_event = |id: RequestId, event: Event<'_>| {
            let Some(open) = open.get_mut(&id) else { return ControlFlow::Continue(()) };
            if matches!(event, Event::Token { .. }) {
                totals.generated_tokens += 1;
            }
            if open.is_cancelled.load(Ordering::Relaxed) {
                return ControlFlow::Break(());
            }
            (open.listener)(Reply::Event(event))
        };
        let finished = self.scheduler.step(model.model.as_mut(), &model.tokenizer, &mut on_event);
        self.totals.pass_time += start.elapsed();
        self.totals.passes += 1;
        let mut ended = Vec::new();
        for finished in finished {
            let Some(open) = self.open.remove(&finished.id) else { continue };
            self.totals.requests += 1;
            match &finished.result {
                Ok(generation) => self.totals.prompt_tokens += generation.prompt_tokens as u64,
                Err(_) => self.totals.failed += 1,
            }
            self.close(&open);
            ended.push((open, finished.result));
        }
        // Whoever hears of an end finds it counted.
        self.tell();
        for (mut open, result) in ended {
            let _ = (open.listener)(Reply::Done(result.map(Box::new)));
        }
    }

    /// Counts a request out.
    fn close(&mut self, open: &Open) {
        self.shared.n_open.fetch_sub(1, Ordering::Relaxed);
        if !open.is_cancelled.swap(true, Ordering::Relaxed) {
            let _ = self.shared.n_wanted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        }
    }

    /// Shows what goes on.
    fn tell(&mut self) {
        let now = Instant::now();
        let mut snapshot =
            Snapshot { load: self.scheduler.load(), cache: self.scheduler.cache_stats(), ..Snapshot::default() };
        let mut reads = self.read_before;
        if let Some(model) = &mut self.model {
            snapshot.is_loaded = true;
            snapshot.page_bytes = model.model.page_bytes();
            reads = added(&reads, &model.model.read_stats());
            let kv = model.model.kv();
            (snapshot.n_pages, snapshot.n_free_pages) = (kv.n_pages(), kv.n_free_pages());
        }
        self.totals = Totals {
            time: now - self.started,
            bytes_read: reads.bytes_read,
            stall: reads.stall,
            hits: reads.hits,
            slabs: reads.hits + reads.prefetch_hits + reads.misses,
            pinned_bytes: reads.pinned_bytes,
            ..self.totals
        };
        while self.looks.len() > 1 && self.looks.front().is_some_and(|(at, _)| now - *at > RECENT) {
            self.looks.pop_front();
        }
        if self.looks.back().is_none_or(|(at, _)| now - *at > LOOK_EVERY) {
            self.looks.push_back((now, self.totals));
        }
        snapshot.totals = self.totals;
        snapshot.recent = self.looks.front().map_or(self.totals, |(_, earlier)| self.totals.since(earlier));
        *lock(&self.shared.snapshot) = snapshot;
    }
}

impl Totals {
    /// What has been added since `earlier`.
    fn since(&self, earlier: &Totals) -> Totals {
        Totals {
            time: self.time - earlier.time,
            pass_time: self.pass_time - earlier.pass_time,
            passes: self.passes - earlier.passes,
            requests: self.requests - earlier.requests,
            failed: self.failed - earlier.failed,
            prompt_tokens: self.prompt_tokens - earlier.prompt_tokens,
            generated_tokens: self.generated_tokens - earlier.generated_tokens,
            bytes_read: self.bytes_read - earlier.bytes_read,
            stall: self.stall - earlier.stall,
            hits: self.hits - earlier.hits,
            slabs: self.slabs - earlier.slabs,
            pinned_bytes: self.pinned_bytes,
        }
    }
}

/// The counts of two models, one after the other; what is in memory is the second's.
fn added(a: &ReadStats, b: &ReadStats) -> ReadStats {
    ReadStats {
        bytes_read: a.bytes_read + b.bytes_read,
        stall: a.stall + b.stall,
        busy: a.busy + b.busy,
        hits: a.hits + b.hits,
        prefetch_hits: a.prefetch_hits + b.prefetch_hits,
        misses: a.misses + b.misses,
        evictions: a.evictions + b.evictions,
        pinned_bytes: b.pinned_bytes,
        given_up_bytes: b.given_up_bytes,
    }
}

/// Nothing that is done under these locks can fail half way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tempfile::TempPath;
    use testkit::{TinySpec, temp_model};

    use super::*;
    use crate::FinishReason;

    /// What a listener heard.
    #[derive(Debug)]
    enum Heard {
        Text(String),
        Done(Result<Box<Generation>, EngineError>),
    }

    fn start(max_batch: usize, max_queue: usize) -> (TempPath, Service) {
        let path = temp_model(&TinySpec::from_line("llama").build().gguf_bytes());
        let engine = EngineOptions { ctx: Some(128), threads: 1, max_sequences: max_batch, ..EngineOptions::default() };
        let file = ModelFile::open(&path).expect("the model is whole");
        let model = file.load(&engine).expect("the model loads");
        let limits = Limits { max_batch, max_queue, cache_pages: 8 };
        let service = Service::start(&file, model, ServiceOptions { engine, limits, cache: None });
        (path, service.expect("the service starts"))
    }

    fn request(n: usize) -> GenerateRequest {
        let sampling = crate::SamplingOptions { temperature: 0.0, ..Default::default() };
        GenerateRequest { prompt: vec![40, 41, 42], max_tokens: Some(n), sampling, ..GenerateRequest::default() }
    }

    fn submit(service: &Service, request: GenerateRequest) -> (Ticket, mpsc::Receiver<Heard>) {
        let (sender, receiver) = mpsc::channel();
        let listener = move |reply: Reply<'_>| {
            let heard = match reply {
                Reply::Event(Event::Token { text, .. } | Event::Rest { text }) => Heard::Text(text.to_owned()),
                Reply::Event(_) => return ControlFlow::Continue(()),
                Reply::Done(result) => Heard::Done(result),
            };
            match sender.send(heard) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        };
        let ticket = service.submit(request, Box::new(listener)).expect("there is room");
        (ticket, receiver)
    }

    /// The texts that came, one after another, and the end.
    fn end(receiver: &mpsc::Receiver<Heard>) -> (String, Result<Box<Generation>, EngineError>) {
        let mut all = String::new();
        loop {
            match receiver.recv().expect("a request ends") {
                Heard::Text(text) => all.push_str(&text),
                Heard::Done(result) => return (all, result),
            }
        }
    }

    fn is_quiet(service: &Service) -> bool {
        let load = service.snapshot().load;
        load.queued + load.prefilling + load.decoding == 0
    }

    #[test]
    fn what_is_heard_is_the_answer_and_unloading_changes_nothing() {
        let (_file, service) = start(2, 4);
        let (text, first) = end(&submit(&service, request(20)).1);
        // The ticket is gone, but the request had ended or its text would be short.
        let (_ticket, receiver) = submit(&service, request(20));
        let (again, second) = end(&receiver);
        let (first, second) = (first.expect("it runs"), second.expect("it runs"));
        assert_eq!((&again, second.tokens.len()), (&second.text, 20));
        assert!(second.text.starts_with(&first.text) && second.text.starts_with(&text));
        service.unload();
        while service.snapshot().is_loaded {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(service.snapshot().n_pages, 0);
        let (_ticket, receiver) = submit(&service, request(20));
        assert_eq!(end(&receiver).1.expect("it is loaded again").tokens, second.tokens);
        assert!(service.snapshot().totals.bytes_read > 0);
        service.stop(Duration::from_secs(5));
        assert!(service.submit(request(1), Box::new(|_| ControlFlow::Continue(()))).is_err());
    }

    #[test]
    fn dropping_a_ticket_cancels_and_too_many_are_refused() {
        let (_file, service) = start(1, 2);
        let endless = GenerateRequest { overflow: crate::Overflow::Shift { n_keep: 1 }, ..request(1_000_000) };
        let (running, heard) = submit(&service, endless);
        assert!(matches!(heard.recv(), Ok(Heard::Text(_))));
        let waiting = [submit(&service, request(3)), submit(&service, request(3))];
        let refused = service.submit(request(3), Box::new(|_| ControlFlow::Continue(())));
        assert!(matches!(refused, Err(EngineError::QueueFull { max: 3 })));
        drop(running);
        let cancelled = end(&heard).1.expect("it was cancelled");
        assert_eq!(cancelled.finish_reason, FinishReason::Cancelled);
        for (_ticket, receiver) in &waiting {
            assert_eq!(end(receiver).1.expect("it runs").tokens.len(), 3);
        }
        while !is_quiet(&service) {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(service.snapshot().totals.requests, 3);
    }

    #[test]
    fn stopping_ends_what_will_not_end_and_errors_are_heard() {
        let (_file, service) = start(1, 4);
        let (_ticket, heard) = submit(&service, GenerateRequest { prompt: vec![1; 500], ..request(1) });
        assert!(matches!(end(&heard).1, Err(EngineError::PromptTooLong { prompt: 500, ctx: 128 })));
        let endless = GenerateRequest { overflow: crate::Overflow::Shift { n_keep: 1 }, ..request(1_000_000) };
        let (_ticket, heard) = submit(&service, endless);
        service.stop(Duration::from_millis(20));
        assert_eq!(end(&heard).1.expect("it was cancelled").finish_reason, FinishReason::Cancelled);
    }
}
