//! An observer's session: source comes in, is made durable in the mirror, and then the commit is announced to the core.

use std::collections::BTreeSet;
use std::path::Path;

use crossbeam_channel::{Receiver, bounded};

use super::worker::{self, Kind, Request};
use super::{Hub, Outbox, Session, SessionError};
use crate::dispatcher::core::{Question, ToCore};
use crate::dispatcher::mirrors::{Mirror, Plan};
use crate::dispatcher::translate::{self, Announcement};
use crate::git::{self, GitError};
use crate::model::{CommitId, RepoName, SessionId};
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::protocol::observer::{FromObserver, Head, ToObserver};
use crate::scheduler::Reply;
use crate::transport::Frame;

/// Serves an observer until it leaves.
pub(super) fn serve(session: Session) -> Result<(), SessionError> {
    let kind = |message: &FromObserver| match message {
        FromObserver::Ping => Kind::Ping,
        FromObserver::Pack { bytes, .. } => Kind::Payload(*bytes),
        FromObserver::Status { .. } | FromObserver::Dispatch { .. } | FromObserver::Gone { .. } => Kind::Plain,
    };
    worker::serve(
        session,
        kind,
        || Frame::new(&ToObserver::Ack),
        |hub, id, outbox, inbox| Worker { hub, id, outbox, known: BTreeSet::new(), pack: None }.run(inbox),
    )
}

struct Worker<'a> {
    hub: &'a Hub,
    id: SessionId,
    outbox: &'a Outbox,
    /// Repositories whose heads this observer has asked for.
    known: BTreeSet<RepoName>,
    /// The pack that is arriving: in memory until it is known whose it is to be.
    pack: Option<Incoming>,
}

/// A pack that is arriving.
struct Incoming {
    repo: RepoName,
    pieces: tempfile::SpooledTempFile,
    whole: bool,
}

/// A commit whose source is durable.
struct Taken {
    plan: Plan,
    mirror: Mirror,
    /// A pack was received for it.
    is_new: bool,
}

/// Packs up to this size stay in memory until the commit they belong to is announced.
const SPOOL_BYTES: usize = 8 << 20;

impl Worker<'_> {
    fn run(mut self, inbox: &Receiver<Request<FromObserver>>) -> Result<(), Refusal> {
        for Request { message, payload } in inbox {
            match message {
                FromObserver::Status { repo, source } => self.status(&repo, &source)?,
                FromObserver::Pack { repo, last, .. } => self.pack(&repo, last, &payload)?,
                FromObserver::Dispatch { repo, branch, before, commit, range, subject, author } => {
                    self.dispatch(Announcement { repo, branch, before, commit, range, subject, author })?;
                }
                FromObserver::Gone { repo, branch, before } => {
                    let (repo, branch) = (self.known(&repo)?, translate::branch(&branch)?);
                    let before = translate::commit(&before)?;
                    let question = Question::Gone { repo: repo.clone(), branch: branch.clone(), before };
                    if let Some(reply) = self.ask(question) {
                        self.outbox.send(&Frame::new(&answer(&repo, branch.as_str(), None, reply)));
                    }
                }
                FromObserver::Ping => {}
            }
        }
        Ok(())
    }

    fn status(&mut self, repo: &str, source: &str) -> Result<(), Refusal> {
        let repo = translate::repo(repo)?;
        if let Err(text) = self.hub.observe(self.id, &repo, source) {
            return Err(Refusal { code: ErrorCode::NameTaken, text });
        }
        self.known.insert(repo.clone());
        drop(self.hub.core.send(ToCore::SaveSource { repo: repo.clone(), source: source.to_owned() }));
        let (sender, receiver) = bounded(1);
        let asked = repo.clone();
        let look = ToCore::Look(Box::new(move |scheduler, _| drop(sender.send(scheduler.heads(&asked)))));
        if self.hub.core.send(look).is_err() {
            return Ok(());
        }
        let heads = receiver.recv().unwrap_or_default();
        let heads =
            heads.into_iter().map(|(branch, commit)| Head { branch: branch.to_string(), commit: commit.to_string() });
        self.outbox.send(&Frame::new(&ToObserver::Heads { repo: repo.to_string(), heads: heads.collect() }));
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
            _ => Incoming {
                repo,
                pieces: tempfile::spooled_tempfile_in(SPOOL_BYTES, self.hub.data.root()),
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
        let (repo, branch, commit) = (source.repo.clone(), source.branch.clone(), source.commit);
        let pack = self.pack.take().filter(|incoming| incoming.repo == repo && incoming.whole);
        let Taken { plan, mirror, is_new } = match self.receive(&repo, commit, pack) {
            Ok(Some(taken)) => taken,
            Err(GitError::Incomplete { .. }) | Ok(None) => {
                log::info!("the mirror of {repo} lacks some of {}: asking for all of it", commit.short());
                self.outbox.send(&Frame::new(&ToObserver::NeedSource {
                    repo: repo.to_string(),
                    branch: branch.to_string(),
                    commit: commit.to_string(),
                }));
                return Ok(());
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
                log::error!("could not take in {} of {repo}: {error}{cause}", commit.short());
                let text = format!("the dispatcher could not take in {}: {error}{cause}", commit.short());
                let code = ErrorCode::BrokenSource;
                self.outbox.send(&Frame::new(&ToObserver::Error(Refusal { code, text })));
                return Ok(());
            }
        };
        if let Some(reply) = self.ask(Question::Commit { source, plan }) {
            self.outbox.send(&Frame::new(&answer(&repo, branch.as_str(), Some(commit.to_string()), reply)));
        }
        // Runners are at work by now, and nobody waits for this.
        if is_new {
            if let Err(error) = mirror.settle() {
                log::warn!("could not settle what arrived of {repo}: {error}; trying again with the next commit");
            }
            self.hub.mirrors.tidy(&mirror);
        }
        mirror.keep();
        Ok(())
    }

    /// Takes the pack in and reads the plan from the commit; `None` where there is no pack and the commit is not there.
    fn receive(&self, repo: &RepoName, commit: CommitId, pack: Option<Incoming>) -> Result<Option<Taken>, GitError> {
        let mirror = self.hub.mirrors.open(repo, commit)?;
        let is_new = !mirror.has(commit);
        if is_new {
            let Some(mut incoming) = pack else { return Ok(None) };
            let mut receiver = mirror.receive()?;
            incoming.copy_to(&mut receiver, self.hub.data.root())?;
            receiver.finish(commit, true)?;
        }
        Ok(Some(Taken { plan: mirror.plan(commit)?, mirror, is_new }))
    }

    fn ask(&self, question: Question) -> Option<Reply> {
        let (answer, reply) = bounded(1);
        self.hub.core.send(ToCore::Ask { question, answer }).ok()?;
        // A core that ends without an answer has accepted nothing; the observer asks the next one.
        reply.recv().ok()
    }
}

impl Incoming {
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
