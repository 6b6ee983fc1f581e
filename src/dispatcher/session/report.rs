//! Turns the results of operations into messages.

use crate::dispatcher::metrics::Counters;
use crate::dispatcher::operations::{AttemptView, BuildView, HistoryLine, JobView, Status, Why};
use crate::model::reason::{JobStatus, StoredReason};
use crate::model::words::outcome_detail;
use crate::model::{Ending, JobState, Outcome, TaskName};
use crate::protocol::operator as wire;
use crate::scheduler::RunnerView;

pub(super) fn status(status: Status) -> wire::StatusReport {
    wire::StatusReport {
        builds: status.builds.into_iter().map(build).collect(),
        runners: status.runners.into_iter().map(runner).collect(),
        queued_jobs: status.jobs.queued as u64,
        running_jobs: status.jobs.leased as u64,
        counters: status.counters.map(counters),
        warnings: status.warnings,
    }
}

fn counters(counters: Counters) -> wire::CountersReport {
    wire::CountersReport {
        builds_added: counters.builds_added,
        builds_finished: counters.builds_finished,
        builds_reopened: counters.builds_reopened,
        jobs_finished: counters.jobs_finished,
        attempts_leased: counters.attempts_leased,
        attempts_finished: counters.attempts_finished,
        losses_by_reason: counters.losses_by_reason,
        late_results: counters.late_results,
        log_bytes: counters.log_bytes,
    }
}

pub(super) fn build(view: BuildView) -> wire::BuildReport {
    let (state, flaky) = (view.state().word().to_owned(), view.jobs.iter().any(JobView::is_flaky));
    let BuildView { build, jobs } = view;
    let trigger = &build.source.trigger;
    wire::BuildReport {
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
        state,
        flaky,
        created_ms: build.created_at.0,
        finished_ms: build.finished_at.map(|at| at.0),
        problem: build.problem,
        jobs: jobs.into_iter().map(job).collect(),
    }
}

fn job(view: JobView) -> wire::JobReport {
    let flaky = view.is_flaky();
    let JobView { job, attempts } = view;
    let ending = if let JobState::Finished(ending) = &job.state { Some(ending) } else { None };
    wire::JobReport {
        job: job.id.0,
        task: job.task.name.to_string(),
        state: job.state.word().to_owned(),
        detail: ending.and_then(Ending::detail),
        reason_code: ending.and_then(Ending::reason_code).map(str::to_owned),
        needs: job.task.placement.needs.iter().map(|need| need.task.to_string()).collect(),
        allow_failure: job.task.placement.allow_failure,
        flaky,
        attempts: attempts.into_iter().map(attempt).collect(),
    }
}

fn attempt(view: AttemptView) -> wire::AttemptReport {
    let AttemptView { attempt, runner, log, log_bytes } = view;
    wire::AttemptReport {
        attempt: attempt.id.0,
        number: attempt.number,
        runner: runner.to_string(),
        leased_ms: attempt.leased_at.0,
        finished_ms: attempt.finished_at.map(|at| at.0),
        duration_ms: attempt.duration_ms,
        outcome: attempt.outcome.as_ref().map(|outcome| outcome.word().to_owned()),
        detail: attempt.outcome.as_ref().and_then(outcome_detail),
        reason_code: attempt.outcome.as_ref().and_then(Outcome::reason_code).map(str::to_owned),
        log_bytes,
        log_path: log.display().to_string(),
    }
}

pub(super) fn why(why: Why) -> wire::WhyReport {
    let now = |(task, status): (TaskName, JobStatus)| wire::WhyLine {
        task: Some(task.to_string()),
        text: status.to_string(),
        code: Some(status.code().to_owned()),
        reason_code: status.reason_code().map(str::to_owned),
        ..wire::WhyLine::default()
    };
    let line = |HistoryLine { at, task, entry, seq }| wire::WhyLine {
        at_ms: at.map(|at| at.0),
        task: task.map(|task| task.to_string()),
        text: entry.to_string(),
        code: entry.code().map(str::to_owned),
        reason_code: entry.reason_code().map(str::to_owned),
        seq,
    };
    wire::WhyReport {
        build: why.build.0,
        now: why.now.into_iter().map(now).collect(),
        history: why.history.into_iter().map(line).collect(),
    }
}

pub(super) fn runners(views: Vec<RunnerView>) -> wire::RunnersReport {
    wire::RunnersReport { runners: views.into_iter().map(runner).collect() }
}

fn runner(view: RunnerView) -> wire::RunnerReport {
    wire::RunnerReport {
        name: view.name.to_string(),
        state: view.state.word().to_owned(),
        detail: view.quarantine.as_ref().map(ToString::to_string),
        reason_code: view.quarantine.and_then(|it| it.last.code().map(str::to_owned)),
        slots: view.slots,
        busy: u32::try_from(view.running.len()).unwrap_or(u32::MAX),
        labels: view.labels.iter().map(ToString::to_string).collect(),
        isolation: view.isolation.word().to_owned(),
        silent_ms: view.silent_ms,
        running: view.running.iter().map(|(_, build, task)| format!("{build}/{task}")).collect(),
    }
}
