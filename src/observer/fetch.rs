//! Updates what is observed from its remote, in a thread of its own, so that a slow network delays no look at what is
//! already here.
//!
//! Touches the mirror of a URL, or the remote-tracking refs of a repository whose owner asked for `--fetch`; announces
//! nothing: it wakes the thread in [`super::repo`] that does.

use std::path::PathBuf;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::git::{self, GitError, Watched};
use crate::model::RepoName;

use super::trouble::{Trouble, chain};

/// The shortest time between two fetches: someone else's server answers them.
const MIN_INTERVAL: Duration = Duration::from_secs(5);
/// The longest time between two tries after failures.
const MAX_RETRY: Duration = Duration::from_secs(300);

/// What is updated.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// A bare mirror of a URL.
    Mirror { url: String, mirror: PathBuf },
    /// A repository with a remote of its own.
    Local(PathBuf),
}

/// The body of the thread.
#[derive(Debug)]
pub(crate) struct Fetcher {
    pub repo: RepoName,
    pub target: Target,
    /// What the repository is called towards people.
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
            let pause = match self.fetch() {
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

    fn fetch(&self) -> Result<(), GitError> {
        match &self.target {
            Target::Mirror { url, mirror } => git::fetch_mirror(url, mirror),
            Target::Local(path) => Watched::open(path)?.fetch(),
        }
    }
}
