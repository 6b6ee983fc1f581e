//! Subscriptions to builds that change.

use crossbeam_channel::Receiver;

use super::error::OperationError;
use super::questions::Operations;
use super::views::{BuildView, Views};
use crate::dispatcher::core::{NoAnswer, ToCore, Watcher};

/// A subscription to changes of builds.
pub(crate) struct BuildWatch {
    watcher: Watcher,
    /// Woken when there is something to ask [`Operations::changed`] for.
    pub(crate) woken: Receiver<()>,
}

impl Operations {
    /// Subscribes to changes of builds. Once this returns, no later change is missed.
    pub(crate) fn watch(&self) -> Result<BuildWatch, OperationError> {
        let (watcher, woken) = Watcher::new();
        if !self.core.send(ToCore::Watch(watcher.clone())) {
            return Err(NoAnswer::Ending.into());
        }
        // The core takes messages in order, so an answer says that it knows the watcher.
        self.core.look(|_| ())?;
        Ok(BuildWatch { watcher, woken })
    }

    /// Returns the builds that have changed since the last call, in their present state.
    pub(crate) fn changed(&self, watch: &BuildWatch) -> Result<Vec<BuildView>, OperationError> {
        let views = Views::new(&*self.reader, &self.data)?;
        let mut changed = Vec::new();
        for id in watch.watcher.take() {
            // A build that was removed meanwhile is skipped.
            if let Some(build) = self.reader.build(id)? {
                changed.push(views.build(build)?);
            }
        }
        Ok(changed)
    }
}
