//! Requests of observers and operators: commits are accepted, refs dropped, builds cancelled and run again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::event::RequestId;
use super::state::{LiveBuild, LiveJob, LiveNeed};
use super::tables::Timer;
use super::turn::Turn;
use super::{Reply, Scheduler};
use crate::model::reason::{DecisionKind, Notice, OrderDone, RefusalReason};
use crate::model::{
    AcceptedHead, Build, BuildId, BuildSource, Ending, Job, JobId, JobState, Moment, Plan, PlannedTask, Record,
    RefName, RepoName, TaskName, Verdict, WholeBuild,
};

impl Scheduler {
    /// Accepts a commit if it follows the accepted head: the ref has moved, and each move makes a build. An
    /// announcement of the commit at which the ref is already repeats the last move.
    pub(super) fn observe_commit(
        &mut self,
        turn: &mut Turn,
        request: RequestId,
        source: BuildSource,
        mut plan: Result<Plan, String>,
        seen: Option<u64>,
    ) {
        let reference = source.trigger.reference.clone();
        let key = (source.repo.clone(), reference.clone());
        let head = self.heads.get(&key).copied();
        if let Some(head) = head.filter(|head| head.commit == source.commit) {
            return turn.reply(request, Reply::Accepted { build: head.build, moves: self.moves(&source.repo) });
        }
        if head.map(|head| head.commit) != source.trigger.before() || self.is_outdated(&source.repo, head, seen) {
            return turn.reply(request, self.stale(source.repo, reference, head));
        }
        let (repo, commit, number) = (source.repo.clone(), source.commit, self.next_move(&source.repo));
        turn.persist(Record::HeadMoved { repo: repo.clone(), reference, head: Some(commit), number });
        // A task file with a mistake has no schedules.
        let schedules = plan.as_mut().map(|plan| std::mem::take(&mut plan.schedules)).unwrap_or_default();
        self.accept_schedules(turn, (&source.repo, &key.1), &schedules);
        let build =
            Some(self.add_build(turn, BuildSource { trigger: source.trigger.numbered(number), ..source }, plan));
        self.heads.insert(key, AcceptedHead { commit, number, build, is_noted: false });
        turn.reply(request, Reply::Accepted { build, moves: number });
    }

    /// Makes the build that an operator asked for, unless the same request has made one before. Moves no head.
    pub(super) fn accept_request(
        &mut self,
        turn: &mut Turn,
        request: RequestId,
        source: BuildSource,
        plan: Result<Plan, String>,
        earlier: Option<BuildId>,
    ) {
        let moves = self.moves(&source.repo);
        let build = earlier.unwrap_or_else(|| self.add_build(turn, source, plan));
        turn.reply(request, Reply::Accepted { build: Some(build), moves });
    }

    /// Whether an announcement was made before its observer knew of the last move of the ref. The ref may have
    /// come back to the same head since, so that the heads alone do not show it. An observer of an earlier version says
    /// nothing about what it has seen, and then only the heads decide.
    pub(super) fn is_outdated(&self, repo: &RepoName, head: Option<AcceptedHead>, seen: Option<u64>) -> bool {
        // A ref without a head may have ended. The last end of any ref stands for it, so that ended refs need
        // not be remembered. At worst the observer asks once more.
        let ended = || self.moves.get(repo).map_or(0, |moves| moves.end);
        seen.is_some_and(|seen| seen < head.map_or_else(ended, |head| head.number))
    }

    pub(super) fn stale(&self, repo: RepoName, reference: RefName, head: Option<AcceptedHead>) -> Reply {
        let moves = self.moves(&repo);
        Reply::Stale { repo, reference, head: head.map(|head| head.commit), moves }
    }

    pub(super) fn next_move(&mut self, repo: &RepoName) -> u64 {
        let moves = self.moves.entry(repo.clone()).or_default();
        moves.last += 1;
        moves.last
    }

