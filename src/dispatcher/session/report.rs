//! Turns the results of operations into messages.

use crate::clock;
use crate::dispatcher::authority::Rotation;
use crate::dispatcher::listening::Listening;
use crate::dispatcher::metrics::Counters;
use crate::dispatcher::operations::{AttemptView, BuildArtifacts, BuildView, HistoryLine, JobView, Status, Why};
use crate::dispatcher::session::credentials::{expires_at, state};
use crate::model::reason::{JobStatus, StoredReason};
use crate::model::words::{attempt_detail, drained_words, outcome_detail};
use crate::model::{
    ArtifactRecord, ArtifactRemoval, Attempt, Credential, CredentialKind, Decision, Ending, JobState, Outcome, Pin,
    Schedule, ServiceRecord, StepRecord, TaskName, WallTime,
};
use crate::protocol::blobs::{ArtifactReport, ArtifactsReport, RemovedArtifact};
use crate::protocol::execution::{Execution, ServiceEnd, ServiceFailureEnd, Tiers};
use crate::protocol::limits::{MAX_REPORT_TEXT_BYTES, MAX_SENTENCE_BYTES, MAX_WARNINGS};
use crate::protocol::operator as wire;
use crate::scheduler::RunnerView;

/// The most bytes of an input's value in a report. A task has up to 64 of them.
const MAX_SHOWN_VALUE_BYTES: usize = 200;

pub(super) fn status(mut status: Status) -> wire::StatusReport {
    let left_out = status.warnings.len().saturating_sub(MAX_WARNINGS);
    if left_out > 0 {
        status.warnings.truncate(MAX_WARNINGS - 1);
        status.warnings.push(format!("{} more warnings", left_out + 1));
    }
    wire::StatusReport {
        builds: status.builds.into_iter().map(build).collect(),
        runners: status.runners.into_iter().map(runner).collect(),
        queued_jobs: status.jobs.queued as u64,
        running_jobs: status.jobs.leased as u64,
        counters: status.counters.map(counters),
        schedules: status.schedules.into_iter().map(schedule).collect(),
        warnings: status.warnings.into_iter().map(|text| cut(text, MAX_SENTENCE_BYTES)).collect(),
        network: status.listening.map(|listening| Box::new(network(&listening, status.pin, status.rotation))),
        more: false,
    }
}

fn network(listening: &Listening, pin: Option<Pin>, rotation: Option<Rotation>) -> wire::NetworkReport {
    let rotation = rotation.map(|Rotation { next, joined, mut missing }| {
        let taken = joined - missing.len();
        missing.truncate(MAX_WARNINGS);
        wire::RotationReport { next_pin: next.to_string(), joined: joined as u64, taken: taken as u64, missing }
    });
    wire::NetworkReport {
        listen: listening.address.to_string(),
        pin: pin.map(|pin| pin.to_string()).unwrap_or_default(),
        rotation,
        plain_text_from: listening.plain_text_from.iter().map(ToString::to_string).collect(),
    }
}

/// Returns the report of the artifacts of a build.
pub(super) fn artifacts(found: BuildArtifacts) -> ArtifactsReport {
    let BuildArtifacts { build, artifacts, removed } = found;
    let artifact = |(task, attempt, record): (TaskName, Attempt, ArtifactRecord)| ArtifactReport {
        task: task.to_string(),
        number: attempt.number,
        outcome: attempt.outcome.as_ref().map_or("", Outcome::word).to_owned(),
        name: record.name,
        manifest: record.manifest.to_string(),
        files: record.files,
        bytes: record.bytes,
        keep_ms: record.keep_ms,
    };
    let gone =
        |(task, attempt, record, removal): (TaskName, Attempt, ArtifactRecord, ArtifactRemoval)| RemovedArtifact {
            task: task.to_string(),
            number: attempt.number,
            name: record.name,
            removed_ms: removal.at.0,
            reason: removal.rule.phrase().to_owned(),
            reason_code: removal.rule.word().to_owned(),
        };
    let artifacts = artifacts.into_iter().map(artifact).collect();
    let removed = removed.into_iter().map(gone).collect();
    ArtifactsReport { build: build.id.0, repo: build.source.repo.to_string(), artifacts, removed, more: false }
}

