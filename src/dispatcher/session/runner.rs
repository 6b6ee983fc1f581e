//! A runner's session: its messages become events. Sources are sent by threads of their own, so that a large one delays
//! no heartbeat.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::blobs::{BlobWork, BlobWorker};
use super::caches::Asker;
use super::connection::{NO_THREAD, Session};
use super::error::{SessionError, explain};
use super::expansion;
use super::runner_outbox::RunnerOutbox;
use super::secrets;
use super::sources::{AskedSource, serve_source};
use super::tool_entries::{self, EntryWork, EntryWorker};
use super::wanted_blobs::{self, BlobSender};
use crate::clock;
use crate::dispatcher::caches::Caches;
use crate::dispatcher::core::{Peer, ToCore};
use crate::dispatcher::data_dir::LogPlace;
use crate::dispatcher::grants::{Grant, Grants, StoredBytes};
use crate::dispatcher::logs::{Seal, StreamSeal, ToLogs};
use crate::dispatcher::{limits, translate};
use crate::model::{ArtifactRecord, AttemptId, Outcome, StreamId, StreamSummary};
use crate::protocol::blobs::BlobRequest;
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::protocol::limits::MAX_HAVES;
use crate::protocol::runner::{FromRunner, HeldFacts, ToRunner, WrittenFile};
use crate::scheduler::Event;
use crate::threads;
use crate::transport::{Frame, Outbox};

/// Serves a runner until it leaves.
///
/// Thousands of idle runners wait in here, each with a stack of its own. So whatever is called rarely is not inlined:
/// its room would be added to every stack.
#[inline(never)]
pub(super) fn serve(mut session: Session) -> Result<(), SessionError> {
    let (outbox, last_word) = Outbox::new(session.id, session.stream.clone());
    let Some(first) = first(&mut session, &outbox)? else { return Ok(()) };
    let Some(mut runner) = join(session, outbox, first)? else { return Ok(()) };
    let end = runner.read_all();
    let (core, session) = (runner.session.shared.core.clone(), runner.session.id);
    drop(runner);
    core.send(ToCore::Event(Event::SessionClosed { session }));
    drop(last_word);
    end
}

/// Reads the first message, or returns `None` if the runner has left. Reading needs much room on the stack, so it is
/// not done within [`join`], which needs much itself.
#[inline(never)]
fn first(session: &mut Session, outbox: &Outbox) -> Result<Option<Box<FromRunner>>, SessionError> {
    Ok(session.next(outbox)?.map(Box::new))
}

/// Tells the core what a runner says of itself. Returns `None` if the dispatcher ends.
#[inline(never)]
fn join(session: Session, outbox: Outbox, first: Box<FromRunner>) -> Result<Option<Box<RunnerSession>>, SessionError> {
    let takes_source = matches!(*first, FromRunner::Register { takes_source: true, .. });
    let takes_cells = matches!(*first, FromRunner::Register { takes_cells: true, .. });
    let mut joined = translate::joined(session.id, &session.hello, *first)?;
    joined.labels = session.access.labels(joined.labels).map_err(|denied| denied.refusal())?;
    let Some(stored) = stored_logs(&session, &joined.holding) else { return Ok(None) };
    let has = takes_source.then(|| joined.warm.iter().cloned().collect());
    let grants = Arc::new(Grants::default());
    let to_runner = RunnerOutbox::new(outbox.clone(), takes_cells);
    let peer = Peer { outbox: to_runner.clone(), grants: grants.clone(), stored, has };
    if !session.shared.core.send(ToCore::Join { peer, joined: Box::new(joined) }) {
        return Ok(None);
    }
    Ok(Some(Box::new(RunnerSession {
        session,
        outbox,
        to_runner,
        grants,
        sources: Arc::default(),
        blobs: None,
        wanted: None,
        tools: None,
    })))
}

