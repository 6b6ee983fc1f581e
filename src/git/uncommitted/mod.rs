//! The uncommitted work of a work tree, as a commit that exists nowhere but in a temporary directory: what `git add
//! --all` and `git commit` would make of it. Nothing of the person's repository is written: no object, index, ref or
//! time of a file. No filter, hook or monitor is executed; only libgit2's own conversions (`text`, `eol`, `ident`) are.
//!
//! Files whose size and times are those of the index are not read. A file that changes while it is read may be taken
//! in either state, and one that changes its size meanwhile is an error.

mod trees;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use git2::{
    Index, ObjectFormat, ObjectType, Odb, Oid, Repository, RepositoryInitOptions, Status, StatusOptions, StatusShow,
    SubmoduleIgnore, SubmoduleStatus,
};
use tempfile::TempDir;

use super::database::Database;
use super::error::{GitError, shown_path};
use super::history::Extra;
use super::local::Local;
use super::objects::commit_id;
use super::pack::{self, Sink};
use super::watched::Watched;
use crate::model::{BranchName, CommitId, RefName};
use trees::Entry;

/// Modes of entries, as git stores them.
const FILE: u32 = 0o100_644;
const EXECUTABLE: u32 = 0o100_755;
const LINK: u32 = 0o120_000;
const SUBMODULE: u32 = 0o160_000;

/// Bits of an index entry: the file is not checked out here, or its changes are not to be looked for.
const SKIP_WORKTREE: u16 = 0x4000;
const ASSUME_UNCHANGED: u16 = 0x8000;

/// Most paths that a warning names.
const NAMED_PATHS: usize = 5;

/// The tree of a repository with its uncommitted work, as a commit.
pub struct UncommittedWork {
    pub commit: CommitId,
    /// The commit that HEAD names; `None` before the first commit.
    pub parent: Option<CommitId>,
    /// The branch that is checked out.
    pub reference: Option<RefName>,
    pub subject: String,
    pub author: String,
    /// What in it may not be as the person expects.
    pub warnings: Vec<String>,
    database: Database,
    /// The objects that the person's repository does not have.
    _store: TempDir,
}

impl UncommittedWork {
    /// Makes a commit of all files of the work tree that are not ignored. A changed file with more bytes than
    /// `largest` is refused before any file is read.
    pub fn capture(local: &Local, largest: Option<u64>) -> Result<Self, GitError> {
        let root = local.root().to_owned();
        if !local.place().has_tree() {
            return Err(GitError::NoWorkTree { path: root });
        }
        let failed = |source| GitError::WorkTree { path: root.clone(), source };
        let repository = Repository::open(local.place().location()).map_err(failed)?;
        if root != local.place().location() {
            repository.set_workdir(&root, false).map_err(failed)?;
        }
        let (format, objects) = (repository.object_format(), repository.commondir().join("objects"));
        let index = repository.index().map_err(failed)?;
        let mut files = WorkFiles { root: &root, largest, warnings: Vec::new(), tracked: tracked(&index, &root) };
        let found = files.find(&repository, &index).map_err(|error| error.or_else(failed))?;

        let place = tempfile::Builder::new().prefix("surveil-try-").tempdir();
        let place = place.map_err(GitError::io("make a directory in", &std::env::temp_dir()))?;
        let store = new_store(place.path(), format).map_err(failed)?;
        let written = store.odb().map_err(failed)?;
        // Blobs are written there, and not beside those of the person. It has no alternates yet: writing an object that
        // exists in one of them would touch that file's time.
        repository.set_odb(&written).map_err(failed)?;
        let entries = files.entries(&repository, &written, found)?;
        let own = trees::Trees { format, known: own_objects(&objects, format)?, written: &written };
        let tree = own.write(&entries).map_err(failed)?;

        let watched = Watched::open(local.place().location())?;
        let head = watched.head_commit()?;
        let parent = head.as_ref().map(|(_, commit)| *commit);
        let branch = head.and_then(|(branch, _)| branch).or_else(|| unborn(&repository));
        let subject = subject(branch.as_ref(), parent);
        let time_s = parent.map(|parent| watched.describe(parent)).transpose()?.and_then(|text| text.committed_s);
        let author = author(&repository);
        let text = commit_text(tree, parent, &author, time_s.unwrap_or(0), &subject);
        let commit = commit_id(written.write(ObjectType::Commit, text.as_bytes()).map_err(failed)?);

        let directory = store.path().join("objects");
        let alternates = directory.join("info").join("alternates");
        fs::create_dir_all(directory.join("info")).map_err(GitError::io("make directory", &directory))?;
        let line = [objects.as_os_str().as_bytes(), b"\n"].concat();
        fs::write(&alternates, line).map_err(GitError::io("write", &alternates))?;
        let database = Database::open(&directory, format, directory.join("pack"))?;
        let (reference, warnings) = (branch.as_ref().map(RefName::of_branch), files.warnings);
        Ok(Self { commit, parent, reference, subject, author, warnings, database, _store: place })
    }

