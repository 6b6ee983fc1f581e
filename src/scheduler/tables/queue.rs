//! The queue: jobs that wait for a runner, in the order of their standing within a repository, with fair shares between
//! repositories.
//!
//! The repository with the fewest leased jobs comes first, because it occupies the fewest slots. Among equals it is the
//! one that got a runner longest ago: a repository that was idle comes first once, and then takes its turn. A
//! repository that waits although it has leases, for instance of long jobs or on other runners, could be passed over
//! for ever. So it is overdue after [`super::waiting::OVERDUE_AFTER`] leases for each repository that waits, and then
//! comes first, whatever it has. No repository is therefore passed over more than `(OVERDUE_AFTER + 1) * k` times while
//! at most k repositories wait (S37). What is known of earlier leases is forgotten by a restart.
//!
//! Priorities order the jobs within a repository, so that no repository pushes others away. Waiting raises a priority
//! by one each [`AGEING_MS`]. That changes no order between two jobs that both wait, so it is a part of the standing of
//! a job, which the job keeps.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rustc_hash::FxHashMap;

use super::demands::{Demand, DemandId, Demands};
use super::waiting::{Measures, Rank, RepoId, Waiting};
use crate::model::{JobId, Moment, RepoName};

/// The name of a lane, a repository and the demand of its jobs; and the turn of a job in it.
pub(crate) type LaneKey<'a> = (&'a RepoName, Demand<'a>, Standing);

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

/// Queued jobs. The jobs of one repository with the same demand form a lane. Only the head of a lane is a candidate, so
/// that the cost of choosing depends on the number of lanes and not on the number of jobs.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// The repositories that have had a queued or leased job, by number.
    shares: Vec<Share>,
    numbers: FxHashMap<RepoName, RepoId>,
    /// The repositories that have a candidate.
    waiting: Waiting,
    /// The number of leases so far.
    given: u64,
    /// The jobs that pause, are held, or may be held again. Other jobs are only in their lanes.
    apart: BTreeMap<JobId, Apart>,
    demands: Demands,
    /// The number of all jobs, those that are no candidates included.
    len: usize,
}

/// A job that is not always a candidate.
#[derive(Debug, Clone, Copy)]
struct Apart {
    repo: RepoId,
    demand: DemandId,
    turn: Standing,
    stage: Stage,
}

/// Whether a job that is apart is a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It pauses, and is no candidate.
    Paused,
    /// It belongs to an exclusive task or a group, and has no place yet: it is no candidate.
    Held,
    /// It has its place, and stands in its lane.
    InLane,
}

/// The part of the queue that belongs to one repository.
#[derive(Debug)]
struct Share {
    name: RepoName,
    measures: Measures,
    lanes: Vec<Lane>,
}

/// The number of leases that [`Queue::position`] looks ahead at most. Beyond it counts only the jobs of the same
/// repository.
const POSITION_MAX: usize = 5_000;
/// The number of repositories that [`Queue::position`] compares for all of those leases together.
const COMPARED_MAX: usize = 500_000;

impl Share {
    /// Its first job, which decides between repositories of the same rank.
    fn first(&self) -> Option<JobId> {
        self.lanes.iter().map(Lane::head).min().map(|(_, job)| job)
    }
}

/// A repository, for looking ahead.
#[derive(Debug)]
struct Contender {
    repo: RepoId,
    measures: Measures,
    /// Its first job, and the number of its jobs.
    head: (Standing, JobId),
    left: usize,
}

/// Jobs of one repository with the same demand. It is never empty.
#[derive(Debug)]
struct Lane {
    demand: DemandId,
    jobs: BTreeSet<(Standing, JobId)>,
}

impl Lane {
    fn head(&self) -> (Standing, JobId) {
        *self.jobs.first().expect("a lane that has become empty is removed")
    }
}

impl Queue {
    pub(super) fn push(&mut self, job: JobId, (repo, demand, turn): LaneKey<'_>) {
        self.len += 1;
        let (repo, demand) = (self.number(repo), self.demands.enter(demand));
        self.enter(job, repo, demand, turn);
        self.demands.leave(demand);
    }

    /// Like `push`, but the job is no candidate before `resume`.
    pub(super) fn pause(&mut self, job: JobId, key: LaneKey<'_>) {
        self.set_apart(job, key, Stage::Paused);
    }

    /// Ends the pause of a job: it is pushed if it has no line, else held until it is let in. Returns false if it does
    /// not pause.
    pub(super) fn resume(&mut self, job: JobId, has_line: bool) -> bool {
        let Some(apart) = self.apart.get_mut(&job).filter(|apart| apart.stage == Stage::Paused) else { return false };
        if has_line {
            apart.stage = Stage::Held;
        } else if let Some(Apart { repo, demand, turn, .. }) = self.apart.remove(&job) {
            self.enter(job, repo, demand, turn);
            self.demands.leave(demand);
        }
        true
    }

    /// Like `push`, but the job is no candidate before `let_in`.
    pub(super) fn hold(&mut self, job: JobId, key: LaneKey<'_>) {
        self.set_apart(job, key, Stage::Held);
    }

