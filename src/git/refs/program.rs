//! Refs as the `git` program lists them, for storages that only git knows.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use super::name::{BRANCHES, HeadPointer};
use super::packed::parse_packed;
use crate::git::error::GitError;
use crate::git::program;
use crate::model::CommitId;

/// Refs as the `git` program lists them, remembered until they change.
pub(in crate::git) struct RefProgram {
    git_dir: PathBuf,
    common_dir: PathBuf,
    known: RefCell<Option<(Vec<u8>, Listing)>>,
}

#[derive(Clone)]
pub(super) struct Listing {
    pub(super) head: HeadPointer,
    /// Sorted by full name.
    pub(super) branches: Vec<(String, CommitId)>,
}

impl RefProgram {
    pub(in crate::git) fn new(git_dir: &Path, common_dir: &Path) -> Self {
        Self { git_dir: git_dir.to_owned(), common_dir: common_dir.to_owned(), known: RefCell::default() }
    }

    pub(super) fn read(&self) -> Result<Listing, GitError> {
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
