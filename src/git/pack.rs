//! Writes a pack as a stream. No delta is looked for: most packs have few versions of one file, and looking takes
//! longer than sending them. Entries that are compressed already are copied as they are, those of git's deltas too if
//! their base goes along, as in the pack of a long history.
//!
//! The format is gitformat-pack(5): `PACK`, version 2, the number of objects; for each object its type and size, then
//! its content compressed by zlib; at the end the hash of all that.

use std::collections::HashSet;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use flate2::{Compress, Compression, FlushCompress, Status};
use git2::{ObjectFormat, ObjectType, Odb, Oid};

use super::database::Database;
use super::deltas::DELTA_BYTES_MAX;
use super::error::GitError;
use super::hash::{Hash, id_of};
use super::history::{Extra, Made};
use super::large::{LARGE_BYTES, LargeObject};
use super::objects::{Objects, header_of, read_verified};
use super::select::select;
use super::stored::Stored;
use crate::model::CommitId;

/// Size of a piece: smaller ones cost one call each, larger ones delay the receiver.
const PIECE_BYTES: usize = 128 * 1024;

/// Upper limit of a piece, so that it fits the payload of one message.
const PIECE_BYTES_MAX: usize = 512 * 1024;

/// With fewer objects, starting threads takes longer than compressing.
const OBJECTS_FOR_THREADS: usize = 64;

/// With more threads, hashing the pack, which one thread does, becomes the bottleneck.
const THREADS_MAX: usize = 8;

/// Objects and bytes that are compressed together and wait in memory to be written. Each thread may exceed the bytes by
/// one object, which is not a large one.
const BATCH_OBJECTS: usize = 512;
const BATCH_BYTES: usize = 16 * 1024 * 1024;

/// Smaller objects are not compressed: starting a compression takes longer, here and at the reader, than sending the
/// bytes.
const BYTES_TO_COMPRESS: usize = 512;

/// For fewer objects, opening a store's packs takes longer than compressing.
const OBJECTS_TO_REUSE: usize = 16;

/// Compression level. Packs travel over networks that are faster than stronger compression.
const LEVEL: u32 = 3;

/// Takes the pieces of a pack, and stops it by returning false.
pub(super) type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> bool;

/// Builds a pack of `commits` (oldest first) for a receiver that has `haves`. Writes it into `sink`, which stops it by
/// returning false. Copies entries from the packs in the directory `packs`, if that is given. `extra` tells what goes
/// along beside the trees of the commits.
pub(super) fn build(
    database: &Database,
    packs: Option<&Path>,
    commits: &[CommitId],
    haves: &[CommitId],
    extra: impl Fn(&Objects) -> Result<Extra, GitError>,
    sink: Sink<'_>,
) -> Result<(), GitError> {
    let mut has_begun = false;
    let mut failed = None;
    let built = database.with(|objects| {
        let mut extra = extra(objects)?;
        let ids = select(objects, commits, haves, &extra)?;
        leave_out_known(&mut extra.made, &ids, objects.format());
        let packs = packs.filter(|_| ids.len() >= OBJECTS_TO_REUSE);
        let stored = packs.map(|packs| Stored::open(packs, objects.format(), ids.len())).transpose()?;
        let written = write(objects, stored.as_ref(), &ids, &extra.made, &mut |piece| {
            has_begun = true;
            sink(piece)
        });
        match written {
            // A second attempt helps only if the receiver has seen nothing of the first.
            Err(error) if has_begun => {
                failed = Some(error);
                Err(GitError::Stopped)
            }
            other => other,
        }
    });
    built.map_err(|error| failed.unwrap_or(error))
}

