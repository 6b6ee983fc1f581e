//! The grants of a session: which sources its runner may ask for, and which streams it may write.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use rustc_hash::FxHashMap;

use super::data_dir::LogPlace;
use crate::model::output::{MAX_NEEDED_OUTPUT_BYTES, add_outputs};
use crate::model::{
    ArtifactRecord, ArtifactRemoval, AttemptId, BranchName, BuildSource, CommitId, FactsId, Need, Outputs, StreamId,
    StreamKind, Take, TakenArtifact, TaskSpec,
};
use crate::scheduler::Lease;
use crate::threads;

/// The grant that comes with a lease: the source of a commit, and a place for the log, which names the repository.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) commit: CommitId,
    pub(crate) log: LogPlace,
    /// The build and the task of an attempt that may write further tasks.
    pub(crate) expands: Option<(Arc<BuildSource>, Arc<TaskSpec>)>,
    /// The build.
    pub(crate) source: Arc<BuildSource>,
    /// Whether the task has caches.
    pub(crate) has_caches: bool,
    /// Whether the task has the tool cache.
    pub(crate) has_tool_cache: bool,
    /// The facts of the commit's source, which the attempt needs besides the commit.
    pub(crate) facts: Option<FactsId>,
    /// The build and the task of an attempt that may ask for secrets.
    pub(crate) secrets: Option<(Arc<BuildSource>, Arc<TaskSpec>)>,
    /// The task of an attempt that has services.
    services: Option<Arc<TaskSpec>>,
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
    /// The artifacts that it takes of them, likewise.
    pub(crate) taken: Result<Vec<TakenArtifact>, String>,
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

impl LeaseFacts<'_> {
    /// Puts the artifacts that a task takes together, in the order of `needs`. `of_tasks` has those that each needed
    /// task left.
    pub(crate) fn taken<'n>(
        of_tasks: impl IntoIterator<Item = (&'n Need, Vec<ArtifactRecord>)>,
    ) -> Result<Vec<TakenArtifact>, String> {
        let of_task = |(need, left): (&'n Need, Vec<ArtifactRecord>)| {
            let taken = left.into_iter().filter(|record| need.take.covers(&record.name));
            let task = || need.task.clone();
            taken.map(move |record| match record.removed {
                None => Ok(TakenArtifact { task: task(), name: record.name, manifest: record.manifest }),
                // The build was finished meanwhile, and a part of it runs again.
                Some(ArtifactRemoval { rule, .. }) => Err(format!(
                    "the artifact `{}` of task {} was removed: it was {}; run that task again, too",
                    record.name,
                    task(),
                    rule.phrase()
                )),
            })
        };
        let taken = of_tasks.into_iter().flat_map(of_task).collect::<Result<Vec<TakenArtifact>, String>>()?;
        if taken.len() > Take::MAX {
            let count = taken.len();
            return Err(format!(
                "the tasks that it needs left {count} artifacts, and a task takes at most {}: say by `take` which ones",
                Take::MAX
            ));
        }
        Ok(taken)
    }
}

/// The numbers of bytes that are stored of streams.
pub(crate) type StoredBytes = HashMap<StreamId, u64>;

impl Grant {
    pub(crate) fn of(lease: &Lease) -> Self {
        let Lease { source, build, task, number, .. } = lease;
        let (repo, task_name, kind) = (source.repo.clone(), task.name.clone(), StreamKind::Log);
        let log = LogPlace { repo, build: *build, task: task_name, number: *number, kind };
        let expands = task.recipe.expand.then(|| (Arc::clone(source), Arc::clone(task)));
        let secrets = (!task.recipe.secrets.is_empty()).then(|| (Arc::clone(source), Arc::clone(task)));
        let services = (!task.recipe.services.is_empty()).then(|| Arc::clone(task));
        let (has_caches, source) = (!task.recipe.caches.is_empty(), Arc::clone(source));
        let (facts, has_tool_cache) = (task.recipe.facts, task.recipe.tool_cache);
        Self { commit: source.commit, log, expands, source, has_caches, has_tool_cache, facts, secrets, services }
    }

    /// Returns the place where a stream of this kind is stored; `None` if this dispatcher takes no such stream.
    pub(crate) fn place(&self, kind: &StreamKind) -> Option<LogPlace> {
        let is_known = *kind == StreamKind::Log || self.services().any(|name| kind.service() == Some(name));
        is_known.then(|| LogPlace { kind: kind.clone(), ..self.log.clone() })
    }

    /// Returns the places of all streams that the attempt may have.
    pub(crate) fn places(&self, attempt: AttemptId) -> Vec<(AttemptId, LogPlace)> {
        let kinds = [StreamKind::Log].into_iter().chain(self.services().map(StreamKind::of_service));
        kinds.map(|kind| (attempt, LogPlace { kind, ..self.log.clone() })).collect()
    }

    fn services(&self) -> impl Iterator<Item = &str> {
        let services = self.services.iter().flat_map(|task| &task.recipe.services);
        services.map(|service| service.name.as_str())
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
    use crate::model::{BlobId, ExpiryRule, TaskName, WallTime};

    #[test]
    fn artifacts_are_taken_in_the_order_of_needs_and_are_bounded() {
        let record = |name: &str| ArtifactRecord {
            name: name.into(),
            manifest: BlobId([7; 32]),
            files: 1,
            bytes: 1,
            keep_ms: None,
            removed: None,
        };
        let need = |task: &str, take| Need { take, ..Need::passed(TaskName::recorded(task)) };
        let (all, one) = (need("build", Take::All), need("test", Take::Only(vec!["b".into()])));
        let both = || vec![record("a"), record("b")];
        let taken = LeaseFacts::taken([(&one, both()), (&all, both())]).unwrap();
        let names: Vec<_> = taken.iter().map(|taken| format!("{}:{}", taken.task, taken.name)).collect();
        assert_eq!(names, ["test:b", "build:a", "build:b"]);
        let many = |count: usize| (0..count).map(|_| record("a")).collect();
        assert!(LeaseFacts::taken([(&all, many(Take::MAX))]).is_ok());
        assert!(LeaseFacts::taken([(&all, many(Take::MAX + 1))]).unwrap_err().contains("left 1001 artifacts"));
        let removal = ArtifactRemoval { at: WallTime(1), rule: ExpiryRule::Count };
        let removed = || vec![ArtifactRecord { removed: Some(removal), ..record("a") }, record("b")];
        assert_eq!(LeaseFacts::taken([(&one, removed())]).map(|taken| taken.len()), Ok(1), "it is not asked for");
        let why = LeaseFacts::taken([(&all, removed())]).unwrap_err();
        assert!(why.contains("the artifact `a` of task build was removed: it was beyond the newest builds"), "{why}");
    }

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
