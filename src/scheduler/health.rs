//! The health of a runner: the failures of infrastructure in a row there, and whether the runner or a commit is to
//! blame.
//!
//! A commit that kills or fills every machine must not take good runners out of service, and a runner with a full disk
//! must not eat the queue. If jobs of one commit were part of every failure, the commit is suspected; otherwise the
//! runner is. Different jobs of one commit prove nothing against a runner: they have their content in common.

use std::collections::BTreeSet;

use super::policy;
use crate::model::reason::{LossReason, Quarantine};
use crate::model::{CommitId, Moment};

/// The failures of infrastructure on a runner. An attempt that ends there by its task's own doing clears them.
#[derive(Debug, Clone, Default)]
pub(super) struct Health {
    /// Failures in a row. Attempts that fail together count once.
    failures: u32,
    /// Commits whose jobs were part of every failure but the last. Meaningless before the second failure.
    suspects: BTreeSet<CommitId>,
    /// Commits whose jobs were part of the last failure.
    last: BTreeSet<CommitId>,
    last_at: Moment,
    last_reason: Option<LossReason>,
    /// It gets no job before this moment, for other reasons than quarantine.
    pauses_until: Moment,
}

impl Health {
    /// Counts a failed attempt of a job of this commit. Returns whether the runner is to blame.
    pub(super) fn fail(&mut self, now: Moment, commit: CommitId, reason: &LossReason) -> bool {
        if self.failures > 0 && now.since(self.last_at) < policy::TOGETHER_MS {
            // One full disk, one lost connection or one restart takes any number of attempts along.
            self.last.insert(commit);
        } else {
            match self.failures {
                0 => {}
                1 => self.suspects = std::mem::take(&mut self.last),
                _ => self.suspects.retain(|commit| self.last.contains(commit)),
            }
            self.failures += 1;
            self.last = BTreeSet::from([commit]);
            self.last_at = now;
        }
        self.last_reason = Some(reason.clone());
        self.is_to_blame()
    }

    /// Gives the runner no job before that moment.
    pub(super) fn pause_until(&mut self, until: Moment) {
        self.pauses_until = self.pauses_until.max(until);
    }

    /// The moment until which the runner gets no job.
    pub(super) fn rests_until(&self) -> Moment {
        let rest = (policy::REST_FIRST_MS << self.failures.saturating_sub(1).min(20)).min(policy::REST_MAX_MS);
        if self.is_to_blame() { self.pauses_until.max(self.last_at.after(rest)) } else { self.pauses_until }
    }

    /// Clears the failures: an attempt ended by its task's own doing.
    pub(super) fn succeed(&mut self) {
        *self = Self { pauses_until: self.pauses_until, ..Self::default() };
    }

    /// Whether no single commit was part of every failure, so that the runner is to blame.
    pub(super) fn is_to_blame(&self) -> bool {
        self.failures > 1 && self.suspects.is_disjoint(&self.last)
    }

    /// Whether there are no failures.
    pub(super) fn is_clean(&self) -> bool {
        self.failures == 0
    }

    /// The reason and the rest of its quarantine, if it is in one.
    pub(super) fn quarantine(&self, now: Moment) -> Option<Quarantine> {
        let last = self.last_reason.clone().filter(|_| self.is_to_blame() && self.rests_until() > now)?;
        Some(Quarantine { rest_ms: self.rests_until().since(now), failures: self.failures, last })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn commit(number: u64) -> CommitId {
        format!("{number:040x}").parse().unwrap()
    }

    fn rest(health: &Health, now: u64) -> u64 {
        health.rests_until().since(Moment(now))
    }

    #[test]
    fn different_commits_that_fail_are_the_runners_doing_and_it_rests_longer_each_time() {
        let mut health = Health::default();
        assert!(!health.fail(Moment(0), commit(1), &LossReason::disk_full()));
        for (n, rests) in [(2, 2_000), (3, 4_000), (4, 8_000), (10, 300_000), (11, 300_000)] {
            let at = n * 1_000_000;
            while u64::from(health.failures) < n - 1 {
                health.fail(
                    Moment(at - 500_000 + u64::from(health.failures) * 10_000),
                    commit(0),
                    &LossReason::disk_full(),
                );
            }
            assert!(health.fail(Moment(at), commit(n), &LossReason::disk_full()));
            assert_eq!(rest(&health, at), rests, "failure {n}");
        }
        let quarantine = Quarantine { rest_ms: 300_000, failures: 11, last: LossReason::disk_full() };
        assert_eq!(health.quarantine(Moment(11_000_000)), Some(quarantine));
        health.succeed();
        assert!(!health.fail(Moment(99_000_000), commit(1), &LossReason::disk_full()), "all is forgotten");
    }

    #[test]
    fn a_commit_that_was_there_each_time_is_suspected_and_not_the_runner() {
        let mut health = Health::default();
        for n in 0..10 {
            let at = Moment(n * 10_000);
            // Others fail with it, different ones each time.
            assert!(!health.fail(at, commit(7), &LossReason::RunnerRestarted));
            assert!(!health.fail(at, commit(100 + n), &LossReason::RunnerRestarted));
        }
        assert!(health.fail(Moment(200_000), commit(8), &LossReason::RunnerRestarted), "now it was not there");
    }

    #[test]
    fn what_fails_together_counts_once() {
        let mut health = Health::default();
        for number in 1..=8 {
            assert!(!health.fail(Moment(number * 10), commit(number), &LossReason::disk_full()));
        }
        assert_eq!(health.failures, 1);
    }

    proptest! {
        /// Fails if jobs are told apart and not commits. Each failure is a list of commits whose jobs failed together.
        #[test]
        fn a_runner_is_to_blame_only_if_no_commit_was_part_of_every_failure(
            failures in prop::collection::vec(prop::collection::vec(1u64..4, 1..4), 1..6),
        ) {
            let mut health = Health::default();
            for (at, failure) in failures.iter().enumerate() {
                for number in failure {
                    health.fail(Moment(at as u64 * 2 * policy::TOGETHER_MS), commit(*number), &LossReason::disk_full());
                }
            }
            let was_in_each = |number: u64| failures.iter().all(|failure| failure.contains(&number));
            let is_to_blame = failures.len() > 1 && !(1..4).any(was_in_each);
            prop_assert_eq!(health.is_to_blame(), is_to_blame);
        }
    }
}
