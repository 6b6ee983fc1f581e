//! Decides what to announce next for one repository. It compares the heads that the dispatcher has accepted with the
//! heads that the repository has now. It asks for one [`Step`] at a time, and is told the result.
//!
//! Pure: it never reads a repository, a socket or a clock; time is an argument. It is not told of a failed read, so
//! that a repository that cannot be read never looks like one with deleted branches. Called by the repository's thread
//! in [`super::repo`].

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::sequence::Sequence;
use crate::git::{BranchSelection, Head, RefGlob};
use crate::model::{CommitId, Moment, RefName};

/// Number of commits that a pack is compared with. Each costs a walk of its tree, and the nearest few save the most.
pub(super) const MAX_HAVES: usize = 16;
/// Number of answers other than `ok` after which an announcement is put on hold. The first `stale` or `need_source` is
/// ordinary. A row of them means that the two sides disagree in a way that an immediate retry does not resolve.
const MAX_DISPUTES: u32 = 4;
/// The first pause before a refused announcement is tried again; doubles up to the maximum.
const HOLD_FIRST_MS: u64 = 1_000;
const HOLD_MAX_MS: u64 = 60_000;

/// Heads by ref.
type Heads = BTreeMap<RefName, CommitId>;

/// The next action for the repository's thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask the dispatcher for the heads that it has accepted.
    Ask,
    /// Read the heads of the repository.
    Look,
    /// Read the times of these refs, so that they can be announced in their order.
    Date(Vec<Head>),
    /// Tell the dispatcher of refs that were there at the first look at some patterns.
    Note(FirstLook),
    /// Announce a difference to the dispatcher.
    Announce(Announcement),
    /// Do nothing until something changes.
    Rest,
}

/// The heads that the dispatcher has accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AcceptedHeads {
    pub heads: Vec<KnownHead>,
    /// The number of the last move that they include, if the dispatcher gives numbers.
    pub moves: Option<u64>,
    /// The patterns at whose refs no observer has looked yet.
    pub unseen: Vec<RefGlob>,
}

/// A head that the dispatcher has accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownHead {
    pub reference: RefName,
    pub commit: CommitId,
    /// Whether it was only noted at a first look, so that the dispatcher does not have its source.
    pub is_noted: bool,
}

/// The refs that were there when some patterns were looked at for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FirstLook {
    pub refs: Vec<Head>,
    pub patterns: Vec<RefGlob>,
}

/// One difference between the accepted heads and the present ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Announcement {
    pub reference: RefName,
    /// The accepted head; `None` if the dispatcher does not know the ref.
    pub before: Option<CommitId>,
    /// The number of the last move that the dispatcher had accepted when it told `before`. `None` if it gives no
    /// numbers.
    pub seen: Option<u64>,
    pub change: Change,
}

impl Announcement {
    /// The announced commit; `None` if the ref is gone.
    pub(super) fn target(&self) -> Option<CommitId> {
        match self.change {
            Change::Head { commit, .. } => Some(commit),
            Change::Gone => None,
        }
    }
}

/// A ref's new state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// The ref is at this commit now.
    Head {
        commit: CommitId,
        /// Send all of the commit, because the dispatcher lacks objects that it should have.
        everything: bool,
    },
    /// The ref no longer exists.
    Gone,
}

