//! Reads a repository's branches: HEAD, loose refs and packed refs as files, or all of them from the `git` program if
//! the ref storage is one that only git knows.
//!
//! The files are read here because a watcher must tell a branch that is gone from one that cannot be read just now, and
//! libgit2's iteration skips the latter silently. An error here is an error of the whole listing; nothing is left out.

use std::cell::RefCell;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::GitError;
use super::program;
use crate::model::CommitId;

/// A ref may name another ref, up to this depth. The limit is git's.
const SYMBOLIC_DEPTH_MAX: usize = 5;

/// Ref directories nest as deep as a name has slashes; a name is at most 4 KiB.
const NESTING_MAX: usize = 200;

const BRANCHES: &str = "refs/heads/";

/// The content of HEAD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HeadPointer {
    /// The full name of a ref, which may not exist yet.
    Names(String),
    /// The commit that it is at.
    Detached(CommitId),
}

/// A repository's refs.
pub(super) enum Refs {
    Files(RefFiles),
    Program(RefProgram),
}

impl Refs {
    pub(super) fn head(&self) -> Result<HeadPointer, GitError> {
        match self {
            Self::Files(files) => files.head(),
            Self::Program(program) => Ok(program.read()?.head),
        }
    }

    /// Returns the commit of a ref by its full name; `None` if there is no such ref.
    pub(super) fn find(&self, name: &str) -> Result<Option<CommitId>, GitError> {
        match self {
            Self::Files(files) => files.find(name, 0),
            Self::Program(program) => Ok(program.read()?.branches.into_iter().find(|(n, _)| n == name).map(|(_, c)| c)),
        }
    }

    /// Returns all branches by full name, sorted. Leaves out names that are not UTF-8.
    pub(super) fn branches(&self) -> Result<Vec<(String, CommitId)>, GitError> {
        match self {
            Self::Files(files) => files.branches(),
            Self::Program(program) => Ok(program.read()?.branches),
        }
    }
}

/// Loose refs and `packed-refs`, laid out as in gitrepository-layout(5).
pub(super) struct RefFiles {
    git_dir: PathBuf,
    common_dir: PathBuf,
    packed: RefCell<Packed>,
}

/// The branches in `packed-refs`, with a stamp that shows if the file was replaced.
#[derive(Default)]
struct Packed {
    stamp: Option<Stamp>,
    /// Sorted by name.
    branches: Vec<(String, CommitId)>,
}

/// Identity of a file. git replaces these files by renaming, so the inode changes even if times and size do not.
#[derive(PartialEq, Eq, Clone, Copy)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(meta: &fs::Metadata) -> Self {
        Self { inode: meta.ino(), size: meta.size(), modified: (meta.mtime(), meta.mtime_nsec()) }
    }
}

/// The content of one ref file.
enum RefText {
    Commit(CommitId),
    Symbolic(String),
}

impl RefFiles {
    pub(super) fn new(git_dir: &Path, common_dir: &Path) -> Self {
        Self { git_dir: git_dir.to_owned(), common_dir: common_dir.to_owned(), packed: RefCell::default() }
    }

    fn head(&self) -> Result<HeadPointer, GitError> {
        let path = self.git_dir.join("HEAD");
        // In very old repositories HEAD is a symbolic link.
        if let Ok(target) = fs::read_link(&path) {
            return match target.to_str().filter(|name| name.starts_with("refs/")) {
                Some(name) => Ok(HeadPointer::Names(name.to_owned())),
                None => Err(GitError::Broken { path, why: "it is a symbolic link to something else than a ref" }),
            };
        }
        // Every repository has a HEAD. Without one the repository has vanished, which is not the same as having no
        // branches.
        let text = fs::read(&path).map_err(GitError::io("read", &path))?;
        match parse(&path, &text)? {
            RefText::Symbolic(name) => Ok(HeadPointer::Names(name)),
            RefText::Commit(commit) => Ok(HeadPointer::Detached(commit)),
        }
    }

    fn find(&self, name: &str, depth: usize) -> Result<Option<CommitId>, GitError> {
        // A loose ref overrides a packed one, and git packs a ref before it removes the loose one. So the loose ref is
        // read first: in the other order a ref that is packed in between would seem to be absent.
        let path = self.common_dir.join(name);
        match read_loose(&path)? {
            Some(RefText::Commit(id)) => return Ok(Some(id)),
            Some(RefText::Symbolic(_)) if depth >= SYMBOLIC_DEPTH_MAX => {
                return Err(GitError::Broken { path, why: "it names a ref that names a ref, without end" });
            }
            Some(RefText::Symbolic(other)) => return self.find(&other, depth + 1),
            None => {}
        }
        self.refresh_packed()?;
        let packed = self.packed.borrow();
        // The lists are sorted, and a repository may have a million refs.
        if let Ok(at) = packed.branches.binary_search_by(|(known, _)| known.as_str().cmp(name)) {
            return Ok(Some(packed.branches[at].1));
        }
        self.check_is_there()?;
        Ok(None)
    }

