//! Requests of observers and operators: commits are accepted, refs dropped, builds cancelled.

use std::collections::HashMap;
use std::sync::Arc;

use super::event::RequestId;
use super::jobs::hold_dependents;
use super::state::{LiveBuild, LiveJob, LiveNeed};
use super::tables::Timer;
use super::turn::Turn;
use super::{Reply, Scheduler};
use crate::model::reason::{CancelReason, DecisionKind, NamedJobs, Notice, OrderDone};
use crate::model::{
    AcceptedHead, Build, BuildId, BuildSource, Ending, Job, JobId, JobState, Moment, Plan, PlannedTask, Record,
    RefName, RepoName, TaskName, Verdict,
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
        let source = BuildSource { trigger: source.trigger.numbered(number), ..source };
        let build = self.add_build(turn, source.clone(), plan);
        self.supersede(turn, build, &source);
        let build = Some(build);
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
        let (Plan { tasks, settings, schedules: _ }, problem) = match plan {
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
            Job { id: job, build: id, task: self.tasks.share(task.spec), state, attempts: 0, failures: 0, losses: 0 }
        };
        let mut jobs: Vec<Job> = (first..).map(JobId).zip(tasks).map(fresh).collect();
        hold_dependents(&mut jobs);
        let build = Build {
            id,
            source,
            created_at: turn.at,
            rerun_at: None,
            finished_at: None,
            verdict: None,
            problem,
            settings,
        };
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
            settings: build.settings.clone(),
            jobs: ids,
            unfinished,
        };
        if let Some(timeout_ms) = live.settings.timeout_ms {
            // After a restart the build has its whole time again: nobody knows how long the dispatcher was away.
            self.tables.set_timer(Timer::Build(build.id), now, timeout_ms);
        }
        self.builds.insert(build.id, live);
        self.add_jobs(now, build.id, jobs);
    }

    /// Adds jobs to a build that is in the state already.
    pub(super) fn join(&mut self, now: Moment, build: BuildId, jobs: Vec<Job>) {
        let live = self.builds.get_mut(&build).expect("jobs join a live build");
        live.jobs.extend(jobs.iter().map(|job| job.id));
        live.unfinished += jobs.iter().filter(|job| job.state.is_awaited()).count();
        self.add_jobs(now, build, jobs);
    }

    /// Adds the jobs of a live build to the tables. They may need one another, and jobs that were there before.
    fn add_jobs(&mut self, now: Moment, build: BuildId, jobs: Vec<Job>) {
        let live = &self.builds[&build];
        let (source, settings) = (Arc::clone(&live.source), live.settings.clone());
        let there = live.jobs.iter().filter_map(|id| Some((self.jobs.get(id)?.task.name.clone(), *id)));
        let by_name: HashMap<TaskName, JobId> =
            there.chain(jobs.iter().map(|job| (job.task.name.clone(), job.id))).collect();
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
            let priority = settings.priority_of(&job.task);
            let mut job = LiveJob::new(job, source.clone(), needs, now, priority);
            if is_in_line {
                job.lines = self.tables.join_lines(now, (job.build, id), job.lines_of_task());
            }
            self.jobs.insert(id, Box::new(job));
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
    pub(super) fn cancel(
        &mut self,
        turn: &mut Turn,
        request: RequestId,
        build: BuildId,
        of: Option<NamedJobs>,
        by: Option<String>,
    ) {
        let Some(live) = self.builds.get(&build) else {
            // That it is over is what was asked for.
            return turn.reply(request, Reply::Done(OrderDone::NothingToCancel { build, of }));
        };
        let chosen: Vec<JobId> =
            live.jobs.iter().copied().filter(|id| of.as_ref().is_none_or(|of| of.jobs.contains(id))).collect();
        let mut cancelled = 0;
        for id in chosen {
            let Some(live) = self.jobs.get(&id) else { continue };
            match live.state {
                JobState::Finished(_) => continue,
                JobState::Waiting | JobState::Held | JobState::Queued => {}
                JobState::Leased(attempt) => self.cancel_lease(turn, attempt),
            }
            cancelled += 1;
            turn.decide(build, id, None, DecisionKind::CancelAsked { by: by.clone() });
            let reason = by.clone().map(|by| Box::new(CancelReason::Asked { by }));
            self.finish_job(turn, id, Ending::Cancelled(reason));
        }
        let done = match cancelled {
            0 => OrderDone::NothingToCancel { build, of },
            jobs => OrderDone::Cancelled { build, of, jobs },
        };
        turn.reply(request, Reply::Done(done));
    }
}

/// Returns the state in which the job of a task begins, as far as the task alone decides.
pub(super) fn first_state(task: &PlannedTask) -> JobState {
    match &task.left_out {
        Some(reason) => JobState::Finished(Ending::LeftOut(Box::new(reason.clone()))),
        None if task.held => JobState::Held,
        None if task.spec.placement.needs.is_empty() => JobState::Queued,
        None => JobState::Waiting,
    }
}
