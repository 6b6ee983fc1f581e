//! An observer's session: source comes in, is made durable in the mirror, and then the commit is announced to the core.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::connection::{Session, SessionError};
use super::shared::Shared;
use super::worker::{self, Incoming, Kind};
use crate::config::PlanContext;
use crate::dispatcher::core::{NewCommit, Seen, ToCore};
use crate::dispatcher::limits;
use crate::dispatcher::mirrors::{Mirror, TaskPlan};
use crate::dispatcher::translate::{self, Announcement};
use crate::git::{self, GitError};
use crate::model::{CommitId, RepoName, SessionId};
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::protocol::observer::{FromObserver, Head, ToObserver};
use crate::scheduler::{Event, Reply};
use crate::transport::{Frame, Outbox};

/// Serves an observer until it leaves.
pub(super) fn serve(session: Session) -> Result<(), SessionError> {
    let kind = |message: &FromObserver| match message {
        FromObserver::Ping => Kind::Ping,
        FromObserver::Pack { bytes, .. } => Kind::Payload(*bytes),
        FromObserver::Status { .. }
        | FromObserver::Dispatch { .. }
        | FromObserver::Supply { .. }
        | FromObserver::Gone { .. } => Kind::Plain,
    };
    worker::serve(
        session,
        kind,
        || Frame::new(&ToObserver::Ack),
        |shared, id, outbox, inbox| {
            ObserverWorker { shared, id, outbox, known: BTreeSet::new(), pack: None, upkeep: Upkeep::default() }
                .run(inbox)
        },
    )
}

struct ObserverWorker<'a> {
    shared: &'a Shared,
    id: SessionId,
    outbox: &'a Outbox,
    /// Repositories whose heads this observer has asked for.
    known: BTreeSet<RepoName>,
    /// The pack that is arriving: in memory until it is known whose it is to be.
    pack: Option<ArrivingPack>,
    upkeep: Upkeep,
}

/// What is left to do for mirrors, when it is quiet.
#[derive(Default, Clone, Copy, PartialEq)]
enum Upkeep {
    #[default]
    Done,
    /// Packs were received, so many, since mirrors were last tidied.
    Tidy(u32),
    /// They are to be synced.
    Settle,
}

/// A pack that is arriving.
struct ArrivingPack {
    repo: RepoName,
    pieces: tempfile::SpooledTempFile,
    whole: bool,
}

/// A commit whose source is durable.
struct Taken {
    plan: TaskPlan,
    mirror: Mirror,
    /// A pack was received for it.
    is_new: bool,
    /// That pack, if it is small.
    pack: Option<Vec<u8>>,
}

/// Packs up to this size stay in memory until the commit they belong to is announced.
const SPOOL_BYTES: usize = 8 << 20;

