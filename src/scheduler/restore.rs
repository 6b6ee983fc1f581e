//! The restart: a scheduler is made from a snapshot of the store.

use super::state::Moves;
use super::tables::{Member, Started, Timer};
use super::{Policy, Scheduler};
use crate::model::{Attempt, JobState, Moment, Snapshot};

impl Scheduler {
    /// Makes a scheduler that goes on with the unfinished builds. Restored leases and their runners get their full
    /// time: no runner is lost before it has had the time to come back.
    #[must_use]
    pub fn restore(policy: Policy, now: Moment, restored: Snapshot) -> Self {
        let mut scheduler = Self::new(policy);
        // The gap before the first tick is noticed, too.
        scheduler.last_tick = Some(now);
        scheduler.tables.set_timer(Timer::OldExclusives, now, scheduler.policy.lease_ms(true));
        (scheduler.last_build, scheduler.last_job) = (restored.last_build, restored.last_job);
        (scheduler.last_attempt, scheduler.last_runner) = (restored.last_attempt, restored.last_runner);
        for (repo, end) in restored.ends {
            scheduler.moves.insert(repo, Moves { last: end, end });
        }
        for (repo, reference, head) in restored.heads {
            let moves = scheduler.moves.entry(repo.clone()).or_default();
            // The last move of the repository has either ended a ref, or brought one to its present head.
            moves.last = moves.last.max(head.number);
            scheduler.heads.insert((repo, reference), head);
        }
        scheduler.patterns = restored.patterns.into_iter().collect();
        restored.schedules.into_iter().for_each(|schedule| scheduler.restore_schedule(schedule));
        scheduler.known_runners = restored.runners.into_iter().map(|runner| (runner.name.clone(), runner)).collect();
        restored.recorded.into_iter().for_each(|(attempt, runner)| scheduler.recent_results.insert(attempt, runner));
        scheduler.tables.doubt_lines(restored.cancelled);
        for build in restored.builds {
            scheduler.admit(now, &build.build, build.jobs);
            for attempt in &build.attempts {
                scheduler.restore_lease(now, attempt);
            }
        }
        scheduler
    }

    fn restore_lease(&mut self, now: Moment, attempt: &Attempt) {
        let job = self.jobs.get_mut(&attempt.job).expect("an unfinished attempt is of an unfinished build");
        job.state = JobState::Leased(attempt.id);
        let lease = job.lease(attempt, Started::Unknown);
        let (id, lasts_ms) = (lease.runner, self.policy.lease_ms(lease.exclusive));
        if self.tables.roster().member(id).is_none() {
            let mut member = Member::new(id, self.known_name(id), None, now);
            member.drained = self.drain_of(&member.name).is_some();
            self.tables.insert_member(now, member, self.policy.heartbeat_timeout_ms);
        }
        self.tables.insert_lease(now, attempt.id, lease, lasts_ms);
    }
}
