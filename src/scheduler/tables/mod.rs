//! The tables: the queue of jobs, the lines of exclusive tasks and groups, the runners, the leases, and all deadlines.
//! They change together: a lease is also a slot of its runner, a share of its repository and a deadline. Their fields
//! are therefore private to this folder. Every change is a function of [`Tables`], which changes the other tables with
//! it. `pub(crate)` here means the scheduler, because this folder is private to it.
//!
//! The tables decide nothing and record nothing.

mod deadlines;
mod demands;
mod leases;
mod lines;
mod queue;
mod roster;
#[cfg(test)]
mod tests;
mod waiting;

pub(crate) use deadlines::{Deadlines, Timer};
pub(crate) use demands::Demand;
pub(crate) use leases::{Leases, LiveLease, Started};
pub(crate) use lines::{First, InLine, Lines, Obstacle, OwnLines};
pub(crate) use queue::{LaneKey, Queue, Standing};
pub(crate) use roster::{Member, Roster};

use std::collections::BTreeMap;

use lines::{LineId, Settled};

use crate::model::{AttemptId, BuildId, CommitId, Incarnation, JobId, Line, Moment, RunnerId, SessionId};

/// The tables.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    leases: Leases,
    roster: Roster,
    queue: Queue,
    lines: Lines,
    deadlines: Deadlines,
    /// Jobs for which the free slots of a runner are kept, each with the runner and the number of slots that it needs.
    kept: BTreeMap<JobId, (RunnerId, u32)>,
}

impl Tables {
    pub(crate) fn leases(&self) -> &Leases {
        &self.leases
    }

    pub(crate) fn roster(&self) -> &Roster {
        &self.roster
    }

    pub(crate) fn queue(&self) -> &Queue {
        &self.queue
    }

    pub(crate) fn lines(&self) -> &Lines {
        &self.lines
    }

    pub(crate) fn deadlines(&self) -> &Deadlines {
        &self.deadlines
    }

    // Jobs that wait for a runner.

    /// Queues a job at once, or after a pause if `from` is later than `now`. The job may wait for `patience_ms` without
    /// a runner that fits. The pause is no part of that, because no runner is sought for the job meanwhile.
    pub(crate) fn enqueue(&mut self, now: Moment, from: Moment, of: InLine, lane: LaneKey<'_>, patience_ms: u64) {
        self.deadlines.set(Timer::Fit(of.job), from, patience_ms);
        // A job that pauses keeps its place in its lines.
        self.lines.set_queued(of);
        self.settle_lines(now, of.lines);
        if from > now {
            self.queue.pause(of.job, lane);
            self.deadlines.set(Timer::Retry(of.job), now, from.since(now));
        } else {
            self.line_up(of, lane);
        }
    }

    /// Makes a job a candidate if it has no line, or a place in each of its lines. Another job is held until its turn.
    fn line_up(&mut self, of: InLine, lane: LaneKey<'_>) {
        if !of.has_line() {
            return self.queue.push(of.job, lane);
        }
        self.queue.hold(of.job, lane);
        if self.lines.may_run(of) {
            self.queue.let_in(of.job);
        }
    }

    /// Adds an unfinished job to its lines, each with the number of places that it allows, before the job is queued.
    /// Returns its lines.
    pub(crate) fn join_lines(
        &mut self,
        now: Moment,
        (build, job): (BuildId, JobId),
        lines: impl Iterator<Item = (Line, u32)>,
    ) -> OwnLines {
        let own = self.lines.add_job(build, job, lines);
        self.settle_lines(now, own);
        own
    }

    /// Removes a finished job from its lines.
    pub(crate) fn leave_lines(&mut self, now: Moment, of: InLine) {
        self.lines.remove_job(of);
        self.settle_lines(now, of.lines);
    }

    /// Holds up lines whose cancelled attempts may be executing since before the dispatcher started.
    pub(crate) fn doubt_lines(&mut self, lines: impl IntoIterator<Item = Line>) {
        self.lines.doubt(lines);
    }

    pub(crate) fn end_doubts(&mut self, now: Moment) {
        for line in self.lines.end_doubts() {
            self.settle_line(now, line);
        }
    }

