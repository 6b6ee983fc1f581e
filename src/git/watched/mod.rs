//! A watched repository. It is only ever read: no ref, index, work tree or configuration of it is changed, and nothing
//! that its configuration names is executed. Called by the observer.

mod absence;
mod glob;
mod history;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use git2::{ErrorClass, ErrorCode, ObjectFormat, Repository};
use wildmatch::WildMatch;

use super::commit_text::CommitText;
use super::database::Database;
use super::error::GitError;
use super::history::Extra;
use super::lfs::Verified;
use super::objects::{Peeled, commit_id};
use super::pack::{self, Sink};
use super::refs::{HeadPointer, RefFiles, RefProgram, Refs};
use super::{program, remote, tree_changes};
use crate::model::{BranchName, CommitId, RefName};

pub use absence::Absence;
pub use glob::RefGlob;
pub use history::SourcePlaces;

/// Length of the first-parent walk that looks for the commit before. If a head is further on than this, it is built
/// alone.
const FIRST_PARENTS_MAX: usize = 20_000;

/// Number of the nearest ancestors that are each returned, and number of those that are looked at: a walk of some
/// milliseconds.
const ANCESTORS_NEAR: usize = 16;
const ANCESTORS_WALKED: usize = 1_024;

/// Which branches to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BranchSelection {
    /// The branch that HEAD names.
    Main,
    /// The branches whose names match one of these globs (`*` also matches `/`).
    Matching(Vec<String>),
}

impl BranchSelection {
    /// Whether a branch is selected by its name. Never true for [`Self::Main`]: only HEAD tells which branch is the
    /// main one.
    #[must_use]
    pub fn matches(&self, reference: &RefName) -> bool {
        match self {
            Self::Main => false,
            Self::Matching(globs) => {
                reference.branch().is_some_and(|branch| globs.iter().any(|glob| WildMatch::new(glob).matches(branch)))
            }
        }
    }

    /// Returns the branches that are selected by their name, and not by a pattern.
    #[must_use]
    pub fn names(&self) -> Vec<RefName> {
        match self {
            Self::Main => Vec::new(),
            Self::Matching(globs) => globs.iter().filter(|glob| is_plain(glob)).map(RefName::of_branch).collect(),
        }
    }
}

/// A ref and the commit it is at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub reference: RefName,
    pub commit: CommitId,
}

/// The commits between two heads of a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The newest of them, oldest first.
    pub commits: Vec<CommitId>,
    /// The number of all of them; `None` if the new head does not follow the old one, or if that is not known.
    pub count: Option<u64>,
}

/// A watched repository. Never changed.
pub struct Watched {
    path: PathBuf,
    /// The git directory of this work tree, which holds HEAD.
    git_dir: PathBuf,
    /// The git directory shared by all work trees, which holds branches and objects.
    common_dir: PathBuf,
    refs: Refs,
    database: Database,
    /// The commits that objects of refs stand for.
    peeled: RefCell<HashMap<CommitId, Option<Peeled>>>,
    /// Objects of refs that the log has named as unreadable.
    unreadable: RefCell<HashSet<CommitId>>,
    /// The LFS objects that were verified.
    verified: Verified,
}

impl Watched {
    /// Opens a bare repository, a work tree or a linked worktree, with any object format and ref storage.
    pub fn open(path: &Path) -> Result<Self, GitError> {
        let (refs, git_dir, common_dir, format) = locate(path)?;
        let objects = common_dir.join("objects");
        let database = Database::open(&objects, format, objects.join("pack"))?;
        let (peeled, unreadable, verified) = Default::default();
        Ok(Self { path: path.to_owned(), git_dir, common_dir, refs, database, peeled, unreadable, verified })
    }

