//! The things that jobs wait for, the warnings of a status, and the notices in the log.

use std::fmt::{Display, Formatter, Result};

use super::phrases::{are, count, drained_words, join, outcome_words};
use crate::model::reason::{AttemptStatus, Concern, FirstInLine, JobStatus, Notice, Quarantine};

impl Display for JobStatus {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::WaitsForNeeds { open } => {
                let open: Vec<String> = open.iter().map(|(task, state)| format!("{task} ({})", state.word())).collect();
                write!(f, "waits for what it needs: {}", open.join(", "))
            }
            Self::Held { needs } => match needs.as_slice() {
                [] => f.write_str("held until somebody starts it"),
                held => write!(f, "held until somebody starts what it needs: {}", join(held, ", ")),
            },
            Self::NoRunnerFits { waited_ms, fit } => write!(f, "queued for {} s: {fit}", waited_ms / 1000),
            Self::Paused { waited_ms, again_ms } => {
                let (waited, again) = (waited_ms / 1000, again_ms.div_ceil(1000));
                write!(f, "queued for {waited} s: it came to nothing repeatedly and is tried again in {again} s")
            }
            Self::RetryDelayed { again_ms } => write!(f, "failed, and is tried again in {} s", again_ms.div_ceil(1000)),
            Self::RunnersRest { waited_ms, runners } => {
                let rest = |(runner, quarantine): &(_, Option<Quarantine>)| match quarantine {
                    Some(quarantine) => format!("{runner} is {quarantine}"),
                    None => format!("{runner} rests for a moment after a failure of infrastructure"),
                };
                let runners: Vec<String> = runners.iter().map(rest).collect();
                write!(f, "queued for {} s: {}", waited_ms / 1000, runners.join("; "))
            }
            Self::WaitsForTurn { waited_ms, first } => {
                write!(f, "queued for {} s: the task is exclusive, and {first}", waited_ms / 1000)
            }
            Self::WaitsForGroup { waited_ms, group, limit, task, first, before } => {
                write!(f, "queued for {} s: group {group}", waited_ms / 1000)?;
                if *limit > 1 {
                    write!(f, " ({limit} at a time)")?;
                }
                f.write_str(": ")?;
                if let Some(task) = task {
                    write!(f, "{task} of ")?;
                }
                match first {
                    FirstInLine::Attempt { build, runner, is_cancelled: false, .. } => {
                        write!(f, "build {build} runs on {runner}")?;
                    }
                    FirstInLine::Attempt { build, runner, is_cancelled: true, .. } => {
                        write!(f, "build {build}, which was cancelled, is still being ended on {runner}")?;
                    }
                    FirstInLine::Job { .. } | FirstInLine::Doubt { .. } => write!(f, "{first}")?,
                }
                match *before as u64 {
                    0 => Ok(()),
                    before if before <= u64::from(*limit) => f.write_str("; next in the group"),
                    before => write!(f, "; {} of the group come before it", count(before, "job")),
                }
            }
            Self::InQueue { waited_ms, before, only } => {
                let place = match *before as u64 {
                    0 => "next in the queue".to_owned(),
                    before => format!("{} before it", count(before, "job")),
                };
                write!(f, "queued for {} s: {place}, no fitting runner has a free slot", waited_ms / 1000)?;
                if only.is_empty() { Ok(()) } else { write!(f, " (it fits {})", join(only, ", ")) }
            }
            Self::WaitsForSlots { waited_ms, slots, runner, free } => {
                let free = if *free == 1 { "1 is free".to_owned() } else { format!("{free} are free") };
                let waited = waited_ms / 1000;
                write!(
                    f,
                    "queued for {waited} s: it needs {slots} slots, and {runner} is kept for it until then: {free}"
                )
            }
            Self::SlotsKept { waited_ms, runner, build, task, slots } => {
                let waited = waited_ms / 1000;
                write!(f, "queued for {waited} s: the free slots of {runner} are kept for {build}/{task}, ")?;
                write!(f, "which needs {slots}")
            }
            Self::Running { number, runner, status } => {
                write!(f, "attempt {number} runs on {runner}")?;
                match status {
                    AttemptStatus::FetchingSource => f.write_str(", which fetches the source"),
                    AttemptStatus::Executing => Ok(()),
                    AttemptStatus::RunnerAway { left_ms } => {
                        let left = left_ms / 1000;
                        write!(f, ", which is away; if it is not back within {left} s, another gets the job")
                    }
                }
            }
        }
    }
}

