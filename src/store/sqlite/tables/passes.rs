//! Passes of tasks, read from `builds` and `jobs`: the build in which a task passed last. The search is bounded,
//! because a task may never have passed; the caller takes a task that is not found for one that has not.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::specs::Tasks;
use super::{builds, jobs, read_all};
use crate::model::reason::LeftOutReason;
use crate::model::{BuildId, CommitId, RepoName, TaskName, TaskSpec, Trust};
use crate::store::{Lineage, PassScope, TaskPass};

/// The newest builds of a repository that are looked at, of whatever ref.
const MAX_ROWS: usize = 5_000;
/// Builds whose jobs are read.
const MAX_BUILDS: usize = 200;
/// Jobs that are read in all those builds.
const MAX_JOBS: usize = 20_000;
/// The kind of trigger of builds of uncommitted work.
const TRY: i64 = 5;

/// The newest pass of each task.
pub(crate) fn newest(conn: &Connection, scope: &PassScope) -> rusqlite::Result<Vec<TaskPass>> {
    let PassScope { repo, lineage, trust, tasks } = scope;
    let mut search = Search {
        conn,
        trusted_only: *trust == Trust::Trusted,
        open: tasks.iter().cloned().collect(),
        tasks: Tasks::default(),
        passed: HashMap::new(),
        read: 0,
        found: Vec::new(),
    };
    match lineage {
        Lineage::Ref(reference) => {
            let mut statement = conn.prepare_cached(
                "SELECT id, reference = ?2 AND trust >= ?3 AND trigger_kind <> ?4 FROM builds INDEXED BY builds_by_repo
                 WHERE repo = (SELECT id FROM repos WHERE name = ?1) ORDER BY id DESC",
            )?;
            let mut rows = statement.query(params![repo, reference, trust, TRY])?;
            for _ in 0..MAX_ROWS {
                let Some(row) = rows.next()?.filter(|_| search.goes_on()) else { break };
                if row.get(1)? {
                    search.look_at(row.get(0)?)?;
                }
            }
        }
        Lineage::Commits(commits) => {
            for commit in commits {
                for build in of_commit(conn, scope, *commit)? {
                    if search.goes_on() {
                        search.look_at(build)?;
                    }
                }
            }
        }
    }
    Ok(search.found)
}

fn of_commit(conn: &Connection, scope: &PassScope, commit: CommitId) -> rusqlite::Result<Vec<BuildId>> {
    const OF_COMMIT: &str = "SELECT id FROM builds WHERE commit_id = ?1 AND trust >= ?2 AND trigger_kind <> ?3
         AND repo = (SELECT id FROM repos WHERE name = ?4) ORDER BY id DESC LIMIT 20";
    read_all(conn, OF_COMMIT, params![commit, scope.trust, TRY, scope.repo], |row| row.get(0))
}

/// The newest builds of a repository in which passes are timed, and the passes of a task that are.
const TIMED_BUILDS: u32 = 50;
const TIMED_PASSES: usize = 9;

/// The median of what the newest passes of each task took, and of each task that one of them wrote in the newest build
/// in which such tasks passed.
pub(crate) fn times(conn: &Connection, repo: &RepoName, wanted: &[TaskName]) -> rusqlite::Result<Vec<(TaskName, u64)>> {
    const BUILDS: &str = "SELECT id, first_job, last_job FROM builds INDEXED BY builds_by_repo
         WHERE repo = (SELECT id FROM repos WHERE name = ?1) ORDER BY id DESC LIMIT ?2";
    const JOINED: &str = "SELECT first_job, last_job FROM joined WHERE build = ?1";
    // For people, so the rows are not compared with their checksums.
    const TIMES: &str = "SELECT j.spec, o.duration_ms FROM jobs j JOIN outcomes o ON o.attempt = j.attempt
         WHERE j.id BETWEEN ?1 AND ?2 AND j.state = 3 AND o.duration_ms IS NOT NULL";
    let wanted: HashSet<&str> = wanted.iter().map(|name| &**name).collect();
    let (mut tasks, mut times, mut read) = (Tasks::default(), HashMap::<TaskName, Vec<u64>>::new(), 0);
    // The tasks that a wanted one wrote in the newest build that has some. Older builds may have others.
    let mut written: HashMap<String, HashSet<TaskName>> = HashMap::new();
    let builds: Vec<(i64, (i64, i64))> =
        read_all(conn, BUILDS, params![repo, TIMED_BUILDS], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
    for (build, first) in builds {
        if read > MAX_JOBS {
            break;
        }
        let mut fresh: HashMap<String, HashSet<TaskName>> = HashMap::new();
        let joined: Vec<(i64, i64)> = read_all(conn, JOINED, [build], |row| Ok((row.get(0)?, row.get(1)?)))?;
        for (first, last) in std::iter::once(first).chain(joined) {
            for (spec, ms) in read_all(conn, TIMES, [first, last], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))? {
                read += 1;
                let task = tasks.get(conn, spec)?;
                if !wanted.contains(&*task.name) {
                    let Some((writer, _)) = task.name.split_once('/').filter(|(writer, _)| wanted.contains(writer))
                    else {
                        continue;
                    };
                    match written.get(writer) {
                        Some(names) if !names.contains(&task.name) => continue,
                        Some(_) => {}
                        None => drop(fresh.entry(writer.to_owned()).or_default().insert(task.name.clone())),
                    }
                }
                let of_task = times.entry(task.name.clone()).or_default();
                if of_task.len() < TIMED_PASSES {
                    of_task.push(ms.max(0).cast_unsigned());
                }
            }
        }
        written.extend(fresh);
    }
    let median = |mut times: Vec<u64>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    Ok(times.into_iter().map(|(task, times)| (task, median(times))).collect())
}

