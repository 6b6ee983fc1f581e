//! Finished builds go on: jobs run again, and held jobs are started. A held job of an unfinished build starts here,
//! too.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::event::RequestId;
use super::jobs::hold_dependents;
use super::tables::Timer;
use super::turn::Turn;
use super::{Reply, Scheduler};
use crate::model::reason::{DecisionKind, LeftOutReason, NamedJobs, OrderDone, RefusalReason, SkipReason};
use crate::model::{
    Build, BuildId, Condition, Ending, Job, JobId, JobState, Moment, Readiness, Record, TaskName, TaskSpec, WholeBuild,
};

/// A person's order to start a held job.
pub(super) struct Start {
    pub(super) job: JobId,
    /// The name of the person.
    pub(super) by: String,
    /// Whether it starts also if its build is not the newest of its ref.
    pub(super) force: bool,
    /// Values for the inputs of the tasks that start, by name.
    pub(super) inputs: BTreeMap<String, String>,
}

impl Scheduler {
    /// Runs the jobs of a finished build again: all, those that did not pass, or some of them with the jobs that did
    /// not pass because of those. Attempts are added; the old ones stay.
    pub(super) fn rerun(
        &mut self,
        turn: &mut Turn,
        request: RequestId,
        mut restored: WholeBuild,
        (failed_only, only): (bool, Option<NamedJobs>),
        by: Option<&str>,
    ) {
        let id = restored.build.id;
        if self.builds.contains_key(&id) {
            return turn.reply(request, Reply::Refused(RefusalReason::BuildUnfinished { build: id }));
        }
        let is_named = |id: JobId| only.as_ref().is_some_and(|only| only.jobs.contains(&id));
        let again = jobs_to_repeat(&restored.jobs, failed_only, only.as_ref());
        let mut chosen = restored.jobs.iter().filter(|job| again.contains(&job.id));
        if let Some(reason) = chosen.find_map(|job| self.not_over(turn.now, job)) {
            return turn.reply(request, Reply::Refused(reason));
        }
        for job in restored.jobs.iter_mut().filter(|job| again.contains(&job.id)) {
            // A manual job that failed was started, and its failure is to be mended. Any other one is held anew.
            let has_failed = matches!(job.state, JobState::Finished(Ending::Failed | Ending::Errored(_)));
            let goes_on = is_named(job.id) || failed_only && has_failed;
            // Whether it can be queued is known only when all jobs of the build are in the state.
            job.state = if job.task.placement.manual && !goes_on { JobState::Held } else { JobState::Waiting };
            (job.failures, job.losses) = (0, 0);
        }
        let hopeless = end_hopeless(&mut restored.jobs, &again);
        hold_dependents(&mut restored.jobs);
        // Their endings are recorded once all jobs of the build are in the state.
        let ended = restored.jobs.iter_mut().filter(|job| hopeless.contains(&job.id));
        ended.for_each(|job| job.state = JobState::Held);
        let of = |state: &JobState| {
            let jobs = restored.jobs.iter().filter(|job| again.contains(&job.id) && job.state == *state);
            jobs.map(|job| job.id).collect::<Vec<JobId>>()
        };
        let (queued, held) = (of(&JobState::Waiting), of(&JobState::Held));
        if queued.is_empty() {
            let reason = nothing_to_repeat(&restored, failed_only, only);
            return turn.reply(request, Reply::Refused(reason));
        }
        let asked: Vec<JobId> = queued.iter().copied().filter(|job| is_named(*job)).collect();
        let mut reasons = asked.iter().filter_map(|job| never_starts(&restored, *job));
        // Of a matrix, some cells may start.
        if let Some(reason) = reasons.next().filter(|_| reasons.count() + 1 == asked.len()) {
            return turn.reply(request, Reply::Refused(reason));
        }
        turn.persist(Record::BuildReopened { build: id });
        for job in &queued {
            turn.decide(id, *job, None, DecisionKind::RerunAsked { by: by.map(str::to_owned) });
        }
        for job in held {
            turn.persist(Record::JobHeld { job });
        }
        restored.build.rerun_at = Some(turn.at);
        self.admit(turn.now, &restored.build, restored.jobs);
        for job in &queued {
            match self.readiness(*job) {
                Readiness::Ready => self.requeue(turn, *job, 0),
                // Also a job that is to end at once: its earlier ending has to be revoked first.
                Readiness::NotYet | Readiness::Never(_) => turn.persist(Record::JobWaiting { job: *job }),
            }
        }
        self.settle_build(turn, id);
        let is_over = |job: &JobId| self.jobs.get(job).is_none_or(|job| matches!(job.state, JobState::Finished(_)));
        let count = |jobs: &[JobId]| jobs.iter().filter(|job| !is_over(job)).count();
        let (jobs, named) = (count(&queued), count(&asked));
        turn.reply(request, Reply::Done(OrderDone::Rerun { build: id, of: only, jobs, named }));
    }

