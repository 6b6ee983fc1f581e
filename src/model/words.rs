//! Reasons in English: the only file that makes text of them. The dispatcher's reports, answers and log, the store
//! beside each code, and the commands all show these texts.

use std::fmt::{Display, Formatter, Result};

use super::reason::{
    AttemptStatus, CancelReason, ChangeReason, CloseReason, Concern, DecisionKind, ErrorReason, FirstInLine,
    HistoryEntry, JobStatus, LeftOutReason, LossReason, LostWith, MissingFit, NamedJobs, Notice, OrderDone,
    PlacementReason, Quarantine, RefusalReason, SkipReason, TaskFailure, TimeoutReason,
};
use super::{Ability, BuildId, GroupName, LogSummary, Outcome, RunnerName, StepRecord, visible};

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
            Self::Recorded(it) => f.write_str(&it.text),
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
                    Some(ability) => write!(f, "no connected runner knows `{ability}`: their programs are too old"),
                    None => write!(f, "no connected runner offers the label {one}"),
                },
                many => write!(f, "no connected runner offers the labels {}", join(many, ", ")),
            },
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
            Self::CancelAsked => f.write_str("cancelled by an operator"),
            Self::Cancelled { reason } => write!(f, "cancelled: {reason}"),
            Self::RerunAsked => f.write_str("run again by an operator"),
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

impl Display for HistoryEntry {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::BranchAppeared { branch, commit } => {
                write!(f, "{} was the first commit seen of branch {branch}", commit.short())
            }
            Self::BranchMoved { branch, from, to, commits } => {
                write!(f, "branch {branch} moved from {} to {}", from.short(), to.short())?;
                commits.iter().try_for_each(|commits| write!(f, ", {}", count(*commits, "commit")))
            }
            Self::RefMoved { reference, from: None, to } => {
                write!(f, "{} was the first commit seen of {}", to.short(), reference.described())
            }
            Self::RefMoved { reference, from: Some(from), to } => {
                write!(f, "{} moved from {} to {}", reference.described(), from.short(), to.short())
            }
            Self::Scheduled { name, due } => write!(f, "schedule {name} came due ({due})"),
            Self::Submitted { commit } => write!(f, "an operator asked for a build of {}", commit.short()),
            Self::Tried { commit } => write!(f, "an operator tried uncommitted work, which is {}", commit.short()),
            Self::Leased { number, runner, reason } => write!(f, "attempt {number} went to {runner}: {reason}"),
            Self::Ended { number, runner, outcome } => {
                write!(f, "attempt {number} on {runner}: {}", outcome_words(outcome))?;
                outcome_detail(outcome).iter().try_for_each(|detail| write!(f, " ({detail})"))
            }
            Self::LateResult { number, outcome } => {
                write!(
                    f,
                    "a late result of attempt {number} ({}) was kept and counts for nothing",
                    outcome_words(outcome)
                )
            }
            Self::Decided(kind) => kind.fmt(f),
            Self::Skipped(reason) => write!(f, "skipped: {reason}"),
            Self::LeftOut(reason) => write!(f, "left out: {reason}"),
            Self::BuildFinished { verdict, problem } => {
                write!(f, "the build {}", verdict.word())?;
                problem.iter().try_for_each(|problem| write!(f, ": {problem}"))
            }
        }
    }
}

