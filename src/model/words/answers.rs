//! The history of a build, and the answers to orders: done, refused, closed.

use std::fmt::{Display, Formatter, Result};

use super::phrases::{count, outcome_detail, outcome_words, person, taking_turns, until_resumed};
use crate::model::reason::{CloseReason, HistoryEntry, LossReason, NamedJobs, OrderDone, RefusalReason};
use crate::model::{Verdict, visible};

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
            Self::Submitted { commit, by } => {
                write!(f, "{} asked for a build of {}", person(by.as_deref()), commit.short())
            }
            Self::Tried { commit, by } => {
                write!(f, "{} tried uncommitted work, which is {}", person(by.as_deref()), commit.short())
            }
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
                let was = if *verdict == Verdict::Cancelled { "was " } else { "" };
                write!(f, "the build {was}{}", verdict.word())?;
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
            Self::CellsStarted { build, task, cells, total, waits } => {
                match cells == total {
                    true => write!(f, "build {build}: all {cells} cells of {task} ")?,
                    false => write!(f, "build {build}: {cells} of {total} cells of {task} ")?,
                }
                f.write_str(match (cells, waits) {
                    (1, false) => "is started",
                    (_, false) => "are started",
                    (1, true) => "starts when what it needs has ended",
                    (_, true) => "start when what they need has ended",
                })
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
