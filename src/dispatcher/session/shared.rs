//! The state that all sessions share.

use std::io;

use super::gate::Gate;
use super::observers::Observers;
use super::sessions::Sessions;
use crate::blobs::BlobStore;
use crate::config::DispatcherSettings;
use crate::dispatcher::DispatcherError;
use crate::dispatcher::caches::Caches;
use crate::dispatcher::capacity::Capacity;
use crate::dispatcher::core::CoreHandle;
use crate::dispatcher::data_dir::DataDir;
use crate::dispatcher::logs::{LogSender, ToLogs};
use crate::dispatcher::mirrors::Mirrors;
use crate::dispatcher::operations::{OperationError, Operations};
use crate::dispatcher::secrets::Secrets;
use crate::dispatcher::session::credentials::Credentials;
use crate::dispatcher::trust::TrustJudge;
use crate::dispatcher::warnings::Warnings;
use crate::log_limiter::LogLimiter;
use crate::model::SessionId;
use crate::store::Readers;

/// The state that all sessions share.
pub(crate) struct Shared {
    pub(super) data: DataDir,
    pub(super) readers: Readers,
    pub(super) gate: Gate,
    pub(crate) credentials: Credentials,
    pub(super) secrets: Secrets,
    pub(super) core: CoreHandle,
    pub(super) logs: LogSender,
    pub(crate) mirrors: Mirrors,
    pub(crate) blobs: BlobStore,
    pub(crate) caches: Caches,
    pub(crate) observers: Observers,
    pub(crate) warnings: Warnings,
    pub(crate) trust: TrustJudge,
    pub(super) sessions: Sessions,
    pub(super) incarnation: u64,
    pub(super) ping_interval_ms: u64,
    pub(super) timeout_ms: u64,
    /// Rate limit of log lines about connections for which there is no thread.
    pub(super) short: LogLimiter,
    /// Rate limit of log lines about connections that are refused.
    pub(super) refused: LogLimiter,
}

impl Shared {
    pub(crate) fn new(
        settings: &DispatcherSettings,
        capacity: Capacity,
        data: DataDir,
        (gate, credentials): (Gate, Credentials),
        readers: Readers,
        core: CoreHandle,
        logs: LogSender,
    ) -> Result<Self, DispatcherError> {
        let fail = |error| DispatcherError::Token { path: data.tokens(), source: io::Error::other(error) };
        let incarnation = getrandom::u64().map_err(fail)?;
        let mirrors = Mirrors::new(data.clone(), settings.max_file);
        let warnings = Warnings::default();
        let blobs =
            BlobStore::open(&data.blobs()).map_err(|source| DispatcherError::DataDir { path: data.blobs(), source })?;
        let (path, keep) = (data.tool_cache(), settings.keep_caches);
        let caches = Caches::open(readers.clone(), core.clone(), blobs.clone(), path, keep);
        let caches = caches.map_err(|source| DispatcherError::DataDir { path: data.tool_cache(), source })?;
        Ok(Self {
            gate,
            credentials,
            secrets: Secrets::new(&data, settings.secrets_key.as_deref(), readers.clone(), core.clone()),
            observers: Observers::new(mirrors.missing.clone()),
            caches,
            blobs,
            mirrors,
            trust: TrustJudge::new(&data, warnings.clone()),
            warnings,
            sessions: Sessions::new(capacity),
            data,
            readers,
            core,
            logs,
            incarnation,
            ping_interval_ms: settings.heartbeat_interval_ms,
            timeout_ms: settings.heartbeat_timeout_ms,
            short: LogLimiter::new(1),
            refused: LogLimiter::new(20),
        })
    }

    /// Opens the operations for one operator.
    pub(super) fn operations(&self) -> Result<Operations, OperationError> {
        Ok(Operations {
            data: self.data.clone(),
            core: self.core.clone(),
            logs: self.logs.clone(),
            reader: self.readers.open()?,
            warnings: self.warnings.clone(),
            mirrors: self.mirrors.clone(),
            blobs: self.blobs.clone(),
            trust: self.trust.clone(),
            observers: self.observers.clone(),
            listening: Some(self.gate.listening.clone()),
            authority: Some(self.gate.authority.clone()),
            credentials: self.credentials.clone(),
            secrets: Some(self.secrets.clone()),
            caches: Some(self.caches.clone()),
        })
    }

    /// Removes a session from all registries. This is the last act of its thread.
    pub(super) fn leave(&self, id: SessionId) {
        self.observers.remove(id);
        self.credentials.leave(id);
        self.gate.authority.leave(id);
        self.sessions.remove(id);
    }

    /// Closes every session and waits for its thread. After that nothing more can come for the logs, so their thread is
    /// ended.
    pub(crate) fn close_all(&self) {
        self.core.set_ending();
        self.sessions.close_all();
        // The logs thread would wait for ever, because a sender to it is still in here.
        self.logs.send(ToLogs::Stop);
    }
}
