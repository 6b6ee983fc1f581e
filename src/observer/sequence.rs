//! The sequence in which refs are announced. Branches come first, then tags and other refs; each kind in the order of
//! its times, so that the numbers of builds ascend with them. Pure; part of [`super::watch`].

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::git::Head;
use crate::model::{CommitId, RefName};

/// The refs that are to be announced, in their sequence.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    branches: BTreeSet<Place>,
    others: BTreeSet<Place>,
    places: BTreeMap<RefName, Place>,
    /// How many of them have a place without a time.
    undated: usize,
    /// The refs that were announced since nothing was left to announce.
    announced: BTreeSet<RefName>,
    /// Number of looks at the repository.
    looks: u64,
    /// The last look whose branches go before the other refs. `None` if those of every look do.
    branches_until: Option<u64>,
}

/// The place of a ref in the sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    /// The look that found that the ref has moved again after it was announced; 0 for all other refs. They come
    /// earlier, because a ref that moves all the time must not hold up others.
    look: u64,
    /// In seconds since 1970. `None` before it was read, and [`UNKNOWN_S`] if nothing tells it.
    time_s: Option<i64>,
    reference: RefName,
    commit: CommitId,
}

/// A ref without a time counts as older than all others.
const UNKNOWN_S: i64 = i64::MIN;

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_time = (self.look, self.time_s).cmp(&(other.look, other.time_s));
        by_time.then_with(|| self.reference.cmp_by_numbers(&other.reference))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Sequence {
    /// Notes that the repository was read.
    pub(super) fn looked(&mut self) {
        self.looks += 1;
    }

    /// Forgets all refs.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Makes these the refs that are to be announced. A ref that was among them keeps its place; its time is read
    /// anew if it has moved meanwhile.
    pub(super) fn set(&mut self, heads: impl IntoIterator<Item = (RefName, CommitId)>) {
        let before = std::mem::take(&mut self.places);
        (self.branches, self.others, self.undated) = Default::default();
        for (reference, commit) in heads {
            let known = before.get(&reference);
            let time_s = known.filter(|place| place.commit == commit).and_then(|place| place.time_s);
            let look = match known {
                Some(place) => place.look,
                None if self.announced.contains(&reference) => self.looks,
                None => 0,
            };
            self.insert(Place { look, time_s, reference, commit });
        }
        self.forget_if_empty();
    }

    /// Returns the refs whose times must be read before the first of them is announced. A single ref needs none.
    pub(super) fn undated(&self) -> Vec<Head> {
        if self.undated == 0 || self.places.len() < 2 {
            return Vec::new();
        }
        let undated = self.places.values().filter(|place| place.time_s.is_none());
        undated.map(|place| Head { reference: place.reference.clone(), commit: place.commit }).collect()
    }

    /// Notes the times of refs, as far as there are any.
    pub(super) fn date(&mut self, times: impl IntoIterator<Item = (RefName, Option<i64>)>) {
        for (reference, time_s) in times {
            if let Some(place) = self.remove(&reference) {
                self.insert(Place { time_s: Some(time_s.unwrap_or(UNKNOWN_S)), ..place });
            }
        }
    }

    /// Notes that a ref was tried, so that one of the other kind may come first.
    pub(super) fn tried(&mut self, reference: &RefName) {
        self.branches_until = match reference.branch() {
            Some(_) => self.branches_until.or(Some(self.looks)),
            None => None,
        };
    }

    /// Takes a ref out whose present head was announced.
    pub(super) fn announced(&mut self, reference: &RefName) {
        self.announced.insert(reference.clone());
        self.remove(reference);
        self.forget_if_empty();
    }

    /// Iterates over the refs in their sequence. Thousands of tags must not keep a branch waiting, nor a branch that
    /// moves at every look the tags: after it, one of them is next.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&RefName, CommitId)> {
        let is_first = |place: &&Place| self.branches_until.is_none_or(|look| place.look <= look);
        let first = self.branches.iter().take_while(is_first);
        let last = self.branches.iter().skip_while(is_first);
        first.chain(&self.others).chain(last).map(|place| (&place.reference, place.commit))
    }

    /// Once nothing is left, no ref can hold up another one.
    fn forget_if_empty(&mut self) {
        if self.places.is_empty() {
            self.announced.clear();
            self.branches_until = None;
        }
    }

    fn remove(&mut self, reference: &RefName) -> Option<Place> {
        let place = self.places.remove(reference)?;
        self.kind(reference).remove(&place);
        self.undated -= usize::from(place.time_s.is_none());
        Some(place)
    }

    fn insert(&mut self, place: Place) {
        self.undated += usize::from(place.time_s.is_none());
        self.kind(&place.reference).insert(place.clone());
        self.places.insert(place.reference.clone(), place);
    }

    fn kind(&mut self, reference: &RefName) -> &mut BTreeSet<Place> {
        if reference.branch().is_some() { &mut self.branches } else { &mut self.others }
    }
}
