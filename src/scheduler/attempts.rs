//! Attempts: leased, started, finished, cancelled, lost. `tables/` keeps the leases; this file decides about them.

use rustc_hash::FxHashSet;

use super::tables::{Member, Started, Timer};
use super::turn::Turn;
use super::{Lease, RunnerCommand, Scheduler, policy};
use crate::model::reason::{DecisionKind, ErrorReason, LossReason, LostWith, Notice, PlacementReason, TaskFailure};
use crate::model::{
    Attempt, AttemptId, Ending, ExecutionRecord, JobId, JobState, LogSummary, Outcome, Record, RunnerId, SessionId,
    StepRecord,
};

/// A runner's report of an attempt that has ended.
pub(super) struct Finished {
    pub(super) session: SessionId,
    pub(super) attempt: AttemptId,
    pub(super) outcome: Outcome,
    pub(super) log: LogSummary,
    pub(super) duration_ms: Option<u64>,
    pub(super) steps: Vec<StepRecord>,
    pub(super) execution: Option<Box<ExecutionRecord>>,
}

impl Scheduler {
    /// Leases queued jobs until no free runner fits any of them.
    ///
    /// A job that needs more slots than a fitting runner has free would wait for ever behind jobs that need fewer. So,
    /// when it is its turn, a runner is kept for it.
    pub(super) fn assign(&mut self, turn: &mut Turn) {
        // Leases only make slots fewer, so a demand that no free runner fits is not asked about again.
        let mut unfit = FxHashSet::default();
        loop {
            if let Some((job, runner)) = self.tables.next_kept() {
                let source = &self.jobs[&job].source;
                let reason = self.tables.roster().placement(runner, &source.repo, source.commit);
                self.lease(turn, job, runner, reason);
                unfit.clear();
                continue;
            }
            let (roster, kept) = (self.tables.roster(), self.tables.kept());
            if !roster.has_free() {
                return;
            }
            let first = self.tables.queue().first(|job, id, demand| {
                if !unfit.contains(&id) {
                    if roster.any_free_for(demand) {
                        return true;
                    }
                    unfit.insert(id);
                }
                demand.slots > 1 && !kept.contains_key(&job) && roster.keepable(demand).is_some()
            });
            let Some(job) = first else { return };
            let live = &self.jobs[&job];
            let (source, demand) = (&live.source, live.demand());
            if let Some((runner, reason)) = roster.best_for(demand, &source.repo, source.commit, live.lost_on()) {
                if kept.contains_key(&job) {
                    // The runner that was kept for it is free for others.
                    unfit.clear();
                }
                self.lease(turn, job, runner, reason);
            } else if let Some(runner) = roster.keepable(demand) {
                let slots = demand.slots;
                self.tables.keep(turn.now, runner, job, slots);
            }
        }
    }

    fn lease(&mut self, turn: &mut Turn, id: JobId, runner: RunnerId, reason: PlacementReason) {
        self.last_attempt += 1;
        let attempt = AttemptId(self.last_attempt);
        let job = self.jobs.get_mut(&id).expect("the queue holds live jobs only");
        self.tables.dequeue(turn.now, id, job.lane());
        job.state = JobState::Leased(attempt);
        job.attempts += 1;
        let record = Attempt {
            id: attempt,
            job: id,
            build: job.build,
            number: job.attempts,
            runner,
            reason,
            leased_at: turn.at,
            finished_at: None,
            duration_ms: None,
            outcome: None,
            log: LogSummary::default(),
        };
        let lease = job.lease(&record, Started::No);
        turn.persist(Record::AttemptLeased(record));
        let lasts_ms = self.policy.lease_ms(lease.exclusive);
        let session = self.tables.grant(turn.now, attempt, lease, lasts_ms, job.source.commit);
        let message = RunnerCommand::Lease(Box::new(self.lease_message(attempt)));
        turn.send(session, message);
    }

    /// Returns a lease as it is sent to its runner.
    pub(super) fn lease_message(&self, attempt: AttemptId) -> Lease {
        let lease = self.tables.leases().get(attempt).expect("the caller has seen it");
        let job = &self.jobs[&lease.job];
        Lease {
            attempt,
            build: lease.build,
            job: lease.job,
            number: lease.number,
            lease_ms: self.policy.lease_ms(lease.exclusive),
            source: job.source.clone(),
            task: job.task.clone(),
        }
    }

