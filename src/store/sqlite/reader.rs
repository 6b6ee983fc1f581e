//! Readers, each with a connection that it has for itself and that is read-only. SQLite's write-ahead log lets a reader
//! see what has been committed without waiting for the writer, and the writer never waits for a reader.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rusqlite::{Connection, Transaction};

use super::idle_readers::{IdleReaders, ReaderConnection};
use super::tables::specs::Tasks;
use super::tables::{
    artifacts, attempts, builds, caches, credentials, decisions, executions, forgotten, heads, jobs, late_results,
    meta, outputs, passes, repos, runners, schedules, secrets, steps, tool_entries,
};
use super::{check, connection, failure, lock, schema, wal};
use crate::model::{
    ArtifactRecord, Attempt, AttemptId, Build, BuildId, BuildSource, CacheEntry, CacheKey, CommitId, Decision,
    ExecutionRecord, Job, JobStateKind, ObservedRefs, Outputs, RepoName, Runner, Secret, StepRecord, TaskName,
    ToolEntry, ToolFilter, ToolTotal, WallTime, WholeBuild,
};
use crate::store::{self, LateResult, PassScope, Readers, Rule, Scope, Sequence, StoreError, Surveyed, TaskPass};

/// Opens readers of the store in the file at `path`. A reader takes the connection of one that was dropped, if there is
/// one.
pub fn readers(path: &Path) -> Readers {
    let (path, idle) = (path.to_owned(), IdleReaders::default());
    Readers::new(move || Ok(Box::new(Reader::open(&path, &idle)?)))
}

/// Opens the store at `path` for reading while no dispatcher has it, and returns when it was last written. Creates and
/// changes nothing; refused if a dispatcher has it.
pub fn read_unattended(path: &Path) -> Result<(Box<dyn store::Reader>, WallTime), StoreError> {
    lock::check_free(path)?;
    // SQLite reads a log up to the first damage without a word, so this comes first.
    check::check_log(path)?;
    let files = [path.to_owned(), wal::beside(path, "-wal")];
    let changed = files.iter().filter_map(|file| file.metadata().and_then(|meta| meta.modified()).ok()).max();
    let since = changed.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok()).unwrap_or_default();
    let reader = Reader::open_with(path, connection::for_reading_unattended, &IdleReaders::default())?;
    Ok((Box::new(reader), WallTime(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))))
}

/// A reader and its connection.
#[derive(Debug)]
struct Reader {
    conn: ReaderConnection,
    path: PathBuf,
}

impl Reader {
    fn open(path: &Path, idle: &IdleReaders) -> Result<Self, StoreError> {
        match idle.take() {
            Some(conn) => Ok(Self { conn, path: path.to_owned() }),
            None => Self::open_with(path, connection::for_reading, idle),
        }
    }

    fn open_with(
        path: &Path,
        connect: fn(&Path) -> rusqlite::Result<Connection>,
        idle: &IdleReaders,
    ) -> Result<Self, StoreError> {
        check::check_header(path)?;
        let conn = connect(path).map_err(|e| failure::failed("open", path, e))?;
        if schema::known_version(&conn, path)? < schema::VERSION {
            let why = "which has not been brought up to date by starting the dispatcher";
            return Err(failure::foreign(path, why));
        }
        Ok(Self { conn: idle.lend(conn), path: path.to_owned() })
    }

    fn build_after(&self, last: BuildId, tasks: &mut Tasks) -> rusqlite::Result<Option<WholeBuild>> {
        let Some(build) = builds::after(&self.conn, last)? else { return Ok(None) };
        decisions::of_build(&self.conn, build.id)?;
        let jobs = jobs::of_build(&self.conn, build.id, tasks)?;
        let attempts = attempts::of_build(&self.conn, build.id)?;
        steps::of_build(&self.conn, build.id)?;
        executions::of_build(&self.conn, build.id)?;
        outputs::of_build(&self.conn, build.id)?;
        artifacts::of_build(&self.conn, build.id)?;
        Ok(Some(WholeBuild { build, jobs, attempts }))
    }

    fn failed(&self, doing: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError + use<'_> {
        move |e| {
            self.conn.note_failure();
            failure::failed(doing, &self.path, e)
        }
    }
}

/// Answers questions of the contract by functions of `tables/`: `question = function, what could not be done`.
macro_rules! answers {
    ($($question:ident($($name:ident: $type:ty),*) -> $answer:ty = $function:path, $doing:literal;)+) => {$(
        fn $question(&self, $($name: $type),*) -> Result<$answer, StoreError> {
            $function(&self.conn, $($name),*).map_err(self.failed($doing))
        }
    )+};
}

impl store::ReadTransaction for Transaction<'_> {}

