//! Ends the process when a vital thread panics or stalls. The next start restores from the store.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::DispatcherError;
use crate::threads::{self, Thread};

/// Starts a vital thread, see [`guard`].
pub(crate) fn start(name: &'static str, body: impl FnOnce() + Send + 'static) -> Result<Thread<()>, DispatcherError> {
    threads::spawn(name, move || guard(name, body)).map_err(|source| DispatcherError::Thread { name, source })
}

/// Runs the body of a vital thread, and aborts the process if it panics.
pub(crate) fn guard(name: &str, body: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(body)).is_err() {
        // The panic's own message is on stderr already.
        log::error!("thread {name} panicked: the process ends now, and the next start continues from the store");
        std::process::abort();
    }
}

/// Aborts the process because a thread has made no progress for `looks` checks of the watchdog.
pub(crate) fn stalled(name: &str, looks: u64) {
    log::error!(
        "thread {name} has made no progress for {looks} s: the process ends now, and the next start continues from the store"
    );
    std::process::abort();
}
