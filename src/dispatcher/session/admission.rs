//! Decides which connections are admitted: there are places for those that have not said hello yet, and for those that
//! have. Pure: the caller closes connections and waits for places.

use std::collections::{BTreeMap, HashSet};

use crate::dispatcher::capacity::Capacity;
use crate::dispatcher::limits;
use crate::model::{Moment, SessionId};

/// The places that are taken.
pub(super) struct Admission {
    capacity: Capacity,
    /// Unauthenticated connections, which have not said hello yet, oldest first, with the time of their arrival or of
    /// the beginning of their TLS handshake.
    pub(super) unauthenticated: BTreeMap<SessionId, Moment>,
    /// Sessions: connections that have said hello.
    members: HashSet<SessionId>,
}

impl Admission {
    pub(super) fn new(capacity: Capacity) -> Self {
        Self { capacity, unauthenticated: BTreeMap::new(), members: HashSet::new() }
    }

    /// Returns whether there is a place for a new connection.
    pub(super) fn has_place(&self) -> bool {
        self.unauthenticated.len() < self.capacity.unauthenticated
    }

    /// Returns the oldest unauthenticated connection whose grace period is over and that has sent nothing unread. If
    /// the machine is too busy to read or to answer what has arrived, the sender is not to blame.
    pub(super) fn oldest_silent(&self, now: Moment, has_unread: impl Fn(SessionId) -> bool) -> Option<SessionId> {
        let old =
            self.unauthenticated.iter().filter(|(_, since)| now.since(**since) >= limits::UNAUTHENTICATED_GRACE_MS);
        old.map(|(id, _)| *id).find(|id| !has_unread(*id))
    }

    pub(super) fn add(&mut self, id: SessionId, now: Moment) {
        self.unauthenticated.insert(id, now);
    }

    /// Gives a connection whose handshake begins another grace period: its peer waits for this process, which may have
    /// hundreds of handshakes to answer.
    pub(super) fn begin_handshake(&mut self, id: SessionId, now: Moment) {
        if let Some(since) = self.unauthenticated.get_mut(&id) {
            *since = now;
        }
    }

    /// Moves a connection to the sessions. Fails with the number of sessions if there is no place left.
    pub(super) fn authenticate(&mut self, id: SessionId) -> Result<(), usize> {
        let count = self.members.len();
        if count >= self.capacity.sessions {
            return Err(count);
        }
        self.unauthenticated.remove(&id);
        self.members.insert(id);
        Ok(())
    }

    pub(super) fn remove(&mut self, id: SessionId) {
        self.unauthenticated.remove(&id);
        self.members.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_silent_connection_gives_way_and_one_whose_handshake_began_has_another_grace_period() {
        let mut admission = Admission::new(Capacity { sessions: 10, unauthenticated: 3 });
        let grace = limits::UNAUTHENTICATED_GRACE_MS;
        for id in 1..=3 {
            admission.add(SessionId(id), Moment(id));
        }
        assert!(!admission.has_place());
        let oldest = |admission: &Admission, now| admission.oldest_silent(Moment(now), |id| id == SessionId(2));
        assert_eq!(oldest(&admission, grace), None);
        assert_eq!(oldest(&admission, grace + 1), Some(SessionId(1)));
        admission.begin_handshake(SessionId(1), Moment(grace));
        admission.begin_handshake(SessionId(9), Moment(grace));
        assert_eq!(oldest(&admission, grace + 2), None, "2 has sent bytes that nobody read yet");
        assert_eq!(oldest(&admission, grace + 3), Some(SessionId(3)));
        assert_eq!(oldest(&admission, 2 * grace), Some(SessionId(1)));
        assert!(admission.authenticate(SessionId(1)).is_ok() && admission.has_place());
    }
}
