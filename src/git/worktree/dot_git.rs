//! The `.git` of a work tree: a repository with HEAD at the commit, an index that matches, and the store's objects as
//! an alternate. It is for the task alone. Nothing in it is ever read to decide anything, no git program is run in it,
//! and before each attempt everything that a task has left in it is removed.
//!
//! A file is left as it is if its metadata shows that nobody has touched it, or if its bytes are still the right ones.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use git2::{ObjectFormat, Oid};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fchmod, fstat, mkdirat, openat, statat};
use rustix::io::{Errno, Result as SysResult};

use super::past::PastFiles;
use super::removal::{list, open_directory, remove};
use super::stamp::{Stamp, Time};
use crate::git::error::GitError;
use crate::git::hash::Hash;
use crate::git::objects::id_bytes;
use crate::model::CommitId;

/// The name of the directory.
pub(super) const DOT_GIT: &[u8] = b".git";

/// The directories in it, each after the one that it is in. git needs some; tools expect the others.
const DIRECTORIES: [&str; 8] =
    ["hooks", "info", "objects", "objects/info", "objects/pack", "refs", "refs/heads", "refs/tags"];

const INDEX: &str = "index";
const INFO_ATTRIBUTES: &str = "info/attributes";

/// The path of the `.git` itself among those of its directories.
const TOP: &str = "";

