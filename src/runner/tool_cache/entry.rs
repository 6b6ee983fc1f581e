//! The file of an entry: the bytes, a line of JSON that says what they are and who wrote them, and the sum over both.
//! The sum is verified at each reading, so an entry that rotted, or of which a power cut left only a part, is none.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};

use serde::{Deserialize, Serialize};

use super::limits::{PIECE_BYTES, SMALL_BYTES};
use crate::blobs::{Form, Unpacking, sum, sum_of};
use crate::model::BlobId;

/// The bytes behind the line: the digits of the sum and those of the line's length, a blank between them, and a line
/// feed. It is text, so that people find the line before it.
const TAIL_BYTES: u64 = 64 + 1 + 8 + 1;
/// The longest line.
const LINE_BYTES: u64 = 16 * 1024;

/// The identity of an entry, and its writer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct About {
    pub(super) repo: String,
    pub(super) scope: String,
    pub(super) tool: String,
    pub(super) name: String,
    /// The build, task and attempt that wrote it.
    pub(super) build: u64,
    pub(super) task: String,
    pub(super) attempt: u64,
    /// Headers that its readers get.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) headers: Vec<(String, String)>,
}

/// An entry that is being written.
pub(super) struct Writing {
    unpacking: Unpacking<File>,
    bytes: u64,
    limit: u64,
}

impl Writing {
    /// Writes to an empty file, at most `limit` bytes besides the line.
    pub(super) fn new(file: File, limit: u64) -> io::Result<Self> {
        Ok(Self { unpacking: Unpacking::new(Form::Plain, file, limit.saturating_add(LINE_BYTES))?, bytes: 0, limit })
    }

    /// Takes the next bytes.
    pub(super) fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        if self.bytes > self.limit {
            return Err(ErrorKind::FileTooLarge.into());
        }
        self.unpacking.take(bytes)
    }

    /// Completes the file. Returns its length.
    pub(super) fn finish(mut self, about: &About) -> io::Result<u64> {
        let mut line = vec![b'\n'];
        serde_json::to_writer(&mut line, about).map_err(io::Error::other)?;
        line.push(b'\n');
        if line.len() as u64 > LINE_BYTES {
            return Err(ErrorKind::InvalidInput.into());
        }
        self.unpacking.take(&line)?;
        let (mut file, sum, bytes) = self.unpacking.finish()?;
        file.write_all(tail(sum, line.len() as u64).as_bytes())?;
        Ok(bytes + TAIL_BYTES)
    }
}

/// An entry that was read and verified.
pub(super) struct Entry {
    pub(super) about: About,
    pub(super) bytes: Bytes,
}

/// The bytes of an entry.
pub(super) enum Bytes {
    Small(Vec<u8>),
    /// The first bytes of the file.
    Large(File, u64),
}

impl Bytes {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Small(bytes) => bytes.len() as u64,
            Self::Large(_, length) => *length,
        }
    }
}

impl Entry {
    /// Reads an entry. Returns `None` if it is damaged.
    pub(super) fn read(mut file: File) -> io::Result<Option<Self>> {
        let length = file.metadata()?.len();
        let Some(summed) = length.checked_sub(TAIL_BYTES) else { return Ok(None) };
        if length <= SMALL_BYTES {
            let mut all = Vec::with_capacity(usize::try_from(length).unwrap_or_default() + 1);
            file.read_to_end(&mut all)?;
            return Ok(Self::of_small(all));
        }
        let mut tail = [0; TAIL_BYTES as usize];
        file.seek(SeekFrom::Start(summed))?;
        file.read_exact(&mut tail)?;
        let Some(body) = body_length(&tail, summed) else { return Ok(None) };
        file.rewind()?;
        let (found, _) = sum((&file).take(summed))?;
        if !is_tail(&tail, found, summed - body) {
            return Ok(None);
        }
        let mut line = Vec::new();
        file.seek(SeekFrom::Start(body))?;
        (&file).take(summed - body).read_to_end(&mut line)?;
        file.rewind()?;
        let about = serde_json::from_slice(&line).ok();
        Ok(about.map(|about| Self { about, bytes: Bytes::Large(file, body) }))
    }

    fn of_small(mut all: Vec<u8>) -> Option<Self> {
        let summed = all.len().checked_sub(TAIL_BYTES as usize)?;
        let (content, tail) = all.split_at(summed);
        let body = body_length(tail.try_into().ok()?, summed as u64)?;
        if !is_tail(tail, sum_of(content), summed as u64 - body) {
            return None;
        }
        let body = usize::try_from(body).ok()?;
        let about = serde_json::from_slice(&content[body..]).ok()?;
        all.truncate(body);
        Some(Self { about, bytes: Bytes::Small(all) })
    }
}

/// Returns the tail of a file whose line has so many bytes.
fn tail(sum: BlobId, line: u64) -> String {
    format!("{sum} {line:08x}\n")
}

fn is_tail(found: &[u8], sum: BlobId, line: u64) -> bool {
    found == tail(sum, line).as_bytes()
}

/// Returns the number of bytes before the line.
fn body_length(tail: &[u8; TAIL_BYTES as usize], summed: u64) -> Option<u64> {
    let digits = tail.get(65..73).and_then(|digits| str::from_utf8(digits).ok());
    let line = u64::from_str_radix(digits?, 16).ok()?;
    summed.checked_sub(line).filter(|_| line <= LINE_BYTES)
}

/// Copies the bytes of a long entry.
pub(super) fn copy(file: &File, length: u64, to: &mut impl Write) -> io::Result<()> {
    let mut left = file.take(length);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match left.read(&mut piece) {
            Ok(0) if left.limit() == 0 => return Ok(()),
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => to.write_all(&piece[..count])?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
