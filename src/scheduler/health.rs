//! Whether it is the runner or the job: what failed on a runner for reasons of infrastructure since something last came
//! to an end there.
//!
//! A job that kills or fills every machine it meets must not take good runners out of service, and a runner with a full
//! disk must not eat the queue. What tells them apart is whether one job has been there each time.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::policy;
use crate::model::{JobId, Moment};

/// What is held against a runner. Empty again as soon as an attempt comes to an end there that says something about its
/// task.
#[derive(Debug, Clone, Default)]
pub(super) struct Health {
    /// Failures in a row; what fails together counts once.
    failures: u32,
    /// Jobs that were part of every failure but the last; meaningless before the second.
    suspects: BTreeSet<JobId>,
    /// Jobs that were part of the last one.
    last: BTreeSet<JobId>,
    last_at: Moment,
    last_why: Arc<str>,
    /// It gets nothing new before this, for other reasons than quarantine.
    pauses_until: Moment,
}

impl Health {
    /// An attempt of this job failed on the runner. Says whether that is held to be the runner's own doing.
    pub(super) fn fail(&mut self, now: Moment, job: JobId, why: &str) -> bool {
        if self.failures > 0 && now.since(self.last_at) < policy::TOGETHER_MS {
            // One full disk, one lost connection, one restart: however many attempts it took along.
            self.last.insert(job);
        } else {
            match self.failures {
                0 => {}
                1 => self.suspects = std::mem::take(&mut self.last),
                _ => self.suspects.retain(|job| self.last.contains(job)),
            }
            self.failures += 1;
            self.last = BTreeSet::from([job]);
            self.last_at = now;
        }
        self.last_why = why.into();
        self.is_to_blame()
    }

    /// Gives it nothing new before then.
    pub(super) fn pause_until(&mut self, until: Moment) {
        self.pauses_until = self.pauses_until.max(until);
    }

    /// Until when it gets nothing new.
    pub(super) fn rests_until(&self) -> Moment {
        let rest = (policy::REST_FIRST_MS << self.failures.saturating_sub(1).min(20)).min(policy::REST_MAX_MS);
        if self.is_to_blame() { self.pauses_until.max(self.last_at.after(rest)) } else { self.pauses_until }
    }

    /// An attempt came to an end that says something about its task.
    pub(super) fn succeed(&mut self) {
        *self = Self { pauses_until: self.pauses_until, ..Self::default() };
    }

    /// No single job was there each time, so it is the runner.
    pub(super) fn is_to_blame(&self) -> bool {
        self.failures > 1 && self.suspects.is_disjoint(&self.last)
    }

    /// Nothing is held against it.
    pub(super) fn is_clean(&self) -> bool {
        self.failures == 0
    }

    /// Why it is in quarantine and for how long, where it is.
    pub(super) fn quarantine(&self, now: Moment) -> Option<String> {
        (self.is_to_blame() && self.rests_until() > now).then(|| {
            format!(
                "in quarantine for {} s more: {} failures in a row with different jobs, the last: {}",
                self.rests_until().since(now).div_ceil(1000),
                self.failures,
                self.last_why
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(health: &Health, now: u64) -> u64 {
        health.rests_until().since(Moment(now))
    }

    #[test]
    fn different_jobs_that_fail_are_the_runners_doing_and_it_rests_longer_each_time() {
        let mut health = Health::default();
        assert!(!health.fail(Moment(0), JobId(1), "disk full"));
        for (n, rests) in [(2, 2_000), (3, 4_000), (4, 8_000), (10, 300_000), (11, 300_000)] {
            let at = n * 1_000_000;
            while u64::from(health.failures) < n - 1 {
                health.fail(Moment(at - 500_000 + u64::from(health.failures) * 10_000), JobId(0), "disk full");
            }
            assert!(health.fail(Moment(at), JobId(n), "disk full"));
            assert_eq!(rest(&health, at), rests, "failure {n}");
        }
        let why = health.quarantine(Moment(11_000_000)).unwrap();
        assert_eq!(why, "in quarantine for 300 s more: 11 failures in a row with different jobs, the last: disk full");
        health.succeed();
        assert!(!health.fail(Moment(99_000_000), JobId(1), "disk full"), "all is forgotten");
    }

    #[test]
    fn a_job_that_was_there_each_time_is_suspected_and_not_the_runner() {
        let mut health = Health::default();
        for n in 0..10 {
            let at = Moment(n * 10_000);
            // Others were taken along, different ones each time.
            assert!(!health.fail(at, JobId(7), "its runner restarted"));
            assert!(!health.fail(at, JobId(100 + n), "its runner restarted"));
        }
        assert!(health.fail(Moment(200_000), JobId(8), "its runner restarted"), "now it was not there");
    }

    #[test]
    fn what_fails_together_counts_once() {
        let mut health = Health::default();
        for job in 1..=8 {
            assert!(!health.fail(Moment(job * 10), JobId(job), "disk full"));
        }
        assert_eq!(health.failures, 1);
    }
}
