//! Deliberate defects. Each must break the promise that it belongs to. They sit around the scheduler, in place of the
//! dispatcher's core, the network and the peers, and change the scheduler's events or effects.

use surveil::model::{Incarnation, JobState, LogSummary, Moment, Record, Snapshot, TriggerKind, Verdict, WallTime};
use surveil::scheduler::{Effect, Event, Policy, RunnerCommand};

use crate::dispatcher::{HEARTBEAT_MS, LEASE_CHECK_MS, TIMEOUT_MS, policy};
use crate::history::Promise;
use crate::twists::{is_left_out, needs_holders, plan_of, twist_plan, twist_snapshot};
use crate::world::World;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// Effects leave before their records are durable.
    EffectsBeforeCommit,
    /// An announcement counts as a move of the branch, although its observer had not seen the last one.
    ForgetsMoves,
    /// An observer counts the heads that it finds at its start as accepted.
    ObserverTrustsItself,
    /// A full disk is ignored: a request is answered although its record was not written.
    AnswersWithoutRoom,
    /// A result that is delivered again is recorded again.
    RecordsReplays,
    /// A result counts for the present attempt of the job, whichever attempt it names.
    AcceptsLateResults,
    /// A restart forgets all leases.
    RestoresWithoutLeases,
    /// Exclusive tasks are taken for ordinary ones.
    ForgetsExclusive,
    /// Groups are forgotten.
    ForgetsGroups,
    /// Each task is taken for one of one slot.
    ForgetsSlots,
    /// The lowest priority comes first.
    TurnsPrioritiesRound,
    /// A group has one place more than its tasks allow.
    RaisesGroupLimits,
    /// A runner that is cut off goes on with an exclusive task.
    IgnoresOwnDeadline,
    /// A build passes, whatever the endings of its jobs.
    AlwaysPasses,
    /// After a restart, runners get no time to come back.
    NoGrace,
    /// A closed connection loses everything.
    ClosingIsLosing,
    /// The dispatcher believes that a restarted runner still holds its earlier attempts.
    BelievesOldHoldings,
    /// A second process of a name is taken for the first.
    IgnoresIncarnation,
    /// Pings of busy runners are ignored.
    DeafToTheBusy,
    /// Every report of an attempt is believed to come from the runner that holds it.
    BelievesAnyone,
    /// A restart forgets which runners are drained.
    ForgetsDrains,
    /// A restart forgets which times of schedules have fired.
    ForgetsFirings,
    /// A request that is sent again makes another build.
    ForgetsRequests,
    /// A restart forgets that an observer has looked at the tags before.
    ForgetsFirstLook,
    /// A branch keeps a schedule that its newest head does not have.
    KeepsEndedSchedules,
    /// Every other time of a schedule does not fire.
    DeafToSchedules,
    /// Tasks that their conditions leave out run.
    RunsWhatIsLeftOut,
    /// A build with a task that is left out has failed.
    CountsWhatIsLeftOut,
    /// Every task wants what it needs to have passed.
    ForgetsConditions,
    /// Manual tasks start by themselves.
    HoldsNothing,
    /// A restart queues what is held.
    ForgetsHolds,
    /// A held task starts in any build, as with force.
    StartsOldBuilds,
    /// No build stops at its first failure.
    ForgetsFailFast,
    /// No newer move supersedes a build.
    SupersedesNothing,
    /// A newer move supersedes every build.
    SupersedesAll,
    /// The end of a ref ends no job.
    KeepsWhatIsGone,
    /// A build may take half of its time.
    EndsBuildsEarly,
    /// Each task is tried again once more than it may be.
    RetriesOnceMore,
    /// A task is tried again after any failure.
    RetriesAfterAll,
    /// A task is tried again at once.
    ForgetsDelays,
    /// A task is tried again on any runner.
    ForgetsElsewhere,
    /// Time is taken from the wall clock.
    ReadsTheWallClock,
    /// Time that the dispatcher slept through counts as silence.
    NeverForgives,
    /// Like `NeverForgives`, but only for a few seconds of the gap.
    NeverForgivesALittle,
    /// Heartbeats are never checked.
    NeverLooks,
    /// Tasks that a task writes never join.
    ForgetsWrittenTasks,
    /// The file of an earlier attempt counts if the one that passes wrote none.
    KeepsWrittenTasks,
    /// A file counts for an attempt, whichever runner brings it.
    BelievesAnyFile,
    /// A mistake in a written file counts as an empty file.
    TakesMistakes,
    /// Tasks join again with each rerun of the task that wrote them.
    JoinsAtEachRerun,
    /// The tasks of an attempt that failed join.
    JoinsOfFailed,
    /// Tasks join a moment after the outcome is recorded.
    JoinsLater,
    /// A build ends when tasks join it.
    EndsBeforeJoined,
    /// A restart forgets the jobs that have joined.
    ForgetsJoined,
    /// A held task starts with the values that it had.
    IgnoresValues,
    /// A value that was given before stays.
    KeepsFirstValues,
    /// A restart forgets the values that people gave.
    ForgetsValues,
    /// A lease leaves with values that are not recorded.
    RecordsNoValues,
    /// A request for a build runs with the defaults.
    IgnoresRequestedValues,
    /// Artifacts are not recorded.
    ForgetsArtifacts,
    /// The artifacts of lost attempts are recorded.
    KeepsArtifactsOfLost,
    /// Artifacts count for an attempt, whichever runner brings them.
    BelievesAnyArtifacts,
    /// Outputs never count.
    ForgetsOutputs,
    /// The outputs of an earlier attempt count if the one that ended has none.
    KeepsEarlierOutputs,
    /// An attempt that may not have its secrets could not start, and that is all.
    IgnoresDenials,
    /// A task goes to any runner, whatever its program knows.
    ForgetsAbilities,
}

