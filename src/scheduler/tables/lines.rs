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

use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::model::{AttemptId, BuildId, JobId, Line};

/// All lines that are not empty. Each has a number, by which jobs and leases know it.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    numbers: FxHashMap<Arc<Line>, LineId>,
    /// The lines by number. Those that are empty are given to new lines.
    places: Vec<Places>,
    empty: Vec<LineId>,
    /// Lines of which a cancelled attempt may still be executed since before the dispatcher started.
    doubtful: BTreeSet<Line>,
    /// Room for a list of allowed jobs, kept from one settling of a line to the next.
    room: Vec<(JobId, Option<LineId>)>,
}

/// The number of a line, as long as a job or an attempt stands in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LineId(NonZeroU32);

impl LineId {
    /// The number of the line in this place of the table.
    fn of(place: usize) -> Self {
        let number = u32::try_from(place + 1).ok().and_then(NonZeroU32::new);
        Self(number.expect("there are fewer lines than jobs in memory"))
    }

    fn place(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// The lines in which a job or an attempt stands: that of its task, and that of its group.
pub(crate) type OwnLines = [Option<LineId>; 2];

/// An unfinished job, with its place among the others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InLine {
    pub(crate) build: BuildId,
    pub(crate) job: JobId,
    pub(crate) lines: OwnLines,
}

impl InLine {
    /// Whether it stands in any line.
    pub(super) fn has_line(self) -> bool {
        self.lines[0].is_some()
    }
}

/// The jobs and attempts of one line.
#[derive(Debug)]
struct Places {
    line: Arc<Line>,
    /// The unfinished jobs, in their order. Most come last and leave first.
    jobs: VecDeque<LineJob>,
    /// The attempts that may be executing, each with the number of places that its task allows. There are no more of
    /// them than places, but for those of runners that are lost.
    attempts: Vec<(AttemptId, u32)>,
    /// The jobs that may be leased now, each with the other line in which it stands.
    allowed: Vec<(JobId, Option<LineId>)>,
    /// The largest number of places that any of its jobs has allowed.
    most: u32,
    /// Whether a cancelled attempt may still be executed since before the dispatcher started.
    is_doubtful: bool,
}

/// An unfinished job in a line.
#[derive(Debug, Clone, Copy)]
struct LineJob {
    build: BuildId,
    job: JobId,
    /// How many places its task allows.
    limit: u32,
    stage: Stage,
    /// The other line in which it stands.
    other: Option<LineId>,
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

/// The change in who has a place in a line.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// The jobs that have lost theirs.
    pub(super) out: Vec<JobId>,
    /// The jobs that have got one and have one in their other line as well.
    pub(super) into: Vec<JobId>,
}

/// The jobs before another one that are counted: nobody reads a larger number.
const BEFORE_MAX: usize = 5_000;

impl Lines {
    /// Adds an unfinished job that is not queued yet to its lines, each with the number of places that it allows.
    /// Returns their numbers.
    pub(super) fn add_job(&mut self, build: BuildId, job: JobId, lines: impl Iterator<Item = (Line, u32)>) -> OwnLines {
        let (mut added, mut limits) = ([None; 2], [0; 2]);
        for (at, (line, limit)) in lines.take(2).enumerate() {
            (added[at], limits[at]) = (Some(self.number(line)), limit);
        }
        for (at, id) in added.iter().enumerate() {
            let Some(id) = id else { continue };
            let places = self.of_mut(*id);
            let (limit, other) = (limits[at], added[1 - at]);
            places.add(LineJob { build, job, limit, stage: Stage::Waiting, other });
            places.most = places.most.max(limit);
        }
        added
    }

    /// Removes a finished job.
    pub(super) fn remove_job(&mut self, of: InLine) {
        for line in of.lines.into_iter().flatten() {
            let places = self.of_mut(line);
            if let Ok(at) = places.find(of.build, of.job) {
                places.jobs.remove(at);
            }
        }
    }

    /// Notes that a job is queued.
    pub(super) fn set_queued(&mut self, of: InLine) {
        for line in of.lines.into_iter().flatten() {
            if let Some(standing) = self.of_mut(line).job_mut(of) {
                standing.stage = Stage::Queued;
            }
        }
    }

    /// Adds an attempt of a job to its lines.
    pub(super) fn add_attempt(&mut self, attempt: AttemptId, of: InLine) {
        for line in of.lines.into_iter().flatten() {
            let places = self.of_mut(line);
            let standing = places.job_mut(of).expect("an unfinished job stands in its lines");
            standing.stage = Stage::Leased;
            let limit = standing.limit;
            places.attempts.push((attempt, limit));
        }
    }

    pub(super) fn remove_attempt(&mut self, attempt: AttemptId, of: InLine) {
        for line in of.lines.into_iter().flatten() {
            let places = self.of_mut(line);
            places.attempts.retain(|(other, _)| *other != attempt);
            // The job of a cancelled attempt may have left, or be queued again.
            if let Some(standing) = places.job_mut(of).filter(|it| it.stage == Stage::Leased) {
                standing.stage = Stage::Waiting;
            }
        }
    }

    pub(super) fn doubt(&mut self, lines: impl IntoIterator<Item = Line>) {
        self.doubtful.extend(lines);
    }

    /// Ends all doubts, and returns the lines that had one.
    pub(super) fn end_doubts(&mut self) -> Vec<LineId> {
        if std::mem::take(&mut self.doubtful).is_empty() {
            return Vec::new();
        }
        let doubtful = self.places.iter_mut().enumerate().filter(|(_, places)| places.is_doubtful);
        let ended = doubtful.map(|(at, places)| {
            places.is_doubtful = false;
            LineId::of(at)
        });
        ended.collect()
    }

