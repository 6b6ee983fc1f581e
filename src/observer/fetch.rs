//! Updates the mirror of a remote, in a thread of its own, so that a slow network delays no look at what is already
//! here.
//!
//! Touches that mirror and nothing else; announces nothing: it wakes the thread in [`super::repo`] that does.

use std::path::PathBuf;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::error_chain::chain;
use crate::git;
use crate::model::RepoName;

use super::trouble::Trouble;

/// The shortest time between two fetches: someone else's server answers them.
const MIN_INTERVAL: Duration = Duration::from_secs(5);
/// The longest time between two tries after failures.
const MAX_RETRY: Duration = Duration::from_secs(300);

/// The body of the thread.
pub(crate) struct Fetcher {
    pub repo: RepoName,
    /// May hold credentials, so it is never shown.
    pub url: String,
    pub mirror: PathBuf,
    /// The URL as it may be shown.
    pub source: String,
    pub interval: Duration,
    pub wake: Sender<()>,
}

impl Fetcher {
    /// Fetches at once and then every interval, until the channel closes.
    pub(crate) fn run(&self, stop: &Receiver<()>) {
        let interval = self.interval.max(MIN_INTERVAL);
        let mut trouble = Trouble::new(interval, MAX_RETRY.max(interval));
        loop {
            let pause = match git::fetch_mirror(&self.url, &self.mirror) {
                Ok(()) => {
                    if trouble.resolve() {
                        log::info!("{} can be fetched again", self.repo);
                    }
                    // One message waiting is enough, and without a receiver the observer is ending.
                    self.wake.try_send(()).unwrap_or_default();
                    interval
                }
                Err(error) => {
                    let (text, pause) = trouble.note(chain(&error));
                    if let Some(text) = text {
                        log::warn!("{} could not be fetched from {}: {text}; trying again", self.repo, self.source);
                    }
                    pause
                }
            };
            if stop.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }
}
