//! The dispatcher's core around the production scheduler, modelled after `src/dispatcher/core/batch.rs`: a batch of
//! arrived messages is handled, its records are committed, and only then its effects leave. A crash may come between
//! any two of these steps.

use std::collections::BTreeMap;
use std::sync::Arc;

use surveil::model::reason::NamedJobs;
use surveil::model::{
    BuildId, BuildSource, CommitId, JobId, Label, Moment, Plan, PoolId, Record, RefName, RepoName, SessionId, SpawnId,
    TaskName,
};
use surveil::scheduler::{Effect, Event, Policy, Pool, Reply, RequestId, RunnerJoined, Scheduler};

use crate::fold::Fold;
use crate::history::{Fact, Promise};
use crate::network::{Cut, Down, Up};
use crate::observer::PATTERN;
use crate::promises::terms::Terms;
use crate::realstore::RealStore;
use crate::schedules;
use crate::world::{Happening, World};
use crate::written_tasks::Values;

pub(crate) const HEARTBEAT_MS: u64 = 2_000;
pub(crate) const TIMEOUT_MS: u64 = 8_000;
const RECONNECT_MS: u64 = 1_000;
pub(crate) const LEASE_CHECK_MS: u64 = 500;
const QUEUE_TIMEOUT_MS: u64 = 30_000;
const MAX_LOSSES: u32 = 3;

/// The settings that the promises are checked against.
pub(crate) const TERMS: Terms = Terms {
    heartbeat_ms: HEARTBEAT_MS,
    timeout_ms: TIMEOUT_MS,
    reconnect_ms: RECONNECT_MS,
    lease_check_ms: LEASE_CHECK_MS,
    queue_timeout_ms: QUEUE_TIMEOUT_MS,
    max_losses: MAX_LOSSES,
};

/// The same settings as the scheduler's policy.
pub(crate) fn policy() -> Policy {
    Policy {
        heartbeat_interval_ms: HEARTBEAT_MS,
        tick_ms: LEASE_CHECK_MS,
        heartbeat_timeout_ms: TIMEOUT_MS,
        reconnect_ms: RECONNECT_MS,
        max_losses: MAX_LOSSES,
        queue_timeout_ms: QUEUE_TIMEOUT_MS,
        // No host has this label, and what is started for it never joins.
        pools: vec![Pool {
            id: PoolId::LOCAL,
            labels: vec![Label::new("moon").expect("a plain word")],
            slots: 1,
            max: 1,
        }],
        last_spawn: 0,
    }
}

/// An input that waits for the core.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    Event(Event),
    Ask(Question, Option<SessionId>),
    /// An observer asks for the accepted heads.
    Look(RepoName, SessionId),
}

/// Requests that become events once the core has numbered them.
#[derive(Debug, Clone)]
pub(crate) enum Question {
    Commit(Box<BuildSource>, Result<Plan, String>, Option<u64>),
    Gone(RepoName, RefName, CommitId, Option<u64>),
    Note(RepoName, Vec<(RefName, CommitId)>, Vec<Arc<str>>),
    /// A request of `submit` or `try`, perhaps one that is sent again.
    Submit(Box<BuildSource>, Result<Plan, String>),
    Cancel(BuildId, Option<JobId>),
    /// A rerun, of what failed only, of one job only.
    Rerun(BuildId, bool, Option<JobId>),
    /// Starts a held job, also in an old build, with values for its inputs.
    Start(BuildId, JobId, bool, Values),
    Drain(String),
    Resume(String),
}

#[derive(Debug, Default)]
pub(crate) struct Dispatcher {
    /// `None` while no dispatcher runs.
    pub(crate) scheduler: Option<Scheduler>,
    /// Number of this start, so that timers of an earlier start are ignored.
    pub(crate) start: u64,
    /// Time at which its monotonic clock showed 0.
    epoch: u64,
    pub(crate) store: Fold,
    pub(crate) real: Option<RealStore>,
    inbox: Vec<Input>,
    asked: BTreeMap<RequestId, Option<SessionId>>,
    last_request: u64,
    records: Vec<Record>,
    held: Vec<Effect>,
    /// Time until which the process stands still: stopped, or its machine suspended.
    pub(crate) paused_until: u64,
    pub(crate) disk_full_until: u64,
    /// The commit waits for room on the disk.
    is_stuck: bool,
    /// Steps left until it crashes.
    pub(crate) doom: Option<u32>,
}