    fn branches(&self) -> Result<Vec<(String, CommitId)>, GitError> {
        let mut loose = Vec::new();
        self.list_loose(BRANCHES.trim_end_matches('/').to_owned(), 0, &mut loose)?;
        self.refresh_packed()?;
        let mut found = loose;
        found.extend_from_slice(&self.packed.borrow().branches);
        // The sort is stable, so of two entries with one name the loose one comes first and survives.
        found.sort_by(|(left, _), (right, _)| left.cmp(right));
        found.dedup_by(|(later, _), (earlier, _)| later == earlier);
        // An unmounted file system shows an empty directory, which must not look like deleted branches.
        if found.is_empty() {
            self.check_is_there()?;
        }
        Ok(found)
    }

    /// Checks that the directories in which refs live exist, before a ref is called absent.
    fn check_is_there(&self) -> Result<(), GitError> {
        for needed in ["refs", "objects"] {
            let path = self.common_dir.join(needed);
            fs::read_dir(&path).map_err(GitError::io("read", &path))?;
        }
        let head = self.git_dir.join("HEAD");
        fs::symlink_metadata(&head).map_err(GitError::io("read", &head)).map(drop)
    }

    fn list_loose(&self, name: String, depth: usize, found: &mut Vec<(String, CommitId)>) -> Result<(), GitError> {
        let path = self.common_dir.join(&name);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            // All refs are packed, or the directory was removed just now.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(GitError::io("read", &path)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(GitError::io("read", &path))?;
            let file_name = entry.file_name();
            let Some(last) = file_name.to_str() else {
                log::debug!("a ref below {} is left out: its name is not UTF-8", path.display());
                continue;
            };
            // Lock files and other names that git would not accept as a ref.
            if last.ends_with(".lock") || last.starts_with('.') {
                continue;
            }
            let full = format!("{name}/{last}");
            let is_directory = match entry.file_type() {
                // git follows symbolic links below `refs`, so the target's type counts.
                Ok(kind) if !kind.is_symlink() => kind.is_dir(),
                _ => fs::metadata(entry.path()).is_ok_and(|meta| meta.is_dir()),
            };
            if is_directory && depth < NESTING_MAX {
                self.list_loose(full, depth + 1, found)?;
            } else if let Some(id) = self.find_listed(&full)? {
                found.push((full, id));
            }
        }
        Ok(())
    }

    /// Reads a loose ref that was listed. If it was removed since the listing, returns `None`, and the packed refs
    /// decide.
    fn find_listed(&self, name: &str) -> Result<Option<CommitId>, GitError> {
        match read_loose(&self.common_dir.join(name))? {
            Some(RefText::Commit(id)) => Ok(Some(id)),
            Some(RefText::Symbolic(other)) => self.find(&other, 1),
            None => Ok(None),
        }
    }

    fn refresh_packed(&self) -> Result<(), GitError> {
        let path = self.common_dir.join("packed-refs");
        let stamp = match fs::metadata(&path) {
            Ok(meta) => Some(Stamp::of(&meta)),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(GitError::io("read", &path)(error)),
        };
        let mut packed = self.packed.borrow_mut();
        // Parsing a large file at each look would cost more than everything else.
        if packed.stamp == stamp {
            return Ok(());
        }
        let branches = match stamp {
            // If the file is replaced between these two calls, the old stamp goes with the new content, and the file is
            // read again next time.
            Some(_) => parse_packed(&path, &fs::read(&path).map_err(GitError::io("read", &path))?)?,
            None => Vec::new(),
        };
        *packed = Packed { stamp, branches };
        Ok(())
    }
}

/// Reads a loose ref; `None` if there is none.
fn read_loose(path: &Path) -> Result<Option<RefText>, GitError> {
    match fs::read(path) {
        Ok(text) => parse(path, &text).map(Some),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(GitError::io("read", path)(error)),
    }
}

/// A directory in a ref's place, or a file in a directory's place, means that the ref is not loose.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory)
}

fn parse(path: &Path, text: &[u8]) -> Result<RefText, GitError> {
    let broken = |why| GitError::Broken { path: path.to_owned(), why };
    // A crash of the machine leaves empty files.
    if text.is_empty() {
        return Err(broken("it is empty"));
    }
    let text = std::str::from_utf8(text).map_err(|_| broken("it is not text"))?;
    if let Some(name) = text.strip_prefix("ref:") {
        let name = name.trim();
        // The name becomes a path, so it must not lead elsewhere.
        let is_fine = name.starts_with("refs/") && !name.contains("..") && !name.contains('\0');
        return if is_fine { Ok(RefText::Symbolic(name.to_owned())) } else { Err(broken("it names no ref")) };
    }
    text.trim_end().parse().map(RefText::Commit).map_err(|_| broken("it holds no object id"))
}

