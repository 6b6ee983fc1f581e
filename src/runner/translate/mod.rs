//! Between the wire and the model: the only folder of the runner that sees both. The values that it returns are valid.

mod entries;
mod results;

use super::assignment::{Assignment, HeldSource, SourceAhead};
use super::blobs::{self, BlobAnswer};
use super::entry_routes::EntryAnswer;
use super::event::Event;
use super::routes::Piece;
use super::secrets::SecretValues;
use crate::model::{
    AttemptId, BuildId, CommitId, FactsId, Label, Moment, RefName, RepoName, SpawnId, StreamId, TaskName, TierOffer,
};
use crate::protocol::execution::Tiers;
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::protocol::limits::{MAX_LINE_BYTES, MAX_SOURCE_BYTES};
use crate::protocol::runner::{FromRunner, HeldFacts, LogOffset, Runtask, SecretPart, ToRunner, WarmTree, WireTask};
use crate::transport::{Frame, FrameReader, TransportError};

use entries::cache_scope;
pub(super) use entries::{SentPiece, find_entry, keep_entry};
pub(super) use results::{read_results, results, results_line};
use results::{stream, stream_name};

/// A message of the dispatcher, by its recipient.
#[derive(Debug)]
pub(super) enum Heard {
    /// For the slot that waits for the source or the secrets.
    Source { attempt: AttemptId, piece: Piece },
    /// For the slot that sends blobs.
    Blobs { attempt: AttemptId, answer: BlobAnswer },
    /// For whoever asked about the tool cache.
    Entry { request: u64, answer: EntryAnswer },
    /// For the uploader.
    LogAck { stream: StreamId, offset: u64 },
    /// The answer to the oldest ping that is not answered.
    Ack { gone: Vec<AttemptId> },
    /// For the core: the registration was accepted. `drained`: this runner stays connected and gets no jobs.
    Registered { event: Event, drained: bool },
    /// For the core, and for the threads that wait for answers about the tool cache of this attempt: it has lost its
    /// lease.
    Fenced(AttemptId),
    /// For the core.
    ForCore(Event),
    /// Source that came ahead of a lease and makes no sense.
    BadAhead,
    /// The registration was refused, because another runner has the name. The session is over.
    NameTaken(String),
    /// The session was refused until a person acts, such as for a label that the credential does not allow.
    NotAllowed(String),
    /// The dispatcher ends, and with it the session.
    ShuttingDown,
    /// The dispatcher refused a message of the runner.
    Error(String),
}

