//! Decides which builds are to be removed. Pure: works on what the store says of each build, and on the sizes of logs.

use std::collections::{HashMap, HashSet};

use crate::config::Retention;
use crate::model::{BuildId, RefName, RepoName, WallTime};
use crate::store::{Rule, Surveyed};

/// The newest finished builds of each repository, and of each branch that is there, are kept whatever the limits say.
/// So is the newest passed build of each branch and tag that is there.
pub(super) const ALWAYS_KEPT: u32 = 10;

/// Bytes of logs, by build.
pub(super) type Sizes = HashMap<BuildId, u64>;

/// The builds that may be removed, collected from the newest to the oldest.
pub(super) struct RemovalPlan {
    limits: Retention,
    now: WallTime,
    of_repo: HashMap<RepoName, u32>,
    of_branch: HashMap<(RepoName, RefName), u32>,
    /// Branches and tags of which a passed build was added.
    passed: HashSet<(RepoName, RefName)>,
    /// Newest first; `None` for builds that only the limit of the size may remove.
    candidates: Vec<(BuildId, RepoName, Option<Rule>)>,
}

/// The builds that are to be removed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Removal {
    /// Oldest first.
    pub(super) builds: Vec<(BuildId, RepoName, Rule)>,
    /// Bytes of logs that stay above the limit, because all remaining builds are always kept.
    pub(super) excess: u64,
}

/// Returns why a build was removed, as a phrase that follows the build's number.
pub(crate) fn words(rule: Rule) -> &'static str {
    match rule {
        Rule::Age => "too old for --keep-for",
        Rule::Count => "beyond the newest of --keep-builds",
        Rule::Size => "too much for --keep-logs",
    }
}

impl RemovalPlan {
    pub(super) fn new(limits: Retention, now: WallTime) -> Self {
        let (of_repo, of_branch, passed) = (HashMap::new(), HashMap::new(), HashSet::new());
        Self { limits, now, of_repo, of_branch, passed, candidates: Vec::new() }
    }

    /// Adds the next older build.
    pub(super) fn add(&mut self, build: Surveyed) {
        let Surveyed { id, repo, reference, lives, is_head, finished_at, passed } = build;
        let Some(finished_at) = finished_at else { return };
        let newer = count(&mut self.of_repo, repo.clone());
        // The newest passed build stays for its artifacts, and to compare with.
        let is_newest_passed = passed && lives && self.passed.insert((repo.clone(), reference.clone()));
        let newer_of_branch = if lives { count(&mut self.of_branch, (repo.clone(), reference)) } else { u32::MAX };
        if is_head || is_newest_passed || newer < ALWAYS_KEPT || newer_of_branch < ALWAYS_KEPT {
            return;
        }
        let age = u64::try_from(self.now.0.saturating_sub(finished_at.0)).unwrap_or(0);
        let by_age = self.limits.keep_ms.is_some_and(|limit| age > limit).then_some(Rule::Age);
        let by_count = self.limits.keep_builds.is_some_and(|limit| newer >= limit).then_some(Rule::Count);
        self.candidates.push((id, repo, by_age.or(by_count)));
    }

    /// Returns the builds that are to be removed, given the sizes of logs.
    pub(super) fn removal(self, sizes: &Sizes) -> Removal {
        let mut total: u64 = sizes.values().sum();
        let limit = self.limits.keep_logs.unwrap_or(u64::MAX);
        let size = |id: &BuildId| sizes.get(id).copied().unwrap_or(0);
        total -= self.candidates.iter().filter(|(.., rule)| rule.is_some()).map(|(id, ..)| size(id)).sum::<u64>();
        let mut builds = Vec::new();
        for (id, repo, rule) in self.candidates.into_iter().rev() {
            let bytes = size(&id);
            let rule = match rule {
                Some(rule) => rule,
                // A build without logs frees nothing.
                None if total > limit && bytes > 0 => {
                    total -= bytes;
                    Rule::Size
                }
                None => continue,
            };
            builds.push((id, repo, rule));
        }
        Removal { builds, excess: total.saturating_sub(limit) }
    }
}

