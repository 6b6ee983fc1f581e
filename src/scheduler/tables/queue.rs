//! The queue: jobs that wait for a runner, in the order of their standing within a repository, with fair shares between
//! repositories.
//!
//! The repository with the fewest leased jobs comes first, because it occupies the fewest slots. Among equals it is the
//! one that got a runner longest ago: a repository that was idle comes first once, and then takes its turn. A
//! repository that waits although it has leases, for instance of long jobs or on other runners, could be passed over
//! for ever. So it is overdue after [`OVERDUE_AFTER`] leases for each repository that waits, and then comes first,
//! whatever it has. No repository is therefore passed over more than `(OVERDUE_AFTER + 1) * k` times while at most k
//! repositories wait (S37). What is known of earlier leases is forgotten by a restart.
//!
//! Priorities order the jobs within a repository, so that no repository pushes others away. Waiting raises a priority
//! by one each [`AGEING_MS`]. That changes no order between two jobs that both wait, so it is a part of the standing of
//! a job, which the job keeps.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use crate::model::{JobId, Label, Moment, RepoName};

/// The name of a lane, a repository and the labels that its jobs ask for; and the turn of a job in it.
pub(crate) type LaneKey<'a> = (&'a RepoName, &'a [Label], Standing);

/// The place of a job among those of its repository: the smaller one comes first. It is the time at which its build
/// came, in milliseconds, as if it had come earlier by as many minutes as its priority says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Standing(i64);

/// The time of waiting that raises a priority by one.
const AGEING_MS: i64 = 60_000;

impl Standing {
    /// Returns the turn of a job of a build that came at this moment.
    pub(crate) fn of(came: Moment, priority: i32) -> Self {
        Self(i64::try_from(came.0).unwrap_or(i64::MAX).saturating_sub(i64::from(priority) * AGEING_MS))
    }
}

/// Queued jobs. The jobs of one repository that ask for the same labels form a lane. Only the head of a lane is a
/// candidate, so that the cost of choosing depends on the number of lanes and not on the number of jobs.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    repos: BTreeMap<RepoName, Share>,
    /// The number of leases so far.
    given: u64,
    /// `Share::served` of repositories that have no share now.
    past: HashMap<RepoName, u64>,
    /// Jobs that pause. They are no candidates.
    paused: BTreeMap<JobId, Apart>,
    /// Jobs of exclusive tasks and groups that have no place yet, likewise.
    held: BTreeMap<JobId, Apart>,
}

/// The repository, the labels and the turn of a job that is no candidate.
pub(super) type Apart = (RepoName, Vec<Label>, Standing);

/// The part of the queue that belongs to one repository.
#[derive(Debug, Default)]
struct Share {
    /// The number of its jobs that are leased now.
    leased: usize,
    /// `Queue::given` when it got its last lease; 0 if it has had none.
    served: u64,
    /// `Queue::given` when it got its last lease, or when its first job began to wait, whichever came later.
    since: u64,
    lanes: Vec<Lane>,
}

/// The place of a repository in the order: the lowest rank comes first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// 0 if it is overdue, else 1.
    class: u8,
    /// When it began to wait, if it is overdue; else the number of its leases.
    measure: u64,
    served: u64,
}

/// The number of leases for each waiting repository after which one that got none of them is overdue.
const OVERDUE_AFTER: u64 = 8;
/// The number of leases that [`Queue::position`] looks ahead. Beyond it counts only the jobs of the same repository.
const POSITION_MAX: usize = 5_000;

impl Share {
    fn rank(&self, given: u64, waiting: usize) -> Rank {
        if given - self.since >= OVERDUE_AFTER * waiting as u64 {
            Rank { class: 0, measure: self.since, served: self.served }
        } else {
            Rank { class: 1, measure: self.leased as u64, served: self.served }
        }
    }
}

/// A repository, for looking ahead.
#[derive(Debug)]
struct Contender<'a> {
    repo: &'a RepoName,
    share: Share,
    /// Its first job, and the number of its jobs.
    head: (Standing, JobId),
    left: usize,
}

/// Jobs of one repository that ask for the same labels.
#[derive(Debug)]
struct Lane {
    labels: Vec<Label>,
    jobs: BTreeSet<(Standing, JobId)>,
}

impl Queue {
    pub(super) fn push(&mut self, job: JobId, (repo, labels, turn): LaneKey<'_>) {
        let given = self.given;
        let share = self.share(repo);
        if share.lanes.is_empty() {
            share.since = given;
        }
        match share.lanes.iter_mut().find(|lane| lane.labels == labels) {
            Some(lane) => {
                lane.jobs.insert((turn, job));
            }
            None => share.lanes.push(Lane { labels: labels.to_vec(), jobs: BTreeSet::from([(turn, job)]) }),
        }
    }