impl World {
    pub(crate) fn start_dispatcher(&mut self) {
        if self.dispatcher.scheduler.is_some() {
            return;
        }
        self.history.note(self.now, Fact::Started);
        let mut restored = self.dispatcher.store.snapshot();
        if let Some(real) = &mut self.dispatcher.real
            && let Err(text) = real.reopen().and_then(|()| real.compare(&self.dispatcher.store))
        {
            self.fail(Promise::Store, text);
        }
        // Monotonic time survives no restart: it starts anew at some number.
        let base = self.dice.ms(0, 1_000_000);
        self.dispatcher.epoch = self.now.wrapping_sub(base);
        let (policy, moment) = self.twist_restart(&mut restored, Moment(base));
        self.dispatcher.scheduler = Some(Scheduler::restore(policy, moment, restored));
        self.dispatcher.start += 1;
        let start = self.dispatcher.start;
        self.plan(self.now + HEARTBEAT_MS, Happening::Heartbeat(start));
        self.plan(self.now + LEASE_CHECK_MS, Happening::LeaseCheck(start));
        self.plan(self.now + schedules::CHECK_MS, Happening::Schedules(start));
    }

    fn crash(&mut self, at: &'static str) {
        self.history.note(self.now, Fact::Crashed(at));
        // The process is gone; its files and the machine's disk are not.
        let Dispatcher { start, store, real, last_request, disk_full_until, .. } = std::mem::take(&mut self.dispatcher);
        self.dispatcher = Dispatcher { start, store, real, last_request, disk_full_until, ..Dispatcher::default() };
        self.drop_all();
        let down = if self.dice.percent(20) { self.dice.ms(2_000, 12_000) } else { self.dice.ms(20, 1_500) };
        self.plan(self.now + down, Happening::StartDispatcher);
    }

    pub(crate) fn tick(&mut self, start: u64, event: Event) {
        if start != self.dispatcher.start || self.dispatcher.scheduler.is_none() {
            return;
        }
        let (period, next) = match event {
            Event::HeartbeatCheck => (HEARTBEAT_MS, Happening::Heartbeat(start)),
            _ => (LEASE_CHECK_MS, Happening::LeaseCheck(start)),
        };
        self.plan(self.now + period, next);
        self.enqueue(Input::Event(event));
    }

    pub(crate) fn dispatcher_hears(&mut self, session: SessionId, message: Up) {
        if self.dispatcher.scheduler.is_none() {
            return;
        }
        let input = match message {
            Up::Register(joined) => Input::Event(Event::RunnerJoined(RunnerJoined { session, ..*joined })),
            Up::Ping(holding) => Input::Event(Event::RunnerPinged { session, holding }),
            Up::Started(attempt) => Input::Event(Event::AttemptStarted { session, attempt }),
            Up::Draining => Input::Event(Event::RunnerDraining { session }),
            Up::Results(attempt, outcome) => return self.hear_result(session, attempt, outcome),
            Up::Status(repo) => Input::Look(repo, session),
            Up::Dispatch(source, plan, seen) => Input::Ask(Question::Commit(source, plan, seen), Some(session)),
            Up::Gone(repo, reference, before, seen) => {
                Input::Ask(Question::Gone(repo, reference, before, seen), Some(session))
            }
            Up::Note(repo, refs, patterns) => Input::Ask(Question::Note(repo, refs, patterns), Some(session)),
        };
        self.enqueue(input);
    }

    pub(crate) fn dispatcher_loses(&mut self, session: SessionId) {
        if self.dispatcher.scheduler.is_some() {
            self.enqueue(Input::Event(Event::SessionClosed { session }));
        }
    }

    /// Puts an input into the core's queue. A batch begins a moment later, so that it can hold more than one input.
    pub(crate) fn enqueue(&mut self, input: Input) {
        if self.dispatcher.inbox.is_empty() {
            let wait = self.dice.ms(0, 8);
            self.plan(self.now + wait, Happening::Batch(self.dispatcher.start));
        }
        self.dispatcher.inbox.push(input);
    }

