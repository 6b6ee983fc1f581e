//! The decisions. Facts go in, commands come out: [`Scheduler::handle`] is told an event and answers with effects.
//! No clock, socket, thread, file or dice in here; time is an argument.
//!
//! It holds what is unfinished and who is there; finished work leaves it, and lives in the store alone. Whoever calls
//! it (the dispatcher's core, the simulation, the tests) makes the records durable before any later effect leaves.

mod effect;
mod event;
mod explain;
mod health;
mod intake;
mod invariants;
mod jobs;
mod leases;
mod members;
mod pause;
mod policy;
mod queue;
mod restore;
mod roster;
#[cfg(test)]
mod scenarios;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

pub use effect::{Effect, Lease, Reply, ToRunner};
pub use event::{Event, Request, Restored, RestoredBuild, RunnerJoined};
pub use explain::RunnerView;
pub use policy::Policy;

use crate::model::{
    AttemptId, BranchName, BuildId, BuildSource, CommitId, Decision, Incarnation, JobId, JobState, Moment, Record,
    RepoName, RunnerId, SessionId, TaskSpec, WallTime,
};
use health::Health;
use queue::Queue;
use roster::Roster;

/// Decides about everything a dispatcher does.
#[derive(Debug)]
pub struct Scheduler {
    policy: Policy,
    heads: HashMap<(RepoName, BranchName), AcceptedHead>,
    /// Unfinished builds.
    builds: BTreeMap<BuildId, LiveBuild>,
    /// All jobs of unfinished builds.
    jobs: HashMap<JobId, LiveJob>,
    queue: Queue,
    /// When a runner that fits was last there, for the labels of each job at the head of a lane.
    fitted: BTreeMap<Vec<Arc<str>>, Moment>,
    /// What occupies slots: leases, and cancelled attempts that their runners have not ended yet.
    leases: BTreeMap<AttemptId, LiveLease>,
    roster: Roster,
    /// Every runner ever seen, by name.
    known_runners: HashMap<Arc<str>, RunnerId>,
    /// What is held against runners that are not there.
    past: HashMap<RunnerId, Health>,
    recorded: Recorded,
    spawns: Spawns,
    last_build: u64,
    last_job: u64,
    last_attempt: u64,
    last_runner: u64,
    last_tick: Option<Moment>,
    /// When it was made from what the store knew, if it was.
    restored_at: Option<Moment>,
}

/// The head last accepted for a branch, and the announcement that moved it there.
#[derive(Debug, Clone, Copy)]
struct AcceptedHead {
    commit: CommitId,
    before: Option<CommitId>,
    /// Unknown after a restart; the announcement's `known` tells it then.
    build: Option<BuildId>,
}

#[derive(Debug)]
struct LiveBuild {
    source: Arc<BuildSource>,
    created_at: WallTime,
    /// In the order of the task file.
    jobs: Vec<JobId>,
    /// How many of them are not finished.
    unfinished: usize,
}

#[derive(Debug)]
struct LiveJob {
    build: BuildId,
    source: Arc<BuildSource>,
    task: Arc<TaskSpec>,
    state: JobState,
    attempts: u32,
    failures: u32,
    losses: u32,
    /// Attempts lost through no doing of the task's since it was queued by hand or restored.
    blameless_losses: u32,
    /// The runners that were lost with it and why, for whoever reads that it was given up.
    lost_with: Vec<String>,
    /// Runners on which it was lost; others are preferred.
    lost_on: Vec<RunnerId>,
    /// Since when it waits for a runner.
    queued_since: Moment,
    needs: Vec<JobId>,
    needed_by: Vec<JobId>,
}

#[derive(Debug)]
struct LiveLease {
    job: JobId,
    build: BuildId,
    number: u32,
    runner: RunnerId,
    /// The process that was told of it. Not known after a restart, until one says that it holds it.
    given_to: Option<Incarnation>,
    exclusive: bool,
    /// It runs out then, unless renewed.
    deadline: Moment,
    /// Whether the task's process runs; before that, a loss is not the job's doing.
    started: Started,
    /// Its outcome is recorded as cancelled; it only occupies the slot until the runner says that it has ended.
    cancelled: bool,
}

/// What is known of the process of a leased attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Started {
    No,
    /// The dispatcher restarted, and nobody has said anything about it since. The lease may never have left.
    Unknown,
    Yes,
}

/// Attempts whose results were recorded lately.
#[derive(Debug, Default)]
struct Recorded {
    order: VecDeque<AttemptId>,
    set: HashSet<AttemptId>,
}

impl Recorded {
    fn insert(&mut self, attempt: AttemptId) {
        if self.set.insert(attempt) {
            self.order.push_back(attempt);
        }
        if self.order.len() > policy::RECORDED_CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
    }
}

