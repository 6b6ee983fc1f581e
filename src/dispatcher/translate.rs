//! Turns messages of the wire into values of the model, and back. Every field is checked here once; the code behind it
//! may trust the values. In the dispatcher, only this file and `session/` see both.

use super::grants::StoredBytes;
use crate::model::reason::{LossReason, RefusalReason};
use crate::model::{
    AttemptId, BranchName, BuildSource, CommitId, Incarnation, Isolation, Label, LogSummary, Outcome, RepoName,
    RunnerName, SessionId, SpawnId, StreamId, StreamKind, StreamSummary, Trigger,
};
use crate::protocol::hello::{ErrorCode, Hello, Refusal};
use crate::protocol::limits::{MAX_LABELS, MAX_RANGE_COMMITS, MAX_SLOTS};
use crate::protocol::observer::FromObserver;
use crate::protocol::runner::{self as wire, FromRunner, LogOffset, Runtask, StreamEnd, StreamName, WireTask};
use crate::scheduler::{Lease, RunnerCommand, RunnerJoined};

/// Texts of people (subjects, authors, reasons) are cut at this length, in bytes.
const MAX_TEXT_BYTES: usize = 1024;
/// Streams that one result may name beside its log.
const MAX_STREAMS: usize = 256;
/// The longest branch name in bytes, as git hosts allow it.
const MAX_BRANCH_BYTES: usize = 4096;

/// Returns the refusal of a field with an invalid value; it ends the session.
pub(crate) fn malformed(text: impl ToString) -> Refusal {
    Refusal::new(ErrorCode::Malformed, text.to_string())
}

pub(crate) fn repo(text: &str) -> Result<RepoName, Refusal> {
    RepoName::new(text).map_err(malformed)
}

pub(crate) fn commit(text: &str) -> Result<CommitId, Refusal> {
    text.parse().map_err(malformed)
}

pub(crate) fn branch(text: &str) -> Result<BranchName, Refusal> {
    if text.is_empty() || text.len() > MAX_BRANCH_BYTES {
        return Err(malformed(format!("a branch name has {} bytes: 1 to {MAX_BRANCH_BYTES} are allowed", text.len())));
    }
    Ok(BranchName::new(text))
}