    /// Like `push`, but the job is no candidate before `resume`.
    pub(super) fn pause(&mut self, job: JobId, (repo, labels, turn): LaneKey<'_>) {
        self.paused.insert(job, (repo.clone(), labels.to_vec(), turn));
    }

    /// Ends the pause of a job. Returns its lane: the caller queues the job again.
    pub(super) fn resume(&mut self, job: JobId) -> Option<Apart> {
        self.paused.remove(&job)
    }

    /// Like `push`, but the job is no candidate before `let_in`.
    pub(super) fn hold(&mut self, job: JobId, (repo, labels, turn): LaneKey<'_>) {
        self.held.insert(job, (repo.clone(), labels.to_vec(), turn));
    }

    /// Makes a candidate a job that is held again.
    pub(super) fn hold_back(&mut self, job: JobId, repo: &RepoName) {
        let lanes = self.repos.get(repo).map(|share| share.lanes.as_slice()).unwrap_or_default();
        let found = lanes.iter().find_map(|lane| Some((lane, lane.jobs.iter().find(|(_, id)| *id == job)?)));
        let Some((lane, (turn, _))) = found else { return };
        let (labels, turn) = (lane.labels.clone(), *turn);
        self.remove(job, (repo, &labels, turn));
        self.hold(job, (repo, &labels, turn));
    }

    /// Makes a job that is held a candidate. Returns whether it was held.
    pub(super) fn let_in(&mut self, job: JobId) -> bool {
        let Some((repo, labels, turn)) = self.held.remove(&job) else { return false };
        self.push(job, (&repo, &labels, turn));
        true
    }