/// Runners that the dispatcher was asked to start and that have not registered yet.
#[derive(Debug, Default)]
struct Spawns {
    /// When each was asked for.
    pending: Vec<Moment>,
}

/// One event being handled: the time, and the effects so far.
struct Turn {
    now: Moment,
    at: WallTime,
    effects: Vec<Effect>,
}

impl Turn {
    fn persist(&mut self, record: Record) {
        self.effects.push(Effect::Persist(record));
    }

    fn send(&mut self, session: SessionId, message: ToRunner) {
        self.effects.push(Effect::Send { session, message });
    }

    fn reply(&mut self, request: Request, reply: Reply) {
        self.effects.push(Effect::Reply { request, reply });
    }

    fn note(&mut self, text: String) {
        self.effects.push(Effect::Note(text));
    }

    /// Writes down a decision about a job for `surveil why`.
    fn decide(&mut self, build: BuildId, job: Option<JobId>, why: Because, text: String) {
        let Because { attempt, runner } = why;
        self.persist(Record::Decided(Decision { at: self.at, build, job, attempt, runner, text: text.into() }));
    }
}

/// What a decision was about, besides its job.
#[derive(Default)]
struct Because {
    attempt: Option<AttemptId>,
    runner: Option<RunnerId>,
}

impl Scheduler {
    /// A scheduler that has seen nothing yet. See also [`Scheduler::restore`].
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            heads: HashMap::new(),
            builds: BTreeMap::new(),
            jobs: HashMap::new(),
            queue: Queue::default(),
            fitted: BTreeMap::new(),
            leases: BTreeMap::new(),
            roster: Roster::default(),
            known_runners: HashMap::new(),
            past: HashMap::new(),
            recorded: Recorded::default(),
            spawns: Spawns::default(),
            last_build: 0,
            last_job: 0,
            last_attempt: 0,
            last_runner: 0,
            last_tick: None,
            restored_at: None,
        }
    }

    /// Is told that something happened, and says what to do about it. `at` is the wall-clock time for records; it
    /// decides nothing.
    pub fn handle(&mut self, now: Moment, at: WallTime, event: Event) -> Vec<Effect> {
        let mut turn = Turn { now, at, effects: Vec::new() };
        match event {
            Event::CommitObserved { request, source, plan, known } => {
                self.observe_commit(&mut turn, request, *source, plan, known);
            }
            Event::BranchGone { request, repo, branch, before } => {
                self.drop_branch(&mut turn, request, repo, branch, before);
            }
            Event::RunnerJoined(joined) => self.join_runner(&mut turn, joined),
            Event::RunnerPinged { session, holding } => self.renew(&mut turn, session, &holding),
            Event::RunnerHeard { session } => self.hear(now, session),
            Event::RunnerDraining { session } => self.begin_drain(&mut turn, session),
            Event::AttemptStarted { session, attempt } => self.start_attempt(&mut turn, session, attempt),
            Event::AttemptFinished { session, attempt, outcome, log, duration_ms } => {
                self.hear(now, session);
                self.finish_attempt(&mut turn, leases::Result { session, attempt, outcome, log, duration_ms });
            }
            Event::SessionClosed { session } => self.close_session(&mut turn, session),
            Event::CancelAsked { request, build, job } => self.cancel(&mut turn, request, build, job),
            Event::RerunAsked { request, build, failed_only } => self.rerun(&mut turn, request, *build, failed_only),
            Event::DrainAsked { request, runner } => self.drain_runner(&mut turn, request, runner),
            Event::HeartbeatCheck => {
                self.forgive_gap(&mut turn);
                self.check_heartbeats(&mut turn);
            }
            Event::LeaseCheck => {
                self.forgive_gap(&mut turn);
                self.check_leases(&mut turn);
                self.check_queue(&mut turn);
            }
        }
        self.assign(&mut turn);
        turn.effects
    }

    /// The heads accepted for a repository.
    #[must_use]
    pub fn heads(&self, repo: &RepoName) -> Vec<(BranchName, CommitId)> {
        let of_repo = self.heads.iter().filter(|((name, _), _)| name == repo);
        let mut heads: Vec<_> = of_repo.map(|((_, branch), head)| (branch.clone(), head.commit)).collect();
        heads.sort_unstable();
        heads
    }

    /// Whether this session's runner holds this attempt now: only then may it have the attempt's source.
    #[must_use]
    pub fn held_by(&self, session: SessionId, attempt: AttemptId) -> Option<&BuildSource> {
        let lease = self.leases.get(&attempt)?;
        let runner = self.roster.by_session(session)?;
        (lease.runner == runner && !lease.cancelled).then(|| &*self.builds[&lease.build].source)
    }

    /// Jobs that wait for a runner, and jobs that are leased.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.queue.len(), self.leases.values().filter(|lease| !lease.cancelled).count())
    }
}