/// Writes a pack of blobs that are in no repository, and of these objects, in this order.
pub(super) fn write(
    objects: &Objects,
    stored: Option<&Stored>,
    ids: &[Oid],
    made: &[Made],
    sink: Sink<'_>,
) -> Result<(), GitError> {
    let odb = objects.odb()?;
    let sent = if stored.is_some() { ids.iter().copied().collect() } else { HashSet::new() };
    let encoder = Encoder { objects: objects.directory(), odb: &odb, stored, sent };
    let pieces = Pieces { sink, buffer: Vec::new() };
    let mut writer = PackWriter { hash: Hash::new(objects.format()), pieces };
    let count = u32::try_from(ids.len() + made.len()).map_err(|_| GitError::Build {
        path: objects.directory().to_owned(),
        source: git2::Error::from_str("there are more objects than a pack can hold"),
    })?;
    writer.put(&[&b"PACK\0\0\0\x02"[..], &count.to_be_bytes()].concat())?;
    for made in made {
        let mut entry = Vec::new();
        match made {
            Made::Content(content) => {
                put_header(&mut entry, ObjectType::Blob, content.len());
                deflate(content, &mut new_compress(), &mut entry);
                writer.put(&entry)?;
            }
            Made::File(file) => {
                put_header(&mut entry, ObjectType::Blob, file.size);
                writer.put(&entry)?;
                let mut deflater = Deflater { compress: new_compress(), writer: &mut writer };
                file.read(objects.format(), &mut |content| deflater.put(content, FlushCompress::None))?;
                deflater.put(&[], FlushCompress::Finish)?;
            }
        }
    }
    // One buffer and one compressor serve all entries of a small pack.
    if ids.len() < OBJECTS_FOR_THREADS {
        let mut entry = Vec::new();
        let mut compress = None;
        for id in ids {
            entry.clear();
            let encoded = encoder.encode(*id, &mut compress, &mut entry)?;
            writer.put(&entry)?;
            if let Encoded::TooLarge(kind, size) = encoded {
                encoder.stream(*id, kind, size, &mut writer)?;
            }
        }
        return writer.finish();
    }
    let mut rest = ids;
    while !rest.is_empty() {
        let entries = encoder.encode_some(&rest[..rest.len().min(BATCH_OBJECTS)])?;
        for (id, (entry, encoded)) in rest.iter().zip(&entries) {
            writer.put(entry)?;
            if let Encoded::TooLarge(kind, size) = encoded {
                encoder.stream(*id, *kind, *size, &mut writer)?;
            }
        }
        rest = &rest[entries.len()..];
    }
    writer.finish()
}

/// Leaves out blobs that are among these objects, or that are there twice: a pack has each object once.
fn leave_out_known(made: &mut Vec<Made>, ids: &[Oid], format: ObjectFormat) {
    if made.is_empty() {
        return;
    }
    let mut known: HashSet<Oid> = ids.iter().copied().collect();
    made.retain(|made| {
        known.insert(match made {
            Made::Content(content) => id_of(format, ObjectType::Blob, content),
            Made::File(file) => file.id,
        })
    });
}

/// What became of an object that was to be encoded.
enum Encoded {
    /// It was encoded, with that many bytes in memory.
    Whole(usize),
    /// It is too large to be held in memory beside others, and is yet to be written. Its type and size.
    TooLarge(ObjectType, usize),
}

/// Encodes the entries of a pack.
struct Encoder<'a> {
    objects: &'a Path,
    odb: &'a Odb<'a>,
    stored: Option<&'a Stored>,
    /// All objects of the pack.
    sent: HashSet<Oid>,
}