impl Display for RefusalReason {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::NameTaken { runner } => {
                write!(f, "a runner named {runner} is connected already: give this one another --name")
            }
            Self::UnknownBuild { build } => write!(f, "build {build} is no longer there"),
            Self::BuildUnfinished { build } => {
                write!(f, "build {build} is not finished: cancel it first, or wait for it")
            }
            Self::BrokenTasks { build } => write!(f, "build {build} has no jobs: mend its task file in a new commit"),
            Self::NothingRan { build } => {
                write!(f, "nothing of build {build} would run again: its jobs are held or left out")
            }
            Self::NotHeld { build, task, state } => {
                let state = state.word().replace('_', " ");
                write!(f, "{task} of build {build} is not held, so it cannot be started: its state is {state}")
            }
            Self::StillHeld { build, task } => {
                write!(
                    f,
                    "{task} of build {build} is held and has not run: start it with `surveil start {build} {task}`"
                )
            }
            Self::NeedsHeld { build, task, needs } => {
                write!(f, "{task} of build {build} needs {needs}, which is held: start that first")
            }
            Self::UnknownInput { build, task, name, known } => {
                write!(
                    f,
                    "{task} of build {build} takes no input `{}`: ",
                    visible(&name.chars().take(100).collect::<String>())
                )?;
                match known.as_slice() {
                    [] => f.write_str("it takes none"),
                    known => write!(f, "it takes {}", known.join(", ")),
                }
            }
            Self::MissingInputs { build, task, names } => {
                let (all, first) = (names.join(", "), names.first().map_or("NAME", String::as_str));
                write!(f, "{task} of build {build} needs a value for {all}: give it with --set {first}=VALUE")
            }
            Self::NewerBuild { build, task, newer } => {
                write!(f, "build {newer} of the same ref is newer than {build}: --force starts {task} all the same")
            }
            Self::NeedsOther { build, task, needs } => {
                write!(
                    f,
                    "{task} of build {build} needs {needs}, which did not pass: run that again, or all that failed "
                )?;
                write!(f, "with `surveil rerun --failed {build}`")
            }
            Self::NothingFailed { build, task } => {
                write!(f, "{task} of build {build} runs after a failure, and nothing that it needs failed")
            }
            Self::NoJobs { build } => write!(f, "build {build} has no jobs"),
            Self::AllPassed { build, of: None } => {
                write!(f, "all jobs of build {build} passed: nothing to run again")
            }
            Self::AllPassed { build, of: Some(NamedJobs { task, is_matrix: false, .. }) } => {
                write!(f, "{task} of build {build} passed: nothing to run again")
            }
            Self::AllPassed { build, of: Some(NamedJobs { task, .. }) } => {
                write!(f, "all cells of {task} of build {build} passed: nothing to run again")
            }
            Self::StillEnding { build, task, group, number, runner } => {
                let is = taking_turns(group.as_ref());
                write!(f, "build {build}: attempt {number} of {task}, which is {is}, is still being ended on {runner}")
            }
            Self::MayStillRun { build, task, group, wait_ms } => {
                let is = taking_turns(group.as_ref());
                write!(f, "build {build}: {task} is {is} and may not have ended before the dispatcher started: ")?;
                write!(f, "try again in {} s", wait_ms.div_ceil(1000))
            }
        }
    }
}

impl Display for OrderDone {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Cancelled { build, of: None, jobs } => {
                write!(f, "build {build}: {} cancelled", count(*jobs as u64, "job"))
            }
            Self::Cancelled { build, of: Some(NamedJobs { task, is_matrix: false, .. }), .. } => {
                write!(f, "build {build}: {task} cancelled")
            }
            Self::Cancelled { build, of: Some(NamedJobs { task, jobs: named, .. }), jobs } => {
                write!(f, "build {build}: {} of {task} cancelled", count(*jobs as u64, "cell"))?;
                match named.len().saturating_sub(*jobs) {
                    0 => Ok(()),
                    1 => f.write_str("; 1 was finished already"),
                    others => write!(f, "; {others} were finished already"),
                }
            }
            Self::NothingToCancel { build, of: None } => {
                write!(f, "build {build}: it is finished already, nothing was cancelled")
            }
            Self::NothingToCancel { build, of: Some(NamedJobs { task, is_matrix: false, .. }) } => {
                write!(f, "build {build}: {task} is finished already, nothing was cancelled")
            }
            Self::NothingToCancel { build, of: Some(NamedJobs { task, .. }) } => {
                write!(f, "build {build}: all cells of {task} are finished already, nothing was cancelled")
            }
            Self::Rerun { build, of: None, jobs, .. } => {
                write!(f, "build {build}: {} will run again", count(*jobs as u64, "job"))
            }
            Self::Rerun { build, of: Some(NamedJobs { task, is_matrix, .. }), jobs, named } => {
                match is_matrix {
                    false => write!(f, "build {build}: {task} will run again")?,
                    true => write!(f, "build {build}: {} of {task} will run again", count(*named as u64, "cell"))?,
                }
                let them = if *named == 1 { "it" } else { "them" };
                match jobs.saturating_sub(*named) {
                    0 => Ok(()),
                    1 => write!(f, ", and 1 job that depends on {them}"),
                    others => write!(f, ", and {others} jobs that depend on {them}"),
                }
            }
            Self::Started { build, task, waits: false } => write!(f, "build {build}: {task} is started"),
            Self::Started { build, task, waits: true } => {
                write!(f, "build {build}: {task} starts when what it needs has ended")
            }
            Self::Draining { runner, attempts } => {
                match *attempts as u64 {
                    0 => write!(f, "runner {runner} ends")?,
                    attempts => write!(f, "runner {runner} finishes {}, then ends", count(attempts, "attempt"))?,
                }
                write!(f, "; {}", until_resumed(runner))
            }
            Self::Drained { runner } => write!(f, "runner {runner} is drained; {}", until_resumed(runner)),
            Self::DrainedAlready { runner } => {
                write!(f, "runner {runner} was drained already; {}", until_resumed(runner))
            }
            Self::Resumed { runner, ends: false } => write!(f, "runner {runner} takes jobs again"),
            Self::Resumed { runner, ends: true } => {
                write!(f, "runner {runner} takes jobs again once it is started again: its present process still ends")
            }
            Self::Woken { repo, source, observers, old } => {
                match observers {
                    1 => write!(f, "the observer of {repo} looks at {source} now")?,
                    many => write!(f, "{many} observers of {repo} look at {source} now")?,
                }
                match *old as u64 {
                    0 => Ok(()),
                    old => write!(f, "; {} of an older version cannot be woken", count(old, "observer")),
                }
            }
            Self::NotDrained { runner, quarantine: None } => write!(f, "runner {runner} was not drained"),
            Self::NotDrained { runner, quarantine: Some(quarantine) } => {
                write!(f, "runner {runner} was not drained: it is {quarantine}; that ends by itself")
            }
        }
    }
}

