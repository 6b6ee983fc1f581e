//! Turns messages of the wire into values of the model, and back. Every field is checked here once; the code behind it
//! may trust the values. In the dispatcher, only this file and `session/` see both.

use std::sync::Arc;

use super::grants::{RepoPlace, StoredBytes};
use super::logs::TimedOffset;
use crate::git::without_secrets;
use crate::model::reason::{LossReason, RefusalReason, TimeoutReason};
use crate::model::{
    AttemptId, BranchName, BuildSource, CommitId, Incarnation, Isolation, Label, LogSummary, ObservedRefs, Outcome,
    RefName, RepoName, RunnerName, SessionId, SpawnId, StepRecord, StreamId, StreamKind, StreamSummary, Trigger, Trust,
    WallTime,
};
use crate::protocol::hello::{ErrorCode, Hello, Refusal};
use crate::protocol::limits::{
    MAX_AGES, MAX_ANCESTORS, MAX_BRANCH_BYTES, MAX_LABELS, MAX_NAMED_REFS, MAX_PATTERN_BYTES, MAX_PATTERNS,
    MAX_RANGE_COMMITS, MAX_SENTENCE_BYTES, MAX_SLOTS, MAX_SOURCE_BYTES, MAX_STEP_NAME_BYTES, MAX_STEPS, MAX_STREAMS,
};
use crate::protocol::observer::{FromObserver, Head};
use crate::protocol::runner::{self as wire, FromRunner, LogOffset, Runtask, StepEnd, StreamEnd, StreamName, WireTask};
use crate::scheduler::{Lease, RunnerCommand, RunnerJoined};

/// The exit codes of a process that has failed, and the signals that can end one.
const EXIT_CODES: std::ops::RangeInclusive<i32> = 1..=255;
/// The kinds of trigger that an observer announces.
const TRIGGERS: [&str; 3] = ["push", "tag", "ref"];
const SIGNALS: std::ops::RangeInclusive<i32> = 1..=64;

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

/// Returns the ref of an announcement: the branch, or the one with this full name.
pub(crate) fn reference(head: &str, full: Option<&str>) -> Result<RefName, Refusal> {
    let Some(full) = full else { return branch(head).map(RefName::of_branch) };
    if let Some(head) = full.strip_prefix("refs/heads/") {
        return branch(head).map(RefName::of_branch);
    }
    if full.starts_with("refs/") && full.len() <= MAX_BRANCH_BYTES && BranchName::is_allowed(full) {
        return Ok(RefName::new(full));
    }
    let (name, count) = (Refusal::quote(full), full.len());
    let text = if count > MAX_BRANCH_BYTES {
        format!("the ref `{name}` has a name of {count} bytes: at most {MAX_BRANCH_BYTES} are allowed")
    } else {
        format!("`{name}` is no full name of a ref: git does not allow it, see git-check-ref-format(1)")
    };
    Err(Refusal::new(ErrorCode::Refused, text).because("ref_name"))
}

/// Checks the patterns for refs that an observer watches.
pub(crate) fn patterns(texts: Vec<String>) -> Result<Vec<Arc<str>>, Refusal> {
    if texts.len() > MAX_PATTERNS {
        let count = texts.len();
        return Err(malformed(format!(
            "a repository is watched by {count} patterns: at most {MAX_PATTERNS} are allowed"
        )));
    }
    let is_pattern = |text: &String| text.starts_with("refs/") && text.len() <= MAX_PATTERN_BYTES;
    if let Some(other) = texts.iter().find(|text| !is_pattern(text)) {
        let text = format!(
            "`{}` is no pattern: it is longer than {MAX_PATTERN_BYTES} bytes, or does not begin with refs/",
            Refusal::quote(other)
        );
        return Err(malformed(text));
    }
    Ok(texts.into_iter().map(Arc::from).collect())
}

