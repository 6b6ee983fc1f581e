//! Sessions over TCP: messages arrive in order and late, and a cut at any point loses those on their way. Either end
//! may learn of the cut long after the other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use surveil::model::{AttemptId, BuildSource, CommitId, Outcome, Plan, RefName, RepoName, SessionId};
use surveil::scheduler::{Reply, RunnerCommand, RunnerJoined};

use crate::observer::ObserverId;
use crate::runner::ProcessId;
use crate::world::{Happening, World};

/// A message from a peer to the dispatcher.
#[derive(Debug, Clone)]
pub(crate) enum Up {
    Register(Box<RunnerJoined>),
    Ping(Vec<AttemptId>),
    Started(AttemptId),
    Draining,
    Results(AttemptId, Outcome),
    Status(RepoName),
    Dispatch(Box<BuildSource>, Result<Plan, String>, Option<u64>),
    Gone(RepoName, RefName, CommitId, Option<u64>),
    /// The refs of a first look at some patterns.
    Note(RepoName, Vec<(RefName, CommitId)>, Vec<Arc<str>>),
}

/// A message from the dispatcher to a peer.
#[derive(Debug, Clone)]
pub(crate) enum Down {
    Runner(RunnerCommand),
    /// The accepted heads, the number of the last move, and the patterns at which nobody has looked.
    Heads(Vec<(RefName, CommitId)>, u64, Vec<Arc<str>>),
    Reply(Reply),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Runner(ProcessId),
    Observer(ObserverId),
}

#[derive(Debug)]
struct Session {
    peer: Peer,
    up: Lane<Up>,
    down: Lane<Down>,
}

/// One direction of a session.
#[derive(Debug)]
struct Lane<T> {
    flight: VecDeque<T>,
    /// Time at which the last message arrives.
    last_arrival: u64,
    /// Messages that are written now are still sent.
    is_whole: bool,
    /// The reading end has seen the end of the stream, or is gone.
    is_ended: bool,
}

impl<T> Lane<T> {
    fn new() -> Self {
        Self { flight: VecDeque::new(), last_arrival: 0, is_whole: true, is_ended: false }
    }

    /// Sends a message; returns its time of arrival.
    fn write(&mut self, message: T, arrival: u64) -> Option<u64> {
        if !self.is_whole || self.is_ended {
            return None;
        }
        self.last_arrival = self.last_arrival.max(arrival);
        self.flight.push_back(message);
        Some(self.last_arrival)
    }

    fn read(&mut self) -> Option<T> {
        self.flight.pop_front().filter(|_| !self.is_ended)
    }

    /// Ends the direction: of the messages on their way, only the first `keep` arrive. Returns when the end is seen.
    fn cut(&mut self, keep: usize, notice: u64) -> u64 {
        self.is_whole = false;
        self.flight.truncate(keep);
        if self.flight.is_empty() { notice } else { notice.max(self.last_arrival) }
    }
}

/// All sessions of a world, including those that have ended.
#[derive(Debug, Default)]
pub(crate) struct Network {
    sessions: BTreeMap<SessionId, Session>,
    last: u64,
}

/// How a session ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    /// Delays until the dispatcher and the peer see the end.
    pub(crate) up_ms: u64,
    pub(crate) down_ms: u64,
    /// Whether messages on their way to the dispatcher, and to the peer, may be lost.
    pub(crate) loses_up: bool,
    pub(crate) loses_down: bool,
}

impl Network {
    pub(crate) fn dial(&mut self, peer: Peer) -> SessionId {
        self.last += 1;
        let id = SessionId(self.last);
        self.sessions.insert(id, Session { peer, up: Lane::new(), down: Lane::new() });
        id
    }

    /// Sessions that still work in both directions.
    pub(crate) fn whole(&self) -> Vec<SessionId> {
        let whole = self.sessions.iter().filter(|(_, session)| session.up.is_whole && session.down.is_whole);
        whole.map(|(id, _)| *id).collect()
    }

    pub(crate) fn peer(&self, id: SessionId) -> Option<Peer> {
        self.sessions.get(&id).map(|session| session.peer)
    }
}

