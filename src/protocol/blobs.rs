//! The fields of messages about blobs: files that travel under the hash of their bytes. A `blob` is 64 hexadecimal
//! digits, the BLAKE3 hash of the bytes.

use serde::{Deserialize, Serialize};

/// The reason code of a `blob_refused` whose cause is a full disk.
pub const DISK_FULL: &str = "disk_full";
/// The reason code of a `blob_refused` whose bytes are not those of the blob's name.
pub const WRONG_BYTES: &str = "wrong_bytes";

/// The fields of `have`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobQuestion {
    pub attempt: u64,
    /// At most [`super::limits::MAX_ASKED_BLOBS`].
    pub blobs: Vec<String>,
}

/// The fields of `blob`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobPiece {
    pub attempt: u64,
    pub blob: String,
    /// The length of the blob itself.
    pub size: u64,
    /// Whether the pieces are its zstd form. False by default.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub zstd: bool,
    /// Where the piece belongs in the form that is sent.
    pub offset: u64,
    pub last: bool,
    pub bytes: u64,
}

/// A blob that the dispatcher lacks, and how much of its form has arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobOffset {
    pub blob: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub offset: u64,
}

/// The fields of `want`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRequest {
    pub attempt: u64,
    /// At most [`super::limits::MAX_ASKED_BLOBS`].
    pub blobs: Vec<WantedPiece>,
}

/// A piece of a blob that a runner wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedPiece {
    pub blob: String,
    /// The offset of the piece in the form in which the blob is stored.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub offset: u64,
    /// The most bytes of the piece.
    pub bytes: u64,
    /// Whether the dispatcher verifies the whole blob before it sends the piece, because what came before was not the
    /// blob. False by default.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub check: bool,
}

/// The fields of `blob` to a runner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobPart {
    pub attempt: u64,
    pub blob: String,
    /// Whether the stored form is that of zstd. False by default.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub zstd: bool,
    pub offset: u64,
    /// Whether the stored form ends behind this piece.
    pub last: bool,
    pub bytes: u64,
}

/// An artifact of a needed task, in a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeededArtifact {
    pub task: String,
    pub name: String,
    /// The blob with its manifest.
    pub manifest: String,
}

/// An artifact of an attempt that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactEnd {
    pub name: String,
    /// The blob with its manifest.
    pub manifest: String,
    /// Entries of the manifest.
    pub files: u64,
    /// The length of all files together.
    pub bytes: u64,
    /// How long it is kept at most, in milliseconds; as long as the build by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_ms: Option<u64>,
}

/// The artifacts of a build, for an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactsReport {
    pub build: u64,
    pub repo: String,
    pub artifacts: Vec<ArtifactReport>,
    /// Artifacts that were removed although the build is still there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<RemovedArtifact>,
    /// Whether the next message goes on with the list.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// An artifact of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactReport {
    pub task: String,
    /// The number of the attempt that left it.
    pub number: u32,
    /// The attempt's outcome.
    pub outcome: String,
    pub name: String,
    pub manifest: String,
    pub files: u64,
    pub bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_ms: Option<u64>,
}

/// An artifact of a build that is not there any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedArtifact {
    pub task: String,
    /// The number of the attempt that left it.
    pub number: u32,
    pub name: String,
    /// When it was removed, in milliseconds since the Unix epoch.
    pub removed_ms: i64,
    /// Why, as a phrase that follows its name.
    pub reason: String,
    pub reason_code: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
