//! Small packs, indexed in memory. libgit2's indexer makes files under other names, maps them and reads them again,
//! which takes longer than everything else about the pack of a push.
//!
//! A pack in which anything is unusual is none of these: libgit2 indexes it, or says what is wrong with it.

use std::collections::BTreeMap;

use flate2::{Decompress, FlushDecompress, Status};
use git2::{ObjectFormat, ObjectType, Oid};

use super::hash::Hash;
use super::large::entry_header;
use super::objects::id_bytes;

/// `PACK` and the version.
const BEGINNING: &[u8] = b"PACK\0\0\0\x02";
/// The beginning, and the number of objects.
const HEADER_BYTES: usize = 12;

/// The bytes that the objects of a pack may have together, so that a small pack takes little memory.
const CONTENT_BYTES_MAX: usize = 4 << 20;

/// The magic number and the version of an index (gitformat-pack(5)).
const INDEX_BEGINNING: &[u8] = b"\xfftOc\0\0\0\x02";

/// A proven pack of whole objects, none of them twice.
pub(super) struct SmallPack {
    /// The hash at its end, of which the names of its files are made.
    pub(super) name: Oid,
    /// The bytes of its index.
    pub(super) index: Vec<u8>,
    pub(super) objects: BTreeMap<Oid, SmallObject>,
}

/// An object of a small pack.
pub(super) struct SmallObject {
    pub(super) kind: ObjectType,
    /// Empty for a blob: its content names nothing.
    pub(super) content: Vec<u8>,
    offset: u32,
    /// The CRC-32 of its entry.
    crc: u32,
}

impl SmallPack {
    /// Reads a whole pack. `None` if it has a delta, a mistake, or more content than it may.
    pub(super) fn read(pack: &[u8], format: ObjectFormat) -> Option<Self> {
        let (body, end) = pack.split_at_checked(pack.len().checked_sub(id_bytes(format))?)?;
        let name = Oid::from_bytes(end).ok()?;
        if hash_of(body, format) != name || !body.starts_with(BEGINNING) {
            return None;
        }
        let count = u32::from_be_bytes(body.get(BEGINNING.len()..HEADER_BYTES)?.try_into().ok()?);
        let (mut objects, mut at, mut room) = (BTreeMap::new(), HEADER_BYTES, CONTENT_BYTES_MAX);
        for _ in 0..count {
            let (kind, size, header) = entry_header(body.get(at..)?)?;
            let (kind, size) = (kind?, usize::try_from(size).ok()?);
            room = room.checked_sub(size)?;
            let (content, compressed) = inflate(&body[at + header..], size)?;
            // libgit2's hash, which detects collisions.
            let id = Oid::hash_object_ext(kind, &content, format).ok()?;
            let entry = &body[at..at + header + compressed];
            let content = if kind == ObjectType::Blob { Vec::new() } else { content };
            let object = SmallObject { kind, content, offset: u32::try_from(at).ok()?, crc: crc32fast::hash(entry) };
            if objects.insert(id, object).is_some() {
                return None;
            }
            at += entry.len();
        }
        if objects.is_empty() || at != body.len() {
            return None;
        }
        let index = index_of(&objects, name, format);
        Some(Self { name, index, objects })
    }
}

/// Returns what the beginning of `compressed` holds, which must have that size, and its length.
fn inflate(compressed: &[u8], size: usize) -> Option<(Vec<u8>, usize)> {
    // With room for a byte that should not be there.
    let mut content = Vec::with_capacity(size + 1);
    let mut stream = Decompress::new(true);
    let status = stream.decompress_vec(compressed, &mut content, FlushDecompress::Finish).ok()?;
    let is_whole = status == Status::StreamEnd && content.len() == size;
    if is_whole { Some((content, usize::try_from(stream.total_in()).ok()?)) } else { None }
}

/// Returns the index of a pack: version 2, as gitformat-pack(5) describes it.
fn index_of(objects: &BTreeMap<Oid, SmallObject>, name: Oid, format: ObjectFormat) -> Vec<u8> {
    let mut index = INDEX_BEGINNING.to_vec();
    let mut counts = [0u32; 256];
    for id in objects.keys() {
        counts[usize::from(id.as_bytes()[0])] += 1;
    }
    let mut sum = 0;
    for count in counts {
        sum += count;
        index.extend(sum.to_be_bytes());
    }
    objects.keys().for_each(|id| index.extend(id.as_bytes()));
    objects.values().for_each(|object| index.extend(object.crc.to_be_bytes()));
    objects.values().for_each(|object| index.extend(object.offset.to_be_bytes()));
    index.extend(name.as_bytes());
    let end = hash_of(&index, format);
    index.extend(end.as_bytes());
    index
}

fn hash_of(bytes: &[u8], format: ObjectFormat) -> Oid {
    let mut hash = Hash::new(format);
    hash.update(bytes);
    hash.finish()
}
