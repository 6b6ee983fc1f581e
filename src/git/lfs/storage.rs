//! Directories with LFS objects, as git-lfs keeps them: `objects/aa/bb/OID`. An object counts only if size and hash are
//! those of its pointer.

use std::collections::HashSet;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use git2::{ObjectFormat, ObjectType, Oid};
use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use crate::git::error::GitError;
use crate::git::hash::Hash;
use crate::git::pointer::{LfsId, Pointer};

/// Size of the pieces in which an object is read.
const PIECE_BYTES: usize = 128 * 1024;

/// The size of fetched objects beyond which the oldest are removed.
const FETCHED_BYTES_MAX: u64 = 32 << 30;

/// A file whose content is the content of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::git) struct FileContent {
    /// The id that the content has as a blob.
    pub(in crate::git) id: Oid,
    pub(in crate::git) size: usize,
    pub(in crate::git) path: PathBuf,
}

/// Metadata that shows whether a file is still the one that was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    path: PathBuf,
    numbers: [i64; 5],
    size: u64,
}

/// Why an object is of no use.
pub(super) enum Fault {
    Absent,
    /// Something is there that is not the object: a part of a sentence.
    Wrong(String),
}

impl Stamp {
    fn of(path: &Path, meta: &Metadata) -> Self {
        let numbers = [meta.ino().cast_signed(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
        Self { path: path.to_owned(), numbers, size: meta.len() }
    }
}

/// Returns the path of an object in a storage.
pub(super) fn path_in(storage: &Path, oid: LfsId) -> PathBuf {
    let name = oid.to_string();
    storage.join("objects").join(&name[..2]).join(&name[2..4]).join(name)
}

/// Opens an object whose size is right. A link in its place is not followed.
pub(super) fn open(path: &Path, pointer: Pointer) -> Result<(File, Stamp), Fault> {
    let file = open_regular(path).map_err(|error| {
        let is_absent = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
        if is_absent { Fault::Absent } else { Fault::Wrong(format!("cannot be read: {error}")) }
    })?;
    let meta = file.metadata().map_err(|error| Fault::Wrong(format!("cannot be read: {error}")))?;
    if meta.len() != pointer.size {
        return Err(Fault::Wrong(format!("has {} bytes", meta.len())));
    }
    let stamp = Stamp::of(path, &meta);
    Ok((file, stamp))
}

/// Verifies an object that was opened, and returns the id that it has as a blob.
pub(super) fn verify(file: impl Read, pointer: Pointer, format: ObjectFormat) -> Result<Oid, Fault> {
    let mut sha256 = Sha256::new();
    let mut hash = blob_hash(format, pointer.size);
    let read = read_pieces(file, pointer.size, &mut |piece| {
        sha256.update(piece);
        hash.update(piece);
        Ok(())
    });
    match read {
        Ok(()) if sha256.finalize()[..] == pointer.oid.0 => Ok(hash.finish()),
        Ok(()) => Err(Fault::Wrong("has another content than its name says".to_owned())),
        Err(error) => Err(Fault::Wrong(format!("cannot be read: {error}"))),
    }
}

/// Removes fetched objects if there is too much of them, the oldest first, but none of these.
pub(super) fn trim(storage: &Path, needed: &HashSet<LfsId>) {
    trim_to(storage, needed, FETCHED_BYTES_MAX);
}

fn trim_to(storage: &Path, needed: &HashSet<LfsId>, limit: u64) {
    let list = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let files = list(&storage.join("objects")).flat_map(|path| list(&path)).flat_map(|path| list(&path));
    let mut found: Vec<_> = files
        .filter_map(|path| fs::symlink_metadata(&path).ok().map(|meta| (meta.mtime(), meta.len(), path)))
        .collect();
    let mut bytes: u64 = found.iter().map(|(_, size, _)| size).sum();
    found.sort();
    let needed: HashSet<PathBuf> = needed.iter().map(|oid| path_in(storage, *oid)).collect();
    for (_, size, path) in found {
        if bytes <= limit {
            break;
        }
        // An object that cannot be removed only takes room.
        if !needed.contains(&path) && fs::remove_file(&path).is_ok() {
            bytes -= size;
        }
    }
}

impl FileContent {
    /// Reads the content in pieces. An error at the end says that the pieces were not the blob.
    pub(in crate::git) fn read(
        &self,
        format: ObjectFormat,
        take: &mut dyn FnMut(&[u8]) -> Result<(), GitError>,
    ) -> Result<(), GitError> {
        let failed = |source| GitError::Io { action: "read", path: self.path.clone(), source };
        let mut hash = blob_hash(format, self.size as u64);
        let mut stopped = None;
        let file = open_regular(&self.path).map_err(failed)?;
        let read = read_pieces(file, self.size as u64, &mut |piece| {
            hash.update(piece);
            take(piece).map_err(|error| {
                stopped = Some(error);
                io::Error::from(ErrorKind::Interrupted)
            })
        });
        if let Some(error) = stopped {
            return Err(error);
        }
        read.map_err(failed)?;
        if hash.finish() == self.id {
            return Ok(());
        }
        Err(failed(io::Error::other("it has changed since it was verified")))
    }
}

fn blob_hash(format: ObjectFormat, size: u64) -> Hash {
    let mut hash = Hash::new(format);
    hash.update(format!("{} {size}\0", ObjectType::Blob.str()).as_bytes());
    hash
}

fn open_regular(path: &Path) -> io::Result<File> {
    // A FIFO would otherwise wait for a writer.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no regular file")) }
}

/// Reads exactly as many bytes as the file should have, in pieces of at most [`PIECE_BYTES`].
fn read_pieces(mut file: impl Read, size: u64, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut left = size;
    loop {
        let count = file.read(&mut piece)?;
        left = left.checked_sub(count as u64).ok_or_else(|| io::Error::other("it has grown"))?;
        if count == 0 {
            return if left == 0 { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) };
        }
        take(&piece[..count])?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An object that exists nowhere as a whole: these bytes again and again.
    struct Endless {
        left: u64,
        /// The most bytes that were asked for at once.
        most: usize,
    }

    impl Read for &mut Endless {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.most = self.most.max(into.len());
            // Pieces of odd lengths, as a file on a network may give them.
            let count = into.len().min(99_991).min(usize::try_from(self.left).unwrap());
            into[..count].fill(b'x');
            self.left -= count as u64;
            Ok(count)
        }
    }

    /// Sabotage tried: the file is read to its end before it is hashed.
    #[test]
    fn an_object_of_any_size_is_verified_in_small_pieces() {
        let size = 64 << 20;
        let mut sha256 = Sha256::new();
        let mut id = blob_hash(ObjectFormat::Sha1, size);
        let mebibyte = vec![b'x'; 1 << 20];
        for _ in 0..64 {
            sha256.update(&mebibyte);
            id.update(&mebibyte);
        }
        let id = id.finish();
        let pointer = Pointer { oid: LfsId(sha256.finalize().into()), size };
        let verified = |size: u64| {
            let mut object = Endless { left: size, most: 0 };
            let verified = verify(&mut object, pointer, ObjectFormat::Sha1);
            assert!(object.most <= PIECE_BYTES, "{} bytes at once", object.most);
            verified.ok()
        };
        assert_eq!(verified(size), Some(id));
        assert_eq!([verified(size - 1), verified(size + 1)], [None, None]);
    }

    #[test]
    fn the_oldest_fetched_objects_go_first_and_never_those_of_the_commit() {
        let storage = tempfile::tempdir().unwrap();
        let ids: Vec<LfsId> = (0..4).map(|at| LfsId([at; 32])).collect();
        for (at, id) in ids.iter().enumerate() {
            let path = path_in(storage.path(), *id);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, [0; 100]).unwrap();
            let times =
                fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(at as u64));
            File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
        }
        let left = || ids.iter().map(|id| path_in(storage.path(), *id).exists()).collect::<Vec<_>>();
        trim_to(storage.path(), &HashSet::new(), 400);
        assert_eq!(left(), [true; 4]);
        trim_to(storage.path(), &[ids[0]].into(), 250);
        assert_eq!(left(), [true, false, false, true]);
    }
}
