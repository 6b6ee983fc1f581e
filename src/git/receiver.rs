//! A pack on its way into a store. It is indexed in a directory of its own below the store's `objects`, where no reader
//! looks. It is moved among the packs only when it is proven: all hashes are right, and nothing that it names is
//! missing. If a receiver ends before that, it leaves at most such a directory, which the next [`recover`] removes.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use git2::{Indexer, ObjectFormat, ObjectType, OdbLookupFlags, Oid};

use super::commit_object::CommitObject;
use super::database::Database;
use super::deltas::{self, DELTA_BYTES_MAX};
use super::error::GitError;
use super::incoming::{IncomingDirectory, NOTED_BYTES_MAX, abandoned, files_of, sync};
use super::objects::{EntryKind, Objects, commit_id, entries, id_bytes, incomplete};
use super::small_pack::SmallPack;
use super::stored::{Stored, StoredPack};
use crate::model::CommitId;
use crate::threads;

/// Number of idle directories that are kept for the next receiver. More exist only while more packs arrive at once.
const SPARE_MAX: usize = 4;

/// `PACK`, a version, and the number of objects.
const HEADER_BYTES: usize = 12;

/// The most objects that a pack may announce: libgit2 allocates memory for all of them when it has read the number. A
/// pack brings trees without their history, and the largest known trees have some hundred thousand files.
const OBJECTS_MAX: u32 = 1 << 24;

/// The most bytes of an entry of a pack. libgit2 counts those of an entry in 32 bits at one place. For a longer entry
/// it maps the pack again and again, until the process may map nothing any more.
const ENTRY_BYTES_MAX: u64 = u32::MAX as u64;

/// From this many objects on, reading the indexes of the store's packs is faster than asking libgit2 for each object.
const NAMED_FOR_INDEXES: usize = 200;

/// A pack on its way into a store. If dropped before [`Receiver::finish`], it leaves nothing behind.
pub struct Receiver {
    landing: Arc<Landing>,
    /// Declared before the directory that its file is in, so that it is dropped first.
    pack: Pack,
    incoming: IncomingDirectory,
    /// The beginning of the pack, until it has told the number of objects.
    header: Vec<u8>,
    entry_bytes_max: u64,
}

/// The bytes of a pack that have arrived.
enum Pack {
    /// All of it, if it is small.
    Small(Vec<u8>),
    Large(Indexing),
}

/// A pack that is being indexed by libgit2.
struct Indexing {
    indexer: Indexer<'static>,
    /// Whether a delta has arrived. The packs of our own observers and dispatchers have none.
    has_deltas: Arc<AtomicBool>,
    /// The number of objects whose entries have arrived.
    objects: Arc<AtomicUsize>,
    /// The bytes that have arrived of the next entry, and maybe a part of a piece before it.
    entry_bytes: u64,
    entry_bytes_max: u64,
    store: PathBuf,
}

/// The place in a store where packs arrive.
pub(super) struct Landing {
    pub(super) store: PathBuf,
    pub(super) database: Database,
    /// Making and removing a directory takes longer than everything else about a small pack, so the last few are kept.
    /// Their notes may be all that makes some packs of the store durable.
    spare: Mutex<Vec<IncomingDirectory>>,
}

impl Landing {
    pub(super) fn new(store: &Path, database: Database) -> Self {
        Self { store: store.to_owned(), database, spare: Mutex::default() }
    }

    fn take(&self) -> Result<IncomingDirectory, GitError> {
        let spare = threads::lock(&self.spare).pop();
        // Somebody may have removed the directory meanwhile.
        match spare.filter(|spare| spare.packs().is_dir()) {
            Some(spare) => Ok(spare),
            None => IncomingDirectory::new(&self.store.join("objects")),
        }
    }

    /// Keeps a directory for the next receiver. It must hold no pack any more.
    fn put_back(&self, incoming: IncomingDirectory) {
        let mut spare = threads::lock(&self.spare);
        if spare.len() < SPARE_MAX {
            spare.push(incoming);
        } else {
            // Released first: dropping the directory may sync files.
            drop(spare);
            drop(incoming);
        }
    }

    /// Syncs the files of packs that only notes make durable.
    pub(super) fn sync_noted(&self) -> Result<(), GitError> {
        let mut spare = std::mem::take(&mut *threads::lock(&self.spare));
        let synced = spare.iter_mut().try_for_each(IncomingDirectory::sync_noted);
        spare.into_iter().for_each(|incoming| self.put_back(incoming));
        synced
    }
}

