//! Observers: each looks at a repository, compares its heads with those that the dispatcher accepted, and announces one
//! difference at a time, as `src/observer/watch.rs` decides. An observer keeps nothing over a restart.

use std::collections::BTreeMap;
use std::sync::Arc;

use surveil::model::{BuildSource, CommitId, Plan, RefName, RepoName, SessionId, Trigger};
use surveil::scheduler::Reply;

use crate::history::{Announcement, Fact};
use crate::network::{Down, Peer, Up};
use crate::world::{Happening, World};

/// The tags of a repository that are there at the first look are not built.
pub(crate) const PATTERN: &str = "refs/tags/*";
/// Interval between two looks at the repository.
const LOOK_MS: u64 = 1_000;
/// Longest time to wait for an answer.
const PATIENCE_MS: u64 = 12_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ObserverId(pub(crate) u64);

/// A repository: the head of each branch, and the task file of each commit.
#[derive(Debug)]
pub(crate) struct Repo {
    pub(crate) name: RepoName,
    /// All of its tasks are exclusive.
    pub(crate) is_deploying: bool,
    /// Its commits have schedules.
    pub(crate) is_scheduled: bool,
    pub(crate) heads: BTreeMap<RefName, CommitId>,
    /// The branch that moved last, and its head before.
    pub(crate) before: Option<(RefName, Option<CommitId>)>,
    pub(crate) commits: Vec<CommitId>,
    pub(crate) plans: BTreeMap<CommitId, Result<Plan, String>>,
}

/// An observer's process.
#[derive(Debug)]
pub(crate) struct Observer {
    pub(crate) id: ObserverId,
    pub(crate) repo: usize,
    session: Option<SessionId>,
    /// The dispatcher's heads, as far as this observer knows.
    accepted: Option<BTreeMap<RefName, CommitId>>,
    /// The patterns at which nobody has looked yet.
    unseen: Vec<Arc<str>>,
    /// The last move that those heads include, and for branches of which it heard since, a later one.
    moves: u64,
    later_moves: BTreeMap<RefName, u64>,
    /// The request that has no answer yet, and the time at which it was sent.
    asked: Option<(Question, u64)>,
}

#[derive(Debug, Clone)]
enum Question {
    Heads,
    Head(RefName, Option<CommitId>, CommitId),
    Gone(RefName),
    Note,
}

impl World {
    pub(crate) fn start_observer(&mut self, repo: usize) {
        self.last_observer += 1;
        let id = ObserverId(self.last_observer);
        let accepted = self.trusted_heads(repo);
        let (later_moves, unseen) = (BTreeMap::new(), Vec::new());
        self.observers.push(Observer { id, repo, session: None, accepted, unseen, moves: 0, later_moves, asked: None });
        self.plan(self.now + 1, Happening::Look(id));
    }

    pub(crate) fn stop_observer(&mut self, at: usize) {
        let observer = self.observers.remove(at);
        if let Some(session) = observer.session {
            self.hang_up(session);
        }
    }

    fn observer(&mut self, id: ObserverId) -> Option<&mut Observer> {
        self.observers.iter_mut().find(|observer| observer.id == id)
    }

    /// The poll: connects if need be, then looks for a difference.
    pub(crate) fn look(&mut self, id: ObserverId) {
        let (now, is_up) = (self.now, self.dispatcher.scheduler.is_some());
        let wait = self.dice.ms(LOOK_MS / 2, LOOK_MS);
        let Some(observer) = self.observer(id) else { return };
        let overdue = observer.asked.as_ref().is_some_and(|(_, since)| now > since + PATIENCE_MS);
        match observer.session {
            None if is_up => {
                let session = self.network.dial(Peer::Observer(id));
                if let Some(observer) = self.observer(id) {
                    observer.session = Some(session);
                }
                self.ask_next(id);
            }
            None => {}
            Some(session) if overdue => {
                self.hang_up(session);
                self.observer_loses(id, session);
            }
            Some(_) => self.ask_next(id),
        }
        self.plan(now + wait, Happening::Look(id));
    }

