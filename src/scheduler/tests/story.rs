//! A scheduler with a virtual clock, shorthand for what happens to it, and its effects as lines.

use std::sync::Arc;

use crate::model::reason::{DecisionKind, NamedJobs, OrderDone, PlacementReason, RefusalReason};
use crate::model::{
    Attempt, AttemptId, BranchName, Build, BuildId, BuildSettings, BuildSource, CommitId, Incarnation, Isolation,
    JobId, JobState, Label, LogSummary, Moment, Need, Outcome, Placement, Plan, Record, RepoName, Runner, RunnerId,
    RunnerName, Schedule, Script, SessionId, Snapshot, TaskName, TaskSpec, Trigger, Verdict, WallTime, WholeBuild,
};
use crate::scheduler::policy::SPAWN_AFTER_MS;
use crate::scheduler::tables::Timer;
use crate::scheduler::{Effect, Event, Policy, Reply, RequestId, RunnerCommand, RunnerJoined, Scheduler};

/// A scheduler with a virtual clock, and shorthand for what happens to it.
pub(super) struct Story {
    pub scheduler: Scheduler,
    pub now: Moment,
    /// The wall clock.
    pub wall: i64,
    pub request: u64,
    /// The reason of the last refusal.
    pub refused: Option<RefusalReason>,
    /// What the last order that was carried out did.
    pub ordered: Option<OrderDone>,
    /// The decisions so far, for `surveil why`.
    pub decided: Vec<DecisionKind>,
}

pub(super) fn policy() -> Policy {
    Policy {
        heartbeat_interval_ms: 2_000,
        tick_ms: 250,
        heartbeat_timeout_ms: 15_000,
        reconnect_ms: 500,
        max_losses: 3,
        queue_timeout_ms: 3_600_000,
        pools: Vec::new(),
        last_spawn: 0,
    }
}

pub(super) fn commit(n: u8) -> CommitId {
    CommitId::from_bytes(&[n; 20]).unwrap()
}

pub(super) fn task(name: &str) -> TaskSpec {
    TaskSpec::new(TaskName::new(name).unwrap(), Script::Shell("true".into()))
}

pub(super) fn needing(name: &str, needs: &[&str]) -> TaskSpec {
    let needs = needs.iter().map(|need| Need::passed(TaskName::new(need).unwrap())).collect();
    TaskSpec { placement: Placement { needs, ..Placement::default() }, ..task(name) }
}

pub(super) fn labelled(name: &str, labels: &[&str]) -> TaskSpec {
    let labels = labels.iter().map(|label| Label::new(label).unwrap()).collect();
    TaskSpec { placement: Placement { labels, ..Placement::default() }, ..task(name) }
}

/// The jobs that an order names: one, or the cells of a matrix.
pub(super) fn named(task: &str, jobs: &[u64]) -> NamedJobs {
    let jobs: Vec<JobId> = jobs.iter().copied().map(JobId).collect();
    NamedJobs { task: TaskName::new(task).unwrap(), is_matrix: jobs.len() > 1, jobs }
}

pub(super) fn exclusive(name: &str) -> TaskSpec {
    let mut task = task(name);
    task.recipe_mut().exclusive = true;
    task
}

pub(super) fn source(repo: &str, before: Option<u8>, at: u8) -> BuildSource {
    BuildSource {
        repo: RepoName::new(repo).unwrap(),
        commit: commit(at),
        trigger: Trigger::push(&BranchName::new("main"), before.map(commit), vec![commit(at)]),
        subject: String::new(),
        author: String::new(),
    }
}

/// A build of the first commit of the main branch as the store has it. It is finished if it has a verdict.
pub(super) fn stored_build(id: u64, verdict: Option<Verdict>) -> Build {
    Build {
        id: BuildId(id),
        source: source("app", None, 1),
        created_at: WallTime(0),
        rerun_at: None,
        finished_at: verdict.map(|_| WallTime(0)),
        verdict,
        problem: None,
        settings: BuildSettings::default(),
    }
}

/// Attempt a1 as the store has it: job j1 of build b1 is leased to runner r1.
pub(super) fn stored_lease() -> Attempt {
    Attempt {
        id: AttemptId(1),
        job: JobId(1),
        build: BuildId(1),
        number: 1,
        runner: RunnerId(1),
        reason: PlacementReason::FreeSlot,
        leased_at: WallTime(0),
        finished_at: None,
        duration_ms: None,
        outcome: None,
        log: LogSummary::default(),
    }
}

