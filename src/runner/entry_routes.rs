//! The routes of answers about the tool cache, from a session's reader to those who asked. They close with the session,
//! and those of an attempt with its lease, so that nobody waits for an answer that will not come.

use std::collections::HashMap;
use std::sync::Mutex;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::model::{AttemptId, BlobId, CacheScope};
use crate::threads;

/// An answer of the dispatcher about an entry of the tool cache.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum EntryAnswer {
    /// There is none, or the answer makes no sense.
    Missing,
    /// A piece of the entry.
    Piece { facts: Box<EntryFacts>, offset: u64, bytes: Vec<u8> },
    /// The dispatcher has the piece that it was sent, unless there is a reason why not.
    Taken { reason: Option<String> },
}

/// An entry that the dispatcher has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EntryFacts {
    pub(super) scope: CacheScope,
    pub(super) blob: BlobId,
    pub(super) size: u64,
    /// Headers that readers get.
    pub(super) headers: Vec<(String, String)>,
    /// The build, the task and the attempt that wrote it.
    pub(super) build: u64,
    pub(super) task: String,
    pub(super) by: u64,
}

/// The routes of one session.
#[derive(Debug, Default)]
pub(super) struct EntryRoutes(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// By the number of the request, with the attempt that asks.
    open: HashMap<u64, (AttemptId, Sender<EntryAnswer>)>,
    last: u64,
    is_closed: bool,
}

/// The answers to one request. Dropping it ends their route.
pub(super) struct EntryRoute<'a> {
    routes: &'a EntryRoutes,
    /// The number by which the dispatcher names the request.
    pub(super) request: u64,
    pub(super) answers: Receiver<EntryAnswer>,
}

impl Drop for EntryRoute<'_> {
    fn drop(&mut self) {
        threads::lock(&self.routes.0).open.remove(&self.request);
    }
}

impl EntryRoutes {
    /// Opens a route of an attempt, with room for so many answers. When the session or the attempt's lease ends, its
    /// sender is dropped, which tells the thread that waits.
    pub(super) fn open(&self, attempt: AttemptId, capacity: usize) -> EntryRoute<'_> {
        let (sender, answers) = bounded(capacity);
        let mut state = threads::lock(&self.0);
        state.last += 1;
        let request = state.last;
        if !state.is_closed {
            state.open.insert(request, (attempt, sender));
        }
        EntryRoute { routes: self, request, answers }
    }

    /// Delivers an answer. One that nobody waits for is dropped, and so is one that nobody asked for.
    pub(super) fn deliver(&self, request: u64, answer: EntryAnswer) {
        if let Some((_, answers)) = threads::lock(&self.0).open.get(&request) {
            drop(answers.try_send(answer));
        }
    }

    /// Drops the routes of an attempt that has lost its lease: `stale` names no request.
    pub(super) fn end(&self, attempt: AttemptId) {
        threads::lock(&self.0).open.retain(|_, (of, _)| *of != attempt);
    }

    /// Whether the session has ended.
    pub(super) fn is_closed(&self) -> bool {
        threads::lock(&self.0).is_closed
    }

    /// Drops all routes and refuses new ones.
    pub(super) fn close(&self) {
        let mut state = threads::lock(&self.0);
        (state.open, state.is_closed) = (HashMap::new(), true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_goes_to_its_request_and_a_closed_session_ends_all_waits() {
        let routes = EntryRoutes::default();
        let (one, two) = (routes.open(AttemptId(7), 1), routes.open(AttemptId(7), 1));
        routes.deliver(two.request, EntryAnswer::Missing);
        routes.deliver(two.request, EntryAnswer::Taken { reason: None });
        routes.deliver(77, EntryAnswer::Missing);
        assert_eq!(two.answers.try_recv(), Ok(EntryAnswer::Missing));
        assert!(one.answers.is_empty() && two.answers.is_empty(), "there was room for one answer");
        let number = one.request;
        drop(one);
        routes.deliver(number, EntryAnswer::Missing);
        routes.close();
        assert!(two.answers.recv().is_err());
        assert!(routes.open(AttemptId(7), 1).answers.recv().is_err());
    }

    #[test]
    fn a_lost_lease_ends_the_waits_of_its_attempt_and_of_no_other() {
        let routes = EntryRoutes::default();
        let (lost, other) = ([(); 2].map(|()| routes.open(AttemptId(7), 1)), routes.open(AttemptId(8), 1));
        routes.end(AttemptId(7));
        assert!(lost.iter().all(|route| route.answers.recv().is_err()) && !routes.is_closed());
        routes.deliver(other.request, EntryAnswer::Missing);
        assert_eq!(other.answers.try_recv(), Ok(EntryAnswer::Missing));
        let next = routes.open(AttemptId(7), 1);
        routes.deliver(next.request, EntryAnswer::Missing);
        assert_eq!(next.answers.try_recv(), Ok(EntryAnswer::Missing), "its next question has an answer of its own");
    }
}
