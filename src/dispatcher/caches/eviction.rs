//! The caches that are removed because all of them together are too large. Pure.

use crate::model::{CacheEntry, CacheScope};

/// Returns the numbers of the entries to remove so that the others have at most `limit` bytes: the least recently used
/// ones. Those of default branches go only as far as they have more than half of the limit: builds of every branch and
/// every pull request start from them, and whoever fills the rest must not push them out.
pub(super) fn excess(entries: &[CacheEntry], limit: u64, is_default: &dyn Fn(&CacheEntry) -> bool) -> Vec<i64> {
    let bytes = |entries: &mut dyn Iterator<Item = &CacheEntry>| entries.map(|entry| entry.saved.bytes).sum::<u64>();
    let mut total = bytes(&mut entries.iter());
    let mut of_defaults = bytes(&mut entries.iter().filter(|entry| is_default(entry)));
    let mut oldest: Vec<&CacheEntry> = entries.iter().collect();
    oldest.sort_by_key(|entry| (entry.used_at.0, entry.id));
    let mut removed = Vec::new();
    for entry in oldest {
        if total <= limit {
            break;
        }
        if is_default(entry) {
            if of_defaults <= limit / 2 {
                continue;
            }
            of_defaults -= entry.saved.bytes;
        }
        total -= entry.saved.bytes;
        removed.push(entry.id);
    }
    removed
}

/// Whether a scope is that of the trusted builds of one of these default branches.
pub(super) fn is_of_default(scope: &CacheScope, defaults: &[CacheScope]) -> bool {
    defaults.contains(scope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatcher::caches::tests::entry;
    use crate::model::WallTime;

    /// Entries of these sizes, each used later than the one before; a `d` is of the default branch.
    fn removed(entries: &[(i64, char, u64)], limit: u64) -> Vec<i64> {
        let entries: Vec<CacheEntry> = entries
            .iter()
            .enumerate()
            .map(|(used, (id, of, bytes))| {
                let branch = if *of == 'd' { "refs/heads/main" } else { "refs/heads/x" };
                let mut entry = entry(*id, branch, *id as u8);
                (entry.saved.bytes, entry.used_at) = (*bytes, WallTime(used as i64));
                entry
            })
            .collect();
        let main = [CacheScope::trusted(crate::model::RefName::new("refs/heads/main"))];
        excess(&entries, limit, &|entry| is_of_default(&entry.scope, &main))
    }

    #[test]
    fn the_least_recently_used_go_first_and_no_more_than_needed() {
        let three = [(7, 'x', 40), (5, 'x', 40), (6, 'x', 40)];
        assert_eq!(removed(&three, 120), [] as [i64; 0]);
        assert_eq!(removed(&three, 119), [7]);
        assert_eq!(removed(&three, 79), [7, 5]);
        assert_eq!(removed(&three, 0), [7, 5, 6]);
    }

    #[test]
    fn half_of_the_room_is_for_the_default_branch() {
        let both = [(1, 'd', 50), (2, 'x', 60), (3, 'x', 40)];
        assert_eq!(removed(&both, 100), [2], "the default branch was used longest ago, and stays");
        let large = [(1, 'd', 50), (2, 'd', 30), (3, 'x', 40)];
        assert_eq!(removed(&large, 100), [1], "more than half of the room is not reserved");
        assert_eq!(removed(&[(1, 'x', 40), (2, 'd', 50), (3, 'd', 30)], 100), [1]);
    }
}
