//! The reasons of decisions: why an attempt was lost, a job skipped, cancelled or left out, and what was decided then.

use std::fmt::{Display, Formatter, Result};

use super::phrases::{count, join, person};
use crate::model::reason::{
    CancelReason, ChangeReason, DecisionKind, ErrorReason, LeftOutReason, LossReason, LostWith, MissingFit,
    PlacementReason, Quarantine, SecretDenial, SkipReason, TaskFailure, TimeoutReason,
};
use crate::model::{Ability, BuildId, ServiceFailure, visible};

impl Display for LossReason {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::ConnectionClosed => f.write_str("its runner's connection closed and it did not come back"),
            Self::Silent { silent_ms } => write!(f, "its runner was silent for {} s", silent_ms / 1000),
            Self::LeaseExpired => f.write_str("its lease ran out"),
            Self::RunnerRestarted => f.write_str("its runner restarted"),
            Self::NotHeld => f.write_str("its runner came back without it"),
            Self::RunnerStopped => f.write_str("its runner was stopped"),
            Self::DiskFull { text }
            | Self::SourceMissing { text }
            | Self::CutOff { text }
            | Self::Interrupted { text }
            | Self::Reported { text } => f.write_str(text),
            Self::Recorded(it) => f.write_str(&it.text),
        }
    }
}

impl Display for TimeoutReason {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Whole => f.write_str("it reached its timeout"),
            Self::Quiet { text } | Self::Step { text } => f.write_str(text),
            Self::Recorded(it) => f.write_str(&it.text),
        }
    }
}

impl Display for PlacementReason {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Self::CommitWarm => "its tree is at this commit already",
            Self::RepoWarm => "it has this repository already",
            Self::FreeSlot => "it had a free slot",
            Self::Recorded(it) => &it.text,
        })
    }
}

impl Display for ErrorReason {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::GivenUp { losses, with } => {
                write!(f, "given up after {losses} lost attempts: {}", join(with, ", "))?;
                // Which runners those were is not known any more after a restart.
                match u64::from(*losses).saturating_sub(with.len() as u64) {
                    0 => Ok(()),
                    earlier => write!(f, ", and {earlier} before the last restart"),
                }
            }
            Self::NeverStarted { attempts, last: LostWith { runner, reason } } => {
                write!(f, "given up after {attempts} attempts that came to nothing, the last on {runner}: {reason}")
            }
            Self::NoRunnerFits { waited_ms, fit } => {
                write!(f, "no runner for it within {} s: {fit}", waited_ms / 1000)
            }
            Self::CouldNotStart { text } => write!(f, "could not start: {text}"),
            Self::BrokenTasks { text } => write!(f, "the tasks that it wrote have a mistake: {text}"),
            Self::TooManyTasks { tasks, limit } => {
                write!(f, "with the tasks that it wrote the build would have {tasks}, and may have at most {limit}")
            }
            Self::ServiceNotReady { service, failure, last_lines } => {
                write!(f, "its service {} {failure}", visible(service))?;
                if matches!(failure, ServiceFailure::ExitCode { .. } | ServiceFailure::Signal { .. }) {
                    f.write_str(" before it was ready")?;
                }
                if last_lines.is_empty() {
                    return Ok(());
                }
                let lines: Vec<String> = last_lines.iter().map(|line| visible(line)).collect();
                write!(f, "; its log ends: {}", lines.join(" / "))
            }
            Self::SecretDenied { secret, denial } => {
                write!(f, "it may not have the secret {}: {denial}", visible(secret))
            }
            Self::Recorded(it) => f.write_str(&it.text),
        }
    }
}

