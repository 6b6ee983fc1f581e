//! An observer's session: the source of a commit arrives, becomes durable in the mirror, and then the commit is
//! announced to the core.

use std::collections::BTreeMap;
use std::sync::Arc;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::connection::Session;
use super::error::SessionError;
use super::shared::Shared;
use super::worker::{self, Incoming};
use crate::config::PlanContext;
use crate::dispatcher::choice;
use crate::dispatcher::core::{NewCommit, Seen, ToCore};
use crate::dispatcher::mirrors::{ArrivingPack, Coming, Intake, Taken, Upkeep};
use crate::dispatcher::session::credentials::Access;
use crate::dispatcher::translate;
use crate::error_chain::chain;
use crate::model::{AcceptedHead, BuildSource, CommitId, FactsId, ObservedRefs, RefName, RepoName, SessionId};
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::protocol::limits::{MAX_LINE_BYTES, MAX_NOTED_REFS, PIECE_BYTES};
use crate::protocol::observer::{FromObserver, Head, ToObserver};
use crate::protocol::pieces::cut_heads;
use crate::scheduler::{Event, Reply};
use crate::store::PassScope;
use crate::transport::{Frame, Outbox};

/// Serves an observer until it leaves.
#[inline(never)]
pub(super) fn serve(session: Session) -> Result<(), SessionError> {
    let pings = (FromObserver::Ping, Frame::new(&ToObserver::Ack));
    let payload = |message: &FromObserver| if let FromObserver::Pack { bytes, .. } = message { *bytes } else { 0 };
    let (takes_pieces, takes_refs) = (session.hello.takes_pieces, session.hello.takes_refs);
    let takes_wakes = session.hello.takes_wakes;
    let access = session.access.clone();
    worker::serve(session, &pings, payload, move |shared, id, outbox, inbox| {
        let (known, upkeep) = (BTreeMap::new(), Upkeep::default());
        let worker = ObserverWorker {
            shared,
            id,
            access,
            outbox,
            takes_pieces,
            takes_refs,
            takes_wakes,
            is_told: false,
            known,
            noted: None,
            pack: None,
            upkeep,
        };
        worker.run(inbox)
    })
}

struct ObserverWorker<'a> {
    shared: &'a Shared,
    id: SessionId,
    access: Access,
    outbox: &'a Outbox,
    /// Whether the observer takes the heads of a repository in several messages.
    takes_pieces: bool,
    /// Whether the observer knows of refs that are no branches.
    takes_refs: bool,
    /// Whether the observer understands `wake`.
    takes_wakes: bool,
    /// Whether the log says that this observer takes too little.
    is_told: bool,
    /// The repositories whose heads this observer has asked for, with what it told of their refs.
    known: BTreeMap<RepoName, ObservedRefs>,
    /// The refs of a first look that is being told.
    noted: Option<(RepoName, Vec<(RefName, CommitId)>)>,
    /// The pack that is arriving, until the commit to which it belongs is announced.
    pack: Option<ArrivingPack>,
    upkeep: Upkeep,
}