impl Landing {
    /// Syncs all packs of the store. Those that were synced before cost next to nothing.
    pub(super) fn sync_packs(&self) -> Result<(), GitError> {
        let packs = self.store.join("objects").join("pack");
        for entry in fs::read_dir(&packs).map_err(GitError::io("read", &packs))? {
            let path = entry.map_err(GitError::io("read", &packs))?.path();
            match sync(&path) {
                // It was merged into another one meanwhile, which is durable.
                Err(GitError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {}
                other => other?,
            }
        }
        sync(&packs)
    }
}

/// Receives the packs that ended processes had noted and not synced, and removes the directories that those left.
pub(super) fn recover(landing: &Arc<Landing>) -> Result<(), GitError> {
    for left in abandoned(&landing.store.join("objects"))? {
        for pack in left.noted()? {
            let mut receiver = Receiver::new(Arc::clone(landing))?;
            match receiver.write(&pack).and_then(|()| receiver.publish_unchecked()) {
                Ok(name) => log::debug!("pack {name} of {} was received again", landing.store.display()),
                // The pack was proven before it was noted, so a broken note is damage that another attempt cannot mend.
                Err(error @ GitError::BrokenPack { .. }) => {
                    log::error!("the pack noted in {} is lost: {error}", left.path().display());
                }
                Err(error) => return Err(error),
            }
        }
        left.remove()?;
    }
    Ok(())
}

impl Receiver {
    pub(super) fn new(landing: Arc<Landing>) -> Result<Self, GitError> {
        let incoming = landing.take()?;
        let (pack, header) = (Pack::Small(Vec::new()), Vec::new());
        Ok(Self { landing, pack, incoming, header, entry_bytes_max: ENTRY_BYTES_MAX })
    }

    /// Refuses shorter entries, too.
    #[cfg(test)]
    pub(super) fn limit_entries(&mut self, bytes: u64) {
        self.entry_bytes_max = bytes;
    }

    pub fn write(&mut self, piece: &[u8]) -> Result<(), GitError> {
        let wanted = HEADER_BYTES - self.header.len();
        self.header.extend_from_slice(&piece[..wanted.min(piece.len())]);
        if self.announced().is_some_and(|count| count > OBJECTS_MAX) {
            let source = git2::Error::from_str("it announces more objects than any pack has");
            return Err(GitError::BrokenPack { path: self.landing.store.clone(), source });
        }
        match &mut self.pack {
            Pack::Small(pack) if pack.len() + piece.len() <= NOTED_BYTES_MAX => {
                pack.extend_from_slice(piece);
                Ok(())
            }
            Pack::Small(pack) => {
                let mut indexing = Indexing::begin(&self.landing, &self.incoming, self.entry_bytes_max)?;
                indexing.write(pack)?;
                indexing.write(piece)?;
                self.pack = Pack::Large(indexing);
                Ok(())
            }
            Pack::Large(indexing) => indexing.write(piece),
        }
    }

    /// Returns the announced number of objects, when that part of the pack has arrived.
    fn announced(&self) -> Option<u32> {
        self.header.get(8..HEADER_BYTES).and_then(|raw| raw.try_into().ok()).map(u32::from_be_bytes)
    }

    /// Verifies the pack, makes it durable if `durable` says so, and then checks that `commit` is there with its whole
    /// tree. A commit that is incomplete afterwards is an error variant of its own, so that the caller can ask for all
    /// of it. A small pack is only noted, and its files are not synced: call
    /// [`PackStore::sync_noted`](super::PackStore::sync_noted) when there is time.
    pub fn finish(self, commit: CommitId, durable: bool) -> Result<(), GitError> {
        let is_empty = self.announced() == Some(0);
        let landing = Arc::clone(&self.landing);
        let missing = incomplete(commit, &landing.store);
        let Indexed { mut incoming, name, small, read } = self.index()?;
        if !is_empty {
            let named = match &read {
                Some(pack) => named_by(pack),
                None => named_by_pack(&incoming, &name, landing.database.format()),
            };
            let named = named.map_err(&missing)?;
            landing.database.with(|objects| check_is_whole(&named, objects, commit)).map_err(&missing)?;
            let is_noted = match small.filter(|_| durable) {
                Some(pack) => incoming.note(name.clone(), &pack)?,
                None => false,
            };
            publish(&incoming.packs(), &landing.store, &name, durable && !is_noted)?;
            landing.put_back(incoming);
        }
        // Every pack is checked to be whole, so a commit that exists is complete.
        landing.database.with(|objects| objects.commit(commit).map(drop)).map_err(missing)
    }

    /// Makes the pack part of the store, durably, without checking what it names. Only for objects that the store
    /// already has.
    pub(super) fn publish_unchecked(self) -> Result<String, GitError> {
        let landing = Arc::clone(&self.landing);
        let Indexed { incoming, name, .. } = self.index()?;
        publish(&incoming.packs(), &landing.store, &name, true)?;
        Ok(name)
    }

