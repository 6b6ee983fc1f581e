//! A blob that arrives in pieces, for one owner. Bytes that are there are not sent again, whatever interrupted the
//! sender; what has arrived becomes whole only if its bytes are those of its name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

use rustix::fs::Advice;

use super::content::{Form, Unpacking};
use super::store::{BlobStore, PART, make_private};
use crate::model::BlobId;

/// Bytes that are written to the disk early. Fewer at a time are not worth the call.
const EARLY_BYTES: u64 = 256 * 1024;

/// A blob of which the next piece is awaited.
pub struct Arriving {
    id: BlobId,
    /// The name of the blob once it is whole.
    path: PathBuf,
    file: File,
    stored: u64,
    /// The part of it for which the kernel has begun to write to the disk.
    early: u64,
    bytes: u64,
    unpacking: Unpacking<io::Sink>,
}

/// The reason why a piece was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ArrivingError {
    #[error("could not store a blob")]
    Store(#[source] io::Error),
    /// The pieces are not those of the blob.
    #[error("the bytes of blob {id} are not those of its name")]
    Wrong { id: BlobId },
    /// The piece is not the next one.
    #[error("blob {id} continues at {stored}, not at {offset}")]
    Gap { id: BlobId, stored: u64, offset: u64 },
}

impl BlobStore {
    /// Begins to receive a blob of `bytes` bytes, or goes on with it, at this offset of its stored form.
    pub fn receive(
        &self,
        owner: &str,
        (id, bytes): (BlobId, u64),
        form: Form,
        offset: u64,
    ) -> Result<Arriving, ArrivingError> {
        let path = self.arriving(owner, id, form);
        let part = path.with_added_extension(PART);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(offset == 0).mode(0o600);
        let opened = options.open(&part).or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(error);
            }
            make_private(part.parent().unwrap_or(&part))?;
            options.open(&part)
        });
        let mut file = opened.map_err(ArrivingError::Store)?;
        let mut unpacking = Unpacking::new(form, io::sink(), bytes).map_err(ArrivingError::Store)?;
        let mut stored = 0;
        let mut buffer = vec![0; if offset == 0 { 0 } else { 128 * 1024 }];
        while stored < offset {
            let count = file.read(&mut buffer).map_err(ArrivingError::Store)?;
            if count == 0 {
                break;
            }
            stored += count as u64;
            // Bytes that make no sense are found again at the end.
            if unpacking.take(&buffer[..count]).is_err() {
                drop(fs::remove_file(&part));
                return Err(ArrivingError::Wrong { id });
            }
        }
        if stored != offset {
            return Err(ArrivingError::Gap { id, stored, offset });
        }
        Ok(Arriving { id, path, file, stored, early: stored, bytes, unpacking })
    }
}

impl Arriving {
    /// The name of the blob.
    pub fn id(&self) -> BlobId {
        self.id
    }

    /// Takes the piece at this offset of the stored form. Returns the offset of the next one.
    pub fn add(&mut self, offset: u64, piece: &[u8]) -> Result<u64, ArrivingError> {
        if offset != self.stored {
            return Err(ArrivingError::Gap { id: self.id, stored: self.stored, offset });
        }
        // A disk that is full may have taken a part.
        if let Err(error) = self.file.write_all_at(piece, self.stored) {
            drop(self.file.set_len(self.stored));
            return Err(ArrivingError::Store(error));
        }
        if self.unpacking.take(piece).is_err() {
            drop(fs::remove_file(self.path.with_added_extension(PART)));
            return Err(self.wrong());
        }
        self.stored += piece.len() as u64;
        self.write_early();
        Ok(self.stored)
    }

    /// Lets the kernel begin to write to the disk, so that less is left when all blobs are synced. The advice drops
    /// pages that are on the disk, and begins to write those that are not.
    fn write_early(&mut self) {
        let Some(length) = NonZeroU64::new(self.stored - self.early).filter(|length| length.get() >= EARLY_BYTES)
        else {
            return;
        };
        if let Err(error) = rustix::fs::fadvise(&self.file, self.early, Some(length), Advice::DontNeed) {
            log::debug!("blob {} is not written early: {error}", self.id);
        }
        self.early = self.stored;
    }

    /// Ends the blob behind its last piece. It is whole if its bytes are those of its name.
    pub fn finish(self) -> Result<(), ArrivingError> {
        let wrong = self.wrong();
        let Self { id, path, bytes, unpacking, .. } = self;
        match unpacking.finish() {
            Ok((_, found, count)) if (found, count) == (id, bytes) => {
                fs::rename(path.with_added_extension(PART), path).map_err(ArrivingError::Store)
            }
            Ok(_) | Err(_) => {
                drop(fs::remove_file(path.with_added_extension(PART)));
                Err(wrong)
            }
        }
    }

    fn wrong(&self) -> ArrivingError {
        ArrivingError::Wrong { id: self.id }
    }
}
