//! Packs that were received here, as files of entries that are compressed already. Entries that stand for themselves
//! are passed on byte by byte; those that are deltas against others are left to libgit2.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use git2::{ObjectFormat, Oid};

use super::GitError;
use super::objects::id_bytes;

/// The packs of a directory.
pub(super) struct Stored {
    packs: Vec<StoredPack>,
}

/// A pack and its index, version 2 of gitformat-pack(5): a header, 256 counts, the sorted ids, then for each a CRC-32
/// of its entry, then for each the offset of its entry.
pub(super) struct StoredPack {
    index: Vec<u8>,
    count: usize,
    id_bytes: usize,
    pack: File,
    /// Where entries begin, sorted, and where the last one ends: an entry's length is known only by the next one's
    /// start.
    starts: Vec<u32>,
}

const COUNTS: usize = 8;
const IDS: usize = COUNTS + 256 * 4;

impl Stored {
    pub(super) fn open(directory: &Path, format: ObjectFormat) -> Result<Self, GitError> {
        let mut packs = Vec::new();
        for entry in fs::read_dir(directory).map_err(GitError::io("read", directory))? {
            let path = entry.map_err(GitError::io("read", directory))?.path();
            if path.extension().is_some_and(|ending| ending == "idx") {
                // One that is being removed, or that is not as expected, is none to copy from.
                packs.extend(StoredPack::open(&path, format).ok());
            }
        }
        Ok(Self { packs })
    }

    /// Of just these packs.
    pub(super) fn of(packs: Vec<StoredPack>) -> Self {
        Self { packs }
    }

    /// Appends the entry of an object; false where there is none that could be copied.
    pub(super) fn copy(&self, id: Oid, into: &mut Vec<u8>) -> bool {
        self.packs.iter().any(|pack| pack.copy(id.as_bytes(), into))
    }
}

impl StoredPack {
    pub(super) fn open(index_path: &Path, format: ObjectFormat) -> Result<Self, GitError> {
        let broken = || GitError::Broken { path: index_path.to_owned(), why: "it is no index of a pack" };
        let index = fs::read(index_path).map_err(GitError::io("read", index_path))?;
        if !index.starts_with(b"\xfftOc\x00\x00\x00\x02") || index.len() < IDS {
            return Err(broken());
        }
        let id_bytes = id_bytes(format);
        let count = number(&index, COUNTS + 255 * 4) as usize;
        // The hashes of the pack and of the index end it; before them are long offsets, if any.
        if index.len() < IDS + count * (id_bytes + 8) + 2 * id_bytes {
            return Err(broken());
        }
        let pack_path = index_path.with_extension("pack");
        let pack = File::open(&pack_path).map_err(GitError::io("open", &pack_path))?;
        let size = pack.metadata().map_err(GitError::io("open", &pack_path))?.len();
        let offsets = IDS + count * (id_bytes + 4);
        let mut starts: Vec<_> = (0..count).map(|at| number(&index, offsets + at * 4)).collect();
        match u32::try_from(size).ok().and_then(|size| size.checked_sub(id_bytes as u32)) {
            Some(end) if end < 1 << 31 => starts.push(end),
            // Beyond 2 GiB offsets are of another kind; from such a pack nothing is copied.
            _ => starts.clear(),
        }
        starts.sort_unstable();
        Ok(Self { index, count, id_bytes, pack, starts })
    }

    /// The ids of all its objects, sorted.
    pub(super) fn ids(&self) -> impl Iterator<Item = &[u8]> {
        self.index[IDS..IDS + self.count * self.id_bytes].chunks_exact(self.id_bytes)
    }

    /// Whether every entry is of a type that there is. libgit2 indexes others too, and its binding panics when asked
    /// what they are.
    pub(super) fn has_known_types_only(&self) -> bool {
        let mut byte = [0];
        (0..self.count).all(|at| {
            let place = IDS + self.count * (self.id_bytes + 4) + at * 4;
            let Some(start) = self.offset(number(&self.index, place)) else { return false };
            // Commit, tree, blob, tag; and a delta by offset or by id, which ends in one of those.
            self.pack.read_exact_at(&mut byte, start).is_ok() && matches!(byte[0] >> 4 & 7, 1..=4 | 6 | 7)
        })
    }

    /// An offset as the index has it: one with the highest bit set is a place among the long ones.
    fn offset(&self, short: u32) -> Option<u64> {
        if short >> 31 == 0 {
            return Some(short.into());
        }
        let place = IDS + self.count * (self.id_bytes + 8) + (short & !(1 << 31)) as usize * 8;
        self.index.get(place..place + 8).and_then(|raw| raw.try_into().ok()).map(u64::from_be_bytes)
    }

    fn copy(&self, id: &[u8], into: &mut Vec<u8>) -> bool {
        let Some(at) = self.find(id) else { return false };
        let crc = number(&self.index, IDS + self.count * self.id_bytes + at * 4);
        let start = number(&self.index, IDS + self.count * (self.id_bytes + 4) + at * 4);
        let Ok(next) = self.starts.binary_search(&start) else { return false };
        let Some(end) = self.starts.get(next + 1) else { return false };
        let before = into.len();
        into.resize(before + (end - start) as usize, 0);
        let entry = &mut into[before..];
        let is_read = self.pack.read_exact_at(entry, start.into()).is_ok();
        // The type of an object that stands for itself; and no damage is passed on as if it were none.
        let is_whole = is_read && (1..=4).contains(&(entry[0] >> 4 & 7)) && crc32fast::hash(entry) == crc;
        if !is_whole {
            into.truncate(before);
        }
        is_whole
    }

    fn find(&self, id: &[u8]) -> Option<usize> {
        let first = usize::from(*id.first()?);
        let below = if first == 0 { 0 } else { number(&self.index, COUNTS + (first - 1) * 4) as usize };
        let (mut low, mut high) = (below, (number(&self.index, COUNTS + first * 4) as usize).min(self.count));
        while low < high {
            let middle = low + (high - low) / 2;
            let found = &self.index[IDS + middle * self.id_bytes..][..self.id_bytes];
            match found.cmp(id) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(middle),
            }
        }
        None
    }
}

/// Removes packs that are not whole, as a machine that lost power leaves those that were not synced. What they held is
/// then missing, which has a remedy; a pack that cannot be read has none. An index ends in the hashes of the pack and
/// of itself, a pack in its hash.
pub(super) fn remove_broken(directory: &Path, format: ObjectFormat) -> Result<(), GitError> {
    for entry in fs::read_dir(directory).map_err(GitError::io("read", directory))? {
        let index = entry.map_err(GitError::io("read", directory))?.path();
        if index.extension().is_none_or(|ending| ending != "idx") {
            continue;
        }
        let pack = index.with_extension("pack");
        let len = id_bytes(format);
        // One that is not there is being removed, or of no use anyway.
        let (Ok(of_pack), Ok(of_index)) = (tail(&pack, len), tail(&index, 2 * len)) else { continue };
        if of_pack.is_empty() || of_index.get(..len) != Some(&of_pack) {
            log::warn!("{} is broken and removed: what it held has to be sent again", pack.display());
            for file in [&index, &pack] {
                fs::remove_file(file).map_err(GitError::io("remove", file))?;
            }
        }
    }
    Ok(())
}

/// The last bytes of a file, or nothing if it has fewer.
fn tail(path: &Path, len: usize) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let Some(start) = file.metadata()?.len().checked_sub(len as u64) else { return Ok(Vec::new()) };
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, start)?;
    Ok(bytes)
}

/// A number of four bytes, as the formats of git have them.
fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
