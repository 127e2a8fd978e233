//! Ctrl-C: the first asks for a clean end, the second exits at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

/// Exit status after a second Ctrl-C: 128 plus the number of the signal, as in shells.
const INTERRUPTED: i32 = 130;

/// Starts to handle Ctrl-C, which sets `stop` too.
///
/// Errors: the system refuses the handler.
pub(crate) fn listen(stop: &Arc<AtomicBool>) -> Result<(), ctrlc::Error> {
    let stop = Arc::clone(stop);
    ctrlc::set_handler(move || {
        stop.store(true, Ordering::Relaxed);
        if ASKED.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED);
        }
    })
}

/// Clears the request once it was met.
pub(crate) fn forget(stop: &AtomicBool) {
    stop.store(false, Ordering::Relaxed);
    ASKED.store(false, Ordering::Relaxed);
}

/// Whether the user asked for an end.
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}
