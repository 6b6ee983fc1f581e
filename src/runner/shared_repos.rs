//! The state of each repository that the slots share: the right to change its store, and the commits that the store
//! has. A commit is fetched once, however many slots want it. The list of commits is kept in a file, so that a
//! restarted runner need not fetch everything again.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, Sender, bounded, select};

use super::layout::Layout;
use super::limits::RECENT_COMMITS;
use crate::model::{CommitId, RepoName};
use crate::threads;

/// All repositories of a work directory.
#[derive(Debug)]
pub(super) struct SharedRepos {
    layout: Arc<Layout>,
    repos: Mutex<BTreeMap<RepoName, Arc<SharedRepo>>>,
}

/// One repository.
#[derive(Debug)]
pub(super) struct SharedRepo {
    /// The right to change the store. A channel and not a mutex, because a slot that waits for it can be cancelled.
    token: Token,
    /// Commits whose whole trees are in the store, newest last.
    recent: Mutex<Vec<CommitId>>,
    /// The file differs from `recent`.
    is_unsaved: AtomicBool,
    file: PathBuf,
}

#[derive(Debug)]
struct Token {
    give_back: Sender<()>,
    take: Receiver<()>,
}

/// The right to change a store. Dropping it gives the right back.
#[derive(Debug)]
pub(super) struct Changing<'a> {
    token: &'a Sender<()>,
}

impl SharedRepos {
    pub(super) fn new(layout: Arc<Layout>) -> Self {
        Self { layout, repos: Mutex::default() }
    }

    /// Returns a repository, creating its state if needed.
    pub(super) fn repo(&self, name: &RepoName) -> Arc<SharedRepo> {
        let mut repos = threads::lock(&self.repos);
        repos.entry(name.clone()).or_insert_with(|| Arc::new(SharedRepo::new(self.layout.recent(name)))).clone()
    }

    /// Returns the newest commit of each repository that earlier runs had.
    pub(super) fn warm(&self) -> Vec<(RepoName, CommitId)> {
        let Ok(entries) = fs::read_dir(self.layout.stores()) else { return Vec::new() };
        let names = entries.flatten().filter_map(|entry| {
            let name = entry.file_name();
            RepoName::new(name.to_str()?.strip_suffix(".recent")?).ok()
        });
        names.filter_map(|name| Some((name.clone(), *self.repo(&name).recent().last()?))).collect()
    }
}

impl SharedRepo {
    fn new(file: PathBuf) -> Self {
        let (give_back, take) = bounded(1);
        // The new channel has room for the token.
        let _ = give_back.send(());
        let text = fs::read_to_string(&file).unwrap_or_default();
        let recent = Mutex::new(text.lines().filter_map(|line| line.parse().ok()).collect());
        Self { token: Token { give_back, take }, recent, is_unsaved: AtomicBool::new(false), file }
    }

    /// Waits for the right to change the store. Returns `None` if cancelled first.
    pub(super) fn change(&self, cancel: &Receiver<()>) -> Option<Changing<'_>> {
        select! {
            recv(self.token.take) -> _ => Some(Changing { token: &self.token.give_back }),
            recv(cancel) -> _ => None,
        }
    }

    /// Returns the right to change the store, if it is free.
    pub(super) fn try_change(&self) -> Option<Changing<'_>> {
        self.token.take.try_recv().ok().map(|()| Changing { token: &self.token.give_back })
    }

    pub(super) fn recent(&self) -> Vec<CommitId> {
        threads::lock(&self.recent).clone()
    }

    /// Adds a commit that the store has now. [`SharedRepo::save`] writes it to the file, when no attempt waits.
    pub(super) fn add(&self, commit: CommitId) {
        let mut recent = threads::lock(&self.recent);
        recent.retain(|known| *known != commit);
        recent.push(commit);
        let surplus = recent.len().saturating_sub(RECENT_COMMITS);
        recent.drain(..surplus);
        self.is_unsaved.store(true, Ordering::Relaxed);
    }

    /// Writes the list to its file if it has changed.
    pub(super) fn save(&self) {
        // The mark is cleared before the list is read: a commit that is added meanwhile is saved again.
        if self.is_unsaved.swap(false, Ordering::Relaxed) {
            let recent = threads::lock(&self.recent);
            let text: String = recent.iter().map(|commit| format!("{commit}\n")).collect();
            self.write(&text);
        }
    }

    /// Forgets all commits, because the store is gone.
    pub(super) fn clear(&self) {
        threads::lock(&self.recent).clear();
        self.write("");
    }

    fn write(&self, text: &str) {
        // Without the file, a later start of the runner fetches more than it needs.
        if let Err(error) = fs::write(&self.file, text) {
            log::debug!("could not write {}: {error}", self.file.display());
        }
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        let _ = self.token.send(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(n: usize) -> CommitId {
        format!("{n:040x}").parse().unwrap()
    }

    #[test]
    fn the_newest_commits_are_remembered_across_runs() {
        let directory = tempfile::tempdir().unwrap();
        let name = RepoName::new("app").unwrap();
        let layout = Arc::new(Layout::open(directory.path()).unwrap());
        let shared = SharedRepos::new(layout.clone()).repo(&name);
        for n in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 3] {
            shared.add(commit(n));
        }
        shared.save();
        let wanted: Vec<_> = [2, 4, 5, 6, 7, 8, 9, 3].map(commit).to_vec();
        assert_eq!(shared.recent(), wanted);
        let repos = SharedRepos::new(layout);
        assert_eq!(repos.repo(&name).recent(), wanted);
        assert_eq!(repos.warm(), [(name, commit(3))]);
    }

    #[test]
    fn one_slot_at_a_time_changes_a_store_and_a_cancelled_one_waits_no_longer() {
        let directory = tempfile::tempdir().unwrap();
        let repos = SharedRepos::new(Arc::new(Layout::open(directory.path()).unwrap()));
        let shared = repos.repo(&RepoName::new("app").unwrap());
        let (cancel, cancelled) = bounded(1);
        let first = shared.change(&cancelled).unwrap();
        cancel.send(()).unwrap();
        assert!(shared.change(&cancelled).is_none());
        drop(first);
        assert!(shared.change(&cancelled).is_some());
    }
}
