//! Packs, read without libgit2: as lists of the objects they hold, and as sources of entries that are already
//! compressed. Entries that are whole objects are copied byte by byte, and so are deltas if their base is copied as
//! well; other deltas are left to libgit2.

use std::cmp::{Ordering, Reverse};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::OnceLock;

use git2::{ObjectFormat, ObjectType, Oid};

use super::deltas::{BY_ID, BY_OFFSET, DELTA_BYTES_MAX, result_bytes};
use super::error::GitError;
use super::large::{HEADER_BYTES_MAX, LARGE_BYTES, entry_header};
use super::objects::id_bytes;

/// The packs of a directory, those with the most objects first.
pub(super) struct Stored {
    pub packs: Vec<StoredPack>,
}

/// A pack and its index.
pub(super) struct StoredPack {
    index: PackIndex,
    pack: File,
    /// The sorted offsets of all entries, with their places in the index. An entry's length is known only by the offset
    /// of the next one. Computed when it is first needed.
    starts: OnceLock<Vec<(u32, usize)>>,
    /// Offset at which the last entry ends. `None` for a pack beyond 2 GiB, whose offsets have another form; nothing is
    /// copied from it.
    end: Option<u32>,
}

/// An index, version 2 of gitformat-pack(5): a header, 256 counts, the sorted ids, then for each object a CRC-32 of its
/// entry, then for each object the offset of its entry.
struct PackIndex {
    bytes: Vec<u8>,
    count: usize,
    id_bytes: usize,
}

const COUNTS: usize = 8;
const IDS: usize = COUNTS + 256 * 4;

/// Reading an index takes longer than it saves if the index lists more than this many objects for each wanted one.
const LISTED_FOR_EACH_WANTED: u64 = 200;

impl Stored {
    /// Opens the packs of a directory that are worth searching for `wanted` objects.
    pub(super) fn open(directory: &Path, format: ObjectFormat, wanted: usize) -> Result<Self, GitError> {
        let worth = wanted as u64 * LISTED_FOR_EACH_WANTED * (id_bytes(format) as u64 + 8);
        let mut packs = Vec::new();
        for entry in fs::read_dir(directory).map_err(GitError::io("read", directory))? {
            let path = entry.map_err(GitError::io("read", directory))?.path();
            // A pack that is being removed or is broken is skipped.
            if path.extension().is_some_and(|ending| ending == "idx")
                && fs::metadata(&path).is_ok_and(|meta| meta.len() <= worth)
            {
                packs.extend(StoredPack::open(&path, format).ok());
            }
        }
        // The largest pack holds most of the objects, so most searches end at the first pack.
        packs.sort_by_key(|pack| Reverse(pack.index.count));
        Ok(Self { packs })
    }

    /// Whether one of these packs has the object.
    pub(super) fn has(&self, id: Oid) -> bool {
        self.packs.iter().any(|pack| pack.index.find(id.as_bytes()).is_some())
    }

    /// Appends the entry of an object to a pack that holds these objects. Returns false if no pack has an entry that
    /// could be copied.
    ///
    /// A delta is taken only from the first pack that has the object. Its base is in the same pack, so the base comes
    /// from there or from a pack before it, and no two deltas that are copied lead to one another.
    pub(super) fn copy(&self, id: Oid, sent: &HashSet<Oid>, into: &mut Vec<u8>) -> bool {
        let having = self.packs.iter().filter_map(|pack| Some((pack, pack.index.find(id.as_bytes())?)));
        having.enumerate().any(|(number, (pack, at))| pack.copy(at, Some(sent).filter(|_| number == 0), into))
    }
}

impl StoredPack {
    /// Opens a pack. It is an error if the index belongs to another pack, or if the pack is not whole: both files
    /// contain the pack's hash.
    pub(super) fn open(index_path: &Path, format: ObjectFormat) -> Result<Self, GitError> {
        let index = PackIndex::open(index_path, format)?;
        let pack_path = index_path.with_extension("pack");
        let pack = File::open(&pack_path).map_err(GitError::io("open", &pack_path))?;
        let size = pack.metadata().map_err(GitError::io("open", &pack_path))?.len();
        if tail(&pack, index.id_bytes).map_err(GitError::io("read", &pack_path))? != index.hash_of_pack() {
            return Err(GitError::Broken { path: pack_path, why: "it does not end as its index says" });
        }
        // With an offset's highest bit set, it is an index into another table; such packs are not copied from.
        let end = u32::try_from(size - index.id_bytes as u64).ok().filter(|end| end >> 31 == 0);
        Ok(Self { index, pack, starts: OnceLock::new(), end })
    }

