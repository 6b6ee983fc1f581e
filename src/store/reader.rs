//! The reading half of the contract.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::sync::Arc;

use super::error::StoreError;
use crate::model::{
    ArtifactRecord, Attempt, AttemptId, Build, BuildId, BuildSource, CacheEntry, CacheKey, CommitId, Decision,
    ExecutionRecord, Job, JobStateKind, ObservedRefs, Outcome, Outputs, RefName, RepoName, Runner, Secret, StepRecord,
    TaskName, TaskSpec, ToolEntry, ToolFilter, ToolTotal, Trust, WallTime, WholeBuild,
};

/// Opens readers of one store. Cheap to clone: everybody who reads gets one.
#[derive(Clone)]
pub struct Readers(Arc<dyn Fn() -> Result<Box<dyn Reader>, StoreError> + Send + Sync>);

impl Readers {
    /// For an implementation: `open` opens one reader.
    pub(crate) fn new(open: impl Fn() -> Result<Box<dyn Reader>, StoreError> + Send + Sync + 'static) -> Self {
        Self(Arc::new(open))
    }

    /// Opens a reader of the store, which a [`super::Store`] must have opened before, so that its tables are of this
    /// version.
    pub fn open(&self) -> Result<Box<dyn Reader>, StoreError> {
        (self.0)()
    }
}

impl Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Readers")
    }
}

/// Keeps the answers of a [`Reader`] at one moment until it is dropped.
pub trait ReadTransaction {}

/// Reads beside the writer: sees what has been committed, never waits for the writer and is never waited for.
pub trait Reader: Debug + Send {
    /// Begins a read transaction: while it lives, all answers are of one moment, that of the first of them. Without
    /// one, each answer is of its own moment, so whatever is put together from several belongs in a transaction. An
    /// error if the last one is still alive.
    fn read_transaction(&self) -> Result<Box<dyn ReadTransaction + '_>, StoreError>;

    /// Returns the newest build, if there is one.
    fn newest(&self, scope: &Scope) -> Result<Option<BuildId>, StoreError>;

    /// Returns the newest build of each commit whose id begins with these hexadecimal digits, newest first, at most
    /// `limit` of them. None for a text that is no such beginning, or has fewer than four digits.
    fn of_commit(&self, digits: &str, scope: &Scope, limit: u32) -> Result<Vec<BuildId>, StoreError>;

    /// Returns the oldest unfinished builds of one repository or of all, oldest first.
    fn unfinished_builds(&self, repo: Option<&str>, limit: u32) -> Result<Vec<Build>, StoreError>;

    /// Returns the newest finished builds of one repository or of all, newest first.
    fn finished_builds(&self, repo: Option<&str>, limit: u32) -> Result<Vec<Build>, StoreError>;

    /// Returns the build that this trigger has made of this commit, if it has made one.
    fn build_of(&self, source: &BuildSource) -> Result<Option<BuildId>, StoreError>;

    /// Returns one build, without its jobs.
    fn build(&self, id: BuildId) -> Result<Option<Build>, StoreError>;

    /// Returns a build's jobs in the order of the task file.
    fn jobs(&self, build: BuildId) -> Result<Vec<Job>, StoreError>;

    /// Returns the number of a build's jobs in each state, without reading the jobs. A state without jobs is left out.
    fn job_counts(&self, build: BuildId) -> Result<Vec<(JobStateKind, u64)>, StoreError>;

    /// Returns a build's attempts, oldest first.
    fn attempts(&self, build: BuildId) -> Result<Vec<Attempt>, StoreError>;

    /// The steps of a build's attempts: attempt by attempt, each in order.
    fn steps(&self, build: BuildId) -> Result<Vec<(AttemptId, StepRecord)>, StoreError>;

    /// Returns how a build's attempts were executed, those of which it is known.
    fn executions(&self, build: BuildId) -> Result<Vec<(AttemptId, ExecutionRecord)>, StoreError>;

    /// Returns the outputs of a build's attempts, those that have some.
    fn outputs(&self, build: BuildId) -> Result<Vec<(AttemptId, Outputs)>, StoreError>;

    /// Returns the outputs of one task of a build: those of its newest attempt. Empty if that has none.
    fn outputs_of(&self, build: BuildId, task: &TaskName) -> Result<Outputs, StoreError>;

    /// Returns the artifacts of a build's attempts, oldest attempt first.
    fn artifacts(&self, build: BuildId) -> Result<Vec<(AttemptId, Vec<ArtifactRecord>)>, StoreError>;

    /// Returns the artifacts of one task of a build: those of its newest attempt. Empty if that left none.
    fn artifacts_of(&self, build: BuildId, task: &TaskName) -> Result<Vec<ArtifactRecord>, StoreError>;

    /// Returns the artifacts of all attempts.
    fn all_artifacts(&self) -> Result<Vec<(AttemptId, Vec<ArtifactRecord>)>, StoreError>;

    /// Returns the order of what happened to a build.
    fn sequence(&self, build: BuildId) -> Result<Sequence, StoreError>;

    /// Returns the decisions about a build, oldest first, each with its place in the order of what happened.
    fn decisions(&self, build: BuildId) -> Result<Vec<(Option<u64>, Decision)>, StoreError>;

    /// Returns results that came for leases no longer held, oldest first.
    fn late_results(&self, build: BuildId) -> Result<Vec<LateResult>, StoreError>;