    /// Starts a held job, and with it the jobs that were held because of it. A finished build is reopened for that, and
    /// its verdict is made anew.
    pub(super) fn start_held(&mut self, turn: &mut Turn, request: RequestId, mut restored: WholeBuild, start: Start) {
        let id = restored.build.id;
        let is_live = self.builds.contains_key(&id);
        let newer = self.newer_build(&restored.build);
        let task = match (self.may_start(&restored, start.job), newer) {
            (Ok(task), Some(newer)) if !start.force => {
                let reason = RefusalReason::NewerBuild { build: id, task, newer };
                return turn.reply(request, Reply::Refused(reason));
            }
            (Ok(task), _) => task,
            (Err(reason), _) => return turn.reply(request, Reply::Refused(reason)),
        };
        let is_held = |job: &Job| self.jobs.get(&job.id).map_or(&job.state, |live| &live.state) == &JobState::Held;
        let released = released_with(&restored.jobs, start.job, is_held);
        let given = match give(&restored.jobs, (&task, &released), &start.inputs) {
            Ok(given) => given,
            Err(reason) => return turn.reply(request, Reply::Refused(reason)),
        };
        if !is_live {
            turn.persist(Record::BuildReopened { build: id });
            restored.build.rerun_at = Some(turn.at);
            self.admit(turn.now, &restored.build, restored.jobs);
        }
        for (job, task) in given {
            turn.persist(Record::TaskGiven { job, task: Arc::clone(&task) });
            self.jobs.get_mut(&job).expect("a held job of a live build").task = task;
        }
        turn.decide(id, start.job, None, DecisionKind::started(start.by, start.inputs, newer, !is_live));
        self.release(turn.now, &released);
        for job in &released {
            if self.jobs.get(job).is_some_and(|job| job.state == JobState::Waiting) {
                self.queue_or_wait(turn, *job);
            }
        }
        let waits = self.jobs.get(&start.job).is_some_and(|job| job.state == JobState::Waiting);
        turn.reply(request, Reply::Done(OrderDone::Started { build: id, task, waits }));
    }

    /// Returns the task of a job that may be started, or the reason why it may not. The state has the jobs of an
    /// unfinished build, the store those of a finished one.
    fn may_start(&self, restored: &WholeBuild, wanted: JobId) -> Result<TaskName, RefusalReason> {
        let build = restored.build.id;
        let state = |job: &Job| self.jobs.get(&job.id).map_or(&job.state, |live| &live.state).clone();
        let Some(job) = restored.jobs.iter().find(|job| job.id == wanted) else {
            return Err(RefusalReason::UnknownBuild { build });
        };
        let (task, now) = (job.task.name.clone(), state(job));
        if now != JobState::Held {
            return Err(RefusalReason::NotHeld { build, task, state: now.kind() });
        }
        let is_needed = |other: &&Job| job.task.placement.needs.iter().any(|need| need.task == other.task.name);
        let held = restored.jobs.iter().filter(is_needed).find(|other| state(other) == JobState::Held);
        match held {
            Some(held) => Err(RefusalReason::NeedsHeld { build, task, needs: held.task.name.clone() }),
            None => Ok(task),
        }
    }

    /// Returns the build of a later move of the same ref, if there is one.
    fn newer_build(&self, build: &Build) -> Option<BuildId> {
        let trigger = &build.source.trigger;
        let key = (build.source.repo.clone(), trigger.reference.clone());
        let head = self.heads.get(&key).filter(|_| trigger.number() > 0)?;
        head.build.filter(|newest| *newest > build.id)
    }

    /// Makes held jobs wait for their turn.
    pub(super) fn release(&mut self, now: Moment, released: &[JobId]) {
        for id in released {
            let job = self.jobs.get_mut(id).expect("a held job of a live build");
            job.state = JobState::Waiting;
            let build = job.build;
            job.lines = self.tables.join_lines(now, (build, *id), job.lines_of_task());
            self.builds.get_mut(&build).expect("a live job has a live build").unfinished += 1;
        }
    }

    /// Returns the reason why a cancelled job that takes turns cannot run again yet: its attempt may not have ended.
    /// After a restart the scheduler does not know that attempt, so it waits until its runner has ended it in any case.
    fn not_over(&self, now: Moment, job: &Job) -> Option<RefusalReason> {
        let is_cancelled = matches!(job.state, JobState::Finished(Ending::Cancelled(_)));
        if !job.task.recipe.exclusive || !is_cancelled || job.attempts == 0 {
            return None;
        }
        let (build, task) = (job.build, job.task.name.clone());
        let group = job.task.placement.group.as_ref().map(|group| group.name.clone());
        let group = group.filter(|_| !job.task.is_exclusive());
        if let Some((_, lease)) = self.tables.leases().iter().find(|(_, lease)| lease.job == job.id) {
            let (number, runner) = (lease.number, self.known_name(lease.runner));
            return Some(RefusalReason::StillEnding { build, task, group, number, runner });
        }
        let wait_ms = self.tables.deadlines().at(&Timer::OldExclusives)?.since(now);
        (wait_ms > 0).then_some(RefusalReason::MayStillRun { build, task, group, wait_ms })
    }
}

