//! An object database on disk, opened without its repository: no configuration, refs or hooks take part, so that whoever
//! wrote those has no say. Knows how to read a commit and a tree. Never writes.

use std::cell::RefCell;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use git2::{Config, ErrorCode, ObjectFormat, ObjectType, Odb, OdbObject, Oid, Repository};

use super::GitError;
use crate::model::CommitId;

/// Objects below one `objects` directory, and its alternates.
pub(super) struct Objects {
    /// Wraps the database for what libgit2 offers on repositories only. Has an empty configuration.
    repository: Repository,
    directory: PathBuf,
    format: ObjectFormat,
}

/// What an entry of a tree is, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryKind {
    Tree,
    File,
    Executable,
    Link,
    /// A submodule: a commit of another repository.
    Submodule,
}

/// One entry of a tree, in the bytes of the tree.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) kind: EntryKind,
    pub(super) name: &'a [u8],
    pub(super) id: Oid,
}

impl Objects {
    pub(super) fn open(directory: &Path, format: ObjectFormat) -> Result<Self, GitError> {
        let refuse = |source| GitError::Open { path: directory.to_owned(), source };
        // A missing directory would pass for an empty database.
        std::fs::read_dir(directory).map_err(GitError::io("read", directory))?;
        let text = directory.to_str().ok_or_else(|| refuse(git2::Error::from_str("its path is not UTF-8")))?;
        let wrap = || {
            let odb = Odb::new_ext(format)?;
            odb.add_disk_alternate(text)?;
            let repository = Repository::from_odb(odb)?;
            repository.set_config(&Config::new()?)?;
            Ok(repository)
        };
        Ok(Self { repository: wrap().map_err(refuse)?, directory: directory.to_owned(), format })
    }

    pub(super) fn repository(&self) -> &Repository {
        &self.repository
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn format(&self) -> ObjectFormat {
        self.format
    }

    pub(super) fn odb(&self) -> Result<Odb<'_>, GitError> {
        self.repository.odb().map_err(|source| GitError::Open { path: self.directory.clone(), source })
    }

    /// The commit's id as libgit2 has it; an error if it is one of the other object format.
    pub(super) fn id(&self, commit: CommitId) -> Result<Oid, GitError> {
        let refuse = || GitError::Format { commit, path: self.directory.clone() };
        if commit.as_bytes().len() != id_bytes(self.format) {
            return Err(refuse());
        }
        Oid::from_bytes(commit.as_bytes()).map_err(|_| refuse())
    }

    /// Whether the commit object is there and readable. Says nothing of its tree.
    pub(super) fn has_commit(&self, commit: CommitId) -> bool {
        self.id(commit).is_ok_and(|id| self.repository.find_commit(id).is_ok())
    }

    /// The commit object.
    pub(super) fn commit(&self, commit: CommitId) -> Result<git2::Commit<'_>, GitError> {
        let id = self.id(commit)?;
        self.repository.find_commit(id).map_err(|source| self.unreadable("commit", id, source))
    }

    /// The bytes of a tree, for [`entries`].
    pub(super) fn tree<'odb>(&self, odb: &'odb Odb<'_>, id: Oid) -> Result<OdbObject<'odb>, GitError> {
        self.read(odb, id, ObjectType::Tree)
    }

    pub(super) fn blob<'odb>(&self, odb: &'odb Odb<'_>, id: Oid) -> Result<OdbObject<'odb>, GitError> {
        self.read(odb, id, ObjectType::Blob)
    }

    fn read<'odb>(&self, odb: &'odb Odb<'_>, id: Oid, kind: ObjectType) -> Result<OdbObject<'odb>, GitError> {
        let object = odb.read(id).map_err(|source| self.unreadable(kind.str(), id, source))?;
        if object.kind() == kind {
            return Ok(object);
        }
        Err(self.unreadable(kind.str(), id, git2::Error::from_str("it is an object of another type")))
    }

    pub(super) fn unreadable(&self, kind: &'static str, id: Oid, source: git2::Error) -> GitError {
        GitError::Object { kind, id: id.to_string(), path: self.directory.clone(), source }
    }
}

