//! A pack on its way into a store. It is indexed in a directory of its own below the store's objects, where no reader
//! looks, and moved among the packs only when it is proven: hashes right, and nothing missing that it names. Whatever ends
//! a receiver before that leaves no trace but such a directory, which the next [`tidy`](super::Store::tidy) removes.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use git2::{Indexer, ObjectFormat, ObjectType, OdbLookupFlags, Oid};
use tempfile::TempDir;

use super::GitError;
use super::objects::{Database, EntryKind, Objects, entries, incomplete};
use super::stored::StoredPack;
use crate::model::CommitId;

/// Directories of packs that are not proven yet start with this.
pub(super) const INCOMING_PREFIX: &str = "incoming-";

/// Held locked for as long as its receiver lives.
pub(super) const INCOMING_LOCK: &str = "lock";

/// `PACK`, a version, and the number of objects.
const HEADER_BYTES: usize = 12;

/// A pack on its way into a store. Dropped before [`Receiver::finish`], it leaves nothing behind.
pub struct Receiver<'a> {
    incoming: Incoming,
    database: &'a Database,
}

/// A pack that is being written and indexed, to be proven or not.
pub(super) struct Incoming {
    store: PathBuf,
    format: ObjectFormat,
    /// Declared before the directory that its file is in, to be dropped first.
    indexer: Indexer<'static>,
    directory: Leftovers,
    /// Of the pack's start, until it has said how many objects there are.
    header: Vec<u8>,
}

/// The directory in which a pack was received, emptied. Dropping it removes it, which on some disks takes as long as
/// indexing a small pack: best done when nobody waits.
#[derive(Debug)]
pub struct Leftovers {
    place: TempDir,
    _lock: File,
}

impl<'a> Receiver<'a> {
    pub(super) fn new(store: &Path, database: &'a Database) -> Result<Self, GitError> {
        Ok(Self { incoming: Incoming::new(store, database.format())?, database })
    }

    pub fn write(&mut self, piece: &[u8]) -> Result<(), GitError> {
        self.incoming.write(piece)
    }

    /// Verifies the pack, makes it durable (file and directory synced if `durable`), and then checks that `commit` is
    /// there with its whole tree. A commit that is not complete afterwards is an error of its own variant, so that the
    /// caller can ask for all of it.
    pub fn finish(self, commit: CommitId, durable: bool) -> Result<Leftovers, GitError> {
        let Incoming { store, format, indexer, directory, header } = self.incoming;
        let is_empty = header.len() == HEADER_BYTES && header[8..] == [0; 4];
        let name = indexer.commit().map_err(|source| GitError::BrokenPack { path: store.clone(), source })?;
        let missing = incomplete(commit, &store);
        if !is_empty {
            let place = directory.place.path();
            let index = place.join("pack").join(format!("pack-{name}.idx"));
            let arrived = Arrived::open(place, &index, format).map_err(&missing)?;
            self.database.with(|objects| arrived.check_is_whole(objects, commit)).map_err(&missing)?;
            publish(place, &store, &name, durable)?;
        }
        // Complete by what every pack was checked for.
        self.database.with(|objects| objects.commit(commit).map(drop)).map_err(missing)?;
        Ok(directory)
    }
}

impl Incoming {
    pub(super) fn new(store: &Path, format: ObjectFormat) -> Result<Self, GitError> {
        let objects = store.join("objects");
        let place = tempfile::Builder::new().prefix(INCOMING_PREFIX).tempdir_in(&objects);
        let place = place.map_err(GitError::io("make a directory in", &objects))?;
        let lock_path = place.path().join(INCOMING_LOCK);
        let lock = File::create(&lock_path).map_err(GitError::io("make", &lock_path))?;
        lock.lock().map_err(GitError::io("lock", &lock_path))?;
        let packs = place.path().join("pack");
        fs::create_dir(&packs).map_err(GitError::io("make directory", &packs))?;
        let indexer = Indexer::new_ext(None, &packs, 0o444, false, format)
            .map_err(|source| GitError::BrokenPack { path: store.to_owned(), source })?;
        let directory = Leftovers { place, _lock: lock };
        Ok(Self { store: store.to_owned(), format, indexer, directory, header: Vec::new() })
    }