impl Sabotage {
    pub(crate) const ALL: &[(Self, Promise)] = &[
        (Self::EffectsBeforeCommit, Promise::S1),
        (Self::ForgetsMoves, Promise::S2),
        (Self::ObserverTrustsItself, Promise::S3),
        (Self::AnswersWithoutRoom, Promise::S5),
        (Self::RecordsReplays, Promise::S6),
        (Self::AcceptsLateResults, Promise::S7),
        (Self::RestoresWithoutLeases, Promise::S8),
        (Self::ForgetsExclusive, Promise::S9),
        (Self::ForgetsExclusive, Promise::S35),
        (Self::ForgetsGroups, Promise::S35),
        (Self::RaisesGroupLimits, Promise::S35),
        (Self::TurnsPrioritiesRound, Promise::S37),
        (Self::IgnoresOwnDeadline, Promise::S9),
        (Self::AlwaysPasses, Promise::S10),
        (Self::NoGrace, Promise::S11),
        (Self::ClosingIsLosing, Promise::S12),
        (Self::BelievesOldHoldings, Promise::S13),
        (Self::IgnoresIncarnation, Promise::S14),
        (Self::BelievesAnyone, Promise::S27),
        (Self::DeafToTheBusy, Promise::S32),
        (Self::NeverForgives, Promise::S33),
        (Self::NeverForgivesALittle, Promise::S33),
        (Self::ForgetsFirings, Promise::S34),
        (Self::ForgetsRequests, Promise::S34),
        (Self::ForgetsFirstLook, Promise::S3),
        (Self::KeepsEndedSchedules, Promise::S34),
        (Self::DeafToSchedules, Promise::S34),
        (Self::RunsWhatIsLeftOut, Promise::S36),
        (Self::CountsWhatIsLeftOut, Promise::S36),
        (Self::ForgetsConditions, Promise::S36),
        (Self::HoldsNothing, Promise::Held),
        (Self::ForgetsHolds, Promise::Held),
        (Self::StartsOldBuilds, Promise::Held),
        (Self::ForgetsFailFast, Promise::Cancels),
        (Self::SupersedesNothing, Promise::Cancels),
        (Self::SupersedesAll, Promise::Cancels),
        (Self::KeepsWhatIsGone, Promise::Cancels),
        (Self::EndsBuildsEarly, Promise::Cancels),
        (Self::RetriesOnceMore, Promise::Retries),
        (Self::RetriesAfterAll, Promise::Retries),
        (Self::ForgetsDelays, Promise::Retries),
        (Self::ForgetsElsewhere, Promise::Retries),
        (Self::NeverLooks, Promise::L1),
        (Self::ForgetsDrains, Promise::Drain),
        (Self::ForgetsSlots, Promise::Slots),
        (Self::ForgetsWrittenTasks, Promise::S53),
        (Self::KeepsWrittenTasks, Promise::S53),
        (Self::BelievesAnyFile, Promise::S53),
        (Self::TakesMistakes, Promise::S53),
        (Self::JoinsAtEachRerun, Promise::S53),
        (Self::JoinsOfFailed, Promise::S53),
        (Self::JoinsLater, Promise::S53),
        (Self::EndsBeforeJoined, Promise::S53),
        (Self::ForgetsJoined, Promise::S53),
        (Self::IgnoresValues, Promise::Inputs),
        (Self::KeepsFirstValues, Promise::Inputs),
        (Self::ForgetsValues, Promise::Inputs),
        (Self::RecordsNoValues, Promise::Inputs),
        (Self::IgnoresRequestedValues, Promise::Inputs),
        (Self::ForgetsArtifacts, Promise::Leavings),
        (Self::KeepsArtifactsOfLost, Promise::Leavings),
        (Self::BelievesAnyArtifacts, Promise::Leavings),
        (Self::ForgetsOutputs, Promise::Leavings),
        (Self::KeepsEarlierOutputs, Promise::Leavings),
        (Self::IgnoresDenials, Promise::Secrets),
        (Self::ForgetsAbilities, Promise::Secrets),
    ];
}