    /// Returns the selected branches; none for an unborn or a detached HEAD, which [`Self::absence`] tells apart. An
    /// unreadable repository is an error, never an empty list.
    pub fn heads(&self, selection: &BranchSelection) -> Result<Vec<Head>, GitError> {
        match selection {
            BranchSelection::Main => self.main_head(),
            BranchSelection::Matching(globs) => self.matching_heads(globs),
        }
    }

    /// Returns the object of a ref; `None` if there is no such ref. A ref that is broken is an error.
    pub fn find(&self, reference: &RefName) -> Result<Option<CommitId>, GitError> {
        self.refs.find(reference.as_str())
    }

    /// Returns the first-parent commits after `before` up to and including `head`, oldest first, at most the newest
    /// `limit` of them, and how many there are. Returns `head` alone and no number if `before` is absent, unknown here,
    /// or not a first-parent ancestor.
    pub fn range(&self, before: Option<CommitId>, head: CommitId, limit: usize) -> Result<Range, GitError> {
        self.database.with(|objects| {
            let mut commit = objects.commit(head)?;
            let head_alone = |count| Range { commits: vec![head], count };
            let Some(before) = before.filter(|before| objects.has_commit(*before)) else { return Ok(head_alone(None)) };
            let before = objects.id(before)?;
            let mut newest_first = Vec::new();
            for walked in 0..FIRST_PARENTS_MAX {
                if commit.id() == before {
                    newest_first.reverse();
                    // Nothing is new: the caller asked about the head itself.
                    return Ok(match walked {
                        0 => head_alone(Some(1)),
                        _ => Range { commits: newest_first, count: Some(walked as u64) },
                    });
                }
                if walked < limit.max(1) {
                    newest_first.push(commit_id(commit.id()));
                }
                // A root commit, or the end of a shallow clone.
                let Some(parent) = commit.first_parent() else { break };
                let Ok(parent) = objects.commit(commit_id(parent)) else { break };
                commit = parent;
            }
            Ok(head_alone(None))
        })
    }

    /// Returns the first-parent commits before this one, each of them, the nearest first, at most `limit`.
    pub fn first_parents(&self, of: CommitId, limit: usize) -> Result<Vec<CommitId>, GitError> {
        self.database.with(|objects| {
            let mut found = Vec::new();
            let mut next = objects.commit(of)?.first_parent();
            while let Some(parent) = next.filter(|_| found.len() < limit) {
                found.push(commit_id(parent));
                // The end of a shallow clone.
                next = objects.commit(commit_id(parent)).ok().and_then(|commit| commit.first_parent());
            }
            Ok(found)
        })
    }

    /// Like [`PackStore::changed_paths`](super::PackStore::changed_paths).
    pub fn changed_paths(&self, old: CommitId, new: CommitId) -> Result<Option<Vec<String>>, GitError> {
        self.database.with(|objects| tree_changes::changed_paths(objects, &objects.odb()?, old, new))
    }

    /// Returns first-parent ancestors of a commit, nearest first: each of the nearest, then fewer and fewer. Somebody
    /// who has one of them lacks only what has changed since.
    pub fn ancestors(&self, commit: CommitId) -> Result<Vec<CommitId>, GitError> {
        self.database.with(|objects| {
            let mut found = Vec::new();
            let mut commit = objects.commit(commit)?;
            for walked in 1..=ANCESTORS_WALKED {
                // A root commit, or the end of a shallow clone.
                let Some(parent) = commit.first_parent() else { break };
                let Ok(next) = objects.commit(commit_id(parent)) else { break };
                if walked <= ANCESTORS_NEAR || walked.is_power_of_two() {
                    found.push(commit_id(parent));
                }
                commit = next;
            }
            Ok(found)
        })
    }

    /// Whether the repository has this commit.
    pub fn has(&self, commit: CommitId) -> bool {
        self.database.with(|objects| Ok(objects.has_commit(commit))).unwrap_or(false)
    }

    pub fn describe(&self, commit: CommitId) -> Result<CommitText, GitError> {
        self.database.with(|objects| CommitText::read(objects, commit))
    }

