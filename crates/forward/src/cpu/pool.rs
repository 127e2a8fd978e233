//! Threads that share the tasks of one region after another.
//!
//! A region is [`Pool::run`]: the caller and every worker that is awake take tasks off one counter until none is left.
//! Workers spin briefly between regions, since the next one of a pass follows within microseconds, and sleep after
//! that. The caller calls each worker by the worker's own word and takes the call back from those that have not come by
//! the time the tasks are gone, so a worker that the system has not scheduled costs nothing.
//!
//! A worker that loses its core while it has a task does cost: the caller waits until it runs again, which may be
//! milliseconds. So there is an account for each worker of the time that it has saved and the time that it was waited for,
//! and one that is a burden is not called for a while. Another process that wants a core then costs the worker's help
//! and a small share of the rest, and not a time slice in every region.
//!
//! Deliberately absent: queues, stealing, nesting. `run` from inside a task would deadlock; nothing does so.

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

/// A worker without a region spins for so long before it sleeps: longer than the steps of a pass between two regions.
const SPIN: Duration = Duration::from_micros(100);

/// Polls between two looks at the clock, a few microseconds.
const POLLS: u32 = 256;

/// A worker may end so much later than the caller, and half of the caller's own time, before it counts as late.
const PATIENCE: Duration = Duration::from_micros(50);

/// Of the time that a worker has saved, what is remembered, in nanoseconds: about a time slice.
const MAX_CREDIT: i64 = 3_000_000;

/// A worker that has cost more than it saved is not called for so many times the difference, so that such waits take a
/// thirtieth of the time at most.
const REST: u32 = 32;

/// However long a worker was away, it is called again after this.
const MAX_REST: Duration = Duration::from_millis(500);

/// More than any machine has.
const MAX_THREADS: usize = 4096;

/// A task is called with its number and the number of the thread that runs it.
type Task<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// A worker's state: it has nothing to do.
const IDLE: u8 = 0;
/// The caller has called it.
const CALLED: u8 = 1;
/// It is inside the region.
const INSIDE: u8 = 2;

/// A fixed set of threads.
pub(super) struct Pool {
    shared: Arc<Shared>,
    handles: Vec<JoinHandle<()>>,
    /// What only the caller of a region knows; keeps two from opening regions at once.
    caller: Mutex<Caller>,
}

struct Caller {
    accounts: Vec<Account>,
}

/// What the caller keeps of a worker.
#[derive(Clone, Default)]
struct Account {
    /// Nanoseconds that it has saved, less those that it was waited for.
    credit: i64,
    /// It is not called before then.
    resting_until: Option<Instant>,
    /// It takes part in the region that is open, or has been called to it.
    called: bool,
    /// It was late in the region that ends.
    late: bool,
}

/// Values that different threads write lie apart, in lines of their own. Some processors fetch lines in pairs.
#[repr(align(128))]
struct Apart<T>(T);

struct Shared {
    region: UnsafeCell<Region>,
    /// The next task that nobody has taken.
    next: Apart<AtomicUsize>,
    workers: Vec<Apart<Worker>>,
    /// The caller sleeps until the workers have left.
    waiting: Mutex<Option<Thread>>,
    is_waiting: AtomicBool,
    stop: AtomicBool,
    panic: Mutex<Option<Box<dyn std::any::Any + Send>>>,
}

#[derive(Default)]
struct Worker {
    state: AtomicU8,
    asleep: AtomicBool,
}

/// What the region runs; only read by threads inside it.
#[derive(Clone, Copy)]
struct Region {
    task: Option<&'static Task<'static>>,
    n_tasks: usize,
}

// SAFETY: `region` is written by the one caller while no worker is called or inside, and read only by workers that have
// come inside by its call; their states order the two. The rest is atomic or locked.
unsafe impl Sync for Shared {}
// SAFETY: as above; the task reference inside is only used during the call of `run` that lent it.
unsafe impl Send for Shared {}

