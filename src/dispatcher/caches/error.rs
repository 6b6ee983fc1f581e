//! Why something about caches was not done.

use crate::blobs::ManifestError;
use crate::error_chain::chain;
use crate::store::StoreError;

/// Why something about caches was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CacheError {
    #[error("a cache of {bytes} bytes is larger than the {max} bytes that the dispatcher takes (--keep-caches)")]
    TooLarge { bytes: u64, max: u64 },
    #[error("its blobs are not all there")]
    Incomplete,
    #[error("there is no cache with a key that begins with {key}: `surveil cache list` lists them")]
    NoKey { key: String },
    #[error("several keys begin with {key}: {}", candidates.join(", "))]
    Ambiguous { key: String, candidates: Vec<String> },
    #[error("the dispatcher cannot write it to its disk now: {0}")]
    NotNow(String),
    #[error("the dispatcher is shutting down")]
    Ending,
    #[error("the caches cannot be read")]
    Store(#[from] StoreError),
    #[error("the blobs of a cache cannot be read")]
    Manifest(#[from] ManifestError),
}

impl CacheError {
    /// The words for the log of an attempt.
    pub(crate) fn told(&self) -> String {
        chain(self)
    }
}
