//! The queue: jobs that wait for a runner, in order of their numbers within a repository, with fair shares between
//! repositories.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{JobId, Label, RepoName};

/// The name of a lane: a repository, and the labels that its jobs ask for.
pub(crate) type LaneKey<'a> = (&'a RepoName, &'a [Label]);

/// Queued jobs. The jobs of one repository that ask for the same labels form a lane. Only the head of a lane is a
/// candidate, so that the cost of choosing depends on the number of lanes and not on the number of jobs.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    repos: BTreeMap<RepoName, Share>,
    /// Jobs that pause, each with its repository and labels. They are no candidates.
    paused: BTreeMap<JobId, (RepoName, Vec<Label>)>,
}

/// The part of the queue that belongs to one repository.
#[derive(Debug, Default)]
struct Share {
    /// The number of its jobs that are leased now.
    leased: usize,
    lanes: Vec<Lane>,
}

/// Jobs of one repository that ask for the same labels.
#[derive(Debug)]
struct Lane {
    labels: Vec<Label>,
    jobs: BTreeSet<JobId>,
}

impl Queue {
    pub(super) fn push(&mut self, job: JobId, (repo, labels): LaneKey<'_>) {
        let share = self.share(repo);
        match share.lanes.iter_mut().find(|lane| lane.labels == labels) {
            Some(lane) => {
                lane.jobs.insert(job);
            }
            None => share.lanes.push(Lane { labels: labels.to_vec(), jobs: BTreeSet::from([job]) }),
        }
    }

    /// Like `push`, but the job is no candidate before `resume`.
    pub(super) fn pause(&mut self, job: JobId, (repo, labels): LaneKey<'_>) {
        self.paused.insert(job, (repo.clone(), labels.to_vec()));
    }

    /// Ends the pause of a job.
    pub(super) fn resume(&mut self, job: JobId) {
        if let Some((repo, labels)) = self.paused.remove(&job) {
            self.push(job, (&repo, &labels));
        }
    }

    /// Removes a job. Returns whether it paused.
    pub(super) fn remove(&mut self, job: JobId, (repo, labels): LaneKey<'_>) -> bool {
        if self.paused.remove(&job).is_some() {
            return true;
        }
        let share = self.share(repo);
        if let Some(at) = share.lanes.iter().position(|lane| lane.labels == labels) {
            share.lanes[at].jobs.remove(&job);
            if share.lanes[at].jobs.is_empty() {
                share.lanes.swap_remove(at);
            }
        }
        self.forget_if_idle(repo);
        false
    }

    /// Counts one more leased job of a repository.
    pub(super) fn add_leased(&mut self, repo: &RepoName) {
        self.share(repo).leased += 1;
    }

    /// Counts one leased job of a repository less.
    pub(super) fn remove_leased(&mut self, repo: &RepoName) {
        let share = self.share(repo);
        share.leased = share.leased.saturating_sub(1);
        self.forget_if_idle(repo);
    }

    /// Returns the number of leased jobs of each repository that has some.
    pub(crate) fn leased(&self) -> impl Iterator<Item = (&RepoName, usize)> {
        self.repos.iter().map(|(repo, share)| (repo, share.leased)).filter(|(_, leased)| *leased > 0)
    }

    /// Returns the heads of all lanes, each with its labels. The repository with the fewest leased jobs comes first,
    /// then the older job.
    pub(crate) fn candidates(&self) -> Vec<(JobId, &[Label])> {
        let lanes = self.repos.values().flat_map(|share| share.lanes.iter().map(|lane| (share.leased, lane)));
        let heads = lanes.filter_map(|(leased, lane)| Some((leased, *lane.jobs.first()?, &*lane.labels)));
        let mut heads: Vec<(usize, JobId, &[Label])> = heads.collect();
        heads.sort_unstable_by_key(|(leased, job, _)| (*leased, *job));
        heads.into_iter().map(|(_, job, labels)| (job, labels)).collect()
    }

    /// Returns how many queued jobs have a lower number than this one.
    pub(crate) fn position(&self, job: JobId) -> usize {
        let lanes = self.repos.values().flat_map(|share| &share.lanes);
        lanes.map(|lane| lane.jobs.range(..job).count()).sum()
    }

    pub(crate) fn contains(&self, job: JobId) -> bool {
        self.paused.contains_key(&job)
            || self.repos.values().flat_map(|share| &share.lanes).any(|lane| lane.jobs.contains(&job))
    }

    pub(crate) fn len(&self) -> usize {
        self.paused.len()
            + self.repos.values().flat_map(|share| &share.lanes).map(|lane| lane.jobs.len()).sum::<usize>()
    }

    /// Whether there is no candidate. Jobs that pause do not count.
    pub(crate) fn is_empty(&self) -> bool {
        self.repos.values().all(|share| share.lanes.is_empty())
    }

    fn share(&mut self, repo: &RepoName) -> &mut Share {
        if !self.repos.contains_key(repo) {
            self.repos.insert(repo.clone(), Share::default());
        }
        self.repos.get_mut(repo).expect("it was put there just now if it was missing")
    }

    fn forget_if_idle(&mut self, repo: &RepoName) {
        if self.repos.get(repo).is_some_and(|share| share.leased == 0 && share.lanes.is_empty()) {
            self.repos.remove(repo);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(queue: &Queue) -> Vec<u64> {
        queue.candidates().into_iter().map(|(job, _)| job.0).collect()
    }

    #[test]
    fn the_repository_with_fewer_leases_comes_first_then_the_older_job() {
        let (a, b) = (RepoName::new("a").unwrap(), RepoName::new("b").unwrap());
        let mut queue = Queue::default();
        queue.push(JobId(1), (&a, &[]));
        queue.push(JobId(2), (&a, &[]));
        queue.push(JobId(3), (&b, &[]));
        assert_eq!(order(&queue), [1, 3]);
        queue.remove(JobId(1), (&a, &[]));
        queue.add_leased(&a);
        assert_eq!(order(&queue), [3, 2]);
        assert_eq!(queue.position(JobId(3)), 1);
    }

    #[test]
    fn jobs_with_other_labels_do_not_hide_behind_each_other() {
        let a = RepoName::new("a").unwrap();
        let mut queue = Queue::default();
        queue.push(JobId(1), (&a, &[Label::new("gpu").unwrap()]));
        queue.push(JobId(2), (&a, &[]));
        assert_eq!(order(&queue), [1, 2]);
    }
}
