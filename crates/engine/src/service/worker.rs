//! The thread's side: it obeys commands between passes and runs passes as long as there is work.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use forward::SeqId;
use store::ReadStats;

use crate::disk_cache::DiskCache;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::load::{EngineOptions, LoadedModel, ModelFile};
use crate::prompt_cache::CacheStats;
use crate::request::{Event, GenerateRequest};
use crate::scheduler::Limits;
use crate::service::reply::{Listener, Reply};
use crate::service::snapshot::{Meter, Snapshot};

/// After this much idle time, the prompt cache is saved.
const SAVE_AFTER: Duration = Duration::from_secs(20);

/// How a service runs its model.
pub struct ServiceOptions {
    /// How the model is loaded, again after it was unloaded.
    pub engine: EngineOptions,
    /// What is accepted at once.
    pub limits: Limits,
    /// The folder of the prompt cache's files, and the most bytes that they may take.
    pub cache: Option<(PathBuf, u64)>,
}

/// What both sides see.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) snapshot: Mutex<Snapshot>,
    /// Requests that have not ended.
    pub(super) n_open: AtomicUsize,
    /// Of these, the ones that have not been cancelled.
    pub(super) n_wanted: AtomicUsize,
    pub(super) is_stopping: AtomicBool,
    /// Interrupts the running pass.
    pub(super) stop_pass: Mutex<Arc<AtomicBool>>,
}

/// What the thread is asked to do.
pub(super) enum Command {
    Submit(Box<GenerateRequest>, Open),
    /// Some request's flag says that it is cancelled.
    Cancel,
    CancelAll,
    Unload,
    Stop,
}

/// A request as the thread knows it.
pub(super) struct Open {
    pub(super) is_cancelled: Arc<AtomicBool>,
    pub(super) listener: Listener,
}

/// The state of the thread.
pub(super) struct Worker {
    /// None while the model is not loaded.
    engine: Option<Engine>,
    options: ServiceOptions,
    path: PathBuf,
    identity: u128,
    open: HashMap<SeqId, Open>,
    shared: Arc<Shared>,
    meter: Meter,
    /// The prompt cache's counts, those of unloaded models included.
    cache_before: CacheStats,
    is_saved: bool,
}

impl Worker {
    /// Errors: the model cannot be identified, or the folder of the prompt cache cannot be used.
    pub(super) fn new(
        file: &ModelFile,
        model: LoadedModel,
        options: ServiceOptions,
        shared: &Arc<Shared>,
    ) -> Result<Worker, EngineError> {
        let mut worker = Worker {
            engine: None,
            path: file.path().to_owned(),
            identity: file.cache_identity(&options.engine)?.model,
            options,
            open: HashMap::new(),
            shared: Arc::clone(shared),
            meter: Meter::new(),
            cache_before: CacheStats::default(),
            is_saved: true,
        };
        worker.start(file, model)?;
        worker.publish();
        Ok(worker)
    }

