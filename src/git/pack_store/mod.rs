//! A bare repository that receives packs: the dispatcher's mirror and a runner's store. It keeps only what was sent,
//! whole trees, with as much history as was asked for, and executes nothing.
//!
//! The invariant: a pack becomes part of the store only when everything that its commits and trees name is in the pack
//! or already in the store. So every object in the store is there with all objects below it, and a commit that is in
//! the store is complete. [`Receiver`] checks this for each pack, and [`PackStore::tidy`] preserves it.

pub(super) mod facts_notes;
mod history;
mod large_files;
pub(super) mod lfs_notes;

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use git2::{ObjectFormat, Odb, Oid, Repository, RepositoryInitOptions};

use super::commit_files::{find_directory, has_entry, read_file};
use super::commit_text::CommitText;
use super::database::Database;
use super::error::{GitError, shown_path};
use super::history::{Extra, Facts};
use super::incoming::sync;
use super::objects::{EntryKind, Objects, entries, format_of, incomplete, of_its_type};
use super::pack::{self, Sink};
use super::receiver::{Landing, Receiver, recover};
use super::watched::Watched;
use super::{stored, tidy, tree_changes};
use crate::model::CommitId;
use large_files::LargeFiles;

pub use history::KnownFacts;

/// Settings that are written when a store is made. A store ignores the configuration of the user and of the system.
/// These settings stop a person's own git from collecting objects that no ref names.
const SETTINGS: [(&str, &str); 4] = [
    ("core.autocrlf", "false"),
    ("gc.auto", "0"),
    ("gc.pruneExpire", "never"),
    // With this, git refuses to prune objects or to drop packs.
    ("extensions.preciousObjects", "true"),
];

/// A bare repository that receives packs and keeps only what was sent: whole trees, with the history that came along
/// with some of them. A clone is another
/// handle to the same store.
#[derive(Clone)]
pub struct PackStore {
    landing: Arc<Landing>,
    large_files: Arc<LargeFiles>,
}

impl PackStore {
    /// Opens the store, or makes it with the object format of `like`.
    pub fn open(path: &Path, like: CommitId) -> Result<Self, GitError> {
        if !path.join("HEAD").exists() {
            make(path, format_of(like))?;
        }
        stored::remove_broken(&path.join("objects").join("pack"), format_of(like))?;
        let store = Self::open_existing(path)?;
        store.database().with(|objects| objects.id(like))?;
        recover(&store.landing)?;
        Ok(store)
    }

    /// Opens an existing store.
    pub(super) fn open_existing(path: &Path) -> Result<Self, GitError> {
        let refuse = |source| GitError::Open { path: path.to_owned(), source };
        let repository = Repository::open_bare(path).map_err(refuse)?;
        let database = Database::open(&path.join("objects"), repository.object_format(), path.join(tidy::TIDIED))?;
        Ok(Self { landing: Arc::new(Landing::new(path, database)), large_files: Arc::default() })
    }

    pub(super) fn database(&self) -> &Database {
        &self.landing.database
    }

    /// Takes a commit in from a repository on this machine, whose objects `haves` are here already.
    pub fn take_from(&self, source: &Watched, commit: CommitId, haves: &[CommitId]) -> Result<(), GitError> {
        let mut receiver = self.receive()?;
        let mut failure = None;
        let packed = source.pack(&[commit], haves, &mut |piece| {
            failure = receiver.write(piece).err();
            failure.is_none()
        });
        failure.map_or(packed, Err)?;
        receiver.finish(commit, false)
    }

    /// Takes the history of a commit in that is here, and its facts, from a repository on this machine.
    pub fn take_facts_from(&self, source: &Watched, commit: CommitId, facts: &Facts) -> Result<(), GitError> {
        let mut receiver = self.receive()?;
        let mut failure = None;
        let packed = source.pack_with_facts(&[commit], &[], (facts, None), &mut |piece| {
            failure = receiver.write(piece).err();
            failure.is_none()
        });
        failure.map_or(packed, Err)?;
        receiver.finish(commit, false)?;
        self.note_facts(commit, facts.id)
    }

    /// Whether the store can hold a commit with an id like this one: a store has one object format.
    pub fn takes(&self, like: CommitId) -> bool {
        self.landing.database.format() == format_of(like)
    }

