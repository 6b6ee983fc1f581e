//! The files and links of one directory in a pass: whether they are as planned, and how they are written. It removes
//! nothing and enters no directory.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use git2::{ObjectType, OdbObject};
use rustix::fs::{AtFlags, Mode, OFlags, fstat, openat, readlinkat, statat, symlinkat};

use super::{Pass, Sort};
use crate::git::error::GitError;
use crate::git::large::{LARGE_BYTES, LargeObject};
use crate::git::worktree::plan::FileRecord;
use crate::git::worktree::stamp::Stamp;

/// Size of the pieces in which a file is compared.
const COMPARED_BYTES: usize = 64 * 1024;

/// A file of more bytes is written as the commit has it, whatever its attributes are: a conversion takes all of it.
const CONVERTED_BYTES_MAX: usize = 64 << 20;

/// The longest target of a symbolic link, on all usual file systems of Linux.
const TARGET_BYTES_MAX: usize = 4_095;

impl Pass<'_> {
    /// Whether a file or link is as planned. Decides by its stamp if that is reliable, else by its content.
    pub(super) fn is_right(
        &mut self,
        at: &OwnedFd,
        name: &[u8],
        record: &mut FileRecord,
        sort: Sort,
    ) -> Result<bool, GitError> {
        if record.is_changed {
            return Ok(false);
        }
        let stat = statat(at, name, AtFlags::SYMLINK_NOFOLLOW).map_err(self.failed_at(name, "look at"))?;
        let stamp = Stamp::of(&stat);
        // An older ctime proves that the file was not touched since the hand-over, so its content need not be read.
        if record.seen == Some(stamp) && stamp.changed < self.handed_over {
            return Ok(true);
        }
        self.has_touched = true;
        let is_right = match sort {
            Sort::File => has_right_mode(&stamp, record) && self.has_right_content(at, name, record, stamp.size)?,
            Sort::Link => {
                let target = readlinkat(at, name, Vec::new()).map_err(self.failed_at(name, "read link"))?;
                self.blob(name, record)?.data() == target.as_bytes()
            }
        };
        // A wrong file is removed and written anew, which takes another stamp.
        record.seen = is_right.then_some(stamp);
        Ok(is_right)
    }

    fn has_right_content(&self, at: &OwnedFd, name: &[u8], record: &FileRecord, size: i64) -> Result<bool, GitError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let failed = |source| self.failed_io(name, "read", source);
        // A task may have removed its own read permission. Then the file is made anew.
        let open = || openat(at, name, flags, Mode::empty()).ok().map(|file| Content::of(File::from(file)));
        let has_size = |len: usize| i64::try_from(len).ok() == Some(size);
        let large = match self.find(name, record)? {
            Found::Large(_, len) if !has_size(len) => return Ok(false),
            Found::Large(large, _) => large,
            // Read before the size is compared: if the content is wrong, writing it needs the blob next.
            Found::Small(blob) => return is_content(open, has_size, blob.data()).map_err(failed),
            Found::Converted(content) => return is_content(open, has_size, &content).map_err(failed),
        };
        let Some(mut file) = open() else { return Ok(false) };
        let mut is_same = true;
        large.read(&mut |_, content| {
            is_same = is_same && file.goes_on(content).map_err(failed)?;
            Ok(())
        })?;
        Ok(is_same && file.is_at_end().map_err(failed)?)
    }

    pub(super) fn write_file(&mut self, at: &OwnedFd, name: &[u8], record: &mut FileRecord) -> Result<(), GitError> {
        self.has_touched = true;
        let content = self.find(name, record)?;
        // `EXCL` and `NOFOLLOW`: whatever a task left at this path, the bytes never go through it to another file.
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(if record.is_executable { 0o777 } else { 0o666 });
        let refused = |action, source| self.refused_by_disk(&self.path.join(OsStr::from_bytes(name)), action, source);
        let made = openat(at, name, flags, mode).map_err(|errno| refused("make", errno.into()));
        let mut file = File::from(made?);
        let mut write = |content: &[u8]| file.write_all(content).map_err(|source| refused("write", source));
        match content {
            Found::Small(blob) => write(blob.data())?,
            Found::Converted(content) => write(&content)?,
            // An error at the end leaves a wrong file. The tree is then of no commit, so it is compared next time.
            Found::Large(large, _) => large.read(&mut |_, content| write(content))?,
        }
        record.is_changed = false;
        record.seen = Some(Stamp::of(&fstat(&file).map_err(self.failed_at(name, "look at"))?));
        Ok(())
    }

    pub(super) fn write_link(&mut self, at: &OwnedFd, name: &[u8], record: &mut FileRecord) -> Result<(), GitError> {
        self.has_touched = true;
        let path = self.path.join(OsStr::from_bytes(name));
        // Asked before a blob of any size is read.
        let (size, _) = self.objects.header(self.odb, record.written())?;
        if size > TARGET_BYTES_MAX {
            let why = format!(
                "is a symbolic link to a path of {size} bytes, more than the {TARGET_BYTES_MAX} that Linux takes"
            );
            return Err(self.unfit(&path, why));
        }
        let blob = self.blob(name, record)?;
        if blob.data().is_empty() {
            return Err(self.unfit(&path, "is a symbolic link without a target"));
        }
        if blob.data().contains(&0) {
            return Err(self.unfit(&path, "is a symbolic link to a path with a NUL byte"));
        }
        let made = symlinkat(blob.data(), at, name);
        made.map_err(|errno| self.refused_by_disk(&path, "make link", errno.into()))?;
        let stat = statat(at, name, AtFlags::SYMLINK_NOFOLLOW).map_err(self.failed_at(name, "look at"))?;
        record.is_changed = false;
        record.seen = Some(Stamp::of(&stat));
        Ok(())
    }

    /// Finds the content of a file, and reads it if it is not large.
    fn find(&self, name: &[u8], record: &FileRecord) -> Result<Found<'_>, GitError> {
        let (size, kind) = self.objects.header(self.odb, record.written())?;
        if !record.conversion.is_none() && size <= CONVERTED_BYTES_MAX {
            let blob = self.blob(name, record)?;
            return Ok(Found::Converted(record.conversion.apply(blob.data(), &record.written().to_string())));
        }
        if size > LARGE_BYTES && kind == ObjectType::Blob {
            let large = LargeObject::find(self.objects.directory(), record.written(), kind, size);
            if let Some(large) = large {
                return Ok(Found::Large(large, size));
            }
        }
        Ok(Found::Small(self.blob(name, record)?))
    }

    /// The content of a file or link.
    fn blob(&self, name: &[u8], record: &FileRecord) -> Result<OdbObject<'_>, GitError> {
        let blob = self.objects.blob(self.odb, record.written());
        if let Err(GitError::WrongType { .. }) = blob {
            let path = self.path.join(OsStr::from_bytes(name));
            return Err(self.unfit(&path, "is a file by its mode, and no blob by its content"));
        }
        blob
    }
}