    /// Builds a pack with the objects of `commits` and everything of their trees that is not in the trees of `haves`.
    /// Ignores those of `haves` that this repository lacks. `sink` receives the pack in pieces, and stops it by
    /// returning false.
    pub fn pack(&self, commits: &[CommitId], haves: &[CommitId], sink: Sink<'_>) -> Result<(), GitError> {
        pack::build(&self.database, None, commits, haves, |_| Ok(Extra::default()), sink)
    }

    /// Returns the default branch: the one that the HEAD of the remote `origin` names, else the repository's own HEAD.
    /// The HEAD of a work tree only says what is checked out, which may be somebody else's branch, so there `main` and
    /// `master` come first. `None` if HEAD is detached.
    pub fn default_branch(&self) -> Result<Option<BranchName>, GitError> {
        if let Some(name) = self.refs.symbolic("refs/remotes/origin/HEAD")?
            && let Some(branch) = name.strip_prefix("refs/remotes/origin/")
        {
            return Ok(Some(BranchName::new(branch)));
        }
        if self.common_dir.ends_with(".git") {
            for name in ["main", "master"] {
                if self.refs.find(&format!("refs/heads/{name}"))?.is_some() {
                    return Ok(Some(BranchName::new(name)));
                }
            }
        }
        Ok(match self.refs.head()? {
            HeadPointer::Names(name) => name.strip_prefix("refs/heads/").map(BranchName::new),
            HeadPointer::Detached(_) => None,
        })
    }

    /// Returns the URL of the remote `origin`, or else of the only remote, for [`fetch_mirror`](super::fetch_mirror). A
    /// path is made absolute. The URL may hold credentials.
    pub fn remote_url(&self) -> Result<String, GitError> {
        remote::url(&self.path, &self.common_dir)
    }

    /// Returns the commit that HEAD is at, and the branch that it names; no branch if HEAD is detached. `None` before
    /// the first commit.
    pub fn head_commit(&self) -> Result<Option<(Option<BranchName>, CommitId)>, GitError> {
        match self.refs.head()? {
            HeadPointer::Names(name) => {
                let commit = self.refs.find(&name)?;
                Ok(commit.map(|commit| (Some(BranchName::new(short_name(&name))), commit)))
            }
            HeadPointer::Detached(commit) => Ok(Some((None, commit))),
        }
    }

    fn main_head(&self) -> Result<Vec<Head>, GitError> {
        let name = match self.refs.head()? {
            HeadPointer::Names(name) => name,
            // During a rebase, HEAD is at commits that nobody has finished. Another branch in its place would be built
            // although nothing happened to it.
            HeadPointer::Detached(_) => return Ok(Vec::new()),
        };
        let commit = self.refs.find(&name)?;
        Ok(commit.map(|commit| head_of(&name, commit)).into_iter().collect())
    }

    fn matching_heads(&self, globs: &[String]) -> Result<Vec<Head>, GitError> {
        let mut found = Vec::new();
        // Plain names are read one by one: listing takes long in a repository with thousands of branches.
        if globs.iter().all(|glob| is_plain(glob)) {
            for name in globs {
                let full = format!("refs/heads/{name}");
                match self.refs.find(&full) {
                    Ok(commit) => found.extend(commit.map(|commit| head_of(&full, commit))),
                    // Like a listing: a broken branch stops no other one. Alone it is an error, so that it never looks
                    // deleted.
                    Err(GitError::Broken { .. }) if globs.len() > 1 => {}
                    Err(error) => return Err(error),
                }
            }
            found.sort_by(|a, b| a.reference.cmp(&b.reference));
            found.dedup();
            return Ok(found);
        }
        let globs: Vec<_> = globs.iter().map(|glob| WildMatch::new(glob)).collect();
        for (name, commit) in self.refs.branches()? {
            // git makes no branch of this name; a file may have it all the same.
            let is_branch = name != "refs/heads/HEAD";
            if is_branch && globs.iter().any(|glob| glob.matches(short_name(&name))) {
                found.push(head_of(&name, commit));
            }
        }
        Ok(found)
    }
}