/// Returns the refs of a first look. Leaves out those that no announcement could name, and branches, which are built.
pub(crate) fn existing(refs: Vec<Head>) -> Result<Vec<(RefName, CommitId)>, Refusal> {
    let mut known = Vec::with_capacity(refs.len());
    for head in refs {
        if let Ok(reference) = reference(&head.branch, head.reference.as_deref())
            && reference.branch().is_none()
        {
            known.push((reference, commit(&head.commit)?));
        }
    }
    Ok(known)
}

/// Returns the branch of an announcement. A name that git does not allow refuses this announcement only: an observer
/// with one such ref must not lose its session, and with it all other branches.
pub(crate) fn branch(text: &str) -> Result<BranchName, Refusal> {
    let is_short = text.len() <= MAX_BRANCH_BYTES;
    if is_short && BranchName::is_allowed(text) {
        return Ok(BranchName::new(text));
    }
    let (name, count) = (Refusal::quote(text), text.len());
    let text = match is_short {
        true => format!("`{name}` is no name of a branch: git does not allow it, see git-check-ref-format(1)"),
        false => format!("the branch `{name}` has a name of {count} bytes: at most {MAX_BRANCH_BYTES} are allowed"),
    };
    Err(Refusal::new(ErrorCode::Refused, text).because("branch_name"))
}

/// Returns the place of an observed repository, without the credentials that a peer of another make may have left in.
pub(crate) fn source(text: &str) -> Result<String, Refusal> {
    if text.len() <= MAX_SOURCE_BYTES {
        return Ok(without_secrets(text));
    }
    Err(malformed(format!("`source` has {} bytes: at most {MAX_SOURCE_BYTES} are allowed", text.len())))
}

/// Returns what an observer tells of the refs of a repository. A name that git does not allow is left out: it names no
/// ref.
pub(crate) fn observed_refs(default_branch: Option<&str>, named: &[String]) -> ObservedRefs {
    let named = named.iter().take(MAX_NAMED_REFS).filter_map(|name| reference("", Some(name)).ok());
    ObservedRefs { default_branch: default_branch.and_then(|name| branch(name).ok()), named: named.collect() }
}