/// Parses lines of `<id> <name>`. `#` starts a header line; `^` starts the peeled target of the tag in the line before.
fn parse_packed(path: &Path, text: &[u8]) -> Result<Vec<(String, CommitId)>, GitError> {
    let broken = || GitError::Broken { path: path.to_owned(), why: "a line of it is no ref" };
    // If a crash cut the file, its last line could look like a ref that does not exist.
    if text.last().is_some_and(|last| *last != b'\n') {
        return Err(GitError::Broken { path: path.to_owned(), why: "its last line has no end" });
    }
    let mut branches = Vec::new();
    for line in text.split(|b| *b == b'\n') {
        if matches!(line.first(), None | Some(b'#' | b'^')) {
            continue;
        }
        let space = line.iter().position(|b| *b == b' ').ok_or_else(broken)?;
        let (id, name) = (&line[..space], &line[space + 1..]);
        if !name.starts_with(b"refs/") {
            return Err(broken());
        }
        if !name.starts_with(BRANCHES.as_bytes()) {
            continue;
        }
        let id = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok()).ok_or_else(broken)?;
        if let Ok(name) = std::str::from_utf8(name) {
            branches.push((name.to_owned(), id));
        }
    }
    branches.sort_unstable();
    Ok(branches)
}

/// Refs as the `git` program lists them, remembered until they change.
pub(super) struct RefProgram {
    git_dir: PathBuf,
    common_dir: PathBuf,
    known: RefCell<Option<(Vec<u8>, Listing)>>,
}

#[derive(Clone)]
struct Listing {
    head: HeadPointer,
    /// Sorted by full name.
    branches: Vec<(String, CommitId)>,
}

impl RefProgram {
    pub(super) fn new(git_dir: &Path, common_dir: &Path) -> Self {
        Self { git_dir: git_dir.to_owned(), common_dir: common_dir.to_owned(), known: RefCell::default() }
    }

    fn read(&self) -> Result<Listing, GitError> {
        // Taken before the listing, so that a change in between is seen the next time.
        let version = self.version();
        if let (Some(version), Some((known, listing))) = (&version, &*self.known.borrow())
            && version == known
        {
            return Ok(listing.clone());
        }
        let listing = self.ask()?;
        *self.known.borrow_mut() = version.map(|version| (version, listing.clone()));
        Ok(listing)
    }

    /// Returns the list of a reftable's tables, whose names are never reused, so it identifies the present state.
    /// `None` for other storages, which are listed each time.
    fn version(&self) -> Option<Vec<u8>> {
        let mut version = fs::read(self.common_dir.join("reftable/tables.list")).ok()?;
        if self.git_dir != self.common_dir {
            version.extend(fs::read(self.git_dir.join("reftable/tables.list")).ok()?);
        }
        Some(version)
    }

    fn ask(&self) -> Result<Listing, GitError> {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end().to_owned();
        let head = match program::read(&self.git_dir, &["symbolic-ref", "--quiet", "HEAD"])? {
            Some(name) => HeadPointer::Names(text(name)),
            None => {
                let commit = program::read(&self.git_dir, &["rev-parse", "--verify", "--quiet", "HEAD"])?;
                let commit = commit.and_then(|id| text(id).parse().ok());
                let why = "HEAD names neither a branch nor a commit";
                HeadPointer::Detached(commit.ok_or_else(|| GitError::Broken { path: self.git_dir.clone(), why })?)
            }
        };
        let listed = program::read(&self.git_dir, &["for-each-ref", "--format=%(objectname) %(refname)", BRANCHES])?;
        // The lines have the format of a `packed-refs` file.
        let branches = parse_packed(&self.git_dir.join("reftable"), &listed.unwrap_or_default())?;
        Ok(Listing { head, branches })
    }
}

/// Returns the directories in which a change of a branch or of HEAD shows, with all directories below `refs/heads`.
pub(super) fn notify_paths(git_dir: &Path, common_dir: &Path) -> Vec<PathBuf> {
    let mut paths = vec![common_dir.to_owned()];
    if git_dir != common_dir {
        paths.push(git_dir.to_owned());
    }
    for base in [common_dir, git_dir] {
        let tables = base.join("reftable");
        if tables.is_dir() && !paths.contains(&tables) {
            paths.push(tables);
        }
    }
    let mut pending = vec![common_dir.join("refs").join("heads")];
    while let Some(path) = pending.pop() {
        let Ok(entries) = fs::read_dir(&path) else { continue };
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) && !entry.file_name().as_bytes().starts_with(b".") {
                pending.push(entry.path());
            }
        }
        paths.push(path);
    }
    paths
}