    /// Starts to receive a pack.
    pub fn receive(&self) -> Result<Receiver, GitError> {
        Receiver::new(Arc::clone(&self.landing))
    }

    /// Whether the commit and its whole tree were received.
    pub fn has(&self, commit: CommitId) -> bool {
        self.landing.database.with(|objects| Ok(objects.has_commit(commit))).unwrap_or(false)
    }

    /// Like [`Self::has`], but does not look for new packs, so it may return false for a commit that arrived a moment
    /// ago. For a caller that expects the commit to be missing and can receive it again.
    pub fn has_found(&self, commit: CommitId) -> bool {
        self.landing.database.with(|objects| Ok(objects.has_found_commit(commit))).unwrap_or(false)
    }

    /// Returns a commit's subject and author, and when it was committed.
    pub fn describe(&self, commit: CommitId) -> Result<CommitText, GitError> {
        self.database().with(|objects| CommitText::read(objects, commit))
    }

    /// Reads the commit's whole tree to find damage. For a store whose files are in doubt. The error names the object
    /// that is missing or broken.
    pub fn check(&self, commit: CommitId) -> Result<(), GitError> {
        self.check_beside(commit, &mut HashSet::new())
    }

    /// Like [`Self::check`], but for several commits, and reads each object that they share once.
    pub fn check_all(&self, commits: &[CommitId]) -> Result<(), GitError> {
        let mut whole = HashSet::new();
        commits.iter().try_for_each(|commit| self.check_beside(*commit, &mut whole))
    }

    fn check_beside(&self, commit: CommitId, whole: &mut HashSet<Oid>) -> Result<(), GitError> {
        self.read(commit, |objects, odb| {
            let root = objects.commit(commit)?.tree_id();
            let mut fresh = HashSet::new();
            let mut pending = vec![root];
            while let Some(tree) = pending.pop() {
                if whole.contains(&tree) || fresh.contains(&tree) {
                    continue;
                }
                let Some(data) = of_its_type(objects.tree(odb, tree))? else { continue };
                for entry in entries(tree, data.data())?.iter().filter(|entry| !whole.contains(&entry.id)) {
                    match entry.kind {
                        EntryKind::Tree => pending.push(entry.id),
                        EntryKind::Submodule => {}
                        EntryKind::File | EntryKind::Executable | EntryKind::Link => {
                            objects.check_blob(odb, entry.id)?;
                            fresh.insert(entry.id);
                        }
                    }
                }
                fresh.insert(tree);
            }
            // Only now: a tree that was read proves nothing about the trees below it, and a failed attempt proves
            // nothing at all.
            whole.extend(fresh);
            Ok(())
        })
    }

    /// Reads a file of the commit. Returns `None` if the path does not exist or is not a file. Refuses a file larger
    /// than `limit` bytes.
    pub fn read_file(&self, commit: CommitId, path: &str, limit: usize) -> Result<Option<Vec<u8>>, GitError> {
        self.read(commit, |objects, odb| read_file(objects, odb, (commit, path), limit))
    }

    /// Whether the commit has anything at this path, a file or not.
    pub fn has_entry(&self, commit: CommitId, path: &str) -> Result<bool, GitError> {
        self.read(commit, |objects, odb| has_entry(objects, odb, (commit, path)))
    }

    /// Returns the path of a file of the commit that has more than `limit` bytes, for people, and its size. The content
    /// in Git LFS counts, as far as the newest facts of the commit name it.
    pub fn file_larger_than(&self, commit: CommitId, limit: u64) -> Result<Option<(String, u64)>, GitError> {
        let facts = facts_notes::of(&self.landing.store, commit).last().copied();
        let found = self.read(commit, |objects, odb| {
            let facts = facts.map(|facts| facts_notes::read(objects, facts)).transpose()?.flatten();
            let lfs = facts.map(|facts| facts.lfs).unwrap_or_default();
            self.large_files.find(objects, odb, (commit, &lfs), limit)
        })?;
        Ok(found.map(|(path, size)| (shown_path(&path), size)))
    }

