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

/// The reason of a refusal that was none.
const NONSENSE: &str = "the dispatcher's answer makes no sense";

/// Reads an answer about blobs, with its payload. One that makes no sense is a refusal: otherwise the slot would wait
/// for ever. Returns `None` for any other message.
pub(crate) fn heard(message: ToRunner, payload: Vec<u8>) -> Option<(AttemptId, BlobAnswer)> {
    let (attempt, answer) = match message {
        ToRunner::Lacks { attempt, blobs } => {
            let read = |BlobOffset { blob, offset }: BlobOffset| Some((blob.parse().ok()?, offset));
            (attempt, blobs.into_iter().map(read).collect::<Option<_>>().map(BlobAnswer::Lacks))
        }
        ToRunner::BlobAck { attempt, .. } => (attempt, Some(BlobAnswer::Taken)),
        ToRunner::Settled { attempt } => (attempt, Some(BlobAnswer::Settled)),
        ToRunner::BlobRefused { attempt, reason, reason_code } => {
            let cause = match reason_code.as_deref() {
                Some(DISK_FULL) => RefusedCause::DiskFull,
                Some(WRONG_BYTES) => RefusedCause::WrongBytes,
                Some(_) | None => RefusedCause::Other,
            };
            (attempt, Some(BlobAnswer::Refused { reason, cause }))
        }
        ToRunner::Blob(BlobPart { attempt, blob, zstd, offset, last, .. }) => {
            let form = if zstd { Form::Packed } else { Form::Plain };
            let piece = |blob| BlobAnswer::Piece(BlobBytes { blob, form, offset, last, bytes: payload });
            (attempt, blob.parse().ok().map(piece))
        }
        ToRunner::BlobMissing { attempt, blob, reason } => {
            (attempt, blob.parse().ok().map(|blob| BlobAnswer::Missing { blob, reason }))
        }
        ToRunner::Cache(CacheAnswer { attempt, key, max_bytes, found }) => {
            let found = found.map_or(Some(None), |found| cache_offer(found).map(Some));
            (attempt, found.map(|found| BlobAnswer::Cache { key, max_bytes, found }))
        }
        ToRunner::CacheSaved { attempt, key, reason } => (attempt, Some(BlobAnswer::CacheSaved { key, reason })),
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
    let nonsense = || BlobAnswer::Refused { reason: NONSENSE.to_owned(), cause: RefusedCause::Other };
    Some((AttemptId(attempt), answer.unwrap_or_else(nonsense)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_makes_no_sense_is_a_refusal_for_the_slot_that_waits() {
        let (attempt, blob, reason) = (7, "zz".to_owned(), String::new());
        let offset = BlobOffset { blob: blob.clone(), offset: 0 };
        let found = FoundCache {
            manifest: blob.clone(),
            key: "k".into(),
            exact: true,
            files: 1,
            bytes: 1,
            from: "b1/test".into(),
            scope: "main".into(),
        };
        let cache = CacheAnswer { attempt, key: "k".into(), max_bytes: 1, found: Some(found) };
        let part = BlobPart { attempt, blob: blob.clone(), zstd: false, offset: 0, last: true, bytes: 0 };
        for answer in [
            ToRunner::Lacks { attempt, blobs: vec![offset] },
            ToRunner::Blob(part),
            ToRunner::BlobMissing { attempt, blob, reason },
            ToRunner::Cache(cache),
        ] {
            let refused = BlobAnswer::Refused { reason: NONSENSE.to_owned(), cause: RefusedCause::Other };
            assert_eq!(heard(answer, Vec::new()), Some((AttemptId(7), refused)));
        }
        assert_eq!(heard(ToRunner::Drain, Vec::new()), None);
    }
}