/// Returns the report of join tokens and credentials, each with the number of its open sessions.
pub(super) fn tokens(rows: Vec<(Credential, usize)>) -> wire::TokensReport {
    let now = clock::wall();
    let token = |(row, sessions): (Credential, usize)| {
        let (kind, uses_left, joined_by) = match &row.kind {
            CredentialKind::JoinToken { uses_left, .. } => ("token", Some(*uses_left), None),
            CredentialKind::Joined { token } => ("credential", None, Some(token.to_string())),
        };
        wire::TokenReport {
            id: row.id.to_string(),
            kind: kind.to_owned(),
            role: row.role.word().to_owned(),
            state: state(&row, now).word().to_owned(),
            labels: row.labels.iter().map(ToString::to_string).collect(),
            repos: row.repos.iter().map(ToString::to_string).collect(),
            expires_ms: expires_at(&row).0,
            created_ms: row.created_at.0,
            created_by: row.created_by,
            revoked_ms: row.revoked_at.map(|at| at.0),
            revoked_by: row.revoked_by,
            used_ms: uses_left.is_none().then_some(row.last_used.0),
            name: row.name,
            uses_left,
            joined_by,
            sessions: u32::try_from(sessions).unwrap_or(u32::MAX),
        }
    };
    wire::TokensReport { tokens: rows.into_iter().map(token).collect(), more: false }
}