    pub(super) fn start_attempt(&mut self, turn: &mut Turn, session: SessionId, attempt: AttemptId) {
        self.hear(turn.now, session);
        if !self.tables.start(attempt, self.tables.roster().by_session(session)) {
            turn.send(session, RunnerCommand::Stale { attempt });
        }
    }

    /// Records a result if the runner still holds the lease. Otherwise the result is recorded as late, and changes
    /// nothing.
    pub(super) fn finish_attempt(&mut self, turn: &mut Turn, finished: Finished) {
        let Finished { session, attempt, outcome, log, duration_ms, steps, execution } = finished;
        let runner = self.tables.roster().by_session(session);
        let held = runner.and_then(|runner| self.tables.leases().of_runner(attempt, runner));
        let Some(lease) = held else {
            if runner.is_some_and(|runner| self.recent_results.is_of(attempt, runner)) {
                turn.send(session, RunnerCommand::Recorded { attempt });
            } else {
                turn.note(Notice::LateResult { attempt, outcome: outcome.clone() });
                turn.persist(Record::LateResult { attempt, outcome, at: turn.at });
                turn.send(session, RunnerCommand::Stale { attempt });
            }
            return;
        };
        let (runner, cancelled) = (lease.runner, lease.cancelled);
        // Before the outcome, so that nobody who has seen that misses them. Those of a cancelled attempt come after it.
        if !steps.is_empty() {
            turn.persist(Record::StepsEnded { attempt, steps });
        }
        let of_services = execution.as_ref().and_then(|execution| ErrorReason::of_services(&execution.services));
        if let Some(execution) = execution {
            turn.persist(Record::AttemptExecuted { attempt, execution });
        }
        if cancelled {
            // Its outcome was recorded when it was cancelled. The result only frees the slot.
            self.tables.release(turn.now, attempt);
        } else if let Outcome::Lost(reason) = outcome {
            self.lose(turn, attempt, reason);
        } else if outcome == Outcome::Cancelled {
            // The dispatcher did not cancel it, so the runner itself was stopped.
            self.lose(turn, attempt, LossReason::RunnerStopped);
        } else {
            self.tables.update(runner, turn.now, |member| member.health.succeed());
            self.keep_outputs(turn, attempt);
            self.keep_artifacts(turn, attempt);
            let at = turn.at;
            turn.persist(Record::AttemptFinished { attempt, outcome: outcome.clone(), log, duration_ms, at });
            self.judge(turn, attempt, &outcome, of_services);
        }
        self.recent_results.insert(attempt, runner);
        turn.send(session, RunnerCommand::Recorded { attempt });
    }

    /// Applies a recorded outcome to its job: it ends, or is tried again. `of_services` says which service kept the
    /// attempt from starting, if one did.
    fn judge(&mut self, turn: &mut Turn, attempt: AttemptId, outcome: &Outcome, of_services: Option<ErrorReason>) {
        let lease = self.tables.release(turn.now, attempt);
        let id = lease.job;
        let failure = match outcome {
            Outcome::Passed => {
                let ending = self.expand(turn, id, attempt);
                return self.finish_job(turn, id, ending);
            }
            Outcome::CouldNotStart(text) => {
                let reason = self.denied(id, attempt).or(of_services.map(Box::new));
                let reason = reason.unwrap_or_else(|| Box::new(ErrorReason::CouldNotStart { text: text.clone() }));
                return self.finish_job(turn, id, Ending::Errored(reason));
            }
            Outcome::Failed(code) => TaskFailure::ExitCode { exit_code: *code },
            Outcome::Killed(signal) => TaskFailure::Signal { signal: *signal },
            Outcome::TimedOut(_) => TaskFailure::TimedOut,
            Outcome::Cancelled | Outcome::Lost(_) => unreachable!("these are not the task's doing and go elsewhere"),
        };
        let job = self.jobs.get_mut(&id).expect("a lease that is not cancelled has a live job");
        job.failures += 1;
        let about = Some((attempt, lease.runner));
        let (retries, rule) = (job.task.placement.retries, &job.task.placement.retry);
        if job.failures > retries {
            return self.finish_job(turn, id, Ending::Failed);
        }
        if !rule.names(&failure) {
            turn.decide(lease.build, id, about, DecisionKind::NotRetried { failure });
            return self.finish_job(turn, id, Ending::Failed);
        }
        if rule.elsewhere {
            job.avoid(lease.runner);
        }
        let delay_ms = job.task.placement.retry.delay_ms;
        job.is_retry = true;
        let kind = DecisionKind::Retried { failure, next: job.failures + 1, tries: retries + 1, delay_ms };
        turn.decide(lease.build, id, about, kind);
        self.requeue(turn, id, delay_ms);
    }