/// Returns a held job, and the jobs that are held because of it alone, directly or not.
fn released_with(jobs: &[Job], first: JobId, is_held: impl Fn(&Job) -> bool) -> Vec<JobId> {
    let held: HashMap<&TaskName, &Job> =
        jobs.iter().filter(|job| is_held(job)).map(|job| (&job.task.name, job)).collect();
    // How many held jobs each of them waits for, and which ones wait for it.
    let mut open: HashMap<JobId, usize> = HashMap::new();
    let mut needed_by: HashMap<JobId, Vec<&Job>> = HashMap::new();
    for job in held.values() {
        for needed in job.task.placement.needs.iter().filter_map(|need| held.get(&need.task)) {
            *open.entry(job.id).or_default() += 1;
            needed_by.entry(needed.id).or_default().push(job);
        }
    }
    let mut released = vec![first];
    let mut at = 0;
    while let Some(id) = released.get(at).copied() {
        at += 1;
        for next in needed_by.remove(&id).unwrap_or_default() {
            let open = open.entry(next.id).or_default();
            *open = open.saturating_sub(1);
            if *open == 0 && !next.task.placement.manual {
                released.push(next.id);
            }
        }
    }
    // In the order of the task file.
    released[1..].sort_unstable();
    released
}

/// Gives values to the inputs of the jobs that start with `task`. Returns the tasks that have changed by it. Each value
/// must be for one of them, and each of their inputs needs a value.
fn give(
    jobs: &[Job],
    (task, starting): (&TaskName, &[JobId]),
    values: &BTreeMap<String, String>,
) -> Result<Vec<(JobId, Arc<TaskSpec>)>, RefusalReason> {
    let jobs: Vec<&Job> = starting.iter().filter_map(|id| jobs.iter().find(|job| job.id == *id)).collect();
    let Some(build) = jobs.first().map(|job| job.build) else { return Ok(Vec::new()) };
    let known: BTreeSet<&String> = jobs.iter().flat_map(|job| &job.task.placement.inputs).map(|it| &it.name).collect();
    if let Some(name) = values.keys().find(|name| !known.contains(name)) {
        let (name, known) = (name.clone(), known.into_iter().cloned().collect());
        return Err(RefusalReason::UnknownInput { build, task: task.clone(), name, known });
    }
    let mut given = Vec::new();
    for job in jobs {
        let mut spec = (*job.task).clone();
        let names = spec.set_inputs(values);
        if !names.is_empty() {
            return Err(RefusalReason::MissingInputs { build, task: job.task.name.clone(), names });
        }
        if spec != *job.task {
            given.push((job.id, Arc::new(spec)));
        }
    }
    Ok(given)
}

/// Returns the jobs of a finished build that begin anew.
fn jobs_to_repeat(jobs: &[Job], failed_only: bool, only: Option<&NamedJobs>) -> HashSet<JobId> {
    let is_planned_out = |job: &Job| match &job.state {
        JobState::Finished(Ending::LeftOut(reason)) => **reason != LeftOutReason::NothingFailed,
        JobState::Waiting | JobState::Held | JobState::Queued | JobState::Leased(_) | JobState::Finished(_) => false,
    };
    let mut again = match only {
        Some(only) => with_dependents(jobs, failed_only, &only.jobs),
        None => {
            let is_wanted = |job: &&Job| match &job.state {
                JobState::Held => false,
                JobState::Finished(Ending::Passed) => !failed_only,
                JobState::Finished(Ending::LeftOut(_)) => !failed_only && !is_planned_out(job),
                JobState::Waiting | JobState::Queued | JobState::Leased(_) | JobState::Finished(_) => true,
            };
            jobs.iter().filter(is_wanted).map(|job| job.id).collect()
        }
    };
    // A job that runs after the end of others, such as one that cleans up, runs again after they have run again.
    let ids: HashMap<&TaskName, JobId> = jobs.iter().map(|job| (&job.task.name, job.id)).collect();
    loop {
        let follows = |job: &&Job| {
            let needs = job.task.placement.needs.iter().filter(|need| need.condition != Condition::Passed);
            let has_one = needs.filter_map(|need| ids.get(&need.task)).any(|needed| again.contains(needed));
            has_one && job.state != JobState::Held && !is_planned_out(job) && !again.contains(&job.id)
        };
        let more: Vec<JobId> = jobs.iter().filter(follows).map(|job| job.id).collect();
        if more.is_empty() {
            return again;
        }
        again.extend(more);
    }
}

