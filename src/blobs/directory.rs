//! A directory whose entries are reached name by name, without following a symbolic link: a path that was checked
//! cannot be led elsewhere between the check and the use.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};

/// Directories below one another that are walked through. Each takes a descriptor meanwhile.
pub(super) const MAX_DEPTH: usize = 200;

pub(super) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// An open directory, below which paths are looked up.
#[derive(Debug)]
pub struct TreeDirectory {
    pub(super) root: OwnedFd,
    /// Whether something that is in the way of an entry is removed.
    pub(super) replaces: bool,
    /// Whether files are written under their own names, which nothing has.
    pub(super) adds: bool,
}

/// Something that was found in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The path below the root. If it is not UTF-8, other characters stand in place of its bytes.
    pub path: String,
    pub mtime_ns: i64,
    pub kind: FoundKind,
}

/// The kind of what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundKind {
    File {
        executable: bool,
        bytes: u64,
    },
    /// A symbolic link and its target; `None` if that is not UTF-8.
    Link {
        target: Option<String>,
    },
    EmptyDirectory,
    /// Something that cannot be kept, in words with an article.
    Special(&'static str),
    /// Something whose name is not UTF-8.
    BadName,
}

/// The reason why a path could not be read.
#[derive(Debug, thiserror::Error)]
#[error("could not read `{path}`")]
pub struct PathTrouble {
    pub path: String,
    pub source: io::Error,
}

impl TreeDirectory {
    /// Opens the directory at `path`. The path itself may have symbolic links.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { root: rustix::fs::open(path, flags, Mode::empty())?, replaces: false, adds: false })
    }

    /// Opens the directory at `path`, to write files in places where nothing is. Nobody reads them before all of them
    /// are there, so each is written under its own name, which is quicker than a rename.
    pub fn open_adding(path: &Path) -> io::Result<Self> {
        Ok(Self { adds: true, ..Self::open(path)? })
    }

    /// Opens the directory at `path`, to write entries that take the place of what is there, whatever it is.
    pub fn open_replacing(path: &Path) -> io::Result<Self> {
        Ok(Self { replaces: true, ..Self::open(path)? })
    }

    /// Opens a file below it for reading. A special file is refused, and never waited for.
    pub fn file(&self, path: &str) -> io::Result<(File, Stat)> {
        let (parent, name) = self.parent(path)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = rustix::fs::openat(parent.as_ref().unwrap_or(&self.root), name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file any more"));
        }
        Ok((file.into(), stat))
    }

    /// Opens the directory in which the last name of a path stands; `None` for the root.
    pub(super) fn parent<'p>(&self, path: &'p str) -> io::Result<(Option<OwnedFd>, &'p str)> {
        let Some((above, name)) = path.rsplit_once('/') else { return Ok((None, path)) };
        let mut at: Option<OwnedFd> = None;
        for name in above.split('/') {
            at = Some(rustix::fs::openat(at.as_ref().unwrap_or(&self.root), name, DIRECTORY, Mode::empty())?);
        }
        Ok((at, name))
    }

    /// Passes everything below the directory to `each`, in ascending order of the names of each directory, except for
    /// directories that have entries. Only directories for which `enter` says so are read.
    pub fn walk<E: From<PathTrouble>>(
        &self,
        enter: &dyn Fn(&str) -> bool,
        each: &mut dyn FnMut(Found) -> Result<(), E>,
    ) -> Result<(), E> {
        let root = self.root.try_clone().map_err(|source| PathTrouble { path: ".".into(), source })?;
        walk_directory(&root, "", 0, enter, each)
    }
}

fn walk_directory<E: From<PathTrouble>>(
    directory: &OwnedFd,
    path: &str,
    depth: usize,
    enter: &dyn Fn(&str) -> bool,
    each: &mut dyn FnMut(Found) -> Result<(), E>,
) -> Result<(), E> {
    let trouble = |path: &str, source: io::Error| E::from(PathTrouble { path: path.to_owned(), source });
    for name in names(directory).map_err(|source| trouble(path, source))? {
        let (text, is_text) = match name.to_str() {
            Ok(text) => (text.to_owned(), true),
            Err(_) => (name.to_string_lossy().into_owned(), false),
        };
        let below = if path.is_empty() { text } else { format!("{path}/{text}") };
        let stat = rustix::fs::statat(directory, &*name, AtFlags::SYMLINK_NOFOLLOW);
        let stat = stat.map_err(|error| trouble(&below, error.into()))?;
        let found = |kind: FoundKind| Found { path: below.clone(), mtime_ns: mtime_ns(&stat), kind };
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            _ if !is_text => FoundKind::BadName,
            FileType::RegularFile => FoundKind::File {
                executable: stat.st_mode & 0o100 != 0,
                bytes: u64::try_from(stat.st_size).unwrap_or(0),
            },
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(directory, &*name, Vec::new());
                let target = target.map_err(|error| trouble(&below, error.into()))?;
                FoundKind::Link { target: target.into_string().ok() }
            }
            FileType::Directory if !enter(&below) => continue,
            FileType::Directory => {
                if depth == MAX_DEPTH {
                    let text = format!("directories are more than {MAX_DEPTH} deep");
                    return Err(trouble(&below, io::Error::other(text)));
                }
                let child = rustix::fs::openat(directory, &*name, DIRECTORY, Mode::empty());
                let child = child.map_err(|error| trouble(&below, error.into()))?;
                if is_empty(&child).map_err(|source| trouble(&below, source))? {
                    FoundKind::EmptyDirectory
                } else {
                    walk_directory(&child, &below, depth + 1, enter, each)?;
                    continue;
                }
            }
            FileType::Fifo => FoundKind::Special("a FIFO"),
            FileType::Socket => FoundKind::Special("a socket"),
            FileType::CharacterDevice | FileType::BlockDevice => FoundKind::Special("a device"),
            _ => FoundKind::Special("no file"),
        };
        each(found(kind))?;
    }
    Ok(())
}

/// Returns the names of a directory's entries, sorted.
pub(super) fn names(directory: &OwnedFd) -> io::Result<Vec<Box<CStr>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory.as_fd())? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().into());
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn is_empty(directory: &OwnedFd) -> io::Result<bool> {
    for entry in Dir::read_from(directory.as_fd())? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns the time of the last modification, in nanoseconds since the Unix epoch.
fn mtime_ns(stat: &Stat) -> i64 {
    stat.st_mtime.saturating_mul(1_000_000_000).saturating_add_unsigned(stat.st_mtime_nsec)
}