impl Display for ServiceFailure {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::CouldNotStart { text } => write!(f, "could not start: {}", visible(text)),
            Self::ExitCode { exit_code } => write!(f, "ended with exit code {exit_code}"),
            Self::Signal { signal } => write!(f, "was ended by signal {signal}"),
            Self::NotReady { timeout_ms, last_try } => {
                write!(f, "was not ready within {} s", seconds(*timeout_ms))?;
                match last_try {
                    Some(code) => write!(f, " (the last try of its `ready` ended with exit code {code})"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// Returns a time in seconds, with the fraction that it has.
fn seconds(ms: u64) -> f64 {
    std::time::Duration::from_millis(ms).as_secs_f64()
}

impl Display for SecretDenial {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Unknown => f.write_str("there is none of that name for this repository (surveil secret list)"),
            Self::Untrusted => f.write_str("secrets go to trusted builds only, and this one is not"),
            Self::Ref { what, allowed } => {
                write!(f, "its rule allows the refs {}, and this build is of {what}", join(allowed, ", "))
            }
            Self::Task { allowed } => write!(f, "its rule allows the tasks {}", join(allowed, ", ")),
            Self::Runner { runner, label } => {
                write!(
                    f,
                    "its rule asks for a runner whose credential has the label {label}, and that of {runner} has not"
                )
            }
            Self::Connection { runner } => {
                write!(f, "the connection to {runner} is not encrypted (join it with a token, or name the pin)")
            }
            Self::Nul => f.write_str("it has a NUL byte, which no variable can hold: ask for it with `file = true`"),
            Self::TooLong { limit } => {
                write!(f, "the secrets of one task are at most {} KiB together", limit >> 10)
            }
            Self::Sealed => f.write_str("the dispatcher's key does not open it: set it again, or bring the key back"),
        }
    }
}

impl Display for LostWith {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} ({})", self.runner, self.reason)
    }
}

impl Display for MissingFit {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::NoRunner => f.write_str("no runner is connected"),
            Self::Drained { runners, more } => {
                let which = if runners.len() + more == 1 {
                    "the connected runner that fits is drained"
                } else {
                    "all connected runners that fit are drained"
                };
                let more = if *more == 0 { String::new() } else { format!(" and {more} more") };
                write!(f, "{which} ({}{more})", join(runners, ", "))?;
                runners.first().iter().try_for_each(|runner| write!(f, ": `surveil resume {runner}` gives it jobs"))
            }
            Self::Labels { labels } => match labels.as_slice() {
                [one] => match Ability::word_of(one) {
                    Some(_) if let Some(offer) = Ability::of_label(one).and_then(Ability::offer) => {
                        write!(f, "no connected runner offers {offer}")
                    }
                    Some(ability) => write!(f, "no connected runner knows `{ability}`: their programs are too old"),
                    None => write!(f, "no connected runner offers the label {one}"),
                },
                many => write!(f, "no connected runner offers the labels {}", join(many, ", ")),
            },
            Self::Tier { asked, most, runners, more } => {
                let (asked, most) = (asked.word(), most.word());
                let more = if *more == 0 { String::new() } else { format!(" and {more} more") };
                write!(f, "it asks for isolation `{asked}`, and no connected runner that fits offers more than ")?;
                write!(f, "`{most}` ({}{more})", join(runners, ", "))
            }
            Self::Combination { labels } => {
                write!(f, "no single connected runner offers all of its labels ({})", join(labels, ", "))
            }
            Self::Slots { slots, largest } => {
                write!(f, "no connected runner that fits has {slots} slots, the largest has {largest}")
            }
        }
    }
}

impl Display for SkipReason {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::NeedNotPassed { task, how: _ } => write!(f, "{task} did not pass"),
            Self::Recorded(it) => f.write_str(&it.text),
        }
    }
}

impl Display for CancelReason {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Asked { by } => write!(f, "{} cancelled it", visible(by)),
            Self::FailFast { task } => write!(f, "{task} failed, and the build stops at its first failure"),
            Self::BuildTimedOut { timeout_ms } => {
                write!(f, "the build took longer than its timeout of {} s", timeout_ms / 1000)
            }
            Self::RefDeleted { what } => write!(f, "{what} was deleted"),
            Self::Superseded { by } => write!(f, "build {by} superseded this one"),
            Self::Recorded(it) => f.write_str(&it.text),
        }
    }
}

impl Display for LeftOutReason {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::NotOnRef { what } => write!(f, "it does not run for {what}"),
            Self::NotForEvent { event } => write!(f, "it does not run for the event {event}"),
            Self::NothingChanged { since, build, globs } => {
                write!(f, "no file matching {} changed {}", glob_words(globs), Since(since, *build))
            }
            Self::NotAsked => f.write_str("nobody asked for it"),
            Self::NothingFailed => f.write_str("it runs after a failure, and nothing that it needs failed"),
            Self::Recorded(it) => f.write_str(&it.text),
        }
    }
}