    /// The ids of all objects, sorted.
    pub(super) fn ids(&self) -> impl Iterator<Item = &[u8]> {
        let PackIndex { bytes, count, id_bytes } = &self.index;
        bytes[IDS..IDS + count * id_bytes].chunks_exact(*id_bytes)
    }

    /// Whether every entry has a valid type. libgit2 also indexes entries with other types, and its binding panics when
    /// asked for their type.
    pub(super) fn has_known_types_only(&self) -> bool {
        let mut byte = [0];
        (0..self.index.count).all(|at| {
            let Some(start) = self.index.offset(at) else { return false };
            // Commit, tree, blob, tag; or a delta by offset or by id, which leads to one of those.
            self.pack.read_exact_at(&mut byte, start).is_ok() && matches!(byte[0] >> 4 & 7, 1..=4 | 6 | 7)
        })
    }

    /// The objects with the type and the size in the header of each entry; `None` for a delta.
    pub(super) fn headers(&self) -> impl Iterator<Item = (Oid, Option<(ObjectType, u64)>)> {
        (0..self.index.count).zip(self.ids()).filter_map(|(at, id)| {
            let mut header = [0; HEADER_BYTES_MAX];
            // The hash at the end of the pack is longer than a header.
            self.pack.read_exact_at(&mut header, self.index.offset(at)?).ok()?;
            let (kind, size, _) = entry_header(&header)?;
            Some((Oid::from_bytes(id).ok()?, kind.map(|kind| (kind, size))))
        })
    }

    /// Copies an entry, given its place in the index: a whole object, or a delta whose base is in `bases`.
    fn copy(&self, at: usize, bases: Option<&HashSet<Oid>>, into: &mut Vec<u8>) -> bool {
        let Some(end) = self.end else { return false };
        let start = self.index.short_offset(at);
        // Entries are not stored in the order of the index, so all offsets are needed to find where one ends.
        let starts = self.starts.get_or_init(|| {
            let mut starts: Vec<_> = (0..self.index.count).map(|at| (self.index.short_offset(at), at)).collect();
            starts.push((end, usize::MAX));
            starts.sort_unstable();
            starts
        });
        let Ok(next) = starts.binary_search(&(start, at)) else { return false };
        let Some((end, _)) = starts.get(next + 1) else { return false };
        // A large entry is not copied by way of the memory.
        if (end - start) as usize > LARGE_BYTES {
            return false;
        }
        let before = into.len();
        into.resize(before + (end - start) as usize, 0);
        let entry = &mut into[before..];
        let is_read = self.pack.read_exact_at(entry, start.into()).is_ok();
        // Copies only an entry that matches its checksum, so that damage is not passed on.
        if is_read && crc32fast::hash(entry) == self.index.crc(at) {
            if (1..=4).contains(&(entry[0] >> 4 & 7)) {
                return true;
            }
            let delta = bases.and_then(|bases| self.by_id(entry, start, starts, bases));
            if let Some(delta) = delta {
                into.truncate(before);
                into.extend(delta);
                return true;
            }
        }
        into.truncate(before);
        false
    }

    /// Returns the entry of a delta in the form that names its base by the id. `None` if the base is not in `bases`, or
    /// if an object comes of it that is too large for a delta.
    fn by_id(&self, entry: &[u8], start: u32, starts: &[(u32, usize)], bases: &HashSet<Oid>) -> Option<Vec<u8>> {
        let (_, _, header) = entry_header(entry)?;
        let rest = &entry[header..];
        let (base, compressed) = match entry[0] >> 4 & 7 {
            BY_OFFSET => {
                let (distance, length) = base_distance(rest)?;
                let base_start = start.checked_sub(u32::try_from(distance).ok()?)?;
                let found = starts.partition_point(|(at, _)| *at < base_start);
                let (_, at) = starts.get(found).filter(|(at, _)| *at == base_start)?;
                (self.index.id(*at)?, &rest[length..])
            }
            BY_ID => rest.split_at_checked(self.index.id_bytes)?,
            _ => return None,
        };
        let is_small = || result_bytes(compressed).is_some_and(|bytes| bytes <= DELTA_BYTES_MAX);
        if !Oid::from_bytes(base).is_ok_and(|base| bases.contains(&base)) || !is_small() {
            return None;
        }
        let mut made = Vec::with_capacity(entry.len() + base.len());
        // The size stays, and with it all of the header but the type.
        made.push(entry[0] & 0x8f | BY_ID << 4);
        made.extend_from_slice(&entry[1..header]);
        made.extend_from_slice(base);
        made.extend_from_slice(compressed);
        Some(made)
    }
}