impl store::Reader for Reader {
    fn read_transaction(&self) -> Result<Box<dyn store::ReadTransaction + '_>, StoreError> {
        // It only reads, so to roll it back, as its drop does, is to end it.
        let transaction = self.conn.unchecked_transaction().map_err(self.failed("begin to read"))?;
        Ok(Box::new(transaction))
    }

    answers! {
        newest(scope: &Scope) -> Option<BuildId> = builds::newest, "find a build in";
        of_commit(digits: &str, scope: &Scope, limit: u32) -> Vec<BuildId> = builds::of_commit, "find a build in";
        unfinished_builds(repo: Option<&str>, limit: u32) -> Vec<Build> = builds::unfinished, "read builds from";
        finished_builds(repo: Option<&str>, limit: u32) -> Vec<Build> = builds::finished, "read builds from";
        build_of(source: &BuildSource) -> Option<BuildId> = builds::of_trigger, "find a build in";
        build(id: BuildId) -> Option<Build> = builds::read, "read a build from";
        attempts(build: BuildId) -> Vec<Attempt> = attempts::of_build, "read attempts from";
        job_counts(build: BuildId) -> Vec<(JobStateKind, u64)> = jobs::counts, "read jobs from";
        steps(build: BuildId) -> Vec<(AttemptId, StepRecord)> = steps::of_build, "read steps from";
        executions(build: BuildId) -> Vec<(AttemptId, ExecutionRecord)> = executions::of_build, "read executions from";
        outputs(build: BuildId) -> Vec<(AttemptId, Outputs)> = outputs::of_build, "read outputs from";
        outputs_of(build: BuildId, task: &TaskName) -> Outputs = outputs::of_task, "read outputs from";
        artifacts(build: BuildId) -> Vec<(AttemptId, Vec<ArtifactRecord>)> = artifacts::of_build, "read artifacts from";
        artifacts_of(build: BuildId, task: &TaskName) -> Vec<ArtifactRecord> = artifacts::of_task, "read artifacts from";
        all_artifacts() -> Vec<(AttemptId, Vec<ArtifactRecord>)> = artifacts::all, "read artifacts from";
        attempt(id: AttemptId) -> Option<Attempt> = attempts::read, "read an attempt from";
        decisions(build: BuildId) -> Vec<(Option<u64>, Decision)> = decisions::of_build, "read decisions from";
        late_results(build: BuildId) -> Vec<LateResult> = late_results::of_build, "read late results from";
        repos() -> Vec<RepoName> = repos::names, "read repositories from";
        observed_refs(repo: &RepoName) -> ObservedRefs = repos::observed_refs, "read a repository's refs from";
        runners() -> Vec<Runner> = runners::all, "read runners from";
        survey(each: &mut dyn FnMut(Surveyed)) -> () = builds::survey, "read builds from";
        forgotten(build: BuildId) -> Option<(Rule, WallTime)> = forgotten::read, "read removed builds from";
        commits(repo: &RepoName) -> Vec<CommitId> = builds::commits, "read commits from";
        passes(scope: &PassScope) -> Vec<TaskPass> = passes::newest, "read passes from";
        pass_times(repo: &RepoName, tasks: &[TaskName]) -> Vec<(TaskName, u64)> = passes::times, "read times from";
        caches(repo: Option<&RepoName>) -> Vec<CacheEntry> = caches::all, "read caches from";
        tool_entry(key: &CacheKey) -> Option<ToolEntry> = tool_entries::one, "read an entry of the tool cache from";
        tool_entries(filter: ToolFilter<'_>, each: &mut dyn FnMut(ToolEntry) -> bool) -> () = tool_entries::each,
            "read entries of the tool cache from";
        tool_totals(filter: ToolFilter<'_>) -> Vec<ToolTotal> = tool_entries::totals, "read the tool cache from";
        secrets() -> Vec<Secret> = secrets::all, "read secrets from";
        needed() -> Vec<(RepoName, CommitId)> = builds::needed_commits, "read commits from";
    }

    fn jobs(&self, build: BuildId) -> Result<Vec<Job>, StoreError> {
        jobs::of_build(&self.conn, build, &mut Tasks::default()).map_err(self.failed("read jobs from"))
    }

    fn sequence(&self, build: BuildId) -> Result<Sequence, StoreError> {
        let failed = "read the order of what happened from";
        let end = builds::end_seq(&self.conn, build).map_err(self.failed(failed))?;
        Ok(Sequence { end, attempts: attempts::sequence(&self.conn, build).map_err(self.failed(failed))? })
    }

    fn check(&self, each: &mut dyn FnMut(WholeBuild)) -> Result<(), StoreError> {
        check::check_pages(&self.conn, &self.path, None)?;
        let mut tasks = Tasks::default();
        let mut last = BuildId(0);
        while let Some(whole) = self.build_after(last, &mut tasks).map_err(self.failed("check"))? {
            last = whole.build.id;
            each(whole);
        }
        let rest = heads::all(&self.conn).and_then(|_| runners::all(&self.conn));
        let rest = rest.and_then(|_| schedules::all(&self.conn));
        let rest = rest.and_then(|_| secrets::all(&self.conn));
        let rest = rest.and_then(|_| caches::all(&self.conn, None));
        let rest = rest.and_then(|_| tool_entries::each(&self.conn, ToolFilter::default(), &mut |_| true));
        rest.and_then(|_| credentials::all(&self.conn)).map_err(self.failed("check"))?;
        Ok(())
    }

    fn last_build(&self) -> Result<BuildId, StoreError> {
        meta::last_id(&self.conn, "builds").map(BuildId).map_err(self.failed("read builds from"))
    }
}
