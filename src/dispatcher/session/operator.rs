//! An operator's session: a thin skin over the operations. Each message becomes a call, and its result a message.

use crossbeam_channel::Receiver;

use super::connection::Session;
use super::error::SessionError;
use super::operator_words::{of_admin, refusal};
use super::worker::{self, Incoming};
use super::{log_stream, passes, report, submission, truncate};
use crate::dispatcher::mirrors::{ArrivingPack, Upkeep};
use crate::dispatcher::operations::{BuildWatch, OperationError, Operations, StartAsk, Submission, Submitted};
use crate::dispatcher::session::credentials::{Access, MAX_PERSON_CHARS, expires_at};
use crate::dispatcher::translate;
use crate::model::reason::OrderDone;
use crate::model::{CommitId, RepoName, SessionId};
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::protocol::limits::PIECE_BYTES;
use crate::protocol::operator::{FromOperator, NOTHING_TO_CANCEL, SecretOrder, ToOperator};
use crate::transport::{Frame, Outbox};

/// Serves an operator until it leaves.
#[inline(never)]
pub(super) fn serve(session: Session) -> Result<(), SessionError> {
    let pings = (FromOperator::Ping, Frame::new(&ToOperator::Ack));
    let payload = |message: &FromOperator| {
        if let FromOperator::Pack { bytes, .. } | FromOperator::SetSecret(SecretOrder { bytes, .. }) = message {
            *bytes
        } else {
            0
        }
    };
    let (takes_pieces, access) = (session.hello.takes_pieces, session.access.clone());
    let is_private = session.is_private();
    worker::serve(session, &pings, payload, move |shared, id, outbox, inbox| {
        let operations = shared.operations().map_err(refusal)?;
        let worker = OperatorWorker::new(operations, (id, access), outbox, takes_pieces);
        OperatorWorker { is_private, ..worker }.run(inbox)
    })
}

/// Serves questions about stored records without a dispatcher, until the operator leaves.
pub(super) fn serve_records(operations: Operations, outbox: &Outbox, inbox: &Receiver<Incoming<FromOperator>>) {
    if let Err(refusal) = OperatorWorker::new(operations, (SessionId(0), Access::default()), outbox, true).run(inbox) {
        outbox.send(&Frame::new(&ToOperator::Error(refusal)));
    }
}

struct OperatorWorker<'a> {
    operations: Operations,
    session: SessionId,
    access: Access,
    outbox: &'a Outbox,
    /// Whether the operator takes an answer in several messages.
    takes_pieces: bool,
    /// Nobody on the way can read what the operator sends.
    is_private: bool,
    /// Set once the operator has asked to watch.
    watch: Option<BuildWatch>,
    /// A question that ended the following of a log.
    unanswered: Option<Incoming<FromOperator>>,
    /// The pack that is arriving, until the commit to which it belongs is submitted.
    pack: Option<ArrivingPack>,
    /// The upkeep of mirrors that packs of this session have left to do.
    upkeep: Upkeep,
}

/// The next thing to do.
enum Next {
    Answer(Incoming<FromOperator>),
    /// Builds have changed.
    Report,
    /// Nothing came for a while.
    Upkeep,
}

impl<'a> OperatorWorker<'a> {
    fn new(
        operations: Operations,
        (session, access): (SessionId, Access),
        outbox: &'a Outbox,
        takes_pieces: bool,
    ) -> Self {
        let (watch, unanswered, pack, upkeep) = (None, None, None, Upkeep::default());
        let is_private = false;
        Self { operations, session, access, outbox, takes_pieces, is_private, watch, unanswered, pack, upkeep }
    }

    fn run(mut self, inbox: &Receiver<Incoming<FromOperator>>) -> Result<(), Refusal> {
        let end = self.serve(inbox);
        self.upkeep.finish(&self.operations.mirrors);
        end
    }

    fn serve(&mut self, inbox: &Receiver<Incoming<FromOperator>>) -> Result<(), Refusal> {
        while let Some(next) = self.next(inbox) {
            // Thousands of questions may have arrived before the peer stopped reading; they need no answers any more.
            if self.outbox.is_over() {
                break;
            }
            match next {
                Next::Answer(Incoming { message, payload }) => self.take(message, &payload, inbox)?,
                Next::Report => self.report_changes().map_err(refusal)?,
                Next::Upkeep => self.upkeep.step(&self.operations.mirrors),
            }
        }
        Ok(())
    }