impl ObserverWorker<'_> {
    fn run(mut self, inbox: &Receiver<Incoming<FromObserver>>) -> Result<(), Refusal> {
        let end = loop {
            let wait = match self.upkeep {
                Upkeep::Done => Duration::MAX,
                Upkeep::Tidy(_) => Duration::from_millis(limits::TIDY_AFTER_MS),
                Upkeep::Settle => Duration::from_millis(limits::SETTLE_AFTER_MS),
            };
            match inbox.recv_timeout(wait) {
                Ok(request) => {
                    if let Err(refusal) = self.take(request) {
                        break Err(refusal);
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.keep_up(),
                Err(RecvTimeoutError::Disconnected) => break Ok(()),
            }
        };
        while self.upkeep != Upkeep::Done {
            self.keep_up();
        }
        end
    }

    /// Does what is next of what is left to do.
    fn keep_up(&mut self) {
        self.upkeep = match self.upkeep {
            Upkeep::Done => Upkeep::Done,
            Upkeep::Tidy(_) => {
                self.shared.mirrors.tidy();
                Upkeep::Settle
            }
            Upkeep::Settle => {
                self.shared.mirrors.settle();
                Upkeep::Done
            }
        };
    }

    fn take(&mut self, Incoming { message, payload }: Incoming<FromObserver>) -> Result<(), Refusal> {
        match message {
            FromObserver::Status { repo, source } => self.status(&repo, &source),
            FromObserver::Pack { repo, last, .. } => self.pack(&repo, last, &payload),
            FromObserver::Dispatch { repo, branch, before, commit, range, subject, author, trigger } => {
                self.dispatch(Announcement { repo, branch, before, commit, range, subject, author, trigger })
            }
            FromObserver::Supply { repo, commit } => {
                let (repo, commit) = (self.known(&repo)?, translate::commit(&commit)?);
                if self.take_in(&repo, "", commit, PlanContext::Unknown).is_some() {
                    log::info!("the source of {} of {repo} is there again", commit.short());
                    self.send_ok(&repo, commit);
                }
                Ok(())
            }
            FromObserver::Gone { repo, branch, before } => {
                let (repo, branch) = (self.known(&repo)?, translate::branch(&branch)?);
                let before = translate::commit(&before)?;
                let (of, gone) = (repo.clone(), branch.clone());
                let reply =
                    self.shared.core.ask(move |request| Event::BranchGone { request, repo: of, branch: gone, before });
                if let Some(reply) = reply {
                    self.outbox.send(&Frame::new(&answer(&repo, branch.as_str(), None, reply)));
                }
                Ok(())
            }
            FromObserver::Ping => Ok(()),
        }
    }

    fn status(&mut self, repo: &str, source: &str) -> Result<(), Refusal> {
        let repo = translate::repo(repo)?;
        if let Err(text) = self.shared.observers.add(self.id, &repo, source, self.outbox) {
            return Err(Refusal { code: ErrorCode::NameTaken, text });
        }
        self.known.insert(repo.clone());
        self.shared.core.send(ToCore::SaveSource { repo: repo.clone(), source: source.to_owned() });
        let asked = repo.clone();
        let heads = self.shared.core.answered(|answer| {
            ToCore::Look(Box::new(move |seen: Seen<'_>| drop(answer.send(seen.scheduler.heads(&asked)))))
        });
        let Some(heads) = heads else { return Ok(()) };
        let heads =
            heads.into_iter().map(|(branch, commit)| Head { branch: branch.to_string(), commit: commit.to_string() });
        self.outbox.send(&Frame::new(&ToObserver::Heads { repo: repo.to_string(), heads: heads.collect() }));
        for commit in self.shared.mirrors.missing.of(&repo) {
            self.shared.observers.ask_for_source(&repo, commit);
        }
        Ok(())
    }

    /// A repository about which this observer may speak: it has asked for the heads, so what it announces follows from
    /// them, and the name is its own.
    fn known(&self, repo: &str) -> Result<RepoName, Refusal> {
        let repo = translate::repo(repo)?;
        if self.known.contains(&repo) {
            return Ok(repo);
        }
        let text = format!("`status` comes before anything else about the repository {repo}");
        Err(Refusal { code: ErrorCode::NotAllowed, text })
    }

    fn pack(&mut self, repo: &str, last: bool, piece: &[u8]) -> Result<(), Refusal> {
        let repo = self.known(repo)?;
        let incoming = match self.pack.take() {
            Some(incoming) if incoming.repo == repo && !incoming.whole => incoming,
            _ => ArrivingPack {
                repo,
                pieces: tempfile::spooled_tempfile_in(SPOOL_BYTES, self.shared.data.root()),
                whole: false,
            },
        };
        let incoming = self.pack.insert(incoming);
        incoming.whole = last;
        std::io::Write::write_all(&mut incoming.pieces, piece).map_err(|error| {
            let text = format!("the dispatcher could not take the pack in: {error}");
            Refusal { code: ErrorCode::Internal, text }
        })
    }

    /// Takes a commit in: source durable in the mirror, then the announcement durable in the store, then the answer.
    fn dispatch(&mut self, said: Announcement) -> Result<(), Refusal> {
        let source = translate::build_source(said)?;
        self.known(source.repo.as_str())?;
        let (repo, commit) = (source.repo.clone(), source.commit);
        let branch = source.trigger.reference.clone();
        let shared = self.shared;
        let taken = shared.mirrors.arriving(&repo, || {
            let mut taken = self.take_in(&repo, branch.short(), commit, PlanContext::Build(&source))?;
            let announced = Box::new(NewCommit { source, plan: taken.plan.clone(), pack: taken.pack.take() });
            // A core that ends without an answer has accepted nothing; the observer asks the next one.
            if let Some(reply) = shared.core.answered(|answer| ToCore::Commit { commit: announced, answer }) {
                self.outbox.send(&Frame::new(&answer(&repo, branch.short(), Some(commit.to_string()), reply)));
            }
            Some(taken)
        });
        let Some(Taken { mirror, is_new, .. }) = taken else { return Ok(()) };
        mirror.return_to_pool();
        if is_new {
            let received = if let Upkeep::Tidy(received) = self.upkeep { received + 1 } else { 1 };
            self.upkeep = Upkeep::Tidy(received);
            // Now runners ask for it, and this would be in their way. But it must come to it some time.
            if received >= limits::UNTIDY_PACKS {
                self.keep_up();
            }
        }
        Ok(())
    }

    /// Makes the source of a commit durable, from the pack before if need be. `None` once the observer was told why
    /// not.
    fn take_in(&mut self, repo: &RepoName, branch: &str, commit: CommitId, context: PlanContext<'_>) -> Option<Taken> {
        let pack = self.pack.take().filter(|incoming| incoming.repo == *repo && incoming.whole);
        let generation = self.shared.mirrors.generation(repo);
        let error = match self.receive(repo, commit, pack, context) {
            Ok(Some(taken)) => {
                self.shared.mirrors.missing.found(repo, commit);
                return Some(taken);
            }
            Ok(None) => None,
            // What the mirror had before is not what it was.
            Err((true, error)) if error.is_damage() && self.shared.mirrors.condemn(repo, generation, &error) => None,
            // The pack leaves out what the mirror has not.
            Err((false, GitError::Incomplete { .. })) => None,
            Err((_, error)) => Some(error),
        };
        let Some(error) = error else {
            log::info!("the mirror of {repo} lacks some of {}: asking for all of it", commit.short());
            let (repo, branch, commit) = (repo.to_string(), branch.to_owned(), commit.to_string());
            self.outbox.send(&Frame::new(&ToObserver::NeedSource { repo, branch, commit }));
            return None;
        };
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        log::error!("could not take in {} of {repo}: {error}{cause}", commit.short());
        let text = format!("the dispatcher could not take in {}: {error}{cause}", commit.short());
        let code = ErrorCode::BrokenSource;
        self.outbox.send(&Frame::new(&ToObserver::Error(Refusal { code, text })));
        None
    }

    fn send_ok(&self, repo: &RepoName, commit: CommitId) {
        let (repo, commit) = (repo.to_string(), Some(commit.to_string()));
        self.outbox.send(&Frame::new(&ToObserver::Ok { repo, branch: String::new(), commit, build: None }));
    }

    /// Takes the pack in and reads the plan from the commit; `None` where there is no pack and the commit is not there.
    /// An error says whether it is of what the mirror had: everything but the pack itself.
    fn receive(
        &self,
        repo: &RepoName,
        commit: CommitId,
        pack: Option<ArrivingPack>,
        context: PlanContext<'_>,
    ) -> Result<Option<Taken>, (bool, GitError)> {
        let of_mirror = |error| (true, error);
        let mirror = self.shared.mirrors.open(repo, commit).map_err(of_mirror)?;
        // With a pack, the observer takes it for new; to receive it twice does no harm.
        let is_new = if pack.is_some() { !mirror.has_found(commit) } else { !mirror.has(commit) };
        let mut small = None;
        if is_new {
            let Some(mut incoming) = pack else { return Ok(None) };
            let mut take = || {
                let mut receiver = mirror.receive()?;
                incoming.copy_to(&mut receiver, self.shared.data.root())?;
                receiver.finish(commit, true)
            };
            take().map_err(|error| (false, error))?;
            small = incoming.into_small();
        }
        let plan = mirror.plan(commit, context).map_err(of_mirror)?;
        Ok(Some(Taken { plan, mirror, is_new, pack: small }))
    }
}

impl ArrivingPack {
    /// All of it, if it is small enough to go ahead of a lease.
    fn into_small(self) -> Option<Vec<u8>> {
        match self.pieces.into_inner() {
            tempfile::SpooledData::InMemory(pieces) => {
                Some(pieces.into_inner()).filter(|pack| pack.len() <= limits::AHEAD_BYTES)
            }
            tempfile::SpooledData::OnDisk(_) => None,
        }
    }

    fn copy_to(&mut self, receiver: &mut git::Receiver, spool: &Path) -> Result<(), GitError> {
        use std::io::{Read, Seek, SeekFrom};
        let mut piece = vec![0; 256 * 1024];
        let read = |source| GitError::Io { action: "read back a pack spooled in", path: spool.to_owned(), source };
        self.pieces.seek(SeekFrom::Start(0)).map_err(read)?;
        loop {
            match self.pieces.read(&mut piece).map_err(read)? {
                0 => return Ok(()),
                n => receiver.write(&piece[..n])?,
            }
        }
    }
}

fn answer(repo: &RepoName, branch: &str, commit: Option<String>, reply: Reply) -> ToObserver {
    let (repo, branch) = (repo.to_string(), branch.to_owned());
    match reply {
        Reply::Accepted { build } => ToObserver::Ok { repo, branch, commit, build: build.map(|build| build.0) },
        Reply::Stale { head, .. } => ToObserver::Stale { repo, branch, head: head.map(|head| head.to_string()) },
        Reply::Done(text) | Reply::Refused(text) => ToObserver::Error(Refusal { code: ErrorCode::Refused, text }),
    }
}