    /// Verifies and indexes the pack.
    fn index(self) -> Result<Indexed, GitError> {
        let announced = self.announced().unwrap_or(0);
        let Self { landing, pack, incoming, entry_bytes_max, .. } = self;
        let (indexing, small) = match pack {
            Pack::Large(indexing) => (indexing, None),
            Pack::Small(bytes) => match SmallPack::read(&bytes, landing.database.format()) {
                Some(pack) => {
                    let name = pack.name.to_string();
                    let files = files_of(&name).into_iter().zip([&bytes, &pack.index]);
                    files.into_iter().try_for_each(|(file, content)| make(&incoming.packs().join(file), content))?;
                    return Ok(Indexed { incoming, name, small: Some(bytes), read: Some(pack) });
                }
                None => {
                    let mut indexing = Indexing::begin(&landing, &incoming, entry_bytes_max)?;
                    indexing.write(&bytes)?;
                    (indexing, Some(bytes))
                }
            },
        };
        let name = indexing.finish(&incoming, announced, landing.database.format())?;
        Ok(Indexed { incoming, name, small, read: None })
    }
}

/// A pack that is indexed, in its directory.
struct Indexed {
    incoming: IncomingDirectory,
    name: String,
    /// The bytes of a small pack.
    small: Option<Vec<u8>>,
    /// Its objects, if libgit2 was not needed.
    read: Option<SmallPack>,
}

impl Indexing {
    fn begin(landing: &Landing, incoming: &IncomingDirectory, entry_bytes_max: u64) -> Result<Self, GitError> {
        let store = landing.store.clone();
        let mut indexer = Indexer::new_ext(None, &incoming.packs(), 0o444, false, landing.database.format())
            .map_err(|source| GitError::BrokenPack { path: store.clone(), source })?;
        let (has_deltas, objects) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (seen, arrived) = (Arc::clone(&has_deltas), Arc::clone(&objects));
        indexer.progress(move |progress| {
            arrived.store(progress.received_objects(), Ordering::Relaxed);
            // Until the pack is committed, only whole objects count as indexed.
            seen.store(progress.received_objects() > progress.indexed_objects(), Ordering::Relaxed);
            true
        });
        Ok(Self { indexer, has_deltas, objects, entry_bytes: 0, entry_bytes_max, store })
    }

    fn write(&mut self, piece: &[u8]) -> Result<(), GitError> {
        if piece.is_empty() {
            return Ok(());
        }
        let arrived = self.entry_bytes + piece.len() as u64;
        if arrived > self.entry_bytes_max {
            let source = git2::Error::from_str("an object in it has more than 4 GiB in compressed form");
            return Err(GitError::BrokenPack { path: self.store.clone(), source });
        }
        let before = self.objects.load(Ordering::Relaxed);
        // The indexer wraps libgit2's error, and that one is the cause to show.
        self.indexer.write_all(piece).map_err(|error| {
            let shown = git2::Error::from_str(&error.to_string());
            let source = error.into_inner().and_then(|inner| inner.downcast().ok()).map_or(shown, |boxed| *boxed);
            GitError::BrokenPack { path: self.store.clone(), source }
        })?;
        // The next entry begins somewhere in a piece that ended another one.
        let is_next = self.objects.load(Ordering::Relaxed) != before;
        self.entry_bytes = if is_next { piece.len() as u64 } else { arrived };
        Ok(())
    }

    /// Returns the name of the pack. `announced` is the number of its objects.
    fn finish(self, incoming: &IncomingDirectory, announced: u32, format: ObjectFormat) -> Result<String, GitError> {
        self.check_deltas(&incoming.packs(), announced, format)?;
        self.indexer.commit().map_err(|source| GitError::BrokenPack { path: self.store, source })
    }

    /// Refuses a pack with a delta of which an object comes that is too large to be held in memory.
    fn check_deltas(&self, packs: &Path, announced: u32, format: ObjectFormat) -> Result<(), GitError> {
        // Going through a pack takes as long as indexing it.
        if !self.has_deltas.load(Ordering::Relaxed) {
            return Ok(());
        }
        let files = fs::read_dir(packs).map_err(GitError::io("read", packs))?;
        let refuse = |text: String| {
            let source = git2::Error::from_str(&text);
            GitError::BrokenPack { path: self.store.clone(), source }
        };
        // The only file there is the pack, which libgit2 has not renamed yet.
        for file in files.flatten() {
            let largest = deltas::largest(&file.path(), announced, id_bytes(format));
            let largest = largest.map_err(|error| refuse(format!("an entry of it cannot be read: {error}")))?;
            if largest > DELTA_BYTES_MAX {
                let text =
                    format!("an object of {largest} bytes in it is a delta: beyond 512 MiB it must be sent whole");
                return Err(refuse(text));
            }
        }
        Ok(())
    }
}

/// Makes a file that nobody may change.
fn make(path: &Path, content: &[u8]) -> Result<(), GitError> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o444).open(path);
    made.and_then(|mut file| file.write_all(content)).map_err(GitError::io("write", path))
}

