//! One pass over a work tree on disk: compares it with the plan, removes what should not be there, writes what is
//! missing. Works from descriptor to descriptor and never follows a symbolic link, so that nothing outside is ever read
//! or written. This file walks the directories; their files and links are in `files.rs`.

mod files;

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use git2::Odb;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, fchmod, fstat, mkdirat, openat, statat, unlinkat};
use rustix::io::{Errno, Result as SysResult};

use super::keep::Keep;
use super::plan::{Directory, Node, unfit};
use super::removal::{list, open_directory, remove};
use super::stamp::Time;
use crate::git::error::GitError;
use crate::git::objects::Objects;
use crate::model::CommitId;

/// Directories that are open at once. A tree may be deeper than a process may have descriptors.
const OPEN_MAX: usize = 32;

static NOTHING: Keep = Keep::NOTHING;

pub(super) struct Pass<'a> {
    pub(super) objects: &'a Objects,
    pub(super) odb: &'a Odb<'a>,
    /// When the tree was last handed over. A file changed at that time or later may have changed without a trace,
    /// because a file system's clock moves in steps of some milliseconds.
    pub(super) handed_over: Time,
    /// The commit and the root of its tree, for errors.
    pub(super) commit: CommitId,
    pub(super) root: &'a Path,
    /// The current directory, for errors.
    pub(super) path: PathBuf,
    /// Whether a file was written, or its content compared.
    pub(super) has_touched: bool,
}

/// How an entry is to be made.
#[derive(Clone, Copy)]
enum Sort {
    File,
    Link,
}

/// A directory that the pass is in. The pass keeps a list of these instead of recursing, because stacks are small.
struct Level<'k> {
    /// `None` while too many directories below it are open.
    open: Option<OwnedFd>,
    /// Its device and inode, by which it is recognised when it is opened again.
    identity: (u64, u64),
    name: Vec<u8>,
    plan: Directory,
    keep: &'k Keep,
    /// Whether the directory is in the plan, or exists only for something kept in it.
    is_planned: bool,
    left: Left,
}

/// The directories that are still to be entered, and whether each is in the plan.
type Left = Vec<(Vec<u8>, bool)>;

