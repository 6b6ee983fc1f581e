//! How many connections there may be at once: as many as were asked for, as far as descriptors and threads go. Where
//! they do not, it says so in words, once, at the start; nothing is found out by running out of it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::limits;
use crate::threads;

/// How many connections there may be at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capacity {
    /// Those that have said hello.
    pub(crate) sessions: usize,
    /// Those that have not yet.
    pub(crate) unauthenticated: usize,
}

impl Capacity {
    /// Raises this process's limit of descriptors as far as needed and allowed, and sees what there is room for. Also
    /// returns the limit that was there before, for processes that are started from here.
    pub(crate) fn prepare(wanted: usize) -> (Self, Rlimit) {
        let before = getrlimit(Resource::Nofile);
        let needed = (wanted + unauthenticated_beside(wanted) + limits::OTHER_DESCRIPTORS) as u64;
        if before.current.is_some_and(|current| current < needed) {
            let raised = before.maximum.map_or(needed, |maximum| maximum.min(needed));
            // Where it is not allowed, what there is has to do.
            setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum: before.maximum }).ok();
        }
        let descriptors = getrlimit(Resource::Nofile)
            .current
            .map_or(usize::MAX, |current| usize::try_from(current).unwrap_or(usize::MAX));
        let by_descriptors = Self::within(wanted, descriptors, limits::OTHER_DESCRIPTORS);
        let capacity = Self::within(by_descriptors.sessions, threads::most(), limits::OTHER_THREADS);
        let capacity =
            Self { unauthenticated: capacity.unauthenticated.min(by_descriptors.unauthenticated), ..capacity };
        if capacity.sessions < by_descriptors.sessions {
            log::warn!(
                "room for {} connections at once, not for the {wanted} of --max-connections: vm.max_map_count allows \
                 {} threads (raise it with sysctl)",
                capacity.sessions,
                threads::most()
            );
        } else if capacity.sessions < wanted {
            log::warn!(
                "room for {} connections at once, not for the {wanted} of --max-connections: {descriptors} open files \
                 are allowed (raise `ulimit -Hn`, or LimitNOFILE= of a systemd unit)",
                capacity.sessions
            );
        }
        (capacity, before)
    }

    /// As many of `wanted` sessions as `available` allows, of which `others` are used otherwise; where that is very
    /// little, at most half of it is.
    fn within(wanted: usize, available: usize, others: usize) -> Self {
        let room = available - others.min(available / 2);
        let unauthenticated = unauthenticated_beside(wanted.min(room));
        Self { sessions: wanted.min(room.saturating_sub(unauthenticated)), unauthenticated }
    }
}

/// How many unauthenticated there may be beside so many sessions.
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