/// Returns the build that a `dispatch` asks for.
pub(crate) fn build_source(message: FromObserver) -> Result<BuildSource, Refusal> {
    let FromObserver::Dispatch {
        repo: name,
        branch: head,
        before,
        commit: id,
        range,
        commits,
        subject,
        author,
        trigger,
    } = message
    else {
        return Err(malformed("a commit is announced by `dispatch`"));
    };
    if trigger != "push" {
        let name = Refusal::quote(&trigger);
        return Err(malformed(format!("this dispatcher knows no trigger `{name}`, only `push`")));
    }
    if range.len() > MAX_RANGE_COMMITS {
        let count = range.len();
        return Err(malformed(format!("the range has {count} commits: at most {MAX_RANGE_COMMITS} are allowed")));
    }
    let before = before.as_deref().map(commit).transpose()?;
    let range: Vec<_> = range.iter().map(|id| commit(id)).collect::<Result<_, _>>()?;
    let commits = match commits {
        Some(0) => None,
        Some(number) => Some(number.max(range.len() as u64)),
        None => Some(range.len() as u64),
    };
    Ok(BuildSource {
        repo: repo(&name)?,
        commit: commit(&id)?,
        trigger: Trigger::push_of(&branch(&head)?, before, range, commits),
        subject: cut(subject),
        author: cut(author),
    })
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_TEXT_BYTES {
        let end = (0..=MAX_TEXT_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

/// Returns the event of a `register`; name and incarnation come from `hello`.
pub(crate) fn joined(session: SessionId, hello: &Hello, message: FromRunner) -> Result<RunnerJoined, Refusal> {
    let FromRunner::Register { slots, labels, isolation, holding, warm, spawned, spawn, draining, .. } = message else {
        return Err(Refusal::new(ErrorCode::NotAllowed, "the first message of a runner is `register`"));
    };
    if slots == 0 || slots as usize > MAX_SLOTS {
        return Err(malformed(format!("a runner has 1 to {MAX_SLOTS} slots, not {slots}")));
    }
    if labels.len() > MAX_LABELS {
        return Err(malformed(format!("a runner has at most {MAX_LABELS} labels, not {}", labels.len())));
    }
    // No task can ask for a label of another form. Such a label is useless, but no reason to turn the runner away.
    let (labels, useless): (Vec<_>, Vec<_>) = labels.iter().map(|text| Label::new(text)).partition(Result::is_ok);
    for error in useless.into_iter().filter_map(Result::err) {
        log::warn!("a label of runner {} is ignored: {error}", Refusal::quote(&hello.name));
    }
    let mut labels: Vec<Label> = labels.into_iter().flatten().collect();
    labels.sort_unstable();
    labels.dedup();
    let isolation = if isolation == "pid_namespace" { Isolation::PidNamespace } else { Isolation::Subreaper };
    let warm = warm.into_iter().take(MAX_SLOTS).map(|tree| Ok((repo(&tree.repo)?, commit(&tree.commit)?)));
    Ok(RunnerJoined {
        session,
        name: RunnerName::new(&hello.name).map_err(|error| malformed(error.to_string()))?,
        incarnation: Incarnation(hello.incarnation),
        slots,
        labels,
        isolation,
        holding: attempts(&holding)?,
        warm: warm.collect::<Result<_, Refusal>>()?,
        spawned: spawned || spawn.is_some(),
        spawn: spawn.map(SpawnId),
        draining,
    })
}

pub(crate) fn attempts(ids: &[u64]) -> Result<Vec<AttemptId>, Refusal> {
    if ids.len() > MAX_SLOTS {
        return Err(malformed(format!("a runner holds at most {MAX_SLOTS} attempts, not {}", ids.len())));
    }
    Ok(ids.iter().copied().map(AttemptId).collect())
}

/// Returns the outcome that `results` names.
pub(crate) fn outcome(
    word: &str,
    code: Option<i32>,
    reason: Option<String>,
    reason_code: Option<&str>,
) -> Result<Outcome, Refusal> {
    let reason = || cut(reason.unwrap_or_else(|| "no reason was given".into()));
    let code = || code.ok_or_else(|| malformed(format!("a result of `{word}` needs a `code`")));
    Ok(match word {
        "passed" => Outcome::Passed,
        "failed" => Outcome::Failed(code()?),
        "killed" => Outcome::Killed(code()?),
        "timed_out" => Outcome::TimedOut,
        "cancelled" => Outcome::Cancelled,
        "could_not_start" => Outcome::CouldNotStart(reason()),
        "lost" => Outcome::Lost(LossReason::reported(reason_code, reason())),
        other => return Err(malformed(format!("`{other}` is not an outcome"))),
    })
}

/// Returns the stream that a message names.
pub(crate) fn stream(attempt: u64, name: &StreamName) -> Result<StreamId, Refusal> {
    let kind = match name {
        StreamName::Log => StreamKind::Log,
        StreamName::Other(name) => StreamKind::new(name).map_err(malformed)?,
    };
    Ok(StreamId { attempt: AttemptId(attempt), kind })
}

fn stream_name(kind: &StreamKind) -> StreamName {
    match kind {
        StreamKind::Log => StreamName::Log,
        StreamKind::Other(name) => StreamName::Other(name.clone()),
    }
}

pub(crate) fn log_ack(stream: &StreamId, offset: u64) -> wire::ToRunner {
    wire::ToRunner::LogAck { attempt: stream.attempt.0, stream: stream_name(&stream.kind), offset }
}

/// Returns the streams that must be whole before a result counts: the log, and those that `results` names beside it.
pub(crate) fn streams(log: LogSummary, others: Vec<StreamEnd>) -> Result<Vec<StreamSummary>, Refusal> {
    if others.len() > MAX_STREAMS {
        return Err(malformed(format!("a result names at most {MAX_STREAMS} streams, not {}", others.len())));
    }
    let mut streams = vec![StreamSummary { kind: StreamKind::Log, summary: log }];
    for StreamEnd { stream: name, bytes, crc32, missing } in others {
        let kind = stream(0, &name)?.kind;
        streams.push(StreamSummary { kind, summary: log_summary(bytes, crc32, missing) });
    }
    Ok(streams)
}

pub(crate) fn log_summary(bytes: u64, crc32: u32, missing: Option<String>) -> LogSummary {
    LogSummary { bytes, crc32, missing: missing.map(cut) }
}

/// Returns the message for a command of the scheduler. `stored` has the number of stored bytes of each stream.
pub(crate) fn to_runner(message: RunnerCommand, stored: &StoredBytes) -> wire::ToRunner {
    match message {
        RunnerCommand::Registered { held, gone } => {
            let offset = |lease: &Lease| {
                let offset = stored.get(&StreamId::log(lease.attempt)).copied().unwrap_or(0);
                LogOffset { attempt: lease.attempt.0, stream: StreamName::Log, offset }
            };
            wire::ToRunner::Registered { gone: numbers(gone), logs: held.iter().map(offset).collect() }
        }
        RunnerCommand::NameTaken { runner } => {
            let reason = RefusalReason::NameTaken { runner };
            wire::ToRunner::Error(Refusal::new(ErrorCode::NameTaken, reason.to_string()).because(reason.code()))
        }
        RunnerCommand::Lease(lease) => wire::ToRunner::Runtask(Box::new(runtask(&lease))),
        RunnerCommand::Cancel { attempt } => wire::ToRunner::Cancel { attempt: attempt.0 },
        RunnerCommand::Recorded { attempt } => wire::ToRunner::Ok { attempt: attempt.0 },
        RunnerCommand::Stale { attempt } => wire::ToRunner::Stale { attempt: attempt.0 },
        RunnerCommand::Ack { gone } => wire::ToRunner::Ack { gone: numbers(gone) },
        RunnerCommand::Drain => wire::ToRunner::Drain,
    }
}

fn numbers(attempts: Vec<AttemptId>) -> Vec<u64> {
    attempts.into_iter().map(|attempt| attempt.0).collect()
}

fn runtask(lease: &Lease) -> Runtask {
    Runtask {
        attempt: lease.attempt.0,
        lease_ms: lease.lease_ms,
        build: lease.build.0,
        number: lease.number,
        repo: lease.source.repo.to_string(),
        branch: lease.source.trigger.reference.short().to_owned(),
        commit: lease.source.commit.to_string(),
        task: Ok(WireTask { name: lease.task.name.to_string(), recipe: lease.task.recipe.clone() }),
    }
}