impl World {
    fn is(&self, sabotage: Sabotage) -> bool {
        self.sabotage == Some(sabotage)
    }

    pub(crate) fn twist_restart(&mut self, restored: &mut Snapshot, now: Moment) -> (Policy, Moment) {
        let mut policy = policy();
        self.last_tick = None;
        if let Some(sabotage) = self.sabotage {
            twist_snapshot(sabotage, restored);
        }
        if self.is(Sabotage::ClosingIsLosing) {
            policy.reconnect_ms = 0;
        }
        if self.is(Sabotage::ForgetsDrains) {
            restored.runners.iter_mut().for_each(|runner| runner.drain = None);
        }
        if self.is(Sabotage::ForgetsHolds) {
            let jobs = restored.builds.iter_mut().flat_map(|build| &mut build.jobs);
            jobs.filter(|job| job.state == JobState::Held).for_each(|job| job.state = JobState::Queued);
        }
        if self.is(Sabotage::ForgetsFirstLook) {
            restored.patterns.clear();
        }
        if self.is(Sabotage::ForgetsFirings) {
            restored.schedules.iter_mut().for_each(|schedule| schedule.last_due = WallTime(0));
        }
        if self.is(Sabotage::RestoresWithoutLeases) {
            for build in &mut restored.builds {
                build.attempts.clear();
                for job in &mut build.jobs {
                    if matches!(job.state, JobState::Leased(_)) {
                        job.state = JobState::Queued;
                    }
                }
            }
        }
        (policy, now)
    }

