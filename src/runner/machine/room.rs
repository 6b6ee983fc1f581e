//! Room for attempts. An attempt may take several slots. It executes in one of them, and keeps the others empty.

use super::Machine;
use super::attempt::HeldAttempt;

impl Machine {
    /// Returns the slot in which an attempt can start now that takes this many; `None` if fewer are empty.
    pub(super) fn slot_for(&self, slots: u32) -> Option<usize> {
        let has_room = self.used(|_| true) + u64::from(slots) <= self.slots.len() as u64;
        has_room.then(|| self.slots.iter().position(Option::is_none)).flatten()
    }

    /// Whether an attempt that takes this many slots has room as soon as those have ended that are being ended, and
    /// those have started that wait already.
    pub(super) fn has_room_soon(&self, slots: u32) -> bool {
        let goes_on = self.used(|held| held.ending.is_none());
        let waiting: u64 = self.waiting.iter().map(|assignment| u64::from(assignment.slots)).sum();
        goes_on + waiting + u64::from(slots) <= self.slots.len() as u64
    }

    /// The number of slots that executing attempts take of which `counts` is true.
    fn used(&self, counts: impl Fn(&HeldAttempt) -> bool) -> u64 {
        let executing = self.held.values().filter(|held| held.phase.is_executing() && counts(held));
        executing.map(|held| u64::from(held.slots)).sum()
    }
}
