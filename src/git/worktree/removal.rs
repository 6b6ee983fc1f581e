//! Removes everything that an attempt left behind, and nothing else. Symbolic links are removed, never followed.
//! Directories without permissions are given them. Any depth of nesting takes a bounded number of descriptors and
//! bounded stack.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, chmodat, fchmod, openat, renameat, statat, unlinkat};
use rustix::io::{Errno, Result};

/// Directories that are open at once. A directory nested deeper is first moved up.
const OPEN_MAX: usize = 32;

/// Opens an entry that must be a directory and not a link to one, whatever its permissions.
pub(super) fn open_directory(at: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(at, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            // `chmod` would follow a link here, so the entry is checked first. No one else is at work in this tree.
            if FileType::from_raw_mode(statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode) == FileType::Directory {
                chmodat(at, name, Mode::RWXU, AtFlags::empty())?;
            }
            openat(at, name, flags, Mode::empty())
        }
        other => other,
    }
}

/// Returns the names in a directory and their types.
pub(super) fn list(directory: BorrowedFd<'_>) -> Result<Vec<(Vec<u8>, FileType)>> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut listed = Vec::new();
    let mut entries = RawDir::new(directory, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        // The type from the listing saves one system call for each entry.
        let mut kind = entry.file_type();
        // Some file systems do not tell the type.
        if kind == FileType::Unknown {
            kind = FileType::from_raw_mode(statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode);
        }
        listed.push((name.to_vec(), kind));
    }
    Ok(listed)
}

/// Removes an entry of a directory, with everything in it.
pub(super) fn remove(at: BorrowedFd<'_>, name: &[u8], kind: FileType) -> Result<()> {
    if kind != FileType::Directory {
        return unlinkat(at, name, AtFlags::empty());
    }
    let mut moved_up = 0u32;
    let mut pending = vec![name.to_vec()];
    while let Some(name) = pending.pop() {
        remove_nested(at, name, &mut moved_up, &mut pending)?;
    }
    Ok(())
}

/// A directory that is being emptied.
struct Level {
    name: Vec<u8>,
    directory: OwnedFd,
    rest: Vec<(Vec<u8>, FileType)>,
}

impl Level {
    fn open(at: BorrowedFd<'_>, name: Vec<u8>) -> Result<Self> {
        let directory = open_directory(at, &name)?;
        // Removing entries needs write permission.
        fchmod(&directory, Mode::RWXU)?;
        let rest = list(directory.as_fd())?;
        Ok(Self { name, directory, rest })
    }
}

fn remove_nested(at: BorrowedFd<'_>, name: Vec<u8>, moved_up: &mut u32, pending: &mut Vec<Vec<u8>>) -> Result<()> {
    let mut levels = vec![Level::open(at, name)?];
    while let Some(mut level) = levels.pop() {
        match level.rest.pop() {
            // No more directories may be open: this one is moved to the top and emptied afterwards.
            Some((name, FileType::Directory)) if levels.len() + 1 >= OPEN_MAX => {
                pending.push(move_up(level.directory.as_fd(), &name, at, moved_up)?);
                levels.push(level);
            }
            Some((name, FileType::Directory)) => {
                let inner = Level::open(level.directory.as_fd(), name)?;
                levels.push(level);
                levels.push(inner);
            }
            Some((name, _)) => {
                unlinkat(&level.directory, name.as_slice(), AtFlags::empty())?;
                levels.push(level);
            }
            None => {
                let above = levels.last().map_or(at, |above| above.directory.as_fd());
                unlinkat(above, level.name.as_slice(), AtFlags::REMOVEDIR)?;
            }
        }
    }
    Ok(())
}

/// Moves a directory to the top, under a name that is free there.
fn move_up(from: BorrowedFd<'_>, name: &[u8], top: BorrowedFd<'_>, moved_up: &mut u32) -> Result<Vec<u8>> {
    // A directory that is moved must be writable, because its `..` entry changes.
    fchmod(open_directory(from, name)?, Mode::RWXU)?;
    loop {
        let free = format!(".being-removed-{moved_up}").into_bytes();
        *moved_up += 1;
        match renameat(from, name, top, free.as_slice()) {
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
            Err(error) => return Err(error),
            Ok(()) => return Ok(free),
        }
    }
}
