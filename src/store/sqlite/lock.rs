//! The lock that allows one writer for a data directory: a lock on a file beside the store, which ends with the process
//! however the process ends (S4). The file names its holder and the boot of the machine in which the holder ran. The
//! boot tells whether the log's index, which the kernel keeps in memory (see `wal.rs`), is still the previous holder's.
//! Taken when a store opens; never waits.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use super::failure;
use crate::locked::Locked;
use crate::store::StoreError;

/// The file in which Linux names the current boot of the machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Refuses if a process has the lock of the store at `path`. Takes no lock and makes no file, so that a dispatcher that
/// starts meanwhile is not refused.
pub(super) fn check_free(path: &Path) -> Result<(), StoreError> {
    let lock_path = path.with_extension("lock");
    let text = fs::read_to_string(&lock_path).unwrap_or_default();
    let (pid, boot) = text.trim_end().split_once(' ').unwrap_or_default();
    let boot_now = fs::read_to_string(BOOT_ID).unwrap_or_default();
    let Some(pid) = pid.parse::<u32>().ok().filter(|_| boot == boot_now.trim_end()) else { return Ok(()) };
    // The lock ends with its holder. If a process of that number lives, it may be another one, so the lock itself is
    // tried, which takes it for an instant only in that case.
    if !Path::new(&format!("/proc/{pid}")).exists() {
        return Ok(());
    }
    let Ok(file) = File::open(&lock_path) else { return Ok(()) };
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {
            Err(StoreError::InUse { place: place(path), holder: Some(format!("process {pid}")) })
        }
        _ => Ok(()),
    }
}

/// Names what the lock is for.
fn place(path: &Path) -> String {
    format!("the data directory {}", path.parent().unwrap_or(path).display())
}

/// The lock, until dropped.
#[derive(Debug)]
pub(super) struct Lock {
    file: Locked,
    /// The previous holder ran in the current boot of the machine. Unknown counts as no.
    pub same_boot: bool,
}

impl Lock {
    /// Takes the lock of the store at `path` and records this process as the holder; refuses if another process has
    /// it, and names that one.
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        let (mut lock, boot_now) = Self::hold_at(path)?;
        let file = lock.file.file();
        // On a full disk the text may be lost. Then only the boot of this holder is unknown to the next.
        drop(
            file.rewind()
                .and_then(|()| file.set_len(0))
                .and_then(|()| writeln!(file, "{} {boot_now}", std::process::id())),
        );
        Ok(lock)
    }

    /// Like [`Lock::take`], without recording this process as the holder.
    pub(super) fn hold(path: &Path) -> Result<Self, StoreError> {
        Self::hold_at(path).map(|(lock, _)| lock)
    }

    fn hold_at(path: &Path) -> Result<(Self, String), StoreError> {
        let lock_path = path.with_extension("lock");
        let failed = |doing| failure::io(doing, &lock_path);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(failed("open"))?;
        let locked = file.try_lock();
        let mut text = String::new();
        // The error is ignored: only the name of the holder and the boot depend on the text, not the lock.
        drop(file.read_to_string(&mut text));
        let (pid, boot) = text.trim_end().split_once(' ').unwrap_or_default();
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = pid.parse::<u32>().ok().map(|pid| format!("process {pid}"));
                return Err(StoreError::InUse { place: place(path), holder });
            }
            Err(TryLockError::Error(e)) => return Err(failed("lock")(e)),
        }
        let boot_now = fs::read_to_string(BOOT_ID).unwrap_or_default();
        let boot_now = boot_now.trim_end();
        let same_boot = !boot_now.is_empty() && boot == boot_now;
        Ok((Self { file: Locked::new(file), same_boot }, boot_now.to_owned()))
    }
}
