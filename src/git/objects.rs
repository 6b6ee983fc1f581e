//! An object database on disk, opened without its repository. No configuration, refs or hooks take part, so the author
//! of those cannot influence it. Reads commits and trees. Never writes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use git2::{Config, ErrorClass, ErrorCode, ObjectFormat, ObjectType, Odb, OdbLookupFlags, OdbObject, Oid, Repository};

use super::commit_object::CommitObject;
use super::error::GitError;
use super::hash::{format_with, id_of};
use super::large::{LARGE_BYTES, LargeObject};
use crate::model::CommitId;

/// The largest commit and the largest tree that are read. A tree of this size has about a million entries.
const RECORD_BYTES_MAX: usize = 64 << 20;

/// The objects below one `objects` directory and its alternates.
pub(crate) struct Objects {
    /// Wraps the database, for operations that libgit2 offers on repositories only. Its configuration is empty.
    repository: Repository,
    directory: PathBuf,
    format: ObjectFormat,
    /// The parents of commits that were met in walks through history. An object never changes.
    parents: RefCell<HashMap<Oid, Arc<[Oid]>>>,
}

/// The kind of a tree's entry, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    Tree,
    File,
    Executable,
    Link,
    /// A submodule: a commit of another repository.
    Submodule,
}

/// One entry of a tree, borrowed from the tree's bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TreeEntry<'a> {
    pub(crate) kind: EntryKind,
    pub(crate) name: &'a [u8],
    pub(crate) id: Oid,
}

impl Objects {
    pub(crate) fn open(directory: &Path, format: ObjectFormat) -> Result<Self, GitError> {
        let refuse = |source| GitError::Open { path: directory.to_owned(), source };
        // libgit2 would take a missing directory for an empty database.
        std::fs::read_dir(directory).map_err(GitError::io("read", directory))?;
        let text = directory.to_str().ok_or_else(|| refuse(git2::Error::from_str("its path is not UTF-8")))?;
        // `read_verified` compares the hash instead, and every read in this room goes through it.
        static ONCE: Once = Once::new();
        ONCE.call_once(|| git2::opts::strict_hash_verification(false));
        let wrap = || {
            let odb = Odb::new_ext(format)?;
            odb.add_disk_alternate(text)?;
            let repository = Repository::from_odb(odb)?;
            repository.set_config(&Config::new()?)?;
            Ok(repository)
        };
        let (repository, parents) = (wrap().map_err(refuse)?, RefCell::default());
        Ok(Self { repository, directory: directory.to_owned(), format, parents })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn format(&self) -> ObjectFormat {
        self.format
    }

    pub(crate) fn odb(&self) -> Result<Odb<'_>, GitError> {
        self.repository.odb().map_err(|source| GitError::Open { path: self.directory.clone(), source })
    }

    /// Returns the commit's id in libgit2's type; an error if it belongs to the other object format.
    pub(super) fn id(&self, commit: CommitId) -> Result<Oid, GitError> {
        let refuse = || GitError::Format { commit, path: self.directory.clone() };
        if commit.as_bytes().len() != id_bytes(self.format) {
            return Err(refuse());
        }
        Oid::from_bytes(commit.as_bytes()).map_err(|_| refuse())
    }

    /// Whether the commit object is there and readable. Says nothing about its tree.
    pub(super) fn has_commit(&self, commit: CommitId) -> bool {
        self.commit(commit).is_ok()
    }

    /// Like [`Self::has_commit`], but does not look for new packs, because listing them takes longer than everything
    /// else here.
    pub(super) fn has_found_commit(&self, commit: CommitId) -> bool {
        let is_found = |id| self.odb().is_ok_and(|odb| odb.exists_ext(id, OdbLookupFlags::NO_REFRESH));
        self.id(commit).is_ok_and(is_found) && self.has_commit(commit)
    }

    /// The commit object.
    pub(crate) fn commit(&self, commit: CommitId) -> Result<CommitObject, GitError> {
        let id = self.id(commit)?;
        CommitObject::parse(id, self.read(&self.odb()?, id, ObjectType::Commit)?.data())
    }

