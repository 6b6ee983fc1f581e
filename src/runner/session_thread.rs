//! The thread of the runner's connection, as its owner sees it: made from the settings, with a listener if the
//! dispatcher is to call, and ended when it is dropped. Its work is in `session.rs`.

use std::sync::Arc;

use crossbeam_channel::{Sender, bounded};

use super::error::RunnerError;
use super::greeting::{Callback, Identity};
use super::limits::GREETING;
use super::listening::Callers;
use super::session::{CurrentSession, Dialler, Hangup, SessionNews};
use super::upload::Upload;
use crate::config::{KnownPins, RunnerSettings};
use crate::threads::{self, Thread};
use crate::transport::{Listener, Stream};

/// The session's thread. Dropping it closes the session and joins the thread.
pub(super) struct SessionThread {
    hangup: Arc<Hangup>,
    /// Dropped before the thread is joined, which ends the thread's pauses.
    _closing: Sender<()>,
    _thread: Thread<()>,
}

impl SessionThread {
    /// Starts the thread, which connects and reports to `news`. It sets `current`.
    pub(super) fn new(
        settings: &RunnerSettings,
        news: Sender<SessionNews>,
        uploads: Sender<Upload>,
        current: Arc<CurrentSession>,
    ) -> Result<Self, RunnerError> {
        let pins = KnownPins::new(settings.pins.clone(), settings.token.clone());
        let mut callers = None;
        let mut callback = None;
        if let Some(listen) = &settings.listen {
            let mut key = [0; 32];
            getrandom::fill(&mut key).map_err(RunnerError::Random)?;
            let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
            let listener = Listener::bind(listen)?;
            let mut address = listen.clone();
            address.port = listener.local_addr().port();
            if listener.local_addr().ip().is_unspecified() {
                // The listener accepts on all addresses, so the dispatcher is told the host's name.
                address.host = rustix::system::uname().nodename().to_string_lossy().into_owned();
            }
            log::info!("runner {} listens at {address}", settings.name);
            callback = Some(Callback { address: address.to_string(), key: key.clone() });
            let source = |source| RunnerError::Thread { name: "accept", source };
            let known = pins.clone();
            let encrypt = move |caller: &Stream| {
                let pins = known.list();
                if pins.is_empty() { Ok(caller.clone()) } else { caller.encrypt(&pins, GREETING) }
            };
            callers = Some(Callers::start(listener, key, Arc::new(encrypt)).map_err(source)?);
        }
        let hangup = Arc::new(Hangup::default());
        let (closing, closed) = bounded(0);
        let incarnation = getrandom::u64().map_err(RunnerError::Random)?;
        let dialler = Dialler {
            who: Identity { name: settings.name.clone(), incarnation, token: settings.token.clone(), callback },
            pins,
            dispatch: settings.dispatch.clone(),
            callers,
            news,
            uploads,
            hangup: hangup.clone(),
            current,
            closing: closed,
            stayed_ms: 0,
            absences: Vec::new(),
            taken_since: None,
            is_drained: false,
        };
        let thread = threads::spawn("session", move || dialler.run());
        let thread = thread.map_err(|source| RunnerError::Thread { name: "session", source })?;
        Ok(Self { hangup, _closing: closing, _thread: thread })
    }
}

impl Drop for SessionThread {
    fn drop(&mut self) {
        self.hangup.hang_up();
    }
}