/// Returns the stored bytes of the logs of these attempts: the runner goes on from there. They are read here, so that
/// the core waits for no log's disk. Output that is on its way to the disk is sent a second time then, and skipped; if
/// a log is emptied meanwhile, the gap is answered with the offset that is wanted. Returns `None` if the dispatcher
/// ends.
fn stored_logs(session: &Session, holding: &[AttemptId]) -> Option<StoredBytes> {
    if holding.is_empty() {
        return Some(StoredBytes::new());
    }
    let logs = session.shared.core.answered(|answer| ToCore::LogsOf { holding: holding.to_vec(), answer })?;
    let data = &session.shared.data;
    // A log without a file has not begun.
    let bytes = |place: &LogPlace| std::fs::metadata(data.log(place)).map_or(0, |meta| meta.len());
    let stored = |(attempt, place): &(AttemptId, LogPlace)| {
        (StreamId { attempt: *attempt, kind: place.kind.clone() }, bytes(place))
    };
    Some(logs.iter().map(stored).collect())
}

struct RunnerSession {
    session: Session,
    outbox: Outbox,
    /// The outbox in words of the model, for the logs thread.
    to_runner: RunnerOutbox,
    grants: Arc<Grants>,
    /// The number of sources that are being sent.
    sources: Arc<AtomicUsize>,
    /// Started with the first blob.
    blobs: Option<BlobWorker>,
    /// Started with the first request for a blob.
    wanted: Option<BlobSender>,
    /// Started with the first message about the tool cache.
    tools: Option<EntryWorker>,
}

impl RunnerSession {
    fn read_all(&mut self) -> Result<(), SessionError> {
        while let Some(message) = self.session.next(&self.outbox)? {
            if !self.take(message)? {
                break;
            }
        }
        Ok(())
    }

    /// Handles one message. Returns false when the dispatcher is ending.
    #[inline(never)]
    fn take(&mut self, message: FromRunner) -> Result<bool, SessionError> {
        let session = self.session.id;
        let event = match message {
            FromRunner::Ping { holding } => Event::RunnerPinged { session, holding: translate::attempts(&holding)? },
            FromRunner::Started { attempt } => Event::AttemptStarted { session, attempt: AttemptId(attempt) },
            FromRunner::Draining => Event::RunnerDraining { session },
            FromRunner::Source { attempt, haves, facts } => {
                self.source(AttemptId(attempt), &haves, &facts)?;
                Event::RunnerHeard { session }
            }
            FromRunner::Secrets { attempt } => return Ok(self.secrets(AttemptId(attempt))),
            FromRunner::Log { attempt, stream, offset, bytes, ages } => {
                return self.log(translate::stream(attempt, &stream)?, offset, bytes, &ages);
            }
            FromRunner::Have(question) => {
                let (attempt, blobs) = (AttemptId(question.attempt), translate::blobs(&question.blobs)?);
                return self.blobs(attempt, BlobWork::Have(attempt, blobs));
            }
            FromRunner::Blob(piece) => {
                let mut bytes = self.blobs.as_ref().map(BlobWorker::buffer).unwrap_or_default();
                self.session.reader.read_payload(piece.bytes, &mut bytes).map_err(explain)?;
                let (attempt, blob) = (AttemptId(piece.attempt), translate::blob(&piece.blob)?);
                return self.blobs(attempt, BlobWork::Piece { attempt, blob, piece: Box::new(piece), bytes });
            }
            FromRunner::Settle { attempt, manifests } => {
                let (attempt, manifests) = (AttemptId(attempt), translate::blobs(&manifests)?);
                return self.blobs(attempt, BlobWork::Settle { attempt, manifests });
            }
            FromRunner::Want(request) => return self.want(&request),
            FromRunner::FindCache(question) => {
                let attempt = AttemptId(question.attempt);
                let (family, key) = translate::cache_question(&question)?;
                return self.caches(attempt, move |asker, caches| asker.find(caches, &family, &key));
            }
            FromRunner::SaveCache(save) => {
                let attempt = AttemptId(save.attempt);
                let saved = translate::saved_cache(save)?;
                return self.caches(attempt, move |asker, caches| asker.save(caches, saved));
            }
            FromRunner::FindEntry(question) => {
                let attempt = AttemptId(question.attempt);
                return self.tools(attempt, |asker| EntryWork::Find(Box::new((asker, question))));
            }
            FromRunner::KeepEntry(piece) => {
                let mut bytes = Vec::new();
                self.session.reader.read_payload(piece.bytes, &mut bytes).map_err(explain)?;
                let attempt = AttemptId(piece.attempt);
                return self.tools(attempt, |asker| EntryWork::Keep(Box::new((asker, piece)), bytes));
            }
            result @ FromRunner::Results { .. } => return self.results(result),
            FromRunner::Register { .. } => {
                return Err(Refusal::new(ErrorCode::NotAllowed, "`register` is said once in a session").into());
            }
        };
        Ok(self.session.shared.core.send(ToCore::Event(event)))
    }