/// Settings beside those that tell the format. Files are compared as they were written, whatever the user's own
/// settings are, and no commit starts a collection of garbage that outlives the task. `origin` has no URL.
const SETTINGS: &str = "\tfilemode = true
\tbare = false
\tlogallrefupdates = true
\tautocrlf = false
\teol = lf
[gc]
\tauto = 0
[remote \"origin\"]
\tfetch = +refs/heads/*:refs/remotes/origin/*
";

/// The content of a tree's `.git`, as far as it was written by this process.
#[derive(Debug, Default)]
pub(super) struct DotGit {
    /// The permissions of its directories; `None` if it is not known what it holds.
    mode: Option<u32>,
    files: BTreeMap<&'static str, Written>,
    /// The directories as they were left.
    directories: BTreeMap<&'static str, Stamp>,
    /// The tree of the index.
    indexed: Option<Oid>,
}

/// A file as it was written.
#[derive(Debug)]
struct Written {
    stamp: Stamp,
    content: Known,
}

/// The part that is remembered of a file's content.
#[derive(Debug, PartialEq, Eq)]
enum Known {
    Whole(Vec<u8>),
    /// The hash at the end of an index.
    Checksum(Oid),
}

/// The commit that the `.git` is for, and the tree that it is in.
pub(super) struct Commit<'a> {
    pub(super) id: CommitId,
    pub(super) tree: Oid,
    pub(super) past: &'a PastFiles,
    /// Further lines of its configuration.
    pub(super) modules: &'a str,
    pub(super) format: ObjectFormat,
    /// The directory of the objects, an absolute path.
    pub(super) objects: &'a Path,
    /// The work tree, for errors.
    pub(super) root: &'a Path,
    /// When the tree was last handed over.
    pub(super) handed_over: Time,
}

impl DotGit {
    /// Brings the `.git` in `tree` to the commit. `index` makes the index, if the one that is there is not of the same
    /// tree, or if the work tree `is_changed`. Returns whether a file was written or had to be compared. After an error
    /// it is not known what is there.
    pub(super) fn bring(
        &mut self,
        tree: BorrowedFd<'_>,
        commit: &Commit<'_>,
        is_changed: bool,
        index: impl Fn() -> Vec<u8>,
    ) -> Result<bool, GitError> {
        let mut before = std::mem::take(self);
        if before.mode.is_none() {
            // It goes, whatever it is, with all that is in it.
            match remove(tree, DOT_GIT, FileType::Directory) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(commit.failed("remove", "")(errno)),
            }
        }
        let mut wanted = files_of(commit);
        if is_changed || before.indexed != Some(commit.tree) {
            wanted.push((INDEX, index()));
        }
        let mut pass = Pass {
            commit,
            mode: before.mode,
            before: std::mem::take(&mut before.files),
            kept: BTreeMap::new(),
            touched: false,
        };
        let top = pass.open(tree, DOT_GIT).map_err(commit.failed("open directory", TOP))?;
        let mut changed = Vec::new();
        for path in [TOP].into_iter().chain(DIRECTORIES) {
            // The directories above it are no links, and nobody else is at work here.
            let found = if path == TOP { fstat(&top) } else { statat(&top, path, AtFlags::SYMLINK_NOFOLLOW) };
            let is_untouched = found.is_ok_and(|stat| pass.is_untouched(&stat, before.directories.get(path)));
            let is_changed = match is_untouched {
                true => pass.clear_known(top.as_fd(), path, &wanted)?,
                false => pass.enter(top.as_fd(), path, &wanted).map(|()| true)?,
            };
            if is_changed {
                changed.push(path);
            }
        }
        if !(pass.kept.contains_key(INDEX) || wanted.iter().any(|(path, _)| *path == INDEX)) {
            wanted.push((INDEX, index()));
        }
        for (path, content) in wanted {
            if !pass.kept.contains_key(path) {
                let stamp = pass.write(top.as_fd(), path, &content)?;
                pass.kept.insert(path, Written { stamp, content: commit.known(path, &content) });
                changed.push(directory_of(path));
            }
        }
        let (touched, mut directories) = (pass.touched, before.directories);
        for path in changed {
            let found = if path == TOP { fstat(&top) } else { statat(&top, path, AtFlags::SYMLINK_NOFOLLOW) };
            directories.insert(path, Stamp::of(&found.map_err(commit.failed("look at", path))?));
        }
        *self = Self { mode: pass.mode, files: pass.kept, directories, indexed: Some(commit.tree) };
        Ok(touched)
    }
}

fn directory_of(file: &str) -> &str {
    file.rsplit_once('/').map_or(TOP, |(above, _)| above)
}

/// Returns the files of the `.git` except for the index.
fn files_of(commit: &Commit<'_>) -> Vec<(&'static str, Vec<u8>)> {
    let (version, extension) = match commit.format {
        ObjectFormat::Sha1 => (0, ""),
        ObjectFormat::Sha256 => (1, "[extensions]\n\tobjectformat = sha256\n"),
    };
    let config = format!("[core]\n\trepositoryformatversion = {version}\n{SETTINGS}{extension}{}", commit.modules);
    let mut files = vec![
        ("HEAD", format!("{}\n", commit.id).into_bytes()),
        ("config", config.into_bytes()),
        ("objects/info/alternates", alternate(commit.objects.as_os_str().as_bytes())),
    ];
    files.extend(commit.past.shallow.clone().map(|shallow| ("shallow", shallow)));
    // git compares files as they were written.
    files.extend(commit.past.attributes.as_ref().map(|(_, text)| (INFO_ATTRIBUTES, text.clone())));
    files.extend(commit.past.packed_refs.clone().map(|refs| ("packed-refs", refs)));
    files
}

/// Returns the line of an alternate. A path with a line break stands in quotes, as in the C language.
fn alternate(path: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(path.len() + 1);
    if path.contains(&b'\n') {
        line.push(b'"');
        for byte in path {
            match byte {
                b'\n' => line.extend_from_slice(b"\\n"),
                b'"' | b'\\' => line.extend_from_slice(&[b'\\', *byte]),
                byte => line.push(*byte),
            }
        }
        line.push(b'"');
    } else {
        line.extend_from_slice(path);
    }
    line.push(b'\n');
    line
}

impl Commit<'_> {
    /// Returns what is to be remembered of a file that was written.
    fn known(&self, path: &str, content: &[u8]) -> Known {
        if path != INDEX {
            return Known::Whole(content.to_vec());
        }
        let end = content.len() - id_bytes(self.format);
        Known::Checksum(Oid::from_bytes(&content[end..]).expect("it has the length of an id"))
    }

    /// For `map_err`: wraps the kernel's error with the action and a path in the `.git`.
    fn failed<'a>(&'a self, action: &'static str, path: &'a str) -> impl FnOnce(Errno) -> GitError + 'a {
        move |errno| {
            let path = self.root.join(OsStr::from_bytes(DOT_GIT)).join(path);
            GitError::Io { action, path, source: errno.into() }
        }
    }
}

/// One pass over a `.git`.
struct Pass<'a> {
    commit: &'a Commit<'a>,
    mode: Option<u32>,
    /// The files that were written earlier.
    before: BTreeMap<&'static str, Written>,
    /// Those of them that are still right.
    kept: BTreeMap<&'static str, Written>,
    touched: bool,
}

impl Pass<'_> {
    /// Opens a directory, or makes it, and removes from it what should not be there.
    fn enter(
        &mut self,
        top: BorrowedFd<'_>,
        path: &'static str,
        wanted: &[(&'static str, Vec<u8>)],
    ) -> Result<(), GitError> {
        let name = if path == TOP { b"." } else { path.as_bytes() };
        let opened = self.open(top, name).map_err(self.commit.failed("open directory", path))?;
        for (name, kind) in list(opened.as_fd()).map_err(self.commit.failed("list", path))? {
            if !self.is_right(opened.as_fd(), path, &name, kind, wanted)? {
                remove(opened.as_fd(), &name, kind).map_err(self.commit.failed("clear", path))?;
            }
        }
        Ok(())
    }

    /// Whether nobody has touched a directory since it was left so, and its entries are therefore those that it had.
    fn is_untouched(&self, found: &Stat, left: Option<&Stamp>) -> bool {
        left.is_some_and(|left| left.changed < self.commit.handed_over && Stamp::of(found) == *left)
    }

    /// Removes the files that are not right from a directory whose entries are those that it had. Returns whether there
    /// was one.
    fn clear_known(
        &mut self,
        top: BorrowedFd<'_>,
        directory: &str,
        wanted: &[(&'static str, Vec<u8>)],
    ) -> Result<bool, GitError> {
        let files: Vec<&str> = self.before.keys().copied().filter(|path| directory_of(path) == directory).collect();
        let mut is_changed = false;
        for path in files {
            if !self.is_right(top, TOP, path.as_bytes(), FileType::RegularFile, wanted)? {
                remove(top, path.as_bytes(), FileType::RegularFile).map_err(self.commit.failed("remove", path))?;
                is_changed = true;
            }
        }
        Ok(is_changed)
    }

    fn open(&mut self, at: BorrowedFd<'_>, name: &[u8]) -> SysResult<OwnedFd> {
        let opened = match open_directory(at, name) {
            Err(Errno::NOENT) => {
                self.touched = true;
                mkdirat(at, name, Mode::from_raw_mode(0o777))?;
                open_directory(at, name)
            }
            opened => opened,
        }?;
        let mode = fstat(&opened)?.st_mode & 0o7777;
        let wanted = *self.mode.get_or_insert(mode);
        if mode != wanted {
            fchmod(&opened, Mode::from_raw_mode(wanted))?;
        }
        Ok(opened)
    }

    /// Whether an entry of a directory is as it should be.
    fn is_right(
        &mut self,
        at: BorrowedFd<'_>,
        directory: &str,
        name: &[u8],
        kind: FileType,
        wanted: &[(&'static str, Vec<u8>)],
    ) -> Result<bool, GitError> {
        let Ok(name) = str::from_utf8(name) else { return Ok(false) };
        let path = if directory.is_empty() { Cow::Borrowed(name) } else { format!("{directory}/{name}").into() };
        if kind == FileType::Directory {
            return Ok(DIRECTORIES.contains(&&*path));
        }
        let Some((path, written)) = self.before.remove_entry(&*path) else { return Ok(false) };
        if kind != FileType::RegularFile {
            return Ok(false);
        }
        match (wanted.iter().find(|(of, _)| *of == path), &written.content) {
            (Some((_, whole)), Known::Whole(content)) if whole == content => {}
            (Some((_, whole)), _) => return self.rewrite(at, name, (path, &written), whole),
            // The index is wanted even if nothing is to be written into it.
            (None, Known::Checksum(_)) => {}
            (None, Known::Whole(_)) => return Ok(false),
        }
        let failed = self.commit.failed("look at", path);
        let stat = statat(at, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        if Stamp::of(&stat) != written.stamp {
            return Ok(false);
        }
        // A file that was changed since, or in the moment of the hand-over, need not have another stamp.
        if written.stamp.changed >= self.commit.handed_over {
            self.touched = true;
            let bytes = read(at, name, written.stamp.size).map_err(self.commit.failed("read", path))?;
            let is_same = match &written.content {
                Known::Whole(content) => bytes == *content,
                Known::Checksum(known) => checksum_of(&bytes, self.commit.format) == Some(*known),
            };
            if !is_same {
                return Ok(false);
            }
        }
        self.kept.insert(path, written);
        Ok(true)
    }

    /// Writes other bytes into a file that has the metadata with which it was written, so it has no other name: that is
    /// quicker than another file. Returns whether it could.
    fn rewrite(
        &mut self,
        at: BorrowedFd<'_>,
        name: &str,
        (path, written): (&'static str, &Written),
        content: &[u8],
    ) -> Result<bool, GitError> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let Ok(file) = openat(at, name, flags, Mode::empty()).map(File::from) else { return Ok(false) };
        let commit = self.commit;
        let stamp_of = |file: &File| fstat(file).map(|stat| Stamp::of(&stat)).map_err(commit.failed("look at", path));
        if stamp_of(&file)? != written.stamp {
            return Ok(false);
        }
        self.touched = true;
        let path_of = || commit.root.join(OsStr::from_bytes(DOT_GIT)).join(path);
        let length = content.len() as u64;
        let is_shorter = u64::try_from(written.stamp.size).is_ok_and(|size| length < size);
        // Not cut before it is written: some file systems would take that for a new file, and write it to the disk.
        let rewritten =
            file.write_all_at(content, 0).and_then(|()| if is_shorter { file.set_len(length) } else { Ok(()) });
        rewritten.map_err(|source| GitError::Io { action: "write", path: path_of(), source })?;
        let stamp = stamp_of(&file)?;
        self.kept.insert(path, Written { stamp, content: commit.known(path, content) });
        Ok(true)
    }

    /// Writes a file that is not there.
    fn write(&mut self, top: BorrowedFd<'_>, path: &str, content: &[u8]) -> Result<Stamp, GitError> {
        self.touched = true;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(top, path, flags, Mode::from_raw_mode(0o666));
        let mut file = File::from(made.map_err(self.commit.failed("make", path))?);
        let path_of = || self.commit.root.join(OsStr::from_bytes(DOT_GIT)).join(path);
        file.write_all(content).map_err(|source| GitError::Io { action: "write", path: path_of(), source })?;
        Ok(Stamp::of(&fstat(&file).map_err(self.commit.failed("look at", path))?))
    }
}

/// Reads a regular file. No more than its size and a byte: it is compared with content of that size.
fn read(at: BorrowedFd<'_>, name: &str, size: i64) -> SysResult<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(openat(at, name, flags, Mode::empty())?);
    let limit = u64::try_from(size).unwrap_or(0) + 1;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(bytes)
}

/// Returns the hash at the end of an index if it is that of the bytes before it.
fn checksum_of(bytes: &[u8], format: ObjectFormat) -> Option<Oid> {
    let (content, end) = bytes.split_at_checked(bytes.len().checked_sub(id_bytes(format))?)?;
    let mut hash = Hash::new(format);
    hash.update(content);
    Some(hash.finish()).filter(|checksum| checksum.as_bytes() == end)
}