/// Names the first globs, and then those that take back.
fn glob_words(globs: &[String]) -> String {
    let named = |globs: Vec<&str>| match globs.get(..4) {
        Some(_) => format!("{}, …", globs[..3].join(", ")),
        None => globs.join(", "),
    };
    let chosen = named(globs.iter().map(String::as_str).filter(|glob| !glob.starts_with('!')).collect());
    let taken_back = named(globs.iter().filter_map(|glob| glob.strip_prefix('!')).collect());
    if taken_back.is_empty() { chosen } else { format!("{chosen} but not {taken_back}") }
}

/// The commit and the build in which a task passed last.
struct Since<'a>(&'a str, BuildId);

impl Display for Since<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self(commit, build) = self;
        write!(f, "since {} passed ({build})", commit.get(..7).unwrap_or(commit))
    }
}

impl Display for ChangeReason {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::NoPass => f.write_str("it has not passed here before"),
            Self::PathChanged { path, since, build } => write!(f, "{path} changed {}", Since(since, *build)),
            Self::ManyChanged { since, build } => write!(f, "very many files changed {}", Since(since, *build)),
            Self::DefinitionChanged { since, build } => {
                write!(f, "the task itself changed {}", Since(since, *build))
            }
            Self::NotComparable { since, build } => {
                write!(f, "what changed {} cannot be read any more", Since(since, *build))
            }
            Self::Recorded(it) => f.write_str(&it.text),
        }
    }
}

impl Display for TaskFailure {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::ExitCode { exit_code } => write!(f, "failed with exit code {exit_code}"),
            Self::Signal { signal } => write!(f, "killed by signal {signal}"),
            Self::TimedOut => f.write_str("timed out"),
        }
    }
}

impl Display for DecisionKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Lost { runner, reason, loss_of, quarantine } => {
                write!(f, "lost on {runner}: {reason}; queued again")?;
                loss_of.iter().try_for_each(|(losses, limit)| write!(f, " (loss {losses} of {limit})"))?;
                quarantine.iter().try_for_each(|quarantine| write!(f, "; {runner} is {quarantine}"))
            }
            Self::Retried { failure, next, tries, delay_ms } => {
                let (retry, retries) = (next.saturating_sub(1), tries.saturating_sub(1));
                let when = if *delay_ms == 0 { String::new() } else { format!(" in {} s", delay_ms.div_ceil(1000)) };
                write!(f, "{failure}: queued again{when} (retry {retry} of {retries})")
            }
            Self::NotRetried { failure } => {
                write!(f, "{failure}: not tried again, because `retry` of the task does not name this failure")
            }
            Self::GaveUp { reason } => reason.fmt(f),
            Self::Chosen { reason } => write!(f, "chosen: {reason}"),
            Self::Started { by, inputs, newer, reopened: _ } => {
                write!(f, "started by {}", visible(by))?;
                for (at, (name, value)) in inputs.iter().enumerate() {
                    let before = if at == 0 { " with" } else { "," };
                    write!(f, "{before} {}={}", visible(name), visible(value))?;
                }
                newer.iter().try_for_each(|newer| write!(f, ", although build {newer} is newer"))
            }
            Self::Expanded { tasks } => write!(f, "{} that it wrote joined the build", count(*tasks, "task")),
            Self::CancelAsked { by } => write!(f, "cancelled by {}", person(by.as_deref())),
            Self::Cancelled { reason } => write!(f, "cancelled: {reason}"),
            Self::RerunAsked { by } => write!(f, "run again by {}", person(by.as_deref())),
            Self::Recorded(it) => f.write_str(&it.text),
        }
    }
}

impl Display for Quarantine {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { rest_ms, failures, last } = self;
        let seconds = rest_ms.div_ceil(1000);
        write!(f, "in quarantine for {seconds} s more: {failures} failures in a row with different commits, ")?;
        write!(f, "the last: {last}")
    }
}