/// The state of one repository: as the dispatcher knows it, and as it is.
#[derive(Debug)]
pub(crate) struct Watch {
    selection: BranchSelection,
    /// The patterns for refs that are no branches. None if the dispatcher takes branches only.
    globs: Vec<RefGlob>,
    /// Those of them at whose refs no observer has looked yet.
    unseen: Vec<RefGlob>,
    /// Whether the repository is what it was at this observer's start or newer. The mirror of a remote is not before it
    /// was fetched, and a first look at it would take a new ref for an old one later.
    is_current: bool,
    /// The accepted heads as told in this session; `None` until the dispatcher has told them.
    accepted: Option<Heads>,
    /// The number of the last move that those heads include, as the dispatcher told with them. Refs that it has
    /// spoken of since have a later one.
    moves: Option<u64>,
    later_moves: BTreeMap<RefName, u64>,
    /// The heads as last read; `None` when it is time to look again.
    seen: Option<Heads>,
    /// The accepted refs whose source the dispatcher does not have.
    noted: BTreeSet<RefName>,
    /// A limited number of commits from `accepted`, without duplicates, the last accepted one at the end.
    delivered: Vec<CommitId>,
    /// Refs whose announcement was answered with something other than `ok`.
    trouble: BTreeMap<RefName, Trouble>,
    /// The refs whose present head is not the accepted one, in the sequence in which they are announced.
    moved: Sequence,
    /// The ref announced last. The search for the next one that is gone starts after it.
    cursor: Option<RefName>,
}

/// State of an announcement that was not accepted.
#[derive(Debug)]
struct Trouble {
    /// The announced commit. Another target starts afresh.
    target: Option<CommitId>,
    everything: bool,
    disputes: u32,
    hold_until: Option<Moment>,
    delay_ms: u64,
}

impl Watch {
    pub(crate) fn new(selection: BranchSelection) -> Self {
        Self {
            selection,
            globs: Vec::new(),
            unseen: Vec::new(),
            is_current: true,
            noted: BTreeSet::new(),
            accepted: None,
            moves: None,
            later_moves: BTreeMap::new(),
            seen: None,
            delivered: Vec::new(),
            trouble: BTreeMap::new(),
            moved: Sequence::default(),
            cursor: None,
        }
    }

    /// Notes that the session ended. The accepted heads must be asked for again: the dispatcher may have been restored
    /// from a backup.
    pub(crate) fn session_closed(&mut self) {
        self.accepted = None;
        self.seen = None;
        self.moved.clear();
        // A refused announcement stays on hold. Otherwise a broken commit could make sessions open and close in a tight
        // loop.
        self.trouble.retain(|_, trouble| trouble.hold_until.is_some());
    }

    /// Sets the patterns for refs that are no branches.
    pub(crate) fn watch_refs(&mut self, globs: &[RefGlob]) {
        globs.clone_into(&mut self.globs);
    }

    /// Notes whether the repository is as new as this observer's start.
    pub(crate) fn set_current(&mut self, is_current: bool) {
        self.is_current = is_current;
    }

    /// Notes the heads that the dispatcher has accepted.
    pub(crate) fn told(&mut self, AcceptedHeads { heads, moves, unseen }: AcceptedHeads) {
        (self.moves, self.unseen) = (moves, unseen);
        self.later_moves.clear();
        self.delivered.clear();
        for head in heads.iter().filter(|head| !head.is_noted) {
            self.note_delivered(head.commit);
        }
        self.noted = heads.iter().filter(|head| head.is_noted).map(|head| head.reference.clone()).collect();
        self.accepted = Some(heads.into_iter().map(|head| (head.reference, head.commit)).collect());
        self.compare();
    }

    /// Notes that a first look is over, or that the dispatcher must be told of the repository anew: the heads must be
    /// asked for again.
    pub(crate) fn looked(&mut self) {
        self.accepted = None;
    }

    /// Notes that the repository may have changed.
    pub(crate) fn look_again(&mut self) {
        self.seen = None;
    }

    /// Notes the heads that were read from the repository.
    pub(crate) fn seen(&mut self, heads: impl IntoIterator<Item = Head>) {
        self.seen = Some(heads.into_iter().map(|head| (head.reference, head.commit)).collect());
        self.moved.looked();
        self.compare();
    }

    /// Notes the times of refs.
    pub(crate) fn dated(&mut self, times: impl IntoIterator<Item = (RefName, Option<i64>)>) {
        self.moved.date(times);
    }