    fn take(
        &mut self,
        message: FromOperator,
        payload: &[u8],
        inbox: &Receiver<Incoming<FromOperator>>,
    ) -> Result<(), Refusal> {
        if let Err(refusal) = self.access.check_order(&message) {
            // A piece of a pack has no answer, so the session ends.
            if matches!(message, FromOperator::Pack { .. }) {
                return Err(Refusal { code: ErrorCode::NotAllowed, ..refusal });
            }
            self.send(ToOperator::Error(refusal));
            return Ok(());
        }
        if let Some(order) = of_admin(&message) {
            let person = self.access.person().map_or_else(|| "an operator".to_owned(), Refusal::quote);
            log::info!("{person} ordered: {order}");
        }
        match message {
            FromOperator::Watch => self.begin_to_watch().map_err(refusal)?,
            FromOperator::LogOut => {
                let done = self.log_out();
                let is_over = done.is_ok();
                self.send(done.unwrap_or_else(ToOperator::Error));
                if is_over {
                    self.outbox.finish();
                }
            }
            FromOperator::Logs(wanted) => {
                // The end of the log is the answer.
                let (sent, next) = log_stream::send(&self.operations, self.outbox, &wanted, inbox);
                self.unanswered = next;
                sent.unwrap_or_else(|error| self.send(ToOperator::Error(refusal(error))));
            }
            FromOperator::Fetch { blob } => {
                if let Err(refusal) = self.fetch(&blob) {
                    self.send(ToOperator::Error(refusal));
                }
            }
            FromOperator::Pack { repo, last, .. } => self.take_piece(&repo, last, payload)?,
            FromOperator::Submit(order) => {
                let answer = match submission::read(&order, self.access.person()) {
                    Ok((source, facts, place)) => self
                        .submit(Submission {
                            source,
                            facts,
                            place,
                            tasks: order.tasks,
                            inputs: order.inputs,
                            priority: order.priority,
                        })
                        .map_err(refusal),
                    // This order only.
                    Err(refusal) if refusal.code == ErrorCode::Refused => Err(refusal),
                    Err(refusal) => return Err(refusal),
                };
                self.send(answer.unwrap_or_else(ToOperator::Error));
            }
            FromOperator::SetSecret(order) => {
                let answer = self.set_secret(&order, payload);
                self.send(answer.unwrap_or_else(ToOperator::Error));
            }
            FromOperator::Haves { repo, commits } => {
                let (repo, commits) = (translate::repo(&repo)?, submission::haves(&commits)?);
                let answer = self.held(&repo, &commits);
                self.send(answer.unwrap_or_else(|error| ToOperator::Error(refusal(error))));
            }
            message @ (FromOperator::Status { .. }
            | FromOperator::Show { .. }
            | FromOperator::Why { .. }
            | FromOperator::Runners
            | FromOperator::Passes(_)
            | FromOperator::Artifacts { .. }
            | FromOperator::Cancel { .. }
            | FromOperator::Rerun { .. }
            | FromOperator::Start { .. }
            | FromOperator::Drain { .. }
            | FromOperator::Resume { .. }
            | FromOperator::CreateToken(_)
            | FromOperator::Tokens
            | FromOperator::RevokeToken { .. }
            | FromOperator::RotateAuthority { .. }
            | FromOperator::Secrets
            | FromOperator::Caches(_)
            | FromOperator::RemoveCaches(_)
            | FromOperator::RemoveSecret { .. }
            | FromOperator::Wake { .. }
            | FromOperator::Ping) => {
                self.send(self.answer(message).unwrap_or_else(|error| ToOperator::Error(refusal(error))));
            }
        }
        Ok(())
    }

    /// Adds a piece to the pack that is arriving. A piece has no answer, so an error ends the session.
    fn take_piece(&mut self, repo: &str, last: bool, piece: &[u8]) -> Result<(), Refusal> {
        let repo = translate::repo(repo)?;
        let pack = match self.pack.take() {
            Some(pack) if pack.goes_on(&repo) => pack,
            _ => self.operations.arriving_pack(repo),
        };
        self.pack.insert(pack).add(piece, last).map_err(|error| refusal(OperationError::Spool(error)))
    }

    fn submit(&mut self, submission: Submission) -> Result<ToOperator, OperationError> {
        let (repo, commit) = (submission.source.repo.clone(), submission.source.commit);
        Ok(match self.operations.submit(submission, self.pack.take())? {
            Submitted::Build { build, is_new } => {
                if is_new {
                    self.upkeep.note_received(&self.operations.mirrors);
                }
                ToOperator::Submitted { build: build.0 }
            }
            Submitted::NeedSource => {
                log::info!("the mirror of {repo} lacks objects of {}: its whole source is asked for", commit.short());
                ToOperator::NeedSource { repo: repo.to_string(), commit: commit.to_string() }
            }
        })
    }

