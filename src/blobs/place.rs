//! Writes the entries of a manifest below a directory. A file appears whole, by a rename; nothing is written through a
//! symbolic link.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use super::directory::{DIRECTORY, MAX_DEPTH, TreeDirectory, names};

const NEW_FILE: OFlags = OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::CLOEXEC);
const OLD_FILE: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A file that is being written. If it is dropped, nothing of it stays.
#[derive(Debug)]
pub struct Placing {
    parent: Arc<OwnedFd>,
    name: String,
    /// The name that it has meanwhile, if that is another one.
    unfinished: Option<String>,
    file: File,
    replaces: bool,
    is_finished: bool,
}

/// Begins files in directories of which the last one stays open: most files of a manifest lie beside the one before.
#[derive(Debug, Default)]
pub struct Placer<'a> {
    last: Option<(&'a TreeDirectory, &'a str, Arc<OwnedFd>)>,
}

impl<'a> Placer<'a> {
    /// Begins a file at a checked path, like [`TreeDirectory::begin_file`].
    pub fn begin(&mut self, tree: &'a TreeDirectory, path: &'a str, executable: bool) -> io::Result<Placing> {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let known = self.last.as_ref().filter(|(of, at, _)| std::ptr::eq(*of, tree) && *at == above);
        let parent = match known {
            Some((.., parent)) => parent.clone(),
            None => {
                let parent = Arc::new(tree.make_parent(path)?.0);
                self.last = Some((tree, above, parent.clone()));
                parent
            }
        };
        tree.begin_in(parent, name, executable)
    }
}

impl TreeDirectory {
    /// Begins a file at a checked path, and makes the directories above it.
    pub fn begin_file(&self, path: &str, executable: bool) -> io::Result<Placing> {
        let (parent, name) = self.make_parent(path)?;
        self.begin_in(Arc::new(parent), name, executable)
    }

    fn begin_in(&self, parent: Arc<OwnedFd>, name: &str, executable: bool) -> io::Result<Placing> {
        let mode = Mode::from_raw_mode(if executable { 0o777 } else { 0o666 });
        let begun = |parent, unfinished, file: OwnedFd| {
            let (name, file) = (name.to_owned(), file.into());
            Placing { parent, name, unfinished, file, replaces: self.replaces, is_finished: false }
        };
        if self.adds {
            let file = rustix::fs::openat(&parent, name, NEW_FILE, mode)?;
            return Ok(begun(parent, None, file));
        }
        for number in 0.. {
            let unfinished = format!(".surveil-{}-{number}", std::process::id());
            match rustix::fs::openat(&parent, &unfinished, NEW_FILE, mode) {
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
                Ok(file) => return Ok(begun(parent, Some(unfinished), file)),
            }
        }
        unreachable!("some number is free")
    }

    /// Makes a symbolic link at a checked path, in place of a file or link that is there.
    pub fn make_link(&self, path: &str, target: &str, mtime_ns: i64) -> io::Result<()> {
        let (parent, name) = self.make_parent(path)?;
        match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR) if self.replaces => remove(parent.as_fd(), name, 0)?,
            Err(error) => return Err(in_the_way(name, error)),
        }
        rustix::fs::symlinkat(target, &parent, name)?;
        rustix::fs::utimensat(&parent, name, &times(mtime_ns), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    /// Makes a directory at a checked path. One that is there is left as it is.
    pub fn make_directory(&self, path: &str, mtime_ns: i64) -> io::Result<()> {
        let (parent, name) = self.make_parent(path)?;
        if make_and_open(parent.as_fd(), name, self.replaces)?.1 {
            rustix::fs::utimensat(&parent, name, &times(mtime_ns), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    /// Removes a file or link at a checked path.
    pub fn remove(&self, path: &str) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(rustix::fs::unlinkat(parent.as_ref().unwrap_or(&self.root), name, AtFlags::empty())?)
    }

    /// Moves a file to a path elsewhere, in the place of what is there. Fails between two file systems.
    pub(super) fn move_file(&self, path: &str, to: &std::path::Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(rustix::fs::renameat(parent.as_ref().unwrap_or(&self.root), name, rustix::fs::CWD, to)?)
    }

    /// Opens the directory in which the last name of a path stands. Makes those that are missing.
    fn make_parent<'p>(&self, path: &'p str) -> io::Result<(OwnedFd, &'p str)> {
        let mut at = self.root.try_clone()?;
        let Some((above, name)) = path.rsplit_once('/') else { return Ok((at, path)) };
        for name in above.split('/') {
            at = make_and_open(at.as_fd(), name, self.replaces)?.0;
        }
        Ok((at, name))
    }
}

/// Opens a directory, and makes it if it is missing. Returns whether it was made.
fn make_and_open(parent: BorrowedFd<'_>, name: &str, replaces: bool) -> io::Result<(OwnedFd, bool)> {
    let is_made = match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o777)) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(error.into()),
    };
    match rustix::fs::openat(parent, name, DIRECTORY, Mode::empty()) {
        Ok(directory) => Ok((directory, is_made)),
        Err(Errno::NOTDIR | Errno::LOOP) if replaces => {
            match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
                // Another thread that needs the directory may have been quicker.
                Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => {}
                Err(error) => return Err(error.into()),
            }
            make_and_open(parent, name, false)
        }
        Err(error) => Err(in_the_way(name, error)),
    }
}

