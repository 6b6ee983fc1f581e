//! Messages about blobs and artifacts, between the wire and the model.

use super::routes::{BlobAnswer, BlobBytes, CacheOffer, RefusedCause};
use crate::blobs::Form;
use crate::model::{ArtifactRecord, AttemptId, BlobId, CacheKey, SavedCache, TakenArtifact, TaskName};
use crate::protocol::blobs::{
    ArtifactEnd, BlobOffset, BlobPart, BlobPiece, BlobQuestion, BlobRequest, DISK_FULL, NeededArtifact, WRONG_BYTES,
    WantedPiece,
};
use crate::protocol::caches::{CacheAnswer, CacheQuestion, CacheSave, FoundCache};
use crate::protocol::runner::{FromRunner, ToRunner};
use crate::transport::Frame;

/// Reads an answer about blobs, with its payload. Returns `None` for any other message, and for one that makes no
/// sense.
pub(crate) fn heard(message: ToRunner, payload: Vec<u8>) -> Option<(AttemptId, BlobAnswer)> {
    let (attempt, answer) = match message {
        ToRunner::Lacks { attempt, blobs } => {
            let read = |BlobOffset { blob, offset }: BlobOffset| Some((blob.parse().ok()?, offset));
            (attempt, BlobAnswer::Lacks(blobs.into_iter().map(read).collect::<Option<_>>()?))
        }
        ToRunner::BlobAck { attempt, .. } => (attempt, BlobAnswer::Taken),
        ToRunner::Settled { attempt } => (attempt, BlobAnswer::Settled),
        ToRunner::BlobRefused { attempt, reason, reason_code } => {
            let cause = match reason_code.as_deref() {
                Some(DISK_FULL) => RefusedCause::DiskFull,
                Some(WRONG_BYTES) => RefusedCause::WrongBytes,
                Some(_) | None => RefusedCause::Other,
            };
            (attempt, BlobAnswer::Refused { reason, cause })
        }
        ToRunner::Blob(BlobPart { attempt, blob, zstd, offset, last, .. }) => {
            let form = if zstd { Form::Packed } else { Form::Plain };
            let piece = BlobBytes { blob: blob.parse().ok()?, form, offset, last, bytes: payload };
            (attempt, BlobAnswer::Piece(piece))
        }
        ToRunner::BlobMissing { attempt, blob, reason } => {
            (attempt, BlobAnswer::Missing { blob: blob.parse().ok()?, reason })
        }
        ToRunner::Cache(CacheAnswer { attempt, key, max_bytes, found }) => {
            let found = match found {
                Some(found) => Some(cache_offer(found)?),
                None => None,
            };
            (attempt, BlobAnswer::Cache { key, max_bytes, found })
        }
        ToRunner::CacheSaved { attempt, key, reason } => (attempt, BlobAnswer::CacheSaved { key, reason }),
        ToRunner::Registered { .. }
        | ToRunner::Runtask(_)
        | ToRunner::SourceAhead { .. }
        | ToRunner::Pack { .. }
        | ToRunner::SourceMissing { .. }
        | ToRunner::Entry(_)
        | ToRunner::EntryAck { .. }
        | ToRunner::Secrets { .. }
        | ToRunner::SecretsMissing { .. }
        | ToRunner::Cancel { .. }
        | ToRunner::LogAck { .. }
        | ToRunner::Ok { .. }
        | ToRunner::Stale { .. }
        | ToRunner::Ack { .. }
        | ToRunner::Drain
        | ToRunner::Error(_) => return None,
    };
    Some((AttemptId(attempt), answer))
}

fn cache_offer(found: FoundCache) -> Option<CacheOffer> {
    let FoundCache { key, manifest, exact, files, bytes, from, scope } = found;
    let (key, manifest) = (key.parse().ok()?, manifest.parse().ok()?);
    Some(CacheOffer { key, manifest, is_exact: exact, files, bytes, from, scope })
}