    /// Notes that the dispatcher accepted an announcement.
    pub(crate) fn accepted(&mut self, announcement: &Announcement, moves: Option<u64>) {
        self.trouble.remove(&announcement.reference);
        self.set_accepted(&announcement.reference, announcement.target(), moves);
    }

    /// Notes that the ref has moved at the dispatcher, to this head. Returns false if it has answered so repeatedly,
    /// so that the announcement is now on hold.
    pub(crate) fn stale(
        &mut self,
        announcement: &Announcement,
        head: Option<CommitId>,
        moves: Option<u64>,
        now: Moment,
    ) -> bool {
        self.set_accepted(&announcement.reference, head, moves);
        // Another observer may have read the repository later than this one. Announcing the older state would turn the
        // ref back.
        self.seen = None;
        self.dispute(announcement, now)
    }

    /// Notes that the dispatcher lacks objects. Returns false if it was already sent all of them, so that the
    /// announcement is now on hold.
    pub(crate) fn need_source(&mut self, announcement: &Announcement, now: Moment) -> bool {
        if matches!(announcement.change, Change::Head { everything: true, .. }) {
            self.refused(announcement, now);
            return false;
        }
        self.trouble(announcement).everything = true;
        self.dispute(announcement, now)
    }

    /// Notes that the announcement failed or was refused, and puts it on hold, longer each time. Returns whether this
    /// is the first time, so that a refusal without end is told once.
    pub(crate) fn refused(&mut self, announcement: &Announcement, now: Moment) -> bool {
        let trouble = self.trouble(announcement);
        let is_first = trouble.hold_until.is_none();
        trouble.hold_until = Some(now.after(trouble.delay_ms));
        trouble.delay_ms = (trouble.delay_ms * 2).min(HOLD_MAX_MS);
        trouble.disputes = 0;
        is_first
    }

    /// Returns the next step.
    pub(crate) fn next(&self, now: Moment) -> Step {
        let Some(accepted) = &self.accepted else { return Step::Ask };
        let Some(seen) = &self.seen else { return Step::Look };
        if !self.unseen.is_empty() && self.is_current {
            return Step::Note(self.first_look(accepted, seen));
        }
        let undated = self.moved.undated();
        if !undated.is_empty() {
            return Step::Date(undated);
        }
        let moved = self.moved.iter().find(|(reference, commit)| !self.is_held(reference, Some(*commit), now));
        let moved = moved.map(|(reference, commit)| {
            let everything = self.trouble.get(reference).is_some_and(|t| t.target == Some(commit) && t.everything);
            Announcement {
                reference: reference.clone(),
                before: accepted.get(reference).copied(),
                seen: self.moves_of(reference),
                change: Change::Head { commit, everything },
            }
        });
        let gone = || {
            self.in_turn(accepted)
                .find(|(reference, _)| {
                    // A missing main branch means nothing: HEAD may simply name another branch now.
                    !seen.contains_key(*reference) && self.is_watched(reference) && !self.is_held(reference, None, now)
                })
                .map(|(reference, before)| Announcement {
                    reference: reference.clone(),
                    before: Some(*before),
                    seen: self.moves_of(reference),
                    change: Change::Gone,
                })
        };
        moved.or_else(gone).map_or(Step::Rest, Step::Announce)
    }

