//! The registry of open sessions. It has their streams, so that they can be closed, and their threads, so that they are
//! joined.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::admission::Admission;
use crate::clock;
use crate::dispatcher::capacity::Capacity;
use crate::dispatcher::limits;
use crate::log_limiter::LogLimiter;
use crate::model::SessionId;
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::threads::{self, Thread};
use crate::transport::Stream;

/// The sessions that are open.
pub(super) struct Sessions {
    last: AtomicU64,
    open: Mutex<Open>,
    /// Notified when an unauthenticated connection has said hello or left.
    place_freed: Condvar,
    /// Rate limits of log lines about connections that are turned away.
    full: LogLimiter,
    crowded: LogLimiter,
}

struct Open {
    admission: Admission,
    streams: HashMap<SessionId, Stream>,
    threads: HashMap<SessionId, Thread<()>>,
    /// Sessions that ended before their thread was put into `threads`.
    ended: HashSet<SessionId>,
    closing: bool,
}

impl Sessions {
    pub(super) fn new(capacity: Capacity) -> Self {
        let open = Open {
            admission: Admission::new(capacity),
            streams: HashMap::new(),
            threads: HashMap::new(),
            ended: HashSet::new(),
            closing: false,
        };
        Self {
            last: AtomicU64::new(0),
            open: Mutex::new(open),
            place_freed: Condvar::new(),
            full: LogLimiter::new(1),
            crowded: LogLimiter::new(1),
        }
    }

    pub(super) fn next_id(&self) -> SessionId {
        SessionId(self.last.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Admits a connection. Returns false while the dispatcher is ending. If too many connections have not said hello
    /// yet, the oldest of them is closed once its grace period is over: so they keep no peer out, however many they
    /// are.
    pub(super) fn admit(&self, id: SessionId, stream: &Stream) -> bool {
        let mut open = threads::lock(&self.open);
        while !open.closing && !open.admission.has_place() {
            let now = clock::now();
            let has_unread = |id| open.streams.get(&id).is_some_and(Stream::has_unread);
            if let Some(oldest) = open.admission.oldest_silent(now, has_unread) {
                if self.crowded.is_due(now) {
                    let count = open.admission.unauthenticated.len();
                    log::warn!("{count} connections that have not said hello: the oldest is closed for each new one");
                }
                open.admission.remove(oldest);
                if let Some(stream) = open.streams.get(&oldest) {
                    stream.close();
                }
            } else {
                let patience = Duration::from_millis(limits::UNAUTHENTICATED_GRACE_MS / 10);
                let wait = self.place_freed.wait_timeout(open, patience);
                open = wait.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        if open.closing {
            return false;
        }
        open.admission.add(id, clock::now());
        open.streams.insert(id, stream.clone());
        true
    }

    /// Notes that a connection begins its TLS handshake.
    pub(super) fn begin_handshake(&self, id: SessionId) {
        threads::lock(&self.open).admission.begin_handshake(id, clock::now());
    }

    /// Counts a connection among the sessions, if there is a place for it.
    pub(super) fn authenticate(&self, id: SessionId) -> Result<(), Refusal> {
        let entered = threads::lock(&self.open).admission.authenticate(id);
        if let Err(count) = entered {
            if self.full.is_due(clock::now()) {
                log::warn!("{count} connections are open, which is the limit: further ones are refused");
            }
            let text = format!("the dispatcher has {count} connections, its limit: try again later");
            return Err(Refusal::new(ErrorCode::Busy, text));
        }
        self.place_freed.notify_one();
        Ok(())
    }

    /// Takes the thread of a session, so that it is joined. A thread that has ended already is let go.
    pub(super) fn add_thread(&self, id: SessionId, thread: Thread<()>) {
        let mut open = threads::lock(&self.open);
        if !open.ended.remove(&id) {
            open.threads.insert(id, thread);
        }
    }

    /// Removes a connection for which no thread could be started.
    pub(super) fn withdraw(&self, id: SessionId) {
        let mut open = threads::lock(&self.open);
        open.admission.remove(id);
        open.streams.remove(&id);
    }

    /// Removes a session. This is the last act of its thread.
    pub(super) fn remove(&self, id: SessionId) {
        let mut open = threads::lock(&self.open);
        open.admission.remove(id);
        open.streams.remove(&id);
        match open.threads.remove(&id) {
            // A thread cannot join itself, and it ends with this call.
            Some(thread) => thread.detach(),
            None => _ = open.ended.insert(id),
        }
        drop(open);
        self.place_freed.notify_one();
    }

    /// Closes every session and waits for its thread.
    pub(super) fn close_all(&self) {
        let threads = {
            let mut open = threads::lock(&self.open);
            open.closing = true;
            open.streams.values().for_each(Stream::close);
            std::mem::take(&mut open.threads)
        };
        self.place_freed.notify_all();
        drop(threads);
    }
}
