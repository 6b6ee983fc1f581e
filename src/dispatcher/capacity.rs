//! The number of connections that the dispatcher accepts at once: the number that was asked for, if descriptors and
//! threads allow it. If they do not, the dispatcher says so once, at its start, instead of running out of them later.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::limits;
use crate::threads;

/// The number of connections at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capacity {
    /// Sessions: connections that have said hello.
    pub(crate) sessions: usize,
    /// Connections that have not said hello yet.
    pub(crate) unauthenticated: usize,
}

impl Capacity {
    /// Raises this process's limit of descriptors as far as needed and allowed, and computes the capacity. Also returns
    /// the limit from before, for processes that are started from here.
    pub(crate) fn prepare(wanted: usize) -> (Self, Rlimit) {
        let before = getrlimit(Resource::Nofile);
        let needed = (wanted + unauthenticated_beside(wanted) + limits::OTHER_DESCRIPTORS) as u64;
        if before.current.is_some_and(|current| current < needed) {
            let raised = before.maximum.map_or(needed, |maximum| maximum.min(needed));
            // If this is not allowed, the present limit is used.
            setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum: before.maximum }).ok();
        }
        let allowed = getrlimit(Resource::Nofile).current.and_then(|most| most.try_into().ok()).unwrap_or(usize::MAX);
        let by_descriptors = Self::within(wanted, allowed, limits::OTHER_DESCRIPTORS);
        let mut capacity = Self::within(by_descriptors.sessions, threads::most(), limits::OTHER_THREADS);
        capacity.unauthenticated = capacity.unauthenticated.min(by_descriptors.unauthenticated);
        if capacity.sessions < wanted {
            let (room, most) = (capacity.sessions, threads::most());
            let cause = if room < by_descriptors.sessions {
                format!("vm.max_map_count allows {most} threads (raise it with sysctl)")
            } else {
                format!("{allowed} open files are allowed (raise `ulimit -Hn`, or LimitNOFILE= of a systemd unit)")
            };
            log::warn!("room for {room} connections at once, not for the {wanted} of --max-connections: {cause}");
        }
        (capacity, before)
    }

    /// Returns how many of `wanted` sessions fit into `available`, of which `others` are needed for other purposes. If
    /// `available` is small, at most half of it is set aside.
    fn within(wanted: usize, available: usize, others: usize) -> Self {
        let room = available - others.min(available / 2);
        let unauthenticated = unauthenticated_beside(wanted.min(room));
        Self { sessions: wanted.min(room.saturating_sub(unauthenticated)), unauthenticated }
    }
}

/// Returns the number of unauthenticated connections beside that many sessions.
fn unauthenticated_beside(sessions: usize) -> usize {
    (sessions / 8).clamp(4, limits::MAX_UNAUTHENTICATED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::defaults::MAX_CONNECTIONS;

    #[test]
    fn what_is_asked_for_is_there_where_there_is_room_for_it() {
        let all = Capacity { sessions: MAX_CONNECTIONS, unauthenticated: limits::MAX_UNAUTHENTICATED };
        assert_eq!(Capacity::within(MAX_CONNECTIONS, usize::MAX, limits::OTHER_DESCRIPTORS), all);
        assert_eq!(Capacity::within(MAX_CONNECTIONS, threads::most(), limits::OTHER_THREADS), all);
        assert_eq!(
            Capacity::within(20, 1024, limits::OTHER_DESCRIPTORS),
            Capacity { sessions: 20, unauthenticated: 4 }
        );
    }

    #[test]
    fn where_there_is_little_room_something_is_left_for_everything_else() {
        for available in [64, 100, 256, 1024, 4096, 11_000] {
            let Capacity { sessions, unauthenticated } =
                Capacity::within(MAX_CONNECTIONS, available, limits::OTHER_DESCRIPTORS);
            let others = available - sessions - unauthenticated;
            assert!(others >= 32 && (others >= available / 2 || others >= limits::OTHER_DESCRIPTORS), "{available}");
            assert!(sessions >= available / 4 && unauthenticated >= 4, "{available}: {sessions}, {unauthenticated}");
        }
    }
}
