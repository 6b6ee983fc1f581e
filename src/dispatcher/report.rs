//! Reports for operators: what the store remembers and what the scheduler knows, put into the words of the protocol.

use std::collections::HashMap;

use super::data_dir::{DataDir, LogPlace};
use crate::model::{Attempt, Build, Ending, Job, JobId, JobState, Outcome, RunnerId, RunnerName, TriggerKind};
use crate::protocol::operator::{AttemptReport, BuildReport, JobReport, RunnerReport, WhyLine};
use crate::scheduler::RunnerView;
use crate::store::{Reader, StoreError};

/// Makes reports from a store reader.
pub(crate) struct Reports<'a> {
    reader: &'a dyn Reader,
    data: &'a DataDir,
    names: HashMap<RunnerId, RunnerName>,
}

impl<'a> Reports<'a> {
    pub(crate) fn new(reader: &'a dyn Reader, data: &'a DataDir) -> Result<Self, StoreError> {
        let names = reader.runners()?.into_iter().map(|runner| (runner.id, runner.name)).collect();
        Ok(Self { reader, data, names })
    }

    pub(crate) fn build(&self, build: Build) -> Result<BuildReport, StoreError> {
        let jobs = self.reader.jobs(build.id)?;
        let mut attempts: HashMap<JobId, Vec<Attempt>> = HashMap::new();
        for attempt in self.reader.attempts(build.id)? {
            attempts.entry(attempt.job).or_default().push(attempt);
        }
        let jobs: Vec<JobReport> = jobs
            .into_iter()
            .map(|job| {
                let attempts = attempts.remove(&job.id).unwrap_or_default();
                self.job(&build, job, &attempts)
            })
            .collect();
        let state = match build.verdict {
            Some(verdict) => verdict.word(),
            None if jobs.iter().all(|job| matches!(job.state.as_str(), "queued" | "waiting")) => "queued",
            None => "running",
        };
        let trigger = &build.source.trigger;
        Ok(BuildReport {
            build: build.id.0,
            repo: build.source.repo.to_string(),
            branch: trigger.reference.short().to_owned(),
            commit: build.source.commit.to_string(),
            trigger: trigger.kind.word().to_owned(),
            reference: trigger.reference.to_string(),
            trust: trigger.trust.word().to_owned(),
            before: trigger.before().map(|before| before.to_string()),
            subject: build.source.subject,
            author: build.source.author,
            state: state.to_owned(),
            flaky: jobs.iter().any(|job| job.flaky),
            created_ms: build.created_at.0,
            finished_ms: build.finished_at.map(|at| at.0),
            problem: build.problem,
            jobs,
        })
    }

    fn job(&self, build: &Build, job: Job, attempts: &[Attempt]) -> JobReport {
        let detail = match &job.state {
            JobState::Finished(ending) => ending.detail().map(str::to_owned),
            JobState::Waiting | JobState::Queued | JobState::Leased(_) => None,
        };
        JobReport {
            job: job.id.0,
            task: job.task.name.to_string(),
            state: job.state.word().to_owned(),
            detail,
            needs: job.task.placement.needs.iter().map(|need| need.task.to_string()).collect(),
            allow_failure: job.task.placement.allow_failure,
            flaky: job.state == JobState::Finished(Ending::Passed) && job.failures > 0,
            attempts: attempts.iter().map(|attempt| self.attempt(build, &job, attempt)).collect(),
        }
    }

    fn attempt(&self, build: &Build, job: &Job, attempt: &Attempt) -> AttemptReport {
        let path = self.data.log(&LogPlace::of(build, job, attempt.number));
        AttemptReport {
            attempt: attempt.id.0,
            number: attempt.number,
            runner: self.runner(attempt.runner),
            leased_ms: attempt.leased_at.0,
            finished_ms: attempt.finished_at.map(|at| at.0),
            duration_ms: attempt.duration_ms,
            outcome: attempt.outcome.as_ref().map(|outcome| outcome.word().to_owned()),
            detail: attempt.outcome.as_ref().and_then(outcome_detail),
            // A task that printed nothing has no file.
            log_bytes: std::fs::metadata(&path).map_or(0, |meta| meta.len()),
            log_path: path.display().to_string(),
        }
    }