    /// Returns the parents of a commit; `None` if the commit is not there.
    pub(super) fn find_parents(&self, id: Oid) -> Result<Option<Arc<[Oid]>>, GitError> {
        match self.parents(id) {
            Ok(parents) => Ok(Some(parents)),
            Err(GitError::Object { source, .. }) if source.code() == ErrorCode::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the parents of a commit. Remembers them.
    pub(super) fn parents(&self, id: Oid) -> Result<Arc<[Oid]>, GitError> {
        if let Some(parents) = self.parents.borrow().get(&id) {
            return Ok(Arc::clone(parents));
        }
        let parents: Arc<[Oid]> = self.commit(commit_id(id))?.parents().into();
        let mut known = self.parents.borrow_mut();
        if known.len() >= PARENTS_MAX {
            known.clear();
        }
        known.insert(id, Arc::clone(&parents));
        Ok(parents)
    }

    /// Returns the commit that an object stands for: itself, or the one that an annotated tag leads to. `None` if it
    /// leads to a tree or a blob.
    pub(super) fn peel(&self, object: CommitId) -> Result<Option<Peeled>, GitError> {
        let (odb, mut id) = (self.odb()?, self.id(object)?);
        let mut tagged_s = None;
        // A tag may tag a tag.
        for _ in 0..TAGS_MAX {
            match self.header(&odb, id)?.1 {
                ObjectType::Commit => return Ok(Some(Peeled { commit: commit_id(id), tagged_s })),
                ObjectType::Tag => {
                    let tag = self.read(&odb, id, ObjectType::Tag)?;
                    tagged_s = tagged_s.or_else(|| tagger_s(tag.data()));
                    let Some(target) = tag_target(tag.data()) else { return Ok(None) };
                    id = self.id(target)?;
                }
                ObjectType::Any | ObjectType::Tree | ObjectType::Blob => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The bytes of a tree, for [`entries`].
    pub(crate) fn tree<'odb>(&self, odb: &'odb Odb<'_>, id: Oid) -> Result<OdbObject<'odb>, GitError> {
        self.read(odb, id, ObjectType::Tree)
    }

    pub(super) fn tag<'odb>(&self, odb: &'odb Odb<'_>, id: Oid) -> Result<OdbObject<'odb>, GitError> {
        self.read(odb, id, ObjectType::Tag)
    }

    pub(crate) fn blob<'odb>(&self, odb: &'odb Odb<'_>, id: Oid) -> Result<OdbObject<'odb>, GitError> {
        self.read(odb, id, ObjectType::Blob)
    }

    /// Returns the size and the type of an object that may be too large to read.
    pub(super) fn header(&self, odb: &Odb<'_>, id: Oid) -> Result<(usize, ObjectType), GitError> {
        header_of(odb, id).map_err(|source| self.unreadable("object", id, source))
    }

    /// Reads an object that should be a blob, of any size, to find damage. An object of another type is none.
    pub(super) fn check_blob(&self, odb: &Odb<'_>, id: Oid) -> Result<(), GitError> {
        let (size, kind) = self.header(odb, id)?;
        if size > LARGE_BYTES
            && let Some(large) = LargeObject::find(&self.directory, id, kind, size)
        {
            return large.read(&mut |_, _| Ok(()));
        }
        match self.blob(odb, id) {
            Err(GitError::WrongType { .. }) => Ok(()),
            other => other.map(drop),
        }
    }

    fn wrong_type(&self, wanted: ObjectType, id: Oid) -> GitError {
        GitError::WrongType { wanted: wanted.str(), id: id.to_string(), path: self.directory.clone() }
    }

    fn read<'odb>(&self, odb: &'odb Odb<'_>, id: Oid, kind: ObjectType) -> Result<OdbObject<'odb>, GitError> {
        // Commits and trees are always read whole. A few compressed kilobytes could be gigabytes of one.
        if kind != ObjectType::Blob && self.header(odb, id)?.0 > RECORD_BYTES_MAX {
            let (id, why) = (id.to_string(), "it is larger than 64 MiB");
            let is_commit = kind == ObjectType::Commit;
            return Err(if is_commit { GitError::BrokenCommit { id, why } } else { GitError::BrokenTree { id, why } });
        }
        let object = read_verified(odb, id).map_err(|source| self.unreadable(kind.str(), id, source))?;
        if object.kind() == kind {
            return Ok(object);
        }
        Err(self.wrong_type(kind, id))
    }

    pub(super) fn unreadable(&self, kind: &'static str, id: Oid, source: git2::Error) -> GitError {
        GitError::Object { kind, id: id.to_string(), path: self.directory.clone(), source }
    }
}

/// The longest chain of tags of tags that is followed.
const TAGS_MAX: usize = 10;

/// Commits whose parents are remembered: about 150 MB.
const PARENTS_MAX: usize = 1 << 20;

/// The commit that a ref stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peeled {
    pub(super) commit: CommitId,
    /// When the annotated tag was made, in seconds since 1970.
    pub(super) tagged_s: Option<i64>,
}

/// Returns the object that a tag names in its first line.
pub(super) fn tag_target(tag: &[u8]) -> Option<CommitId> {
    let line = tag.split(|byte| *byte == b'\n').next()?;
    std::str::from_utf8(line.strip_prefix(b"object ")?).ok()?.parse().ok()
}

/// Returns the time of a tag. Old tags have none.
fn tagger_s(tag: &[u8]) -> Option<i64> {
    let header = tag.split(|byte| *byte == b'\n').take_while(|line| !line.is_empty());
    let line = header.filter_map(|line| line.strip_prefix(b"tagger ")).next()?;
    let date = &line[line.iter().rposition(|byte| *byte == b'>')? + 1..];
    std::str::from_utf8(date).ok()?.split_whitespace().next()?.parse().ok()
}

/// Returns the size and the type of an object, without reading it.
pub(super) fn header_of(odb: &Odb<'_>, id: Oid) -> Result<(usize, ObjectType), git2::Error> {
    // git2 panics if a damaged pack gives the object no type, and has no other way to learn a size.
    let header = catch_unwind(AssertUnwindSafe(|| odb.read_header(id)));
    header.unwrap_or_else(|_| Err(git2::Error::from_str("it is of no type that there is")))
}

/// Reads an object and checks that the hash of its content is its id, so that damage on disk is never taken for
/// content.
pub(super) fn read_verified<'odb>(odb: &'odb Odb<'_>, id: Oid) -> Result<OdbObject<'odb>, git2::Error> {
    let object = odb.read(id)?;
    if id_of(format_with(id.as_bytes().len()), object.kind(), object.data()) == id {
        return Ok(object);
    }
    Err(git2::Error::new(ErrorCode::HashsumMismatch, ErrorClass::Odb, "its content is not what its id says"))
}

/// Turns the error of a missing object into [`GitError::Incomplete`], which has a remedy: to send the commit again.
pub(super) fn incomplete(commit: CommitId, path: &Path) -> impl Fn(GitError) -> GitError {
    move |error| {
        if let GitError::Object { kind, id, source, .. } = &error
            && source.code() == ErrorCode::NotFound
        {
            return GitError::Incomplete { commit, path: path.to_owned(), missing: format!("{kind} {id}") };
        }
        error
    }
}

/// Converts libgit2's id into a commit's.
pub(super) fn commit_id(id: Oid) -> CommitId {
    CommitId::from_bytes(id.as_bytes()).expect("libgit2's ids have 20 or 32 bytes")
}

pub(super) fn id_bytes(format: ObjectFormat) -> usize {
    match format {
        ObjectFormat::Sha1 => 20,
        ObjectFormat::Sha256 => 32,
    }
}

pub(super) fn format_of(commit: CommitId) -> ObjectFormat {
    format_with(commit.as_bytes().len())
}

/// Returns `None` for an object of another type than its entry says: no damage, and nothing that could be read.
pub(super) fn of_its_type(object: Result<OdbObject<'_>, GitError>) -> Result<Option<OdbObject<'_>>, GitError> {
    match object {
        Err(GitError::WrongType { .. }) => Ok(None),
        object => object.map(Some),
    }
}

/// Parses the entries of a tree, in their order. Each is `<octal mode> <name>\0<id>`. Names are as the tree has them,
/// so a caller that uses one as a file name must check it.
pub(crate) fn entries(tree: Oid, data: &[u8]) -> Result<Vec<TreeEntry<'_>>, GitError> {
    let broken = |why| GitError::BrokenTree { id: tree.to_string(), why };
    let id_len = tree.as_bytes().len();
    let mut found = Vec::with_capacity(data.len() / (id_len + 16));
    let mut rest = data;
    while !rest.is_empty() {
        let space = rest.iter().position(|b| *b == b' ').ok_or_else(|| broken("an entry has no mode"))?;
        let (mode, after) = (&rest[..space], &rest[space + 1..]);
        let end = after.iter().position(|b| *b == 0).ok_or_else(|| broken("an entry has no end"))?;
        let (name, after) = (&after[..end], &after[end + 1..]);
        let id = after.get(..id_len).and_then(|raw| Oid::from_bytes(raw).ok());
        let id = id.ok_or_else(|| broken("an entry has no id"))?;
        rest = &after[id_len..];
        let kind = entry_kind(mode).ok_or_else(|| broken("an entry has a mode that is no number"))?;
        found.push(TreeEntry { kind, name, id });
    }
    Ok(found)
}

/// Reads a mode as git does: the type decides, and of the permissions only the owner's execute bit counts. git takes an
/// entry of any other type for a submodule.
fn entry_kind(mode: &[u8]) -> Option<EntryKind> {
    if mode.is_empty() {
        return None;
    }
    let mut value = 0u32;
    for digit in mode {
        // The highest digits of a long mode are shifted out, in git as well.
        value = value << 3 | u32::from(digit.checked_sub(b'0').filter(|d| *d < 8)?);
    }
    Some(match value & 0o170_000 {
        0o040_000 => EntryKind::Tree,
        0o100_000 if value & 0o100 != 0 => EntryKind::Executable,
        0o100_000 => EntryKind::File,
        0o120_000 => EntryKind::Link,
        _ => EntryKind::Submodule,
    })
}