    pub(super) fn add_build(&mut self, turn: &mut Turn, source: BuildSource, plan: Result<Plan, String>) -> BuildId {
        self.last_build += 1;
        let id = BuildId(self.last_build);
        let (Plan { tasks, settings: _, schedules: _ }, problem) = match plan {
            Ok(plan) => (plan, None),
            Err(problem) => (Plan::default(), Some(problem)),
        };
        turn.note(Notice::BuildAdded {
            build: id,
            repo: source.repo.clone(),
            reference: source.trigger.reference.clone(),
            commit: source.commit,
            tasks: tasks.len(),
        });
        let first = self.last_job + 1;
        self.last_job += tasks.len() as u64;
        let because = |(job, task): (JobId, &PlannedTask)| Some((job, task.because.clone()?));
        let chosen: Vec<_> = (first..).map(JobId).zip(&tasks).filter_map(because).collect();
        let fresh = |(job, task): (JobId, PlannedTask)| {
            let state = first_state(&task);
            Job { id: job, build: id, task: Arc::new(task.spec), state, attempts: 0, failures: 0, losses: 0 }
        };
        let mut jobs: Vec<Job> = (first..).map(JobId).zip(tasks).map(fresh).collect();
        hold_dependents(&mut jobs);
        let build =
            Build { id, source, created_at: turn.at, rerun_at: None, finished_at: None, verdict: None, problem };
        turn.persist(Record::BuildAdded { build: Box::new(build.clone()), jobs: jobs.clone() });
        for (job, reason) in chosen {
            turn.decide(id, job, None, DecisionKind::Chosen { reason });
        }
        if jobs.is_empty() {
            turn.persist(Record::BuildFinished { build: id, verdict: Verdict::Errored, at: turn.at });
        } else {
            self.admit(turn.now, &build, jobs);
            self.settle_build(turn, id);
        }
        id
    }

    /// Adds the jobs of a build to the state, and queues those that are queued.
    pub(super) fn admit(&mut self, now: Moment, build: &Build, jobs: Vec<Job>) {
        let source: Arc<BuildSource> = Arc::new(build.source.clone());
        let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
        let unfinished = jobs.iter().filter(|job| job.state.is_awaited()).count();
        let live = LiveBuild {
            source: source.clone(),
            begun_at: build.rerun_at.unwrap_or(build.created_at),
            jobs: ids,
            unfinished,
        };
        self.builds.insert(build.id, live);
        let by_name: HashMap<TaskName, JobId> = jobs.iter().map(|job| (job.task.name.clone(), job.id)).collect();
        let mut links = Vec::new();
        for job in jobs {
            let (id, is_queued) = (job.id, job.state == JobState::Queued);
            let needs = job.task.placement.needs.iter();
            let needs: Vec<LiveNeed> = needs
                .filter_map(|need| Some(LiveNeed { job: *by_name.get(&need.task)?, condition: need.condition }))
                .collect();
            links.extend(needs.iter().map(|need| (need.job, id)));
            // A held job is in nobody's way: it joins the line of its task when it is started.
            let is_in_line = job.state.is_awaited();
            let job = LiveJob::new(job, source.clone(), needs, now);
            if is_in_line {
                self.tables.join_lines(now, (job.build, id), job.lines());
            }
            self.jobs.insert(id, job);
            if is_queued {
                self.enqueue(now, now, id);
            }
        }
        for (needed, id) in links {
            self.jobs.get_mut(&needed).expect("a need is a job of the same build").needed_by.push(id);
        }
    }

    /// Cancels the unfinished jobs of a build, or one of them. That is in force at once: the outcomes are recorded now,
    /// and the runners are told when they can be reached.
    pub(super) fn cancel(&mut self, turn: &mut Turn, request: RequestId, build: BuildId, job: Option<JobId>) {
        let Some(live) = self.builds.get(&build) else {
            // That it is over is what was asked for.
            return turn.reply(request, Reply::Done(OrderDone::NothingToCancel { build }));
        };
        let chosen: Vec<JobId> = live.jobs.iter().copied().filter(|id| job.is_none_or(|only| only == *id)).collect();
        let mut cancelled = 0;
        for id in chosen {
            let Some(live) = self.jobs.get(&id) else { continue };
            match live.state {
                JobState::Finished(_) => continue,
                JobState::Waiting | JobState::Held | JobState::Queued => {}
                JobState::Leased(attempt) => self.cancel_lease(turn, attempt),
            }
            cancelled += 1;
            turn.decide(build, id, None, DecisionKind::CancelAsked);
            self.finish_job(turn, id, Ending::Cancelled(None));
        }
        let done = match cancelled {
            0 => OrderDone::NothingToCancel { build },
            jobs => OrderDone::Cancelled { build, jobs },
        };
        turn.reply(request, Reply::Done(done));
    }

