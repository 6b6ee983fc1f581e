//! The list of a cache's entries, and the choice of those that go when it is full. Pure.

use std::collections::HashMap;

use super::limits::{ENTRIES, EVICTED_SHARE};
use crate::model::{BlobId, Trust};

/// The place of an entry: its trust, which is that of its scope, and the hash of its whole name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) is_trusted: bool,
    pub(super) name: BlobId,
}

impl Place {
    pub(super) fn new(trust: Trust, name: BlobId) -> Self {
        Self { is_trusted: trust == Trust::Trusted, name }
    }
}

#[derive(Debug, Clone, Copy)]
struct Item {
    bytes: u64,
    /// A number that grows with each use of any entry.
    used: u64,
    /// When its use was last noted on the disk, in milliseconds. `None` if not since the start.
    noted_ms: Option<u64>,
}

/// The list of entries.
#[derive(Debug, Default)]
pub(super) struct Index {
    items: HashMap<Place, Item>,
    trusted_bytes: u64,
    untrusted_bytes: u64,
    uses: u64,
}

impl Index {
    /// The bytes of all entries.
    pub(super) fn bytes(&self) -> u64 {
        self.trusted_bytes + self.untrusted_bytes
    }

    pub(super) fn has(&self, place: Place) -> bool {
        self.items.contains_key(&place)
    }

    /// Adds an entry as the one that was used last.
    pub(super) fn add(&mut self, place: Place, bytes: u64) {
        self.remove(place);
        self.uses += 1;
        self.items.insert(place, Item { bytes, used: self.uses, noted_ms: None });
        *self.total(place) += bytes;
    }

    /// Notes a use. Returns whether the last one that was noted on the disk is longer ago than `noted_ms`.
    pub(super) fn use_at(&mut self, place: Place, now_ms: u64, noted_ms: u64) -> bool {
        self.uses += 1;
        let Some(item) = self.items.get_mut(&place) else { return false };
        item.used = self.uses;
        let is_due = item.noted_ms.is_none_or(|before| now_ms.saturating_sub(before) >= noted_ms);
        if is_due {
            item.noted_ms = Some(now_ms);
        }
        is_due
    }

    pub(super) fn remove(&mut self, place: Place) {
        if let Some(item) = self.items.remove(&place) {
            *self.total(place) -= item.bytes;
        }
    }

    fn total(&mut self, place: Place) -> &mut u64 {
        if place.is_trusted { &mut self.trusted_bytes } else { &mut self.untrusted_bytes }
    }

    /// Takes entries out until there is room below `limit` bytes, if there are more, and returns them.
    ///
    /// The one that was used longest ago goes first. But entries of untrusted builds go before all others while they
    /// take more than half of the room: nobody can push out with a pull request what the default branch has made.
    pub(super) fn evict(&mut self, limit: u64) -> Vec<Place> {
        self.evict_beyond(limit, ENTRIES)
    }

    fn evict_beyond(&mut self, limit: u64, entries: usize) -> Vec<Place> {
        if self.bytes() <= limit && self.items.len() <= entries {
            return Vec::new();
        }
        let room = limit - limit / EVICTED_SHARE;
        let most = entries - entries / EVICTED_SHARE as usize;
        let mut items: Vec<(Place, u64)> = self.items.iter().map(|(place, item)| (*place, item.used)).collect();
        items.sort_unstable_by_key(|(_, used)| *used);
        let (trusted, untrusted): (Vec<_>, Vec<_>) = items.into_iter().partition(|(place, _)| place.is_trusted);
        let (mut trusted, mut untrusted) = (trusted.into_iter().peekable(), untrusted.into_iter().peekable());
        let mut gone = Vec::new();
        while self.bytes() > room || self.items.len() > most {
            let is_crowd = self.untrusted_bytes > room / 2 || untrusted.len() > most / 2;
            let older = match (trusted.peek(), untrusted.peek()) {
                (Some(_), Some(_)) if is_crowd => untrusted.next(),
                (Some((_, trusted_use)), Some((_, untrusted_use))) if trusted_use < untrusted_use => trusted.next(),
                (Some(_), None) => trusted.next(),
                _ => untrusted.next(),
            };
            let Some((place, _)) = older else { break };
            self.remove(place);
            gone.push(place);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(is_trusted: bool, number: u8) -> Place {
        Place { is_trusted, name: BlobId([number; 32]) }
    }

    fn numbers(places: &[Place]) -> Vec<u8> {
        places.iter().map(|place| place.name.0[0]).collect()
    }

    #[test]
    fn the_entry_that_was_used_longest_ago_goes_first() {
        let mut index = Index::default();
        (0..16).for_each(|number| index.add(place(true, number), 10));
        assert!(index.evict(160).is_empty(), "there is room");
        index.use_at(place(true, 0), 0, 1000);
        index.add(place(true, 16), 10);
        assert_eq!(numbers(&index.evict(160)), [1, 2], "more than one at a time");
        assert_eq!(index.bytes(), 150);
        assert!(index.has(place(true, 0)) && !index.has(place(true, 1)));
        index.add(place(true, 0), 5);
        assert_eq!(index.bytes(), 145, "counted once");
    }

    /// S46. However much untrusted builds write, half of the room stays for the others.
    #[test]
    fn untrusted_entries_take_no_more_than_half_of_the_room_from_trusted_ones() {
        let mut index = Index::default();
        (0..10).for_each(|number| index.add(place(true, number), 10));
        for number in 0..100 {
            index.add(place(false, number), 10);
            index.evict(160);
        }
        let left = (0..10).filter(|number| index.has(place(true, *number))).count();
        assert!(left >= 8, "{left}");
        assert!(index.untrusted_bytes <= 80 && index.has(place(false, 99)), "{}", index.untrusted_bytes);
        // Alone they may have all of it.
        (0..10).for_each(|number| index.remove(place(true, number)));
        (100..116).for_each(|number| index.add(place(false, number), 10));
        index.evict(160);
        assert!(index.untrusted_bytes >= 150);
    }

    #[test]
    fn many_small_entries_count_too() {
        let mut index = Index::default();
        (0..17).for_each(|number| index.add(place(number % 2 == 0, number), 0));
        assert_eq!(index.evict_beyond(100, 16).len(), 2);
    }

    #[test]
    fn a_use_is_noted_on_the_disk_now_and_then() {
        let mut index = Index::default();
        index.add(place(true, 1), 10);
        let due: Vec<bool> = [0, 1, 999, 1000, 1001].map(|now| index.use_at(place(true, 1), now, 1000)).into();
        assert_eq!(due, [true, false, false, true, false]);
        assert!(!index.use_at(place(true, 2), 5000, 1000), "it is not there");
    }
}
