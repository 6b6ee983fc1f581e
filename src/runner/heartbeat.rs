//! The thread that sends pings. It does nothing else and never waits for another thread, so a runner that is busy or
//! short of CPU keeps its leases. The core starts it and tells it of sessions. The session's reader notices if the
//! dispatcher falls silent.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::boottime;
use super::session::Session;
use crate::model::AttemptId;
use crate::threads::{self, Thread};

/// The attempts that are held, as the core last said. Locked for a copy, never across anything that waits.
type Holding = Arc<Mutex<Vec<AttemptId>>>;

/// The core's handle. Dropping it ends the thread.
pub(super) struct Heartbeat {
    told: Sender<HeartbeatOrder>,
    holding: Holding,
    _thread: Thread<()>,
}

enum HeartbeatOrder {
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

    /// Sets the session to ping. Returns false if the thread has ended.
    pub(super) fn set_session(&self, session: Option<Arc<Session>>) -> bool {
        self.told.send(HeartbeatOrder::Session(session)).is_ok()
    }

    /// Sends a ping without waiting for the next beat. Returns false if the thread has ended.
    pub(super) fn ping_now(&self) -> bool {
        self.told.send(HeartbeatOrder::PingNow).is_ok()
    }

    /// Sets the attempts that the next ping names.
    pub(super) fn set_holding(&self, holding: Vec<AttemptId>) {
        *threads::lock(&self.holding) = holding;
    }
}

fn beat(hears: &Receiver<HeartbeatOrder>, holding: &Holding) {
    let mut current: Option<Arc<Session>> = None;
    loop {
        let told = match &current {
            Some(session) => hears.recv_timeout(Duration::from_millis(session.ping_interval_ms)),
            None => hears.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match told {
            Ok(HeartbeatOrder::Session(session)) => current = session,
            Ok(HeartbeatOrder::PingNow) | Err(RecvTimeoutError::Timeout) => {
                if let Some(session) = &current {
                    let holding = threads::lock(holding).clone();
                    session.ping(boottime::now(), &holding);
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