    /// Loses an attempt whose runner is gone or could not execute it. The job is queued again, or given up.
    pub(super) fn lose(&mut self, turn: &mut Turn, attempt: AttemptId, reason: LossReason) {
        self.blame(turn, attempt, &reason);
        let lease = self.tables.release(turn.now, attempt);
        if lease.cancelled {
            // It has its outcome already. A result that still arrives gets the answer that it would get after a
            // restart.
            self.recent_results.insert(attempt, lease.runner);
            return;
        }
        let counts = counts(&reason, lease.started);
        let (outcome, log) = (Outcome::Lost(reason.clone()), LogSummary::default());
        turn.persist(Record::AttemptFinished { attempt, outcome, log, duration_ms: None, at: turn.at });
        let runner = self.known_name(lease.runner);
        let limit = self.policy.max_losses;
        let last = LostWith { runner: runner.clone(), reason: reason.clone() };
        let job = self.jobs.get_mut(&lease.job).expect("a lease that is not cancelled has a live job");
        let about = Some((attempt, lease.runner));
        if counts {
            job.losses += 1;
            job.troubles.get_or_insert_default().lost_with.push(last.clone());
        } else {
            job.blameless_losses += 1;
        }
        job.is_retry = false;
        job.avoid(lease.runner);
        let given_up = if counts && job.losses >= limit {
            let with = job.troubles.as_ref().map(|troubles| troubles.lost_with.clone()).unwrap_or_default();
            Some(ErrorReason::GivenUp { losses: job.losses, with })
        } else if job.blameless_losses >= policy::MAX_BLAMELESS_LOSSES {
            Some(ErrorReason::NeverStarted { attempts: job.attempts, last })
        } else {
            None
        };
        if let Some(reason) = given_up {
            turn.decide(lease.build, lease.job, about, DecisionKind::GaveUp { reason: reason.clone() });
            return self.finish_job(turn, lease.job, Ending::Errored(Box::new(reason)));
        }
        let loss_of = counts.then_some((job.losses, limit));
        let is_reported = reason.is_reported();
        let note = Notice::AttemptLost { attempt, job: lease.job, runner: runner.clone(), reason: reason.clone() };
        turn.note(note);
        let quarantine =
            self.tables.roster().member(lease.runner).and_then(|member| member.health.quarantine(turn.now));
        let kind = DecisionKind::Lost { runner, reason, loss_of, quarantine };
        turn.decide(lease.build, lease.job, about, kind);
        // Another runner may execute it at once. A job that no runner can execute must not be tried without end.
        let again = if counts || !is_reported { 0 } else { self.jobs[&lease.job].blameless_losses - 1 };
        let pause = if again == 0 { 0 } else { policy::REST_FIRST_MS << (again - 1).min(20) };
        self.requeue(turn, lease.job, pause.min(policy::REST_MAX_MS));
    }

    /// Records a leased attempt as cancelled. Its slot stays occupied until the runner has ended it.
    pub(super) fn cancel_lease(&mut self, turn: &mut Turn, attempt: AttemptId) {
        let runner = self.tables.cancel(attempt);
        let (outcome, log) = (Outcome::Cancelled, LogSummary::default());
        turn.persist(Record::AttemptFinished { attempt, outcome, log, duration_ms: None, at: turn.at });
        if let Some(session) = self.tables.roster().member(runner).and_then(Member::session) {
            turn.send(session, RunnerCommand::Cancel { attempt });
        }
    }