    /// Removes a job. Returns whether it paused.
    pub(super) fn remove(&mut self, job: JobId, (repo, labels, turn): LaneKey<'_>) -> bool {
        if self.paused.remove(&job).is_some() {
            return true;
        }
        if self.held.remove(&job).is_some() {
            return false;
        }
        let share = self.share(repo);
        if let Some(at) = share.lanes.iter().position(|lane| lane.labels == labels) {
            share.lanes[at].jobs.remove(&(turn, job));
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

    /// Notes that a repository got a runner before all others.
    pub(super) fn serve(&mut self, repo: &RepoName) {
        self.given += 1;
        let given = self.given;
        let share = self.share(repo);
        (share.served, share.since) = (given, given);
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

    /// Returns the heads of all lanes, each with its labels, in the order in which they are to get runners.
    pub(crate) fn candidates(&self) -> Vec<(JobId, &[Label])> {
        let waiting = self.repos.values().filter(|share| !share.lanes.is_empty()).count();
        let rank = |share: &Share| share.rank(self.given, waiting);
        let mut shares: Vec<(Rank, JobId, &Share)> = self
            .repos
            .values()
            .filter_map(|share| {
                let (_, first) = share.lanes.iter().filter_map(|lane| lane.jobs.first()).min()?;
                Some((rank(share), *first, share))
            })
            .collect();
        shares.sort_unstable_by(|(a, job, _), (b, other, _)| (a, job).cmp(&(b, other)));
        let mut candidates = Vec::new();
        for (_, _, share) in shares {
            let heads = share.lanes.iter().filter_map(|lane| Some((*lane.jobs.first()?, &*lane.labels)));
            let from = candidates.len();
            candidates.extend(heads);
            candidates[from..].sort_unstable_by_key(|(head, _)| *head);
        }
        candidates.into_iter().map(|((_, job), labels)| (job, labels)).collect()
    }

    /// Returns how many jobs get a runner before this one, if nothing more is queued and the jobs that run now and
    /// later end in the order in which they started. `running` has the repositories of those that run, oldest first.
    /// `competes` says whether a job with these labels can take a runner that this job could have.
    pub(crate) fn position<'a>(
        &'a self,
        job: JobId,
        (repo, turn): (&RepoName, Standing),
        running: impl Iterator<Item = &'a RepoName>,
        competes: impl Fn(&[Label]) -> bool,
    ) -> usize {
        let mut contenders = Vec::new();
        for (name, share) in &self.repos {
            let lanes = || share.lanes.iter().filter(|lane| competes(&lane.labels));
            let Some(head) = lanes().filter_map(|lane| lane.jobs.first().copied()).min() else { continue };
            // Of its own repository only the jobs before it count.
            let own = (turn, job);
            let left = lanes().map(|lane| if name == repo { lane.jobs.range(..own).count() } else { lane.jobs.len() });
            let Share { leased, served, since, .. } = *share;
            let copy = Share { leased, served, since, lanes: Vec::new() };
            contenders.push(Contender { repo: name, share: copy, head, left: left.sum() });
        }
        let mut running: VecDeque<&RepoName> = running.collect();
        let mut given = self.given;
        for before in 0..POSITION_MAX {
            // A slot becomes free, and the next repository gets it.
            if let Some(ended) = running.pop_front()
                && let Some(of) = contenders.iter_mut().find(|it| it.repo == ended)
            {
                of.share.leased = of.share.leased.saturating_sub(1);
            }
            let waits = |it: &&mut Contender<'_>| it.left > 0 || it.repo == repo;
            let waiting = contenders.iter_mut().filter(waits).count();
            let next = contenders.iter_mut().filter(waits).min_by_key(|it| (it.share.rank(given, waiting), it.head.1));
            let Some(next) = next.filter(|it| it.left > 0) else { return before };
            given += 1;
            next.left -= 1;
            next.share.leased += 1;
            (next.share.served, next.share.since) = (given, given);
            running.push_back(next.repo);
        }
        let own = contenders.iter().find(|it| it.repo == repo).map_or(0, |it| it.left);
        POSITION_MAX + own
    }

    pub(crate) fn contains(&self, job: JobId) -> bool {
        self.paused.contains_key(&job)
            || self.held.contains_key(&job)
            || self.repos.values().flat_map(|share| &share.lanes).any(|lane| lane.jobs.iter().any(|(_, id)| *id == job))
    }

    pub(crate) fn len(&self) -> usize {
        self.paused.len()
            + self.held.len()
            + self.repos.values().flat_map(|share| &share.lanes).map(|lane| lane.jobs.len()).sum::<usize>()
    }

    /// Whether there is no candidate. Jobs that pause do not count.
    pub(crate) fn is_empty(&self) -> bool {
        self.repos.values().all(|share| share.lanes.is_empty())
    }

    fn share(&mut self, repo: &RepoName) -> &mut Share {
        if !self.repos.contains_key(repo) {
            let served = self.past.remove(repo).unwrap_or(0);
            self.repos.insert(repo.clone(), Share { served, ..Share::default() });
        }
        self.repos.get_mut(repo).expect("it was put there just now if it was missing")
    }

    fn forget_if_idle(&mut self, repo: &RepoName) {
        if self.repos.get(repo).is_some_and(|share| share.leased == 0 && share.lanes.is_empty())
            && let Some(share) = self.repos.remove(repo)
            && share.served > 0
        {
            self.past.insert(repo.clone(), share.served);
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
        queue.push(JobId(1), (&a, &[], Standing::default()));
        queue.push(JobId(2), (&a, &[], Standing::default()));
        queue.push(JobId(3), (&b, &[], Standing::default()));
        assert_eq!(order(&queue), [1, 3]);
        queue.remove(JobId(1), (&a, &[], Standing::default()));
        queue.add_leased(&a);
        assert_eq!(order(&queue), [3, 2]);
    }

    /// Takes the first candidate, as a slot that becomes free does, and ends its lease.
    fn serve(queue: &mut Queue, repos: &[(&RepoName, std::ops::Range<u64>)]) -> u64 {
        let (job, _) = queue.candidates()[0];
        let (repo, _) = repos.iter().find(|(_, jobs)| jobs.contains(&job.0)).unwrap();
        queue.remove(job, (repo, &[], Standing::default()));
        queue.add_leased(repo);
        queue.serve(repo);
        queue.remove_leased(repo);
        job.0
    }

    #[test]
    fn with_one_slot_repositories_take_turns_and_a_newcomer_is_next() {
        let names = ["a", "b", "c"].map(|name| RepoName::new(name).unwrap());
        let repos = [(&names[0], 0..20), (&names[1], 20..40), (&names[2], 40..60)];
        let mut queue = Queue::default();
        (0..10).for_each(|job| queue.push(JobId(job), (&names[0], &[], Standing::default())));
        (20..30).for_each(|job| queue.push(JobId(job), (&names[1], &[], Standing::default())));
        let order: Vec<u64> = (0..4).map(|_| serve(&mut queue, &repos)).collect();
        assert_eq!(order, [0, 20, 1, 21]);
        queue.push(JobId(40), (&names[2], &[], Standing::default()));
        let place = |queue: &Queue, job, repo| {
            queue.position(JobId(job), (repo, Standing::default()), std::iter::empty(), |_| true)
        };
        assert_eq!(
            [place(&queue, 40, &names[2]), place(&queue, 2, &names[0]), place(&queue, 23, &names[1])],
            [0, 1, 4]
        );
        assert_eq!(serve(&mut queue, &repos), 40);
        // It saved up nothing while it was idle, and is not first again.
        queue.push(JobId(41), (&names[2], &[], Standing::default()));
        let order: Vec<u64> = (0..4).map(|_| serve(&mut queue, &repos)).collect();
        assert_eq!(order, [2, 22, 41, 3]);
    }

    #[test]
    fn a_repository_that_has_leases_elsewhere_is_overdue_in_the_end() {
        let (a, b) = (RepoName::new("a").unwrap(), RepoName::new("b").unwrap());
        let mut queue = Queue::default();
        queue.add_leased(&a);
        queue.push(JobId(1), (&a, &[], Standing::default()));
        (100..200).for_each(|job| queue.push(JobId(job), (&b, &[], Standing::default())));
        let passed = (0..50).take_while(|_| serve(&mut queue, &[(&a, 0..100), (&b, 100..200)]) != 1).count();
        assert_eq!(passed as u64, OVERDUE_AFTER * 2, "two repositories wait");
    }

    #[test]
    fn a_position_counts_the_jobs_that_really_come_first() {
        let (a, b) = (RepoName::new("a").unwrap(), RepoName::new("b").unwrap());
        let mut queue = Queue::default();
        let gpu = [Label::new("gpu").unwrap()];
        (1..=3).for_each(|job| queue.push(JobId(job), (&a, &[], Standing::default())));
        (11..=13).for_each(|job| queue.push(JobId(job), (&b, &[], Standing::default())));
        queue.push(JobId(10), (&b, &gpu, Standing::default()));
        // Both slots are of a: the first two that become free go to b.
        (0..2).for_each(|_| queue.add_leased(&a));
        let place = |job, repo| {
            queue.position(JobId(job), (repo, Standing::default()), [&a, &a].into_iter(), |labels| labels.is_empty())
        };
        assert_eq!([place(11, &b), place(12, &b), place(1, &a)], [0, 2, 1]);
    }

    #[test]
    fn jobs_with_other_labels_do_not_hide_behind_each_other() {
        let a = RepoName::new("a").unwrap();
        let mut queue = Queue::default();
        queue.push(JobId(1), (&a, &[Label::new("gpu").unwrap()], Standing::default()));
        queue.push(JobId(2), (&a, &[], Standing::default()));
        assert_eq!(order(&queue), [1, 2]);
    }

    #[test]
    fn a_higher_priority_comes_first_within_its_repository_and_waiting_makes_up_for_a_lower_one() {
        let (a, b) = (RepoName::new("a").unwrap(), RepoName::new("b").unwrap());
        let mut queue = Queue::default();
        let turn = |minutes: u64, priority| Standing::of(Moment(minutes * 60_000), priority);
        queue.push(JobId(1), (&b, &[], turn(0, -100)));
        queue.push(JobId(2), (&a, &[], turn(0, 0)));
        queue.push(JobId(3), (&a, &[], turn(1, 10)));
        queue.push(JobId(4), (&a, &[], turn(12, 10)));
        queue.push(JobId(5), (&a, &[], turn(9, 10)));
        queue.push(JobId(6), (&a, &[], turn(0, -1)));
        queue.push(JobId(7), (&a, &[Label::new("gpu").unwrap()], turn(2, 100)));
        assert_eq!(order(&queue), [1, 7, 3], "of other repositories the priority does not count");
        let place = |job, turn| queue.position(JobId(job), (&a, turn), std::iter::empty(), |labels| labels.is_empty());
        assert_eq!([place(3, turn(1, 10)), place(6, turn(0, -1))], [1, 4], "one of b is before it, too");
        queue.remove(JobId(1), (&b, &[], turn(0, -100)));
        let mut left = Vec::new();
        for (job, at) in [(3, turn(1, 10)), (5, turn(9, 10)), (2, turn(0, 0)), (6, turn(0, -1)), (4, turn(12, 10))] {
            left.push(order(&queue)[1]);
            queue.remove(JobId(job), (&a, &[], at));
        }
        assert_eq!(left, [3, 5, 2, 6, 4], "waiting for twelve minutes makes up for eleven");
    }
}