/// A second hard link would let the content change from elsewhere, so such a file is made anew. Permissions must be
/// those that the file was made with; if those are not known, they must at least be what git distinguishes.
fn has_right_mode(stamp: &Stamp, record: &FileRecord) -> bool {
    let is_as_made = match &record.seen {
        Some(seen) => seen.mode == stamp.mode,
        None => stamp.mode & 0o7600 == 0o600 && (stamp.mode & 0o100 != 0) == record.is_executable,
    };
    is_as_made && (record.is_executable || stamp.mode & 0o111 == 0) && stamp.links == 1
}

/// The content of a file.
enum Found<'a> {
    Small(OdbObject<'a>),
    /// As the file's attributes say.
    Converted(Vec<u8>),
    /// It is read in pieces. Its size.
    Large(LargeObject, usize),
}

/// Whether a file holds exactly this content.
fn is_content(
    open: impl FnOnce() -> Option<Content>,
    has_size: impl FnOnce(usize) -> bool,
    content: &[u8],
) -> io::Result<bool> {
    if !has_size(content.len()) {
        return Ok(false);
    }
    let Some(mut file) = open() else { return Ok(false) };
    Ok(file.goes_on(content)? && file.is_at_end()?)
}

/// A file on disk, compared piece by piece.
struct Content {
    file: File,
    buffer: Vec<u8>,
}

impl Content {
    fn of(file: File) -> Self {
        Self { file, buffer: Vec::new() }
    }

    /// Whether the file goes on with these bytes.
    fn goes_on(&mut self, content: &[u8]) -> io::Result<bool> {
        self.buffer.resize(content.len().min(COMPARED_BYTES), 0);
        for part in content.chunks(COMPARED_BYTES) {
            let buffer = &mut self.buffer[..part.len()];
            match self.file.read_exact(buffer) {
                Ok(()) if buffer == part => {}
                Ok(()) => return Ok(false),
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn is_at_end(&mut self) -> io::Result<bool> {
        self.file.read(&mut [0]).map(|count| count == 0)
    }
}