    pub(super) fn database(&self) -> &Database {
        &self.database
    }

    /// Builds a pack with the commit and everything of its tree that is not in the trees of `haves`.
    pub fn pack(&self, haves: &[CommitId], sink: Sink<'_>) -> Result<(), GitError> {
        pack::build(&self.database, None, &[self.commit], haves, |_| Ok(Extra::default()), sink)
    }
}

/// An error while files are looked for: ours, or one of libgit2 that has no path yet.
enum Fault {
    Ours(GitError),
    Theirs(git2::Error),
}

impl From<git2::Error> for Fault {
    fn from(error: git2::Error) -> Self {
        Self::Theirs(error)
    }
}

impl Fault {
    fn or_else(self, wrap: impl FnOnce(git2::Error) -> GitError) -> GitError {
        match self {
            Self::Ours(error) => error,
            Self::Theirs(error) => wrap(error),
        }
    }
}

/// A file of the index.
struct Tracked {
    entry: Entry,
    /// Whether the work tree has no say about it.
    is_settled: bool,
}

/// Returns the files of the index that are not in conflict, by path.
fn tracked(index: &Index, root: &Path) -> BTreeMap<Vec<u8>, Tracked> {
    let is_merged = |entry: &git2::IndexEntry| entry.flags >> 12 & 3 == 0;
    // A submodule whose directory is gone is removed, as by `git add --all`.
    let is_there = |entry: &git2::IndexEntry| root.join(OsStr::from_bytes(&entry.path)).is_dir();
    let entries = index.iter().filter(is_merged).map(|entry| {
        let is_settled = entry.flags & ASSUME_UNCHANGED != 0
            || entry.flags_extended & SKIP_WORKTREE != 0
            || entry.mode == SUBMODULE && is_there(&entry);
        (entry.path, Tracked { entry: (entry.mode, entry.id), is_settled })
    });
    entries.collect()
}

/// The files of a work tree.
struct WorkFiles<'a> {
    root: &'a Path,
    largest: Option<u64>,
    warnings: Vec<String>,
    tracked: BTreeMap<Vec<u8>, Tracked>,
}

