//! The tiers of a runner's tool cache: its own disk, and behind it the entries that the dispatcher keeps for all
//! runners. All attempts share them; each sees the scopes that its lease names.

use std::path::PathBuf;
use std::sync::Arc;

use super::disk::DiskTier;
use super::shared::SharedTier;
use crate::runner::session::CurrentSession;

/// The tiers.
#[derive(Debug)]
pub(crate) struct Tiers {
    pub(super) disk: DiskTier,
    pub(super) shared: SharedTier,
}

impl Tiers {
    /// The tiers of a runner whose disk tier is in this directory ([`DiskTier::new`]).
    pub(crate) fn new(root: PathBuf, limit: u64, min_free: u64) -> Self {
        Self { disk: DiskTier::new(root, limit, min_free), shared: SharedTier::new() }
    }

    /// The session with the dispatcher, which the runner sets.
    pub(crate) fn current(&self) -> Arc<CurrentSession> {
        self.shared.current().clone()
    }
}