/// Reads the next message with its payload. Returns `None` if the dispatcher has closed.
pub(super) fn hear(reader: &mut FrameReader) -> Result<Option<Heard>, TransportError> {
    let Some(message) = reader.read::<ToRunner>(MAX_LINE_BYTES)? else { return Ok(None) };
    let ids = |raw: Vec<u64>| raw.into_iter().map(AttemptId).collect();
    Ok(Some(match message {
        ToRunner::Pack { attempt, last, bytes: length, facts } => {
            let mut bytes = Vec::new();
            reader.read_payload(length, &mut bytes)?;
            // Facts with an impossible id are none: the slot then misses them.
            let facts = facts.and_then(|id| id.parse().ok());
            Heard::Source { attempt: AttemptId(attempt), piece: Piece::Bytes { bytes, last, facts } }
        }
        ToRunner::SourceMissing { attempt, reason } => {
            Heard::Source { attempt: AttemptId(attempt), piece: Piece::Missing(reason) }
        }
        ToRunner::Secrets { attempt, secrets, bytes: length } => {
            let mut bytes = Vec::new();
            reader.read_payload(length, &mut bytes)?;
            Heard::Source { attempt: AttemptId(attempt), piece: secret_values(secrets, bytes) }
        }
        ToRunner::SecretsMissing { attempt, reason, denied } => {
            Heard::Source { attempt: AttemptId(attempt), piece: Piece::NoSecrets { reason, denied } }
        }
        ToRunner::LogAck { attempt, stream: name, offset } => match stream(attempt, &name) {
            Some(stream) => Heard::LogAck { stream, offset },
            None => Heard::Error(format!("`{}` names no stream", name.text())),
        },
        answer @ (ToRunner::Lacks { .. }
        | ToRunner::BlobAck { .. }
        | ToRunner::Settled { .. }
        | ToRunner::BlobRefused { .. }
        | ToRunner::BlobMissing { .. }
        | ToRunner::Cache(_)
        | ToRunner::CacheSaved { .. }) => heard_blobs(answer, Vec::new()),
        ToRunner::Blob(part) => {
            let mut bytes = Vec::new();
            reader.read_payload(part.bytes, &mut bytes)?;
            heard_blobs(ToRunner::Blob(part), bytes)
        }
        ToRunner::Entry(answer) => {
            let mut bytes = Vec::new();
            reader.read_payload(answer.bytes, &mut bytes)?;
            let (request, answer) = entries::entry_answer(answer, bytes);
            Heard::Entry { request, answer }
        }
        ToRunner::EntryAck { request, reason, .. } => Heard::Entry { request, answer: EntryAnswer::Taken { reason } },
        ToRunner::Ack { gone } => Heard::Ack { gone: ids(gone) },
        ToRunner::Registered { gone, logs, drained } => {
            // A stream with an impossible name is none of this runner's.
            let offset = |at: LogOffset| Some((stream(at.attempt, &at.stream)?, at.offset));
            let streams = logs.into_iter().filter_map(offset).collect();
            // The core knows when it sent the registration.
            Heard::Registered { event: Event::Registered { since: Moment(0), gone: ids(gone), streams }, drained }
        }
        ToRunner::Runtask(lease) => {
            let attempt = AttemptId(lease.attempt);
            Heard::ForCore(match assignment(*lease) {
                Ok(assignment) => Event::Leased(Box::new(assignment)),
                Err(why) => Event::LeaseUnreadable { attempt, why },
            })
        }
        ToRunner::SourceAhead { repo, commit, bytes: length } => {
            let mut pack = Vec::new();
            reader.read_payload(length, &mut pack)?;
            let came = ahead(&repo, &commit, pack).map(|ahead| Event::SourceCame(Box::new(ahead)));
            came.map_or(Heard::BadAhead, Heard::ForCore)
        }
        ToRunner::Cancel { attempt } => Heard::ForCore(Event::CancelAsked(AttemptId(attempt))),
        ToRunner::Ok { attempt } => Heard::ForCore(Event::Recorded(AttemptId(attempt))),
        ToRunner::Stale { attempt } => Heard::Fenced(AttemptId(attempt)),
        ToRunner::Drain => Heard::ForCore(Event::DrainAsked),
        ToRunner::Error(Refusal { code: ErrorCode::NameTaken, text, .. }) => Heard::NameTaken(text),
        ToRunner::Error(Refusal { code: ErrorCode::NotAllowed, text, .. }) => Heard::NotAllowed(text),
        ToRunner::Error(Refusal { code: ErrorCode::ShuttingDown, .. }) => Heard::ShuttingDown,
        ToRunner::Error(Refusal { text, .. }) => Heard::Error(text),
    }))
}

fn heard_blobs(answer: ToRunner, payload: Vec<u8>) -> Heard {
    match blobs::heard(answer, payload) {
        Some((attempt, answer)) => Heard::Blobs { attempt, answer },
        None => Heard::Error("an answer about blobs makes no sense".into()),
    }
}