    /// Runs the jobs of a finished build again: all, those that did not pass, or one of them with the jobs that did not
    /// pass because of it. Attempts are added; the old ones stay.
    pub(super) fn rerun(
        &mut self,
        turn: &mut Turn,
        request: RequestId,
        mut restored: WholeBuild,
        (failed_only, only): (bool, Option<JobId>),
    ) {
        let id = restored.build.id;
        if self.builds.contains_key(&id) {
            return turn.reply(request, Reply::Refused(RefusalReason::BuildUnfinished { build: id }));
        }
        let wanted = only.map(|only| with_dependents(&restored.jobs, only));
        let again = |job: &Job| {
            let stays = matches!(job.state, JobState::Held | JobState::Finished(Ending::LeftOut(_)));
            let is_wanted = wanted.as_ref().map_or(!stays, |wanted| wanted.contains(&job.id));
            is_wanted && (!failed_only || job.state != JobState::Finished(Ending::Passed))
        };
        let count = restored.jobs.iter().filter(|job| again(job)).count();
        if count == 0 {
            let reason = match (&restored.build.problem, failed_only) {
                (Some(_), _) => RefusalReason::BrokenTasks { build: id },
                (None, true) => RefusalReason::AllPassed { build: id },
                (None, false) => RefusalReason::NoJobs { build: id },
            };
            return turn.reply(request, Reply::Refused(reason));
        }
        let mut chosen = restored.jobs.iter().filter(|job| again(job));
        if let Some(reason) = chosen.find_map(|job| self.not_over(turn.now, job)) {
            return turn.reply(request, Reply::Refused(reason));
        }
        turn.persist(Record::BuildReopened { build: id });
        let mut chosen = Vec::new();
        for job in restored.jobs.iter_mut().filter(|job| again(job)) {
            chosen.push(job.id);
            // Whether it can be queued is known only when all jobs of the build are in the state.
            job.state = JobState::Waiting;
            (job.failures, job.losses) = (0, 0);
            turn.decide(id, job.id, None, DecisionKind::RerunAsked);
        }
        restored.build.rerun_at = Some(turn.at);
        self.admit(turn.now, &restored.build, restored.jobs);
        for job in chosen {
            self.queue_or_wait(turn, job);
        }
        self.settle_build(turn, id);
        turn.reply(request, Reply::Done(OrderDone::Rerun { build: id, jobs: count }));
    }

    /// Returns the reason why an exclusive job that was cancelled cannot run again yet: its attempt may not have ended.
    /// After a restart the scheduler does not know that attempt, so it waits until its runner has ended it in any case.
    fn not_over(&self, now: Moment, job: &Job) -> Option<RefusalReason> {
        let is_cancelled = matches!(job.state, JobState::Finished(Ending::Cancelled(_)));
        if !job.task.recipe.exclusive || !is_cancelled || job.attempts == 0 {
            return None;
        }
        let (build, task) = (job.build, job.task.name.clone());
        if let Some((_, lease)) = self.tables.leases().iter().find(|(_, lease)| lease.job == job.id) {
            let (number, runner) = (lease.number, self.known_name(lease.runner));
            return Some(RefusalReason::StillEnding { build, task, number, runner });
        }
        let wait_ms = self.tables.deadlines().at(&Timer::OldExclusives)?.since(now);
        (wait_ms > 0).then_some(RefusalReason::MayStillRun { build, task, wait_ms })
    }
}

/// Returns the state in which the job of a task begins, as far as the task alone decides.
fn first_state(task: &PlannedTask) -> JobState {
    match &task.left_out {
        Some(reason) => JobState::Finished(Ending::LeftOut(Box::new(reason.clone()))),
        None if task.held => JobState::Held,
        None if task.spec.placement.needs.is_empty() => JobState::Queued,
        None => JobState::Waiting,
    }
}

/// Holds the waiting jobs of a build that need a held one, directly or not.
fn hold_dependents(jobs: &mut [Job]) {
    let mut held: Vec<TaskName> =
        jobs.iter().filter(|job| job.state == JobState::Held).map(|job| job.task.name.clone()).collect();
    if held.is_empty() {
        return;
    }
    let mut needed_by: HashMap<TaskName, Vec<usize>> = HashMap::new();
    for (at, job) in jobs.iter().enumerate() {
        for need in &job.task.placement.needs {
            needed_by.entry(need.task.clone()).or_default().push(at);
        }
    }
    while let Some(name) = held.pop() {
        for at in needed_by.remove(&name).unwrap_or_default() {
            if jobs[at].state == JobState::Waiting {
                jobs[at].state = JobState::Held;
                held.push(jobs[at].task.name.clone());
            }
        }
    }
}

/// Returns a job, and the jobs that need it, directly or not, and did not pass.
fn with_dependents(jobs: &[Job], only: JobId) -> HashSet<JobId> {
    let mut wanted = HashSet::from([only]);
    loop {
        let names: HashSet<_> = jobs.iter().filter(|job| wanted.contains(&job.id)).map(|job| &job.task.name).collect();
        let needs_one = |job: &&Job| job.task.placement.needs.iter().any(|need| names.contains(&need.task));
        // A job that is held or left out did not come to nothing because of another.
        let did_not_pass = jobs.iter().filter(|job| {
            !matches!(job.state, JobState::Held | JobState::Finished(Ending::Passed | Ending::LeftOut(_)))
        });
        let more: Vec<JobId> = did_not_pass.filter(needs_one).map(|job| job.id).collect();
        let before = wanted.len();
        wanted.extend(more);
        if wanted.len() == before {
            return wanted;
        }
    }
}
