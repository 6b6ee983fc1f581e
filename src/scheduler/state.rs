//! The state: accepted heads, unfinished builds and their jobs, and the tables of leases, runners and deadlines.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::health::Health;
use super::policy::{self, Policy};
use super::same_tasks::SameTasks;
use super::tables::{Demand, InLine, LaneKey, LiveLease, OwnLines, Standing, Started, Tables};
use crate::model::reason::{ErrorReason, LostWith};
use crate::model::{
    AcceptedHead, ArtifactRecord, Attempt, AttemptId, BuildId, BuildSettings, BuildSource, Condition, Job, JobId,
    JobState, Line, Moment, Outputs, Plan, PoolId, RefName, RepoName, Runner, RunnerId, RunnerName, ScheduleRule,
    SpawnId, TaskSpec, WallTime,
};

/// A schedule of one branch, under its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LiveSchedule {
    /// `None` if it has ended.
    pub rule: Option<ScheduleRule>,
    pub last_due: WallTime,
}

/// The dispatcher's decisions. See the header of the room for how to drive it.
#[derive(Debug)]
pub struct Scheduler {
    pub(super) policy: Policy,
    pub(super) heads: HashMap<(RepoName, RefName), AcceptedHead>,
    /// The patterns for refs whose first look is over.
    pub(super) patterns: HashSet<(RepoName, Arc<str>)>,
    /// The moves of each repository that has had one.
    pub(super) moves: HashMap<RepoName, Moves>,
    /// The schedules of each branch, by name, those that have ended included.
    pub(super) schedules: BTreeMap<(RepoName, RefName), BTreeMap<Arc<str>, LiveSchedule>>,
    /// The number of changes of them since the start.
    pub(super) schedule_changes: u64,
    /// Unfinished builds.
    pub(super) builds: BTreeMap<BuildId, LiveBuild>,
    /// All jobs of unfinished builds. In boxes, so that the table is small and grows without moving them.
    pub(super) jobs: FxHashMap<JobId, Box<LiveJob>>,
    /// The tasks of jobs, so that equal ones are one.
    pub(super) tasks: SameTasks,
    /// Leases, runners, the queue and all deadlines.
    pub(super) tables: Tables,
    /// Every runner ever seen, by name, with the drain that is in force.
    pub(super) known_runners: HashMap<RunnerName, Runner>,
    /// The health of runners that are not there and have failed.
    pub(super) past_health: HashMap<RunnerId, Health>,
    pub(super) recent_results: RecentResults,
    pub(super) spawns: Spawns,
    pub(super) last_build: u64,
    pub(super) last_job: u64,
    pub(super) last_attempt: u64,
    pub(super) last_runner: u64,
    pub(super) last_spawn: u64,
    pub(super) last_tick: Option<Moment>,
}

impl Scheduler {
    /// Makes a scheduler that knows of nothing. See also [`Scheduler::restore`].
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self {
            heads: HashMap::new(),
            patterns: HashSet::new(),
            moves: HashMap::new(),
            schedules: BTreeMap::new(),
            schedule_changes: 0,
            builds: BTreeMap::new(),
            jobs: FxHashMap::default(),
            tasks: SameTasks::default(),
            tables: Tables::default(),
            known_runners: HashMap::new(),
            past_health: HashMap::new(),
            recent_results: RecentResults::default(),
            spawns: Spawns::default(),
            last_build: 0,
            last_job: 0,
            last_attempt: 0,
            last_runner: 0,
            last_spawn: policy.last_spawn,
            last_tick: None,
            policy,
        }
    }
}

/// The requests of this dispatcher to start a runner.
#[derive(Debug, Default)]
pub(super) struct Spawns {
    /// The pool of every request whose runner may still be there. Open ones have `Timer::Spawn` set as well.
    pub pools: BTreeMap<SpawnId, PoolId>,
    /// Failed starts in a row. A runner of the pool that joins sets this to zero.
    pub failures: BTreeMap<PoolId, u32>,
}

/// The numbers of a repository's accepted moves. They ascend over all of its refs, so that a ref that has no
/// head needs no number of its own.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moves {
    /// The last move.
    pub last: u64,
    /// The last move by which a ref ended.
    pub end: u64,
}

#[derive(Debug)]
pub(super) struct LiveBuild {
    pub source: Arc<BuildSource>,
    /// The time of its announcement, or of the newest rerun.
    pub begun_at: WallTime,
    pub settings: BuildSettings,
    /// In the order of the task file.
    pub jobs: Vec<JobId>,
    /// The number of jobs that the verdict waits for.
    pub unfinished: usize,
}

