//! The callers' side: requests, tickets, snapshots, and the end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::EngineError;
use crate::load::{LoadedModel, ModelFile};
use crate::request::GenerateRequest;
use crate::service::reply::Listener;
use crate::service::snapshot::Snapshot;
use crate::service::worker::{Command, Open, ServiceOptions, Shared, Worker, lock};

/// How often a stop checks whether the requests have ended.
const STOP_POLL: Duration = Duration::from_millis(10);

/// A model that answers requests on its thread.
pub struct Service {
    commands: Sender<Command>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    max_open: usize,
}

/// A request on its way; dropping it cancels the request.
pub struct Ticket {
    is_cancelled: Arc<AtomicBool>,
    commands: Sender<Command>,
    shared: Arc<Shared>,
}

impl Service {
    /// Starts a thread for a model.
    ///
    /// Errors: the model cannot be identified, or the folder of the prompt cache cannot be used.
    pub fn start(file: &ModelFile, model: LoadedModel, options: ServiceOptions) -> Result<Service, EngineError> {
        let max_open = options.limits.max_batch + options.limits.max_queue;
        let shared = Arc::new(Shared::default());
        let worker = Worker::new(file, model, options, &shared)?;
        let (commands, receiver) = channel();
        let thread = std::thread::Builder::new().name("engine".to_owned()).spawn(move || worker.run(&receiver));
        let thread = Mutex::new(Some(thread.map_err(EngineError::Thread)?));
        Ok(Service { commands, shared, thread, max_open })
    }

    /// Submits a request; `listener` hears its events, its end last.
    ///
    /// Errors: too many requests wait, or the service is stopping. All other errors reach the listener.
    pub fn submit(&self, request: GenerateRequest, listener: Listener) -> Result<Ticket, EngineError> {
        if self.shared.is_stopping.load(Ordering::Relaxed) {
            return Err(EngineError::Stopping);
        }
        let is_room = |n: usize| (n < self.max_open).then_some(n + 1);
        if self.shared.n_open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_room).is_err() {
            return Err(EngineError::QueueFull { max: self.max_open });
        }
        self.shared.n_wanted.fetch_add(1, Ordering::Relaxed);
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let open = Open { is_cancelled: Arc::clone(&is_cancelled), listener };
        let command = Command::Submit(Box::new(request), open);
        self.commands.send(command).map_err(|_| EngineError::Stopped)?;
        Ok(Ticket { is_cancelled, commands: self.commands.clone(), shared: Arc::clone(&self.shared) })
    }

    /// Unloads the model if no request is under way. The next request loads it again.
    pub fn unload(&self) {
        // A thread that has ended holds no memory.
        let _ = self.commands.send(Command::Unload);
    }

    /// What is going on; never waits for a pass.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = lock(&self.shared.snapshot).clone();
        snapshot.has_failed = lock(&self.thread).as_ref().is_none_or(JoinHandle::is_finished);
        // Requests that the thread has not seen yet are waiting.
        let known = snapshot.load.queued + snapshot.load.prefilling + snapshot.load.decoding;
        snapshot.load.queued += self.shared.n_open.load(Ordering::Relaxed).saturating_sub(known);
        snapshot
    }

    /// Refuses new requests, gives those under way `grace` to end, cancels the rest, saves the prompt cache and ends the
    /// thread.
    pub fn stop(&self, grace: Duration) {
        self.shared.is_stopping.store(true, Ordering::Relaxed);
        let end = Instant::now() + grace;
        while self.shared.n_open.load(Ordering::Relaxed) > 0 && Instant::now() < end && !self.snapshot().has_failed {
            std::thread::sleep(STOP_POLL);
        }
        self.shared.n_wanted.store(0, Ordering::Relaxed);
        // If the thread has ended already, the commands go nowhere.
        let _ = self.commands.send(Command::CancelAll);
        let _ = self.commands.send(Command::Stop);
        lock(&self.shared.stop_pass).store(true, Ordering::Relaxed);
        if let Some(thread) = lock(&self.thread).take() {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.is_cancelled.swap(true, Ordering::Relaxed) {
            return;
        }
        // A pass that is only for cancelled requests is interrupted.
        let before = self.shared.n_wanted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        let _ = self.commands.send(Command::Cancel);
        if before == Ok(1) {
            lock(&self.shared.stop_pass).store(true, Ordering::Relaxed);
        }
    }
}
