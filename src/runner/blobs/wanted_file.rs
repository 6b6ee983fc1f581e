//! A file that a restore writes.

use std::sync::Arc;

use crate::blobs::TreeDirectory;
use crate::model::BlobId;

/// A file that is wanted below a directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct WantedFile<'a> {
    pub(super) root: &'a Arc<TreeDirectory>,
    pub(super) path: &'a str,
    pub(super) blob: BlobId,
    pub(super) bytes: u64,
    pub(super) executable: bool,
    pub(super) mtime_ns: i64,
    /// Whether the directory is removed when the attempt has ended.
    pub(super) is_passing: bool,
}