    /// Counts the loss of an attempt as a failure of the runner. A runner that fails with different commits goes into
    /// quarantine: a full disk would otherwise eat the queue.
    fn blame(&mut self, turn: &mut Turn, attempt: AttemptId, reason: &LossReason) {
        let lease = self.tables.leases().get(attempt).filter(|lease| !lease.cancelled && reason.suspects_runner());
        let Some((job, runner)) = lease.map(|lease| (lease.job, lease.runner)) else { return };
        let commit = self.jobs[&job].source.commit;
        self.tables.update(runner, turn.now, |member| {
            let before = member.health.rests_until();
            if member.health.fail(turn.now, commit, reason)
                && member.health.rests_until() > before
                && let Some(quarantine) = member.health.quarantine(turn.now)
            {
                turn.note(Notice::RunnerQuarantined { runner: member.name.clone(), quarantine });
            }
            if reason.is_reported() {
                member.health.pause_until(turn.now.after(policy::REST_FIRST_MS));
            }
        });
    }

    /// Loses the attempts whose leases were not renewed in time, and those of runners that did not come back.
    pub(super) fn check_leases(&mut self, turn: &mut Turn) {
        let jobs = &self.jobs;
        self.tables.wake(turn.now, |job| jobs[&job].in_line(job));
        if !self.tables.deadlines().is_set(&Timer::OldExclusives)
            || self.tables.deadlines().is_over(&Timer::OldExclusives, turn.now)
        {
            self.tables.end_doubts(turn.now);
        }
        self.lose_the_away(turn);
        for attempt in self.tables.expired(turn.now) {
            let Some(lease) = self.tables.leases().get(attempt) else { continue };
            let runner = lease.runner;
            self.rest_if_doubtful(turn, runner);
            // The exclusive attempt of a runner that was lost earlier has waited for this moment.
            let is_lost = self.is_lost(runner);
            self.lose(turn, attempt, if is_lost { LossReason::ConnectionClosed } else { LossReason::LeaseExpired });
        }
        self.forget_empty_away(turn);
    }

    /// Errors jobs that no runner has fitted for too long, and asks for a runner if a pool has one that fits.
    pub(super) fn check_queue(&mut self, turn: &mut Turn) {
        self.give_up_spawns(turn);
        let (mut fitting, mut unfit) = (Vec::new(), Vec::new());
        let deadlines = self.tables.deadlines();
        for (job, demand) in self.tables.queue().candidates() {
            let fit_of_demand = Timer::DemandFit(demand.labels.into(), demand.slots);
            if self.tables.roster().any_fits(demand) {
                fitting.push(fit_of_demand);
                continue;
            }
            let queued = deadlines.since(&Timer::Fit(job)).expect("a queued job has its deadline");
            // The time in which it waited for a busy runner does not count.
            let last = deadlines.since(&fit_of_demand).map_or(queued, |last| last.max(queued));
            unfit.push((job, turn.now.since(queued), turn.now.since(last)));
        }
        for demand in fitting {
            self.tables.set_timer(demand, turn.now, self.policy.queue_timeout_ms);
        }
        self.tables.forget_idle_deadlines(turn.now);
        for (job, waited, unfit_ms) in unfit {
            // A job that is given up may cancel the rest of its build, and the build may be over then.
            if self.jobs.get(&job).is_none_or(|live| live.state != JobState::Queued) {
                continue;
            }
            if unfit_ms >= self.policy.queue_timeout_ms {
                let reason = ErrorReason::NoRunnerFits { waited_ms: unfit_ms, fit: self.missing_fit(job) };
                let kind = DecisionKind::GaveUp { reason: reason.clone() };
                turn.decide(self.jobs[&job].build, job, None, kind);
                self.finish_job(turn, job, Ending::Errored(Box::new(reason)));
            } else if waited >= policy::SPAWN_AFTER_MS {
                self.spawn_for(turn, job);
            }
        }
    }
}

/// Returns whether a loss counts towards the limit at which the job is given up: the task's process may have caused it.
/// A loss before the process started was not the task's doing. After a restart it is not known whether it had started.
/// An attempt whose runner reports the loss did reach its runner, so its loss counts.
fn counts(reason: &LossReason, started: Started) -> bool {
    let may_have_run = if reason.is_reported() { started != Started::No } else { started == Started::Yes };
    reason.suspects_job() && may_have_run
}
