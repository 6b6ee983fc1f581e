//! The lines of exclusive tasks and of groups. All jobs of one exclusive task of a repository, and all jobs of one
//! group, stand in one line, over all builds. A line has as many places as its jobs allow, one for an exclusive task.
//! The places belong to the first jobs of the line, so that deployments come one after the other, in the order of their
//! builds (S35).
//!
//! - The jobs of an older build come first, also while they still wait for jobs that they need: their places are kept.
//! - Within a build, jobs that are queued come in the order of the task file. One that still waits for others keeps no
//!   place from them, because it may wait for just these.
//! - A job starts only if each job that is executed meanwhile, itself included, allows as many as there are then. A job
//!   that has to wait for that reason lets no later one pass.
//!
//! An attempt is in its lines until its lease ends. So a lost runner that may still execute it, and a cancelled attempt
//! that its runner has not ended, keep their places (S9, S35).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::model::{AttemptId, BuildId, JobId, Line};

/// All lines that are not empty.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    by_line: FxHashMap<Arc<Line>, Places>,
    of_job: FxHashMap<JobId, InLine>,
    /// Lines of which a cancelled attempt may still be executed since before the dispatcher started.
    doubtful: BTreeSet<Line>,
}

/// The build of a job, and the lines in which it stands: that of its task, and that of its group.
#[derive(Debug)]
struct InLine {
    build: BuildId,
    lines: [Option<Arc<Line>>; 2],
}

/// The jobs and attempts of one line.
#[derive(Debug, Default)]
struct Places {
    /// The unfinished jobs, in their order.
    jobs: BTreeMap<(BuildId, JobId), LineJob>,
    /// The attempts that may be executing, each with the number of places that its task allows.
    attempts: BTreeMap<AttemptId, usize>,
    /// The jobs that may be leased now.
    allowed: Vec<JobId>,
    /// The largest number of places that any of its jobs has allowed.
    most: usize,
}

/// An unfinished job in a line.
#[derive(Debug, Clone, Copy)]
struct LineJob {
    /// How many places its task allows.
    limit: usize,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It is not queued: it waits for jobs that it needs, or is between two attempts.
    Waiting,
    Queued,
    /// One of the attempts is its own.
    Leased,
}

/// The obstacle that keeps a job from its turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Obstacle {
    pub(crate) line: Arc<Line>,
    pub(crate) first: First,
    /// How many attempts and jobs of the line come before it. At most [`BEFORE_MAX`] jobs are counted.
    pub(crate) before: usize,
}

/// What comes before a job in its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum First {
    /// This attempt may be executing.
    Attempt(AttemptId),
    /// This job is not finished.
    Job(JobId),
    /// A cancelled attempt may be executing since before the dispatcher started.
    Doubt,
}

/// The jobs before another one that are counted: nobody reads a larger number.
const BEFORE_MAX: usize = 5_000;

impl Lines {
    /// Adds an unfinished job that is not queued yet to its lines, each with the number of places that it allows.
    pub(super) fn add_job(&mut self, job: JobId, build: BuildId, lines: impl Iterator<Item = (Line, usize)>) {
        let mut added = InLine { build, lines: [None, None] };
        for (at, (line, limit)) in lines.take(2).enumerate() {
            let line = self.shared(line);
            let places = self.by_line.entry(Arc::clone(&line)).or_default();
            places.jobs.insert((build, job), LineJob { limit, stage: Stage::Waiting });
            places.most = places.most.max(limit);
            added.lines[at] = Some(line);
        }
        if added.lines[0].is_some() {
            self.of_job.insert(job, added);
        }
    }

    /// Removes a finished job. Returns the lines in which it was.
    pub(super) fn remove_job(&mut self, job: JobId) -> [Option<Arc<Line>>; 2] {
        let Some(InLine { build, lines }) = self.of_job.remove(&job) else { return [None, None] };
        for line in lines.iter().flatten() {
            if let Some(places) = self.by_line.get_mut(line) {
                places.jobs.remove(&(build, job));
            }
        }
        lines
    }

    /// Notes that a job is queued, or is not any more.
    pub(super) fn set_queued(&mut self, job: JobId, is_queued: bool) {
        let Some(InLine { build, lines }) = self.of_job.get(&job) else { return };
        for line in lines.iter().flatten() {
            let standing = self.by_line.get_mut(line).and_then(|places| places.jobs.get_mut(&(*build, job)));
            if let Some(standing) = standing {
                standing.stage = if is_queued { Stage::Queued } else { Stage::Waiting };
            }
        }
    }

    /// Adds an attempt of a job to a line.
    pub(super) fn add_attempt(&mut self, attempt: AttemptId, (build, job): (BuildId, JobId), line: Line, limit: usize) {
        let line = self.shared(line);
        let places = self.by_line.entry(line).or_default();
        places.attempts.insert(attempt, limit);
        if let Some(standing) = places.jobs.get_mut(&(build, job)) {
            standing.stage = Stage::Leased;
        }
    }

