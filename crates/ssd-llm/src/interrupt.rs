//! Ctrl-C: the first asks for a clean end, the second ends at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

/// Exit status of a program that its user has interrupted twice, as shells count it.
const INTERRUPTED: i32 = 130;

/// Begins to listen for Ctrl-C and requests to terminate.
///
/// Errors: the system refuses the handler.
pub(crate) fn listen() -> Result<(), ctrlc::Error> {
    listen_and_stop(&Arc::default())
}

/// The same, and sets `stop` for those who look at that.
///
/// Errors: the system refuses the handler.
pub(crate) fn listen_and_stop(stop: &Arc<AtomicBool>) -> Result<(), ctrlc::Error> {
    let stop = Arc::clone(stop);
    ctrlc::set_handler(move || {
        stop.store(true, Ordering::Relaxed);
        if ASKED.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED);
        }
    })
}

/// What was asked has been done.
pub(crate) fn forget(stop: &AtomicBool) {
    stop.store(false, Ordering::Relaxed);
    ASKED.store(false, Ordering::Relaxed);
}

/// Whether the user has asked for an end.
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}
