//! The history of a build: its events and the decisions about it, a sentence each.

use std::collections::BTreeSet;

use super::views::Views;
use crate::config::time_of_day;
use crate::model::reason::HistoryEntry;
use crate::model::{Attempt, BranchName, Build, Ending, JobId, JobState, Outcome, TaskName, TriggerKind, WallTime};
use crate::store::{LateResult, Sequence, StoreError};

/// One line of a history.
pub(crate) struct HistoryLine {
    pub(crate) at: Option<WallTime>,
    pub(crate) task: Option<TaskName>,
    pub(crate) entry: HistoryEntry,
    /// Its place in the order of what happened.
    pub(crate) seq: Option<u64>,
}

/// Returns the history of a build, or of some of its jobs, oldest first.
pub(super) fn of_build(
    views: &Views<'_>,
    build: &Build,
    only: Option<&BTreeSet<JobId>>,
) -> Result<Vec<HistoryLine>, StoreError> {
    let reader = views.reader;
    let jobs = reader.jobs(build.id)?;
    let task = |id: JobId| jobs.iter().find(|job| job.id == id).map(|job| job.task.name.clone());
    let wanted = |id: Option<JobId>| only.is_none_or(|only| id.is_none_or(|id| only.contains(&id)));
    let Sequence { end, attempts: of_attempts } = reader.sequence(build.id)?;
    let mut lines = Lines::default();
    lines.0.push(((0, WallTime(i64::MIN), 0), announced(build)));
    let attempts = reader.attempts(build.id)?;
    for LateResult { attempt, outcome, at, seq } in reader.late_results(build.id)? {
        if let Some(Attempt { number, job, .. }) = attempts.iter().find(|it| it.id == attempt && wanted(Some(it.job))) {
            let entry = HistoryEntry::LateResult { number: *number, outcome };
            lines.add(2, seq, Some(at), task(*job), entry);
        }
    }
    for attempt in attempts.into_iter().filter(|attempt| wanted(Some(attempt.job))) {
        let (number, runner, task) = (attempt.number, views.runner(attempt.runner), task(attempt.job));
        let [leased, ended] = of_attempts.get(&attempt.id).copied().unwrap_or_default();
        let lease = HistoryEntry::Leased { number, runner: runner.clone(), reason: attempt.reason };
        lines.add(3, leased, Some(attempt.leased_at), task.clone(), lease);
        match (attempt.finished_at, attempt.outcome) {
            // The decision about a loss tells of it already.
            (_, None | Some(Outcome::Lost(_))) | (None, _) => {}
            (at, Some(outcome)) => lines.add(1, ended, at, task, HistoryEntry::Ended { number, runner, outcome }),
        }
    }
    for (seq, decision) in reader.decisions(build.id)?.into_iter().filter(|(_, decision)| wanted(decision.job)) {
        let task = decision.job.and_then(task);
        lines.add(2, seq, Some(decision.at), task, HistoryEntry::Decided(decision.kind));
    }
    for job in jobs.iter().filter(|job| wanted(Some(job.id))) {
        let entry = match &job.state {
            JobState::Finished(Ending::Skipped(reason)) => HistoryEntry::Skipped((**reason).clone()),
            JobState::Finished(Ending::LeftOut(reason)) => HistoryEntry::LeftOut((**reason).clone()),
            JobState::Waiting | JobState::Held | JobState::Queued | JobState::Leased(_) | JobState::Finished(_) => {
                continue;
            }
        };
        lines.add(4, end, build.finished_at, Some(job.task.name.clone()), entry);
    }
    if let Some(verdict) = build.verdict {
        let entry = HistoryEntry::BuildFinished { verdict, problem: build.problem.clone() };
        lines.add(5, end, build.finished_at, None, entry);
    }
    lines.0.sort_by_key(|(place, _)| *place);
    Ok(lines.0.into_iter().map(|(_, line)| line).collect())
}

/// The lines of a build's history, each with its place: the number of its row in the order of writing, its time, its
/// rank. Rows from before there was an order come first, by their time and, within a millisecond, by rank: outcomes,
/// decisions about them, new leases.
#[derive(Default)]
struct Lines(Vec<((u64, WallTime, u8), HistoryLine)>);

impl Lines {
    fn add(&mut self, rank: u8, seq: Option<u64>, at: Option<WallTime>, task: Option<TaskName>, entry: HistoryEntry) {
        let place = match (seq, at) {
            (Some(seq), _) => (seq, WallTime(0), rank),
            (None, Some(at)) => (0, at, rank),
            // A job that was skipped while its build goes on has neither, and comes last.
            (None, None) => (u64::MAX, WallTime(0), rank),
        };
        self.0.push((place, HistoryLine { at, task, entry, seq }));
    }
}

fn announced(build: &Build) -> HistoryLine {
    let source = &build.source;
    let (branch, to) = (BranchName::new(source.trigger.reference.short()), source.commit);
    let entry = match &source.trigger.kind {
        TriggerKind::Push { before: None, .. } => HistoryEntry::BranchAppeared { branch, commit: to },
        TriggerKind::Push { before: Some(from), commits, .. } => {
            HistoryEntry::BranchMoved { branch, from: *from, to, commits: *commits }
        }
        TriggerKind::Tag { before, .. } | TriggerKind::Ref { before, .. } => {
            HistoryEntry::RefMoved { reference: source.trigger.reference.clone(), from: *before, to }
        }
        TriggerKind::Schedule { name, due, timezone } => {
            HistoryEntry::Scheduled { name: name.clone(), due: time_of_day(*due, timezone) }
        }
        TriggerKind::Manual { by, .. } => HistoryEntry::Submitted { commit: to, by: by.clone() },
        TriggerKind::Try { by, .. } => HistoryEntry::Tried { commit: to, by: by.clone() },
    };
    HistoryLine { at: Some(build.created_at), task: None, entry, seq: None }
}
