//! What all sessions share, and the register of those that are open.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::clock;
use crate::config::DispatcherSettings;
use crate::dispatcher::capacity::Capacity;
use crate::dispatcher::core::ToCore;
use crate::dispatcher::data::DataDir;
use crate::dispatcher::logs::{LogSender, ToLogs};
use crate::dispatcher::mirrors::Mirrors;
use crate::dispatcher::seldom::Seldom;
use crate::dispatcher::warnings::Warnings;
use crate::dispatcher::{DispatcherError, limits};
use crate::model::{CommitId, Moment, RepoName, SessionId};
use crate::protocol::hello::{ErrorCode, Refusal, Role};
use crate::protocol::observer::ToObserver;
use crate::threads::{self, Thread};
use crate::transport::{Distant, Frame, Outbox, Stream};

/// How often one who waits for the core looks whether the dispatcher ends.
const ANSWER_LOOK: Duration = Duration::from_secs(1);

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
    pub(super) logs: LogSender,
    pub(super) mirrors: Mirrors,
    pub(crate) warnings: Warnings,
    pub(super) incarnation: u64,
    pub(super) ping_interval_ms: u64,
    pub(super) timeout_ms: u64,
    capacity: Capacity,
    last_session: AtomicU64,
    open: Mutex<Open>,
    /// Told when a stranger has said hello or left.
    fewer_strangers: Condvar,
    /// Lines about connections that are turned away.
    full: Seldom,
    crowded: Seldom,
    pub(super) short: Seldom,
    pub(super) refused: Seldom,
}

/// The sessions that are open.
#[derive(Default)]
struct Open {
    streams: HashMap<SessionId, Stream>,
    threads: HashMap<SessionId, Thread<()>>,
    /// Ended before their thread was put into `threads`.
    ended: HashSet<SessionId>,
    /// Those that have not said hello yet, oldest first, and since when.
    strangers: BTreeMap<SessionId, Moment>,
    /// Those that have.
    members: HashSet<SessionId>,
    /// Which session observes each repository, and where that is.
    observed: HashMap<RepoName, Observed>,
    closing: bool,
}

/// A repository that a session observes.
struct Observed {
    session: SessionId,
    /// Where it is.
    source: String,
    outbox: Distant,
}

impl Open {
    /// The oldest stranger that has had its moment and has said nothing that was not looked at. Where the machine is
    /// too busy to look at what has arrived, that is nobody's fault who sent it.
    fn who_says_nothing(&self, now: Moment) -> Option<SessionId> {
        let old = self.strangers.iter().take_while(|(_, since)| now.since(**since) >= limits::STRANGER_MS);
        let mut silent = old.filter(|(id, _)| self.streams.get(id).is_none_or(|stream| !stream.has_unread()));
        silent.next().map(|(id, _)| *id)
    }
}

impl Hub {
    pub(crate) fn new(
        settings: &DispatcherSettings,
        capacity: Capacity,
        data: DataDir,
        mirrors: Mirrors,
        tokens: Tokens,
        core: Sender<ToCore>,
        logs: LogSender,
    ) -> Result<Self, DispatcherError> {
        let incarnation = getrandom::u64().map_err(|error| DispatcherError::Token {
            path: data.root().join("tokens"),
            source: io::Error::other(error),
        })?;
        Ok(Self {
            mirrors,
            warnings: Warnings::default(),
            data,
            tokens,
            core,
            logs,
            incarnation,
            ping_interval_ms: settings.heartbeat_interval_ms,
            timeout_ms: settings.heartbeat_timeout_ms,
            capacity,
            last_session: AtomicU64::new(0),
            open: Mutex::default(),
            fewer_strangers: Condvar::new(),
            full: Seldom::new(1),
            crowded: Seldom::new(1),
            short: Seldom::new(1),
            refused: Seldom::new(20),
        })
    }