    fn settle_lines(&mut self, now: Moment, lines: OwnLines) {
        for line in lines.into_iter().flatten() {
            self.settle_line(now, line);
        }
    }

    /// Makes the queued jobs of a line that have a place candidates, and no other.
    fn settle_line(&mut self, now: Moment, line: LineId) {
        let Settled { out, into } = self.lines.settle(line);
        for job in out {
            // A job of an earlier build is to run again, and comes first.
            self.queue.hold_back(job);
            self.keep_no_longer(now, job);
        }
        for job in into {
            if self.queue.let_in(job) {
                // While it waited for its turn, no runner was sought for it.
                self.deadlines.renew(&Timer::Fit(job), now);
            }
        }
    }

    /// Removes a job from the queue: it is leased now, or has ended.
    pub(crate) fn dequeue(&mut self, now: Moment, job: JobId, lane: LaneKey<'_>) {
        self.keep_no_longer(now, job);
        self.deadlines.clear(&Timer::Fit(job));
        // Its lines are settled when its lease begins, or when it leaves them.
        if self.queue.remove(job, lane) {
            self.deadlines.clear(&Timer::Retry(job));
        }
    }

    /// Ends the pauses of jobs and the rests of runners that are over. `of` says where a queued job stands.
    pub(crate) fn wake(&mut self, now: Moment, of: impl Fn(JobId) -> InLine) {
        let job = |timer: &Timer| if let Timer::Retry(job) = timer { Some(*job) } else { None };
        for job in self.deadlines.over(now, job) {
            self.deadlines.clear(&Timer::Retry(job));
            let of = of(job);
            if self.queue.resume(job, of.has_line()) && self.lines.may_run(of) {
                self.queue.let_in(job);
            }
        }
        let runner = |timer: &Timer| if let Timer::Rest(id) = timer { Some(*id) } else { None };
        for id in self.deadlines.over(now, runner) {
            self.refresh(id, now);
        }
    }

    /// Clears timers that are over and have no consequence.
    pub(crate) fn forget_idle_deadlines(&mut self, now: Moment) {
        let idle = |timer: &Timer| {
            (timer.stands_alone() && !matches!(timer, Timer::Spawn(_) | Timer::Build(_))).then(|| timer.clone())
        };
        for timer in self.deadlines.over(now, idle) {
            self.deadlines.clear(&timer);
        }
    }

    // Runners whose free slots are kept for a job that needs more of them.

    /// Keeps a runner for a job. No other job gets it until the job is leased, leaves the queue, or the runner gets no
    /// jobs. A restart forgets it.
    pub(crate) fn keep(&mut self, now: Moment, runner: RunnerId, job: JobId, slots: u32) {
        if let Some(member) = self.roster.members.get_mut(&runner) {
            member.kept_for = Some(job);
            self.kept.insert(job, (runner, slots));
        }
        self.refresh(runner, now);
    }

    fn keep_no_longer(&mut self, now: Moment, job: JobId) {
        if let Some((runner, _)) = self.kept.remove(&job) {
            if let Some(member) = self.roster.members.get_mut(&runner) {
                member.kept_for = None;
            }
            self.refresh(runner, now);
        }
    }

    /// Returns the jobs for which a runner is kept, each with the runner and the number of slots that it needs.
    pub(crate) fn kept(&self) -> &BTreeMap<JobId, (RunnerId, u32)> {
        &self.kept
    }

    /// Returns a job for which a runner is kept that has enough free slots by now.
    pub(crate) fn next_kept(&self) -> Option<(JobId, RunnerId)> {
        let is_free = |runner, slots| self.roster.member(runner).is_some_and(|member| member.free_slots() >= slots);
        let mut ready = self.kept.iter().filter(|(_, (runner, slots))| is_free(*runner, *slots));
        ready.next().map(|(job, (runner, _))| (*job, *runner))
    }

    // Attempts on runners.