    /// Passes a piece of a stream on, if this runner holds its lease.
    fn log(&mut self, stream: StreamId, offset: u64, len: u64, ages: &[(u64, u64)]) -> Result<bool, SessionError> {
        let mut bytes = Vec::new();
        self.session.reader.read_payload(len, &mut bytes).map_err(explain)?;
        let Some(grant) = self.grants.of(stream.attempt) else {
            self.outbox.send(&Frame::new(&ToRunner::Stale { attempt: stream.attempt.0 }));
            return Ok(true);
        };
        let Some(place) = grant.place(&stream.kind) else { return Ok(self.refuse_stream(&stream)) };
        let times = translate::times_of_piece(offset, len, ages, clock::wall());
        let chunk = ToLogs::Chunk { stream, place, offset, bytes, times, answer: self.to_runner.clone() };
        Ok(self.session.shared.logs.send(chunk))
    }

    /// Has a question about caches answered, if this runner holds the lease of an attempt that has some.
    fn caches(
        &mut self,
        attempt: AttemptId,
        answer: impl FnOnce(Asker, &Caches) -> ToRunner + Send + 'static,
    ) -> Result<bool, SessionError> {
        let grant = self.grants.of(attempt).filter(|grant| grant.has_caches);
        let Some(Grant { source, log: place, .. }) = grant else {
            self.outbox.send(&Frame::new(&ToRunner::Stale { attempt: attempt.0 }));
            return Ok(true);
        };
        let caches = self.session.shared.caches.clone();
        let asker = Asker { attempt, source, place };
        self.blobs(attempt, BlobWork::Ask(Box::new(move || answer(asker, &caches))))
    }

    /// Passes a message about the tool cache on, if this runner holds the lease of an attempt that has it.
    #[inline(never)]
    fn tools(&mut self, attempt: AttemptId, work: impl FnOnce(Asker) -> EntryWork) -> Result<bool, SessionError> {
        let grant = self.grants.of(attempt).filter(|grant| grant.has_tool_cache);
        let Some(Grant { source, log: place, .. }) = grant else {
            self.outbox.send(&Frame::new(&ToRunner::Stale { attempt: attempt.0 }));
            return Ok(true);
        };
        let (id, caches, outbox) = (self.session.id, &self.session.shared.caches, &self.outbox);
        let start = || EntryWorker::start(id, caches.clone(), outbox.downgrade());
        tool_entries::pass_on(&mut self.tools, outbox, start, work(Asker { attempt, source, place }));
        Ok(true)
    }

    /// Passes work on blobs on, if this runner holds the lease of their attempt.
    fn blobs(&mut self, attempt: AttemptId, work: BlobWork) -> Result<bool, SessionError> {
        if self.grants.of(attempt).is_none() {
            self.outbox.send(&Frame::new(&ToRunner::Stale { attempt: attempt.0 }));
            return Ok(true);
        }
        let unsent = match &self.blobs {
            Some(blobs) => blobs.send(work),
            None => Err(work),
        };
        let Err(work) = unsent else { return Ok(true) };
        let (id, store) = (self.session.id, self.session.shared.blobs.clone());
        let started = BlobWorker::start(id, store, self.outbox.clone()).map_err(|error| {
            log::warn!("session {id}: no thread for blobs: {error}");
            Refusal::new(ErrorCode::Busy, NO_THREAD)
        })?;
        Ok(self.blobs.insert(started).send(work).is_ok())
    }

