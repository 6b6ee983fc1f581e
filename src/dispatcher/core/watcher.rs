//! A subscription to changes of builds.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Sender, TrySendError};

use crate::model::BuildId;
use crate::threads;

/// Someone who wants to hear of builds that change. Changes pile up as a set, so that a slow watcher misses none and
/// costs nothing.
#[derive(Debug, Clone)]
pub(crate) struct Watcher {
    changed: Arc<Mutex<BTreeSet<BuildId>>>,
    wake: Sender<()>,
}

impl Watcher {
    /// A watcher that is woken through `wake`, a channel of capacity 1.
    pub(crate) fn new(wake: Sender<()>) -> Self {
        Self { changed: Arc::default(), wake }
    }

    /// Notes changes; false once nobody listens.
    pub(crate) fn tell(&self, builds: &[BuildId]) -> bool {
        threads::lock(&self.changed).extend(builds);
        !matches!(self.wake.try_send(()), Err(TrySendError::Disconnected(())))
    }

    /// What changed since the last time.
    pub(crate) fn take(&self) -> BTreeSet<BuildId> {
        std::mem::take(&mut *threads::lock(&self.changed))
    }
}