    /// Makes a candidate a job that is held again.
    pub(super) fn hold_back(&mut self, job: JobId) {
        let Some(apart) = self.apart.get_mut(&job).filter(|it| it.stage == Stage::InLane) else { return };
        apart.stage = Stage::Held;
        let Apart { repo, demand, turn, .. } = *apart;
        self.leave(job, repo, demand, turn);
    }

    /// Makes a job that is held a candidate. Returns whether it was held.
    pub(super) fn let_in(&mut self, job: JobId) -> bool {
        let Some(apart) = self.apart.get_mut(&job).filter(|apart| apart.stage == Stage::Held) else { return false };
        apart.stage = Stage::InLane;
        let Apart { repo, demand, turn, .. } = *apart;
        self.enter(job, repo, demand, turn);
        true
    }

    /// Removes a job. Returns whether it paused.
    pub(super) fn remove(&mut self, job: JobId, (repo, demand, turn): LaneKey<'_>) -> bool {
        let Some(Apart { repo, demand, turn, stage }) = self.apart.remove(&job) else {
            let lane = self.numbers.get(repo).copied().zip(self.demands.find(demand));
            let was_there = lane.is_some_and(|(repo, demand)| self.leave(job, repo, demand, turn));
            self.len -= usize::from(was_there);
            return false;
        };
        if stage == Stage::InLane {
            self.leave(job, repo, demand, turn);
        }
        self.demands.leave(demand);
        self.len -= 1;
        stage == Stage::Paused
    }

    fn set_apart(&mut self, job: JobId, (repo, demand, turn): LaneKey<'_>, stage: Stage) {
        self.len += 1;
        let (repo, demand) = (self.number(repo), self.demands.enter(demand));
        self.apart.insert(job, Apart { repo, demand, turn, stage });
    }

    /// Puts a job into its lane.
    fn enter(&mut self, job: JobId, repo: RepoId, demand: DemandId, turn: Standing) {
        let share = &mut self.shares[repo.0 as usize];
        if share.lanes.is_empty() {
            share.measures.since = self.given;
            self.waiting.insert(repo, &share.measures);
        }
        match share.lanes.iter_mut().find(|lane| lane.demand == demand) {
            Some(lane) => {
                lane.jobs.insert((turn, job));
            }
            None => {
                self.demands.enter_again(demand);
                share.lanes.push(Lane { demand, jobs: BTreeSet::from([(turn, job)]) });
            }
        }
    }

    /// Takes a job out of its lane. Returns whether it was there.
    fn leave(&mut self, job: JobId, repo: RepoId, demand: DemandId, turn: Standing) -> bool {
        let share = &mut self.shares[repo.0 as usize];
        let Some(at) = share.lanes.iter().position(|lane| lane.demand == demand) else { return false };
        let was_there = share.lanes[at].jobs.remove(&(turn, job));
        if share.lanes[at].jobs.is_empty() {
            self.demands.leave(share.lanes.swap_remove(at).demand);
            if share.lanes.is_empty() {
                self.waiting.remove(repo, &share.measures);
            }
        }
        was_there
    }

    /// Counts one more leased job of a repository.
    pub(super) fn add_leased(&mut self, repo: &RepoName) {
        self.measure(repo, |measures| measures.leased += 1);
    }

    /// Notes that a repository got a runner before all others.
    pub(super) fn serve(&mut self, repo: &RepoName) {
        self.given += 1;
        let given = self.given;
        self.measure(repo, |measures| (measures.served, measures.since) = (given, given));
    }

    /// Counts one leased job of a repository less.
    pub(super) fn remove_leased(&mut self, repo: &RepoName) {
        self.measure(repo, |measures| measures.leased = measures.leased.saturating_sub(1));
    }

    /// Changes the measures of a repository, and with them its place among those that wait.
    fn measure(&mut self, repo: &RepoName, change: impl FnOnce(&mut Measures)) {
        let id = self.number(repo);
        let measures = &mut self.shares[id.0 as usize].measures;
        let waits = self.waiting.remove(id, measures);
        change(measures);
        if waits {
            self.waiting.insert(id, measures);
        }
    }

    /// Returns the number of leased jobs of each repository that has some.
    pub(crate) fn leased(&self) -> BTreeMap<&RepoName, usize> {
        let leased = self.shares.iter().filter(|share| share.measures.leased > 0);
        leased.map(|share| (&share.name, share.measures.leased as usize)).collect()
    }