impl Pass<'_> {
    /// Brings the directory `name` of `at` to the plan. Anything else in its place is removed. After an error the plan
    /// is no longer whole.
    pub(super) fn run(
        &mut self,
        at: BorrowedFd<'_>,
        name: &[u8],
        plan: &mut Directory,
        keep: &Keep,
    ) -> Result<(), GitError> {
        let mut levels = vec![self.enter(at, name.to_vec(), std::mem::take(plan), keep, true)?];
        while let Some(level) = levels.last_mut() {
            if let Some((name, is_planned)) = level.left.pop() {
                let keep = level.keep.of(&name).unwrap_or(&NOTHING);
                let inner = match level.plan.entries.get_mut(&name).map(|planned| &mut planned.node) {
                    Some(Node::Directory(inner)) => std::mem::take(inner),
                    _ => Directory::default(),
                };
                self.path.push(OsStr::from_bytes(&name));
                let at = level.open.as_ref().expect("the last one is open");
                let inner = self.enter(at.as_fd(), name, inner, keep, is_planned)?;
                levels.push(inner);
                if let Some(surplus) = levels.len().checked_sub(OPEN_MAX + 1) {
                    levels[surplus].open = None;
                }
            } else if let Some(done) = levels.pop() {
                match levels.last_mut() {
                    Some(above) => self.leave(done, above)?,
                    None => *plan = done.plan,
                }
            }
        }
        Ok(())
    }

    /// Opens or makes a directory, and does all work in it except for its subdirectories.
    fn enter<'k>(
        &mut self,
        at: BorrowedFd<'_>,
        name: Vec<u8>,
        mut plan: Directory,
        keep: &'k Keep,
        is_planned: bool,
    ) -> Result<Level<'k>, GitError> {
        let opened = match open_directory(at, &name) {
            Err(Errno::NOENT) => {
                let made = mkdirat(at, name.as_slice(), Mode::from_raw_mode(0o777));
                made.map_err(|errno| self.refused_by_disk(&self.path, "make directory", errno.into()))?;
                self.has_touched = true;
                // The planned permissions were those of the directory that is gone.
                plan.mode = None;
                open_directory(at, &name)
            }
            other => other,
        };
        let open = opened.map_err(|errno| self.refused_by_disk(&self.path, "open directory", errno.into()))?;
        let stat = fstat(&open).map_err(|errno| self.failed("look at", errno))?;
        let identity = (stat.st_dev, stat.st_ino);
        self.restore_mode(&open, &mut plan).map_err(|errno| self.failed("set the permissions of", errno))?;
        let mut left = Vec::new();
        self.clear(&open, &mut plan, keep, &mut left)?;
        self.fill(&open, &mut plan, &mut left)?;
        Ok(Level { open: Some(open), identity, name, plan, keep, is_planned, left })
    }

    /// Puts a directory's plan back where it was taken from.
    fn leave(&mut self, done: Level<'_>, above: &mut Level<'_>) -> Result<(), GitError> {
        self.path.pop();
        let at = match above.open.take() {
            Some(open) => open,
            None => self.reopen(&done, above.identity)?,
        };
        let at = above.open.insert(at);
        if done.is_planned {
            if let Some(planned) = above.plan.entries.get_mut(&done.name) {
                planned.node = Node::Directory(done.plan);
            }
            return Ok(());
        }
        // The directory exists only for something kept in it. If it is empty, it goes; otherwise the removal fails, as
        // it should.
        match unlinkat(at, done.name.as_slice(), AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            Err(errno) => Err(self.failed_at(&done.name, "remove")(errno)),
        }
    }

    /// Opens the directory above one that was left, which was closed to save descriptors.
    fn reopen(&self, below: &Level<'_>, identity: (u64, u64)) -> Result<OwnedFd, GitError> {
        let from = below.open.as_ref().expect("the one that is left is open");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = openat(from, "..", flags, Mode::empty()).map_err(|errno| self.failed("open directory", errno))?;
        let stat = fstat(&open).map_err(|errno| self.failed("look at", errno))?;
        // Nobody else is at work here. If the directory was moved all the same, nothing is written elsewhere.
        if (stat.st_dev, stat.st_ino) == identity { Ok(open) } else { Err(self.failed("open directory", Errno::STALE)) }
    }

    /// Restores the permissions that the directory was made with; at least its owner can work in it.
    fn restore_mode(&self, open: &OwnedFd, plan: &mut Directory) -> SysResult<()> {
        let mode = fstat(open)?.st_mode & 0o7777;
        // Without a known mode (after a restart), the present one is kept if the owner can work with it.
        let wanted = plan.mode.unwrap_or(if mode & 0o700 == 0o700 { mode } else { 0o755 });
        if mode != wanted {
            fchmod(open, Mode::from_raw_mode(wanted))?;
        }
        plan.mode = Some(wanted);
        Ok(())
    }

    /// Goes through the entries on disk: marks those that are as planned, removes those that are not, leaves those that
    /// are kept.
    fn clear(&mut self, open: &OwnedFd, plan: &mut Directory, keep: &Keep, left: &mut Left) -> Result<(), GitError> {
        for (name, kind) in list(open.as_fd()).map_err(|errno| self.failed("list", errno))? {
            if let Some(planned) = plan.entries.get_mut(&name) {
                planned.is_found = match &mut planned.node {
                    Node::Directory(_) | Node::Repository(_) => kind == FileType::Directory,
                    Node::File(record) => {
                        kind == FileType::RegularFile && self.is_right(open, &name, record, Sort::File)?
                    }
                    Node::Link(record) => {
                        kind == FileType::Symlink && self.is_right(open, &name, record, Sort::Link)?
                    }
                };
                if planned.is_found {
                    continue;
                }
            } else {
                match keep.of(&name) {
                    // Everything below is kept, so nothing below is examined.
                    Some(kept) if kept.is_whole() => continue,
                    Some(_) if kind == FileType::Directory => {
                        left.push((name, false));
                        continue;
                    }
                    _ => {}
                }
            }
            remove(open.as_fd(), &name, kind).map_err(self.failed_at(&name, "remove"))?;
        }
        Ok(())
    }

    /// Makes the files and links that were not found, and lists the directories.
    fn fill(&mut self, open: &OwnedFd, plan: &mut Directory, left: &mut Left) -> Result<(), GitError> {
        for (name, planned) in &mut plan.entries {
            let is_found = std::mem::take(&mut planned.is_found);
            match &mut planned.node {
                Node::Directory(_) => left.push((name.clone(), true)),
                Node::File(record) if !is_found => self.write_file(open, name, record)?,
                Node::Link(record) if !is_found => self.write_link(open, name, record)?,
                Node::File(_) | Node::Link(_) | Node::Repository(_) => {}
            }
        }
        Ok(())
    }

    /// The error of content that cannot be put on a disk.
    fn unfit(&self, path: &Path, why: impl Into<String>) -> GitError {
        let path = path.strip_prefix(self.root).unwrap_or(path);
        unfit(self.commit, path.as_os_str().as_bytes(), why)
    }

    /// The error of a file that could not be made. For some reasons of the kernel the content is to blame: this file
    /// system, and mostly any other, cannot hold it.
    fn refused_by_disk(&self, path: &Path, action: &'static str, source: io::Error) -> GitError {
        if blames_content(&source) {
            return self.unfit(path, format!("cannot be put on this disk: {source}"));
        }
        GitError::Io { action, path: path.to_owned(), source }
    }

    fn failed(&self, action: &'static str, errno: Errno) -> GitError {
        GitError::Io { action, path: self.path.clone(), source: errno.into() }
    }

    fn failed_io(&self, name: &[u8], action: &'static str, source: io::Error) -> GitError {
        GitError::Io { action, path: self.path.join(OsStr::from_bytes(name)), source }
    }

    /// For `map_err`: wraps the kernel's error with the action and the path of an entry.
    fn failed_at(&self, name: &[u8], action: &'static str) -> impl FnOnce(Errno) -> GitError {
        move |errno| self.failed_io(name, action, errno.into())
    }
}

/// Whether the kernel's reason has to do with the content and not with the state of the machine: a name that the file
/// system cannot hold or does not tell from another, a file too large for it, too many directories in one.
fn blames_content(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw_os_error),
        Some(
            Errno::NAMETOOLONG
                | Errno::INVAL
                | Errno::ILSEQ
                | Errno::EXIST
                | Errno::NOTDIR
                | Errno::ISDIR
                | Errno::FBIG
                | Errno::OVERFLOW
                | Errno::MLINK
        )
    )
}

/// Removes whatever is at a path unless it is a directory, without following it.
pub(super) fn make_room(at: BorrowedFd<'_>, name: &[u8], path: &Path) -> Result<(), GitError> {
    let failed = |errno: Errno| GitError::Io { action: "remove", path: path.to_owned(), source: errno.into() };
    match statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => Ok(()),
        Ok(_) => unlinkat(at, name, AtFlags::empty()).map_err(failed),
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(failed(error)),
    }
}
