//! The upkeep of mirrors after packs were received: tidying and syncing, as soon as nobody is in a hurry.

use std::time::Duration;

use super::pool::Mirrors;
use crate::dispatcher::limits;

/// The upkeep that is left to do.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upkeep {
    /// Nothing is left.
    #[default]
    Done,
    /// Mirrors are to be tidied: that many packs were received since they were tidied last.
    Tidy { received: u32 },
    /// Mirrors are to be synced.
    Sync,
}

impl Upkeep {
    /// Returns the time without messages after which the next step is done.
    pub(crate) fn patience(self) -> Duration {
        match self {
            Self::Done => Duration::MAX,
            Self::Tidy { .. } => Duration::from_millis(limits::TIDY_AFTER_MS),
            Self::Sync => Duration::from_millis(limits::SETTLE_AFTER_MS),
        }
    }

    /// Notes that a pack was received. Runners ask for its commit now, and tidying would be in their way; but an
    /// observer that is never quiet must not put it off for ever.
    pub(crate) fn note_received(&mut self, mirrors: &Mirrors) {
        let received = if let Self::Tidy { received } = self { *received + 1 } else { 1 };
        *self = Self::Tidy { received };
        if received >= limits::UNTIDY_PACKS {
            self.step(mirrors);
        }
    }

    /// Does the next step.
    pub(crate) fn step(&mut self, mirrors: &Mirrors) {
        *self = match self {
            Self::Done => Self::Done,
            Self::Tidy { .. } => {
                mirrors.tidy();
                Self::Sync
            }
            Self::Sync => {
                mirrors.sync();
                Self::Done
            }
        };
    }

    /// Does everything that is left.
    pub(crate) fn finish(&mut self, mirrors: &Mirrors) {
        while *self != Self::Done {
            self.step(mirrors);
        }
    }
}
