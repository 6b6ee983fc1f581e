//! The bytes of a blob on their way: summed up, compressed, and taken apart again.

use std::io::{self, BufRead, Read, Write};

use zstd::stream::raw::{Decoder, Operation};
use zstd::stream::read;
use zstd::zstd_safe::DParameter;

use crate::model::BlobId;

/// The level of compression. Higher levels cost several times the time for a few percent.
const LEVEL: i32 = 3;
/// The window of a compressed blob that is accepted, as a power of two: what a decoder needs in memory. Level 3 uses
/// 2 MiB.
const MAX_WINDOW_LOG: u32 = 23;

/// Bytes that are decompressed at once: as many as a block of zstd may have.
const DECODED_BYTES: usize = 128 * 1024;
/// Bytes that are summed up at once.
const SUMMED_BYTES: usize = 128 * 1024;

/// The form in which a blob is stored and sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The bytes themselves.
    Plain,
    /// Compressed with zstd.
    Packed,
}

/// Passes bytes on to a writer, and sums them up.
pub(super) struct Summing<W> {
    inner: W,
    hasher: blake3::Hasher,
    bytes: u64,
    /// More bytes than this are refused.
    limit: u64,
}

impl<W: Write> Summing<W> {
    /// Sums up at most `limit` bytes.
    pub(super) fn new(inner: W, limit: u64) -> Self {
        Self { inner, hasher: blake3::Hasher::new(), bytes: 0, limit }
    }

    /// Returns the writer, the name of the bytes, and their number.
    pub(super) fn finish(self) -> (W, BlobId, u64) {
        (self.inner, BlobId(*self.hasher.finalize().as_bytes()), self.bytes)
    }
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.limit - self.bytes {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "there are more bytes than were announced"));
        }
        let count = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Turns the stored form of a blob into its bytes, passes them on to a writer, and sums them up.
pub struct Unpacking<W: Write + 'static> {
    inner: Decoding<W>,
}

enum Decoding<W: Write + 'static> {
    Plain(Box<Summing<W>>),
    Packed(Box<Frames<W>>),
}

/// Decompresses frames of zstd.
struct Frames<W> {
    decoder: Decoder<'static>,
    to: Summing<W>,
    /// Bytes that came out.
    buffer: Vec<u8>,
    /// The last frame is whole. A reader refuses one that is not, also if all of its bytes came out.
    is_whole: bool,
}

impl<W: Write> Frames<W> {
    fn take(&mut self, mut stored: &[u8]) -> io::Result<()> {
        // The decoder holds back what does not fit into the buffer.
        let mut holds_back = false;
        while !stored.is_empty() || holds_back {
            let status = self.decoder.run_on_buffers(stored, &mut self.buffer)?;
            self.to.write_all(&self.buffer[..status.bytes_written])?;
            self.is_whole = status.remaining == 0;
            holds_back = !self.is_whole && status.bytes_written == self.buffer.len();
            stored = &stored[status.bytes_read..];
        }
        Ok(())
    }
}

impl<W: Write + 'static> Unpacking<W> {
    /// Expects at most `limit` bytes.
    pub fn new(form: Form, inner: W, limit: u64) -> io::Result<Self> {
        let summing = Summing::new(inner, limit);
        let inner = match form {
            Form::Plain => Decoding::Plain(Box::new(summing)),
            Form::Packed => {
                let mut decoder = Decoder::new()?;
                decoder.set_parameter(DParameter::WindowLogMax(MAX_WINDOW_LOG))?;
                let buffer = vec![0; DECODED_BYTES];
                Decoding::Packed(Box::new(Frames { decoder, to: summing, buffer, is_whole: false }))
            }
        };
        Ok(Self { inner })
    }

    /// Takes the next bytes of the stored form.
    pub fn take(&mut self, stored: &[u8]) -> io::Result<()> {
        match &mut self.inner {
            Decoding::Plain(summing) => summing.write_all(stored),
            Decoding::Packed(frames) => frames.take(stored),
        }
    }

    /// Returns the writer, the name of the bytes that came out, and their number.
    pub fn finish(self) -> io::Result<(W, BlobId, u64)> {
        let summing = match self.inner {
            Decoding::Plain(summing) => *summing,
            Decoding::Packed(frames) if frames.is_whole => frames.to,
            Decoding::Packed(_) => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "its last frame is not whole"));
            }
        };
        Ok(summing.finish())
    }
}

/// Returns the name of all bytes of a reader, and their number.
pub fn sum(reader: impl Read) -> io::Result<(BlobId, u64)> {
    sum_with(reader, &mut Vec::new())
}

/// Like [`sum`], with a buffer that may be used again.
pub fn sum_with(mut reader: impl Read, buffer: &mut Vec<u8>) -> io::Result<(BlobId, u64)> {
    let mut summing = Summing::new(io::sink(), u64::MAX);
    buffer.resize(SUMMED_BYTES, 0);
    loop {
        match reader.read(buffer) {
            Ok(0) => break,
            Ok(count) => summing.write_all(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let (_, id, bytes) = summing.finish();
    Ok((id, bytes))
}

/// Returns the name of these bytes.
#[must_use]
pub fn sum_of(bytes: &[u8]) -> BlobId {
    BlobId(*blake3::hash(bytes).as_bytes())
}

/// Whether a blob that contains this part is worth compressing: the part shrinks by more than a twentieth.
#[must_use]
pub fn pack_pays(part: &[u8]) -> bool {
    zstd::bulk::compress(part, LEVEL).is_ok_and(|packed| packed.len() + part.len() / 20 < part.len())
}

/// Returns a reader of the compressed form of so many bytes. The same bytes have the same form, so that sending it can
/// be resumed. If there are more bytes or fewer, reading fails.
pub fn packing<'a>(reader: impl BufRead + 'a, bytes: u64) -> io::Result<impl Read + 'a> {
    let mut encoder = read::Encoder::with_buffer(reader, LEVEL)?;
    // A short blob then needs little memory, which takes longer to get than the blob to compress.
    encoder.set_pledged_src_size(Some(bytes))?;
    Ok(encoder)
}