impl Display for FirstInLine {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Attempt { build, number, runner, is_cancelled: false } => {
                write!(f, "attempt {number} of build {build} runs on {runner}")
            }
            Self::Attempt { build, number, runner, is_cancelled: true } => {
                write!(f, "attempt {number} of build {build}, which was cancelled, is still being ended on {runner}")
            }
            Self::Job { build } => write!(f, "build {build} comes first"),
            Self::Doubt { left_ms } => {
                let left = left_ms.div_ceil(1000);
                write!(
                    f,
                    "an attempt that was cancelled before the dispatcher started may not have ended: {left} s more"
                )
            }
        }
    }
}

impl Display for Concern {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::NoRunnerFits(fit) => write!(f, "jobs are queued and {fit}"),
            Self::RunnerRests { runner, rest_ms, quarantine } => {
                write!(f, "runner {runner} gets no jobs for {} s: ", rest_ms.div_ceil(1000))?;
                match quarantine {
                    Some(quarantine) => quarantine.fmt(f),
                    None => f.write_str("infrastructure failed there"),
                }
            }
        }
    }
}

impl Display for Notice {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::BuildAdded { build, repo, reference, commit, tasks } => {
                let branch = reference.short();
                write!(f, "build {build} of {repo} {branch} {}: {}", commit.short(), count(*tasks as u64, "task"))
            }
            Self::BuildFinished { build, repo, reference, verdict, seconds } => {
                let branch = reference.short();
                write!(f, "build {build} of {repo} {branch}: {} after {seconds} s", verdict.word())
            }
            Self::BuildCancelled { build, reason } => write!(f, "build {build} is cancelled: {reason}"),
            Self::RefsNoted { repo, refs, patterns } => {
                write!(f, "first look at {} of {repo}: ", join(patterns, ", "))?;
                write!(f, "{} there already, which {} not built", count(*refs as u64, "ref"), are(*refs))
            }
            Self::RefGone { repo, reference } => write!(f, "{} of {repo} is gone", reference.described()),
            Self::AttemptLost { attempt, job, runner, reason } => {
                write!(f, "attempt {attempt} lost on runner {runner}: {reason}; job {job} queued again")
            }
            Self::LateResult { attempt, outcome } => {
                write!(
                    f,
                    "attempt {attempt}: a late result ({}) is kept and counts for nothing",
                    outcome_words(outcome)
                )
            }
            Self::RunnerJoined { runner, id, slots, holding } => {
                let (slots, held) = (count((*slots).into(), "slot"), count(*holding as u64, "attempt"));
                write!(f, "runner {runner} joined as {id} with {slots}, holding {held}")
            }
            Self::RunnerAway { runner, holding } => {
                write!(f, "runner {runner} is away, holding {}", count(*holding as u64, "attempt"))
            }
            Self::RunnerDraining { runner, holding } => {
                write!(f, "runner {runner} drains: {} to finish", count(*holding as u64, "attempt"))
            }
            Self::RunnerDrained { runner } => write!(f, "runner {runner} is {}", drained_words(runner, None)),
            Self::RunnerResumed { runner } => write!(f, "an operator resumed runner {runner}: it takes jobs again"),
            Self::RunnerQuarantined { runner, quarantine } => write!(f, "runner {runner} is {quarantine}"),
            // There is one pool so far, and it is this machine.
            Self::RunnerStarting { pool: _ } => {
                f.write_str("work waits and no runner that fits is connected: starting one on this machine")
            }
            Self::RunnerNotStarted { pool: _, why } => write!(f, "could not start a runner on this machine: {why}"),
            Self::RunnerEndedEarly { pool: _ } => f.write_str("a runner that was started here ended before it joined"),
            Self::HeldUp { gap_ms } => {
                write!(f, "the dispatcher was held up for {gap_ms} ms: every lease is extended by as much")
            }
        }
    }
}
