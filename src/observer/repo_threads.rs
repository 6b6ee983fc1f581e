//! The threads of the observed repositories: started together, given each new session, ended together.
//!
//! Owns no repository and no connection. Used by [`super::run()`].

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, never};

use crate::clock;
use crate::config::{ObservedRepo, ObserverSettings, RepoLocation};
use crate::git::{BranchSelection, RefGlob};
use crate::model::RepoName;
use crate::threads::{self, Thread};

use super::fetch::Fetcher;
use super::repo::{NameTaken, Orders, Repo};
use super::session::Session;

/// Shortest interval between two looks at a repository. A look at a small one takes microseconds.
const MIN_INTERVAL: Duration = Duration::from_millis(10);
/// Longest interval. It must be small enough to be added to a time.
const MAX_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);
/// Time that the threads have to end. A thread that is inside a long read of a repository, or waits for a remote, is
/// then left behind: it only reads, and the process is ending.
const END_TIMEOUT: Duration = Duration::from_millis(500);

/// The end of a repository's thread.
#[derive(Debug)]
pub(crate) struct ThreadEnd {
    pub repo: RepoName,
    pub cause: EndCause,
}

/// Why a thread ended.
#[derive(Debug)]
pub(crate) enum EndCause {
    /// It was asked to end.
    Stopped,
    /// The dispatcher refused the repository for good.
    Name(NameTaken),
    /// It panicked.
    Panicked,
}

/// The threads of all repositories.
#[derive(Debug)]
pub(crate) struct RepoThreads {
    threads: Vec<RepoThread>,
    /// Gets one message from each thread that ends.
    pub ends: Receiver<ThreadEnd>,
}

#[derive(Debug)]
struct RepoThread {
    /// Both ends of a channel that holds the newest session, until the thread takes it.
    offer: Sender<Arc<Session>>,
    offered: Receiver<Arc<Session>>,
    observing: Thread<()>,
    fetching: Option<Fetching>,
}

/// A fetching thread.
#[derive(Debug)]
struct Fetching {
    /// Its end stops the thread.
    _stop: Sender<()>,
    thread: Thread<()>,
}

impl RepoThreads {
    pub(crate) fn start(settings: &ObserverSettings) -> io::Result<Self> {
        let (tell_end, ends) = bounded(settings.repos.len());
        let mut started = Self { threads: Vec::with_capacity(settings.repos.len()), ends };
        for (number, repo) in settings.repos.iter().enumerate() {
            match RepoThread::start(settings, number, repo, tell_end.clone()) {
                Ok(thread) => started.threads.push(thread),
                Err(error) => {
                    started.end();
                    return Err(error);
                }
            }
        }
        Ok(started)
    }

    /// Gives the session to every thread, and takes back one that a thread has not taken yet.
    pub(crate) fn offer(&self, session: &Arc<Session>) {
        for RepoThread { offer, offered, .. } in &self.threads {
            while offered.try_recv().is_ok() {}
            // The channel was emptied, and only this thread sends on it, so there is room.
            drop(offer.try_send(Arc::clone(session)));
        }
    }

    /// Ends the threads. The session must be closed before, so that no thread waits for an answer.
    pub(crate) fn end(self) {
        let mut threads = Vec::new();
        for thread in self.threads {
            // Both channels of the thread are dropped here, which tells it to end.
            threads.push(thread.observing);
            threads.extend(thread.fetching.map(|fetching| fetching.thread));
        }
        let deadline = clock::instant() + END_TIMEOUT;
        // Each observing thread sends one message when it ends. After the last one the channel closes.
        while self.ends.recv_deadline(deadline).is_ok() {}
        for thread in threads {
            if thread.is_finished() {
                drop(thread);
            } else {
                // Dropping the handle would wait for the thread.
                std::mem::forget(thread);
            }
        }
    }
}

impl RepoThread {
    fn start(
        settings: &ObserverSettings,
        number: usize,
        repo: &ObservedRepo,
        tell_end: Sender<ThreadEnd>,
    ) -> io::Result<Self> {
        let interval = Duration::from_millis(settings.interval_ms).clamp(MIN_INTERVAL, MAX_INTERVAL);
        let ((wake, wakes), (ask, asked)) = (bounded(1), bounded(1));
        let (path, url) = match &repo.location {
            RepoLocation::Path(path) => (path, None),
            RepoLocation::Url { url, mirror } => (mirror, Some(url)),
        };
        let is_fetched = Arc::new(AtomicBool::new(false));
        let fetcher = url.map(|url| Fetcher {
            repo: repo.name.clone(),
            url: url.clone(),
            mirror: path.clone(),
            source: repo.source.clone(),
            interval,
            wake: wake.clone(),
            asked: asked.clone(),
            is_fetched: Arc::clone(&is_fetched),
        });
        let (offer, offered) = bounded(1);
        let orders = Orders {
            number,
            name: repo.name.clone(),
            path: path.clone(),
            source: repo.source.clone(),
            selection: selection(settings),
            globs: settings.refs.iter().map(|pattern| RefGlob::new(pattern)).collect(),
            backlog: settings.backlog,
            interval,
            is_mirror: url.is_some(),
            url: url.cloned(),
            work: settings.work.clone(),
            is_fetched,
            sessions: offered.clone(),
            wakes,
            wake,
            ask,
            asked: if url.is_some() { never() } else { asked },
        };
        // The cause stays if the thread panics.
        let farewell = Farewell { repo: repo.name.clone(), cause: EndCause::Panicked, tell_end };
        let observing = threads::spawn_large(&format!("repo{number}"), move || {
            let mut farewell = farewell;
            farewell.cause = Repo::new(orders).run().map_or(EndCause::Stopped, EndCause::Name);
            drop(farewell);
        })?;
        let mut thread = Self { offer, offered, observing, fetching: None };
        if let Some(fetcher) = fetcher {
            let (stop, stopped) = bounded(0);
            let fetching = threads::spawn(&format!("fetch{number}"), move || fetcher.run(&stopped))?;
            thread.fetching = Some(Fetching { _stop: stop, thread: fetching });
        }
        Ok(thread)
    }
}

/// Reports the end of a thread when it is dropped, also if the thread panicked.
struct Farewell {
    repo: RepoName,
    cause: EndCause,
    tell_end: Sender<ThreadEnd>,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        let cause = std::mem::replace(&mut self.cause, EndCause::Stopped);
        // The channel has room for the message of every thread. If nobody receives it, nobody needs it.
        drop(self.tell_end.try_send(ThreadEnd { repo: self.repo.clone(), cause }));
    }
}

/// Returns which branches to observe.
fn selection(settings: &ObserverSettings) -> BranchSelection {
    match settings.branches.is_empty() {
        true => BranchSelection::Main,
        false => BranchSelection::Matching(settings.branches.clone()),
    }
}
