//! The thread that says "still alive". It does nothing else and waits for nobody, so a runner that is busy or starved keeps
//! its work. It also notices a dispatcher that has fallen silent.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::boottime;
use super::session::Session;
use crate::model::AttemptId;
use crate::threads::{self, Thread};

/// What is held, as the core last said. Locked for a copy, never across anything that waits.
type Holding = Arc<Mutex<Vec<AttemptId>>>;

/// The core's handle. Dropped, the thread ends.
pub(super) struct Heartbeat {
    told: Sender<Told>,
    holding: Holding,
    _thread: Thread<()>,
}

enum Told {
    Session(Option<Arc<Session>>),
    PingNow,
}

impl Heartbeat {
    pub(super) fn start() -> io::Result<Self> {
        let (told, hears) = bounded(16);
        let holding = Holding::default();
        let shared = holding.clone();
        let thread = threads::spawn("heartbeat", move || beat(&hears, &shared))?;
        Ok(Self { told, holding, _thread: thread })
    }

    /// Beats on this session from now on. False if the thread is gone.
    pub(super) fn set_session(&self, session: Option<Arc<Session>>) -> bool {
        self.told.send(Told::Session(session)).is_ok()
    }

    /// Does not wait for the next beat. False if the thread is gone.
    pub(super) fn ping_now(&self) -> bool {
        self.told.send(Told::PingNow).is_ok()
    }

    /// What the next ping names.
    pub(super) fn set_holding(&self, holding: Vec<AttemptId>) {
        *self.holding.lock().unwrap_or_else(PoisonError::into_inner) = holding;
    }
}

/// Counts silence in beats, not by the clock: a runner that was frozen has not listened either.
#[derive(Debug, Default)]
struct Silence {
    ms: u64,
}

impl Silence {
    /// One beat has passed. Whether the dispatcher has been silent for too long.
    fn beat(&mut self, was_heard: bool, interval_ms: u64, timeout_ms: u64) -> bool {
        self.ms = if was_heard { 0 } else { self.ms + interval_ms };
        self.ms >= timeout_ms
    }
}

fn beat(hears: &Receiver<Told>, holding: &Holding) {
    let mut current: Option<(Arc<Session>, Silence)> = None;
    loop {
        let told = match &current {
            Some((session, _)) => hears.recv_timeout(Duration::from_millis(session.ping_interval_ms)),
            None => hears.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match told {
            Ok(Told::Session(session)) => current = session.map(|session| (session, Silence::default())),
            Ok(Told::PingNow) => {
                if let Some((session, _)) = &current {
                    ping(session, holding);
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                let Some((session, silence)) = &mut current else { continue };
                if silence.beat(session.was_heard(), session.ping_interval_ms, session.timeout_ms) {
                    log::warn!("the dispatcher was silent for {} ms: closing the session", silence.ms);
                    session.close();
                    current = None;
                } else {
                    ping(session, holding);
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn ping(session: &Session, holding: &Holding) {
    let holding = holding.lock().unwrap_or_else(PoisonError::into_inner).clone();
    session.ping(boottime::now(), &holding);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_beats_without_a_word_add_up_to_silence() {
        let mut silence = Silence::default();
        assert!(!silence.beat(false, 4, 10));
        assert!(!silence.beat(false, 4, 10));
        assert!(!silence.beat(true, 4, 10));
        assert!(!silence.beat(false, 4, 10));
        assert!(!silence.beat(false, 4, 10));
        assert!(silence.beat(false, 4, 10));
    }
}