    /// Gives an attempt to a runner with a free slot, whose tree will be at this commit. Returns its session.
    pub(crate) fn grant(
        &mut self,
        now: Moment,
        attempt: AttemptId,
        mut lease: LiveLease,
        lasts_ms: u64,
        commit: CommitId,
    ) -> SessionId {
        let member = self.roster.members.get_mut(&lease.runner).expect("a free runner is a member");
        member.warm.insert(lease.repo.clone(), commit);
        lease.given_to = member.incarnation;
        let session = member.session().expect("a free runner is connected");
        self.queue.serve(&lease.repo);
        self.insert_lease(now, attempt, lease, lasts_ms);
        session
    }

    /// Adds a lease, also one that is known from before a restart.
    pub(crate) fn insert_lease(&mut self, now: Moment, attempt: AttemptId, lease: LiveLease, lasts_ms: u64) {
        let (runner, slots) = (lease.runner, lease.slots());
        self.queue.add_leased(&lease.repo);
        self.lines.add_attempt(attempt, lease.in_line());
        self.settle_lines(now, lease.lines);
        self.leases.by_attempt.insert(attempt, lease);
        self.deadlines.set(Timer::Lease(attempt), now, lasts_ms);
        if let Some(member) = self.roster.members.get_mut(&runner) {
            member.holds.insert(attempt);
            member.used += slots;
        }
        self.refresh(runner, now);
    }

    /// Gives a lease its whole time again if this runner has it. Returns whether it has.
    pub(crate) fn renew(&mut self, now: Moment, attempt: AttemptId, runner: RunnerId) -> bool {
        let is_held = self.leases.of_runner(attempt, runner).is_some();
        if is_held {
            self.deadlines.renew(&Timer::Lease(attempt), now);
        }
        is_held
    }

    /// Renews the lease of an attempt, and notes that this process of its runner holds it.
    pub(crate) fn adopt(&mut self, now: Moment, attempt: AttemptId, process: Option<Incarnation>) {
        if let Some(lease) = self.leases.by_attempt.get_mut(&attempt) {
            lease.given_to = process;
            self.deadlines.renew(&Timer::Lease(attempt), now);
        }
    }

    /// Notes that the task's process runs. Returns false if this runner does not have the attempt.
    pub(crate) fn start(&mut self, attempt: AttemptId, runner: Option<RunnerId>) -> bool {
        let lease = self.leases.by_attempt.get_mut(&attempt).filter(|lease| Some(lease.runner) == runner);
        lease.map(|lease| lease.started = Started::Yes).is_some()
    }

    /// Cancels an attempt and returns its runner. The attempt occupies its slot until it has ended there.
    pub(crate) fn cancel(&mut self, attempt: AttemptId) -> RunnerId {
        let lease = self.leases.by_attempt.get_mut(&attempt).expect("a leased job has a live lease");
        if !std::mem::replace(&mut lease.cancelled, true) {
            self.queue.remove_leased(&lease.repo);
        }
        lease.runner
    }

    /// Removes a lease and frees its slot. Unless it was cancelled, its job must leave its lines or be queued again
    /// next: only then are the lines settled.
    pub(crate) fn release(&mut self, now: Moment, attempt: AttemptId) -> LiveLease {
        let lease = self.leases.by_attempt.remove(&attempt).expect("the caller has seen it");
        self.deadlines.clear(&Timer::Lease(attempt));
        if !lease.cancelled {
            self.queue.remove_leased(&lease.repo);
        }
        if let Some(member) = self.roster.members.get_mut(&lease.runner)
            && member.holds.remove(&attempt)
        {
            member.used -= lease.slots();
        }
        self.lines.remove_attempt(attempt, lease.in_line());
        if lease.cancelled {
            self.settle_lines(now, lease.lines);
        }
        self.refresh(lease.runner, now);
        lease
    }

    /// Returns the attempts whose leases have run out.
    pub(crate) fn expired(&self, now: Moment) -> Vec<AttemptId> {
        self.deadlines.expired_leases(now)
    }

    // Runners.

    /// Adds a runner. If it is connected, it is lost after `patience_ms` of silence. If it is away, it has that time to
    /// come back. It holds the attempts of the member with its number that it replaces.
    pub(crate) fn insert_member(&mut self, now: Moment, mut member: Member, patience_ms: u64) {
        let id = member.id;
        let timer = if member.session.is_none() { Timer::Return(id) } else { Timer::Silence(id) };
        if let Some(before) = self.remove_member(id) {
            (member.holds, member.used) = (before.holds, before.used);
        }
        self.roster.insert(member);
        self.deadlines.set(timer, now, patience_ms);
        self.refresh(id, now);
    }