    /// Returns commits that the dispatcher has, the most useful first. A pack may leave out their content.
    pub(crate) fn haves(&self, announcement: &Announcement) -> Vec<CommitId> {
        let before = announcement.before.filter(|_| !self.noted.contains(&announcement.reference));
        let mut haves: Vec<CommitId> = before.into_iter().collect();
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

    /// Whether the dispatcher has accepted this commit as a head, so that it needs no pack.
    pub(crate) fn is_delivered(&self, commit: CommitId) -> bool {
        self.delivered.contains(&commit)
    }

    /// Finds the refs whose present head is not the accepted one.
    fn compare(&mut self) {
        let (Some(accepted), Some(seen)) = (&self.accepted, &self.seen) else { return };
        let moved = seen.iter().filter(|(reference, commit)| {
            let before = accepted.get(*reference);
            // A ref that only an unseen pattern matches may be an old one.
            before != Some(*commit) && (before.is_some() || reference.branch().is_some() || self.is_seen(reference))
        });
        let moved: Vec<_> = moved.map(|(reference, commit)| (reference.clone(), *commit)).collect();
        self.moved.set(moved);
    }

    /// Whether the ref is watched by its name.
    fn is_watched(&self, reference: &RefName) -> bool {
        self.selection.matches(reference) || self.globs.iter().any(|glob| glob.matches(reference))
    }

    /// Whether a pattern selects the ref whose first look is over.
    fn is_seen(&self, reference: &RefName) -> bool {
        self.globs.iter().any(|glob| !self.unseen.contains(glob) && glob.matches(reference))
    }

    /// The refs that only unseen patterns match, and that the dispatcher does not know.
    fn first_look(&self, accepted: &Heads, seen: &Heads) -> FirstLook {
        let is_old = |reference: &RefName| {
            reference.branch().is_none() && !accepted.contains_key(reference) && !self.is_seen(reference)
        };
        let refs = seen.iter().filter(|(reference, _)| is_old(reference));
        let refs = refs.map(|(reference, commit)| Head { reference: reference.clone(), commit: *commit }).collect();
        FirstLook { refs, patterns: self.unseen.clone() }
    }

    /// Iterates over the heads, starting after the cursor and ending with it.
    fn in_turn<'a>(&self, heads: &'a Heads) -> impl Iterator<Item = (&'a RefName, &'a CommitId)> {
        let (from, to) = match &self.cursor {
            Some(cursor) => (Bound::Excluded(cursor.clone()), Bound::Included(cursor.clone())),
            None => (Bound::Unbounded, Bound::Excluded(RefName::new(""))),
        };
        heads.range((from, Bound::Unbounded)).chain(heads.range((Bound::Unbounded, to)))
    }

    fn is_held(&self, reference: &RefName, target: Option<CommitId>, now: Moment) -> bool {
        self.trouble
            .get(reference)
            .is_some_and(|trouble| trouble.target == target && trouble.hold_until.is_some_and(|until| now < until))
    }

    /// The number of the last move that was accepted when the dispatcher told the ref's head.
    fn moves_of(&self, reference: &RefName) -> Option<u64> {
        self.later_moves.get(reference).copied().or(self.moves)
    }

    fn set_accepted(&mut self, reference: &RefName, head: Option<CommitId>, moves: Option<u64>) {
        self.cursor = Some(reference.clone());
        self.moved.tried(reference);
        self.noted.remove(reference);
        // After any other answer the repository is looked at again.
        if self.seen.as_ref().and_then(|seen| seen.get(reference)) == head.as_ref() {
            self.moved.announced(reference);
        }
        let Some(accepted) = &mut self.accepted else { return };
        if let Some(moves) = moves {
            self.later_moves.insert(reference.clone(), moves);
        }
        let former = match head {
            Some(commit) => accepted.insert(reference.clone(), commit),
            None => accepted.remove(reference),
        };
        if let Some(former) = former
            // The commit may still be the head of another ref.
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
        // `refused` also sets the number of disputes back to zero.
        let again = trouble.disputes < MAX_DISPUTES;
        if !again {
            self.refused(announcement, now);
        }
        again
    }

    /// Returns the notes on this announcement; fresh ones if the ref's earlier trouble was about another commit.
    fn trouble(&mut self, announcement: &Announcement) -> &mut Trouble {
        let target = announcement.target();
        self.cursor = Some(announcement.reference.clone());
        self.moved.tried(&announcement.reference);
        let fresh = || Trouble { target, everything: false, disputes: 0, hold_until: None, delay_ms: HOLD_FIRST_MS };
        let trouble = self.trouble.entry(announcement.reference.clone()).or_insert_with(fresh);
        if trouble.target != target {
            *trouble = fresh();
        }
        trouble
    }
}
