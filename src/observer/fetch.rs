//! Updates the mirror of a remote in a thread of its own, so that a slow network does not delay looking at the commits
//! that have already arrived.
//!
//! Touches only that mirror. Announces nothing: it wakes the thread in [`super::repo`], which does.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, at, select_biased};

use crate::clock;
use crate::error_chain::chain;
use crate::git;
use crate::model::RepoName;

use super::failures::Failures;
use super::wakes::WakePace;

/// Shortest interval between two fetches, because somebody else's server answers them.
const MIN_INTERVAL: Duration = Duration::from_secs(5);
/// Longest pause between two attempts after failures.
const MAX_RETRY: Duration = Duration::from_secs(300);

/// The body of the fetching thread.
pub(crate) struct Fetcher {
    pub repo: RepoName,
    /// The URL to fetch from. It may hold credentials, so it is never shown.
    pub url: String,
    pub mirror: PathBuf,
    /// The URL as it may be shown.
    pub source: String,
    pub interval: Duration,
    pub wake: Sender<()>,
    /// Wakes.
    pub asked: Receiver<()>,
    /// Set after the first fetch.
    pub is_fetched: Arc<AtomicBool>,
}

impl Fetcher {
    /// Fetches at once, and then at every interval and each wake, until the channel closes.
    pub(crate) fn run(&self, stop: &Receiver<()>) {
        let interval = self.interval.max(MIN_INTERVAL);
        let mut failures = Failures::new(interval, MAX_RETRY.max(interval));
        let mut pace = WakePace::default();
        loop {
            // Before the fetch: what is pushed while it goes on may need another one.
            pace.looked(clock::instant());
            let pause = match git::fetch_mirror(&self.url, &self.mirror) {
                Ok(()) => {
                    if failures.resolve() {
                        log::info!("{} can be fetched again", self.repo);
                    }
                    self.is_fetched.store(true, Ordering::Release);
                    // If a wake-up is waiting already, it is enough. If nobody receives it, the observer is ending.
                    self.wake.try_send(()).unwrap_or_default();
                    interval
                }
                Err(error) => {
                    let (text, pause) = failures.note(chain(&error));
                    if let Some(text) = text {
                        log::warn!("{} could not be fetched from {}: {text}; trying again", self.repo, self.source);
                    }
                    pause
                }
            };
            let mut due = clock::instant() + pause;
            loop {
                select_biased! {
                    // The channel never carries a message; its end stops the thread.
                    recv(stop) -> _ => return,
                    recv(at(due)) -> _ => break,
                    recv(self.asked) -> wake => {
                        if wake.is_err() {
                            return;
                        }
                        due = due.min(pace.ask(clock::instant()));
                    }
                }
            }
        }
    }
}
