//! The metadata of a file by which it is known whether anybody has touched it.

use rustix::fs::Stat;

/// Metadata that shows if a file was touched. The change time (ctime) cannot be set back by a program that changes the
/// file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) mode: u32,
    pub(super) links: u64,
    /// User and group.
    pub(super) owner: (u32, u32),
    pub(super) size: i64,
    pub(super) modified: Time,
    pub(super) changed: Time,
}

/// Seconds and nanoseconds of a file system's clock.
pub(super) type Time = (i64, u64);

impl Stamp {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            mode: stat.st_mode,
            links: stat.st_nlink,
            owner: (stat.st_uid, stat.st_gid),
            size: stat.st_size,
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}