/// Returns some jobs, or only those of them that did not pass, and the jobs that need them, directly or not, and did
/// not pass. A job that is held or left out did not come to nothing because of another.
fn with_dependents(jobs: &[Job], failed_only: bool, only: &[JobId]) -> HashSet<JobId> {
    let did_not_pass =
        |job: &&Job| !matches!(job.state, JobState::Held | JobState::Finished(Ending::Passed | Ending::LeftOut(_)));
    let begins = |job: &&Job| job.state != JobState::Held && (!failed_only || did_not_pass(job));
    let named = jobs.iter().filter(|job| only.contains(&job.id));
    let mut wanted: HashSet<JobId> = named.filter(begins).map(|job| job.id).collect();
    loop {
        let names: HashSet<_> = jobs.iter().filter(|job| wanted.contains(&job.id)).map(|job| &job.task.name).collect();
        let needs_one = |job: &&Job| job.task.placement.needs.iter().any(|need| names.contains(&need.task));
        let more: Vec<JobId> = jobs.iter().filter(did_not_pass).filter(needs_one).map(|job| job.id).collect();
        let before = wanted.len();
        wanted.extend(more);
        if wanted.len() == before {
            return wanted;
        }
    }
}

/// Ends those of the held jobs that can never start, so that they hold nothing. Returns them.
fn end_hopeless(jobs: &mut [Job], again: &HashSet<JobId>) -> Vec<JobId> {
    let mut open: Vec<usize> = (0..jobs.len()).filter(|at| jobs[*at].state == JobState::Held).collect();
    open.retain(|at| again.contains(&jobs[*at].id));
    let mut hopeless = Vec::new();
    loop {
        let of_name = by_name(jobs);
        let ending = |at: &usize| match readiness_of(&of_name, &jobs[*at]) {
            Readiness::Never(ending) => Some((*at, ending)),
            Readiness::Ready | Readiness::NotYet => None,
        };
        let ended: Vec<(usize, Ending)> = open.iter().filter_map(ending).collect();
        if ended.is_empty() {
            return hopeless;
        }
        for (at, ending) in ended {
            jobs[at].state = JobState::Finished(ending);
            hopeless.push(jobs[at].id);
        }
        open.retain(|at| jobs[*at].state == JobState::Held);
    }
}

fn by_name(jobs: &[Job]) -> HashMap<&TaskName, &Job> {
    jobs.iter().map(|job| (&job.task.name, job)).collect()
}

/// Judges whether a job of a finished build may start, by the states of those that it needs.
fn readiness_of(of_name: &HashMap<&TaskName, &Job>, job: &Job) -> Readiness {
    Readiness::of(job.task.placement.needs.iter().filter_map(|need| {
        let needed = of_name.get(&need.task)?;
        let ending = if let JobState::Finished(ending) = &needed.state { Some(ending.kind()) } else { None };
        Some((need.condition, ending, &*needed.task))
    }))
}

/// Returns the reason why a job would not start, although it was asked for: what it needs has ended otherwise, and does
/// not run again with it.
fn never_starts(restored: &WholeBuild, only: JobId) -> Option<RefusalReason> {
    let job = restored.jobs.iter().find(|job| job.id == only)?;
    let Readiness::Never(ending) = readiness_of(&by_name(&restored.jobs), job) else { return None };
    let (build, task) = (restored.build.id, job.task.name.clone());
    Some(match skipped_for(&ending) {
        Some(needs) => RefusalReason::NeedsOther { build, task, needs },
        None => RefusalReason::NothingFailed { build, task },
    })
}

/// The task for which a job is skipped.
fn skipped_for(ending: &Ending) -> Option<TaskName> {
    let Ending::Skipped(reason) = ending else { return None };
    if let SkipReason::NeedNotPassed { task, .. } = &**reason { Some(task.clone()) } else { None }
}

/// Returns the reason why a rerun would run nothing.
fn nothing_to_repeat(restored: &WholeBuild, failed_only: bool, only: Option<NamedJobs>) -> RefusalReason {
    let build = restored.build.id;
    let is_named = |job: &&Job| only.as_ref().is_some_and(|only| only.jobs.contains(&job.id));
    let held = restored.jobs.iter().filter(is_named).find(|job| job.state == JobState::Held);
    match (&restored.build.problem, held) {
        (Some(_), _) => RefusalReason::BrokenTasks { build },
        (None, Some(held)) => RefusalReason::StillHeld { build, task: held.task.name.clone() },
        (None, None) if restored.jobs.is_empty() => RefusalReason::NoJobs { build },
        (None, None) if failed_only => RefusalReason::AllPassed { build, of: only },
        (None, None) => RefusalReason::NothingRan { build },
    }
}