impl Encoder<'_> {
    /// Encodes the first of these objects with several threads, in their order, until their sizes add up to
    /// [`BATCH_BYTES`]; at least one.
    fn encode_some(&self, ids: &[Oid]) -> Result<Vec<(Vec<u8>, Encoded)>, GitError> {
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(THREADS_MAX)).min(ids.len());
        let (next, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let made: Vec<OnceLock<Result<_, GitError>>> = ids.iter().map(|_| OnceLock::new()).collect();
        let work = || {
            let mut compress = None;
            while bytes.load(Ordering::Relaxed) < BATCH_BYTES
                && let Some(at) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|at| *at < ids.len())
            {
                let mut entry = Vec::new();
                let encoded = self.encode(ids[at], &mut compress, &mut entry);
                if let Ok(Encoded::Whole(held)) = encoded {
                    bytes.fetch_add(held, Ordering::Relaxed);
                }
                let is_first = made[at].set(encoded.map(|encoded| (entry, encoded))).is_ok();
                debug_assert!(is_first, "each is taken by one thread");
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads {
                // If the thread cannot start, encoding only takes longer.
                std::thread::Builder::new().name("pack".to_owned()).spawn_scoped(scope, work).ok();
            }
            work();
        });
        // Objects are taken in order, and each taken one is encoded, so the results have no gap before the first empty
        // one.
        made.into_iter().map_while(OnceLock::into_inner).collect()
    }

    /// Encodes an entry, unless the object is too large.
    fn encode(&self, id: Oid, compress: &mut Option<Compress>, entry: &mut Vec<u8>) -> Result<Encoded, GitError> {
        if self.stored.is_some_and(|stored| stored.copy(id, &self.sent, entry)) {
            return Ok(Encoded::Whole(entry.len()));
        }
        let (size, kind) = header_of(self.odb, id).map_err(|source| self.unreadable(id, source))?;
        if size > LARGE_BYTES {
            return Ok(Encoded::TooLarge(kind, size));
        }
        let object = read_verified(self.odb, id).map_err(|source| self.unreadable(id, source))?;
        let data = object.data();
        // The header holds the size before compression.
        put_header(entry, object.kind(), data.len());
        if data.len() < BYTES_TO_COMPRESS {
            store(data, entry);
        } else {
            deflate(data, compress.get_or_insert_with(new_compress), entry);
        }
        Ok(Encoded::Whole(data.len()))
    }

    /// Writes the entry of a large object while reading it. Only an object that its repository stores as a delta is
    /// held in memory.
    fn stream(&self, id: Oid, kind: ObjectType, size: usize, writer: &mut PackWriter<'_>) -> Result<(), GitError> {
        let mut header = Vec::new();
        put_header(&mut header, kind, size);
        let mut compress = new_compress();
        match LargeObject::find(self.objects, id, kind, size) {
            Some(large) if large.is_packed => {
                writer.put(&header)?;
                // Compressing again would take longer than sending what another level of compression has made.
                large.read(&mut |compressed, _| writer.put(compressed))
            }
            Some(large) => {
                writer.put(&header)?;
                let mut deflater = Deflater { compress, writer };
                large.read(&mut |_, content| deflater.put(content, FlushCompress::None))?;
                deflater.put(&[], FlushCompress::Finish)
            }
            None if size as u64 > DELTA_BYTES_MAX => {
                let why = format!(
                    "it has {size} bytes and is stored as a delta, which is read whole only up to 512 MiB; \
                     `git repack -a -d -f` stores it whole"
                );
                Err(self.unreadable(id, git2::Error::from_str(&why)))
            }
            None => {
                let object = read_verified(self.odb, id).map_err(|source| self.unreadable(id, source))?;
                header.clear();
                put_header(&mut header, object.kind(), object.data().len());
                writer.put(&header)?;
                compress.reset();
                Deflater { compress, writer }.put(object.data(), FlushCompress::Finish)
            }
        }
    }

    fn unreadable(&self, id: Oid, source: git2::Error) -> GitError {
        GitError::Object { kind: "object", id: id.to_string(), path: self.objects.to_owned(), source }
    }
}

/// Compresses one object into a pack, without holding what was compressed.
struct Deflater<'w, 'a> {
    compress: Compress,
    writer: &'w mut PackWriter<'a>,
}

