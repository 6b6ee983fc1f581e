//! The places of the observed repositories, as the store has them.

use std::collections::hash_map::Entry;

use rustc_hash::FxHashMap;

use crate::dispatcher::grants::RepoPlace;
use crate::dispatcher::watchdog::Pulse;
use crate::model::{ObservedRefs, RepoName};
use crate::store::{Store, StoreError};

/// The store, and the pulse of the thread that waits for it.
type Writing<'a> = (&'a Pulse, &'a mut dyn Store);

/// The places from which observers read the repositories, and their default branches, as far as they were asked for.
/// The store has all of them, so they are known after a restart, too.
#[derive(Default)]
pub(super) struct Places(FxHashMap<RepoName, RepoPlace>);

impl Places {
    /// Returns the place of a repository. `read` gets it from the store if it was not asked for yet.
    pub(super) fn of(
        &mut self,
        repo: &RepoName,
        read: impl FnOnce() -> Result<RepoPlace, StoreError>,
    ) -> Result<&RepoPlace, StoreError> {
        Ok(match self.0.entry(repo.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(read()?),
        })
    }

    /// Notes where a repository is observed. A change is a move, or a second repository that goes on in the history of
    /// the first: only a person can tell which.
    pub(super) fn save_source(
        &mut self,
        (pulse, store): Writing<'_>,
        repo: &RepoName,
        source: &str,
    ) -> Result<(), StoreError> {
        let was = pulse.excused(|| store.repo_source(repo))?;
        if was.as_deref() == Some(source) {
            return Ok(());
        }
        if let Some(was) = was {
            log::warn!(
                "the repository {repo} is observed at {source} now, and was at {was}: if these are two repositories, \
                 observe one of them under another --name"
            );
        }
        pulse.excused(|| store.set_repo_source(repo, source))?;
        self.0.remove(repo);
        Ok(())
    }

    /// Notes what an observer tells of the refs of a repository. A default branch that it cannot tell now stays.
    pub(super) fn save_refs(
        &mut self,
        (pulse, store): Writing<'_>,
        repo: &RepoName,
        mut refs: ObservedRefs,
    ) -> Result<(), StoreError> {
        let was = pulse.excused(|| store.observed_refs(repo))?;
        refs.default_branch = refs.default_branch.or_else(|| was.default_branch.clone());
        if refs == was {
            return Ok(());
        }
        if let (Some(was), Some(now)) = (&was.default_branch, &refs.default_branch)
            && was != now
        {
            log::info!("the default branch of {repo} is {now} now, and was {was}");
        }
        pulse.excused(|| store.set_observed_refs(repo, &refs))?;
        self.0.remove(repo);
        Ok(())
    }
}