/// Counts one more, and returns the number before.
pub(super) fn count<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, u32>, key: K) -> u32 {
    let count = counts.entry(key).or_default();
    *count += 1;
    *count - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 60 * 60 * 1000;

    fn build(id: u64) -> Surveyed {
        Surveyed {
            id: BuildId(id),
            repo: RepoName::new("app").unwrap(),
            reference: RefName::new("refs/heads/main"),
            lives: true,
            is_head: false,
            finished_at: Some(WallTime(id as i64 * DAY)),
            passed: false,
        }
    }

    /// Returns the numbers of the removed builds, each with its rule, if each build took a day. The newest comes first.
    fn going(limits: Retention, builds: impl Iterator<Item = Surveyed>, sizes: &Sizes) -> (Vec<(u64, Rule)>, u64) {
        let mut plan = RemovalPlan::new(limits, WallTime(100 * DAY));
        builds.for_each(|build| plan.add(build));
        let removal = plan.removal(sizes);
        (removal.builds.into_iter().map(|(id, _, rule)| (id.0, rule)).collect(), removal.excess)
    }

    const NEVER: Retention = Retention {
        keep_ms: None,
        keep_builds: None,
        keep_logs: None,
        keep_artifacts_ms: None,
        keep_artifact_builds: None,
        keep_artifacts: None,
    };

    #[test]
    fn nothing_goes_without_a_limit() {
        assert_eq!(going(NEVER, (1..=90).rev().map(build), &Sizes::new()), (vec![], 0));
    }

    #[test]
    fn what_is_too_old_goes_and_the_newest_stay_however_old() {
        let limits = Retention { keep_ms: Some(98 * DAY as u64), ..NEVER };
        assert_eq!(going(limits, (1..=20).rev().map(build), &Sizes::new()), (vec![(1, Rule::Age)], 0));
        assert_eq!(going(limits, (1..=10).rev().map(build), &Sizes::new()), (vec![], 0));
    }

    #[test]
    fn what_is_beyond_the_count_goes_oldest_first() {
        let limits = Retention { keep_builds: Some(15), ..NEVER };
        let expected = (1..=5).map(|id| (id, Rule::Count)).collect();
        assert_eq!(going(limits, (1..=20).rev().map(build), &Sizes::new()), (expected, 0));
    }

    #[test]
    fn what_is_unfinished_or_a_branchs_head_stays_and_so_do_the_newest_of_each_branch_that_is_there() {
        let limits = Retention { keep_builds: Some(0), ..NEVER };
        let builds = (1..=40).rev().map(|id| {
            let mut build = build(id);
            build.is_head = id == 3;
            build.finished_at = build.finished_at.filter(|_| id != 2);
            // The builds of `topic` are too few to lose one, and the branch of the others is gone.
            build.reference = RefName::new(if (4..=8).contains(&id) { "refs/heads/topic" } else { "refs/heads/main" });
            build.lives = id != 1;
            build
        });
        let gone = going(limits, builds, &Sizes::new()).0;
        assert_eq!(gone, [1].into_iter().chain(9..=30).map(|id| (id, Rule::Count)).collect::<Vec<_>>());
    }

    #[test]
    fn the_newest_passed_build_of_each_branch_that_is_there_stays_however_many_failed_since() {
        let limits = Retention { keep_builds: Some(0), ..NEVER };
        let builds = (1..=40).rev().map(|id| {
            let reference = RefName::of_branch(["main", "topic", "gone"][id as usize % 3]);
            Surveyed { passed: id <= 12, lives: reference != RefName::of_branch("gone"), reference, ..build(id) }
        });
        let gone: Vec<u64> = going(limits, builds, &Sizes::new()).0.into_iter().map(|(id, _)| id).collect();
        let expected = [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 14, 17, 20, 23, 26, 29];
        assert_eq!(gone, expected, "12 and 10 stay, and so do the ten newest of each branch");
    }

    #[test]
    fn logs_beyond_the_size_take_the_oldest_builds_that_have_any() {
        let limits = Retention { keep_logs: Some(100), ..NEVER };
        // Twenty builds of 10 bytes each, except one that printed nothing.
        let sizes: Sizes = (1..=20).filter(|id| *id != 2).map(|id| (BuildId(id), 10)).collect();
        let expected = [1, 3, 4, 5, 6, 7, 8, 9, 10].map(|id| (id, Rule::Size)).to_vec();
        assert_eq!(going(limits, (1..=20).rev().map(build), &sizes), (expected, 0));
        let large: Sizes = (1..=20).map(|id| (BuildId(id), 50)).collect();
        let (gone, excess) = going(limits, (1..=20).rev().map(build), &large);
        assert_eq!((gone.len(), excess), (10, 400), "what is always kept is kept");
    }

    #[test]
    fn what_goes_by_another_rule_counts_for_the_size() {
        let limits = Retention { keep_logs: Some(150), keep_builds: Some(15), ..NEVER };
        let sizes: Sizes = (1..=20).map(|id| (BuildId(id), 10)).collect();
        let expected = (1..=5).map(|id| (id, Rule::Count)).collect();
        assert_eq!(going(limits, (1..=20).rev().map(build), &sizes), (expected, 0));
    }
}