    pub(super) fn next_session(&self) -> SessionId {
        SessionId(self.last_session.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Counts a connection in; false while the dispatcher is ending. Where there are too many that have not said hello,
    /// the oldest of them goes, once it has had a moment for that: so they keep nobody out, however many they are.
    pub(super) fn admit(&self, id: SessionId, stream: &Stream) -> bool {
        let mut open = self.lock();
        while !open.closing && open.strangers.len() >= self.capacity.strangers {
            let now = clock::now();
            if let Some(oldest) = open.who_says_nothing(now) {
                if self.crowded.is_due(now) {
                    let count = open.strangers.len();
                    log::warn!("{count} connections that have not said hello: the oldest is closed for each new one");
                }
                open.strangers.remove(&oldest);
                if let Some(stream) = open.streams.get(&oldest) {
                    stream.close();
                }
            } else {
                let wait = self.fewer_strangers.wait_timeout(open, Duration::from_millis(limits::STRANGER_MS / 10));
                open = wait.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        if open.closing {
            return false;
        }
        open.strangers.insert(id, clock::now());
        open.streams.insert(id, stream.clone());
        true
    }

    /// Counts a connection among those that have said hello, as long as there is room for one.
    pub(super) fn enter(&self, id: SessionId) -> Result<(), Refusal> {
        let mut open = self.lock();
        let count = open.members.len();
        if count >= self.capacity.sessions {
            drop(open);
            if self.full.is_due(clock::now()) {
                log::warn!("{count} connections, as many as there may be: more are turned away");
            }
            let text = format!("the dispatcher has {count} connections, its limit: try again later");
            return Err(Refusal { code: ErrorCode::Busy, text });
        }
        open.strangers.remove(&id);
        open.members.insert(id);
        drop(open);
        self.fewer_strangers.notify_one();
        Ok(())
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
        open.members.remove(&id);
        open.streams.remove(&id);
        open.observed.retain(|_, observed| observed.session != id);
        match open.threads.remove(&id) {
            // A thread cannot join itself, and it ends with this call.
            Some(thread) => thread.detach(),
            None => {
                open.ended.insert(id);
            }
        }
        drop(open);
        self.fewer_strangers.notify_one();
    }

    /// Notes that a session observes a repository. Refused while another session observes one of the same name from
    /// somewhere else: the two would take turns in moving its heads.
    pub(super) fn observe(
        &self,
        session: SessionId,
        repo: &RepoName,
        source: &str,
        outbox: &Outbox,
    ) -> Result<(), String> {
        let mut open = self.lock();
        if let Some(Observed { session: other, source: known, .. }) = open.observed.get(repo)
            && *other != session
            && known != source
        {
            return Err(format!(
                "the repository name {repo} is used for {known} already: start this observer with another --name"
            ));
        }
        let (source, outbox) = (source.to_owned(), outbox.distant());
        open.observed.insert(repo.clone(), Observed { session, source, outbox });
        Ok(())
    }

    /// Asks whoever observes the repository for the whole source of a commit that its mirror has lost.
    pub(crate) fn ask_for_source(&self, repo: &RepoName, commit: CommitId) {
        self.mirrors.lost.note(repo, commit);
        let outbox = self.lock().observed.get(repo).and_then(|observed| observed.outbox.near());
        // Without one it is asked when there is one.
        if let Some(outbox) = outbox {
            let (repo, commit) = (repo.to_string(), commit.to_string());
            outbox.send(&Frame::new(&ToObserver::LostSource { repo, commit }));
        }
    }

    /// The core's answer. One that ends leaves questions in its queue, whose ways back stay open with it; who waits has
    /// to look whether the dispatcher ends.
    pub(super) fn wait_for<T>(&self, answer: &Receiver<T>) -> Option<T> {
        loop {
            match answer.recv_timeout(ANSWER_LOOK) {
                Ok(answer) => return Some(answer),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) if self.lock().closing => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Closes every session and waits for its thread; then nothing more can come for the logs, which may end.
    pub(crate) fn close_all(&self) {
        let threads = {
            let mut open = self.lock();
            open.closing = true;
            open.streams.values().for_each(Stream::close);
            std::mem::take(&mut open.threads)
        };
        self.fewer_strangers.notify_all();
        drop(threads);
        // They would wait for ever, because the hub itself still holds a way to them.
        self.logs.send(ToLogs::Stop);
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        threads::lock(&self.open)
    }
}
