//! The caches and entries of the tool cache that are removed because all of them together are too large. Pure.

use crate::model::WallTime;

/// A cache, or an entry of the tool cache.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) bytes: u64,
    pub(super) used_at: WallTime,
    /// Whether trusted builds of a default branch wrote it.
    pub(super) is_of_default: bool,
}

/// The room for all of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) bytes: u64,
    pub(super) count: usize,
}

impl Room {
    fn holds(self, (bytes, count): (u64, usize)) -> bool {
        bytes <= self.bytes && count <= self.count
    }
}

/// Returns the places in the list of those to remove so that there is room for the others: the least recently used
/// ones; of those that were used at one time, the first ones in the list. Those of default branches go only as far as
/// they have more than half of the room: builds of every branch and every pull request start from them, and whoever
/// fills the rest must not push them out.
pub(super) fn excess(candidates: &[Candidate], room: Room) -> Vec<usize> {
    let total = |candidates: &mut dyn Iterator<Item = &Candidate>| {
        candidates.fold((0_u64, 0_usize), |(bytes, count), one| (bytes + one.bytes, count + 1))
    };
    let mut all = total(&mut candidates.iter());
    let mut of_defaults = total(&mut candidates.iter().filter(|one| one.is_of_default));
    let half = Room { bytes: room.bytes / 2, count: room.count / 2 };
    let mut oldest: Vec<usize> = (0..candidates.len()).collect();
    oldest.sort_by_key(|at| (candidates[*at].used_at.0, *at));
    let mut removed = Vec::new();
    for at in oldest {
        if room.holds(all) {
            break;
        }
        let bytes = candidates[at].bytes;
        if candidates[at].is_of_default {
            if half.holds(of_defaults) {
                continue;
            }
            of_defaults = (of_defaults.0 - bytes, of_defaults.1 - 1);
        }
        all = (all.0 - bytes, all.1 - 1);
        removed.push(at);
    }
    removed
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Candidates of these sizes, each with a name and used later than the one before; a `d` is of the default branch.
    fn removed(candidates: &[(u8, char, u64)], bytes: u64, count: usize) -> Vec<u8> {
        let candidate = |(used, (_, of, bytes)): (usize, &(u8, char, u64))| Candidate {
            bytes: *bytes,
            used_at: WallTime(used as i64),
            is_of_default: *of == 'd',
        };
        let list: Vec<Candidate> = candidates.iter().enumerate().map(candidate).collect();
        excess(&list, Room { bytes, count }).into_iter().map(|at| candidates[at].0).collect()
    }

    #[test]
    fn the_least_recently_used_go_first_and_no_more_than_needed() {
        let three = [(7, 'x', 40), (5, 'x', 40), (6, 'x', 40)];
        assert_eq!(removed(&three, 120, 3), [] as [u8; 0]);
        assert_eq!(removed(&three, 119, 3), [7]);
        assert_eq!(removed(&three, 79, 3), [7, 5]);
        assert_eq!(removed(&three, 0, 3), [7, 5, 6]);
        assert_eq!(removed(&three, 120, 1), [7, 5], "many small ones are too many");
    }

    #[test]
    fn half_of_the_room_is_for_the_default_branch() {
        let both = [(1, 'd', 50), (2, 'x', 60), (3, 'x', 40)];
        assert_eq!(removed(&both, 100, 3), [2], "the default branch was used longest ago, and stays");
        let large = [(1, 'd', 50), (2, 'd', 30), (3, 'x', 40)];
        assert_eq!(removed(&large, 100, 4), [1], "more than half of the room is not reserved");
        assert_eq!(removed(&[(1, 'x', 40), (2, 'd', 50), (3, 'd', 30)], 100, 4), [1]);
        let small = [(1, 'd', 1), (2, 'd', 1), (3, 'x', 1), (4, 'x', 1), (5, 'x', 1)];
        assert_eq!(removed(&small, 100, 4), [3], "half of the entries is, too");
    }
}