    fn runner(&self, id: RunnerId) -> String {
        self.names.get(&id).map_or_else(|| id.to_string(), ToString::to_string)
    }

    /// What was decided about a build, or about one job of it, oldest first.
    pub(crate) fn history(&self, build: &Build, only: Option<JobId>) -> Result<Vec<WhyLine>, StoreError> {
        let jobs = self.reader.jobs(build.id)?;
        let task = |id: JobId| jobs.iter().find(|job| job.id == id).map(|job| job.task.name.to_string());
        let wanted = |id: Option<JobId>| only.is_none() || id == only || id.is_none();
        // What happens in one millisecond is told in this order: outcomes, what was decided about them, new leases.
        let mut lines = vec![(0, self.announced(build))];
        for attempt in self.reader.attempts(build.id)?.iter().filter(|attempt| wanted(Some(attempt.job))) {
            let (number, runner) = (attempt.number, self.runner(attempt.runner));
            let line = |at: i64, text: String| WhyLine { at_ms: Some(at), task: task(attempt.job), text };
            let text = format!("attempt {number} went to {runner}: {}", attempt.reason);
            lines.push((3, line(attempt.leased_at.0, text)));
            match (attempt.finished_at, &attempt.outcome) {
                // A loss is told by the decision about it.
                (_, None | Some(Outcome::Lost(_))) | (None, _) => {}
                (Some(at), Some(outcome)) => {
                    let detail = outcome_detail(outcome).map(|detail| format!(" ({detail})")).unwrap_or_default();
                    let text = format!("attempt {number} on {runner}: {}{detail}", outcome.word());
                    lines.push((1, line(at.0, text)));
                }
            }
        }
        for (attempt, outcome, at) in self.reader.late_results(build.id)? {
            let text = format!("a late result of {attempt} ({}) was kept and counts for nothing", outcome.word());
            lines.push((2, WhyLine { at_ms: Some(at.0), task: None, text }));
        }
        for decision in self.reader.decisions(build.id)?.into_iter().filter(|decision| wanted(decision.job)) {
            let text = decision.text.to_string();
            lines.push((2, WhyLine { at_ms: Some(decision.at.0), task: decision.job.and_then(task), text }));
        }
        for job in jobs.iter().filter(|job| wanted(Some(job.id))) {
            if let JobState::Finished(Ending::Skipped(why)) = &job.state {
                let text = format!("skipped: {why}");
                let at_ms = build.finished_at.map(|at| at.0);
                lines.push((4, WhyLine { at_ms, task: Some(job.task.name.to_string()), text }));
            }
        }
        if let (Some(at), Some(verdict)) = (build.finished_at, build.verdict) {
            let problem = build.problem.as_ref().map(|problem| format!(": {problem}")).unwrap_or_default();
            let text = format!("the build {}{problem}", verdict.word());
            lines.push((5, WhyLine { at_ms: Some(at.0), task: None, text }));
        }
        lines.sort_by_key(|(rank, line)| (line.at_ms.unwrap_or(i64::MAX), *rank));
        Ok(lines.into_iter().map(|(_, line)| line).collect())
    }

    fn announced(&self, build: &Build) -> WhyLine {
        let source = &build.source;
        let (commit, branch) = (source.commit.short(), source.trigger.reference.short());
        let text = match &source.trigger.kind {
            TriggerKind::Push { before: None, .. } => format!("{commit} was the first commit seen of branch {branch}"),
            TriggerKind::Push { before: Some(before), range } => {
                let commits = if range.len() == 1 { "commit" } else { "commits" };
                format!("branch {branch} moved from {} to {commit}, {} {commits}", before.short(), range.len())
            }
        };
        WhyLine { at_ms: Some(build.created_at.0), task: None, text }
    }
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

/// A runner as the scheduler sees it now.
pub(crate) fn runner(view: RunnerView) -> RunnerReport {
    RunnerReport {
        name: view.name.to_string(),
        state: view.state.to_owned(),
        detail: view.detail,
        slots: view.slots,
        busy: u32::try_from(view.running.len()).unwrap_or(u32::MAX),
        labels: view.labels.iter().map(ToString::to_string).collect(),
        isolation: view.isolation.word().to_owned(),
        silent_ms: view.silent_ms,
        running: view.running.iter().map(|(_, build, task)| format!("{build}/{task}")).collect(),
    }
}
