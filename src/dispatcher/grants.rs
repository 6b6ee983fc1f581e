//! The grants of a session: which sources its runner may ask for, and which streams it may write.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use rustc_hash::FxHashMap;

use super::data_dir::LogPlace;
use crate::model::output::{MAX_NEEDED_OUTPUT_BYTES, add_outputs};
use crate::model::{AttemptId, BranchName, BuildSource, CommitId, Outputs, StreamId, StreamKind, TaskSpec};
use crate::scheduler::Lease;
use crate::threads;

/// The grant that comes with a lease: the source of a commit, and a place for the log, which names the repository.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) commit: CommitId,
    pub(crate) log: LogPlace,
    /// The build of a task that may write further tasks.
    pub(crate) expands: Option<Arc<BuildSource>>,
    /// The build and the task of an attempt that may ask for secrets.
    pub(crate) secrets: Option<(Arc<BuildSource>, Arc<TaskSpec>)>,
}

/// The facts of a repository that tasks are told: the place from which it is observed, and its default branch, if they
/// are known.
#[derive(Debug, Clone)]
pub(crate) struct RepoPlace {
    pub(crate) url: Option<String>,
    pub(crate) default_branch: Option<BranchName>,
}

/// The facts that a lease tells besides those of the scheduler.
#[derive(Debug)]
pub(crate) struct LeaseFacts<'a> {
    pub(crate) place: &'a RepoPlace,
    /// The outputs of the needed tasks, or the reason why the attempt cannot get them.
    pub(crate) needed: Result<Outputs, String>,
}

impl LeaseFacts<'_> {
    /// Puts the outputs of needed tasks together, in the order of `needs`: a later value takes the place of an earlier
    /// one of the same name.
    pub(crate) fn needed(of_tasks: impl IntoIterator<Item = Outputs>) -> Result<Outputs, String> {
        let mut all = Outputs::new();
        of_tasks.into_iter().for_each(|outputs| add_outputs(&mut all, outputs));
        let bytes: usize = all.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > MAX_NEEDED_OUTPUT_BYTES {
            let limit = MAX_NEEDED_OUTPUT_BYTES >> 10;
            return Err(format!(
                "the outputs of the tasks that it needs are {bytes} bytes together, and a task gets at most {limit} KiB"
            ));
        }
        Ok(all)
    }
}

/// The numbers of bytes that are stored of streams.
pub(crate) type StoredBytes = HashMap<StreamId, u64>;

impl Grant {
    pub(crate) fn of(lease: &Lease) -> Self {
        let Lease { source, build, task, number, .. } = lease;
        let log = LogPlace { repo: source.repo.clone(), build: *build, task: task.name.clone(), number: *number };
        let expands = task.recipe.expand.then(|| Arc::clone(source));
        let secrets = (!task.recipe.secrets.is_empty()).then(|| (Arc::clone(source), Arc::clone(task)));
        Self { commit: source.commit, log, expands, secrets }
    }

    /// Returns the place where a stream of this kind is stored; `None` if this dispatcher takes no such stream.
    pub(crate) fn place(&self, kind: &StreamKind) -> Option<LogPlace> {
        (*kind == StreamKind::Log).then(|| self.log.clone())
    }
}

/// The grants of one session. The core writes them before the lease leaves, and the session's thread reads them. The
/// lock is held for a look-up only.
#[derive(Debug, Default)]
pub(crate) struct Grants(Mutex<FxHashMap<AttemptId, Grant>>);

impl Grants {
    pub(crate) fn insert(&self, attempt: AttemptId, grant: Grant) {
        threads::lock(&self.0).insert(attempt, grant);
    }

    pub(crate) fn remove(&self, attempt: AttemptId) {
        threads::lock(&self.0).remove(&attempt);
    }

    pub(crate) fn of(&self, attempt: AttemptId) -> Option<Grant> {
        threads::lock(&self.0).get(&attempt).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_of_a_later_need_win_and_all_together_are_bounded() {
        let of = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        let both = LeaseFacts::needed([of("A", "1"), of("A", "2"), of("B", "3")]);
        assert_eq!(both, Ok([of("A", "2"), of("B", "3")].concat()));
        let long = "x".repeat(MAX_NEEDED_OUTPUT_BYTES / 2);
        assert!(LeaseFacts::needed([of("A", &long), of("A", &long), of("A", &long)]).is_ok());
        let why = LeaseFacts::needed([of("A", &long), of("B", &long)]).unwrap_err();
        assert!(why.contains("65538 bytes together") && why.contains("at most 64 KiB"), "{why}");
    }
}