struct Search<'a> {
    conn: &'a Connection,
    trusted_only: bool,
    /// Tasks of which no pass is found yet.
    open: HashSet<TaskName>,
    tasks: Tasks,
    /// The commits of builds that are named as the base of others, with the tasks that passed there.
    passed: HashMap<BuildId, Option<Passed>>,
    /// The number of builds and of jobs that were read.
    read: usize,
    found: Vec<TaskPass>,
}

/// The commit of a build, and the tasks that passed in it.
type Passed = (CommitId, Vec<Arc<TaskSpec>>);

impl Search<'_> {
    fn goes_on(&self) -> bool {
        !self.open.is_empty() && self.read < MAX_JOBS
    }

    /// Finds passes in a build. Where the build left a task out because nothing had changed, the pass is in the build
    /// that it was compared with.
    fn look_at(&mut self, build: BuildId) -> rusqlite::Result<()> {
        let jobs = jobs::passed_or_left_out(self.conn, build, &mut self.tasks)?;
        self.read += jobs.len() + MAX_JOBS / MAX_BUILDS;
        let mut commit = None;
        for (task, left_out) in jobs {
            if !self.open.contains(&task.name) {
                continue;
            }
            match left_out {
                None => {
                    if commit.is_none() {
                        commit = self.commit_of(build)?;
                    }
                    let Some(commit) = commit else { return Ok(()) };
                    self.add(build, commit, task);
                }
                Some(LeftOutReason::NothingChanged { build: base, .. }) => {
                    if let Some((commit, task)) = self.pass_in(base, &task.name)? {
                        self.add(base, commit, task);
                    }
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn add(&mut self, build: BuildId, commit: CommitId, task: Arc<TaskSpec>) {
        self.open.remove(&task.name);
        self.found.push(TaskPass { build, commit, task });
    }

    /// The commit of a build, if it is in the scope as far as its trust is concerned. Checks the row.
    fn commit_of(&self, build: BuildId) -> rusqlite::Result<Option<CommitId>> {
        let found = builds::read(self.conn, build)?.map(|build| build.source);
        let is_wanted = |trust| !self.trusted_only || trust == Trust::Trusted;
        Ok(found.filter(|source| is_wanted(source.trigger.trust)).map(|source| source.commit))
    }

    /// The pass of a task in a build that is the base of others. A rerun may have ended otherwise since.
    fn pass_in(&mut self, base: BuildId, task: &str) -> rusqlite::Result<Option<(CommitId, Arc<TaskSpec>)>> {
        if !self.passed.contains_key(&base) {
            let jobs = jobs::passed_or_left_out(self.conn, base, &mut self.tasks)?;
            self.read += jobs.len();
            let passed = jobs.into_iter().filter(|(_, left_out)| left_out.is_none()).map(|(task, _)| task).collect();
            self.passed.insert(base, self.commit_of(base)?.map(|commit| (commit, passed)));
        }
        let Some(Some((commit, passed))) = self.passed.get(&base) else { return Ok(None) };
        Ok(passed.iter().find(|passed| &*passed.name == task).map(|passed| (*commit, Arc::clone(passed))))
    }
}
