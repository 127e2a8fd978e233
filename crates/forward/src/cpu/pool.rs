//! Threads that share the tasks of one region after another.
//!
//! A region is [`Pool::run`]: the caller and every worker that is awake take tasks off one counter until none is left.
//! Workers spin briefly between regions, since the next one of a pass follows within microseconds, and sleep after
//! that. The caller calls each worker by the worker's own word and takes the call back from those that have not come by
//! the time the tasks are gone, so a worker that the system has not scheduled costs nothing.
//!
//! A worker that loses its core while it has a task does cost: the caller waits until it runs again, which may be
//! milliseconds. Such a worker is not called for some time after, so that another process that wants a core costs a
//! small share of the speed and not a time slice in every region.
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
const POLLS: u32 = 64;

/// A worker that is still at its tasks so long after the caller could have done all of its own again has lost its core.
const PATIENCE: Duration = Duration::from_micros(100);

/// A worker that kept the caller waiting is not called for so many times as long, so that waits take at most a part in so
/// many of the time.
const REST: u32 = 32;

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
    /// By worker: it is not called before then.
    resting_until: Vec<Option<Instant>>,
    /// By worker: it has been called to the region that is open.
    called: Vec<bool>,
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
        let caller = Caller { resting_until: vec![None; threads - 1], called: vec![false; threads - 1] };
        Pool { shared, handles, caller: Mutex::new(caller) }
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
        let caller = &mut *self.caller.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // SAFETY: only the lifetime changes. `run` does not return before every worker that could hold the reference has
        // left, and no other comes inside.
        let task_ref = unsafe { std::mem::transmute::<&Task<'_>, &'static Task<'static>>(task) };
        // SAFETY: no worker is called or inside, so this is the only access.
        unsafe { *self.shared.region.get() = Region { task: Some(task_ref), n_tasks } };
        self.shared.next.0.store(0, Ordering::Relaxed);
        let start = Instant::now();
        self.call(caller, start, n_tasks);
        let result = catch_unwind(AssertUnwindSafe(|| self.shared.take_tasks(task, n_tasks, 0)));
        self.dismiss(caller, start);
        let from_worker = self.shared.panic.lock().expect("nothing panics while it is held").take();
        if let Some(panic) = result.err().or(from_worker) {
            resume_unwind(panic);
        }
    }

    /// Calls the workers that are not to rest, and no more than there are tasks for.
    fn call(&self, caller: &mut Caller, now: Instant, n_tasks: usize) {
        let Caller { resting_until, called } = caller;
        let mut n_called = 1;
        for ((worker, rest), called) in self.shared.workers.iter().zip(resting_until).zip(called.iter_mut()) {
            *rest = rest.filter(|until| *until > now);
            *called = rest.is_none() && n_called < n_tasks;
            if *called {
                n_called += 1;
                worker.0.state.store(CALLED, Ordering::Release);
            }
        }
        // A worker puts its flag up and then looks for a call; we call and then look for the flag. One of us sees the other.
        fence(Ordering::SeqCst);
        for (i, _) in called.iter().enumerate().filter(|(_, called)| **called) {
            if self.shared.workers[i].0.asleep.load(Ordering::Relaxed) {
                self.handles[i].thread().unpark();
            }
        }
    }

    /// Takes back the calls that were not answered and waits for the workers inside.
    fn dismiss(&self, caller: &mut Caller, start: Instant) {
        let workers = || self.shared.workers.iter().map(|worker| &worker.0.state);
        for (state, _) in workers().zip(&caller.called).filter(|(_, called)| **called) {
            if state.load(Ordering::Acquire) == CALLED {
                // If this fails, it has come inside just now.
                let _ = state.compare_exchange(CALLED, IDLE, Ordering::AcqRel, Ordering::Acquire);
            }
        }
        let all_left = || workers().all(|state| state.load(Ordering::Acquire) != INSIDE);
        if (0..POLLS).any(|_| {
            all_left() || {
                std::hint::spin_loop();
                false
            }
        }) {
            return;
        }
        let done = Instant::now();
        let patience = (done - start) + PATIENCE;
        while done.elapsed() < patience {
            if (0..POLLS).any(|_| {
                all_left() || {
                    std::hint::spin_loop();
                    false
                }
            }) {
                return;
            }
        }
        let late: Vec<bool> = workers().map(|state| state.load(Ordering::Acquire) == INSIDE).collect();
        self.sleep_until(all_left);
        let now = Instant::now();
        for (until, _) in caller.resting_until.iter_mut().zip(&late).filter(|(_, late)| **late) {
            *until = Some(now + (now - done) * REST);
        }
    }

    /// Leaves the core to a worker that has none, until all have left the region.
    fn sleep_until(&self, all_left: impl Fn() -> bool) {
        *self.shared.waiting.lock().expect("nothing panics while it is held") = Some(std::thread::current());
        self.shared.is_waiting.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        while !all_left() {
            std::thread::park();
        }
        self.shared.is_waiting.store(false, Ordering::Relaxed);
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
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_task_runs_once_whatever_the_number_of_threads() {
        for threads in [1, 2, 3, 8] {
            let pool = Pool::new(threads);
            for n_tasks in [0, 1, 2, 7, 100] {
                let counts: Vec<_> = (0..n_tasks).map(|_| AtomicUsize::new(0)).collect();
                pool.run(n_tasks, &|i, thread| {
                    assert!(thread < threads);
                    counts[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1), "{threads} threads, {n_tasks} tasks");
            }
        }
    }

    #[test]
    fn many_short_regions_lose_no_task() {
        let pool = Pool::new(4);
        let sum = AtomicUsize::new(0);
        for _ in 0..20_000 {
            pool.run(3, &|i, _| {
                sum.fetch_add(i + 1, Ordering::Relaxed);
            });
        }
        assert_eq!(sum.into_inner(), 20_000 * 6);
    }

    #[test]
    fn workers_wake_up_from_sleep_and_take_part() {
        let pool = Pool::new(2);
        let threads = Mutex::new(HashSet::new());
        // Both tasks wait for the other to have begun, so one thread alone could not finish the region.
        let begun = AtomicUsize::new(0);
        pool.run(2, &|_, thread| {
            threads.lock().unwrap().insert(thread);
            begun.fetch_add(1, Ordering::SeqCst);
            while begun.load(Ordering::SeqCst) < 2 {
                std::thread::yield_now();
            }
        });
        assert_eq!(threads.into_inner().unwrap(), HashSet::from([0, 1]));
    }

    #[test]
    fn a_panic_in_a_task_reaches_the_caller_and_the_pool_lives_on() {
        let pool = Pool::new(3);
        let result = catch_unwind(AssertUnwindSafe(|| pool.run(64, &|i, _| assert_ne!(i, 40, "task 40"))));
        assert!(result.is_err());
        let ran = AtomicUsize::new(0);
        pool.run(64, &|_, _| {
            ran.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(ran.into_inner(), 64);
    }
}
