//! Objects that are too large to be held in memory: read in pieces from where they are stored, and verified at the end.
//! libgit2 reads every object of a pack whole. So this file finds the object itself: as a loose file, or as an entry of
//! a pack that is no delta. A large object that is stored in another way is left to libgit2.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use flate2::{Decompress, FlushDecompress, Status};
use git2::{ErrorClass, ErrorCode, ObjectType, Oid};

use super::error::GitError;
use super::hash::{Hash, format_with};

/// Objects of more bytes are read in pieces. Smaller ones are quicker read whole.
pub(super) const LARGE_BYTES: usize = 4 << 20;

/// Sizes of the pieces in which a large object is read and inflated.
const COMPRESSED_BYTES: usize = 64 * 1024;
const CONTENT_BYTES: usize = 128 * 1024;

/// Directories that are searched for what others borrow from them.
const ALTERNATES_MAX: usize = 16;

/// A header of an entry holds a type and a size of 64 bits, with seven bits or less in each byte.
pub(super) const HEADER_BYTES_MAX: usize = 12;

/// The header of an index, the table of counts, and the place of the ids: version 2 of gitformat-pack(5).
const INDEX_MAGIC: &[u8] = b"\xfftOc\x00\x00\x00\x02";
const COUNTS: u64 = 8;
const IDS: u64 = COUNTS + 256 * 4;

/// Takes a piece of an object: the compressed bytes that were read, and the content that came of them.
type Take<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<(), GitError>;

/// A large object, found where it is stored.
pub(super) struct LargeObject {
    /// The objects directory.
    directory: PathBuf,
    id: Oid,
    kind: ObjectType,
    size: usize,
    /// Stands where the compressed object begins.
    file: File,
    /// Whether it is an entry of a pack, whose compressed bytes can be passed on.
    pub(super) is_packed: bool,
}

/// Why reading an object in pieces ended early.
enum Fault {
    /// Whoever takes the pieces cannot go on.
    Taker(GitError),
    /// The stored bytes are not the object.
    Damage(String),
}

impl LargeObject {
    /// Finds an object of this type and size below an objects directory, or below one that it borrows from. `None` if
    /// it can only be read whole.
    pub(super) fn find(directory: &Path, id: Oid, kind: ObjectType, size: usize) -> Option<Self> {
        let (file, is_packed) =
            with_alternates(directory).iter().find_map(|directory| open_in(directory, id, kind, size))?;
        Some(Self { directory: directory.to_owned(), id, kind, size, file, is_packed })
    }

    /// Passes the object on in pieces. An error at the end says that the pieces were not the object.
    pub(super) fn read(self, take: Take<'_>) -> Result<(), GitError> {
        let (id, kind, path) = (self.id, self.kind.str(), self.directory.clone());
        self.inflate(take).map_err(|fault| match fault {
            Fault::Taker(error) => error,
            Fault::Damage(why) => {
                let source = git2::Error::new(ErrorCode::HashsumMismatch, ErrorClass::Odb, why);
                GitError::Object { kind, id: id.to_string(), path, source }
            }
        })
    }

    fn inflate(mut self, take: Take<'_>) -> Result<(), Fault> {
        let header = format!("{} {}\0", self.kind.str(), self.size).into_bytes();
        let mut hash = Hash::new(format_with(self.id.as_bytes().len()));
        // A loose file begins with this header, which is hashed with the content.
        let mut expected = if self.is_packed { &[][..] } else { &header[..] };
        if self.is_packed {
            hash.update(&header);
        }
        let mut left = self.size;
        let (mut input, mut output) = (vec![0; COMPRESSED_BYTES], vec![0; CONTENT_BYTES]);
        let (mut at, mut end) = (0, 0);
        let mut stream = Decompress::new(true);
        loop {
            if at == end {
                end = self.file.read(&mut input).map_err(|error| Fault::Damage(error.to_string()))?;
                at = 0;
            }
            let (read, made) = (stream.total_in(), stream.total_out());
            let status = stream.decompress(&input[at..end], &mut output, FlushDecompress::None);
            let status = status.map_err(|error| Fault::Damage(error.to_string()))?;
            let (read, made) = ((stream.total_in() - read) as usize, (stream.total_out() - made) as usize);
            let (compressed, mut content) = (&input[at..at + read], &output[..made]);
            at += read;
            hash.update(content);
            let of_header = expected.len().min(content.len());
            if expected[..of_header] != content[..of_header] {
                return Err(Fault::Damage("it does not begin as its index says".to_owned()));
            }
            (expected, content) = (&expected[of_header..], &content[of_header..]);
            // More content than announced could fill a disk before the hash shows that it is wrong.
            left = left.checked_sub(content.len()).ok_or_else(|| Fault::Damage("it is too long".to_owned()))?;
            take(compressed, content).map_err(Fault::Taker)?;
            if matches!(status, Status::StreamEnd) {
                break;
            }
            if read == 0 && made == 0 {
                return Err(Fault::Damage("it ends too early".to_owned()));
            }
        }
        if left == 0 && hash.finish() == self.id {
            return Ok(());
        }
        Err(Fault::Damage("its content is not what its id says".to_owned()))
    }
}

