//! The repositories that have a candidate, in the order in which they are to get runners. The order is kept, so that a
//! lease looks at the first of them and not at all.

use std::collections::BTreeSet;

/// The number of leases for each waiting repository after which one that got none of them is overdue.
pub(super) const OVERDUE_AFTER: u64 = 8;

/// The number of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RepoId(pub(super) u32);

/// The measures of a repository that decide when it is its turn.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Measures {
    /// The number of its jobs that are leased now.
    pub(super) leased: u64,
    /// The number of all leases when it got its last one; 0 if it has had none.
    pub(super) served: u64,
    /// The number of all leases when it got its last one, or when its first job began to wait, whichever came later.
    pub(super) since: u64,
}

/// The place of a repository in the order: the lowest rank comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// 0 if it is overdue, else 1.
    class: u8,
    /// When it began to wait, if it is overdue; else the number of its leases.
    measure: u64,
    served: u64,
}

impl Measures {
    /// Returns the rank after `given` leases, among as many repositories that wait.
    pub(super) fn rank(&self, given: u64, waiting: usize) -> Rank {
        if is_overdue(self.since, given, waiting) {
            Rank { class: 0, measure: self.since, served: self.served }
        } else {
            Rank { class: 1, measure: self.leased, served: self.served }
        }
    }
}

fn is_overdue(since: u64, given: u64, waiting: usize) -> bool {
    given - since >= OVERDUE_AFTER * waiting as u64
}

/// The repositories that have a candidate.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// By `since` and `served`: the order of those that are overdue.
    by_since: BTreeSet<(u64, u64, RepoId)>,
    /// By `leased` and `served`, with `since`: the order of the others.
    by_leased: BTreeSet<(u64, u64, u64, RepoId)>,
}

impl Waiting {
    pub(super) fn len(&self) -> usize {
        self.by_since.len()
    }

    pub(super) fn insert(&mut self, repo: RepoId, of: &Measures) {
        self.by_since.insert((of.since, of.served, repo));
        self.by_leased.insert((of.leased, of.served, of.since, repo));
    }

    /// Removes a repository, whose measures are those with which it was inserted. Returns whether it was there.
    pub(super) fn remove(&mut self, repo: RepoId, of: &Measures) -> bool {
        self.by_leased.remove(&(of.leased, of.served, of.since, repo));
        self.by_since.remove(&(of.since, of.served, repo))
    }

    /// Returns all of them.
    pub(super) fn repos(&self) -> impl Iterator<Item = RepoId> {
        self.by_since.iter().map(|(.., repo)| *repo)
    }

    /// Returns all of them after `given` leases, in the order of their ranks.
    pub(super) fn in_order(&self, given: u64) -> impl Iterator<Item = (Rank, RepoId)> {
        let waiting = self.len();
        let overdue = self.by_since.iter().take_while(move |(since, ..)| is_overdue(*since, given, waiting));
        let overdue = overdue.map(|(since, served, repo)| (Rank { class: 0, measure: *since, served: *served }, *repo));
        let others = self.by_leased.iter().filter(move |(_, _, since, _)| !is_overdue(*since, given, waiting));
        let others =
            others.map(|(leased, served, _, repo)| (Rank { class: 1, measure: *leased, served: *served }, *repo));
        overdue.chain(others)
    }
}