pub(super) fn find_cache(attempt: AttemptId, family: &CacheKey, key: &CacheKey) -> Frame {
    let (family, key) = (family.to_string(), key.to_string());
    Frame::new(&FromRunner::FindCache(CacheQuestion { attempt: attempt.0, family, key }))
}

pub(super) fn save_cache(attempt: AttemptId, saved: &SavedCache) -> Frame {
    let SavedCache { family, key, about, manifest, files, bytes } = saved;
    Frame::new(&FromRunner::SaveCache(CacheSave {
        attempt: attempt.0,
        family: family.to_string(),
        key: key.to_string(),
        about: about.clone(),
        manifest: manifest.to_string(),
        files: *files,
        size: *bytes,
    }))
}

pub(super) fn have(attempt: AttemptId, blobs: &[BlobId]) -> Frame {
    let blobs = blobs.iter().map(BlobId::to_string).collect();
    Frame::new(&FromRunner::Have(BlobQuestion { attempt: attempt.0, blobs }))
}

/// A piece of a blob: the blob's name and length, the form that is sent, and the piece's place in it.
pub(super) struct Piece {
    pub(super) blob: BlobId,
    pub(super) size: u64,
    pub(super) form: Form,
    pub(super) offset: u64,
    pub(super) last: bool,
}

pub(super) fn piece(attempt: AttemptId, piece: &Piece, bytes: Vec<u8>) -> Frame {
    let Piece { blob, size, form, offset, last } = *piece;
    let message = FromRunner::Blob(BlobPiece {
        attempt: attempt.0,
        blob: blob.to_string(),
        size,
        zstd: form == Form::Packed,
        offset,
        last,
        bytes: bytes.len() as u64,
    });
    Frame::with_payload(&message, bytes)
}

pub(super) fn settle(attempt: AttemptId, manifests: &[BlobId]) -> Frame {
    let manifests = manifests.iter().map(BlobId::to_string).collect();
    Frame::new(&FromRunner::Settle { attempt: attempt.0, manifests })
}

/// Asks for pieces of blobs: of each the offset, the most bytes, and whether the dispatcher verifies the blob first.
pub(super) fn want(attempt: AttemptId, pieces: &[(BlobId, u64, u64, bool)]) -> Frame {
    let piece = |(blob, offset, bytes, check): &(BlobId, u64, u64, bool)| WantedPiece {
        blob: blob.to_string(),
        offset: *offset,
        bytes: *bytes,
        check: *check,
    };
    let blobs = pieces.iter().map(piece).collect();
    Frame::new(&FromRunner::Want(BlobRequest { attempt: attempt.0, blobs }))
}

/// Returns the artifacts that a lease names. Returns the reason if they make no sense.
pub(crate) fn taken_artifacts(artifacts: Vec<NeededArtifact>) -> Result<Vec<TakenArtifact>, String> {
    let read = |NeededArtifact { task, name, manifest }: NeededArtifact| {
        let manifest = manifest.parse::<BlobId>().map_err(|error| error.to_string())?;
        Ok(TakenArtifact { task: TaskName::new(&task).map_err(|error| error.to_string())?, name, manifest })
    };
    artifacts.into_iter().map(read).collect()
}

/// Returns the artifacts of a result as they are sent.
pub(crate) fn artifact_ends(artifacts: &[ArtifactRecord]) -> Vec<ArtifactEnd> {
    let end = |record: &ArtifactRecord| {
        let ArtifactRecord { name, manifest, files, bytes, keep_ms, .. } = record.clone();
        ArtifactEnd { name, manifest: manifest.to_string(), files, bytes, keep_ms }
    };
    artifacts.iter().map(end).collect()
}

/// Reads the artifacts of a result in the journal. Returns `None` if they are none.
pub(crate) fn read_artifact_ends(ends: Vec<ArtifactEnd>) -> Option<Vec<ArtifactRecord>> {
    let read = |ArtifactEnd { name, manifest, files, bytes, keep_ms }: ArtifactEnd| {
        Some(ArtifactRecord { name, manifest: manifest.parse().ok()?, files, bytes, keep_ms, removed: None })
    };
    ends.into_iter().map(read).collect()
}