impl World {
    pub(crate) fn send_up(&mut self, id: SessionId, message: Up) {
        // On a slow network an announcement may be overtaken by those of other observers.
        let is_announcement = matches!(message, Up::Dispatch(..) | Up::Gone(..));
        let late = if is_announcement && self.now < self.slow_until { self.dice.ms(0, 9_000) } else { 0 };
        let arrival = self.now + self.delay() + late;
        let arrives = self.network.sessions.get_mut(&id).and_then(|session| session.up.write(message, arrival));
        if let Some(at) = arrives {
            self.plan(at, Happening::ArriveUp(id));
        }
    }

    pub(crate) fn send_down(&mut self, id: SessionId, message: Down) {
        let arrival = self.now + self.delay();
        let arrives = self.network.sessions.get_mut(&id).and_then(|session| session.down.write(message, arrival));
        if let Some(at) = arrives {
            self.plan(at, Happening::ArriveDown(id));
        }
    }

    pub(crate) fn arrive_up(&mut self, id: SessionId) {
        if let Some(message) = self.network.sessions.get_mut(&id).and_then(|session| session.up.read()) {
            self.dispatcher_hears(id, message);
        }
    }

    pub(crate) fn arrive_down(&mut self, id: SessionId) {
        let Some(session) = self.network.sessions.get_mut(&id) else { return };
        let peer = session.peer;
        let Some(message) = session.down.read() else { return };
        match peer {
            Peer::Runner(process) => self.runner_hears(process, id, message),
            Peer::Observer(observer) => self.observer_hears(observer, id, message),
        }
    }

    /// The dispatcher sees that the session is over.
    pub(crate) fn end_up(&mut self, id: SessionId) {
        let Some(session) = self.network.sessions.get_mut(&id) else { return };
        if !std::mem::replace(&mut session.up.is_ended, true) {
            self.dispatcher_loses(id);
        }
    }

    /// The peer sees that the session is over.
    pub(crate) fn end_down(&mut self, id: SessionId) {
        let Some(session) = self.network.sessions.get_mut(&id) else { return };
        if std::mem::replace(&mut session.down.is_ended, true) {
            return;
        }
        match session.peer {
            Peer::Runner(process) => self.runner_loses(process, id),
            Peer::Observer(observer) => self.observer_loses(observer, id),
        }
    }

    /// Ends a session. Each end sees it at a time of its own, after the messages that still reach it.
    pub(crate) fn cut(&mut self, id: SessionId, cut: Cut) {
        let now = self.now;
        let Some(session) = self.network.sessions.get_mut(&id) else { return };
        let keep = |count: usize, loses: bool, dice: &mut crate::dice::Dice| {
            if loses { dice.below(count + 1) } else { count }
        };
        let up = keep(session.up.flight.len(), cut.loses_up, &mut self.dice);
        let down = keep(session.down.flight.len(), cut.loses_down, &mut self.dice);
        let up_at = session.up.cut(up, now + cut.up_ms);
        let down_at = session.down.cut(down, now + cut.down_ms);
        let (up_ended, down_ended) = (session.up.is_ended, session.down.is_ended);
        if !up_ended {
            self.plan(up_at, Happening::EndUp(id));
        }
        if !down_ended {
            self.plan(down_at, Happening::EndDown(id));
        }
    }

    /// The peer's end is gone: it closed the session, or died.
    pub(crate) fn hang_up(&mut self, id: SessionId) {
        if let Some(session) = self.network.sessions.get_mut(&id) {
            session.down.is_ended = true;
        }
        let up_ms = if self.dice.percent(15) { self.dice.ms(500, 12_000) } else { self.dice.ms(1, 30) };
        self.cut(id, Cut { up_ms, down_ms: 0, loses_up: true, loses_down: true });
    }

    /// The dispatcher's end is gone with its process.
    pub(crate) fn drop_all(&mut self) {
        let open: Vec<SessionId> =
            self.network.sessions.iter().filter(|(_, session)| !session.up.is_ended).map(|(id, _)| *id).collect();
        for id in open {
            if let Some(session) = self.network.sessions.get_mut(&id) {
                session.up.is_ended = true;
            }
            // Most peers get a reset; some are behind a middlebox that drops it.
            let down_ms = if self.dice.percent(15) { self.dice.ms(1_000, 9_000) } else { self.dice.ms(1, 50) };
            self.cut(id, Cut { up_ms: 0, down_ms, loses_up: true, loses_down: true });
        }
    }

    fn delay(&mut self) -> u64 {
        if self.now < self.slow_until { self.dice.ms(100, 2_500) } else { self.dice.ms(1, 40) }
    }
}