impl PackIndex {
    fn open(path: &Path, format: ObjectFormat) -> Result<Self, GitError> {
        let broken = || GitError::Broken { path: path.to_owned(), why: "it is no index of a pack" };
        let bytes = fs::read(path).map_err(GitError::io("read", path))?;
        if !bytes.starts_with(b"\xfftOc\x00\x00\x00\x02") || bytes.len() < IDS {
            return Err(broken());
        }
        let id_bytes = id_bytes(format);
        let count = number(&bytes, COUNTS + 255 * 4) as usize;
        // The index ends in the hashes of the pack and of itself; before them are the long offsets, if any.
        if bytes.len() < IDS + count * (id_bytes + 8) + 2 * id_bytes {
            return Err(broken());
        }
        Ok(Self { bytes, count, id_bytes })
    }

    /// The position of an object in the index.
    fn find(&self, id: &[u8]) -> Option<usize> {
        let first = usize::from(*id.first()?);
        // The table of counts narrows the search to the ids with the same first byte.
        let below = if first == 0 { 0 } else { number(&self.bytes, COUNTS + (first - 1) * 4) as usize };
        let (mut low, mut high) = (below, (number(&self.bytes, COUNTS + first * 4) as usize).min(self.count));
        while low < high {
            let middle = low + (high - low) / 2;
            let found = &self.bytes[IDS + middle * self.id_bytes..][..self.id_bytes];
            match found.cmp(id) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Some(middle),
            }
        }
        None
    }

    fn id(&self, at: usize) -> Option<&[u8]> {
        (at < self.count).then(|| &self.bytes[IDS + at * self.id_bytes..][..self.id_bytes])
    }

    fn crc(&self, at: usize) -> u32 {
        number(&self.bytes, IDS + self.count * self.id_bytes + at * 4)
    }

    /// The entry's offset as the index has it. If the highest bit is set, it is a position in the table of long
    /// offsets.
    fn short_offset(&self, at: usize) -> u32 {
        number(&self.bytes, IDS + self.count * (self.id_bytes + 4) + at * 4)
    }

    /// The offset of an entry.
    fn offset(&self, at: usize) -> Option<u64> {
        let short = self.short_offset(at);
        if short >> 31 == 0 {
            return Some(short.into());
        }
        // The table of long offsets follows the short ones, with eight bytes for each.
        let place = IDS + self.count * (self.id_bytes + 8) + (short & !(1 << 31)) as usize * 8;
        self.bytes.get(place..place + 8).and_then(|raw| raw.try_into().ok()).map(u64::from_be_bytes)
    }

    fn hash_of_pack(&self) -> &[u8] {
        &self.bytes[self.bytes.len() - 2 * self.id_bytes..][..self.id_bytes]
    }
}

/// Removes packs that are not whole, which a power loss leaves if they were not synced. Objects in them are then
/// missing, which has a remedy: they are sent again. A pack that cannot be read has none. An index must end in the
/// hashes of the pack and of itself, a pack in its hash.
pub(super) fn remove_broken(directory: &Path, format: ObjectFormat) -> Result<(), GitError> {
    for entry in fs::read_dir(directory).map_err(GitError::io("read", directory))? {
        let index = entry.map_err(GitError::io("read", directory))?.path();
        if index.extension().is_none_or(|ending| ending != "idx") {
            continue;
        }
        let pack = index.with_extension("pack");
        let len = id_bytes(format);
        // A file that is missing is being removed, or its pack is of no use anyway.
        let read = |path, len| File::open(path).and_then(|file| tail(&file, len));
        let (Ok(of_pack), Ok(of_index)) = (read(&pack, len), read(&index, 2 * len)) else { continue };
        if of_pack.is_empty() || of_index.get(..len) != Some(&of_pack) {
            log::warn!("{} is broken and was removed: its objects must be sent again", pack.display());
            for file in [&index, &pack] {
                fs::remove_file(file).map_err(GitError::io("remove", file))?;
            }
        }
    }
    Ok(())
}

/// Returns the last `len` bytes of a file; none if it has fewer.
fn tail(file: &File, len: usize) -> io::Result<Vec<u8>> {
    let Some(start) = file.metadata()?.len().checked_sub(len as u64) else { return Ok(Vec::new()) };
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, start)?;
    Ok(bytes)
}

/// Reads the distance of a delta's base, and its length: each byte holds seven bits, the highest first, and one is
/// added to all but the last.
fn base_distance(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut byte = *bytes.first()?;
    let (mut distance, mut length) = (u64::from(byte & 0x7f), 1);
    while byte & 0x80 != 0 {
        byte = *bytes.get(length)?;
        distance = (distance.checked_add(1)?.checked_mul(128)?) | u64::from(byte & 0x7f);
        length += 1;
    }
    Some((distance, length))
}

/// Reads a number of four bytes in network byte order, as git's formats have it.
fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