    /// Passes a request for blobs on, if this runner holds the lease of the attempt.
    #[inline(never)]
    fn want(&mut self, request: &BlobRequest) -> Result<bool, SessionError> {
        let (attempt, parts) = (AttemptId(request.attempt), translate::wanted_parts(&request.blobs)?);
        if self.grants.of(attempt).is_none() {
            self.outbox.send(&Frame::new(&ToRunner::Stale { attempt: attempt.0 }));
            return Ok(true);
        }
        let (id, store) = (self.session.id, &self.session.shared.blobs);
        wanted_blobs::pass_on(&mut self.wanted, (id, store, &self.outbox), (attempt, parts))?;
        Ok(true)
    }

    /// Returns the outcome of an attempt that left these artifacts. It is lost if the dispatcher has them no longer:
    /// what it was told to be durable has been removed since.
    fn with_artifacts(&self, outcome: Outcome, artifacts: &[ArtifactRecord]) -> Outcome {
        let is_missing =
            |artifact: &&ArtifactRecord| !matches!(self.session.shared.blobs.missing_of(artifact.manifest), Ok(None));
        match artifacts.iter().find(is_missing) {
            Some(artifact) => {
                Outcome::Lost(format!("the dispatcher no longer has its artifact `{}`", artifact.name).into())
            }
            None => outcome,
        }
    }

    /// Tells the runner that this dispatcher takes no such stream. The session goes on.
    fn refuse_stream(&self, stream: &StreamId) -> bool {
        let text = format!("attempt {} has a stream `{}`, which is not known here", stream.attempt, stream.kind);
        self.outbox.send(&Frame::new(&ToRunner::Error(Refusal::new(ErrorCode::Refused, text))));
        true
    }

    /// A result without streams goes to the core at once. All others go through the logs thread, which sees to it that
    /// the streams are whole.
    fn results(&mut self, message: FromRunner) -> Result<bool, SessionError> {
        let FromRunner::Results {
            attempt,
            outcome,
            code,
            reason,
            reason_code,
            duration_ms,
            log_bytes,
            log_crc32,
            log_missing,
            streams,
            steps,
            execution,
            tasks,
            outputs,
            artifacts,
        } = message
        else {
            return Ok(true);
        };
        let attempt = AttemptId(attempt);
        let outcome = translate::outcome(&outcome, code, reason, reason_code.as_deref())?;
        let log = translate::log_summary(log_bytes, log_crc32, log_missing)?;
        let streams = translate::streams(log.clone(), streams)?;
        let steps = translate::steps(steps, log_bytes)?;
        let execution = execution.map(|reported| translate::execution(*reported));
        let session = self.session.id;
        let grant = self.grants.of(attempt);
        if grant.is_some()
            && let Some(blobs) = &self.blobs
        {
            // If the thread has ended meanwhile, a sweep removes it in a day.
            drop(blobs.send(BlobWork::Clear(attempt)));
        }
        let artifacts = translate::left_artifacts(artifacts)?;
        let outcome = if grant.is_some() { self.with_artifacts(outcome, &artifacts) } else { outcome };
        if !artifacts.is_empty()
            && !self.session.shared.core.send(ToCore::Event(Event::ArtifactsLeft { session, attempt, artifacts }))
        {
            return Ok(false);
        }
        let written = tasks.map(|file| match *file {
            WrittenFile::Text(text) => Ok(text),
            WrittenFile::Problem(problem) => Err(translate::cut(problem)),
        });
        if outcome == Outcome::Passed
            && let Some((written, grant)) = written.zip(grant.as_ref())
            && let Some((source, task)) = &grant.expands
        {
            let plan = written.and_then(|text| expansion::plan(&self.session, source, (grant.log.build, task), text));
            // It comes to the core before the result, and is forgotten if that never counts.
            let event = Event::TasksWritten { session, attempt, plan: Box::new(plan) };
            if !self.session.shared.core.send(ToCore::Event(event)) {
                return Ok(false);
            }
        }
        if !outputs.is_empty() {
            // As with written tasks: first the outputs, then the result with which they count.
            let event = Event::OutputsWritten { session, attempt, outputs: translate::outputs(outputs)? };
            if !self.session.shared.core.send(ToCore::Event(event)) {
                return Ok(false);
            }
        }
        match grant {
            Some(grant) if log_bytes > 0 || streams.len() > 1 => {
                let mut seals = Vec::new();
                for StreamSummary { kind, summary } in streams {
                    match grant.place(&kind) {
                        Some(place) => seals.push(StreamSeal { kind, place, summary }),
                        None => return Ok(self.refuse_stream(&StreamId { attempt, kind })),
                    }
                }
                let answer = self.to_runner.clone();
                let seal = Seal { session, attempt, streams: seals, outcome, duration_ms, steps, execution, answer };
                Ok(self.session.shared.logs.send(ToLogs::Seal(seal)))
            }
            _ => {
                let event = Event::AttemptFinished { session, attempt, outcome, log, duration_ms, steps, execution };
                Ok(self.session.shared.core.send(ToCore::Event(event)))
            }
        }
    }