    pub(crate) fn remove_member(&mut self, id: RunnerId) -> Option<Member> {
        for timer in [Timer::Silence(id), Timer::Return(id), Timer::Rest(id)] {
            self.deadlines.clear(&timer);
        }
        let removed = self.roster.remove(id)?;
        if let Some(job) = removed.kept_for {
            self.kept.remove(&job);
        }
        Some(removed)
    }

    /// Marks a runner as away. It has `window_ms` to come back; without a window it is lost already.
    pub(crate) fn set_away(&mut self, now: Moment, id: RunnerId, window_ms: Option<u64>) {
        self.roster.set_away(id);
        self.deadlines.clear(&Timer::Silence(id));
        if let Some(window_ms) = window_ms {
            self.deadlines.set(Timer::Return(id), now, window_ms);
        }
        self.refresh(id, now);
    }

    /// Waits no longer for a runner to come back.
    pub(crate) fn give_up_return(&mut self, id: RunnerId) {
        self.deadlines.clear(&Timer::Return(id));
    }

    /// Notes that a message arrived from a runner.
    pub(crate) fn hear(&mut self, now: Moment, id: RunnerId) {
        if let Some(member) = self.roster.members.get_mut(&id) {
            member.last_heard = now;
            self.deadlines.renew(&Timer::Silence(id), now);
        }
    }

    /// Changes a member, then all that is derived from it.
    pub(crate) fn update<T>(&mut self, id: RunnerId, now: Moment, change: impl FnOnce(&mut Member) -> T) -> Option<T> {
        let changed = self.roster.members.get_mut(&id).map(change);
        self.refresh(id, now);
        changed
    }

    /// Derives anew whether a member is free and until when it rests.
    fn refresh(&mut self, id: RunnerId, now: Moment) {
        let Some(member) = self.roster.members.get_mut(&id) else { return };
        let until = member.health.rests_until();
        let rested = std::mem::replace(&mut member.rests, until > now);
        if member.rests {
            self.deadlines.set(Timer::Rest(id), now, until.since(now));
        } else if rested {
            self.deadlines.clear(&Timer::Rest(id));
        }
        if let Some(job) = member.kept_for.filter(|_| member.rests || !member.takes_jobs()) {
            member.kept_for = None;
            self.kept.remove(&job);
        }
        if member.could_take() && !member.rests {
            self.roster.free.insert(id);
        } else {
            self.roster.free.remove(&id);
        }
    }

    // Time, and what only waits for time.

    /// Sets a timer of something that is in no other table.
    pub(crate) fn set_timer(&mut self, timer: Timer, since: Moment, whole_ms: u64) {
        debug_assert!(timer.stands_alone(), "{timer:?}");
        self.deadlines.set(timer, since, whole_ms);
    }

    /// Clears a timer of something that is in no other table. Returns whether it was set.
    pub(crate) fn clear_timer(&mut self, timer: &Timer) -> bool {
        debug_assert!(timer.stands_alone(), "{timer:?}");
        self.deadlines.clear(timer)
    }

    /// Returns the timers that are over and that `pick` chooses, ordered by what `pick` returns. They stay set.
    /// Leases are not among them: [`Tables::expired`] has those.
    pub(crate) fn over<T: Ord>(&mut self, now: Moment, pick: impl Fn(&Timer) -> Option<T>) -> Vec<T> {
        self.deadlines.over(now, pick)
    }

    /// Adds a gap in which no runner was heard to every deadline that waits for others.
    pub(crate) fn shift_deadlines(&mut self, now: Moment, gap_ms: u64) {
        self.deadlines.shift(now, gap_ms);
    }

    /// Adds a short gap to the windows in which runners may come back.
    pub(crate) fn shift_returns(&mut self, now: Moment, gap_ms: u64, most_ms: u64) {
        self.deadlines.shift_returns(now, gap_ms, most_ms);
    }
}