    pub(crate) fn run_batch(&mut self, start: u64) {
        if start != self.dispatcher.start || self.dispatcher.is_stuck {
            return;
        }
        for input in std::mem::take(&mut self.dispatcher.inbox) {
            if self.is_doomed("between two events") || !self.take(input) {
                return;
            }
        }
        if self.now < self.dispatcher.disk_full_until && !self.dispatcher.records.is_empty() {
            return self.wait_for_room();
        }
        self.flush();
    }

    /// Waits for room on a full disk: no effect leaves meanwhile.
    fn wait_for_room(&mut self) {
        self.history.note(self.now, Fact::CommitFailed);
        self.twist_failed_commit();
        let until = self.dispatcher.disk_full_until;
        self.history.note(self.now, Fact::HeldUp { until });
        self.dispatcher.is_stuck = true;
        self.plan(until, Happening::Room(self.dispatcher.start));
    }

    pub(crate) fn room_again(&mut self, start: u64) {
        if start != self.dispatcher.start || !self.dispatcher.is_stuck {
            return;
        }
        self.dispatcher.is_stuck = false;
        if self.flush() {
            self.run_batch(start);
        }
    }

    /// Handles one input. Returns false if the dispatcher crashed.
    fn take(&mut self, input: Input) -> bool {
        match input {
            Input::Event(event) => self.handle(event),
            Input::Look(repo, session) => {
                // A report must not show what is not durable yet.
                if !self.flush() {
                    return false;
                }
                let heads = self.dispatcher.scheduler.as_ref().map(|s| {
                    let heads = s.heads(&repo).into_iter().map(|(reference, head)| (reference, head.commit));
                    (heads.collect(), s.moves(&repo), s.unseen(&repo, vec![PATTERN.into()]))
                });
                let (heads, moves, unseen) = heads.unwrap_or_default();
                self.send_down(session, Down::Heads(heads, moves, unseen));
            }
            Input::Ask(question, asker) => return self.ask(question, asker),
        }
        true
    }

    fn ask(&mut self, question: Question, asker: Option<SessionId>) -> bool {
        self.dispatcher.last_request += 1;
        let request = RequestId(self.dispatcher.last_request);
        let event = match question {
            Question::Commit(source, plan, seen) => Event::CommitObserved { request, source, plan, seen },
            Question::Gone(repo, reference, before, seen) => Event::RefGone { request, repo, reference, before, seen },
            Question::Note(repo, refs, patterns) => Event::RefsNoted { request, repo, refs, patterns },
            Question::Submit(source, plan) => {
                // The same request may have come just before.
                if !self.flush() {
                    return false;
                }
                let earlier = self.dispatcher.store.build_of(&source);
                Event::BuildAsked { request, source, plan, earlier }
            }
            Question::Cancel(build, job) => {
                Event::CancelAsked { request, build, only: named(job), by: Some("alice".into()) }
            }
            Question::Rerun(id, failed_only, only) => {
                // The store must know all of the build before it is read from there.
                if !self.flush() {
                    return false;
                }
                let Some(build) = self.dispatcher.store.build(id) else { return true };
                Event::RerunAsked {
                    request,
                    build: Box::new(build),
                    failed_only,
                    only: named(only),
                    by: Some("alice".into()),
                }
            }
            Question::Start(id, job, force, inputs) => {
                if !self.flush() {
                    return false;
                }
                let Some(build) = self.dispatcher.store.build(id) else { return true };
                let (build, by) = (Box::new(build), "ann@box".into());
                Event::StartAsked { request, build, job, by, force, inputs }
            }
            Question::Drain(name) => {
                let runner = self.dispatcher.scheduler.as_ref().and_then(|s| s.runner_named(&name));
                let Some(runner) = runner else { return true };
                Event::DrainAsked { request, runner, by: None }
            }
            Question::Resume(name) => {
                let runner = self.dispatcher.scheduler.as_ref().and_then(|s| s.runner_named(&name));
                let Some(runner) = runner else { return true };
                Event::ResumeAsked { request, runner, by: None }
            }
        };
        self.dispatcher.asked.insert(request, asker);
        self.handle(event);
        true
    }