    /// Sends the next request or announcement, if there is one and no answer is outstanding.
    fn ask_next(&mut self, id: ObserverId) {
        let now = self.now;
        let Some(at) = self.observers.iter().position(|observer| observer.id == id) else { return };
        let observer = &mut self.observers[at];
        let (Some(session), None) = (observer.session, &observer.asked) else { return };
        let repo = &self.repos[observer.repo];
        let Some(accepted) = &observer.accepted else {
            observer.asked = Some((Question::Heads, now));
            let name = repo.name.clone();
            return self.send_up(session, Up::Status(name));
        };
        if !observer.unseen.is_empty() {
            observer.asked = Some((Question::Note, now));
            let is_new = |(reference, _): &(&RefName, &CommitId)| {
                reference.tag().is_some() && !accepted.contains_key(*reference)
            };
            let refs = repo.heads.iter().filter(is_new).map(|(reference, head)| (reference.clone(), *head)).collect();
            let message = Up::Note(repo.name.clone(), refs, std::mem::take(&mut observer.unseen));
            return self.send_up(session, message);
        }
        let moved = repo.heads.iter().find(|(reference, head)| accepted.get(*reference) != Some(*head));
        if let Some((reference, head)) = moved {
            let before = accepted.get(reference).copied();
            let seen = Some(*observer.later_moves.get(reference).unwrap_or(&observer.moves));
            observer.asked = Some((Question::Head(reference.clone(), before, *head), now));
            let source = source_of(repo, reference, before, *head);
            let plan = repo.plans[head].clone();
            self.history.note(now, Fact::Announced(Announcement::of(&source)));
            return self.send_up(session, Up::Dispatch(Box::new(source), plan, seen));
        }
        let gone = accepted.iter().find(|(reference, _)| !repo.heads.contains_key(*reference));
        if let Some((reference, before)) = gone {
            observer.asked = Some((Question::Gone(reference.clone()), now));
            let seen = Some(*observer.later_moves.get(reference).unwrap_or(&observer.moves));
            let message = Up::Gone(repo.name.clone(), reference.clone(), *before, seen);
            self.send_up(session, message);
        }
    }

    pub(crate) fn observer_hears(&mut self, id: ObserverId, session: SessionId, message: Down) {
        let Some(at) = self.observers.iter().position(|observer| observer.id == id) else { return };
        let observer = &mut self.observers[at];
        if observer.session != Some(session) {
            return;
        }
        let (Some((question, _)), accepted) = (observer.asked.take(), &mut observer.accepted) else { return };
        match (message, question) {
            (Down::Heads(heads, moves, unseen), _) => {
                *accepted = Some(heads.into_iter().collect());
                observer.unseen = unseen;
                observer.moves = moves;
                observer.later_moves.clear();
            }
            (Down::Reply(Reply::Accepted { build, moves }), Question::Head(reference, before, after)) => {
                observer.later_moves.insert(reference.clone(), moves);
                if let Some(accepted) = accepted {
                    accepted.insert(reference.clone(), after);
                }
                let repo = self.repos[observer.repo].name.clone();
                if let Some(build) = build {
                    let announcement = Announcement { repo, reference, before, after };
                    self.history.note(self.now, Fact::Acknowledged { announcement, build });
                }
            }
            (Down::Reply(Reply::Accepted { moves, .. }), Question::Gone(reference)) => {
                observer.later_moves.insert(reference.clone(), moves);
                if let Some(accepted) = accepted {
                    accepted.remove(&reference);
                }
            }
            (Down::Reply(Reply::Stale { reference, head, moves, .. }), _) => {
                observer.later_moves.insert(reference.clone(), moves);
                if let Some(accepted) = accepted {
                    match head {
                        Some(head) => accepted.insert(reference, head),
                        None => accepted.remove(&reference),
                    };
                }
            }
            // Another observer may have looked before: the heads tell what is noted.
            (Down::Reply(Reply::Noted), Question::Note) => *accepted = None,
            (Down::Reply(_) | Down::Runner(_), _) => {}
        }
        self.ask_next(id);
    }

    pub(crate) fn observer_loses(&mut self, id: ObserverId, session: SessionId) {
        let trusts = self.trusts_itself();
        let Some(observer) = self.observer(id) else { return };
        if observer.session == Some(session) {
            (observer.session, observer.asked) = (None, None);
            // Heads are compared anew after every reconnect.
            if !trusts {
                observer.accepted = None;
            }
        }
    }
}

fn source_of(repo: &Repo, reference: &RefName, before: Option<CommitId>, commit: CommitId) -> BuildSource {
    BuildSource {
        repo: repo.name.clone(),
        commit,
        trigger: Trigger::of_move(reference.clone(), before, vec![commit], Some(1)),
        subject: String::new(),
        author: String::new(),
    }
}
