//! The history of a build: what happened to it and what was decided about it, a sentence each.

use super::views::Views;
use crate::model::{Build, Ending, JobId, JobState, Outcome, TaskName, TriggerKind, WallTime};
use crate::store::{Reader, StoreError};

/// One line of a history.
pub(crate) struct HistoryLine {
    pub(crate) at: Option<WallTime>,
    pub(crate) task: Option<TaskName>,
    pub(crate) text: String,
}

/// What was decided about a build, or about one job of it, oldest first.
pub(super) fn of_build(
    reader: &dyn Reader,
    views: &Views<'_>,
    build: &Build,
    only: Option<JobId>,
) -> Result<Vec<HistoryLine>, StoreError> {
    let jobs = reader.jobs(build.id)?;
    let task = |id: JobId| jobs.iter().find(|job| job.id == id).map(|job| job.task.name.clone());
    let wanted = |id: Option<JobId>| only.is_none() || id == only || id.is_none();
    // What happens in one millisecond is told in this order: outcomes, what was decided about them, new leases.
    let mut lines = vec![(0, announced(build))];
    for attempt in reader.attempts(build.id)?.iter().filter(|attempt| wanted(Some(attempt.job))) {
        let (number, runner) = (attempt.number, views.runner(attempt.runner));
        let line = |at: WallTime, text: String| HistoryLine { at: Some(at), task: task(attempt.job), text };
        let text = format!("attempt {number} went to {runner}: {}", attempt.reason);
        lines.push((3, line(attempt.leased_at, text)));
        match (attempt.finished_at, &attempt.outcome) {
            // A loss is told by the decision about it.
            (_, None | Some(Outcome::Lost(_))) | (None, _) => {}
            (Some(at), Some(outcome)) => {
                let detail = outcome_detail(outcome).map(|detail| format!(" ({detail})")).unwrap_or_default();
                let text = format!("attempt {number} on {runner}: {}{detail}", outcome.word());
                lines.push((1, line(at, text)));
            }
        }
    }
    for (attempt, outcome, at) in reader.late_results(build.id)? {
        let text = format!("a late result of {attempt} ({}) was kept and counts for nothing", outcome.word());
        lines.push((2, HistoryLine { at: Some(at), task: None, text }));
    }
    for decision in reader.decisions(build.id)?.into_iter().filter(|decision| wanted(decision.job)) {
        let text = decision.text.to_string();
        lines.push((2, HistoryLine { at: Some(decision.at), task: decision.job.and_then(task), text }));
    }
    for job in jobs.iter().filter(|job| wanted(Some(job.id))) {
        if let JobState::Finished(Ending::Skipped(why)) = &job.state {
            let text = format!("skipped: {why}");
            lines.push((4, HistoryLine { at: build.finished_at, task: Some(job.task.name.clone()), text }));
        }
    }
    if let (Some(at), Some(verdict)) = (build.finished_at, build.verdict) {
        let problem = build.problem.as_ref().map(|problem| format!(": {problem}")).unwrap_or_default();
        let text = format!("the build {}{problem}", verdict.word());
        lines.push((5, HistoryLine { at: Some(at), task: None, text }));
    }
    lines.sort_by_key(|(rank, line)| (line.at.map_or(i64::MAX, |at| at.0), *rank));
    Ok(lines.into_iter().map(|(_, line)| line).collect())
}

fn announced(build: &Build) -> HistoryLine {
    let source = &build.source;
    let (commit, branch) = (source.commit.short(), source.trigger.reference.short());
    let text = match &source.trigger.kind {
        TriggerKind::Push { before: None, .. } => format!("{commit} was the first commit seen of branch {branch}"),
        TriggerKind::Push { before: Some(before), range } => {
            let commits = if range.len() == 1 { "commit" } else { "commits" };
            format!("branch {branch} moved from {} to {commit}, {} {commits}", before.short(), range.len())
        }
    };
    HistoryLine { at: Some(build.created_at), task: None, text }
}

/// What goes with an outcome, in words.
pub(crate) fn outcome_detail(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Failed(code) => Some(format!("exit code {code}")),
        Outcome::Killed(signal) => Some(format!("signal {signal}")),
        Outcome::CouldNotStart(why) | Outcome::Lost(why) => Some(why.clone()),
        Outcome::Passed | Outcome::TimedOut | Outcome::Cancelled => None,
    }
}