    fn handle(&mut self, event: Event) {
        self.history.note(self.now, Fact::Arrived(event.clone()));
        let now = Moment(self.now.wrapping_sub(self.dispatcher.epoch));
        for (now, event) in self.twist_event(now, event) {
            let at = self.wall();
            let Some(scheduler) = &mut self.dispatcher.scheduler else { return };
            let effects = scheduler.handle(now, at, event.clone());
            if let Err(text) = scheduler.check_invariants() {
                self.fail(Promise::Invariant, format!("after {event:?}: {text}"));
            }
            for effect in self.twist_effects(&event, effects) {
                if matches!(effect, Effect::Note(_)) {
                    continue;
                }
                self.history.note(self.now, Fact::Decided(effect.clone()));
                match effect {
                    Effect::Persist(record) => self.dispatcher.records.push(record),
                    effect => self.dispatcher.held.push(effect),
                }
            }
        }
    }

    /// Makes the batch durable, then releases its effects in order. Returns false if the dispatcher crashed.
    pub(crate) fn flush(&mut self) -> bool {
        if self.twist_release_first() && !self.release_all() {
            return false;
        }
        if !self.dispatcher.records.is_empty() {
            if self.is_doomed("before its commit") {
                return false;
            }
            self.commit();
        }
        self.release_all()
    }

    fn commit(&mut self) {
        let records = std::mem::take(&mut self.dispatcher.records);
        if let Some(real) = &mut self.dispatcher.real
            && let Err(text) = real.commit(&records)
        {
            self.fail(Promise::Store, text);
        }
        for record in records {
            let applied = self.dispatcher.store.apply(&record);
            if let Err(text) = applied {
                self.fail(Promise::Store, format!("refuses {record:?}: {text}"));
            }
            self.history.note(self.now, Fact::Committed(record));
        }
    }

    pub(crate) fn release_all(&mut self) -> bool {
        for effect in std::mem::take(&mut self.dispatcher.held) {
            if self.is_doomed("between its commit and an effect") {
                return false;
            }
            self.release(effect);
        }
        true
    }

    fn release(&mut self, effect: Effect) {
        self.history.note(self.now, Fact::Released(effect.clone()));
        match effect {
            Effect::Send { session, message } => self.send_down(session, Down::Runner(message)),
            Effect::Reply { request, reply } => self.reply(request, reply),
            Effect::CloseSession { session, .. } => {
                let cut = Cut { up_ms: 2, down_ms: 2, loses_up: true, loses_down: false };
                self.cut(session, cut);
            }
            Effect::SpawnRunner { spawn, .. } => self.fail_spawn(spawn),
            Effect::Persist(_) | Effect::Note(_) => {}
        }
    }

    /// Of three starts one fails, one ends before it joins, and one hangs.
    fn fail_spawn(&mut self, spawn: SpawnId) {
        let (wait, event) = match spawn.0 % 3 {
            0 => (5, Event::SpawnFailed { spawn, why: "no machine is free".into() }),
            1 => (3_000, Event::SpawnGone { spawn }),
            _ => return,
        };
        self.plan(self.now + wait, Happening::Told(self.dispatcher.start, event));
    }

    pub(crate) fn told(&mut self, start: u64, event: Event) {
        if start == self.dispatcher.start && self.dispatcher.scheduler.is_some() {
            self.enqueue(Input::Event(event));
        }
    }

    fn reply(&mut self, request: RequestId, reply: Reply) {
        // Operators are not simulated as sessions, so nobody waits for the answer.
        if let Some(Some(session)) = self.dispatcher.asked.remove(&request) {
            self.send_down(session, Down::Reply(reply));
        }
    }

    /// Counts down the steps to a crash that is due.
    fn is_doomed(&mut self, at: &'static str) -> bool {
        match &mut self.dispatcher.doom {
            None => false,
            Some(0) => {
                self.crash(at);
                true
            }
            Some(steps) => {
                *steps -= 1;
                false
            }
        }
    }
}

/// The one job that an order names.
fn named(job: Option<JobId>) -> Option<NamedJobs> {
    let task = TaskName::new("one").expect("a name");
    job.map(|job| NamedJobs { task, jobs: vec![job], is_matrix: false })
}