impl Deflater<'_, '_> {
    fn put(&mut self, content: &[u8], flush: FlushCompress) -> Result<(), GitError> {
        let before = self.compress.total_in();
        let mut compressed = Vec::with_capacity(PIECE_BYTES);
        loop {
            let done = usize::try_from(self.compress.total_in() - before).expect("it is at most the length of a slice");
            compressed.clear();
            let status = self.compress.compress_vec(&content[done..], &mut compressed, flush);
            let status = status.expect("compressing fails only on misuse");
            self.writer.put(&compressed)?;
            // Room that is left over says that there is no more to be written for now.
            let has_room = compressed.len() < compressed.capacity();
            if matches!(status, Status::StreamEnd) || has_room && flush == FlushCompress::None {
                return Ok(());
            }
        }
    }
}

/// Writes type and size: the first byte holds the type and four bits of the size, each further byte seven bits. The
/// highest bit says that another byte follows.
fn put_header(entry: &mut Vec<u8>, kind: ObjectType, size: usize) {
    let kind = match kind {
        ObjectType::Commit => 1,
        ObjectType::Tree => 2,
        ObjectType::Tag => 4,
        ObjectType::Blob | ObjectType::Any => 3,
    };
    let mut byte = kind << 4 | (size & 15) as u8;
    let mut rest = size >> 4;
    while rest > 0 {
        entry.push(byte | 0x80);
        byte = (rest & 0x7f) as u8;
        rest >>= 7;
    }
    entry.push(byte);
}

/// Writes a zlib stream (RFC 1950) of one stored block (RFC 1951, section 3.2.4).
fn store(data: &[u8], into: &mut Vec<u8>) {
    let len = u16::try_from(data.len()).expect("it is below the limit for compressing");
    // The header says: a window of 32 KiB, no dictionary. The third byte starts the last block, which is stored
    // uncompressed.
    into.extend([0x78, 0x01, 0x01]);
    into.extend(len.to_le_bytes());
    into.extend((!len).to_le_bytes());
    into.extend(data);
    into.extend(adler32(data).to_be_bytes());
}

/// The checksum of RFC 1950, section 8.2.
fn adler32(data: &[u8]) -> u32 {
    let (a, b) = data.iter().fold((1, 0), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    b << 16 | a
}

fn new_compress() -> Compress {
    Compress::new(Compression::new(LEVEL), true)
}

fn deflate(data: &[u8], compress: &mut Compress, into: &mut Vec<u8>) {
    // Reused, because a new compressor would allocate its tables anew.
    compress.reset();
    // Enough for most objects; the loop reserves more if needed.
    into.reserve(data.len() / 2 + 128);
    loop {
        let done = usize::try_from(compress.total_in()).expect("it is at most the length of a slice");
        let status = compress.compress_vec(&data[done..], into, FlushCompress::Finish);
        match status.expect("compressing fails only on misuse") {
            Status::StreamEnd => return,
            Status::Ok | Status::BufError => into.reserve(data.len() / 2 + 128),
        }
    }
}

/// Writes the stream and hashes it.
struct PackWriter<'a> {
    hash: Hash,
    pieces: Pieces<'a>,
}

impl PackWriter<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), GitError> {
        self.hash.update(bytes);
        if self.pieces.add(bytes) { Ok(()) } else { Err(GitError::Stopped) }
    }

    fn finish(mut self) -> Result<(), GitError> {
        let taken = self.pieces.add(self.hash.finish().as_bytes()) && self.pieces.flush();
        if taken { Ok(()) } else { Err(GitError::Stopped) }
    }
}

/// Gathers small entries into pieces worth sending, and cuts large ones.
struct Pieces<'a> {
    sink: Sink<'a>,
    buffer: Vec<u8>,
}

impl Pieces<'_> {
    fn add(&mut self, bytes: &[u8]) -> bool {
        if self.buffer.len() + bytes.len() <= PIECE_BYTES {
            self.buffer.extend_from_slice(bytes);
            return true;
        }
        self.flush() && bytes.chunks(PIECE_BYTES_MAX).all(|piece| (self.sink)(piece))
    }

    fn flush(&mut self) -> bool {
        let buffer = std::mem::take(&mut self.buffer);
        let more = buffer.is_empty() || (self.sink)(&buffer);
        self.buffer = buffer;
        self.buffer.clear();
        more
    }
}
