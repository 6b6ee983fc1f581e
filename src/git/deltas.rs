//! The sizes of what comes of the deltas in a pack, read before libgit2 makes the objects: it holds each of them whole,
//! and a few bytes of a delta may become any number of gigabytes. Reads entries as gitformat-pack(5) describes them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::ZlibDecoder;

use super::large::entry_header;

/// The largest object that may be stored as a delta. git stores no file beyond this size as one, unless it is told
/// otherwise (`core.bigFileThreshold`).
pub(super) const DELTA_BYTES_MAX: u64 = 512 << 20;

/// Bytes of a delta that hold the sizes of the two objects.
const SIZES_BYTES: usize = 20;

/// The types of deltas: the base is named by its distance in the pack, or by its id.
pub(super) const BY_OFFSET: u8 = 6;
pub(super) const BY_ID: u8 = 7;

/// Returns the size of the largest object that comes of a delta among the first `count` entries of a pack; 0 without
/// deltas.
pub(super) fn largest(pack: &Path, count: u32, id_bytes: usize) -> io::Result<u64> {
    let mut pack = BufReader::new(File::open(pack)?);
    // `PACK`, a version, the number of objects.
    skip(&mut pack, 12)?;
    let mut largest = 0;
    for _ in 0..count {
        let header = with_more(&mut pack)?;
        let (whole, ..) = entry_header(&header).ok_or(io::ErrorKind::InvalidData)?;
        match whole {
            Some(_) => {}
            None if header[0] >> 4 & 7 == BY_OFFSET => drop(with_more(&mut pack)?),
            None => skip(&mut pack, id_bytes as u64)?,
        }
        let mut content = ZlibDecoder::new(&mut pack);
        if whole.is_none() {
            let mut sizes = Vec::new();
            (&mut content).take(SIZES_BYTES as u64).read_to_end(&mut sizes)?;
            largest = largest.max(result_size(&sizes).ok_or(io::ErrorKind::InvalidData)?);
        }
        io::copy(&mut content, &mut io::sink())?;
    }
    Ok(largest)
}

/// Returns the size of the object that comes of a delta, given the compressed delta.
pub(super) fn result_bytes(compressed: &[u8]) -> Option<u64> {
    let mut sizes = Vec::new();
    ZlibDecoder::new(compressed).take(SIZES_BYTES as u64).read_to_end(&mut sizes).ok()?;
    result_size(&sizes)
}

/// Reads bytes up to the first one whose highest bit does not say that another one follows.
fn with_more(pack: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for byte in pack.bytes().take(SIZES_BYTES) {
        let byte = byte?;
        bytes.push(byte);
        if byte & 0x80 == 0 {
            return Ok(bytes);
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

fn skip(pack: &mut impl BufRead, bytes: u64) -> io::Result<()> {
    io::copy(&mut pack.take(bytes), &mut io::sink()).map(drop)
}

/// Returns the second of the two numbers at the beginning of a delta. Each byte holds seven bits, the lowest first.
fn result_size(delta: &[u8]) -> Option<u64> {
    let base_bytes = delta.iter().position(|byte| byte & 0x80 == 0)? + 1;
    let mut size = 0;
    for (at, byte) in delta[base_bytes..].iter().enumerate().take(9) {
        size |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some(size);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::tests::support::Repo;

    /// Packs of git with both kinds of delta.
    #[test]
    fn the_largest_object_that_comes_of_a_delta_is_found() {
        let repo = Repo::new();
        let text: String = (0..2_000).map(|number| format!("line {number}\n")).collect();
        repo.write("small", "whole").write("file", &text).commit("first");
        repo.write("file", format!("{text}one line more\n")).write("other", "whole, too").commit("second");
        for more in [&["--delta-base-offset"][..], &[]] {
            let words = [&["pack-objects", "--revs", "--stdout", "--quiet"], more].concat();
            let pack = repo.git_with(&words, b"HEAD\n");
            let count = u32::from_be_bytes(pack[8..12].try_into().unwrap());
            let path = repo.beside("pack");
            std::fs::write(&path, &pack).unwrap();
            assert_eq!(largest(&path, count, 20).unwrap(), text.len() as u64);
            std::fs::write(&path, &pack[..pack.len() / 2]).unwrap();
            assert!(largest(&path, count, 20).is_err());
        }
        let (pack, path) = (repo.git_with(&["pack-objects", "--stdout", "--quiet"], b""), repo.beside("empty"));
        std::fs::write(&path, pack).unwrap();
        assert_eq!(largest(&path, 0, 20).unwrap(), 0);
    }
}
