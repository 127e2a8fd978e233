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

use crate::engine::Engine;
use crate::error::EngineError;
use crate::load::{LoadedModel, ModelFile};
use crate::options::EngineOptions;
use crate::prompt_cache::CacheStats;
use crate::request::{Event, GenerateRequest};
use crate::scheduler::Limits;
use crate::service::reply::{Listener, Reply};
use crate::service::snapshot::{Meter, Snapshot};

/// After this much idle time, the prompt cache is saved.
const SAVE_AFTER: Duration = Duration::from_secs(20);

/// While it is being saved, the thread looks this often for a free buffer.
const SAVE_POLL: Duration = Duration::from_millis(2);

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
    save: SaveState,
    /// Whether the model is unloaded once the prompt cache is saved.
    is_unloading: bool,
}

/// Whether the prompt cache's files are up to date.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SaveState {
    Saved,
    Saving,
    Changed,
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
            save: SaveState::Saved,
            is_unloading: false,
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
                let wait = if self.save == SaveState::Saving { SAVE_POLL } else { SAVE_AFTER };
                match commands.recv_timeout(wait) {
                    Ok(command) => is_open = self.obey(command),
                    Err(RecvTimeoutError::Timeout) => self.save_some(),
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
        let result = self.engine.as_mut().map_or(Ok(()), Engine::save);
        result.unwrap_or_else(|error| warn_not_saved(&error));
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
        self.is_unloading = false;
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
        let mut engine = Engine::new(model, self.options.limits);
        if let Some((folder, max_bytes)) = &self.options.cache {
            engine.use_files(folder, file.cache_identity(&self.options.engine)?, *max_bytes)?;
        }
        self.engine = Some(engine);
        Ok(())
    }

    /// Unloads the model, unless there is work; the prompt cache is saved first.
    fn unload(&mut self) {
        if self.is_idle() {
            self.is_unloading = true;
            self.save_some();
        }
    }

    /// Saves what it can of the prompt cache without waiting for the disk, and unloads the model if that was the last of it.
    fn save_some(&mut self) {
        let Some(engine) = &mut self.engine else { return };
        if self.save != SaveState::Saved {
            self.save = match engine.save_some(Duration::ZERO) {
                Ok(false) => SaveState::Saving,
                Ok(true) => SaveState::Saved,
                Err(error) => {
                    warn_not_saved(&error);
                    SaveState::Saved
                }
            };
        }
        if self.is_unloading && self.save == SaveState::Saved {
            self.is_unloading = false;
            self.meter.unload(&engine.loaded.model.read_stats());
            self.cache_before = CacheStats { pages: 0, ..self.cache_before.plus(&engine.cache_stats()) };
            self.engine = None;
        }
    }

    fn step(&mut self) {
        let Some(engine) = &mut self.engine else { return };
        lock(&self.shared.stop_pass).store(false, Ordering::Relaxed);
        self.save = SaveState::Changed;
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

fn warn_not_saved(error: &std::io::Error) {
    tracing::warn!("the prompt cache was not saved: {error}");
}

/// Nothing that is done under these locks can fail half way.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