/// An object database that is opened anew when that is needed. libgit2 finds new packs by itself, but holds on to removed
/// ones, and with them to their disk space, and stumbles over one that it had listed and not opened yet.
pub(super) struct Database {
    directory: PathBuf,
    format: ObjectFormat,
    /// What changes when packs are removed.
    sign: PathBuf,
    loaded: RefCell<Loaded>,
}

struct Loaded {
    objects: Objects,
    /// The sign's inode and time of modification when the database was opened.
    seen: Option<(u64, i64, i64)>,
}

impl Database {
    pub(super) fn open(directory: &Path, format: ObjectFormat, sign: PathBuf) -> Result<Self, GitError> {
        // Looked at first: a removal in between is then noticed the next time.
        let seen = look(&sign);
        let loaded = RefCell::new(Loaded { objects: Objects::open(directory, format)?, seen });
        Ok(Self { directory: directory.to_owned(), format, sign, loaded })
    }

    pub(super) fn format(&self) -> ObjectFormat {
        self.format
    }

    /// Runs `ask` on the database; once more on a fresh one after an error. So `ask` may run twice.
    pub(super) fn with<T>(&self, mut ask: impl FnMut(&Objects) -> Result<T, GitError>) -> Result<T, GitError> {
        let seen = look(&self.sign);
        if self.loaded.borrow().seen != seen {
            self.reopen()?;
        }
        match ask(&self.loaded.borrow().objects) {
            Err(GitError::Object { .. } | GitError::Build { .. } | GitError::Incomplete { .. }) => {}
            answer => return answer,
        }
        self.reopen()?;
        ask(&self.loaded.borrow().objects)
    }

    fn reopen(&self) -> Result<(), GitError> {
        let seen = look(&self.sign);
        let objects = Objects::open(&self.directory, self.format)?;
        // In use further up the stack, by whoever asks from within an answer: the old one will do there.
        if let Ok(mut loaded) = self.loaded.try_borrow_mut() {
            *loaded = Loaded { objects, seen };
        }
        Ok(())
    }
}

fn look(sign: &Path) -> Option<(u64, i64, i64)> {
    std::fs::metadata(sign).ok().map(|meta| (meta.ino(), meta.mtime(), meta.mtime_nsec()))
}

/// Turns an object that is not there into the commit being incomplete, which has a remedy.
pub(super) fn incomplete(commit: CommitId, path: &Path) -> impl Fn(GitError) -> GitError {
    move |error| match error {
        GitError::Object { kind, id, source, .. } if source.code() == ErrorCode::NotFound => {
            GitError::Incomplete { commit, path: path.to_owned(), missing: format!("{kind} {id}") }
        }
        other => other,
    }
}

/// libgit2's id as a commit's.
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
    if commit.as_bytes().len() == 32 { ObjectFormat::Sha256 } else { ObjectFormat::Sha1 }
}

/// The entries of a tree, in their order. Each is `<octal mode> <name>\0<id>`. Names are what the tree says, so whoever
/// uses one as a file name checks it.
pub(super) fn entries(tree: Oid, data: &[u8]) -> Result<Vec<Entry<'_>>, GitError> {
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
        let kind = entry_kind(mode).ok_or_else(|| broken("an entry has a mode that is unknown"))?;
        found.push(Entry { kind, name, id });
    }
    Ok(found)
}

/// As git reads modes: the type decides, and of the permissions only the owner's execute bit.
fn entry_kind(mode: &[u8]) -> Option<EntryKind> {
    if mode.is_empty() || mode.len() > 7 {
        return None;
    }
    let mut value = 0u32;
    for digit in mode {
        value = value << 3 | u32::from(digit.checked_sub(b'0').filter(|d| *d < 8)?);
    }
    match value & 0o170_000 {
        0o040_000 => Some(EntryKind::Tree),
        0o100_000 if value & 0o100 != 0 => Some(EntryKind::Executable),
        0o100_000 => Some(EntryKind::File),
        0o120_000 => Some(EntryKind::Link),
        0o160_000 => Some(EntryKind::Submodule),
        _ => None,
    }
}