    /// Answers a runner that asks for the secrets of an attempt. Returns false when the dispatcher is ending.
    #[inline(never)]
    fn secrets(&self, attempt: AttemptId) -> bool {
        let Some(grant) = self.grants.of(attempt) else {
            self.outbox.send(&Frame::new(&ToRunner::Stale { attempt: attempt.0 }));
            return true;
        };
        let (answer, denied) = secrets::answer(&self.session, attempt, &grant);
        let session = self.session.id;
        let event = match denied {
            // It comes to the core before the result.
            Some(reason) => Event::SecretsDenied { session, attempt, reason: Box::new(reason) },
            None => Event::RunnerHeard { session },
        };
        let goes_on = self.session.shared.core.send(ToCore::Event(event));
        self.outbox.send(&answer);
        goes_on
    }

    /// Starts to send the source of a lease that this runner holds.
    fn source(&mut self, attempt: AttemptId, haves: &[String], held: &[HeldFacts]) -> Result<(), SessionError> {
        let missing =
            move |reason: &str| Frame::new(&ToRunner::SourceMissing { attempt: attempt.0, reason: reason.to_owned() });
        let Some(grant) = self.grants.of(attempt) else {
            self.outbox.send(&Frame::new(&ToRunner::Stale { attempt: attempt.0 }));
            return Ok(());
        };
        if self.sources.load(Ordering::Relaxed) >= limits::SOURCES_AT_ONCE {
            self.outbox.send(&missing("too many sources were asked for at once"));
            return Ok(());
        }
        let haves = haves.iter().take(MAX_HAVES).map(|id| translate::commit(id)).collect::<Result<_, _>>()?;
        let held = held.iter().take(MAX_HAVES).map(translate::held_facts).collect::<Result<_, _>>()?;
        let asked = AskedSource { grant, attempt, haves, held };
        let outbox = self.outbox.downgrade();
        let (shared, sources) = (self.session.shared.clone(), self.sources.clone());
        sources.fetch_add(1, Ordering::Relaxed);
        let id = self.session.id;
        let started = threads::spawn_large(&format!("s{}-source", id.0 % 100_000), move || {
            if let Err(error) = serve_source(&shared, &asked, &outbox) {
                log::error!("session {id}: no source of {} for attempt {attempt}: {error}", asked.grant.commit.short());
                if let Some(outbox) = outbox.upgrade() {
                    outbox.send(&missing(&error.to_string()));
                }
            }
            sources.fetch_sub(1, Ordering::Relaxed);
        });
        match started {
            // The thread ends with the session that it feeds, or soon after.
            Ok(thread) => thread.detach(),
            Err(error) => {
                log::warn!("session {id}: no thread for a source: {error}");
                self.sources.fetch_sub(1, Ordering::Relaxed);
                self.outbox.send(&missing("the dispatcher has no thread left for it"));
            }
        }
        Ok(())
    }
}