/// The lines of a pass of a1, after which job j2 gets its slot as attempt `next`.
pub(super) fn hands_on_to(next: u64) -> [String; 6] {
    let (leased, told) = (format!("j2 leased to r1 as a{next} (number 1)"), format!("> s1 lease a{next}"));
    ["a1 passed", "j1 passed", "j2 queued", "> s1 recorded a1", &leased, &told].map(str::to_owned)
}

/// A runner with one slot that holds nothing.
pub(super) fn joined(session: u64, name: &str, incarnation: u64) -> RunnerJoined {
    RunnerJoined {
        session: SessionId(session),
        name: RunnerName::new(name).unwrap(),
        incarnation: Incarnation(incarnation),
        slots: 1,
        labels: Vec::new(),
        isolation: Isolation::Subreaper,
        tiers: None,
        holding: Vec::new(),
        warm: Vec::new(),
        spawned: false,
        spawn: None,
        draining: false,
    }
}

impl Story {
    pub(super) fn new() -> Self {
        Self {
            scheduler: Scheduler::new(policy()),
            now: Moment(0),
            wall: 0,
            request: 0,
            refused: None,
            ordered: None,
            decided: Vec::new(),
        }
    }

    /// As after a restart: build b1 has task `a`, leased to w1 as a1, and `b`, which needs it.
    pub(super) fn restored() -> Self {
        Self::restored_with(0)
    }

    /// Like `restored`, but `a` was lost `losses` times before.
    pub(super) fn restored_with(losses: u32) -> Self {
        let job = |id: u64, task: TaskSpec, state: JobState| crate::model::Job {
            id: JobId(id),
            build: BuildId(1),
            task: Arc::new(task),
            state,
            attempts: u32::from(id == 1),
            failures: 0,
            losses,
        };
        let (a, b) = (task("a"), needing("b", &["a"]));
        let jobs = vec![job(1, a, JobState::Leased(AttemptId(1))), job(2, b, JobState::Waiting)];
        let restored = Snapshot {
            builds: vec![WholeBuild { build: stored_build(1, None), jobs, attempts: vec![stored_lease()] }],
            runners: vec![crate::model::Runner {
                id: RunnerId(1),
                name: RunnerName::new("w1").unwrap(),
                first_seen: WallTime(0),
                drain: None,
                ordered: None,
            }],
            last_build: 1,
            last_job: 2,
            last_attempt: 1,
            last_runner: 1,
            ..Snapshot::default()
        };
        Self {
            scheduler: Scheduler::restore(policy(), Moment(0), restored),
            now: Moment(0),
            wall: 0,
            request: 0,
            refused: None,
            ordered: None,
            decided: Vec::new(),
        }
    }

    pub(super) fn tell(&mut self, event: Event) -> Vec<String> {
        let is_tick = matches!(event, Event::HeartbeatCheck | Event::LeaseCheck);
        let due = self.next_deadline().is_some_and(|next| next <= self.now);
        let effects = self.scheduler.handle(self.now, WallTime(self.wall), event);
        assert!(due || !is_tick || effects.iter().all(|effect| line(effect).is_none()), "no deadline: {effects:#?}");
        if let Err(broken) = self.scheduler.check_invariants() {
            panic!("{broken}\nafter effects {effects:#?}");
        }
        for effect in &effects {
            if let Effect::Persist(Record::Decided(decision)) = effect {
                self.decided.push(decision.kind.clone());
            }
            if let Effect::Reply { reply: Reply::Refused(reason), .. } = effect {
                self.refused = Some(reason.clone());
            }
            if let Effect::Reply { reply: Reply::Done(done), .. } = effect {
                self.ordered = Some(done.clone());
            }
        }
        effects.iter().filter_map(line).collect()
    }

    /// Returns the earliest moment at which a tick can have a consequence, if no other event comes before it. Returns
    /// `None` if the scheduler waits for nothing.
    fn next_deadline(&self) -> Option<Moment> {
        let tables = &self.scheduler.tables;
        let (deadlines, queue) = (tables.deadlines(), tables.queue());
        let unfit = queue.candidates().into_iter().filter(|(_, demand)| !tables.roster().any_fits(*demand));
        let of_queue = unfit.filter_map(|(job, demand)| {
            // These two have consequences only for a job that no connected runner fits, so the table does not find
            // them.
            let of_job = Timer::Fit(job);
            let waited = deadlines.since(&of_job)?.after(SPAWN_AFTER_MS).max(self.now);
            let start_one = self.scheduler.pool_for(&self.scheduler.jobs[&job]).map(|_| waited);
            let give_up =
                deadlines.at(&of_job).max(deadlines.at(&Timer::DemandFit(demand.labels.into(), demand.slots)))?;
            Some(start_one.map_or(give_up, |start_one| start_one.min(give_up)))
        });
        deadlines.next().into_iter().chain(of_queue).min()
    }

