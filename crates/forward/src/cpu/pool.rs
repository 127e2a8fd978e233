//! Threads that share the tasks of one region after another.
//!
//! A region is [`Pool::run`]: the caller and every worker that is awake take tasks off one counter until none is left.
//! Workers spin briefly between regions, since the next one of a pass follows within microseconds, and sleep after
//! that. A worker joins a region by raising its count and the caller waits only for those that have joined, so a
//! worker that the system has not scheduled costs nothing.
//!
//! Deliberately absent: queues, stealing, nesting. `run` from inside a task would deadlock; nothing does so.

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, Thread};

/// A worker spins for about this many polls (tens of microseconds) before it sleeps.
const SPINS_BEFORE_SLEEP: u32 = 4_000;

/// A task is called with its number and the number of the thread that runs it.
type Task<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// The gate's lowest bits count the workers inside the region; above them are the open bit and the region's number.
const OPEN: u64 = 1 << 16;
const REGION: u64 = 1 << 17;
const INSIDE: u64 = OPEN - 1;

/// A fixed set of threads.
pub(super) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<Worker>,
    /// Keeps two callers from opening regions at once.
    caller: Mutex<()>,
}

struct Worker {
    handle: Option<JoinHandle<()>>,
    thread: Thread,
    asleep: Arc<AtomicBool>,
}

struct Shared {
    gate: AtomicU64,
    region: UnsafeCell<Region>,
    next: AtomicUsize,
    stop: AtomicBool,
    panic: Mutex<Option<Box<dyn std::any::Any + Send>>>,
}

/// What the region runs; only read by threads inside it.
#[derive(Clone, Copy)]
struct Region {
    task: Option<&'static Task<'static>>,
    n_tasks: usize,
}

// SAFETY: `region` is written by the one caller while the gate is closed and nobody is inside, and read only by workers
// that have entered through the open gate; the gate's atomics order the two. The rest is atomic or locked.
unsafe impl Sync for Shared {}
// SAFETY: as above; the task reference inside is only used during the call of `run` that lent it.
unsafe impl Send for Shared {}

impl Pool {
    /// Starts `threads - 1` workers; the caller of [`Pool::run`] is the remaining thread, number 0.
    pub(super) fn new(threads: usize) -> Pool {
        assert!((1..=INSIDE as usize).contains(&threads), "{threads} threads");
        let shared = Arc::new(Shared {
            gate: AtomicU64::new(0),
            region: UnsafeCell::new(Region { task: None, n_tasks: 0 }),
            next: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            panic: Mutex::new(None),
        });
        let workers = (1..threads).map(|index| Worker::start(index, Arc::clone(&shared))).collect();
        Pool { shared, workers, caller: Mutex::new(()) }
    }

    /// The number of threads, the caller included.
    pub(super) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `task(i, thread)` for every `i` below `n_tasks`, on all threads, and returns when all have returned.
    ///
    /// Panics if a task panicked, with its message.
    pub(super) fn run(&self, n_tasks: usize, task: &Task<'_>) {
        if self.workers.is_empty() || n_tasks <= 1 {
            return (0..n_tasks).for_each(|i| task(i, 0));
        }
        let _alone = self.caller.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // SAFETY: only the lifetime changes. `run` does not return before the gate is closed and everyone who could
        // hold the reference has left.
        let task_ref = unsafe { std::mem::transmute::<&Task<'_>, &'static Task<'static>>(task) };
        // SAFETY: the gate is closed and nobody is inside, so this is the only access.
        unsafe { *self.shared.region.get() = Region { task: Some(task_ref), n_tasks } };
        self.shared.next.store(0, Ordering::Relaxed);
        self.open();
        let result = catch_unwind(AssertUnwindSafe(|| self.shared.take_tasks(task, n_tasks, 0)));
        self.close();
        let from_worker = self.shared.panic.lock().expect("nothing panics while it is held").take();
        if let Some(panic) = result.err().or(from_worker) {
            resume_unwind(panic);
        }
    }

    fn open(&self) {
        let gate = self.shared.gate.load(Ordering::Relaxed);
        self.shared.gate.store((gate + REGION) | OPEN, Ordering::SeqCst);
        for worker in &self.workers {
            if worker.asleep.swap(false, Ordering::SeqCst) {
                worker.thread.unpark();
            }
        }
    }

    /// Lets no further worker in and waits for those inside.
    fn close(&self) {
        self.shared.gate.fetch_and(!OPEN, Ordering::AcqRel);
        let mut spins = 0u32;
        while self.shared.gate.load(Ordering::Acquire) & INSIDE != 0 {
            spins += 1;
            // A worker that lost its core needs ours.
            if spins.is_multiple_of(1024) { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for worker in &mut self.workers {
            worker.thread.unpark();
            if let Some(handle) = worker.handle.take() {
                // A worker catches its tasks' panics, so it ends well.
                let _ = handle.join();
            }
        }
    }
}

impl Worker {
    fn start(index: usize, shared: Arc<Shared>) -> Worker {
        let asleep = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&asleep);
        let handle = std::thread::Builder::new()
            .name(format!("cpu-{index}"))
            .spawn(move || shared.work(index, &flag))
            .expect("the system starts a thread");
        Worker { thread: handle.thread().clone(), handle: Some(handle), asleep }
    }
}

impl Shared {
    fn work(&self, index: usize, asleep: &AtomicBool) {
        let mut last = 0;
        while let Some(gate) = self.wait_for_region(last, asleep) {
            last = gate / REGION;
            if self.enter(last) {
                // SAFETY: inside the region, where the caller does not write.
                let region = unsafe { *self.region.get() };
                if let Some(task) = region.task {
                    let result = catch_unwind(AssertUnwindSafe(|| self.take_tasks(task, region.n_tasks, index)));
                    if let Err(panic) = result {
                        *self.panic.lock().expect("nothing panics while it is held") = Some(panic);
                    }
                }
                self.gate.fetch_sub(1, Ordering::Release);
            }
        }
    }

    /// The gate's state once a region later than `last` is open, or nothing when the pool ends.
    fn wait_for_region(&self, last: u64, asleep: &AtomicBool) -> Option<u64> {
        let mut spins = 0;
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            let gate = self.gate.load(Ordering::SeqCst);
            if gate & OPEN != 0 && gate / REGION != last {
                asleep.store(false, Ordering::Relaxed);
                return Some(gate);
            }
            if spins < SPINS_BEFORE_SLEEP {
                spins += 1;
                std::hint::spin_loop();
            } else if asleep.swap(true, Ordering::SeqCst) {
                // The flag was up in the look at the gate just now, so an opener after it will see it and unpark.
                std::thread::park();
            }
        }
    }

    /// Joins a region if it is still the open one.
    fn enter(&self, region: u64) -> bool {
        let mut gate = self.gate.load(Ordering::Acquire);
        while gate & OPEN != 0 && gate / REGION == region {
            match self.gate.compare_exchange_weak(gate, gate + 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => gate = now,
            }
        }
        false
    }

    fn take_tasks(&self, task: &Task<'_>, n_tasks: usize, thread: usize) {
        loop {
            let i = self.next.fetch_add(1, Ordering::Relaxed);
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
