//! The thread that compiles and renders templates, one for the whole process.
//!
//! The template library recurses on what a template nests, so it runs on a stack of known size. Jobs run one at a time;
//! callers wait for their turn. A job that panics or exceeds its time limit costs the thread: the next job starts a new
//! one, and the old one ends once its job does.

use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::error::ModelError;

/// The stack of the thread, reserved once; memory is used for the pages it touches. The deepest templates and values
/// that `source` and `bounded` allow need 4 MiB (x86-64, opt-level 1).
const STACK_BYTES: usize = 16 << 20;
/// How long a job may take. Rendering a prompt takes a thousandth of it; only values built to defeat the fuel budget
/// get here.
const TIME_LIMIT: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

/// Where the idle thread takes its next job from; held while a job runs.
static THREAD: Mutex<Option<SyncSender<Job>>> = Mutex::new(None);

/// Runs `work` on the render thread.
///
/// Errors: the work panics or exceeds the time limit.
pub(super) fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ModelError> {
    run_within(TIME_LIMIT, work)
}

fn run_within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Result<T, ModelError> {
    let mut idle = THREAD.lock().unwrap_or_else(PoisonError::into_inner);
    let thread = idle.take().map_or_else(start, Ok)?;
    let (sender, answer) = mpsc::sync_channel(1);
    // A job that cannot be sent is dropped, and with it the sender: the answer below is then an error.
    drop(thread.send(Box::new(move || drop(sender.send(work())))));
    let result = answer.recv_timeout(limit).map_err(|error| match error {
        RecvTimeoutError::Timeout => ModelError::Template("rendering takes too long".to_owned()),
        RecvTimeoutError::Disconnected => ModelError::Template("the template library panicked".to_owned()),
    })?;
    *idle = Some(thread);
    Ok(result)
}

fn start() -> Result<SyncSender<Job>, ModelError> {
    let (sender, jobs) = mpsc::sync_channel::<Job>(1);
    let thread = thread::Builder::new().name("chat template".to_owned()).stack_size(STACK_BYTES);
    let spawned = thread.spawn(move || jobs.into_iter().for_each(|job| job()));
    spawned.map_err(|error| ModelError::Template(format!("cannot start the render thread: {error}")))?;
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_the_next_job_runs() {
        let error = run::<()>(|| panic!("a bug of the library")).expect_err("the job panics");
        assert_eq!(error.to_string(), "chat template: the template library panicked");
        assert_eq!(run(|| 1).expect("a new thread"), 1);
    }

    #[test]
    fn a_job_past_its_limit_is_an_error_and_its_thread_ends() {
        let (release, released) = mpsc::channel::<()>();
        let (ended, end) = mpsc::channel();
        let work = move || {
            assert!(released.recv().is_err(), "the test drops its end");
            ended.send(thread::current().id()).expect("the test waits");
        };
        let error = run_within(Duration::ZERO, work).expect_err("the job waits");
        assert_eq!(error.to_string(), "chat template: rendering takes too long");
        let other = run(|| thread::current().id()).expect("a new thread");
        drop(release);
        assert_ne!(end.recv().expect("the old job ends"), other);
    }
}
