//! Decides what to announce next for one repository: the heads that the dispatcher accepted are compared with the heads
//! that are there now. It asks for one thing at a time, as a [`Step`], and is told how that went.
//!
//! Pure: it never reads a repository, a socket or a clock; time is an argument. What could not be read is simply not
//! told, so that it can never look like a deleted branch. Called by the repository's thread in [`super::repo`].

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::git::{BranchSelection, Head};
use crate::model::{BranchName, CommitId, Moment};

/// Commits named as already delivered when a pack is built. Each costs a walk of its tree; the nearest few save the
/// most.
pub(super) const MAX_HAVES: usize = 16;
/// Answers other than `ok` after which an announcement is left alone for a while: the first `stale` or `need_source` is
/// ordinary, a row of them means that two sides disagree in a way that trying at once does not mend.
const MAX_DISPUTES: u32 = 4;
/// How long a refused announcement waits before it is tried again; doubles up to the maximum.
const HOLD_FIRST_MS: u64 = 1_000;
const HOLD_MAX_MS: u64 = 60_000;

/// Heads by branch.
type Heads = BTreeMap<BranchName, CommitId>;

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask the dispatcher for the heads it accepted.
    Ask,
    /// Read the heads of the repository.
    Look,
    /// Tell the dispatcher of a difference.
    Announce(Announcement),
    /// Nothing until something changes.
    Rest,
}

/// One difference between what the dispatcher accepted and what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Announcement {
    pub branch: BranchName,
    /// The accepted head; `None` for a branch that the dispatcher does not know.
    pub before: Option<CommitId>,
    pub change: Change,
}

/// What became of a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is at this commit now.
    Head {
        commit: CommitId,
        /// The dispatcher lacks what it was thought to have: send all of the commit.
        everything: bool,
    },
    /// It no longer exists.
    Gone,
}

/// One repository, as the dispatcher knows it and as it is.
#[derive(Debug)]
pub(crate) struct Watch {
    selection: BranchSelection,
    /// As the dispatcher told in this session; `None` until it did.
    accepted: Option<Heads>,
    /// As last read; `None` when it is time to look again.
    seen: Option<Heads>,
    /// Commits of `accepted`, without doubles and at most a few, the one accepted last at the end.
    delivered: Vec<CommitId>,
    /// Branches whose announcement was answered with something else than `ok`.
    trouble: BTreeMap<BranchName, Trouble>,
    /// The branch announced last: the next one comes after it, so that a busy branch holds up no other.
    cursor: Option<BranchName>,
}

/// What is known of an announcement that was not accepted.
#[derive(Debug)]
struct Trouble {
    /// What was announced; another target is a fresh start.
    target: Option<CommitId>,
    everything: bool,
    disputes: u32,
    hold_until: Option<Moment>,
    delay_ms: u64,
}

impl Watch {
    pub(crate) fn new(selection: BranchSelection) -> Self {
        Self { selection, accepted: None, seen: None, delivered: Vec::new(), trouble: BTreeMap::new(), cursor: None }
    }

    /// The session ended. What the dispatcher accepted must be asked anew: it may have been restored from a backup.
    pub(crate) fn session_closed(&mut self) {
        self.accepted = None;
        self.seen = None;
        // What waits after a refusal goes on waiting, so that a broken commit cannot make a session open and close in a
        // tight circle.
        self.trouble.retain(|_, trouble| trouble.hold_until.is_some());
    }

    /// The dispatcher told which heads it accepted.
    pub(crate) fn told(&mut self, heads: impl IntoIterator<Item = (BranchName, CommitId)>) {
        let heads: Heads = heads.into_iter().collect();
        self.delivered.clear();
        for commit in heads.values() {
            self.note_delivered(*commit);
        }
        self.accepted = Some(heads);
    }

    /// The repository may have changed.
    pub(crate) fn look_again(&mut self) {
        self.seen = None;
    }

    /// The repository was read.
    pub(crate) fn seen(&mut self, heads: impl IntoIterator<Item = Head>) {
        self.seen = Some(heads.into_iter().map(|head| (head.branch, head.commit)).collect());
    }

    /// The dispatcher said `ok`.
    pub(crate) fn accepted(&mut self, announcement: &Announcement) {
        self.trouble.remove(&announcement.branch);
        let head = match announcement.change {
            Change::Head { commit, .. } => Some(commit),
            Change::Gone => None,
        };
        self.set_accepted(&announcement.branch, head);
    }

    /// The dispatcher's head of the branch is another one. Returns false if it says so again and again, so that the
    /// announcement waits.
    pub(crate) fn stale(&mut self, announcement: &Announcement, head: Option<CommitId>, now: Moment) -> bool {
        self.set_accepted(&announcement.branch, head);
        // Another observer may have read the repository later than this one: announcing what was read before would turn
        // the branch back.
        self.seen = None;
        self.dispute(announcement, now)
    }

