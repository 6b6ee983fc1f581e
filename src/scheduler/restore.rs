//! Going on after a restart: from what the store knows to a live scheduler.

use super::health::Health;
use super::jobs::NewJob;
use super::state::{AcceptedHead, LiveLease, Started};
use super::tables::{Member, Presence};
use super::{Policy, Scheduler};
use crate::model::{Attempt, Isolation, JobState, Moment, RunnerId, SessionId, Snapshot};

impl Scheduler {
    /// A scheduler that goes on with what was unfinished. Restored leases get a full grace period: nobody is declared
    /// lost before having had the time to come back.
    #[must_use]
    pub fn restore(policy: Policy, now: Moment, restored: Snapshot) -> Self {
        let mut scheduler = Self::new(policy);
        // The first tick may come late too.
        scheduler.last_tick = Some(now);
        scheduler.restored_at = Some(now);
        scheduler.last_build = restored.last_build;
        scheduler.last_job = restored.last_job;
        scheduler.last_attempt = restored.last_attempt;
        scheduler.last_runner = restored.last_runner;
        for (repo, branch, commit) in restored.heads {
            scheduler.heads.insert((repo, branch), AcceptedHead { commit, before: None, build: None });
        }
        for runner in &restored.runners {
            scheduler.known_runners.insert(runner.name.clone(), runner.id);
        }
        for attempt in restored.recorded {
            scheduler.recorded.insert(attempt);
        }
        for build in restored.builds {
            let jobs = build.jobs.iter().map(NewJob::restored).collect();
            scheduler.admit(now, &build.build, jobs);
            for attempt in &build.attempts {
                scheduler.restore_lease(now, attempt);
            }
        }
        scheduler
    }

    fn restore_lease(&mut self, now: Moment, attempt: &Attempt) {
        let job = self.jobs.get_mut(&attempt.job).expect("an unfinished attempt is of an unfinished build");
        job.state = JobState::Leased(attempt.id);
        let exclusive = job.task.exclusive;
        let repo = job.source.repo.clone();
        self.queue.count_lease(&repo, true);
        let lease = LiveLease {
            job: attempt.job,
            build: attempt.build,
            number: attempt.number,
            runner: attempt.runner,
            given_to: None,
            exclusive,
            deadline: now.after(self.policy.lease_ms(exclusive)),
            started: Started::Unknown,
            cancelled: false,
        };
        self.leases.insert(attempt.id, lease);
        self.restore_member(now, attempt.runner);
        if let Some(member) = self.roster.member_mut(attempt.runner) {
            member.holds.insert(attempt.id);
        }
    }

    fn restore_member(&mut self, now: Moment, id: RunnerId) {
        if self.roster.member(id).is_some() {
            return;
        }
        let member = Member {
            id,
            name: self.known_name(id),
            incarnation: None,
            presence: Presence::Away { since: now, until: now.after(self.policy.heartbeat_timeout_ms) },
            newest: SessionId(0),
            slots: 0,
            labels: Vec::new(),
            isolation: Isolation::Subreaper,
            last_heard: now,
            holds: std::collections::BTreeSet::new(),
            draining: false,
            drain_asked: Vec::new(),
            warm: std::collections::HashMap::new(),
            spawned: false,
            health: Health::default(),
        };
        self.roster.insert(member, now);
    }
}