impl WorkFiles<'_> {
    /// Returns the paths that differ from the index, or are not in it, with what is there now.
    fn find(&mut self, repository: &Repository, index: &Index) -> Result<BTreeMap<Vec<u8>, Option<Metadata>>, Fault> {
        let mut options = StatusOptions::new();
        options.show(StatusShow::Workdir).include_untracked(true).recurse_untracked_dirs(true);
        options.include_ignored(false).exclude_submodules(true).include_unreadable(true).update_index(false);
        let statuses = repository.statuses(Some(&mut options))?;
        let mut paths: BTreeSet<Vec<u8>> = BTreeSet::new();
        let mut nested = Vec::new();
        for entry in statuses.iter() {
            let path = entry.path_bytes();
            if entry.status().contains(Status::WT_UNREADABLE) {
                let path = self.place(path);
                return Err(Fault::Ours(GitError::io("read", &path)(std::io::ErrorKind::PermissionDenied.into())));
            }
            match path.strip_suffix(b"/") {
                // git would add a gitlink, whose commit nobody could find.
                Some(repository) => nested.push(repository.to_vec()),
                None => drop(paths.insert(path.to_vec())),
            }
        }
        self.warn(&nested, "repositories within this one are left out");
        let changed = self.changed_submodules(repository);
        self.warn(&changed, "submodules are taken at the commits in the index, without what has changed in them");
        let conflicts: BTreeSet<Vec<u8>> =
            index.iter().filter(|entry| entry.flags >> 12 & 3 != 0).map(|entry| entry.path).collect();
        let unmerged: Vec<_> = conflicts.iter().cloned().collect();
        self.warn(&unmerged, "files with conflicts are taken as they are in the work tree");
        paths.extend(conflicts);
        paths.extend(self.tracked.iter().filter(|(_, it)| it.entry.0 == SUBMODULE).map(|(path, _)| path.clone()));
        paths.retain(|path| self.tracked.get(path).is_none_or(|tracked| !tracked.is_settled));
        let mut found = BTreeMap::new();
        for path in paths {
            let there = self.look(&path).map_err(Fault::Ours)?;
            found.insert(path, there);
        }
        Ok(found)
    }

    /// Returns the submodules whose work trees are not as the index says.
    fn changed_submodules(&self, repository: &Repository) -> Vec<Vec<u8>> {
        let is_changed = |path: &str| {
            // Nothing is said of a submodule that is not checked out, or that `.gitmodules` says to ignore.
            let status = repository.submodule_status(path, SubmoduleIgnore::Unspecified);
            status.is_ok_and(|status| {
                status.intersects(
                    SubmoduleStatus::WD_MODIFIED
                        | SubmoduleStatus::WD_INDEX_MODIFIED
                        | SubmoduleStatus::WD_WD_MODIFIED
                        | SubmoduleStatus::WD_UNTRACKED,
                )
            })
        };
        let submodules = self.tracked.iter().filter(|(_, tracked)| tracked.entry.0 == SUBMODULE);
        let changed = submodules.filter(|(path, _)| std::str::from_utf8(path).is_ok_and(is_changed));
        changed.map(|(path, _)| path.clone()).collect()
    }

    /// Returns what is at a path; `None` if nothing is there that git would keep.
    fn look(&mut self, path: &[u8]) -> Result<Option<Metadata>, GitError> {
        let place = self.place(path);
        let meta = match fs::symlink_metadata(&place) {
            Ok(meta) => meta,
            Err(error) if matches!(error.raw_os_error(), Some(NOT_FOUND | NOT_A_DIRECTORY)) => return Ok(None),
            Err(error) => return Err(GitError::io("read", &place)(error)),
        };
        let kind = meta.file_type();
        if kind.is_file()
            && let Some(limit) = self.largest
            && meta.len() > limit
        {
            return Err(GitError::LargeWork { path: shown_path(path), size: meta.len(), limit });
        }
        // A directory in place of a file has entries of its own.
        Ok(Some(meta).filter(|_| kind.is_file() || kind.is_symlink()))
    }

    /// Writes the blobs of the files that were found, and returns all entries of the tree.
    fn entries(
        &mut self,
        repository: &Repository,
        written: &Odb<'_>,
        found: BTreeMap<Vec<u8>, Option<Metadata>>,
    ) -> Result<BTreeMap<Vec<u8>, Entry>, GitError> {
        let is_set = |name: &str| repository.config().and_then(|config| config.get_bool(name)).unwrap_or(true);
        let (has_modes, has_links) = (is_set("core.filemode"), is_set("core.symlinks"));
        let mut entries: BTreeMap<Vec<u8>, Entry> =
            self.tracked.iter().map(|(path, tracked)| (path.clone(), tracked.entry)).collect();
        for (path, meta) in found {
            let Some(meta) = meta else {
                entries.remove(&path);
                continue;
            };
            let place = self.place(&path);
            let failed = |source| GitError::WorkFile { path: place.clone(), source };
            let before = self.tracked.get(&path).map(|tracked| tracked.entry.0);
            let entry = if meta.file_type().is_symlink() {
                let target = fs::read_link(&place).map_err(GitError::io("read", &place))?;
                (LINK, written.write(ObjectType::Blob, target.as_os_str().as_bytes()).map_err(failed)?)
            } else {
                let mode = match before {
                    Some(LINK) if !has_links => LINK,
                    Some(mode @ (FILE | EXECUTABLE)) if !has_modes => mode,
                    _ if has_modes && meta.mode() & 0o100 != 0 => EXECUTABLE,
                    _ => FILE,
                };
                (mode, repository.blob_path(&place).map_err(failed)?)
            };
            entries.insert(path, entry);
        }
        Ok(entries)
    }

    fn place(&self, path: &[u8]) -> PathBuf {
        self.root.join(OsStr::from_bytes(path))
    }

    fn warn(&mut self, paths: &[Vec<u8>], text: &str) {
        if paths.is_empty() {
            return;
        }
        let mut named: Vec<String> = paths.iter().take(NAMED_PATHS).map(|path| shown_path(path)).collect();
        if paths.len() > NAMED_PATHS {
            named.push(format!("and {} more", paths.len() - NAMED_PATHS));
        }
        self.warnings.push(format!("{text}: {}", named.join(", ")));
    }
}