    /// Sends a blob in pieces. The last one is sent only if all of them together are what they were.
    fn fetch(&self, blob: &str) -> Result<(), Refusal> {
        let id = translate::blob(blob).map_err(|error| Refusal { code: ErrorCode::Refused, ..error })?;
        let sent = self.operations.fetch(id, &mut |is_packed, piece, last| {
            let message = ToOperator::Blob { blob: id.to_string(), zstd: is_packed, last, bytes: piece.len() as u64 };
            self.outbox.send_bulk(&Frame::with_payload(&message, piece))
        });
        sent.map_err(refusal)
    }

    fn held(&self, repo: &RepoName, commits: &[CommitId]) -> Result<ToOperator, OperationError> {
        let commits = self.operations.held(repo, commits)?.iter().map(CommitId::to_string).collect();
        Ok(ToOperator::Haves { repo: repo.to_string(), commits, max_file: self.operations.mirrors.max_file() })
    }

    /// Waits for a question, or for a build that changes if the operator watches. Returns `None` when the operator has
    /// left.
    fn next(&mut self, inbox: &Receiver<Incoming<FromOperator>>) -> Option<Next> {
        if let Some(request) = self.unanswered.take() {
            return Some(Next::Answer(request));
        }
        let nothing = crossbeam_channel::never();
        crossbeam_channel::select! {
            recv(self.watch.as_ref().map_or(&nothing, |watch| &watch.woken)) -> _ => Some(Next::Report),
            recv(inbox) -> request => request.ok().map(Next::Answer),
            default(self.upkeep.patience()) => Some(Next::Upkeep),
        }
    }

    /// Sends an answer: in pieces if the operator takes them, else shortened to one message.
    fn send(&self, answer: ToOperator) {
        if !self.takes_pieces {
            return self.outbox.send(&truncate::frame(answer));
        }
        let pieces = answer.cut(PIECE_BYTES);
        if let [only] = pieces.as_slice() {
            return self.outbox.send(&Frame::new(only));
        }
        // Each waits for the operator to read, so that a long answer does not pile up here.
        for piece in pieces {
            if !self.outbox.send_bulk(&Frame::new(&piece)) {
                return;
            }
        }
    }