    /// Obeys and computes until it is told to stop and every request has ended.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        let mut is_open = true;
        while is_open || !self.is_idle() {
            if self.is_idle() {
                match commands.recv_timeout(SAVE_AFTER) {
                    Ok(command) => is_open = self.obey(command),
                    Err(RecvTimeoutError::Timeout) => self.save(),
                    Err(RecvTimeoutError::Disconnected) => is_open = false,
                }
            }
            while let Ok(command) = commands.try_recv() {
                is_open &= self.obey(command);
            }
            if !self.is_idle() {
                self.step();
            }
            self.publish();
        }
        self.save();
    }

    fn is_idle(&self) -> bool {
        self.engine.as_ref().is_none_or(Engine::is_idle)
    }

    /// Carries out a command; whether more may come.
    fn obey(&mut self, command: Command) -> bool {
        match command {
            Command::Submit(request, open) => self.submit(*request, open),
            Command::Cancel => self.cancel(|open| open.is_cancelled.load(Ordering::Relaxed)),
            Command::CancelAll => self.cancel(|open| {
                open.is_cancelled.store(true, Ordering::Relaxed);
                true
            }),
            Command::Unload => self.unload(),
            Command::Stop => return false,
        }
        true
    }

    fn submit(&mut self, request: GenerateRequest, mut open: Open) {
        match self.loaded().and_then(|engine| engine.submit(request)) {
            Ok(id) => {
                self.open.insert(id, open);
            }
            Err(error) => {
                self.meter.totals.requests += 1;
                self.meter.totals.failed += 1;
                let _ = (open.listener)(Reply::Done(Err(error)));
                self.close(&open);
            }
        }
    }

    fn cancel(&mut self, which: impl Fn(&Open) -> bool) {
        let Some(engine) = &mut self.engine else { return };
        self.open.iter().filter(|(_, open)| which(open)).for_each(|(id, _)| engine.cancel(*id));
    }

    /// The engine, with the model loaded again if it was unloaded.
    fn loaded(&mut self) -> Result<&mut Engine, EngineError> {
        if self.engine.is_none() {
            let file = ModelFile::open(&self.path)?;
            if file.cache_identity(&self.options.engine)?.model != self.identity {
                return Err(EngineError::Replaced { path: self.path.display().to_string() });
            }
            let model = file.load(&self.options.engine)?;
            self.start(&file, model)?;
        }
        Ok(self.engine.as_mut().expect("it has just been started if it was missing"))
    }

    /// Starts the engine on a model.
    fn start(&mut self, file: &ModelFile, model: LoadedModel) -> Result<(), EngineError> {
        *lock(&self.shared.stop_pass) = Arc::clone(&model.stop);
        let page_bytes = model.model.page_bytes();
        let mut engine = Engine::new(model, self.options.limits);
        if let Some((folder, max_bytes)) = &self.options.cache {
            let identity = file.cache_identity(&self.options.engine)?;
            let disk = DiskCache::open(folder, identity, page_bytes, *max_bytes);
            engine.use_disk(disk.map_err(|source| {
                let path = folder.display().to_string();
                EngineError::CacheFolder { path, source }
            })?);
        }
        self.engine = Some(engine);
        Ok(())
    }

    fn unload(&mut self) {
        if !self.is_idle() {
            return;
        }
        self.save();
        if let Some(engine) = self.engine.take() {
            self.meter.unload(&engine.loaded.model.read_stats());
            self.cache_before = CacheStats { pages: 0, ..self.cache_before.plus(&engine.cache_stats()) };
        }
    }

    /// Saves the prompt cache, unless nothing has changed.
    fn save(&mut self) {
        if self.is_saved {
            return;
        }
        self.is_saved = true;
        let Some(engine) = &mut self.engine else { return };
        if let Err(error) = engine.save() {
            tracing::warn!("the prompt cache was not saved: {error}");
        }
    }

    fn step(&mut self) {
        let Some(engine) = &mut self.engine else { return };
        lock(&self.shared.stop_pass).store(false, Ordering::Relaxed);
        self.is_saved = false;
        let start = Instant::now();
        let (open, totals) = (&mut self.open, &mut self.meter.totals);
        let mut listener = |id: SeqId, event: Event<'_>| {
            let Some(open) = open.get_mut(&id) else { return ControlFlow::Continue(()) };
            if matches!(event, Event::Token { .. }) {
                totals.generated_tokens += 1;
            }
            if open.is_cancelled.load(Ordering::Relaxed) {
                return ControlFlow::Break(());
            }
            (open.listener)(Reply::Event(event))
        };
        let finished = engine.step(&mut listener);
        totals.pass_time += start.elapsed();
        totals.passes += 1;
        let mut ended = Vec::new();
        for finished in finished {
            let Some(open) = self.open.remove(&finished.id) else { continue };
            self.meter.totals.requests += 1;
            match &finished.result {
                Ok(generation) => self.meter.totals.prompt_tokens += generation.prompt_tokens as u64,
                Err(_) => self.meter.totals.failed += 1,
            }
            self.close(&open);
            ended.push((open, finished.result));
        }
        // By the time that a listener hears of an end, it is counted.
        self.publish();
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

    /// Updates the snapshot.
    fn publish(&mut self) {
        let mut snapshot = Snapshot { cache: self.cache_before, ..Snapshot::default() };
        let mut reads = ReadStats::default();
        if let Some(engine) = &mut self.engine {
            snapshot.is_loaded = true;
            snapshot.load = engine.load();
            snapshot.cache = self.cache_before.plus(&engine.cache_stats());
            let model = &mut engine.loaded.model;
            snapshot.page_bytes = model.page_bytes();
            reads = model.read_stats();
            let kv = model.kv();
            (snapshot.n_pages, snapshot.n_free_pages) = (kv.n_pages(), kv.n_free_pages());
        }
        (snapshot.totals, snapshot.recent) = self.meter.read(&reads);
        *lock(&self.shared.snapshot) = snapshot;
    }
}

/// Nothing that is done under these locks can fail half way.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
