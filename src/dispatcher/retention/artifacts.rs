//! The blobs of artifacts: those that no build has any more are removed.

use std::collections::HashSet;

use crate::blobs::{BlobStore, ManifestError, Swept};
use crate::clock;
use crate::dispatcher::limits;
use crate::model::{ArtifactRecord, Attempt, BlobId, WallTime};
use crate::store::{Reader, StoreError};

/// Why blobs are not swept now.
#[derive(Debug, thiserror::Error)]
pub(super) enum SweepError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("could not remove blobs")]
    Files(#[from] std::io::Error),
}

/// Whether an artifact is kept at `now`, as far as its own time is concerned.
pub(crate) fn is_kept(artifact: &ArtifactRecord, attempt: &Attempt, now: WallTime) -> bool {
    let Some((keep_ms, ended)) = artifact.keep_ms.zip(attempt.finished_at) else { return true };
    now.0.saturating_sub(ended.0) < i64::try_from(keep_ms).unwrap_or(i64::MAX)
}

/// Removes the blobs that no artifact in the store has, and that were not used for a while.
pub(super) fn sweep(blobs: &BlobStore, reader: &dyn Reader, now: WallTime) -> Result<Swept, SweepError> {
    let before = WallTime(clock::wall().0.saturating_sub_unsigned(limits::BLOB_GRACE_MS));
    let mut manifests: HashSet<BlobId> = HashSet::new();
    for (attempt, artifacts) in reader.all_artifacts()? {
        // A build that was removed since has no attempts.
        let Some(attempt) = reader.attempt(attempt)? else { continue };
        manifests.extend(artifacts.iter().filter(|one| is_kept(one, &attempt, now)).map(|one| one.manifest));
    }
    let mut marked = manifests.clone();
    for manifest in manifests {
        // The blobs of a damaged manifest are of no use without it.
        blobs.manifest(manifest, &mut |entry| {
            marked.extend(entry.blob());
            Ok(())
        })?;
    }
    Ok(blobs.sweep(&marked, before)?)
}
