//! A bare repository that receives packs: the dispatcher's mirror and a runner's store. It keeps only what was sent,
//! whole trees without history, and executes nothing.
//!
//! What it rests on: a pack becomes part of the store only once everything that its commits and trees name is in it or
//! in the store already. So whatever is in the store is there with all that is below it, and a commit that is there is
//! complete. [`Receiver`] sees to it, [`PackStore::tidy`] keeps it.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use git2::{ObjectFormat, Odb, Oid, Repository, RepositoryInitOptions};

use super::incoming::sync;
use super::objects::{Database, EntryKind, Objects, entries, format_of, incomplete};
use super::receiver::{Landing, Receiver, recover};
use super::{GitError, pack, stored, tidy};
use crate::model::CommitId;

/// Written when a store is made. Nothing of a user's or the system's configuration matters to a store, and these keep a
/// person's git from collecting what no ref names.
const SETTINGS: [(&str, &str); 4] = [
    ("core.autocrlf", "false"),
    ("gc.auto", "0"),
    ("gc.pruneExpire", "never"),
    // git then refuses to prune or to drop packs.
    ("extensions.preciousObjects", "true"),
];

/// A bare repository that receives packs and keeps only what was sent: whole trees, no history. A clone is the same
/// handle.
#[derive(Clone)]
pub struct PackStore {
    landing: Arc<Landing>,
}

impl PackStore {
    /// Opens the store, or makes it, for the object format of `like`.
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

    /// Opens a store that is there.
    pub(super) fn open_existing(path: &Path) -> Result<Self, GitError> {
        let refuse = |source| GitError::Open { path: path.to_owned(), source };
        let repository = Repository::open_bare(path).map_err(refuse)?;
        let database = Database::open(&path.join("objects"), repository.object_format(), path.join(tidy::TIDIED))?;
        Ok(Self { landing: Arc::new(Landing::new(path, database)) })
    }

    pub(super) fn database(&self) -> &Database {
        &self.landing.database
    }

    /// Whether a commit with such an id may be in it: stores are of one object format.
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

    /// The same for one who can receive it and thinks that it is not there: false, too, where it came a moment ago.
    pub fn has_found(&self, commit: CommitId) -> bool {
        self.landing.database.with(|objects| Ok(objects.has_found_commit(commit))).unwrap_or(false)
    }

    /// Reads the commit's whole tree, to find damage: for a store that cannot be trusted just now. An error says what
    /// is missing or broken.
    pub fn check(&self, commit: CommitId) -> Result<(), GitError> {
        self.check_beside(commit, &mut HashSet::new())
    }