/// The objects that the commits and trees of a pack name and that are not in it, with their kinds.
type Named = BTreeMap<Oid, &'static str>;

/// Returns what an indexed pack names.
fn named_by_pack(incoming: &IncomingDirectory, name: &str, format: ObjectFormat) -> Result<Named, GitError> {
    let index = incoming.packs().join(format!("pack-{name}.idx"));
    // Not with libgit2, which lists the ids of SHA-256 packs wrongly.
    let pack = StoredPack::open(&index, format)?;
    if !pack.has_known_types_only() {
        let source = git2::Error::from_str("an object in it is of no type that there is");
        return Err(GitError::BrokenPack { path: incoming.path().to_owned(), source });
    }
    let ids: HashSet<Oid> = pack.ids().filter_map(|raw| Oid::from_bytes(raw).ok()).collect();
    let objects = Objects::open(incoming.path(), format)?;
    let (odb, mut named) = (objects.odb()?, Named::new());
    for id in &ids {
        let (_, kind) = odb.read_header(*id).map_err(|source| objects.unreadable("object", *id, source))?;
        if kind == ObjectType::Commit {
            let tree = objects.commit(commit_id(*id))?.tree_id();
            add(&mut named, |id| ids.contains(id), [(tree, "tree")]);
        } else if kind == ObjectType::Tree {
            let data = objects.tree(&odb, *id)?;
            add(&mut named, |id| ids.contains(id), named_by_tree(*id, data.data())?);
        }
    }
    Ok(named)
}

/// Returns what a small pack names.
fn named_by(pack: &SmallPack) -> Result<Named, GitError> {
    let mut named = Named::new();
    let is_in = |id: &Oid| pack.objects.contains_key(id);
    for (id, object) in &pack.objects {
        match object.kind {
            ObjectType::Commit => {
                let tree = CommitObject::parse(*id, &object.content)?.tree_id();
                add(&mut named, is_in, [(tree, "tree")]);
            }
            ObjectType::Tree => add(&mut named, is_in, named_by_tree(*id, &object.content)?),
            ObjectType::Any | ObjectType::Blob | ObjectType::Tag => {}
        }
    }
    Ok(named)
}

fn named_by_tree(id: Oid, data: &[u8]) -> Result<Vec<(Oid, &'static str)>, GitError> {
    let entries = entries(id, data)?.into_iter();
    let named = entries.filter_map(|entry| match entry.kind {
        EntryKind::Tree => Some((entry.id, "tree")),
        EntryKind::File | EntryKind::Executable | EntryKind::Link => Some((entry.id, "blob")),
        // A submodule's commit is in another repository.
        EntryKind::Submodule => None,
    });
    Ok(named.collect())
}

fn add(named: &mut Named, is_in: impl Fn(&Oid) -> bool, found: impl IntoIterator<Item = (Oid, &'static str)>) {
    named.extend(found.into_iter().filter(|(id, _)| !is_in(id)));
}

/// Checks that everything that is named and has not arrived was in the store.
fn check_is_whole(named: &Named, store: &Objects, commit: CommitId) -> Result<(), GitError> {
    let packs = store.directory().join("pack");
    // libgit2 formats an error message for each pack in which it does not find an object.
    let stored = (named.len() >= NAMED_FOR_INDEXES).then(|| Stored::open(&packs, store.format(), named.len()));
    let stored = stored.transpose()?;
    let of_store = store.odb()?;
    let is_there =
        |id| stored.as_ref().is_some_and(|stored| stored.has(id)) || of_store.exists_ext(id, OdbLookupFlags::empty());
    match named.iter().find(|(id, _)| !is_there(**id)) {
        None => Ok(()),
        Some((id, kind)) => {
            let missing = format!("{kind} {id}");
            Err(GitError::Incomplete { commit, path: store.directory().to_owned(), missing })
        }
    }
}

/// Moves a proven pack among the store's packs: first the pack, then the index, by which readers find it.
fn publish(from: &Path, store: &Path, name: &str, durable: bool) -> Result<(), GitError> {
    let to = store.join("objects").join("pack");
    let files = files_of(name);
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
