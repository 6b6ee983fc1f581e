//! Refs as the `git` program lists them, for storages that only git knows.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::name::HeadPointer;
use super::packed::parse_packed;
use crate::git::error::GitError;
use crate::git::program;
use crate::model::CommitId;

/// Refs as the `git` program lists them, remembered until they change.
pub(in crate::git) struct RefProgram {
    git_dir: PathBuf,
    common_dir: PathBuf,
    known: RefCell<Known>,
}

/// The answers of git for one state of the refs.
#[derive(Default)]
struct Known {
    version: Option<Vec<u8>>,
    head: Option<HeadPointer>,
    /// The refs of each namespace that was asked for, sorted by full name.
    lists: BTreeMap<String, Vec<(String, CommitId)>>,
    /// The targets of the symbolic refs that were asked for.
    symbolic: BTreeMap<String, Option<String>>,
}

impl RefProgram {
    pub(in crate::git) fn new(git_dir: &Path, common_dir: &Path) -> Self {
        Self { git_dir: git_dir.to_owned(), common_dir: common_dir.to_owned(), known: RefCell::default() }
    }

    pub(super) fn head(&self) -> Result<HeadPointer, GitError> {
        self.refresh();
        if let Some(head) = &self.known.borrow().head {
            return Ok(head.clone());
        }
        let head = self.ask_head()?;
        self.known.borrow_mut().head = Some(head.clone());
        Ok(head)
    }

    pub(super) fn list(&self, namespace: &str) -> Result<Vec<(String, CommitId)>, GitError> {
        self.refresh();
        if let Some(list) = self.known.borrow().lists.get(namespace) {
            return Ok(list.clone());
        }
        let list = self.ask(namespace)?;
        self.known.borrow_mut().lists.insert(namespace.to_owned(), list.clone());
        Ok(list)
    }

    pub(super) fn find(&self, name: &str) -> Result<Option<CommitId>, GitError> {
        let namespace = name.rfind('/').map_or(name, |at| &name[..=at]);
        let list = self.list(namespace)?;
        Ok(list.into_iter().find(|(known, _)| known == name).map(|(_, id)| id))
    }

    /// Forgets the answers if the refs have changed since, or if that cannot be known. The version is taken before git
    /// is asked, so that a change in between is seen the next time.
    fn refresh(&self) {
        let version = self.version();
        let mut known = self.known.borrow_mut();
        if version.is_none() || known.version != version {
            *known = Known { version, ..Known::default() };
        }
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

    pub(super) fn symbolic(&self, name: &str) -> Result<Option<String>, GitError> {
        self.refresh();
        if let Some(named) = self.known.borrow().symbolic.get(name) {
            return Ok(named.clone());
        }
        let named = program::read(&self.git_dir, &["symbolic-ref", "--quiet", name])?;
        let named = named.map(|bytes| String::from_utf8_lossy(&bytes).trim_end().to_owned());
        self.known.borrow_mut().symbolic.insert(name.to_owned(), named.clone());
        Ok(named)
    }

    fn ask_head(&self) -> Result<HeadPointer, GitError> {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end().to_owned();
        if let Some(name) = program::read(&self.git_dir, &["symbolic-ref", "--quiet", "HEAD"])? {
            return Ok(HeadPointer::Names(text(name)));
        }
        let commit = program::read(&self.git_dir, &["rev-parse", "--verify", "--quiet", "HEAD"])?;
        let commit = commit.and_then(|id| text(id).parse().ok());
        let why = "HEAD names neither a branch nor a commit";
        Ok(HeadPointer::Detached(commit.ok_or_else(|| GitError::Broken { path: self.git_dir.clone(), why })?))
    }

    fn ask(&self, namespace: &str) -> Result<Vec<(String, CommitId)>, GitError> {
        let listed = program::read(&self.git_dir, &["for-each-ref", "--format=%(objectname) %(refname)", namespace])?;
        // The lines have the format of a `packed-refs` file.
        parse_packed(&self.git_dir.join("reftable"), &listed.unwrap_or_default(), namespace)
    }
}
