//! Decides which connections are admitted: there are places for those that have not said hello yet, and for those that
//! have. Pure: the caller closes connections and waits for places.

use std::collections::{BTreeMap, HashSet};

use crate::dispatcher::capacity::Capacity;
use crate::dispatcher::limits;
use crate::model::{Moment, SessionId};

/// The places that are taken.
pub(super) struct Admission {
    capacity: Capacity,
    /// Unauthenticated connections, which have not said hello yet, oldest first, with the time of their arrival.
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
    /// the machine is too busy to read what has arrived, the sender is not to blame.
    pub(super) fn oldest_silent(&self, now: Moment, has_unread: impl Fn(SessionId) -> bool) -> Option<SessionId> {
        let old =
            self.unauthenticated.iter().take_while(|(_, since)| now.since(**since) >= limits::UNAUTHENTICATED_GRACE_MS);
        old.map(|(id, _)| *id).find(|id| !has_unread(*id))
    }

    pub(super) fn add(&mut self, id: SessionId, now: Moment) {
        self.unauthenticated.insert(id, now);
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