impl Pool {
    /// Starts `threads - 1` workers; the caller of [`Pool::run`] is the remaining thread, number 0.
    pub(super) fn new(threads: usize) -> Pool {
        assert!((1..=MAX_THREADS).contains(&threads), "{threads} threads");
        let shared = Arc::new(Shared {
            region: UnsafeCell::new(Region { task: None, n_tasks: 0 }),
            next: Apart(AtomicUsize::new(0)),
            workers: (1..threads).map(|_| Apart(Worker::default())).collect(),
            waiting: Mutex::new(None),
            is_waiting: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            panic: Mutex::new(None),
        });
        let start = |index: usize| {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name(format!("cpu-{index}"));
            thread.spawn(move || shared.work(index)).expect("the system starts a thread")
        };
        let handles = (1..threads).map(start).collect();
        Pool { shared, handles, caller: Mutex::new(Caller { accounts: vec![Account::default(); threads - 1] }) }
    }

    /// The number of threads, the caller included.
    pub(super) fn threads(&self) -> usize {
        self.handles.len() + 1
    }

    /// Calls `task(i, thread)` for every `i` below `n_tasks`, on all threads, and returns when all have returned.
    ///
    /// Panics if a task panicked, with its message.
    pub(super) fn run(&self, n_tasks: usize, task: &Task<'_>) {
        if self.handles.is_empty() || n_tasks <= 1 {
            return (0..n_tasks).for_each(|i| task(i, 0));
        }
        let accounts = &mut self.caller.lock().unwrap_or_else(std::sync::PoisonError::into_inner).accounts;
        // SAFETY: only the lifetime changes. `run` does not return before every worker that could hold the reference has
        // left, and no other comes inside.
        let task_ref = unsafe { std::mem::transmute::<&Task<'_>, &'static Task<'static>>(task) };
        // SAFETY: no worker is called or inside, so this is the only access.
        unsafe { *self.shared.region.get() = Region { task: Some(task_ref), n_tasks } };
        self.shared.next.0.store(0, Ordering::Relaxed);
        let start = Instant::now();
        self.call(accounts, start, n_tasks);
        let result = catch_unwind(AssertUnwindSafe(|| self.shared.take_tasks(task, n_tasks, 0)));
        self.dismiss(accounts, start);
        let from_worker = self.shared.panic.lock().expect("nothing panics while it is held").take();
        if let Some(panic) = result.err().or(from_worker) {
            resume_unwind(panic);
        }
    }

    /// Calls the workers that are not to rest, and no more than there are tasks for.
    fn call(&self, accounts: &mut [Account], now: Instant, n_tasks: usize) {
        let mut n_called = 1;
        for (worker, account) in self.shared.workers.iter().zip(accounts.iter_mut()) {
            account.resting_until = account.resting_until.filter(|until| *until > now);
            account.called = account.resting_until.is_none() && n_called < n_tasks;
            if account.called {
                n_called += 1;
                worker.0.state.store(CALLED, Ordering::Release);
            }
        }
        // A worker puts its flag up and then looks for a call; we call and then look for the flag. One of us sees the other.
        fence(Ordering::SeqCst);
        for (i, _) in accounts.iter().enumerate().filter(|(_, account)| account.called) {
            if self.shared.workers[i].0.asleep.load(Ordering::Relaxed) {
                self.handles[i].thread().unpark();
            }
        }
    }

    /// Takes back the calls that were not answered and waits for the workers inside.
    fn dismiss(&self, accounts: &mut [Account], start: Instant) {
        for (worker, account) in self.shared.workers.iter().zip(accounts.iter_mut()).filter(|(_, a)| a.called) {
            let state = &worker.0.state;
            // Where the exchange fails, it has come inside just now.
            account.called = state.load(Ordering::Acquire) != CALLED
                || state.compare_exchange(CALLED, IDLE, Ordering::AcqRel, Ordering::Acquire).is_err();
        }
        let done = Instant::now();
        let patience = (done - start) / 2 + PATIENCE;
        let mut waited = Duration::ZERO;
        while !self.all_left() && waited < patience {
            for _ in 0..POLLS {
                if self.all_left() {
                    break;
                }
                std::hint::spin_loop();
            }
            waited = done.elapsed();
        }
        for (worker, account) in self.shared.workers.iter().zip(accounts.iter_mut()) {
            account.late = waited >= patience && worker.0.state.load(Ordering::Acquire) == INSIDE;
        }
        let any_late = accounts.iter().any(|account| account.late);
        let now = if any_late { self.sleep_until_all_left() } else { done };
        settle(accounts, done - start, now - done, now);
    }

    fn all_left(&self) -> bool {
        self.shared.workers.iter().all(|worker| worker.0.state.load(Ordering::Acquire) != INSIDE)
    }

    /// Leaves the core to a worker that has none, until all have left the region; says when that was.
    fn sleep_until_all_left(&self) -> Instant {
        *self.shared.waiting.lock().expect("nothing panics while it is held") = Some(std::thread::current());
        self.shared.is_waiting.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        while !self.all_left() {
            std::thread::park();
        }
        self.shared.is_waiting.store(false, Ordering::Relaxed);
        Instant::now()
    }
}

/// Writes a region into the accounts of those who took part: the caller worked for `busy`, then waited for the late ones.
fn settle(accounts: &mut [Account], busy: Duration, waited: Duration, now: Instant) {
    let n_called = accounts.iter().filter(|account| account.called).count();
    if n_called == 0 {
        return;
    }
    let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
    // Without this worker, its share would have fallen to the others.
    let saved = nanos(busy / u32::try_from(n_called).expect("a few thousand"));
    for account in accounts.iter_mut().filter(|account| account.called) {
        account.credit = account.credit.saturating_add(saved).min(MAX_CREDIT);
        if account.late {
            account.credit = account.credit.saturating_sub(nanos(waited));
            if account.credit < 0 {
                let rest = Duration::from_nanos(account.credit.unsigned_abs()).saturating_mul(REST).min(MAX_REST);
                account.resting_until = Some(now + rest);
                account.credit = 0;
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for handle in self.handles.drain(..) {
            handle.thread().unpark();
            // A worker catches its tasks' panics, so it ends well.
            let _ = handle.join();
        }
    }
}

impl Shared {
    /// A worker's life.
    fn work(&self, index: usize) {
        let worker = &self.workers[index - 1].0;
        while self.wait_for_call(worker) {
            if worker.state.compare_exchange(CALLED, INSIDE, Ordering::AcqRel, Ordering::Acquire).is_err() {
                continue;
            }
            // SAFETY: inside the region, where the caller does not write.
            let region = unsafe { *self.region.get() };
            if let Some(task) = region.task {
                let result = catch_unwind(AssertUnwindSafe(|| self.take_tasks(task, region.n_tasks, index)));
                if let Err(panic) = result {
                    *self.panic.lock().expect("nothing panics while it is held") = Some(panic);
                }
            }
            worker.state.store(IDLE, Ordering::Release);
            // The caller puts its flag up and then looks at our state; we do it the other way around.
            fence(Ordering::SeqCst);
            if self.is_waiting.load(Ordering::Relaxed)
                && let Some(caller) = &*self.waiting.lock().expect("nothing panics while it is held")
            {
                caller.unpark();
            }
        }
    }

    /// Waits until the worker is called; whether it is to go on, since the pool may end.
    fn wait_for_call(&self, worker: &Worker) -> bool {
        let mut since = None;
        loop {
            for _ in 0..POLLS {
                if worker.state.load(Ordering::Relaxed) == CALLED {
                    return true;
                }
                std::hint::spin_loop();
            }
            if self.stop.load(Ordering::Relaxed) {
                return false;
            }
            if since.get_or_insert_with(Instant::now).elapsed() < SPIN {
                // Who wants this core had better have it now than in the middle of a task.
                std::thread::yield_now();
                continue;
            }
            worker.asleep.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if worker.state.load(Ordering::Relaxed) != CALLED && !self.stop.load(Ordering::Relaxed) {
                std::thread::park();
            }
            worker.asleep.store(false, Ordering::Relaxed);
            // If the region is over by now, the next one follows soon.
            since = None;
        }
    }

    fn take_tasks(&self, task: &Task<'_>, n_tasks: usize, thread: usize) {
        loop {
            let i = self.next.0.fetch_add(1, Ordering::Relaxed);
            if i >= n_tasks {
                return;
            }
            task(i, thread);
        }
    }
}

#[cfg(test)]
mod tests;