fn head_of(name: &str, commit: CommitId) -> Head {
    Head { reference: RefName::new(name), commit }
}

fn short_name(name: &str) -> &str {
    name.strip_prefix("refs/heads/").unwrap_or(name)
}

/// Whether a glob can match only itself. A glob that could not be a branch's name is left to the comparison.
fn is_plain(glob: &str) -> bool {
    !glob.is_empty()
        && !glob.contains(['*', '?', '\0'])
        && !glob.split('/').any(|part| part.is_empty() || part.starts_with('.'))
}

/// A repository's refs, its git directory, the git directory shared by all work trees, and its object format.
type RepoParts = (Refs, PathBuf, PathBuf, ObjectFormat);

/// Finds the parts of the repository at `path` with libgit2, which also checks whether its owner may be trusted.
fn locate(path: &Path) -> Result<RepoParts, GitError> {
    let error = match Repository::open(path) {
        Ok(repository) => {
            let (git_dir, common_dir) = (repository.path().to_owned(), repository.commondir().to_owned());
            let refs = Refs::Files(RefFiles::new(&git_dir, &common_dir));
            return Ok((refs, git_dir, common_dir, repository.object_format()));
        }
        Err(error) => error,
    };
    // An error of its own, whose text says how to trust the repository.
    if error.code() == ErrorCode::Owner {
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        return Err(GitError::Owner { path });
    }
    // libgit2 has no code for an unknown extension, only this message.
    if error.class() == ErrorClass::Repository && error.message().contains("unsupported extension") {
        return locate_by_program(path);
    }
    Err(GitError::Open { path: path.to_owned(), source: error })
}

/// Like [`locate`], but for a repository with an extension that libgit2 does not know, such as reftable. Objects are
/// read as always, refs by the `git` program, which also checks the owner.
fn locate_by_program(path: &Path) -> Result<RepoParts, GitError> {
    let git_dir = git_dir_of(path)?;
    let common_dir = match fs::read_to_string(git_dir.join("commondir")) {
        Ok(text) => git_dir.join(text.trim_end()),
        Err(_) => git_dir.clone(),
    };
    let real = fs::canonicalize(path).map_err(GitError::io("open", path))?;
    let format = match program::object_format(&real) {
        Err(GitError::Program { detail, .. }) if detail.contains("dubious ownership") => {
            return Err(GitError::Owner { path: real });
        }
        answer => answer.map_err(|source| GitError::RefStorage { path: real.clone(), source: Box::new(source) })?,
    };
    let format = if format == "sha256" { ObjectFormat::Sha256 } else { ObjectFormat::Sha1 };
    log::info!("refs of {} are read by the git program: libgit2 does not support this ref storage", path.display());
    let refs = Refs::Program(RefProgram::new(&git_dir, &common_dir));
    Ok((refs, git_dir, common_dir, format))
}

/// Returns the git directory of a bare repository, a work tree, or a linked worktree, whose `.git` is a file that names
/// it.
pub(super) fn git_dir_of(path: &Path) -> Result<PathBuf, GitError> {
    let inner = path.join(".git");
    let Ok(meta) = fs::metadata(&inner) else {
        return fs::canonicalize(path).map_err(GitError::io("open", path));
    };
    let git_dir = if meta.is_dir() {
        inner
    } else {
        let text = fs::read_to_string(&inner).map_err(GitError::io("read", &inner))?;
        let named = text.strip_prefix("gitdir: ").map(str::trim_end);
        let why = "it does not name a git directory";
        path.join(named.ok_or_else(|| GitError::Broken { path: inner.clone(), why })?)
    };
    fs::canonicalize(&git_dir).map_err(GitError::io("open", &git_dir))
}

#[cfg(test)]
mod tests;
