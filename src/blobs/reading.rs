//! Reads stored blobs: as they are stored, for a peer that verifies them, or unpacked and verified here.

use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;

use super::manifest::{Entry, ManifestError, read_manifest};
use super::store::{BlobStore, StoredBlob};
use super::{Form, Unpacking};
use crate::model::BlobId;

/// The window of a compressed blob that is accepted, as for one that arrives.
const MAX_WINDOW_LOG: u32 = 23;

/// Bytes that are read at a time when a blob is checked.
const CHECK_BYTES: usize = 128 * 1024;

/// Sums up the bytes that are read.
struct Tapping<R> {
    inner: R,
    hasher: blake3::Hasher,
}

impl<R: Read> Read for Tapping<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

impl StoredBlob {
    /// Returns a reader of the blob's bytes.
    pub fn bytes(self) -> io::Result<Box<dyn BufRead>> {
        Ok(match self.form {
            Form::Plain => Box::new(BufReader::with_capacity(128 * 1024, self.file)),
            Form::Packed => {
                let mut decoder = zstd::stream::read::Decoder::new(self.file)?;
                decoder.window_log_max(MAX_WINDOW_LOG)?;
                Box::new(BufReader::with_capacity(128 * 1024, decoder))
            }
        })
    }
}

impl BlobStore {
    /// Passes each entry of a stored manifest to `each`. Returns false if the manifest is not there, or is damaged:
    /// then the entries that were passed count for nothing.
    pub fn manifest(
        &self,
        id: BlobId,
        each: &mut dyn FnMut(Entry) -> Result<(), ManifestError>,
    ) -> Result<bool, ManifestError> {
        let is_sound = self.sound_manifest(id, each)?;
        if is_sound == Some(false) {
            self.condemn(id);
        }
        Ok(is_sound == Some(true))
    }

    /// Like [`BlobStore::manifest`], but leaves a damaged manifest where it is. `None` if it is not there.
    fn sound_manifest(
        &self,
        id: BlobId,
        each: &mut dyn FnMut(Entry) -> Result<(), ManifestError>,
    ) -> Result<Option<bool>, ManifestError> {
        let Some(blob) = self.read(id)? else { return Ok(None) };
        let mut tapping = Tapping { inner: blob.bytes()?, hasher: blake3::Hasher::new() };
        let read = read_manifest(BufReader::with_capacity(64 * 1024, &mut tapping), each);
        // A damaged one is found by its bytes, whatever else is wrong with it.
        let rest = io::copy(&mut tapping, &mut io::sink());
        if rest.is_err() || tapping.hasher.finalize().as_bytes() != &id.0 {
            return Ok(Some(false));
        }
        read.map(|()| Some(true))
    }

    /// Whether a manifest is there and sound, and all of its blobs are there. Changes nothing.
    pub fn has_all_of(&self, manifest: BlobId) -> Result<bool, ManifestError> {
        let mut has_all = true;
        let is_sound = self.sound_manifest(manifest, &mut |entry| {
            if let Some(blob) = entry.blob() {
                has_all = has_all && self.read(blob)?.is_some();
            }
            Ok(())
        })?;
        Ok(has_all && is_sound == Some(true))
    }

    /// Returns the first blob of a manifest that is missing, the manifest itself included. What is there is left by the
    /// next sweep.
    pub fn missing_of(&self, manifest: BlobId) -> Result<Option<BlobId>, ManifestError> {
        if !self.renew(manifest)? {
            return Ok(Some(manifest));
        }
        let mut missing = None;
        let is_there = self.manifest(manifest, &mut |entry| {
            if let Some(blob) = entry.blob()
                && missing.is_none()
                && !self.renew(blob)?
            {
                missing = Some(blob);
            }
            Ok(())
        })?;
        Ok(if is_there { missing } else { Some(manifest) })
    }

    /// Returns a piece of the stored form of a blob, of at most `length` bytes, and whether it is the last one; `None`
    /// if the blob is not there. Nothing is verified: a peer that takes pieces verifies the whole.
    pub fn piece(&self, id: BlobId, offset: u64, length: usize) -> io::Result<Option<(Form, Vec<u8>, bool)>> {
        let Some(StoredBlob { file, form }) = self.read(id)? else { return Ok(None) };
        let whole = file.metadata()?.len();
        let left = usize::try_from(whole.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut piece = vec![0; left.min(length)];
        file.read_exact_at(&mut piece, offset)?;
        Ok(Some((form, piece, left <= length)))
    }

    /// Whether a blob is there, and its bytes are those of its name. One that is damaged is set aside.
    pub fn is_sound(&self, id: BlobId) -> io::Result<bool> {
        self.pieces(id, CHECK_BYTES, &mut |_, _, _| true)
    }

    /// Passes the stored form of a blob to `each` in pieces, of which the last one says so, until `each` returns false.
    /// Returns false, before the last piece, if the blob is not there or is damaged.
    pub fn pieces(
        &self,
        id: BlobId,
        length: usize,
        each: &mut dyn FnMut(Form, Vec<u8>, bool) -> bool,
    ) -> io::Result<bool> {
        let Some(StoredBlob { mut file, form }) = self.read(id)? else { return Ok(false) };
        let mut unpacking = Unpacking::new(form, io::sink(), u64::MAX)?;
        let mut next = |unpacking: &mut Unpacking<io::Sink>| -> io::Result<Option<Vec<u8>>> {
            let mut piece = vec![0; length];
            let mut filled = 0;
            while filled < length {
                match file.read(&mut piece[filled..])? {
                    0 => break,
                    count => filled += count,
                }
            }
            piece.truncate(filled);
            // Bytes that cannot be unpacked have the wrong sum in the end.
            Ok(unpacking.take(&piece).is_ok().then_some(piece))
        };
        let mut piece = next(&mut unpacking)?;
        loop {
            // One piece is always held back: the last one follows when all of them are verified.
            let following = match &piece {
                Some(piece) if piece.len() == length => next(&mut unpacking)?,
                Some(_) => Some(Vec::new()),
                None => None,
            };
            let (Some(now), Some(following)) = (piece, following) else {
                self.condemn(id);
                return Ok(false);
            };
            if now.len() < length || following.is_empty() {
                let is_whole = unpacking.finish().is_ok_and(|(_, found, _)| found == id);
                if !is_whole {
                    self.condemn(id);
                    return Ok(false);
                }
                each(form, now, true);
                return Ok(true);
            }
            if !each(form, now, false) {
                return Ok(true);
            }
            piece = Some(following);
        }
    }
}