fn schedule((schedule, next): (Schedule, Option<WallTime>)) -> wire::ScheduleReport {
    let (cron, timezone) =
        schedule.rule.map(|rule| (rule.cron.to_string(), rule.timezone.to_string())).unwrap_or_default();
    wire::ScheduleReport {
        schedule: schedule.name.to_string(),
        repo: schedule.repo.to_string(),
        branch: schedule.reference.short().to_owned(),
        next_ms: next.map(|next| next.0),
        cron,
        timezone,
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
    let BuildView { build, jobs, counts, orders } = view;
    let order = |it: Decision| wire::OrderReport {
        at_ms: it.at.0,
        by: it.kind.by().unwrap_or_default().to_owned(),
        code: it.kind.code().unwrap_or_default().to_owned(),
        text: bounded(it.kind.to_string()),
    };
    let trigger = &build.source.trigger;
    wire::BuildReport {
        build: build.id.0,
        repo: build.source.repo.to_string(),
        branch: trigger.reference.short().to_owned(),
        commit: build.source.commit.to_string(),
        trigger: trigger.kind.word().to_owned(),
        reference: trigger.reference.to_string(),
        trust: trigger.trust.word().to_owned(),
        orders: orders.into_iter().map(order).collect(),
        asked_by: trigger.asked_by().map(ToString::to_string),
        before: trigger.before().map(|before| before.to_string()),
        subject: build.source.subject,
        author: build.source.author,
        priority: build.settings.priority,
        state,
        flaky,
        created_ms: build.created_at.0,
        rerun_ms: build.rerun_at.map(|at| at.0),
        finished_ms: build.finished_at.map(|at| at.0),
        problem: build.problem.map(bounded),
        jobs: jobs.into_iter().map(job).collect(),
        job_counts: counts.into_iter().map(|(kind, count)| (kind.word().to_owned(), count)).collect(),
        more: false,
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
        detail: ending.and_then(Ending::detail).map(bounded),
        reason_code: ending.and_then(Ending::reason_code).map(str::to_owned),
        needs: job.task.placement.needs.iter().map(|need| need.task.to_string()).collect(),
        allow_failure: job.task.placement.allow_failure,
        slots: Some(job.task.placement.slots.0).filter(|slots| *slots > 1),
        inputs: job
            .task
            .given_inputs()
            .map(|(name, value)| (name.to_owned(), cut(value.to_owned(), MAX_SHOWN_VALUE_BYTES)))
            .collect(),
        services: job.task.recipe.services.iter().map(|service| service.name.clone()).collect(),
        flaky,
        attempts: attempts.into_iter().map(attempt).collect(),
    }
}

fn service(record: ServiceRecord) -> ServiceEnd {
    let ServiceRecord { name, ready_ms, failure, last_lines, means } = record;
    let failure = failure.map(|failure| {
        let (number, text, timeout_ms) = failure.parts();
        ServiceFailureEnd { code: failure.code().to_owned(), number, text, timeout_ms }
    });
    ServiceEnd { name, ready_ms, failure, last_lines, means }
}

fn attempt(view: AttemptView) -> wire::AttemptReport {
    let AttemptView { attempt, steps, execution, outputs, runner, log, log_bytes } = view;
    wire::AttemptReport {
        attempt: attempt.id.0,
        number: attempt.number,
        runner: runner.to_string(),
        leased_ms: attempt.leased_at.0,
        finished_ms: attempt.finished_at.map(|at| at.0),
        duration_ms: attempt.duration_ms,
        outcome: attempt.outcome.as_ref().map(|outcome| outcome.word().to_owned()),
        detail: attempt.outcome.as_ref().and_then(|outcome| attempt_detail(outcome, &steps)).map(bounded),
        reason_code: attempt.outcome.as_ref().and_then(Outcome::reason_code).map(str::to_owned),
        log_bytes,
        log_path: log.display().to_string(),
        steps: steps.into_iter().map(step).collect(),
        execution: execution.map(|it| Execution {
            tier: it.tier,
            means: it.means,
            memory_bytes: it.memory_bytes,
            cpu_ms: it.cpu_ms,
            not_enforced: it.not_enforced,
            exceeded: it.exceeded,
            services: it.services.into_iter().map(service).collect(),
        }),
        outputs,
    }
}

fn step(step: StepRecord) -> wire::StepReport {
    wire::StepReport {
        outcome: step.outcome.as_ref().map(|outcome| outcome.word().to_owned()),
        detail: step.outcome.as_ref().and_then(outcome_detail).map(bounded),
        reason_code: step.outcome.as_ref().and_then(Outcome::reason_code).map(str::to_owned),
        name: step.name,
        duration_ms: step.duration_ms,
        log_start: step.log.start,
        log_end: step.log.end,
    }
}

pub(super) fn why(why: Why) -> wire::WhyReport {
    let now = |(task, status): (TaskName, JobStatus)| wire::WhyLine {
        task: Some(task.to_string()),
        text: bounded(status.to_string()),
        code: Some(status.code().to_owned()),
        reason_code: status.reason_code().map(str::to_owned),
        ..wire::WhyLine::default()
    };
    let line = |HistoryLine { at, task, entry, seq }| wire::WhyLine {
        at_ms: at.map(|at| at.0),
        task: task.map(|task| task.to_string()),
        text: bounded(entry.to_string()),
        code: entry.code().map(str::to_owned),
        reason_code: entry.reason_code().map(str::to_owned),
        by: entry.by().map(str::to_owned),
        seq,
    };
    wire::WhyReport {
        trust: why.trust.word().to_owned(),
        build: why.build.0,
        now: why.now.into_iter().map(now).collect(),
        history: why.history.into_iter().map(line).collect(),
        more: false,
    }
}

/// Reports runners, each with the times for which it has had what it executes.
pub(super) fn runners(views: Vec<(RunnerView, Vec<u64>)>) -> wire::RunnersReport {
    wire::RunnersReport {
        runners: views
            .into_iter()
            .map(|(view, running_ms)| wire::RunnerReport { running_ms, ..runner(view) })
            .collect(),
        more: false,
    }
}

fn runner(view: RunnerView) -> wire::RunnerReport {
    let (ordered_by, ordered_ms) = view.ordered.map(|it| (it.by, it.at.0)).unzip();
    let ordered_by = ordered_by.flatten();
    let drained = view.drained.then(|| drained_words(&view.name, ordered_by.as_deref()));
    wire::RunnerReport {
        name: view.name.to_string(),
        state: view.state.word().to_owned(),
        connected: view.connected,
        drained: view.drained,
        ordered_by,
        ordered_ms,
        detail: drained.or_else(|| view.quarantine.as_ref().map(ToString::to_string)).map(bounded),
        reason_code: view.quarantine.and_then(|it| it.last.code().map(str::to_owned)),
        slots: view.slots,
        busy: view.busy,
        labels: view.labels.iter().map(ToString::to_string).collect(),
        isolation: view.isolation.word().to_owned(),
        tiers: view.tiers.map(|offer| Tiers {
            least: offer.range.least.word().to_owned(),
            most: offer.range.most.word().to_owned(),
            means: offer.means.clone(),
        }),
        silent_ms: view.silent_ms,
        running: view.running.iter().map(|(_, build, task)| format!("{build}/{task}")).collect(),
        running_ms: Vec::new(),
    }
}

/// Cuts a text that is too long for a report. Commits may hold arbitrarily many mistakes.
fn bounded(text: String) -> String {
    cut(text, MAX_REPORT_TEXT_BYTES)
}

fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max - "…".len()));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_at_a_character_and_many_warnings_are_counted() {
        assert_eq!((cut("12345".into(), 5), cut("123ä56".into(), 6)), ("12345".into(), "123…".into()));
        let warnings = (0..250).map(|n| format!("{n} {}", "é".repeat(1000))).collect();
        let report = status(Status { warnings, ..Status::default() });
        assert_eq!(report.warnings.len(), MAX_WARNINGS);
        assert_eq!(report.warnings[99], "151 more warnings");
        assert!(report.warnings.iter().all(|text| text.len() <= MAX_SENTENCE_BYTES));
    }
}