    fn answer(&self, message: FromOperator) -> Result<ToOperator, OperationError> {
        let operations = &self.operations;
        let person = || self.access.person().map(str::to_owned);
        let done = |order: OrderDone| match order {
            // Operators of version 1 take this for a refusal. The code tells others that there was nothing to do.
            OrderDone::NothingToCancel { .. } => {
                let refusal = Refusal::new(ErrorCode::Refused, order.to_string());
                ToOperator::Error(refusal.because(NOTHING_TO_CANCEL))
            }
            OrderDone::Cancelled { .. }
            | OrderDone::Rerun { .. }
            | OrderDone::Started { .. }
            | OrderDone::CellsStarted { .. }
            | OrderDone::Draining { .. }
            | OrderDone::Drained { .. }
            | OrderDone::DrainedAlready { .. }
            | OrderDone::Resumed { .. }
            | OrderDone::Woken { .. }
            | OrderDone::NotDrained { .. } => ToOperator::Ok { text: order.to_string() },
        };
        Ok(match message {
            FromOperator::Status { repo, limit } => {
                ToOperator::Status(report::status(operations.status(repo.as_deref(), limit)?))
            }
            FromOperator::Show { build, repo, branch } => {
                let found = operations.build(&build, repo, branch.as_deref())?;
                ToOperator::Build(Box::new(report::build(found)))
            }
            FromOperator::Why { build, task } => ToOperator::Why(report::why(operations.why(&build, task.as_deref())?)),
            FromOperator::Runners => ToOperator::Runners(report::runners(operations.runners()?)),
            FromOperator::Passes(wanted) => {
                let wanted = match passes::wanted(&wanted) {
                    Ok(wanted) => wanted,
                    Err(refusal) => return Ok(ToOperator::Error(refusal)),
                };
                ToOperator::Passes(passes::report(operations.passes(wanted)?))
            }
            FromOperator::Artifacts { build, task } => {
                ToOperator::Artifacts(report::artifacts(operations.artifacts(&build, task.as_deref())?))
            }
            FromOperator::Cancel { build, task } => done(operations.cancel(&build, task.as_deref(), person())?),
            FromOperator::Rerun { build, failed, task } => {
                done(operations.rerun(&build, task.as_deref(), failed, person())?)
            }
            FromOperator::Start { build, task, by, force, inputs } => {
                if let Err(refusal) = submission::check_inputs(&inputs) {
                    return Ok(ToOperator::Error(refusal));
                }
                // The command of an earlier version names the person here only.
                let by = person().unwrap_or_else(|| by.chars().take(MAX_PERSON_CHARS).collect());
                done(operations.start(&build, &task, StartAsk { by, force, inputs })?)
            }
            FromOperator::Drain { runner } => done(operations.drain(&runner, person())?),
            FromOperator::Resume { runner } => done(operations.resume(&runner, person())?),
            FromOperator::CreateToken(order) => {
                let new = match translate::new_token(order) {
                    Ok(new) => new,
                    Err(refusal) => return Ok(ToOperator::Error(refusal)),
                };
                let (token, text) = operations.create_token(new, person())?;
                let expires_ms = expires_at(&token).0;
                ToOperator::Token { id: token.id.to_string(), token: text, expires_ms }
            }
            FromOperator::Tokens => ToOperator::Tokens(report::tokens(operations.tokens()?)),
            FromOperator::RevokeToken { id } => ToOperator::Ok { text: operations.revoke_token(&id, person())? },
            FromOperator::RotateAuthority { finish: false, .. } => ToOperator::Ok { text: operations.rotate()? },
            FromOperator::RotateAuthority { force, .. } => ToOperator::Ok { text: operations.finish_rotation(force)? },
            FromOperator::Caches(asked) => match translate::cache_selection(&asked) {
                Ok((selection, limit)) => {
                    let (selected, limit) = operations.caches(&selection, limit)?;
                    ToOperator::Caches(translate::caches_report(selected, limit))
                }
                Err(refusal) => ToOperator::Error(refusal),
            },
            FromOperator::RemoveCaches(asked) => match translate::cache_selection(&asked) {
                Ok((selection, _)) => ToOperator::Ok { text: operations.remove_caches(&selection)? },
                Err(refusal) => ToOperator::Error(refusal),
            },
            FromOperator::Secrets => ToOperator::Secrets(translate::secrets_report(operations.secrets()?)),
            FromOperator::RemoveSecret { name, repo } => match translate::secret_name(&name) {
                Ok(()) => ToOperator::Ok { text: operations.remove_secret(name, repo)? },
                Err(refusal) => ToOperator::Error(refusal),
            },
            FromOperator::Wake { repo } => done(operations.wake(&repo)?),
            FromOperator::Watch
            | FromOperator::LogOut
            | FromOperator::Logs(_)
            | FromOperator::Fetch { .. }
            | FromOperator::Haves { .. }
            | FromOperator::Pack { .. }
            | FromOperator::Submit(_)
            | FromOperator::SetSecret(_)
            | FromOperator::Ping => unreachable!("answered elsewhere"),
        })
    }

    fn set_secret(&self, order: &SecretOrder, value: &[u8]) -> Result<ToOperator, Refusal> {
        let named = translate::secret_order(order)?;
        let (way, by) = ((order.short, self.is_private), self.access.person().map(str::to_owned));
        let text = self.operations.set_secret(named, value.to_vec(), way, by).map_err(refusal)?;
        Ok(ToOperator::Ok { text })
    }

    fn log_out(&self) -> Result<ToOperator, Refusal> {
        let Some(id) = self.access.id() else {
            let text =
                "this session was opened with the secret of a role, which is no credential that could be revoked";
            return Err(Refusal::new(ErrorCode::Refused, text));
        };
        let text = self.operations.log_out(self.session, id, self.access.person()).map_err(refusal)?;
        Ok(ToOperator::Ok { text })
    }

    /// Subscribes to builds that change. A repetition changes nothing, and gets the same answer.
    fn begin_to_watch(&mut self) -> Result<(), OperationError> {
        if self.watch.is_none() {
            self.watch = Some(self.operations.watch()?);
        }
        self.send(ToOperator::Ok { text: "watching".into() });
        Ok(())
    }

    fn report_changes(&self) -> Result<(), OperationError> {
        let Some(watch) = &self.watch else { return Ok(()) };
        for build in self.operations.changed(watch)? {
            self.send(ToOperator::Build(Box::new(report::build(build))));
        }
        Ok(())
    }
}