    /// Returns the names of all repositories that were ever observed, in alphabetical order.
    fn repos(&self) -> Result<Vec<RepoName>, StoreError>;

    /// Returns what an observer of the repository of that name told last of its refs.
    fn observed_refs(&self, repo: &RepoName) -> Result<ObservedRefs, StoreError>;

    /// Returns all runners, in the order in which they were first seen.
    fn runners(&self) -> Result<Vec<Runner>, StoreError>;

    /// Returns one attempt, of whatever build.
    fn attempt(&self, id: AttemptId) -> Result<Option<Attempt>, StoreError>;

    /// Checks all of the store, however large, each row against its checksum, and passes each build to `each`. Takes
    /// its time, and keeps nobody waiting.
    fn check(&self, each: &mut dyn FnMut(WholeBuild)) -> Result<(), StoreError>;

    /// Passes to `each` what the removal of each build depends on, newest build first.
    fn survey(&self, each: &mut dyn FnMut(Surveyed)) -> Result<(), StoreError>;

    /// Returns when and by which rule a build was removed, if that is remembered.
    fn forgotten(&self, build: BuildId) -> Result<Option<(Rule, WallTime)>, StoreError>;

    /// Returns the commits of a repository that builds or heads name, without doubles.
    fn commits(&self, repo: &RepoName) -> Result<Vec<CommitId>, StoreError>;

    /// Returns the commits whose source may be needed at any moment: those of unfinished builds and of present heads.
    fn needed(&self) -> Result<Vec<(RepoName, CommitId)>, StoreError>;

    /// Returns the newest pass of each of these tasks that is found in the scope. Looks at a bounded number of builds,
    /// so a pass that is very old may not be found.
    fn passes(&self, scope: &PassScope) -> Result<Vec<TaskPass>, StoreError>;

    /// Returns the median of what the newest passes of each of these tasks took, in milliseconds, on whatever ref. The
    /// tasks that one of them wrote are among them.
    fn pass_times(&self, repo: &RepoName, tasks: &[TaskName]) -> Result<Vec<(TaskName, u64)>, StoreError>;

    /// Returns all secrets, sealed, by name; of one name, that of all repositories first.
    fn secrets(&self) -> Result<Vec<Secret>, StoreError>;

    /// Returns the caches that attempts of a repository saved, or those of all, oldest first.
    fn caches(&self, repo: Option<&RepoName>) -> Result<Vec<CacheEntry>, StoreError>;

    /// Returns the entry of the tool cache with this key.
    fn tool_entry(&self, key: &CacheKey) -> Result<Option<ToolEntry>, StoreError>;

    /// Passes to `each` the entries of the tool cache that are meant, the most recently used one first, until it says
    /// false.
    fn tool_entries(&self, filter: ToolFilter<'_>, each: &mut dyn FnMut(ToolEntry) -> bool) -> Result<(), StoreError>;

    /// Returns the entries of the tool cache that are meant, together for each tool and scope.
    fn tool_totals(&self, filter: ToolFilter<'_>) -> Result<Vec<ToolTotal>, StoreError>;

    /// Returns the highest number that a build ever had.
    fn last_build(&self) -> Result<BuildId, StoreError>;
}

/// The order of what happened to a build, as numbers that ascend over all builds and starts, with gaps. `None` for what
/// was written before there was an order; all of that comes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// The place of the build's end.
    pub end: Option<u64>,
    /// The places of each attempt's lease and outcome.
    pub attempts: HashMap<AttemptId, [Option<u64>; 2]>,
}

/// A result that came for a lease that was no longer held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LateResult {
    pub attempt: AttemptId,
    pub outcome: Outcome,
    pub at: WallTime,
    /// Its place in the order of what happened.
    pub seq: Option<u64>,
}

/// The builds among which one is looked for. By default all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// The name of their repository.
    pub repo: Option<String>,
    /// The full name of the ref that their trigger concerns.
    pub reference: Option<String>,
}

/// The builds among which the passes of tasks are looked for. Builds of uncommitted work are none of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassScope {
    pub repo: RepoName,
    pub lineage: Lineage,
    /// With [`Trust::Trusted`], only trusted builds.
    pub trust: Trust,
    pub tasks: Vec<TaskName>,
}

/// The past of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lineage {
    /// The builds of this ref. The newest pass counts.
    Ref(RefName),
    /// The builds of these commits, whatever the ref. The first commit with a pass counts.
    Commits(Vec<CommitId>),
}

/// A pass of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskPass {
    pub build: BuildId,
    pub commit: CommitId,
    /// The task as it was then.
    pub task: Arc<TaskSpec>,
}

/// The facts about a build on which its removal depends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surveyed {
    pub id: BuildId,
    pub repo: RepoName,
    /// The ref that its trigger concerns.
    pub reference: RefName,
    /// The ref is a branch or a tag that is there: its head is known.
    pub lives: bool,
    /// The build's commit is that ref's present head.
    pub is_head: bool,
    /// `None` for one that is unfinished.
    pub finished_at: Option<WallTime>,
    /// It has passed.
    pub passed: bool,
}

/// Why a build was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// It was too old.
    Age,
    /// There were too many newer ones.
    Count,
    /// All logs together were too large.
    Size,
}
