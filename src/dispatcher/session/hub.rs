//! What all sessions share, and the register of those that are open.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam_channel::Sender;

use crate::config::DispatcherSettings;
use crate::dispatcher::core::ToCore;
use crate::dispatcher::data::DataDir;
use crate::dispatcher::logs::ToLogs;
use crate::dispatcher::mirrors::Mirrors;
use crate::dispatcher::{DispatcherError, limits};
use crate::model::{RepoName, SessionId};
use crate::protocol::hello::Role;
use crate::threads::Thread;
use crate::transport::Stream;

/// The secrets of the roles.
pub(crate) struct Tokens {
    pub(crate) observer: String,
    pub(crate) runner: String,
    pub(crate) operator: String,
}

impl Tokens {
    pub(super) fn of(&self, role: Role) -> &str {
        match role {
            Role::Observer => &self.observer,
            Role::Runner => &self.runner,
            Role::Operator => &self.operator,
        }
    }
}

/// What all sessions share.
pub(crate) struct Hub {
    pub(super) data: DataDir,
    pub(super) tokens: Tokens,
    pub(super) core: Sender<ToCore>,
    pub(super) logs: Sender<ToLogs>,
    pub(super) mirrors: Mirrors,
    pub(super) incarnation: u64,
    pub(super) ping_interval_ms: u64,
    pub(super) timeout_ms: u64,
    max_connections: usize,
    last_session: AtomicU64,
    open: Mutex<Open>,
}

/// The sessions that are open.
#[derive(Default)]
struct Open {
    streams: HashMap<SessionId, Stream>,
    threads: HashMap<SessionId, Thread<()>>,
    /// Ended before their thread was put into `threads`.
    ended: HashSet<SessionId>,
    /// Those that have not said hello yet.
    strangers: HashSet<SessionId>,
    /// Which session observes each repository, and where that is.
    observed: HashMap<RepoName, (SessionId, String)>,
    closing: bool,
}

impl Hub {
    pub(crate) fn new(
        settings: &DispatcherSettings,
        data: DataDir,
        tokens: Tokens,
        core: Sender<ToCore>,
        logs: Sender<ToLogs>,
    ) -> Result<Self, DispatcherError> {
        let incarnation = getrandom::u64().map_err(|error| DispatcherError::Token {
            path: data.root().join("tokens"),
            source: io::Error::other(error),
        })?;
        Ok(Self {
            mirrors: Mirrors::new(data.clone()),
            data,
            tokens,
            core,
            logs,
            incarnation,
            ping_interval_ms: settings.heartbeat_interval_ms,
            timeout_ms: settings.heartbeat_timeout_ms,
            max_connections: settings.max_connections,
            last_session: AtomicU64::new(0),
            open: Mutex::default(),
        })
    }

    pub(super) fn next_session(&self) -> SessionId {
        SessionId(self.last_session.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Counts a connection in, or says why not.
    pub(super) fn admit(&self, id: SessionId, stream: &Stream) -> Result<(), String> {
        let mut open = self.lock();
        if open.closing {
            return Err("the dispatcher is shutting down".into());
        }
        if open.streams.len() >= self.max_connections {
            return Err(format!("the dispatcher has {} connections, its limit: try again later", open.streams.len()));
        }
        if open.strangers.len() >= limits::STRANGERS {
            return Err("too many connections that have not said hello: try again later".into());
        }
        open.strangers.insert(id);
        open.streams.insert(id, stream.clone());
        Ok(())
    }

    pub(super) fn no_longer_a_stranger(&self, id: SessionId) {
        self.lock().strangers.remove(&id);
    }

    /// Takes a session's thread in, so that it is joined; one that has ended already is let go.
    pub(super) fn keep(&self, id: SessionId, thread: Thread<()>) {
        let mut open = self.lock();
        if !open.ended.remove(&id) {
            open.threads.insert(id, thread);
        }
    }

    /// Counts a connection out that never got a thread.
    pub(super) fn withdraw(&self, id: SessionId) {
        let mut open = self.lock();
        open.strangers.remove(&id);
        open.streams.remove(&id);
    }

    /// The last act of a session's thread.
    pub(super) fn forget(&self, id: SessionId) {
        let mut open = self.lock();
        open.strangers.remove(&id);
        open.streams.remove(&id);
        open.observed.retain(|_, (session, _)| *session != id);
        match open.threads.remove(&id) {
            // A thread cannot join itself, and it ends with this call.
            Some(thread) => thread.detach(),
            None => {
                open.ended.insert(id);
            }
        }
    }

    /// Notes that a session observes a repository. Refused while another session observes one of the same name from
    /// somewhere else: the two would take turns in moving its heads.
    pub(super) fn observe(&self, id: SessionId, repo: &RepoName, source: &str) -> Result<(), String> {
        let mut open = self.lock();
        if let Some((other, known)) = open.observed.get(repo)
            && *other != id
            && known != source
        {
            return Err(format!(
                "the repository name {repo} is used for {known} already: start this observer with another --name"
            ));
        }
        open.observed.insert(repo.clone(), (id, source.to_owned()));
        Ok(())
    }

    /// Closes every session and waits for its thread; then nothing more can come for the logs, which may end.
    pub(crate) fn close_all(&self) {
        let threads = {
            let mut open = self.lock();
            open.closing = true;
            open.streams.values().for_each(Stream::close);
            std::mem::take(&mut open.threads)
        };
        drop(threads);
        // They would wait for ever, because the hub itself still holds a way to them.
        drop(self.logs.send(ToLogs::Stop));
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // Maps are whole whatever panicked while they were looked up.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