    /// Gives the places of a line anew.
    pub(super) fn settle(&mut self, line: LineId) -> Settled {
        let mut before = std::mem::take(&mut self.room);
        let places = self.of_mut(line);
        std::mem::swap(&mut before, &mut places.allowed);
        places.allow();
        let out = before.iter().map(|(job, _)| *job).filter(|job| !places.allows(*job)).collect();
        if places.jobs.is_empty() && places.attempts.is_empty() {
            // A doubt is remembered under the line's name. The room of many jobs is not kept.
            places.is_doubtful = false;
            places.jobs = VecDeque::new();
            if self.numbers.remove(&*self.places[line.place()].line).is_some() {
                self.empty.push(line);
            }
        }
        let is_new = |(job, _): &&(JobId, Option<LineId>)| before.iter().all(|(of, _)| of != job);
        let may_run = |(job, other): &&(JobId, Option<LineId>)| other.is_none_or(|other| self.of(other).allows(*job));
        let into = self.of(line).allowed.iter().filter(is_new).filter(may_run).map(|(job, _)| *job).collect();
        self.room = before;
        Settled { out, into }
    }

    /// Whether a queued job has a place in each of its lines.
    pub(super) fn may_run(&self, of: InLine) -> bool {
        of.lines.into_iter().flatten().all(|line| self.of(line).allows(of.job))
    }

    /// Returns the obstacle that keeps an unfinished job from its turn; `None` if there is none.
    pub(crate) fn obstacle(&self, of: InLine) -> Option<Obstacle> {
        of.lines.into_iter().flatten().find_map(|line| {
            let places = Some(self.of(line)).filter(|places| !places.allows(of.job))?;
            let (Ok(own) | Err(own)) = places.find(of.build, of.job);
            let mut waiting = places.jobs.range(..own).filter(|standing| match standing.stage {
                Stage::Leased => false,
                Stage::Queued => true,
                Stage::Waiting => standing.build < of.build,
            });
            let first = match places.attempts.iter().map(|(attempt, _)| *attempt).min() {
                Some(attempt) => First::Attempt(attempt),
                None if places.is_doubtful => First::Doubt,
                None => First::Job(waiting.clone().next()?.job),
            };
            let before = places.attempts.len() + waiting.by_ref().take(BEFORE_MAX).count();
            Some(Obstacle { line: Arc::clone(&places.line), first, before })
        })
    }

    /// Returns a line that executes more jobs than one of them allows, for the invariants.
    pub(crate) fn crowded(&self) -> Option<&Line> {
        let is_crowded = |it: &&Places| it.attempts.iter().any(|(_, limit)| it.attempts.len() > *limit as usize);
        self.places.iter().find(is_crowded).map(|places| &*places.line)
    }

    fn of(&self, line: LineId) -> &Places {
        &self.places[line.place()]
    }

    fn of_mut(&mut self, line: LineId) -> &mut Places {
        &mut self.places[line.place()]
    }

    /// Returns the number of a line, which is new if nothing stands in it.
    fn number(&mut self, line: Line) -> LineId {
        if let Some(id) = self.numbers.get(&line) {
            return *id;
        }
        let (is_doubtful, line) = (self.doubtful.contains(&line), Arc::new(line));
        let new = Places {
            line: Arc::clone(&line),
            jobs: VecDeque::new(),
            attempts: Vec::new(),
            allowed: Vec::new(),
            most: 0,
            is_doubtful,
        };
        let id = if let Some(id) = self.empty.pop() {
            self.places[id.place()] = new;
            id
        } else {
            self.places.push(new);
            LineId::of(self.places.len() - 1)
        };
        self.numbers.insert(line, id);
        id
    }
}

impl Places {
    /// Whether a job may be leased, as far as this line decides it.
    fn allows(&self, job: JobId) -> bool {
        self.allowed.iter().any(|(allowed, _)| *allowed == job)
    }

    /// Adds a job where it belongs.
    fn add(&mut self, new: LineJob) {
        if let Err(at) = self.find(new.build, new.job) {
            self.jobs.insert(at, new);
        }
    }

    /// Returns where a job stands, or where it would stand.
    fn find(&self, build: BuildId, job: JobId) -> Result<usize, usize> {
        match self.jobs.front() {
            Some(first) if (first.build, first.job) == (build, job) => Ok(0),
            _ => self.jobs.binary_search_by_key(&(build, job), |standing| (standing.build, standing.job)),
        }
    }

    fn job_mut(&mut self, of: InLine) -> Option<&mut LineJob> {
        self.find(of.build, of.job).ok().and_then(|at| self.jobs.get_mut(at))
    }

    /// Lists the jobs that may be leased anew, in their order. Looks at no more jobs than there are places, apart from
    /// waiting ones of the same build.
    fn allow(&mut self) {
        self.allowed.clear();
        if self.is_doubtful {
            return;
        }
        let mut taken = self.attempts.len();
        let mut limit = self.attempts.iter().map(|(_, limit)| *limit).min().unwrap_or(self.most) as usize;
        let (mut of, mut waiting) = (None, 0);
        for standing in &self.jobs {
            if of != Some(standing.build) {
                // The places of the older build's jobs are kept for them.
                taken += waiting;
                (of, waiting) = (Some(standing.build), 0);
            }
            if taken >= limit {
                break;
            }
            let own_limit = standing.limit as usize;
            match standing.stage {
                Stage::Leased => {}
                Stage::Waiting => waiting += 1,
                Stage::Queued if taken < own_limit => {
                    self.allowed.push((standing.job, standing.other));
                    taken += 1;
                    limit = limit.min(own_limit);
                }
                // It waits until fewer are executed, and lets nobody pass.
                Stage::Queued => break,
            }
        }
    }
}
