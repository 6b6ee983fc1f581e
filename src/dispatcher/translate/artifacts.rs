//! Blobs and artifacts, as runners and operators name them.

use super::malformed;
use crate::dispatcher::limits;
use crate::model::{ArtifactRecord, BlobId, TakenArtifact};
use crate::protocol::blobs::{ArtifactEnd, NeededArtifact, WantedPiece};
use crate::protocol::hello::Refusal;
use crate::protocol::limits::{MAX_ARTIFACT_NAME_BYTES, MAX_ARTIFACTS, MAX_ASKED_BLOBS};

/// A piece of a blob that a runner wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WantedPart {
    pub(crate) blob: BlobId,
    pub(crate) offset: u64,
    /// At most [`limits::WANTED_PIECE_BYTES`].
    pub(crate) bytes: usize,
    /// Whether the whole blob is verified first.
    pub(crate) check: bool,
}

/// Returns the blob that a message names.
pub(crate) fn blob(text: &str) -> Result<BlobId, Refusal> {
    text.parse().map_err(malformed)
}

/// Returns the blobs that a message names.
pub(crate) fn blobs(texts: &[String]) -> Result<Vec<BlobId>, Refusal> {
    if texts.len() > MAX_ASKED_BLOBS {
        return Err(malformed(format!("a message names at most {MAX_ASKED_BLOBS} blobs, not {}", texts.len())));
    }
    texts.iter().map(|text| blob(text)).collect()
}

/// Returns the pieces that a request for blobs names. One that is too long is answered with a shorter one.
pub(crate) fn wanted_parts(pieces: &[WantedPiece]) -> Result<Vec<WantedPart>, Refusal> {
    if pieces.len() > MAX_ASKED_BLOBS {
        let text = format!("a message asks for at most {MAX_ASKED_BLOBS} pieces, not {}", pieces.len());
        return Err(malformed(text));
    }
    let part = |WantedPiece { blob: name, offset, bytes, check }: &WantedPiece| {
        let bytes = usize::try_from(*bytes).unwrap_or(usize::MAX).min(limits::WANTED_PIECE_BYTES);
        Ok(WantedPart { blob: blob(name)?, offset: *offset, bytes, check: *check })
    };
    pieces.iter().map(part).collect()
}

/// Returns an artifact that an attempt takes as its lease names it.
pub(crate) fn needed_artifact(TakenArtifact { task, name, manifest }: TakenArtifact) -> NeededArtifact {
    NeededArtifact { task: task.to_string(), name, manifest: manifest.to_string() }
}

/// Returns the artifacts that a result names.
pub(crate) fn left_artifacts(ends: Vec<ArtifactEnd>) -> Result<Vec<ArtifactRecord>, Refusal> {
    if ends.len() > MAX_ARTIFACTS {
        return Err(malformed(format!("a result names at most {MAX_ARTIFACTS} artifacts, not {}", ends.len())));
    }
    let mut artifacts: Vec<ArtifactRecord> = Vec::with_capacity(ends.len());
    for ArtifactEnd { name, manifest, files, bytes, keep_ms } in ends {
        let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.len() > MAX_ARTIFACT_NAME_BYTES || !name.chars().all(is_fine) {
            return Err(malformed(format!("`{}` cannot name an artifact", Refusal::quote(&name))));
        }
        if artifacts.iter().any(|other| other.name == name) {
            return Err(malformed(format!("a result names the artifact `{name}` twice")));
        }
        artifacts.push(ArtifactRecord { name, manifest: blob(&manifest)?, files, bytes, keep_ms, removed: None });
    }
    Ok(artifacts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifacts_of_a_result_have_names_of_their_own_and_manifests() {
        let end = |name: &str, manifest: &str| ArtifactEnd {
            name: name.into(),
            manifest: manifest.into(),
            files: 1,
            bytes: 2,
            keep_ms: None,
        };
        let id = "0f".repeat(32);
        assert_eq!(left_artifacts(vec![end("files", &id), end("a.b_c-d", &id)]).unwrap().len(), 2);
        for wrong in [
            vec![end("files", "0f")],
            vec![end("", &id)],
            vec![end("../x", &id)],
            vec![end("a", &id), end("a", &id)],
            (0..101).map(|n| end(&format!("n{n}"), &id)).collect(),
        ] {
            assert!(left_artifacts(wrong.clone()).is_err(), "{wrong:?}");
        }
        let piece = WantedPiece { blob: id.clone(), offset: 7, bytes: 1 << 40, check: false };
        assert_eq!(wanted_parts(std::slice::from_ref(&piece)).unwrap()[0].bytes, limits::WANTED_PIECE_BYTES);
        assert!(wanted_parts(&vec![piece; 1001]).unwrap_err().text.contains("at most 1000 pieces"));
        assert!(blobs(&vec![id; 1001]).unwrap_err().text.contains("at most 1000 blobs"));
    }
}