    /// Returns the sorted names of the executable files directly in a directory of the commit; none if there is no such
    /// directory.
    pub fn executables(&self, commit: CommitId, directory: &str) -> Result<Vec<String>, GitError> {
        self.read(commit, |objects, odb| {
            let Some(tree) = find_directory(objects, odb, commit, directory)? else { return Ok(Vec::new()) };
            let Some(data) = of_its_type(objects.tree(odb, tree))? else { return Ok(Vec::new()) };
            let mut found = entries(tree, data.data())?;
            found.retain(|entry| entry.kind == EntryKind::Executable);
            let mut names: Vec<_> = found.iter().map(|e| String::from_utf8_lossy(e.name).into_owned()).collect();
            names.sort_unstable();
            Ok(names)
        })
    }

    /// Returns the sorted paths in which two commits differ; `None` if there are more than
    /// [`MAX_CHANGED_PATHS`](super::MAX_CHANGED_PATHS), or if the trees cannot be compared.
    pub fn changed_paths(&self, old: CommitId, new: CommitId) -> Result<Option<Vec<String>>, GitError> {
        self.read(new, |objects, odb| tree_changes::changed_paths(objects, odb, old, new))
    }

    /// Like [`Watched::pack`](super::Watched::pack), but for one commit.
    pub fn pack(&self, commit: CommitId, haves: &[CommitId], sink: Sink<'_>) -> Result<(), GitError> {
        let Landing { store, database, .. } = &*self.landing;
        let packs = store.join("objects").join("pack");
        let select = |_: &Objects| Ok(Extra::default());
        pack::build(database, Some(&packs), &[commit], haves, select, sink).map_err(incomplete(commit, store))
    }

    /// Syncs the files of packs that only notes make durable, which receivers of this handle have postponed. This also
    /// happens on drop, and before the notes take too much room.
    pub fn sync_noted(&self) -> Result<(), GitError> {
        self.landing.sync_noted()
    }

    /// Merges many small packs into one if there are more than is good for lookups. Cheap if there is nothing to do.
    pub fn tidy(&self) -> Result<(), GitError> {
        tidy::tidy(&self.landing)
    }

    /// Removes every object that none of these commits needs. Nobody may receive a pack at the same time. Skips a
    /// commit that is not in the store. A damaged commit is an error, and then nothing is removed.
    pub fn prune(&self, needed: &[CommitId]) -> Result<(), GitError> {
        tidy::prune(&self.landing, needed)
    }

    /// Runs `ask`. An object that it does not find makes the commit incomplete.
    fn read<T>(
        &self,
        commit: CommitId,
        mut ask: impl FnMut(&Objects, &Odb<'_>) -> Result<T, GitError>,
    ) -> Result<T, GitError> {
        let Landing { store, database, .. } = &*self.landing;
        database.with(|objects| ask(objects, &objects.odb()?)).map_err(incomplete(commit, store))
    }
}

/// Makes an empty store in a temporary directory and moves it into place, so that an existing store is always whole,
/// and two processes that make it at the same time end up with one.
fn make(path: &Path, format: ObjectFormat) -> Result<(), GitError> {
    let refuse = |source| GitError::Open { path: path.to_owned(), source };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(GitError::io("make directory", parent))?;
    let fresh = tempfile::Builder::new().prefix(".new-store-").tempdir_in(parent);
    let fresh = fresh.map_err(GitError::io("make a directory in", parent))?;
    let mut options = RepositoryInitOptions::new();
    // Templates of the system or the user could bring hooks.
    options.bare(true).no_reinit(true).mkpath(false).external_template(false).object_format(format);
    options.initial_head("main");
    let repository = Repository::init_opts(fresh.path(), &options).map_err(refuse)?;
    let file = fresh.path().join("config");
    let mut config = git2::Config::open(&file).map_err(refuse)?;
    // git reads extensions from this version of the format on.
    config.set_i32("core.repositoryformatversion", 1).map_err(refuse)?;
    for (key, value) in SETTINGS {
        config.set_str(key, value).map_err(refuse)?;
    }
    drop(repository);
    for part in ["HEAD", "config", "refs", "objects/pack", "objects", ""] {
        sync(&fresh.path().join(part))?;
    }
    match fs::rename(fresh.path(), path) {
        Ok(()) => {
            sync(parent)?;
            // The directory was moved, so there is nothing left for the guard to remove.
            let _moved = fresh.keep();
            Ok(())
        }
        // Another process was faster; its store is as good as this one.
        Err(_) if path.join("HEAD").exists() => Ok(()),
        Err(error) => Err(GitError::io("make store", path)(error)),
    }
}

#[cfg(test)]
mod tests;
