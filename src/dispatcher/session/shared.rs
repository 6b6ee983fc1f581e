//! What all sessions share.

use std::io;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::observers::Observers;
use super::sessions::Sessions;
use crate::config::DispatcherSettings;
use crate::dispatcher::DispatcherError;
use crate::dispatcher::capacity::Capacity;
use crate::dispatcher::core::ToCore;
use crate::dispatcher::data_dir::DataDir;
use crate::dispatcher::log_limiter::LogLimiter;
use crate::dispatcher::logs::{LogSender, ToLogs};
use crate::dispatcher::mirrors::Mirrors;
use crate::dispatcher::tokens::Tokens;
use crate::dispatcher::warnings::Warnings;
use crate::model::SessionId;
use crate::store::Readers;

/// How often a thread that waits for the core checks whether the dispatcher is ending.
const ANSWER_LOOK: Duration = Duration::from_secs(1);

/// What all sessions share.
pub(crate) struct Shared {
    pub(super) data: DataDir,
    pub(super) readers: Readers,
    pub(super) tokens: Tokens,
    pub(super) core: Sender<ToCore>,
    pub(super) logs: LogSender,
    pub(crate) mirrors: Mirrors,
    pub(crate) observers: Observers,
    pub(crate) warnings: Warnings,
    pub(super) sessions: Sessions,
    pub(super) incarnation: u64,
    pub(super) ping_interval_ms: u64,
    pub(super) timeout_ms: u64,
    /// Lines about connections for which there is no thread.
    pub(super) short: LogLimiter,
    /// Lines about connections that are refused.
    pub(super) refused: LogLimiter,
}

impl Shared {
    pub(crate) fn new(
        settings: &DispatcherSettings,
        capacity: Capacity,
        data: DataDir,
        readers: Readers,
        tokens: Tokens,
        core: Sender<ToCore>,
        logs: LogSender,
    ) -> Result<Self, DispatcherError> {
        let incarnation = getrandom::u64().map_err(|error| DispatcherError::Token {
            path: data.root().join("tokens"),
            source: io::Error::other(error),
        })?;
        let mirrors = Mirrors::new(data.clone());
        Ok(Self {
            observers: Observers::new(mirrors.missing.clone()),
            mirrors,
            warnings: Warnings::default(),
            sessions: Sessions::new(capacity),
            data,
            readers,
            tokens,
            core,
            logs,
            incarnation,
            ping_interval_ms: settings.heartbeat_interval_ms,
            timeout_ms: settings.heartbeat_timeout_ms,
            short: LogLimiter::new(1),
            refused: LogLimiter::new(20),
        })
    }

    /// Waits for the core's answer; `None` if the dispatcher ends first. A core that ends leaves questions in its
    /// queue, and their ways back stay open with it, so this also checks whether the dispatcher is ending.
    pub(super) fn wait_for<T>(&self, answer: &Receiver<T>) -> Option<T> {
        loop {
            match answer.recv_timeout(ANSWER_LOOK) {
                Ok(answer) => return Some(answer),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) if self.sessions.is_closing() => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// The last act of a session's thread.
    pub(super) fn leave(&self, id: SessionId) {
        self.observers.remove(id);
        self.sessions.remove(id);
    }

    /// Closes every session and waits for its thread; then nothing more can come for the logs, which may end.
    pub(crate) fn close_all(&self) {
        self.sessions.close_all();
        // The logs thread would wait for ever, because a sender to it is still in here.
        self.logs.send(ToLogs::Stop);
    }
}