/// Removes a directory with all that is in it. Follows no link.
fn remove(parent: BorrowedFd<'_>, name: impl rustix::path::Arg + Copy, depth: usize) -> io::Result<()> {
    if depth == MAX_DEPTH {
        return Err(io::Error::other(format!("directories are more than {MAX_DEPTH} deep")));
    }
    let directory = rustix::fs::openat(parent, name, DIRECTORY, Mode::empty())?;
    for entry in names(&directory)? {
        match rustix::fs::unlinkat(&directory, &*entry, AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::ISDIR) => remove(directory.as_fd(), &*entry, depth + 1)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

fn in_the_way(name: &str, error: Errno) -> io::Error {
    let what = match error {
        Errno::NOTDIR | Errno::LOOP => "something that is no directory is in the way",
        Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST => "a directory is in the way",
        error => return error.into(),
    };
    io::Error::new(io::ErrorKind::AlreadyExists, format!("{what}: `{name}`"))
}

fn times(mtime_ns: i64) -> Timestamps {
    let (tv_sec, tv_nsec) = (mtime_ns.div_euclid(1_000_000_000), mtime_ns.rem_euclid(1_000_000_000));
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec, tv_nsec },
    }
}

impl Placing {
    /// Returns the file as it is named until it is finished, for a process that may end before.
    #[must_use]
    pub fn unfinished(&self) -> UnfinishedFile {
        let name = self.unfinished.as_ref().unwrap_or(&self.name).clone();
        UnfinishedFile { parent: self.parent.clone(), name }
    }

    /// Gives the file its name, in place of a file or link that has it.
    pub fn finish(mut self, mtime_ns: i64) -> io::Result<()> {
        self.give_name(mtime_ns)
    }

    /// Like [`Placing::finish`]. Returns the file if it can be opened for reading. It is not open for writing any more:
    /// the kernel executes no program that is (ETXTBSY).
    pub fn finish_open(mut self, mtime_ns: i64) -> io::Result<Option<File>> {
        self.give_name(mtime_ns)?;
        let opened = rustix::fs::openat(&*self.parent, &*self.name, OLD_FILE, Mode::empty());
        Ok(opened.ok().map(File::from))
    }

    fn give_name(&mut self, mtime_ns: i64) -> io::Result<()> {
        rustix::fs::futimens(&self.file, &times(mtime_ns))?;
        let Some(unfinished) = &self.unfinished else {
            self.is_finished = true;
            return Ok(());
        };
        let rename = || rustix::fs::renameat(&*self.parent, unfinished, &*self.parent, &self.name);
        match rename() {
            Ok(()) => {}
            Err(Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST) if self.replaces => {
                remove(self.parent.as_fd(), self.name.as_str(), 0)?;
                rename()?;
            }
            Err(error) => return Err(in_the_way(&self.name, error)),
        }
        self.is_finished = true;
        Ok(())
    }
}

/// A file that has another name until it is finished.
#[derive(Debug)]
pub struct UnfinishedFile {
    parent: Arc<OwnedFd>,
    name: String,
}

impl UnfinishedFile {
    /// Removes it. The error is ignored: the file is useless, and its name says whose it is.
    pub fn remove(&self) {
        let _ = rustix::fs::unlinkat(&*self.parent, &*self.name, AtFlags::empty());
    }
}

impl Write for Placing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Placing {
    fn drop(&mut self) {
        if !self.is_finished {
            self.unfinished().remove();
        }
    }
}