impl ObserverWorker<'_> {
    fn run(mut self, inbox: &Receiver<Incoming<FromObserver>>) -> Result<(), Refusal> {
        let end = loop {
            match inbox.recv_timeout(self.upkeep.patience()) {
                Ok(request) => match self.take(request) {
                    Ok(()) => {}
                    // This request only.
                    Err(refusal) if refusal.code == ErrorCode::Refused => {
                        self.pack = None;
                        log::warn!("session {}: {}", self.id, refusal.line());
                        self.outbox.send(&Frame::new(&ToObserver::Error(refusal)));
                    }
                    Err(refusal) => break Err(refusal),
                },
                Err(RecvTimeoutError::Timeout) => self.upkeep.step(&self.shared.mirrors),
                Err(RecvTimeoutError::Disconnected) => break Ok(()),
            }
        };
        self.upkeep.finish(&self.shared.mirrors);
        end
    }

    fn take(&mut self, Incoming { message, payload }: Incoming<FromObserver>) -> Result<(), Refusal> {
        match message {
            FromObserver::Status { repo, source, patterns, default_branch, named } => {
                self.status(&repo, &source, patterns, translate::observed_refs(default_branch.as_deref(), &named))
            }
            FromObserver::Existing { repo, refs, more, patterns } => self.existing(&repo, refs, more, patterns),
            FromObserver::Pack { repo, last, .. } => self.pack(&repo, last, &payload),
            FromObserver::Dispatch { ref ancestors, ref facts, seen, .. } => {
                let (ancestors, facts) = (translate::ancestors(ancestors)?, translate::facts(facts.as_deref())?);
                self.dispatch((translate::build_source(message)?, facts), &ancestors, seen)
            }
            FromObserver::Supply { repo, commit, facts } => {
                let (repo, commit) = (self.known(&repo)?, translate::commit(&commit)?);
                let facts = translate::facts(facts.as_deref())?;
                if !self.shared.observers.was_asked(self.id, &repo, commit) {
                    let text = format!("nobody asked for the source of {commit}: `supply` answers `lost_source`");
                    return Err(Refusal::new(ErrorCode::NotAllowed, text));
                }
                if self.take_in(&repo, &RefName::of_branch(""), (commit, facts), PlanContext::Unknown).is_some() {
                    log::info!("the source of {} of {repo} is there again", commit.short());
                    let (repo, branch, commit) = (repo.to_string(), String::new(), Some(commit.to_string()));
                    let ok = ToObserver::Ok { repo, branch, reference: None, commit, build: None, moves: None };
                    self.outbox.send(&Frame::new(&ok));
                }
                Ok(())
            }
            FromObserver::Gone { repo, branch, reference, before, seen } => {
                // Any name: an earlier version may have accepted a branch that git does not allow.
                let (repo, reference) = (self.known(&repo)?, RefName::read(&branch, reference.as_deref()));
                let before = translate::commit(&before)?;
                let (of, gone) = (repo.clone(), reference.clone());
                let event = move |request| Event::RefGone { request, repo: of, reference: gone, before, seen };
                if let Some(reply) = self.shared.core.ask(event) {
                    self.outbox.send(&Frame::new(&answer(&repo, &reference, None, reply)));
                }
                Ok(())
            }
            FromObserver::Ping => Ok(()),
        }
    }

    fn status(&mut self, repo: &str, source: &str, patterns: Vec<String>, refs: ObservedRefs) -> Result<(), Refusal> {
        let (repo, patterns) = (translate::repo(repo)?, translate::patterns(patterns)?);
        let source = translate::source(source)?;
        self.access.check_repo(&repo).map_err(|denied| denied.refusal())?;
        let session = (self.id, self.outbox);
        if let Err(text) = self.shared.observers.add(session, &repo, &source, self.takes_wakes) {
            return Err(Refusal::new(ErrorCode::NameTaken, text));
        }
        self.shared.core.send(ToCore::SaveSource { repo: repo.clone(), source, refs: refs.clone() });
        let asked = repo.clone();
        let heads = self.shared.core.answered(|answer| {
            let heads = move |Seen { scheduler, .. }: Seen<'_>| {
                (scheduler.heads(&asked), scheduler.moves(&asked), scheduler.unseen(&asked, patterns))
            };
            ToCore::Look(Box::new(move |seen: Seen<'_>| drop(answer.send(heads(seen)))))
        });
        let Some((heads, moves, unseen)) = heads else { return Ok(()) };
        self.known.insert(repo.clone(), self.with_default_branch(&repo, refs));
        self.send_heads(&repo, heads, moves, unseen);
        for commit in self.shared.mirrors.missing.of(&repo) {
            self.shared.observers.ask_for_source(&repo, commit);
        }
        Ok(())
    }

    /// Adds the default branch of before, if the observer does not know it now.
    fn with_default_branch(&self, repo: &RepoName, mut refs: ObservedRefs) -> ObservedRefs {
        if refs.default_branch.is_none() {
            match self.shared.readers.open().and_then(|reader| reader.observed_refs(repo)) {
                Ok(stored) => refs.default_branch = stored.default_branch,
                Err(error) => log::warn!("could not read the default branch of {repo}: {}", chain(&error)),
            }
        }
        refs
    }

    /// Answers with the accepted heads, in as many messages as they take.
    fn send_heads(&mut self, repo: &RepoName, heads: Vec<(RefName, AcceptedHead)>, moves: u64, unseen: Vec<Arc<str>>) {
        let unseen: Vec<String> = unseen.iter().map(ToString::to_string).collect();
        let head = |(reference, AcceptedHead { commit, is_noted, .. }): (RefName, AcceptedHead)| {
            let (branch, reference) = reference.written();
            Head { branch, reference, commit: commit.to_string(), noted: is_noted }
        };
        let told = heads.into_iter().filter(|(reference, _)| self.takes_refs || reference.branch().is_some());
        let heads: Vec<_> = told.map(head).collect();
        let frame = |heads, more| {
            let (repo, moves, unseen) = (repo.to_string(), Some(moves), unseen.clone());
            Frame::new(&ToObserver::Heads { repo, heads, more, moves, unseen })
        };
        if !self.takes_pieces {
            let whole = frame(heads, false);
            if whole.line.len() <= MAX_LINE_BYTES {
                return self.outbox.send(&whole);
            }
            let bytes = whole.line.len();
            let text = format!(
                "the heads of {repo} take {bytes} bytes, and one message has at most {MAX_LINE_BYTES}: update this \
                 observer to a version that takes them in pieces"
            );
            // The observer asks again and again.
            if !std::mem::replace(&mut self.is_told, true) {
                log::error!("session {}: {text}", self.id);
            }
            return self.outbox.send(&Frame::new(&ToObserver::Error(Refusal::new(ErrorCode::Refused, text))));
        }
        let mut pieces = cut_heads(heads, PIECE_BYTES).into_iter().peekable();
        while let Some(heads) = pieces.next() {
            // Waits for the observer to read, so that they do not pile up here.
            if !self.outbox.send_bulk(&frame(heads, pieces.peek().is_some())) {
                return;
            }
        }
    }

    /// Takes refs that were there at a first look. They are recorded together, with the patterns, when all have
    /// arrived.
    fn existing(&mut self, repo: &str, refs: Vec<Head>, more: bool, patterns: Vec<String>) -> Result<(), Refusal> {
        let (repo, patterns) = (self.known(repo)?, translate::patterns(patterns)?);
        let mut noted = match self.noted.take() {
            Some((of, noted)) if of == repo => noted,
            _ => Vec::new(),
        };
        noted.extend(translate::existing(refs)?);
        if noted.len() > MAX_NOTED_REFS {
            let text = format!("a first look at {repo} found more than {MAX_NOTED_REFS} refs: watch fewer of them");
            return Err(Refusal::new(ErrorCode::Refused, text));
        }
        if more {
            self.noted = Some((repo, noted));
            return Ok(());
        }
        let of = repo.clone();
        let event = move |request| Event::RefsNoted { request, repo: of, refs: noted, patterns };
        if self.shared.core.ask(event).is_some() {
            self.outbox.send(&Frame::new(&ToObserver::Noted { repo: repo.to_string() }));
        }
        Ok(())
    }

    /// Returns the repository if this observer may speak about it: it has asked for the heads, so that its
    /// announcements follow from them, and the name is its own.
    fn known(&self, repo: &str) -> Result<RepoName, Refusal> {
        let repo = translate::repo(repo)?;
        if self.known.contains_key(&repo) {
            return Ok(repo);
        }
        let text = format!("`status` comes before anything else about the repository {repo}");
        Err(Refusal::new(ErrorCode::NotAllowed, text))
    }

    fn pack(&mut self, repo: &str, last: bool, piece: &[u8]) -> Result<(), Refusal> {
        let repo = self.known(repo)?;
        let pack = match self.pack.take() {
            Some(pack) if pack.goes_on(&repo) => pack,
            _ => ArrivingPack::new(repo, self.shared.data.root()),
        };
        self.pack.insert(pack).add(piece, last).map_err(|error| {
            let text = format!("the dispatcher could not keep the pack: {error}");
            Refusal::new(ErrorCode::Internal, text)
        })
    }

    /// Handles an announcement: the source becomes durable in the mirror, then the announcement in the store, and only
    /// then it is answered.
    fn dispatch(
        &mut self,
        (mut source, facts): (BuildSource, Option<FactsId>),
        ancestors: &[CommitId],
        seen: Option<u64>,
    ) -> Result<(), Refusal> {
        self.known(source.repo.as_str())?;
        let (repo, commit) = (source.repo.clone(), source.commit);
        let reference = source.trigger.reference.clone();
        source.trigger.trust = self.shared.trust.judge(&repo, &reference, &self.known[&repo]);
        let defaults = self.known[&repo].default_branches();
        let shared = self.shared;
        let taken = shared.mirrors.arriving(&repo, || {
            let mut taken = self.take_in(&repo, &reference, (commit, facts), PlanContext::Head(&source, &defaults))?;
            if let Ok(plan) = &mut taken.plan {
                let passes = |scope: &PassScope| shared.readers.open()?.passes(scope);
                choice::choose(plan, &source, ancestors, passes, &taken.mirror);
            }
            let announced = Box::new(NewCommit { source, seen, plan: taken.plan.clone(), pack: taken.pack.take() });
            // A core that ends without an answer has accepted nothing; the observer announces the commit to the next
            // one.
            if let Some(reply) = shared.core.answered(|answer| ToCore::Commit { commit: announced, answer }) {
                self.outbox.send(&Frame::new(&answer(&repo, &reference, Some(commit.to_string()), reply)));
            }
            Some(taken)
        });
        let Some(taken) = taken else { return Ok(()) };
        taken.mirror.return_to_pool();
        if taken.is_new {
            self.upkeep.note_received(&shared.mirrors);
        }
        Ok(())
    }

    /// Takes the source of a commit in, from the last pack if there is one. Returns `None` after telling the observer
    /// why it was not taken in.
    fn take_in(
        &mut self,
        repo: &RepoName,
        reference: &RefName,
        (commit, facts): (CommitId, Option<FactsId>),
        context: PlanContext<'_>,
    ) -> Option<Taken> {
        let pack = self.pack.take().filter(|pack| pack.is_whole_for(repo));
        match self.shared.mirrors.take_in(repo, commit, (Coming::Now(facts), pack), context) {
            Intake::Taken(taken) => return Some(*taken),
            Intake::NeedSource => {
                log::info!("the mirror of {repo} lacks objects of {}: its whole source is asked for", commit.short());
                let (repo, commit, (branch, reference)) = (repo.to_string(), commit.to_string(), reference.written());
                self.outbox.send(&Frame::new(&ToObserver::NeedSource { repo, branch, reference, commit }));
            }
            Intake::Refused(error) => {
                let cause = chain(&error);
                log::error!("could not receive the source of {} of {repo}: {cause}", commit.short());
                let text = format!("the dispatcher could not receive the source of {}: {cause}", commit.short());
                let refusal = Refusal::new(ErrorCode::BrokenSource, text);
                self.outbox.send(&Frame::new(&ToObserver::Error(refusal)));
            }
        }
        None
    }
}

fn answer(repo: &RepoName, reference: &RefName, commit: Option<String>, reply: Reply) -> ToObserver {
    let (repo, (branch, reference)) = (repo.to_string(), reference.written());
    match reply {
        Reply::Accepted { build, moves } => {
            let build = build.map(|build| build.0);
            ToObserver::Ok { repo, branch, reference, commit, build, moves: Some(moves) }
        }
        Reply::Stale { head, moves, .. } => {
            let head = head.map(|head| head.to_string());
            ToObserver::Stale { repo, branch, reference, head, moves: Some(moves) }
        }
        Reply::Refused(reason) => {
            ToObserver::Error(Refusal::new(ErrorCode::Refused, reason.to_string()).because(reason.code()))
        }
        // Only the first look gets this answer, and says it itself.
        Reply::Noted => ToObserver::Noted { repo },
        Reply::Done(done) => ToObserver::Error(Refusal::new(ErrorCode::Refused, done.to_string())),
    }
}