    pub(super) fn at(&mut self, ms: u64) -> &mut Self {
        self.now = Moment(ms);
        self
    }

    pub(super) fn observe(&mut self, repo: &str, before: Option<u8>, at: u8, tasks: Vec<TaskSpec>) -> Vec<String> {
        self.request += 1;
        let request = RequestId(self.request);
        self.tell(Event::CommitObserved {
            request,
            source: Box::new(source(repo, before, at)),
            plan: Ok(Plan::of(tasks)),
            seen: None,
        })
    }

    pub(super) fn observe_plan(&mut self, before: Option<u8>, at: u8, plan: Plan) -> Vec<String> {
        self.request += 1;
        let (request, source) = (RequestId(self.request), Box::new(source("app", before, at)));
        self.tell(Event::CommitObserved { request, source, plan: Ok(plan), seen: None })
    }

    pub(super) fn join_draining(&mut self, session: u64, name: &str, incarnation: u64) -> Vec<String> {
        self.tell(Event::RunnerJoined(RunnerJoined { draining: true, ..joined(session, name, incarnation) }))
    }

    pub(super) fn join_as(
        &mut self,
        session: u64,
        name: &str,
        incarnation: u64,
        slots: u32,
        labels: &[&str],
        holding: &[u64],
    ) -> Vec<String> {
        self.tell(Event::RunnerJoined(RunnerJoined {
            slots,
            labels: labels.iter().map(|label| Label::new(label).unwrap()).collect(),
            holding: holding.iter().copied().map(AttemptId).collect(),
            ..joined(session, name, incarnation)
        }))
    }

    pub(super) fn join(&mut self, session: u64, name: &str, slots: u32) -> Vec<String> {
        self.join_as(session, name, 1, slots, &[], &[])
    }

    pub(super) fn finish(&mut self, session: u64, attempt: u64, outcome: Outcome) -> Vec<String> {
        let (session, attempt) = (SessionId(session), AttemptId(attempt));
        self.tell(Event::AttemptFinished {
            session,
            attempt,
            outcome,
            log: LogSummary::default(),
            duration_ms: None,
            steps: vec![],
            execution: None,
        })
    }

    pub(super) fn ping(&mut self, session: u64, holding: &[u64]) -> Vec<String> {
        let holding = holding.iter().copied().map(AttemptId).collect();
        self.tell(Event::RunnerPinged { session: SessionId(session), holding })
    }

    pub(super) fn close(&mut self, session: u64) -> Vec<String> {
        self.tell(Event::SessionClosed { session: SessionId(session) })
    }

    pub(super) fn cancel(&mut self, build: u64) -> Vec<String> {
        self.tell(Event::CancelAsked { request: RequestId(0), build: BuildId(build), only: None, by: None })
    }

    pub(super) fn drain(&mut self, runner: u64) -> Vec<String> {
        self.tell(Event::DrainAsked { request: RequestId(0), runner: RunnerId(runner), by: Some("alice".into()) })
    }

    pub(super) fn resume(&mut self, runner: u64) -> Vec<String> {
        self.tell(Event::ResumeAsked { request: RequestId(0), runner: RunnerId(runner), by: Some("bob".into()) })
    }

    pub(super) fn state_of(&self, runner: &str) -> &'static str {
        let views = self.scheduler.runners(self.now);
        views.iter().find(|view| &*view.name == runner).map_or("gone", |view| view.state.word())
    }

    /// Lets most of a minute pass in which nothing happens, and only this session is alive. An exclusive attempt whose
    /// runner is gone has its deadline right behind.
    #[track_caller]
    pub(super) fn nothing_for_a_minute(&mut self, session: u64, holding: &[u64]) {
        for second in (2..60).step_by(2) {
            assert!(self.tick_until(second * 1_000).is_empty(), "{second}");
            self.ping(session, holding);
        }
    }

    /// Sends the ticks of both threads every 250 ms until then, and returns the effects of all.
    pub(super) fn tick_until(&mut self, ms: u64) -> Vec<String> {
        let mut lines = Vec::new();
        while self.now.0 < ms {
            self.now = Moment((self.now.0 + 250).min(ms));
            lines.extend(self.tell(Event::HeartbeatCheck));
            lines.extend(self.tell(Event::LeaseCheck));
        }
        lines
    }
}

