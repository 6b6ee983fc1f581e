//! Reads a repository's refs: HEAD, loose refs and packed refs as files, or all of them from the `git` program if
//! the ref storage is one that only git knows.
//!
//! The files are read here because a watcher must tell a branch that is gone from one that cannot be read just now, and
//! libgit2's iteration skips the latter silently. A single broken ref is left out of a listing, as git leaves it out,
//! and is an error for whoever asks for that ref. Whatever concerns all refs is an error of the whole listing.

mod files;
mod name;
mod packed;
mod program;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::error::GitError;
use crate::model::CommitId;

pub(super) use files::RefFiles;
pub(super) use name::HeadPointer;
pub(super) use program::RefProgram;

/// A repository's refs.
pub(super) enum Refs {
    Files(RefFiles),
    Program(RefProgram),
}

impl Refs {
    pub(super) fn head(&self) -> Result<HeadPointer, GitError> {
        match self {
            Self::Files(files) => files.head(),
            Self::Program(program) => program.head(),
        }
    }

    /// Returns the full name of the ref that this ref is a symbolic name of; `None` if it is no such ref.
    pub(super) fn symbolic(&self, name: &str) -> Result<Option<String>, GitError> {
        match self {
            Self::Files(files) => files.symbolic(name),
            Self::Program(program) => program.symbolic(name),
        }
    }

    /// Returns the object of a ref by its full name; `None` if there is no such ref. The object of an annotated tag is
    /// the tag's own.
    pub(super) fn find(&self, name: &str) -> Result<Option<CommitId>, GitError> {
        match self {
            Self::Files(files) => files.find(name),
            Self::Program(program) => program.find(name),
        }
    }

    /// Returns all branches, see [`Self::list`].
    pub(super) fn branches(&self) -> Result<Vec<(String, CommitId)>, GitError> {
        self.list(name::BRANCHES)
    }

    /// Returns the refs below a namespace, such as `refs/tags/`, by full name, sorted: those that `git for-each-ref`
    /// prints. Leaves out names that are not UTF-8, names that git refuses, and refs that are broken.
    pub(super) fn list(&self, namespace: &str) -> Result<Vec<(String, CommitId)>, GitError> {
        match self {
            Self::Files(files) => files.list(namespace),
            Self::Program(program) => program.list(namespace),
        }
    }
}

/// The most directories that are watched for notifications. A forge makes one for each pull request. Changes in others
/// are found by the next look.
const NOTIFY_PATHS_MAX: usize = 4_096;

/// Returns the directories in which a change of a branch, of HEAD, or of a ref in one of these namespaces shows, with
/// the directories below.
pub(super) fn notify_paths(git_dir: &Path, common_dir: &Path, namespaces: &[&str]) -> Vec<PathBuf> {
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
    let mut pending: Vec<PathBuf> = namespaces.iter().map(|namespace| common_dir.join(namespace)).collect();
    let mut seen = HashSet::new();
    if !namespaces.is_empty() {
        // The namespaces begin there.
        paths.push(common_dir.join("refs"));
    }
    // The branches come first.
    pending.push(common_dir.join("refs").join("heads"));
    while let Some(path) = pending.pop() {
        if paths.len() >= NOTIFY_PATHS_MAX || !seen.insert(path.clone()) {
            continue;
        }
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
