//! Faults that tests provoke in threads. Debug builds only: a release contains none of this.
//!
//! `SURVEIL_FAULT=THREAD:panic:FILE` makes the named thread panic as soon as the file exists, and deletes the file, so
//! that the next start works. `…:loop:…` sends the thread into an endless loop. The watchdog is less patient then.

#[cfg(debug_assertions)]
pub(crate) use provoked::{patience, strike};

#[cfg(not(debug_assertions))]
pub(crate) fn strike(_thread: &str) {}

#[cfg(not(debug_assertions))]
pub(crate) fn patience() -> Option<u64> {
    None
}

#[cfg(debug_assertions)]
mod provoked {
    use std::path::PathBuf;
    use std::sync::OnceLock;

    struct Fault {
        thread: String,
        is_loop: bool,
        trigger: PathBuf,
    }

    fn asked_for() -> Option<&'static Fault> {
        static ASKED_FOR: OnceLock<Option<Fault>> = OnceLock::new();
        let read = || {
            let text = std::env::var("SURVEIL_FAULT").ok()?;
            let mut parts = text.splitn(3, ':');
            let (thread, kind, trigger) = (parts.next()?.to_owned(), parts.next()?, parts.next()?.into());
            Some(Fault { thread, is_loop: kind == "loop", trigger })
        };
        ASKED_FOR.get_or_init(read).as_ref()
    }

    /// The number of the watchdog's checks after which a thread has stalled, if a fault is asked for.
    pub(crate) fn patience() -> Option<u64> {
        asked_for().map(|_| 2)
    }

    /// Provokes the fault, if it is asked for. Watched threads call this with every beat.
    pub(crate) fn strike(thread: &str) {
        let Some(fault) = asked_for().filter(|fault| fault.thread == thread) else { return };
        if std::fs::remove_file(&fault.trigger).is_err() {
            return;
        }
        assert!(fault.is_loop, "asked for by SURVEIL_FAULT");
        loop {
            std::hint::spin_loop();
        }
    }
}