    /// The events that the scheduler gets instead, with their times.
    pub(crate) fn twist_event(&mut self, now: Moment, mut event: Event) -> Vec<(Moment, Event)> {
        if let (Some(sabotage), Some(plan)) = (self.sabotage, plan_of(&mut event)) {
            twist_plan(sabotage, plan);
        }
        if let Some(sabotage) = self.sabotage {
            self.twist_values(sabotage, &mut event);
            for twisted in [self.twist_written(sabotage, &mut event), self.twist_left(sabotage, &mut event)] {
                match twisted {
                    (Some(first), _) => return vec![(now, first), (now, event)],
                    (None, false) => return Vec::new(),
                    (None, true) => {}
                }
            }
        }
        match self.sabotage {
            Some(Sabotage::StartsOldBuilds) => {
                if let Event::StartAsked { force, .. } = &mut event {
                    *force = true;
                }
            }
            Some(Sabotage::ForgetsMoves) => {
                if let Event::CommitObserved { seen, .. } = &mut event {
                    *seen = None;
                }
            }
            Some(Sabotage::ForgetsRequests) => {
                if let Event::BuildAsked { earlier, .. } = &mut event {
                    *earlier = None;
                }
            }
            Some(Sabotage::AcceptsLateResults) => self.redirect_result(&mut event),
            Some(Sabotage::BelievesOldHoldings) => self.add_old_holdings(&mut event),
            Some(Sabotage::IgnoresIncarnation) => {
                if let Event::RunnerJoined(joined) = &mut event {
                    joined.incarnation = Incarnation(1);
                }
            }
            Some(Sabotage::DeafToSchedules) => {
                if let Event::ScheduleDue { source, .. } = &event
                    && let TriggerKind::Schedule { due, .. } = &source.trigger.kind
                    && due.0 / 1_000 % 2 == 0
                {
                    return Vec::new();
                }
            }
            Some(Sabotage::DeafToTheBusy) => {
                if matches!(&event, Event::RunnerPinged { holding, .. } if !holding.is_empty()) {
                    return Vec::new();
                }
            }
            Some(Sabotage::NoGrace) if self.last_tick.is_none() && event == Event::LeaseCheck => {
                self.last_tick = Some(now);
                let steps = 1..=TIMEOUT_MS / HEARTBEAT_MS + 1;
                return steps.map(|step| (now.after(step * HEARTBEAT_MS), Event::LeaseCheck)).collect();
            }
            Some(Sabotage::NeverForgives) => return self.tick_all_along(now, event, HEARTBEAT_MS),
            Some(Sabotage::NeverForgivesALittle) => return self.tick_all_along(now, event, LEASE_CHECK_MS),
            Some(Sabotage::BelievesAnyone) => {
                if let Event::AttemptFinished { session, attempt, .. } = &mut event
                    && let Some(holder) = self.holders.get(attempt)
                {
                    *session = *holder;
                }
            }
            Some(Sabotage::ReadsTheWallClock) => {
                return vec![(Moment(u64::try_from(self.wall().0).unwrap_or(0)), event)];
            }
            Some(Sabotage::NeverLooks) => {
                if matches!(event, Event::HeartbeatCheck | Event::LeaseCheck) {
                    return Vec::new();
                }
            }
            _ => {}
        }
        vec![(now, event)]
    }

    fn redirect_result(&self, event: &mut Event) {
        let Event::AttemptFinished { session, attempt, .. } = event else { return };
        let Some(job) = self.dispatcher.store.attempts.get(attempt).map(|attempt| attempt.job) else { return };
        let open = |a: &&surveil::model::Attempt| a.job == job && a.outcome.is_none();
        let Some(now_held) = self.dispatcher.store.attempts.values().find(open) else { return };
        let holder = self.holders.get(&now_held.id);
        if let Some(holder) = holder {
            (*session, *attempt) = (*holder, now_held.id);
        }
    }

    fn add_old_holdings(&self, event: &mut Event) {
        let Event::RunnerJoined(joined) = event else { return };
        let name = |attempt: &surveil::model::Attempt| self.dispatcher.store.runner_name(attempt.runner);
        let open = self.dispatcher.store.attempts.values().filter(|attempt| attempt.outcome.is_none());
        for attempt in open {
            if name(attempt) == Some(joined.name.clone()) && !joined.holding.contains(&attempt.id) {
                joined.holding.push(attempt.id);
            }
        }
    }

