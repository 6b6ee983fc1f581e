//! Jobs: waiting, queued, finished; and the consequences of a job's end for the jobs that need it and for its build.

use std::collections::HashMap;

use super::Scheduler;
use super::tables::Timer;
use super::turn::Turn;
use crate::model::reason::Notice;
use crate::model::{BuildId, Ending, Job, JobId, JobState, Moment, Readiness, Record, TaskName, Verdict};

impl Scheduler {
    /// Queues a job, which no runner gets before `from`. If this needs a record, the caller makes it.
    pub(super) fn enqueue(&mut self, now: Moment, from: Moment, id: JobId) {
        let job = self.jobs.get_mut(&id).expect("only live jobs are queued");
        job.state = JobState::Queued;
        self.tables.enqueue(now, from, job.in_line(id), job.lane(), self.policy.queue_timeout_ms);
    }

    /// Queues a job again and records that, with its counters. No runner gets it before `pause_ms` have passed.
    pub(super) fn requeue(&mut self, turn: &mut Turn, id: JobId, pause_ms: u64) {
        let job = &self.jobs[&id];
        turn.persist(Record::JobQueued { job: id, failures: job.failures, losses: job.losses });
        self.enqueue(turn.now, turn.now.after(pause_ms), id);
    }

    /// Queues a job that was started, lets it wait, or ends it, depending on the jobs that it needs.
    pub(super) fn queue_or_wait(&mut self, turn: &mut Turn, id: JobId) {
        match self.readiness(id) {
            Readiness::Ready => self.requeue(turn, id, 0),
            Readiness::NotYet => turn.persist(Record::JobWaiting { job: id }),
            Readiness::Never(ending) => self.finish_job(turn, id, ending),
        }
    }

    pub(super) fn readiness(&self, id: JobId) -> Readiness {
        let needs = self.jobs[&id].needs.iter().map(|need| {
            let needed = &self.jobs[&need.job];
            let ending = if let JobState::Finished(ending) = &needed.state { Some(ending.kind()) } else { None };
            (need.condition, ending, &*needed.task)
        });
        Readiness::of(needs)
    }

    /// Queues the waiting jobs of a build whose needs have all ended, and ends those that can never start, held ones
    /// included. Finishes the build if its verdict waits for none of its jobs: some are left out from the beginning,
    /// and some are held.
    pub(super) fn settle_build(&mut self, turn: &mut Turn, id: BuildId) {
        let Some(build) = self.builds.get(&id) else { return };
        let is_open = |job: &JobId| matches!(self.jobs[job].state, JobState::Waiting | JobState::Held);
        let open: Vec<JobId> = build.jobs.iter().copied().filter(is_open).collect();
        for job in open {
            for (job, ending) in self.advance(turn, job) {
                // The end of an earlier one may have ended the build.
                if self.jobs.contains_key(&job) {
                    self.finish_job(turn, job, ending);
                }
            }
        }
        self.finish_build_if_done(turn, id);
    }

    /// Queues a waiting job if all that it needs has ended. Lets a held one go that was held only because of others,
    /// none of which is held any more, and with it those that are held because of it. Returns the jobs that can never
    /// start, with their endings.
    fn advance(&mut self, turn: &mut Turn, first: JobId) -> Vec<(JobId, Ending)> {
        let (mut open, mut never) = (vec![first], Vec::new());
        while let Some(id) = open.pop() {
            // The end of an earlier one may have ended the build.
            let Some(job) = self.jobs.get(&id) else { continue };
            let is_held = job.state == JobState::Held;
            if !is_held && job.state != JobState::Waiting {
                continue;
            }
            match self.readiness(id) {
                // To start a held job would be of no use.
                Readiness::Never(ending) => never.push((id, ending)),
                Readiness::Ready if !is_held => self.requeue(turn, id, 0),
                readiness if is_held && !self.stays_held(id) => {
                    self.release(turn.now, &[id]);
                    match readiness {
                        Readiness::Ready => self.requeue(turn, id, 0),
                        Readiness::NotYet | Readiness::Never(_) => turn.persist(Record::JobWaiting { job: id }),
                    }
                    open.extend(self.jobs[&id].needed_by.iter().rev());
                }
                Readiness::Ready | Readiness::NotYet => {}
            }
        }
        never
    }

    /// Whether a held job waits for a person: it is manual, or needs a held job.
    pub(super) fn stays_held(&self, id: JobId) -> bool {
        let job = &self.jobs[&id];
        let mut needs = job.needs.iter();
        job.task.placement.manual || needs.any(|need| self.jobs[&need.job].state == JobState::Held)
    }

    /// Finishes a job: records it, queues or skips the jobs that need it, and finishes the build with its last job. The
    /// caller must have released or cancelled the lease of a leased job.
    pub(super) fn finish_job(&mut self, turn: &mut Turn, id: JobId, ending: Ending) {
        // Skipping spreads along `needs`. A list replaces recursion, because a chain may be a thousand tasks long.
        let build = self.jobs[&id].build;
        let mut ended = vec![(id, ending)];
        let mut failure = None;
        while let Some((id, ending)) = ended.pop() {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            let before = std::mem::replace(&mut job.state, JobState::Finished(ending.clone()));
            match &before {
                JobState::Finished(_) => {
                    // Two of its needs may both skip it. The first reason stands.
                    job.state = before;
                    continue;
                }
                JobState::Queued => self.tables.dequeue(turn.now, id, job.lane()),
                JobState::Waiting | JobState::Held | JobState::Leased(_) => {}
            }
            let (needed_by, place) = (job.needed_by.clone(), job.in_line(id));
            let is_bad = matches!(job.state, JobState::Finished(Ending::Failed | Ending::Errored(_)));
            if is_bad && !job.task.placement.allow_failure {
                failure = failure.or(Some(id));
            }
            self.tables.leave_lines(turn.now, place);
            turn.persist(Record::JobFinished { job: id, ending });
            let of = self.builds.get_mut(&build).expect("a live job has a live build");
            of.unfinished -= usize::from(before.is_awaited());
            for next in needed_by {
                ended.extend(self.advance(turn, next));
            }
        }
        if let Some(failed) = failure {
            self.stop_at_failure(turn, build, failed);
        }
        self.finish_build_if_done(turn, build);
    }

    /// Finishes a build if its verdict waits for none of its jobs.
    fn finish_build_if_done(&mut self, turn: &mut Turn, id: BuildId) {
        // The end of a job may have cancelled others, and the last of them has finished the build.
        if self.builds.get(&id).is_none_or(|build| build.unfinished > 0) {
            return;
        }
        let build = self.builds.remove(&id).expect("looked at just now");
        self.tables.clear_timer(&Timer::Build(id));
        let states = build.jobs.iter().map(|job| {
            let job = &self.jobs[job];
            (&job.state, job.task.placement.allow_failure)
        });
        let verdict = Verdict::of(states).expect("the verdict waits for none of its jobs");
        turn.persist(Record::BuildFinished { build: id, verdict, at: turn.at });
        let seconds = (turn.at.0 - build.begun_at.0).max(0) / 1000;
        let (repo, reference) = (build.source.repo.clone(), build.source.trigger.reference.clone());
        turn.note(Notice::BuildFinished { build: id, repo, reference, verdict, seconds });
        for job in &build.jobs {
            self.jobs.remove(job);
        }
    }
}

/// Holds the waiting jobs of a build that need a held one, directly or not.
pub(super) fn hold_dependents(jobs: &mut [Job]) {
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