/// Returns the build that a `dispatch` asks for. It is untrusted until it is judged.
pub(crate) fn build_source(message: FromObserver) -> Result<BuildSource, Refusal> {
    let FromObserver::Dispatch {
        repo: name,
        branch: head,
        reference: full,
        before,
        commit: id,
        range,
        commits,
        subject,
        author,
        trigger,
        ..
    } = message
    else {
        return Err(malformed("a commit is announced by `dispatch`"));
    };
    if !TRIGGERS.contains(&trigger.as_str()) {
        let name = Refusal::quote(&trigger);
        return Err(malformed(format!("a `dispatch` has no trigger `{name}`, only `push`, `tag` and `ref`")));
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
    let moved = Trigger::of_move(reference(&head, full.as_deref())?, before, range, commits);
    let kind = moved.kind.word();
    if kind != trigger {
        let name = Refusal::quote(moved.reference.as_str());
        return Err(malformed(format!("the trigger of `{name}` is `{kind}`, not `{trigger}`")));
    }
    Ok(BuildSource {
        repo: repo(&name)?,
        commit: commit(&id)?,
        trigger: moved,
        subject: cut(subject),
        author: cut(author),
    })
}

/// Returns the ancestors that a `dispatch` names.
pub(crate) fn ancestors(ids: &[String]) -> Result<Vec<CommitId>, Refusal> {
    if ids.len() > MAX_ANCESTORS {
        let count = ids.len();
        return Err(malformed(format!("`ancestors` has {count} commits: at most {MAX_ANCESTORS} are allowed")));
    }
    ids.iter().map(|id| commit(id)).collect()
}

pub(crate) fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_SENTENCE_BYTES));
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
    if let Some(error) = useless.iter().find_map(|label| label.as_ref().err()) {
        let (name, count) = (Refusal::quote(&hello.name), useless.len());
        log::warn!("{count} labels of runner {name} are ignored, such as {error}");
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
    let text = &reason;
    let reason = || match text {
        Some(reason) if !reason.trim().is_empty() => Ok(cut(reason.clone())),
        _ => Err(malformed(format!("a result of `{word}` needs a `reason`"))),
    };
    let code_in = |allowed: std::ops::RangeInclusive<i32>, what: &str| match code {
        Some(code) if allowed.contains(&code) => Ok(code),
        Some(code) => {
            let (first, last) = allowed.into_inner();
            Err(malformed(format!("a result of `{word}` has {what} from {first} to {last} as its `code`, not {code}")))
        }
        None => Err(malformed(format!("a result of `{word}` needs a `code`"))),
    };
    Ok(match word {
        "passed" if code.is_some_and(|code| code != 0) => {
            return Err(malformed("a result of `passed` has no `code` but 0"));
        }
        "passed" => Outcome::Passed,
        "failed" => Outcome::Failed(code_in(EXIT_CODES, "an exit code")?),
        "killed" => Outcome::Killed(code_in(SIGNALS, "a signal")?),
        "timed_out" => Outcome::TimedOut(TimeoutReason::reported(reason_code, text.clone().map(cut))),
        "cancelled" => Outcome::Cancelled,
        "could_not_start" => Outcome::CouldNotStart(reason()?),
        "lost" => Outcome::Lost(LossReason::reported(reason_code, reason()?)),
        other => return Err(malformed(format!("`{}` is not an outcome", Refusal::quote(other)))),
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

/// Returns the times of the bytes of a piece, as offsets in the stream, given the ages that its runner names. The
/// runner's clock does not matter.
pub(crate) fn times_of_piece(offset: u64, len: u64, ages: &[(u64, u64)], now: WallTime) -> Vec<TimedOffset> {
    let before = |age: u64| now.0.saturating_sub_unsigned(age).max(0);
    let named = ages.iter().take(MAX_AGES).take_while(|(after, _)| *after < len);
    let mut times: Vec<TimedOffset> = named.map(|(after, age)| (offset.saturating_add(*after), before(*age))).collect();
    if times.is_empty() {
        times.push((offset, now.0));
    }
    times
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
        if streams.iter().any(|stream| stream.kind == kind) {
            return Err(malformed(format!("a result names the stream `{kind}` twice")));
        }
        streams.push(StreamSummary { kind, summary: log_summary(bytes, crc32, missing)? });
    }
    Ok(streams)
}

/// Returns the steps that a result names. Their sections stand one behind the other in a log of `log_bytes`.
pub(crate) fn steps(steps: Vec<StepEnd>, log_bytes: u64) -> Result<Vec<StepRecord>, Refusal> {
    if steps.len() > MAX_STEPS {
        return Err(malformed(format!("a result names at most {MAX_STEPS} steps, not {}", steps.len())));
    }
    let mut at = 0;
    let read =
        |StepEnd { name, outcome: word, code, reason, reason_code, duration_ms, log_start, log_end }: StepEnd| {
            if name.is_empty() || name.len() > MAX_STEP_NAME_BYTES || name.contains(char::is_control) {
                return Err(malformed(format!("`{}` cannot name a step", Refusal::quote(&name))));
            }
            if log_start < at || log_end < log_start || log_end > log_bytes {
                let name = Refusal::quote(&name);
                return Err(malformed(format!("step `{name}` has a section that is not behind the others in the log")));
            }
            at = log_end;
            let read = |word: String| {
                let outcome = outcome(&word, code, reason, reason_code.as_deref())?;
                let is_lost = matches!(outcome, Outcome::Lost(_));
                if is_lost { Err(malformed("a step is never `lost` alone")) } else { Ok(outcome) }
            };
            let outcome = word.map(read).transpose()?;
            Ok(StepRecord { name, outcome, duration_ms, log: log_start..log_end })
        };
    steps.into_iter().map(read).collect()
}

pub(crate) fn log_summary(bytes: u64, crc32: u32, missing: Option<String>) -> Result<LogSummary, Refusal> {
    if bytes == 0 && crc32 != 0 {
        return Err(malformed("a stream of no bytes has the checksum 0"));
    }
    Ok(LogSummary { bytes, crc32, missing: missing.map(cut) })
}

/// Returns the message for a command of the scheduler. `stored` has the number of stored bytes of each stream, `place`
/// what is known of a lease's repository.
pub(crate) fn to_runner(message: RunnerCommand, stored: &StoredBytes, place: Option<&RepoPlace>) -> wire::ToRunner {
    match message {
        RunnerCommand::Registered { held, gone, drained } => {
            let offset = |lease: &Lease| {
                let offset = stored.get(&StreamId::log(lease.attempt)).copied().unwrap_or(0);
                LogOffset { attempt: lease.attempt.0, stream: StreamName::Log, offset }
            };
            wire::ToRunner::Registered { gone: numbers(gone), logs: held.iter().map(offset).collect(), drained }
        }
        RunnerCommand::NameTaken { runner } => {
            let reason = RefusalReason::NameTaken { runner };
            wire::ToRunner::Error(Refusal::new(ErrorCode::NameTaken, reason.to_string()).because(reason.code()))
        }
        RunnerCommand::Lease(lease) => wire::ToRunner::Runtask(Box::new(runtask(&lease, place))),
        RunnerCommand::Cancel { attempt } => wire::ToRunner::Cancel { attempt: attempt.0 },
        RunnerCommand::Recorded { attempt } => wire::ToRunner::Ok { attempt: attempt.0 },
        RunnerCommand::Stale { attempt } => wire::ToRunner::Stale { attempt: attempt.0 },
        RunnerCommand::Ack { gone } => wire::ToRunner::Ack { gone: numbers(gone) },
        RunnerCommand::Drain => wire::ToRunner::Drain,
    }
}

/// Changes the name of a cell in a lease to one of earlier versions: a runner that does not know cells refuses `@`.
pub(crate) fn with_plain_name(mut message: wire::ToRunner) -> wire::ToRunner {
    if let wire::ToRunner::Runtask(lease) = &mut message
        && let Ok(task) = &mut lease.task
    {
        task.name = task.name.replace('@', ".").replace([',', '+', '=', ':'], "-");
    }
    message
}

fn numbers(attempts: Vec<AttemptId>) -> Vec<u64> {
    attempts.into_iter().map(|attempt| attempt.0).collect()
}

fn runtask(lease: &Lease, place: Option<&RepoPlace>) -> Runtask {
    let trigger = &lease.source.trigger;
    let (branch, reference) = trigger.reference.written();
    Runtask {
        attempt: lease.attempt.0,
        lease_ms: lease.lease_ms,
        build: lease.build.0,
        number: lease.number,
        repo: lease.source.repo.to_string(),
        branch,
        reference,
        event: Some(trigger.event().to_owned()),
        trusted: Some(trigger.trust == Trust::Trusted),
        default_branch: place.and_then(|place| place.default_branch.as_ref()).map(BranchName::to_string),
        slots: lease.task.placement.slots.0,
        before: trigger.before().map(|commit| commit.to_string()),
        commit: lease.source.commit.to_string(),
        // A store may have the credentials that an observer of another make once told.
        url: place.and_then(|place| place.url.as_deref()).map(without_secrets),
        task: Ok(WireTask { name: lease.task.name.to_string(), recipe: lease.task.recipe.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What runners of version 1 send is taken; a result that contradicts itself is not.
    #[test]
    fn a_result_says_what_its_outcome_needs_and_nothing_against_it() {
        let read = |word: &str, code, reason: Option<&str>| outcome(word, code, reason.map(str::to_owned), None);
        for (word, code, reason) in [
            ("passed", None, None),
            ("passed", Some(0), None),
            ("failed", Some(1), None),
            ("failed", Some(255), None),
            ("killed", Some(1), None),
            ("killed", Some(64), None),
            ("timed_out", None, None),
            ("cancelled", Some(143), None),
            ("could_not_start", None, Some("no such program")),
            ("lost", None, Some("the disk is full")),
        ] {
            assert_eq!(read(word, code, reason).unwrap().word(), word);
        }
        for (word, code, reason) in [
            ("passed", Some(1), None),
            ("failed", None, None),
            ("failed", Some(0), None),
            ("failed", Some(-1), None),
            ("failed", Some(256), None),
            ("killed", None, Some("SEGV")),
            ("killed", Some(0), None),
            ("killed", Some(65), None),
            ("killed", Some(999), None),
            ("could_not_start", None, None),
            ("could_not_start", Some(127), Some(" ")),
            ("lost", None, None),
            ("lost", None, Some("")),
            ("exploded", None, None),
        ] {
            let refusal = read(word, code, reason).unwrap_err();
            assert!(refusal.code == ErrorCode::Malformed && refusal.text.contains(word), "{word}: {}", refusal.text);
        }
        let text = read("failed", Some(0), None).unwrap_err().text;
        assert_eq!(text, "a result of `failed` has an exit code from 1 to 255 as its `code`, not 0");
        assert!(read(&"x".repeat(1 << 20), None, None).unwrap_err().text.len() < 200);
        let Outcome::Lost(reason) = read("lost", None, Some(&"é".repeat(1000))).unwrap() else { panic!() };
        assert_eq!(reason.to_string().len(), MAX_SENTENCE_BYTES);
    }

    #[test]
    fn the_streams_of_a_result_are_named_once_and_agree_with_their_lengths() {
        let end = |name: &str, bytes, crc32| StreamEnd { stream: name.to_owned().into(), bytes, crc32, missing: None };
        let read = |others| streams(LogSummary::default(), others);
        assert_eq!(read(vec![end("report", 3, 5), end("other", 0, 0)]).unwrap().len(), 3);
        for others in [vec![end("report", 0, 5)], vec![end("a", 1, 1), end("a", 1, 1)], vec![end("log", 0, 0)]] {
            assert_eq!(read(others).unwrap_err().code, ErrorCode::Malformed);
        }
        assert!(log_summary(0, 1, None).is_err() && log_summary(0, 0, None).is_ok());
    }

    #[test]
    fn a_branch_that_git_does_not_allow_is_refused_and_ends_no_session() {
        assert_eq!(branch("release/1.x").unwrap().as_str(), "release/1.x");
        for name in ["a..b", "a\0b", "HEAD", "~", "x.lock", "", &"x".repeat(MAX_BRANCH_BYTES + 1)] {
            let refusal = branch(name).unwrap_err();
            assert_eq!(refusal.code, ErrorCode::Refused);
            assert!(refusal.text.len() < 300, "{}", refusal.text);
        }
        assert_eq!(
            branch("a\0b").unwrap_err().text,
            "`a\\0b` is no name of a branch: git does not allow it, see git-check-ref-format(1)"
        );
        assert!(source(&"x".repeat(MAX_SOURCE_BYTES)).is_ok() && source(&"x".repeat(MAX_SOURCE_BYTES + 1)).is_err());
    }

    #[test]
    fn the_times_of_a_piece_are_counted_back_from_its_arrival() {
        let times = |ages: &[(u64, u64)]| times_of_piece(100, 50, ages, WallTime(9000));
        assert_eq!(times(&[]), [(100, 9000)]);
        assert_eq!(times(&[(0, 2000), (10, 1)]), [(100, 7000), (110, 8999)]);
        assert_eq!(times(&[(0, u64::MAX), (50, 1)]), [(100, 0)], "what is behind the piece does not count");
    }
}