    /// The same for each of several commits, reading what they share once.
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
                let data = objects.tree(odb, tree)?;
                for entry in entries(tree, data.data())?.iter().filter(|entry| !whole.contains(&entry.id)) {
                    match entry.kind {
                        EntryKind::Tree => pending.push(entry.id),
                        EntryKind::Submodule => {}
                        EntryKind::File | EntryKind::Executable | EntryKind::Link => {
                            objects.blob(odb, entry.id)?;
                            fresh.insert(entry.id);
                        }
                    }
                }
                fresh.insert(tree);
            }
            // Only now: a tree that was read says nothing of those below it, nor does a try that failed.
            whole.extend(fresh);
            Ok(())
        })
    }

    /// A file of the commit, `None` where there is none (or it is no file). Refuses one larger than `limit` bytes.
    pub fn read_file(&self, commit: CommitId, path: &str, limit: usize) -> Result<Option<Vec<u8>>, GitError> {
        self.read(commit, |objects, odb| {
            let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
            let Some(tree) = find_directory(objects, odb, commit, directory)? else { return Ok(None) };
            let Some((kind, id)) = find_entry(objects, odb, tree, name)? else { return Ok(None) };
            if !matches!(kind, EntryKind::File | EntryKind::Executable) {
                return Ok(None);
            }
            let size = objects.size(odb, id)?;
            if size > limit {
                return Err(GitError::TooLarge { commit, file: path.to_owned(), size, limit });
            }
            Ok(Some(objects.blob(odb, id)?.data().to_vec()))
        })
    }

    /// Names of the executable files directly in a directory of the commit, sorted; empty where there is no directory.
    pub fn executables(&self, commit: CommitId, directory: &str) -> Result<Vec<String>, GitError> {
        self.read(commit, |objects, odb| {
            let Some(tree) = find_directory(objects, odb, commit, directory)? else { return Ok(Vec::new()) };
            let data = objects.tree(odb, tree)?;
            let mut found = entries(tree, data.data())?;
            found.retain(|entry| entry.kind == EntryKind::Executable);
            let mut names: Vec<_> = found.iter().map(|e| String::from_utf8_lossy(e.name).into_owned()).collect();
            names.sort_unstable();
            Ok(names)
        })
    }

    /// As [`Watched::pack`](super::Watched::pack), for one commit.
    pub fn pack(
        &self,
        commit: CommitId,
        haves: &[CommitId],
        sink: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), GitError> {
        pack::build(
            &self.landing.database,
            Some(&self.landing.store.join("objects").join("pack")),
            &[commit],
            haves,
            sink,
        )
        .map_err(incomplete(commit, &self.landing.store))
    }

    /// Finishes what receivers of this handle have put off: syncs the files of packs that only notes make durable. Done
    /// on drop as well, and before notes take too much room.
    pub fn settle(&self) -> Result<(), GitError> {
        self.landing.settle()
    }

    /// Merges many small packs into one, when there are more than is good for lookups. Cheap when there is nothing to
    /// do.
    pub fn tidy(&self) -> Result<(), GitError> {
        tidy::tidy(&self.landing)
    }

    /// Removes what none of these commits has. Nobody may be receiving meanwhile. A commit that is not there is passed
    /// over; one that is damaged is an error, and then nothing is removed.
    pub fn prune(&self, needed: &[CommitId]) -> Result<(), GitError> {
        tidy::prune(&self.landing, needed)
    }

    /// Runs `ask`; what it does not find makes the commit incomplete.
    fn read<T>(
        &self,
        commit: CommitId,
        mut ask: impl FnMut(&Objects, &Odb<'_>) -> Result<T, GitError>,
    ) -> Result<T, GitError> {
        self.landing
            .database
            .with(|objects| ask(objects, &objects.odb()?))
            .map_err(incomplete(commit, &self.landing.store))
    }
}

/// The tree at a path of the commit; the root's for an empty path.
fn find_directory(objects: &Objects, odb: &Odb<'_>, commit: CommitId, path: &str) -> Result<Option<Oid>, GitError> {
    let mut tree = objects.commit(commit)?.tree_id();
    for name in path.split('/').filter(|name| !name.is_empty() && *name != ".") {
        match find_entry(objects, odb, tree, name)? {
            Some((EntryKind::Tree, id)) => tree = id,
            _ => return Ok(None),
        }
    }
    Ok(Some(tree))
}

fn find_entry(objects: &Objects, odb: &Odb<'_>, tree: Oid, name: &str) -> Result<Option<(EntryKind, Oid)>, GitError> {
    let data = objects.tree(odb, tree)?;
    let found = entries(tree, data.data())?.into_iter().find(|entry| entry.name == name.as_bytes());
    Ok(found.map(|entry| (entry.kind, entry.id)))
}

/// Makes an empty store beside its place and moves it there, so that a store that is there is whole, and two who make
/// it at once end up with one.
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
    // Extensions count from this version on.
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
            // It is no longer there to be removed.
            let _moved = fresh.keep();
            Ok(())
        }
        Err(_) if path.join("HEAD").exists() => Ok(()),
        Err(error) => Err(GitError::io("make store", path)(error)),
    }
}

#[cfg(test)]
mod tests;
