//! Stamps of directories: they tell with one system call that nothing was put into a directory or taken out of it, and
//! that its mode and attributes are as before.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use crate::clock;

/// The identity, mode and time of change of a directory. The kernel sets the time at each change of the directory
/// itself; nobody else can (inode(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    mode: u32,
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(meta: &Metadata) -> Self {
        Self { device: meta.dev(), inode: meta.ino(), mode: meta.mode(), changed: (meta.ctime(), meta.ctime_nsec()) }
    }
}

/// The stamp of a directory that was looked through and found as it should be.
#[derive(Debug)]
pub(super) struct Checked {
    stamp: Stamp,
    /// When it had this stamp for the first time.
    since: Instant,
    /// Whether it was looked through so long after that time that a later change gets another stamp.
    is_settled: bool,
}

/// The kernel's clock for times of change goes in steps of some milliseconds. Two changes within one step have the same
/// time.
const STEP: Duration = Duration::from_millis(100);

impl Checked {
    /// Notes that the directory was looked through just now, when it had this stamp before and after that.
    pub(super) fn note(last: &mut Option<Self>, stamp: Stamp) {
        match last {
            Some(last) if last.stamp == stamp => last.is_settled |= last.since.elapsed() >= STEP,
            last => *last = Some(Self { stamp, since: clock::instant(), is_settled: false }),
        }
    }

    /// Whether the directory had this stamp when it was looked through.
    pub(super) fn is_of(&self, stamp: Stamp) -> bool {
        self.stamp == stamp
    }

    /// Whether the directory, which has this stamp now, is as it was when it was looked through.
    pub(super) fn is_unchanged(&self, stamp: Stamp) -> bool {
        self.is_settled && self.stamp == stamp
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Checked {
        /// The directory gets no other stamp for a long time.
        fn age(&mut self) {
            self.since = self.since.checked_sub(STEP).unwrap();
        }
    }

    const STAMP: Stamp = Stamp { device: 1, inode: 2, mode: 0o40700, changed: (3, 4) };

    #[test]
    fn a_directory_is_trusted_once_it_was_looked_through_long_after_its_last_change() {
        let mut last = None;
        Checked::note(&mut last, STAMP);
        Checked::note(&mut last, STAMP);
        let checked = last.as_mut().unwrap();
        assert!(checked.is_of(STAMP) && !checked.is_unchanged(STAMP), "the last change may be just now");
        checked.age();
        assert!(!checked.is_unchanged(STAMP), "it was not looked through since");
        Checked::note(&mut last, STAMP);
        let others = [
            Stamp { device: 9, ..STAMP },
            Stamp { inode: 9, ..STAMP },
            Stamp { mode: 0o40000, ..STAMP },
            Stamp { changed: (3, 5), ..STAMP },
        ];
        let checked = last.as_ref().unwrap();
        assert!(checked.is_unchanged(STAMP) && !others.into_iter().any(|other| checked.is_unchanged(other)));
        Checked::note(&mut last, others[3]);
        assert!(!last.as_ref().unwrap().is_unchanged(others[3]), "it has changed, perhaps just now");
    }
}