    /// Pretends that ticks came all along while the dispatcher stood still.
    fn tick_all_along(&mut self, now: Moment, event: Event, step: u64) -> Vec<(Moment, Event)> {
        if !matches!(event, Event::HeartbeatCheck | Event::LeaseCheck) {
            return vec![(now, event)];
        }
        let last = self.last_tick.replace(now).unwrap_or(now);
        if step == LEASE_CHECK_MS && now.since(last) > 3 * HEARTBEAT_MS {
            return vec![(now, event)];
        }
        let mut ticks: Vec<(Moment, Event)> = Vec::new();
        let mut at = last.after(step);
        while at < now {
            ticks.push((at, event.clone()));
            at = at.after(step);
        }
        ticks.push((now, event));
        ticks
    }

    pub(crate) fn twist_effects(&mut self, event: &Event, mut effects: Vec<Effect>) -> Vec<Effect> {
        if self.sabotage.is_some_and(needs_holders) {
            for effect in &effects {
                if let Effect::Send { session, message: RunnerCommand::Lease(lease) } = effect {
                    self.holders.insert(lease.attempt, *session);
                }
            }
        }
        if let Some(sabotage) = self.sabotage {
            self.twist_records(sabotage, &mut effects);
            self.twist_left_records(sabotage, &mut effects);
        }
        if self.is(Sabotage::AlwaysPasses) {
            for effect in &mut effects {
                if let Effect::Persist(Record::BuildFinished { verdict, .. }) = effect {
                    *verdict = Verdict::Passed;
                }
            }
        }
        if self.is(Sabotage::CountsWhatIsLeftOut) {
            for effect in &mut effects {
                if let Effect::Persist(Record::BuildFinished { build, verdict: verdict @ Verdict::Passed, .. }) = effect
                    && self.dispatcher.store.jobs.values().any(|job| job.build == *build && is_left_out(job))
                {
                    *verdict = Verdict::Failed;
                }
            }
        }
        if self.is(Sabotage::KeepsWhatIsGone) && matches!(event, Event::RefGone { .. }) {
            let ends = |record: &Record| matches!(record, Record::JobFinished { .. } | Record::BuildFinished { .. });
            effects.retain(|effect| !matches!(effect, Effect::Persist(record) if ends(record)));
        }
        if self.is(Sabotage::RecordsReplays)
            && let Event::AttemptFinished { attempt, outcome, .. } = event
            && matches!(effects.as_slice(), [Effect::Send { message: RunnerCommand::Recorded { .. }, .. }])
        {
            let (attempt, outcome) = (*attempt, outcome.clone());
            let (log, duration_ms, at) = (LogSummary::default(), None, WallTime(0));
            effects.insert(0, Effect::Persist(Record::AttemptFinished { attempt, outcome, log, duration_ms, at }));
        }
        effects
    }

    pub(crate) fn twist_release_first(&self) -> bool {
        self.is(Sabotage::EffectsBeforeCommit)
    }

    pub(crate) fn twist_failed_commit(&mut self) {
        if self.is(Sabotage::AnswersWithoutRoom) {
            self.release_all();
        }
    }

    pub(crate) fn heeds_limit(&self) -> bool {
        !self.is(Sabotage::IgnoresOwnDeadline)
    }

    pub(crate) fn trusts_itself(&self) -> bool {
        self.is(Sabotage::ObserverTrustsItself)
    }

    /// The heads that an observer counts as accepted at its start: none, unless it is sabotaged.
    pub(crate) fn trusted_heads(
        &self,
        repo: usize,
    ) -> Option<std::collections::BTreeMap<surveil::model::RefName, surveil::model::CommitId>> {
        self.trusts_itself().then(|| self.repos[repo].heads.clone())
    }
}