    /// The dispatcher lacks objects. Returns false if it was sent all of them, so that the announcement waits.
    pub(crate) fn need_source(&mut self, announcement: &Announcement, now: Moment) -> bool {
        if matches!(announcement.change, Change::Head { everything: true, .. }) {
            self.refused(announcement, now);
            return false;
        }
        self.trouble(announcement).everything = true;
        self.dispute(announcement, now)
    }

    /// The announcement could not be made, or was refused: it waits, longer each time.
    pub(crate) fn refused(&mut self, announcement: &Announcement, now: Moment) {
        let trouble = self.trouble(announcement);
        trouble.hold_until = Some(now.after(trouble.delay_ms));
        trouble.delay_ms = (trouble.delay_ms * 2).min(HOLD_MAX_MS);
        trouble.disputes = 0;
    }

    /// What is to be done next.
    pub(crate) fn next(&self, now: Moment) -> Step {
        let Some(accepted) = &self.accepted else { return Step::Ask };
        let Some(seen) = &self.seen else { return Step::Look };
        let moved = self.in_turn(seen).find_map(|(branch, commit)| {
            let before = accepted.get(branch).copied();
            (before != Some(*commit) && !self.is_held(branch, Some(*commit), now)).then(|| {
                let everything = self.trouble.get(branch).is_some_and(|t| t.target == Some(*commit) && t.everything);
                Announcement { branch: branch.clone(), before, change: Change::Head { commit: *commit, everything } }
            })
        });
        let gone = || {
            accepted
                .iter()
                .find(|(branch, _)| {
                    // That the main branch is missing means nothing: HEAD may simply name another one.
                    !seen.contains_key(*branch) && self.selection.matches(branch) && !self.is_held(branch, None, now)
                })
                .map(|(branch, before)| Announcement {
                    branch: branch.clone(),
                    before: Some(*before),
                    change: Change::Gone,
                })
        };
        moved.or_else(gone).map_or(Step::Rest, Step::Announce)
    }

    /// Commits that the dispatcher has, the most useful first: a pack may leave out what they contain.
    pub(crate) fn haves(&self, announcement: &Announcement) -> Vec<CommitId> {
        let mut haves: Vec<CommitId> = announcement.before.into_iter().collect();
        for commit in self.delivered.iter().rev() {
            if haves.len() == MAX_HAVES {
                break;
            }
            if !haves.contains(commit) {
                haves.push(*commit);
            }
        }
        haves
    }

    /// Whether the dispatcher accepted this commit as a head, so that it needs no pack.
    pub(crate) fn is_delivered(&self, commit: CommitId) -> bool {
        self.delivered.contains(&commit)
    }

    /// The heads, from the one after the cursor round to it.
    fn in_turn<'a>(&self, heads: &'a Heads) -> impl Iterator<Item = (&'a BranchName, &'a CommitId)> {
        let (from, to) = match &self.cursor {
            Some(cursor) => (Bound::Excluded(cursor.clone()), Bound::Included(cursor.clone())),
            None => (Bound::Unbounded, Bound::Excluded(BranchName::new(""))),
        };
        heads.range((from, Bound::Unbounded)).chain(heads.range((Bound::Unbounded, to)))
    }

    fn is_held(&self, branch: &BranchName, target: Option<CommitId>, now: Moment) -> bool {
        self.trouble
            .get(branch)
            .is_some_and(|trouble| trouble.target == target && trouble.hold_until.is_some_and(|until| now < until))
    }

    fn set_accepted(&mut self, branch: &BranchName, head: Option<CommitId>) {
        self.cursor = Some(branch.clone());
        let Some(accepted) = &mut self.accepted else { return };
        let former = match head {
            Some(commit) => accepted.insert(branch.clone(), commit),
            None => accepted.remove(branch),
        };
        if let Some(former) = former
            && !accepted.values().any(|commit| *commit == former)
        {
            self.delivered.retain(|known| *known != former);
        }
        if let Some(commit) = head {
            self.note_delivered(commit);
        }
    }

    fn note_delivered(&mut self, commit: CommitId) {
        self.delivered.retain(|known| *known != commit);
        self.delivered.push(commit);
        if self.delivered.len() > MAX_HAVES {
            self.delivered.remove(0);
        }
    }

    fn dispute(&mut self, announcement: &Announcement, now: Moment) -> bool {
        let trouble = self.trouble(announcement);
        trouble.disputes += 1;
        let again = trouble.disputes < MAX_DISPUTES;
        if !again {
            self.refused(announcement, now);
        }
        again
    }

    /// The notes on this announcement; fresh ones if the last trouble of the branch was about another commit.
    fn trouble(&mut self, announcement: &Announcement) -> &mut Trouble {
        let target = match announcement.change {
            Change::Head { commit, .. } => Some(commit),
            Change::Gone => None,
        };
        self.cursor = Some(announcement.branch.clone());
        let fresh = || Trouble { target, everything: false, disputes: 0, hold_until: None, delay_ms: HOLD_FIRST_MS };
        let trouble = self.trouble.entry(announcement.branch.clone()).or_insert_with(fresh);
        if trouble.target != target {
            *trouble = fresh();
        }
        trouble
    }
}