#[derive(Debug)]
pub(super) struct LiveJob {
    pub build: BuildId,
    pub source: Arc<BuildSource>,
    pub task: Arc<TaskSpec>,
    pub state: JobState,
    pub attempts: u32,
    pub failures: u32,
    pub losses: u32,
    /// Losses that happened before the task's process started. A rerun and a restart set this to zero.
    pub blameless_losses: u32,
    /// `None` if none of its attempts came to nothing.
    pub troubles: Option<Box<Troubles>>,
    /// Whether its last attempt failed, and the task is tried again.
    pub is_retry: bool,
    /// The tasks that this attempt of it wrote, or the mistake in their file. They count with its result.
    pub written: Option<(AttemptId, Box<Result<Plan, String>>)>,
    /// The outputs of this attempt of it. They count with its result.
    pub outputs: Option<Box<(AttemptId, Outputs)>>,
    /// The artifacts that an attempt of it left. They count with its result.
    pub artifacts: Option<Box<(AttemptId, Vec<ArtifactRecord>)>>,
    /// Why this attempt of it may not have its secrets. It counts with its result.
    pub denied: Option<(AttemptId, Box<ErrorReason>)>,
    /// Its place among the queued jobs of its repository.
    pub standing: Standing,
    /// The lines in which it takes turns with others. A held job is in none.
    pub lines: OwnLines,
    pub needs: Vec<LiveNeed>,
    pub needed_by: Vec<JobId>,
}

/// The attempts of a job that came to nothing.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    /// The runners that were lost with it and why, for whoever reads that it was given up.
    pub lost_with: Vec<LostWith>,
    /// Runners on which an attempt of it was lost, or failed if the task is to be tried again elsewhere. Others are
    /// preferred. A restart forgets them.
    pub lost_on: Vec<RunnerId>,
}

/// A job of the same build that has to end before, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct LiveNeed {
    pub job: JobId,
    pub condition: Condition,
}

impl LiveJob {
    /// Makes a job of a build that came, or was asked to run again, at this moment. `priority` is that which it has in
    /// the build.
    pub(super) fn new(job: Job, source: Arc<BuildSource>, needs: Vec<LiveNeed>, came: Moment, priority: i32) -> Self {
        Self {
            standing: Standing::of(came, priority),
            lines: [None; 2],
            build: job.build,
            source,
            task: job.task,
            state: job.state,
            attempts: job.attempts,
            failures: job.failures,
            losses: job.losses,
            blameless_losses: 0,
            troubles: None,
            is_retry: false,
            written: None,
            outputs: None,
            artifacts: None,
            denied: None,
            needs,
            needed_by: Vec::new(),
        }
    }

    /// Makes the lease of an attempt of this job.
    pub(super) fn lease(&self, attempt: &Attempt, started: Started) -> LiveLease {
        LiveLease {
            job: attempt.job,
            build: attempt.build,
            number: attempt.number,
            runner: attempt.runner,
            repo: self.source.repo.clone(),
            task: Arc::clone(&self.task),
            lines: self.lines,
            exclusive: self.task.recipe.exclusive,
            given_to: None,
            started,
            cancelled: false,
        }
    }

    /// The lines of its task, each with the number of places that it allows.
    pub(super) fn lines_of_task(&self) -> impl Iterator<Item = (Line, u32)> {
        self.task.lines(&self.source.repo).map(|line| {
            let limit = self.task.limit_in(&line);
            (line, limit)
        })
    }

    /// Its place among the jobs that take turns with it.
    pub(super) fn in_line(&self, id: JobId) -> InLine {
        InLine { build: self.build, job: id, lines: self.lines }
    }

    pub(super) fn lost_on(&self) -> &[RunnerId] {
        self.troubles.as_ref().map(|troubles| troubles.lost_on.as_slice()).unwrap_or_default()
    }

    /// Notes that a runner is not to be preferred for it any more.
    pub(super) fn avoid(&mut self, runner: RunnerId) {
        let lost_on = &mut self.troubles.get_or_insert_default().lost_on;
        if !lost_on.contains(&runner) {
            lost_on.push(runner);
        }
    }

    pub(super) fn demand(&self) -> Demand<'_> {
        Demand { labels: &self.task.placement.labels, slots: self.task.placement.slots.0 }
    }

    /// Its lane of the queue, its repository and its demand, with its standing there.
    pub(super) fn lane(&self) -> LaneKey<'_> {
        (&self.source.repo, self.demand(), self.standing)
    }
}

/// The attempts whose results were recorded last, so that a repeated delivery gets the same answer.
#[derive(Debug, Default)]
pub(super) struct RecentResults {
    order: VecDeque<AttemptId>,
    /// The runner that executed each of them: no other one may speak for it.
    runners: BTreeMap<AttemptId, RunnerId>,
}

impl RecentResults {
    pub(super) fn insert(&mut self, attempt: AttemptId, runner: RunnerId) {
        if self.runners.insert(attempt, runner).is_none() {
            self.order.push_back(attempt);
        }
        if self.order.len() > policy::RECORDED_CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.runners.remove(&oldest);
        }
    }

    /// Whether a result of this attempt was recorded, and this runner executed it.
    pub(super) fn is_of(&self, attempt: AttemptId, runner: RunnerId) -> bool {
        self.runners.get(&attempt) == Some(&runner)
    }
}