/// Reads a lease. Returns the reason if it cannot be executed.
fn assignment(lease: Runtask) -> Result<Assignment, String> {
    let WireTask { name, recipe } = lease.task?;
    Ok(Assignment {
        attempt: AttemptId(lease.attempt),
        lease_ms: lease.lease_ms,
        build: BuildId(lease.build),
        number: lease.number,
        repo: RepoName::new(&lease.repo).map_err(|error| error.to_string())?,
        reference: reference(&lease.branch, lease.reference.as_deref(), lease.event.is_some()),
        event: lease.event,
        is_trusted: lease.trusted,
        default_branch: lease.default_branch,
        slots: lease.slots.max(1),
        // These two are for the task's information only, so a value that makes no sense spoils no attempt.
        before: lease.before.and_then(|commit| commit.parse().ok()),
        url: lease.url.filter(|url| url.len() <= MAX_SOURCE_BYTES),
        needed: lease.outputs_missing.map_or(Ok(lease.outputs), Err),
        cache_scopes: lease.cache_scopes.into_iter().map(cache_scope).collect(),
        taken: lease.artifacts_missing.map_or_else(|| blobs::taken_artifacts(lease.artifacts), Err),
        commit: lease.commit.parse::<CommitId>().map_err(|error| error.to_string())?,
        task: TaskName::new(&name).map_err(|error| error.to_string())?,
        recipe,
    })
}

/// Returns the ref of a lease. A dispatcher that tells no event sends the full name of a ref that is no branch in place
/// of a branch.
fn reference(branch: &str, full: Option<&str>, tells_event: bool) -> RefName {
    let is_full = |name: &str| name.starts_with("refs/") || name == RefName::detached().as_str();
    if !tells_event && full.is_none() && is_full(branch) {
        return RefName::new(branch);
    }
    RefName::read(branch, full)
}

fn ahead(repo: &str, commit: &str, pack: Vec<u8>) -> Option<SourceAhead> {
    Some(SourceAhead { repo: RepoName::new(repo).ok()?, commit: commit.parse().ok()?, pack })
}

/// The offer of a registration, besides the held attempts.
#[derive(Debug)]
pub(super) struct Offer<'a> {
    pub(super) slots: u32,
    pub(super) labels: &'a [Label],
    /// [`crate::model::Isolation::word`].
    pub(super) isolation: &'a str,
    pub(super) tiers: &'a TierOffer,
    pub(super) warm: &'a [(RepoName, CommitId)],
    /// The dispatcher's number for the start of this runner, if it started it.
    pub(super) spawn: Option<SpawnId>,
    pub(super) draining: bool,
}

pub(super) fn register(offer: &Offer<'_>, holding: &[AttemptId]) -> Frame {
    let warm =
        |(repo, commit): &(RepoName, CommitId)| WarmTree { repo: repo.as_str().to_owned(), commit: commit.to_string() };
    Frame::new(&FromRunner::Register {
        slots: offer.slots,
        labels: offer.labels.iter().map(|label| label.to_string()).collect(),
        isolation: offer.isolation.to_owned(),
        tiers: Some(Tiers {
            least: offer.tiers.range.least.word().to_owned(),
            most: offer.tiers.range.most.word().to_owned(),
            means: offer.tiers.means.clone(),
        }),
        holding: raw(holding),
        warm: offer.warm.iter().map(warm).collect(),
        spawned: offer.spawn.is_some(),
        spawn: offer.spawn.map(|spawn| spawn.0),
        draining: offer.draining,
        takes_source: true,
        takes_cells: true,
    })
}

pub(super) fn ping(holding: &[AttemptId]) -> Frame {
    Frame::new(&FromRunner::Ping { holding: raw(holding) })
}

pub(super) fn source(attempt: AttemptId, held: &HeldSource) -> Frame {
    let haves = held.commits.iter().map(CommitId::to_string).collect();
    let fact =
        |(commit, facts): &(CommitId, FactsId)| HeldFacts { commit: commit.to_string(), facts: facts.to_string() };
    Frame::new(&FromRunner::Source { attempt: attempt.0, haves, facts: held.facts.iter().map(fact).collect() })
}

/// Cuts a payload into the values that it has.
fn secret_values(parts: Vec<SecretPart>, bytes: Vec<u8>) -> Piece {
    let mut rest = bytes.as_slice();
    let mut values = Vec::new();
    for SecretPart { name, bytes } in parts {
        let cut = usize::try_from(bytes).ok().and_then(|length| rest.split_at_checked(length));
        let Some((value, behind)) = cut else {
            let reason = "the secrets came cut short".to_owned();
            return Piece::NoSecrets { reason, denied: false };
        };
        values.push((name, value.to_vec()));
        rest = behind;
    }
    Piece::Secrets(SecretValues(values))
}

