//! A check that the write-ahead log still holds every commit that was acknowledged.
//!
//! SQLite reads its log up to the first frame whose checksum is wrong and takes the rest for a commit that a crash cut
//! short. That is right after a power loss. It is wrong if the file was truncated or damaged after commits were synced:
//! those commits would vanish without an error. The index beside the log (`-shm`) is written after the sync of each
//! commit. Until the machine is booted again, it tells how far the log must be readable. After a boot the index proves
//! nothing, and nothing is checked.
//!
//! Only reads, and only before SQLite opens the file, because SQLite would rewrite the index. The layouts are from
//! SQLite's `walformat.html`. Called when a store opens.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

const LOG_HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
const INDEX_HEADER_BYTES: usize = 48;

/// The header of the index, which describes the log.
#[derive(Debug, PartialEq, Eq)]
struct Index {
    /// Frames that were committed and synced.
    frames: u32,
    /// Frames of these that are in the main file too.
    moved: u32,
    page_bytes: usize,
    checksum: (u32, u32),
    salt: [u8; 8],
}

/// Says why acknowledged commits are missing from the log of the store at `path`; `None` if none are known to be.
pub(super) fn find_loss(path: &Path) -> io::Result<Option<String>> {
    let Some(index) = read_index(&beside(path, "-shm"))? else { return Ok(None) };
    if index.moved >= index.frames {
        return Ok(None);
    }
    let readable = readable_frames(&beside(path, "-wal"), &index)?;
    if readable == Some(index.frames) {
        return Ok(None);
    }
    let log = beside(path, "-wal");
    Ok(Some(match readable {
        None => format!("{} is missing or another one although acknowledged commits are in it", log.display()),
        Some(frames) => {
            format!("{} is readable for {frames} of the {} frames of acknowledged commits", log.display(), index.frames)
        }
    }))
}

/// The name of a file that SQLite keeps beside the store.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Creates the index beside the log so that its pages are overwritten in place, on file systems that would copy each
/// page on its way to the disk (btrfs). SQLite maps that file into memory. On a full disk a write to a mapped page
/// finds no room for the copy and ends the process (SIGBUS); tried by hand: in place, the process waits for room
/// instead. The flag can only be set on an empty file, so the file is created here if it is not there. If that fails,
/// SQLite creates its own.
pub(super) fn make_index_writable_in_place(path: &Path) {
    let Ok(store) = path.metadata() else { return };
    let made = File::options().write(true).create_new(true).mode(store.mode() & 0o777).open(beside(path, "-shm"));
    if let Ok(file) = made {
        // The error is ignored: other file systems have no such flag and need none.
        let flags = ioctl_getflags(&file).unwrap_or(IFlags::empty());
        let _ = ioctl_setflags(&file, flags | IFlags::NOCOW);
    }
}

fn open_if_there(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Reads the index; `None` if there is none, or none that a writer finished.
fn read_index(path: &Path) -> io::Result<Option<Index>> {
    let Some(mut file) = open_if_there(path)? else { return Ok(None) };
    let mut bytes = [0u8; 2 * INDEX_HEADER_BYTES + 4];
    match file.read_exact(&mut bytes) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    }
    let (first, second) = bytes[..2 * INDEX_HEADER_BYTES].split_at(INDEX_HEADER_BYTES);
    // The header is there twice; the copies differ while a writer is between them. Byte 12 says that it is initialised.
    if first != second || first[12] == 0 {
        return Ok(None);
    }
    let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let page = u16::from_ne_bytes([bytes[14], bytes[15]]);
    let mut salt = [0; 8];
    salt.copy_from_slice(&bytes[32..40]);
    Ok(Some(Index {
        frames: word(16),
        moved: word(2 * INDEX_HEADER_BYTES),
        // A page size of 64 KiB does not fit into 16 bits and is written as 1.
        page_bytes: if page == 1 { 65536 } else { usize::from(page) },
        checksum: (word(24), word(28)),
        salt,
    }))
}

/// Counts the frames of the index that the log holds undamaged, from its beginning; `None` if it is another log.
fn readable_frames(path: &Path, index: &Index) -> io::Result<Option<u32>> {
    let Some(file) = open_if_there(path)? else { return Ok(None) };
    let mut log = BufReader::with_capacity(1 << 18, file);
    let mut header = [0u8; LOG_HEADER_BYTES];
    if !read_whole(&mut log, &mut header)? || header[16..24] != index.salt {
        return Ok(None);
    }
    let big_endian = header[3] & 1 == 1;
    let mut sum = add_up((0, 0), &header[..24], big_endian);
    let mut frame = vec![0u8; FRAME_HEADER_BYTES + index.page_bytes];
    for number in 0..index.frames {
        if !read_whole(&mut log, &mut frame)? || frame[8..16] != index.salt {
            return Ok(Some(number));
        }
        sum = add_up(sum, &frame[..8], big_endian);
        sum = add_up(sum, &frame[FRAME_HEADER_BYTES..], big_endian);
        if frame[16..20] != sum.0.to_be_bytes() || frame[20..24] != sum.1.to_be_bytes() {
            return Ok(Some(number));
        }
    }
    Ok(Some(if sum == index.checksum { index.frames } else { 0 }))
}

/// Fills `bytes`; returns false if the file ends before.
fn read_whole(file: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

/// Carries SQLite's checksum of a log on over more bytes; their number is a multiple of 8.
fn add_up(sum: (u32, u32), bytes: &[u8], big_endian: bool) -> (u32, u32) {
    let (mut a, mut b) = sum;
    let word = |w: &[u8]| {
        let raw = [w[0], w[1], w[2], w[3]];
        if big_endian { u32::from_be_bytes(raw) } else { u32::from_le_bytes(raw) }
    };
    for pair in bytes.chunks_exact(8) {
        a = a.wrapping_add(word(&pair[..4])).wrapping_add(b);
        b = b.wrapping_add(word(&pair[4..])).wrapping_add(a);
    }
    (a, b)
}
