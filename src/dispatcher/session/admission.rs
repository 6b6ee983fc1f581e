//! Who may connect: places for connections that have not said hello yet, and places for those that have. Pure: closing
//! a connection and waiting for a place are the caller's business.

use std::collections::{BTreeMap, HashSet};

use crate::dispatcher::capacity::Capacity;
use crate::dispatcher::limits;
use crate::model::{Moment, SessionId};

/// The places that are taken.
pub(super) struct Admission {
    capacity: Capacity,
    /// Unauthenticated connections, which have not said hello yet: oldest first, and since when each is there.
    unauthenticated: BTreeMap<SessionId, Moment>,
    /// Sessions: connections that have said hello.
    members: HashSet<SessionId>,
}

impl Admission {
    pub(super) fn new(capacity: Capacity) -> Self {
        Self { capacity, unauthenticated: BTreeMap::new(), members: HashSet::new() }
    }

    /// Whether a new connection finds a place.
    pub(super) fn has_place(&self) -> bool {
        self.unauthenticated.len() < self.capacity.unauthenticated
    }

    pub(super) fn unauthenticated(&self) -> usize {
        self.unauthenticated.len()
    }

    /// The oldest unauthenticated connection that has had its grace period and of which nothing is unread. If the
    /// machine is too busy to read what has arrived, that is not the sender's fault.
    pub(super) fn oldest_silent(&self, now: Moment, has_unread: impl Fn(SessionId) -> bool) -> Option<SessionId> {
        let old =
            self.unauthenticated.iter().take_while(|(_, since)| now.since(**since) >= limits::UNAUTHENTICATED_GRACE_MS);
        old.map(|(id, _)| *id).find(|id| !has_unread(*id))
    }

    pub(super) fn add(&mut self, id: SessionId, now: Moment) {
        self.unauthenticated.insert(id, now);
    }

    /// Counts a connection among the sessions; an error with their number if there is no place left for one.
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