pub(super) fn secrets(attempt: AttemptId) -> Frame {
    Frame::new(&FromRunner::Secrets { attempt: attempt.0 })
}

pub(super) fn started(attempt: AttemptId) -> Frame {
    Frame::new(&FromRunner::Started { attempt: attempt.0 })
}

pub(super) fn draining() -> Frame {
    Frame::new(&FromRunner::Draining)
}

pub(super) fn log_piece(stream: &StreamId, offset: u64, bytes: Vec<u8>, ages: Vec<(u64, u64)>) -> Frame {
    let (attempt, stream) = (stream.attempt.0, stream_name(&stream.kind));
    let message = FromRunner::Log { attempt, stream, offset, bytes: bytes.len() as u64, ages };
    Frame::with_payload(&message, bytes)
}

fn raw(attempts: &[AttemptId]) -> Vec<u64> {
    attempts.iter().map(|attempt| attempt.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::codec;

    /// A lease as it arrives, with a script of these keys.
    fn lease(script: &str) -> Runtask {
        let line = format!(
            r#"{{"type":"runtask","attempt":7,"lease_ms":1000,"build":3,"number":1,"repo":"app","branch":"main",
                "commit":"{}","task":{{"name":"test",{script}"env":[["A","1"]],"timeout_ms":5,"keep":["target"],
                "exclusive":true}}}}"#,
            "ab".repeat(20)
        );
        let Ok(ToRunner::Runtask(lease)) = codec::decode(line.as_bytes()) else { panic!("{line}") };
        *lease
    }

    #[test]
    fn a_lease_that_makes_no_sense_is_refused_with_its_reason() {
        let shell = r#""shell":"true","#;
        assert_eq!(assignment(lease(shell)).unwrap().recipe.keep, ["target"]);
        let odd = Runtask { before: Some("HEAD".into()), url: Some("x".repeat(1 << 20)), ..lease(shell) };
        let odd = assignment(odd).unwrap();
        assert_eq!((odd.before, odd.url), (None, None), "they are no reason to execute nothing");
        let either = "a task must have either a shell text or a program";
        assert_eq!(assignment(lease("")), Err(either.into()));
        assert_eq!(assignment(lease(r#""shell":"a","program":["b"],"#)), Err(either.into()));
        assert_eq!(assignment(lease(r#""program":[],"#)), Err("the task names an empty program".into()));
        assert!(assignment(lease(r#""shell":1,"#)).is_err());
        let mut torn = lease(shell);
        torn.task.as_mut().unwrap().name = "a\nb".into();
        assert!(assignment(torn).is_err());
        let outside = Runtask { repo: "../x".into(), ..lease(shell) };
        assert!(assignment(outside).unwrap_err().contains("cannot name a repository"));
    }

    /// A dispatcher of before tells no event, and the full name of a tag as the branch.
    #[test]
    fn the_ref_of_a_lease_is_known_from_old_dispatchers_too() {
        for (branch, full, event, expected) in [
            ("main", None, None, "refs/heads/main"),
            ("main", None, Some("push"), "refs/heads/main"),
            ("refs/tags/v1", None, None, "refs/tags/v1"),
            ("refs/tags/v1", Some("refs/tags/v1"), Some("tag"), "refs/tags/v1"),
            ("refs/tags/v1", None, Some("push"), "refs/heads/refs/tags/v1"),
            ("HEAD", None, None, "HEAD"),
            ("HEAD", Some("HEAD"), Some("manual"), "HEAD"),
        ] {
            let (reference, event) = (full.map(str::to_owned), event.map(str::to_owned));
            let lease = Runtask { branch: branch.into(), reference, event, ..lease(r#""shell":"true","#) };
            assert_eq!(assignment(lease).unwrap().reference, RefName::new(expected), "{branch} and {full:?}");
        }
    }
}