impl Display for CloseReason {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Overtaken => f.write_str("its runner has dialled again since"),
            Self::Replaced => f.write_str("its runner came back on a new one"),
            Self::NameTaken { runner } => RefusalReason::NameTaken { runner: runner.clone() }.fmt(f),
            Self::Silent { silent_ms } => LossReason::Silent { silent_ms: *silent_ms }.fmt(f),
        }
    }
}

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
            Self::InQueue { waited_ms, before } => {
                let place = match *before as u64 {
                    0 => "next in the queue".to_owned(),
                    before => format!("{} before it", count(before, "job")),
                };
                write!(f, "queued for {} s: {place}, no fitting runner has a free slot", waited_ms / 1000)
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
            Self::RunnerDrained { runner } => write!(f, "runner {runner} is {}", drained_words(runner)),
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

/// The exit code, the signal or the reason that goes with an outcome.
#[must_use]
pub fn outcome_detail(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Failed(code) => Some(format!("exit code {code}")),
        Outcome::Killed(signal) => Some(format!("signal {signal}")),
        Outcome::CouldNotStart(why) => Some(why.clone()),
        Outcome::Lost(reason) => Some(reason.to_string()),
        Outcome::TimedOut(reason) => reason.detail(),
        Outcome::Passed | Outcome::Cancelled => None,
    }
}

/// Like [`outcome_detail`], of an attempt with these steps: names the step that decided.
#[must_use]
pub fn attempt_detail(outcome: &Outcome, steps: &[StepRecord]) -> Option<String> {
    let detail = outcome_detail(outcome)?;
    // The text of a step's own timeout names it.
    let is_named = matches!(outcome, Outcome::TimedOut(TimeoutReason::Step { .. }));
    let decided = steps.iter().find(|step| step.outcome.as_ref() == Some(outcome) && !is_named);
    Some(decided.map_or_else(|| detail.clone(), |step| format!("{detail} in step `{}`", step.name)))
}

/// Why output of an attempt is missing: the runner or the dispatcher said so, or the attempt was lost and could not
/// deliver all of it. A cancelled attempt's log ends with the cancel, and nothing of it is missing.
#[must_use]
pub fn missing_output(outcome: &Outcome, log: &LogSummary) -> Option<String> {
    match (&log.missing, outcome) {
        (Some(why), _) => Some(why.clone()),
        (None, Outcome::Lost(reason)) => Some(reason.to_string()),
        (None, _) => None,
    }
}

/// Why a drained runner gets no jobs, and how that ends.
#[must_use]
pub fn drained_words(runner: &RunnerName) -> String {
    format!("drained by an operator: no jobs until `surveil resume {runner}`")
}

/// Formats `exclusive`, or `in group staging`: what makes the jobs of a task take turns.
fn taking_turns(group: Option<&GroupName>) -> String {
    group.map_or_else(|| "exclusive".to_owned(), |group| format!("in group {group}"))
}

fn until_resumed(runner: &RunnerName) -> String {
    format!("it gets no jobs until `surveil resume {runner}`")
}

/// The outcome in words: `timed out`.
#[must_use]
pub fn outcome_words(outcome: &Outcome) -> String {
    outcome.word().replace('_', " ")
}

/// The verb for a number of things.
fn are(number: usize) -> &'static str {
    if number == 1 { "is" } else { "are" }
}

/// Formats a number of things: `1 job`, `3 jobs`.
fn count(number: u64, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

fn join<T: Display>(items: &[T], between: &str) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}