/// Numbers of errors: no such file, and a file where a directory should be.
const NOT_FOUND: i32 = 2;
const NOT_A_DIRECTORY: i32 = 20;

/// Makes an empty repository that takes the new objects.
fn new_store(place: &Path, format: ObjectFormat) -> Result<Repository, git2::Error> {
    let mut options = RepositoryInitOptions::new();
    options.bare(true).external_template(false).object_format(format);
    Repository::init_opts(place.join("store.git"), &options)
}

/// Opens the person's objects for looking them up.
fn own_objects(directory: &Path, format: ObjectFormat) -> Result<super::objects::Objects, GitError> {
    super::objects::Objects::open(directory, format)
}

/// Returns the branch that HEAD names before its first commit.
fn unborn(repository: &Repository) -> Option<BranchName> {
    let head = repository.find_reference("HEAD").ok()?;
    Some(BranchName::new(head.symbolic_target().ok()??.strip_prefix("refs/heads/")?))
}

fn subject(branch: Option<&BranchName>, parent: Option<CommitId>) -> String {
    match (branch, parent) {
        (Some(branch), _) => format!("try: uncommitted work on {branch}"),
        (None, Some(parent)) => format!("try: uncommitted work on {}", parent.short()),
        (None, None) => "try: uncommitted work".to_owned(),
    }
}

/// Returns the person as git knows them, or a stand-in: a try needs no identity.
fn author(repository: &Repository) -> String {
    let config = repository.config().and_then(|mut config| config.snapshot()).ok();
    let of = |variable: &str, key: &str| {
        let set = std::env::var(variable).ok().filter(|value| !value.is_empty());
        let text = set.or_else(|| config.as_ref()?.get_string(key).ok()).unwrap_or_default();
        text.chars().filter(|c| !matches!(c, '<' | '>') && !c.is_control()).collect::<String>().trim().to_owned()
    };
    let (name, email) = (of("GIT_AUTHOR_NAME", "user.name"), of("GIT_AUTHOR_EMAIL", "user.email"));
    let name = if name.is_empty() { "unknown".to_owned() } else { name };
    format!("{name} <{email}>")
}

/// The commit is as old as its parent, so that the same work makes the same commit.
fn commit_text(tree: Oid, parent: Option<CommitId>, author: &str, time_s: i64, subject: &str) -> String {
    let parent = parent.map(|parent| format!("parent {parent}\n")).unwrap_or_default();
    format!("tree {tree}\n{parent}author {author} {time_s} +0000\ncommitter {author} {time_s} +0000\n\n{subject}\n")
}