    pub(super) fn remove_attempt(&mut self, attempt: AttemptId, (build, job): (BuildId, JobId), line: &Line) {
        let Some(places) = self.by_line.get_mut(line) else { return };
        places.attempts.remove(&attempt);
        if let Some(standing) = places.jobs.get_mut(&(build, job)).filter(|it| it.stage == Stage::Leased) {
            standing.stage = Stage::Waiting;
        }
    }

    pub(super) fn doubt(&mut self, lines: impl IntoIterator<Item = Line>) {
        self.doubtful.extend(lines);
    }

    /// Ends all doubts, and returns the lines that had one.
    pub(super) fn end_doubts(&mut self) -> BTreeSet<Line> {
        std::mem::take(&mut self.doubtful)
    }

    /// Returns the lines in which an unfinished job stands.
    pub(super) fn of_job(&self, job: JobId) -> [Option<Arc<Line>>; 2] {
        self.of_job.get(&job).map(|it| it.lines.clone()).unwrap_or_default()
    }

    /// Gives the places of a line anew. Returns the jobs that have lost theirs, and those that have got one.
    pub(super) fn settle(&mut self, line: &Line) -> (Vec<JobId>, Vec<JobId>) {
        let Some(places) = self.by_line.get_mut(line) else { return Default::default() };
        let allowed = if self.doubtful.contains(line) { Vec::new() } else { places.next() };
        let before = std::mem::replace(&mut places.allowed, allowed);
        let only_in = |these: &[JobId], those: &[JobId]| -> Vec<JobId> {
            these.iter().filter(|job| !those.contains(job)).copied().collect()
        };
        let changed = (only_in(&before, &places.allowed), only_in(&places.allowed, &before));
        if places.jobs.is_empty() && places.attempts.is_empty() {
            self.by_line.remove(line);
        }
        changed
    }

    /// Whether an unfinished job stands in any line.
    pub(super) fn has_job(&self, job: JobId) -> bool {
        self.of_job.contains_key(&job)
    }

    /// Whether a queued job has a place in each of its lines.
    pub(super) fn may_run(&self, job: JobId) -> bool {
        let Some(InLine { lines, .. }) = self.of_job.get(&job) else { return true };
        lines.iter().flatten().all(|line| self.by_line.get(line).is_some_and(|it| it.allowed.contains(&job)))
    }

    /// Returns the obstacle that keeps an unfinished job from its turn; `None` if there is none.
    pub(crate) fn obstacle(&self, job: JobId) -> Option<Obstacle> {
        let InLine { build, lines } = self.of_job.get(&job)?;
        lines.iter().flatten().find_map(|line| {
            let places = self.by_line.get(line).filter(|places| !places.allowed.contains(&job))?;
            let earlier = places.jobs.range(..(*build, job));
            let mut waiting = earlier.filter(|((of, _), standing)| match standing.stage {
                Stage::Leased => false,
                Stage::Queued => true,
                Stage::Waiting => of < build,
            });
            let first = match places.attempts.keys().next() {
                Some(attempt) => First::Attempt(*attempt),
                None if self.doubtful.contains(&**line) => First::Doubt,
                None => First::Job(waiting.clone().next().map(|((_, job), _)| *job)?),
            };
            let before = places.attempts.len() + waiting.by_ref().take(BEFORE_MAX).count();
            Some(Obstacle { line: Arc::clone(line), first, before })
        })
    }

    /// Returns a line that executes more jobs than one of them allows, for the invariants.
    pub(crate) fn crowded(&self) -> Option<&Line> {
        let is_crowded = |places: &Places| places.attempts.values().any(|limit| places.attempts.len() > *limit);
        self.by_line.iter().find(|(_, places)| is_crowded(places)).map(|(line, _)| &**line)
    }

    /// Returns the line as it is shared by its jobs.
    fn shared(&self, line: Line) -> Arc<Line> {
        self.by_line.get_key_value(&line).map_or_else(|| Arc::new(line), |(shared, _)| Arc::clone(shared))
    }
}

impl Places {
    /// Returns the jobs that may be leased, in their order. Looks at no more jobs than there are places, apart from
    /// waiting ones of the same build.
    fn next(&self) -> Vec<JobId> {
        let mut allowed = Vec::new();
        let mut taken = self.attempts.len();
        let mut limit = self.attempts.values().copied().min().unwrap_or(self.most);
        let (mut of, mut waiting) = (None, 0);
        for ((build, job), standing) in &self.jobs {
            if of != Some(*build) {
                // The places of the older build's jobs are kept for them.
                taken += waiting;
                (of, waiting) = (Some(*build), 0);
            }
            if taken >= limit {
                break;
            }
            match standing.stage {
                Stage::Leased => {}
                Stage::Waiting => waiting += 1,
                Stage::Queued if taken < standing.limit => {
                    allowed.push(*job);
                    taken += 1;
                    limit = limit.min(standing.limit);
                }
                // It waits until fewer are executed, and lets nobody pass.
                Stage::Queued => break,
            }
        }
        allowed
    }
}