    pub(super) fn write(&mut self, piece: &[u8]) -> Result<(), GitError> {
        let wanted = HEADER_BYTES - self.header.len();
        self.header.extend_from_slice(&piece[..wanted.min(piece.len())]);
        if piece.is_empty() {
            return Ok(());
        }
        // The indexer wraps libgit2's error, which is the cause to show.
        self.indexer.write_all(piece).map_err(|error| {
            let shown = git2::Error::from_str(&error.to_string());
            let source = error.into_inner().and_then(|inner| inner.downcast().ok()).map_or(shown, |boxed| *boxed);
            GitError::BrokenPack { path: self.store.clone(), source }
        })
    }

    /// Makes the pack part of the store, durably, without asking what it names: for objects that the store has already.
    pub(super) fn publish_unchecked(self) -> Result<String, GitError> {
        let Self { store, indexer, directory, .. } = self;
        let name = indexer.commit().map_err(|source| GitError::BrokenPack { path: store.clone(), source })?;
        publish(directory.place.path(), &store, &name, true)?;
        Ok(name)
    }
}

/// The objects of a pack that is indexed and not yet part of the store.
struct Arrived {
    objects: Objects,
    ids: HashSet<Oid>,
}

impl Arrived {
    fn open(directory: &Path, index: &Path, format: ObjectFormat) -> Result<Self, GitError> {
        // Not by libgit2, which lists the ids of SHA-256 packs wrongly.
        let pack = StoredPack::open(index, format)?;
        let ids = pack.ids().filter_map(|raw| Oid::from_bytes(raw).ok()).collect();
        Ok(Self { objects: Objects::open(directory, format)?, ids })
    }

    /// Checks that all that the arrived commits and trees name has arrived with them or was in the store.
    fn check_is_whole(&self, store: &Objects, commit: CommitId) -> Result<(), GitError> {
        let (odb, of_store) = (self.objects.odb()?, store.odb()?);
        let refuse = |kind: &str, id: Oid| GitError::Incomplete {
            commit,
            path: store.directory().to_owned(),
            missing: format!("{kind} {id}"),
        };
        let is_here = |id: Oid| self.ids.contains(&id) || of_store.exists_ext(id, OdbLookupFlags::empty());
        for id in &self.ids {
            let (_, kind) = odb.read_header(*id).map_err(|source| self.objects.unreadable("object", *id, source))?;
            if kind == ObjectType::Commit {
                let found = self.objects.repository().find_commit(*id);
                let tree = found.map_err(|source| self.objects.unreadable("commit", *id, source))?.tree_id();
                if !is_here(tree) {
                    return Err(refuse("tree", tree));
                }
            } else if kind == ObjectType::Tree {
                let data = self.objects.tree(&odb, *id)?;
                let named = entries(*id, data.data())?;
                let mut inside = named.iter().filter(|entry| entry.kind != EntryKind::Submodule);
                if let Some(entry) = inside.find(|entry| !is_here(entry.id)) {
                    let kind = if entry.kind == EntryKind::Tree { "tree" } else { "blob" };
                    return Err(refuse(kind, entry.id));
                }
            }
        }
        Ok(())
    }
}

/// Moves a proven pack among the store's packs: first the pack, then the index by which readers find it.
fn publish(incoming: &Path, store: &Path, name: &str, durable: bool) -> Result<(), GitError> {
    let (from, to) = (incoming.join("pack"), store.join("objects").join("pack"));
    fs::create_dir_all(&to).map_err(GitError::io("make directory", &to))?;
    let files = [format!("pack-{name}.pack"), format!("pack-{name}.idx")];
    if durable {
        for file in &files {
            sync(&from.join(file))?;
        }
    }
    for file in &files {
        let target = to.join(file);
        fs::rename(from.join(file), &target).map_err(GitError::io("move into place", &target))?;
    }
    if durable {
        sync(&to)?;
    }
    Ok(())
}

/// Waits until a file, or a directory's entries, are on disk.
pub(super) fn sync(path: &Path) -> Result<(), GitError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(GitError::io("sync", path))
}