/// Prints an effect on one line. Effects that no story is about print as `None`.
fn line(effect: &Effect) -> Option<String> {
    Some(match effect {
        Effect::Persist(record) => match record {
            Record::BuildAdded { build, jobs } => format!("build {} added with {} jobs", build.id, jobs.len()),
            Record::ScheduleSaved(Schedule { name, rule, last_due, .. }) => match rule {
                Some(rule) => format!("schedule {name} {} after {}", rule.cron, last_due.0),
                None => format!("schedule {name} ended"),
            },
            Record::HeadMoved { head: None, .. } => "head dropped".into(),
            Record::RefsNoted { refs, .. } => format!("{} refs noted", refs.len()),
            Record::AttemptLeased(attempt) => {
                format!("{} leased to {} as {} (number {})", attempt.job, attempt.runner, attempt.id, attempt.number)
            }
            Record::AttemptFinished { attempt, outcome, .. } => {
                format!("{attempt} {}{}", outcome.word(), why(outcome.reason_code()))
            }
            Record::LateResult { attempt, .. } => format!("{attempt} late"),
            Record::JobQueued { job, .. } => format!("{job} queued"),
            Record::JobWaiting { job } => format!("{job} waiting"),
            Record::JobsJoined { build, jobs } => {
                let names = jobs.iter().map(|job| format!("{} {}", job.id, job.task.name));
                format!("{build} has {}", names.collect::<Vec<_>>().join(", "))
            }
            Record::JobHeld { job } => format!("{job} held"),
            Record::TaskGiven { job, task } => {
                let env = task.recipe.env.iter().map(|(name, value)| format!("{name}={value}"));
                format!("{job} has {}", env.collect::<Vec<_>>().join(" "))
            }
            Record::JobFinished { job, ending } => format!("{job} {}{}", ending.word(), why(ending.reason_code())),
            Record::BuildFinished { build, verdict, .. } => format!("{build} {}", verdict.word()),
            Record::BuildReopened { build } => format!("{build} reopened"),
            Record::ArtifactsLeft { attempt, artifacts, .. } => format!("{attempt} left {} artifacts", artifacts.len()),
            Record::OutputsSet { attempt, outputs, .. } => format!("{attempt} has {} outputs", outputs.len()),
            Record::RunnerSaved(Runner { name, drain: Some(drain), .. }) => {
                let ending = drain.ending.map(|process| format!(", {process} ends")).unwrap_or_default();
                format!("{name} drained{ending}")
            }
            // Every new runner is saved, which no story is about.
            Record::HeadMoved { .. }
            | Record::RunnerSaved(_)
            | Record::Decided(_)
            | Record::StepsEnded { .. }
            | Record::AttemptExecuted { .. } => {
                return None;
            }
        },
        Effect::Send { session, message } => match message {
            RunnerCommand::Registered { held, gone, drained } => {
                let held: Vec<String> = held.iter().map(|lease| lease.attempt.to_string()).collect();
                let drained = if *drained { ", drained" } else { "" };
                format!("> {session} registered, holds {held:?}, gone {gone:?}{drained}").replace(['"', '(', ')'], "")
            }
            RunnerCommand::NameTaken { .. } => format!("> {session} name taken"),
            RunnerCommand::Lease(lease) => format!("> {session} lease {}", lease.attempt),
            RunnerCommand::Cancel { attempt } => format!("> {session} cancel {attempt}"),
            RunnerCommand::Recorded { attempt } => format!("> {session} recorded {attempt}"),
            RunnerCommand::Stale { attempt } => format!("> {session} stale {attempt}"),
            RunnerCommand::Ack { gone } if gone.is_empty() => return None,
            RunnerCommand::Ack { gone } => format!("> {session} gone {gone:?}"),
            RunnerCommand::Drain => format!("> {session} drain"),
        },
        Effect::Reply { reply, .. } => match reply {
            Reply::Accepted { build: Some(build), .. } => format!("> accepted as {build}"),
            Reply::Accepted { build: None, .. } => "> accepted".into(),
            Reply::Stale { head, .. } => format!("> stale, head is {head:?}"),
            Reply::Noted => "> noted".into(),
            Reply::Done(_) => "> done".into(),
            Reply::Refused(_) => "> refused".into(),
        },
        Effect::CloseSession { session, .. } => format!("> close {session}"),
        Effect::SpawnRunner { spawn, pool } => format!("spawn {spawn} in {pool}"),
        Effect::Note(_) => return None,
    })
}

/// The code of a reason, behind what happened for it.
fn why(code: Option<&str>) -> String {
    code.map(|code| format!(" ({code})")).unwrap_or_default()
}