    /// Returns the first of the candidates that `takes` accepts, in the order of [`Queue::candidates`]. It is asked for
    /// every lease, so it makes no list: it looks at the repositories in their order, and of those of one rank at the
    /// lanes of those that are before the best one so far.
    pub(crate) fn first(&self, mut takes: impl FnMut(JobId, DemandId, Demand<'_>) -> bool) -> Option<JobId> {
        let mut best: Option<(Rank, &Share, JobId)> = None;
        for (rank, repo) in self.waiting.in_order(self.given) {
            let share = &self.shares[repo.0 as usize];
            match &best {
                Some((than, ..)) if *than != rank => break,
                Some((_, of, _)) if share.first() > of.first() => continue,
                _ => {}
            }
            let mut first: Option<(Standing, JobId)> = None;
            for lane in &share.lanes {
                let head = lane.head();
                if first.is_none_or(|first| head < first) && takes(head.1, lane.demand, self.demands.get(lane.demand)) {
                    first = Some(head);
                }
            }
            if let Some((_, job)) = first {
                best = Some((rank, share, job));
            }
        }
        best.map(|(.., job)| job)
    }

    /// Returns the heads of all lanes, each with its demand, in the order in which they are to get runners.
    pub(crate) fn candidates(&self) -> Vec<(JobId, Demand<'_>)> {
        let with_first = |(rank, repo): (Rank, RepoId)| {
            let share = &self.shares[repo.0 as usize];
            (rank, share.first(), share)
        };
        let mut shares: Vec<_> = self.waiting.in_order(self.given).map(with_first).collect();
        shares.sort_unstable_by(|(a, job, _), (b, other, _)| (a, job).cmp(&(b, other)));
        let mut candidates = Vec::new();
        for (_, _, share) in shares {
            let from = candidates.len();
            candidates.extend(share.lanes.iter().map(|lane| (lane.head(), self.demands.get(lane.demand))));
            candidates[from..].sort_unstable_by_key(|(head, _)| *head);
        }
        candidates.into_iter().map(|((_, job), demand)| (job, demand)).collect()
    }

    /// Returns how many jobs get a runner before this one, if nothing more is queued and the jobs that run now and
    /// later end in the order in which they started. `running` has the repositories of those that run, oldest first.
    /// `competes` says whether a job with this demand can take a runner that this job could have.
    pub(crate) fn position<'a>(
        &'a self,
        job: JobId,
        (repo, turn): (&RepoName, Standing),
        running: impl Iterator<Item = &'a RepoName>,
        competes: impl Fn(Demand<'_>) -> bool,
    ) -> usize {
        let Some(repo) = self.numbers.get(repo).copied() else { return 0 };
        let mut contenders = Vec::new();
        for id in self.waiting.repos() {
            let share = &self.shares[id.0 as usize];
            let lanes = || share.lanes.iter().filter(|lane| competes(self.demands.get(lane.demand)));
            let Some(head) = lanes().map(Lane::head).min() else { continue };
            // Of its own repository only the jobs before it count.
            let own = (turn, job);
            let left = lanes().map(|lane| if id == repo { lane.jobs.range(..own).count() } else { lane.jobs.len() });
            contenders.push(Contender { repo: id, measures: share.measures, head, left: left.sum() });
        }
        let number = |name: &RepoName| self.numbers.get(name).copied();
        let mut running: VecDeque<RepoId> = running.filter_map(number).collect();
        let steps = POSITION_MAX.min(COMPARED_MAX / contenders.len().max(1)).max(1);
        for (given, before) in (self.given..).zip(0..steps) {
            // A slot becomes free, and the next repository gets it.
            if let Some(ended) = running.pop_front()
                && let Some(of) = contenders.iter_mut().find(|it| it.repo == ended)
            {
                of.measures.leased = of.measures.leased.saturating_sub(1);
            }
            let waits = |it: &&mut Contender| it.left > 0 || it.repo == repo;
            let waiting = contenders.iter_mut().filter(waits).count();
            let next =
                contenders.iter_mut().filter(waits).min_by_key(|it| (it.measures.rank(given, waiting), it.head.1));
            let Some(next) = next.filter(|it| it.left > 0) else { return before };
            next.left -= 1;
            next.measures = Measures { leased: next.measures.leased + 1, served: given + 1, since: given + 1 };
            running.push_back(next.repo);
        }
        let own = contenders.iter().find(|it| it.repo == repo).map_or(0, |it| it.left);
        steps + own
    }

    /// Whether this job, whose lane is given, is in the queue.
    pub(crate) fn contains(&self, job: JobId, (repo, demand, turn): LaneKey<'_>) -> bool {
        let share = self.numbers.get(repo).map(|repo| &self.shares[repo.0 as usize]);
        let lanes = share.map(|share| share.lanes.as_slice()).unwrap_or_default();
        let in_lane = || lanes.iter().find(|lane| self.demands.get(lane.demand) == demand);
        self.apart.get(&job).is_some_and(|apart| apart.stage != Stage::InLane)
            || in_lane().is_some_and(|lane| lane.jobs.contains(&(turn, job)))
    }

    /// Returns the number of queued jobs, those that are no candidates included.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns the number of a repository, which gets one if it has none. It keeps it, with the time of its last lease.
    fn number(&mut self, repo: &RepoName) -> RepoId {
        if let Some(id) = self.numbers.get(repo) {
            return *id;
        }
        let id = RepoId(u32::try_from(self.shares.len()).expect("there are fewer repositories than bytes of memory"));
        self.shares.push(Share { name: repo.clone(), measures: Measures::default(), lanes: Vec::new() });
        self.numbers.insert(repo.clone(), id);
        id
    }
}