/// Returns an objects directory and those that it borrows from (gitrepository-layout(5), `info/alternates`).
fn with_alternates(directory: &Path) -> Vec<PathBuf> {
    let mut found = vec![directory.to_owned()];
    let mut next = 0;
    while let Some(directory) = found.get(next).filter(|_| next < ALTERNATES_MAX).cloned() {
        next += 1;
        let text = fs::read(directory.join("info").join("alternates")).unwrap_or_default();
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && !line.starts_with(b"#"));
        found.extend(lines.map(|line| directory.join(OsStr::from_bytes(line))));
    }
    found
}

/// Opens an object in one objects directory, where its compressed bytes begin. Also returns whether it is in a pack.
fn open_in(directory: &Path, id: Oid, kind: ObjectType, size: usize) -> Option<(File, bool)> {
    let hex = id.to_string();
    if let Ok(file) = File::open(directory.join(&hex[..2]).join(&hex[2..])) {
        return Some((file, false));
    }
    let indexes = fs::read_dir(directory.join("pack")).ok()?.flatten().map(|entry| entry.path());
    indexes.filter(|path| path.extension().is_some_and(|ending| ending == "idx")).find_map(|index| {
        let offset = offset_in(&index, id.as_bytes())?;
        let mut pack = File::open(index.with_extension("pack")).ok()?;
        let start = start_of_content(&pack, offset, kind, size)?;
        pack.seek(SeekFrom::Start(start)).ok()?;
        Some((pack, true))
    })
}

/// Returns the offset of an object in the pack of this index. Reads only the parts of the index that a search needs.
fn offset_in(index: &Path, id: &[u8]) -> Option<u64> {
    let file = File::open(index).ok()?;
    let mut magic = [0; INDEX_MAGIC.len()];
    file.read_exact_at(&mut magic, 0).ok()?;
    if magic != INDEX_MAGIC {
        return None;
    }
    let number = |at: u64| {
        let mut raw = [0; 4];
        file.read_exact_at(&mut raw, at).ok().map(|()| u64::from(u32::from_be_bytes(raw)))
    };
    let first = u64::from(*id.first()?);
    let mut low = if first == 0 { 0 } else { number(COUNTS + (first - 1) * 4)? };
    let (mut high, count) = (number(COUNTS + first * 4)?, number(COUNTS + 255 * 4)?);
    let id_bytes = id.len() as u64;
    let mut found = vec![0; id.len()];
    while low < high {
        let middle = low + (high - low) / 2;
        file.read_exact_at(&mut found, IDS + middle * id_bytes).ok()?;
        match found.as_slice().cmp(id) {
            Ordering::Less => low = middle + 1,
            Ordering::Greater => high = middle,
            Ordering::Equal => {
                let short = number(IDS + count * (id_bytes + 4) + middle * 4)?;
                if short >> 31 == 0 {
                    return Some(short);
                }
                // With the highest bit set, it is a position in the table of offsets of eight bytes.
                let place = IDS + count * (id_bytes + 8) + (short & !(1 << 31)) * 8;
                return Some(number(place)? << 32 | number(place + 4)?);
            }
        }
    }
    None
}

/// Returns where the compressed content of an entry begins; `None` if it is a delta or not of this type and size.
fn start_of_content(pack: &File, offset: u64, kind: ObjectType, size: usize) -> Option<u64> {
    let mut header = [0; HEADER_BYTES_MAX];
    // A large entry does not end within its header.
    pack.read_exact_at(&mut header, offset).ok()?;
    let (found, found_size, len) = entry_header(&header)?;
    (found == Some(kind) && found_size == size as u64).then_some(offset + len as u64)
}

/// Reads the header of an entry: its type (`None` for a delta), its size, and the header's own length. The first byte
/// holds the type and four bits of the size, each further byte seven bits. The highest bit says that another one
/// follows.
pub(super) fn entry_header(bytes: &[u8]) -> Option<(Option<ObjectType>, u64, usize)> {
    let first = *bytes.first()?;
    let kind = match first >> 4 & 7 {
        1 => Some(ObjectType::Commit),
        2 => Some(ObjectType::Tree),
        3 => Some(ObjectType::Blob),
        4 => Some(ObjectType::Tag),
        _ => None,
    };
    let (mut size, mut shift, mut byte, mut len) = (u64::from(first & 15), 4, first, 1);
    while byte & 0x80 != 0 {
        byte = *bytes.get(len)?;
        size |= u64::from(byte & 0x7f).checked_shl(shift)?;
        (shift, len) = (shift + 7, len + 1);
    }
    Some((kind, size, len))
}
