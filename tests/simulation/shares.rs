//! A world without faults in which repositories compete for few slots, so that shares can be judged (S37).

use std::collections::VecDeque;

use surveil::model::{
    AttemptId, BuildSource, CommitId, Incarnation, Isolation, JobId, LogSummary, Moment, Outcome, Plan, Record,
    RefName, RepoName, RunnerName, Script, SessionId, TaskName, TaskSpec, Trigger, WallTime,
};
use surveil::scheduler::{Effect, Event, RequestId, RunnerJoined, Scheduler};

use crate::checkers;
use crate::dice::Dice;
use crate::dispatcher::{TERMS, policy};
use crate::fold::Fold;
use crate::history::{Fact, History, Promise};

struct Shares {
    scheduler: Scheduler,
    store: Fold,
    history: History,
    running: VecDeque<AttemptId>,
    /// The number of commits so far.
    commits: u8,
    session: u64,
    slots: u32,
    now: u64,
    /// What the dispatcher makes of a priority.
    twist: fn(i32) -> i32,
}

impl Shares {
    fn new(slots: u32, twist: fn(i32) -> i32) -> Self {
        let (scheduler, store, history) = (Scheduler::new(policy()), Fold::default(), History::default());
        let (running, commits, session, now) = (VecDeque::new(), 0, 0, 0);
        let mut world = Self { scheduler, store, history, running, commits, session, slots, now, twist };
        world.join();
        world
    }

    fn broken(&self) -> Option<String> {
        let broken = checkers::check_from_outside(&self.history, &TERMS);
        broken.into_iter().find(|broken| broken.promise == Promise::S37).map(|broken| broken.text)
    }

    fn tell(&mut self, mut event: Event) {
        self.history.note(self.now, Fact::Arrived(event.clone()));
        if let Event::CommitObserved { plan: Ok(plan), .. } = &mut event {
            for placement in plan.tasks.iter_mut().map(|task| &mut task.spec.placement) {
                placement.priority = (self.twist)(placement.priority);
            }
        }
        for effect in self.scheduler.handle(Moment(self.now), WallTime(0), event) {
            if let Effect::Persist(record) = &effect {
                self.store.apply(record).expect("the store takes it");
                if let Record::AttemptLeased(attempt) = record {
                    self.running.push_back(attempt.id);
                }
            }
            self.history.note(self.now, Fact::Decided(effect));
        }
        self.scheduler.check_invariants().expect("invariants hold");
    }

    fn join(&mut self) {
        self.session += 1;
        let joined = RunnerJoined {
            session: SessionId(self.session),
            name: RunnerName::new("w1").expect("a plain word"),
            incarnation: Incarnation(1),
            slots: self.slots,
            labels: Vec::new(),
            isolation: Isolation::Subreaper,
            tiers: None,
            holding: self.running.iter().copied().collect(),
            warm: Vec::new(),
            spawned: false,
            spawn: None,
            draining: false,
        };
        self.tell(Event::RunnerJoined(joined));
    }

    fn push(&mut self, repo: &str, tasks: usize) {
        self.push_of(repo, tasks, 0);
    }

    fn push_of(&mut self, repo: &str, tasks: usize, priority: i32) {
        self.commits += 1;
        let commit = CommitId::from_bytes(&[self.commits; 20]).expect("20 bytes");
        let reference = RefName::of_branch(format!("b{}", self.commits));
        let (subject, author) = (String::new(), String::new());
        let repo = RepoName::new(repo).expect("a plain word");
        let source =
            BuildSource { repo, commit, trigger: Trigger::of_move(reference, None, vec![], Some(0)), subject, author };
        let task = |n| {
            let mut task = TaskSpec::new(TaskName::recorded(&format!("t{n}")), Script::Shell("true".into()));
            task.placement.priority = priority;
            task
        };
        let (request, source) = (RequestId(0), Box::new(source));
        self.tell(Event::CommitObserved {
            request,
            source,
            plan: Ok(Plan::of((0..tasks).map(task).collect())),
            seen: None,
        });
    }

    fn finish_oldest(&mut self) {
        let Some(attempt) = self.running.pop_front() else { return };
        let (session, log, duration_ms) = (SessionId(self.session), LogSummary::default(), None);
        self.tell(Event::AttemptFinished {
            session,
            attempt,
            outcome: Outcome::Passed,
            log,
            duration_ms,
            steps: vec![],
            execution: None,
        });
    }
}

/// Returns how S37 was broken. A dispatcher that `forgets` is restarted before every event.
fn broken(seed: u64, forgets: bool) -> Option<String> {
    let mut dice = Dice::new(seed);
    let slots = 1 + dice.below(3) as u32;
    let repos = ["a", "b", "c", "d"];
    let count = 2 + dice.below(3);
    let mut world = Shares::new(slots, |priority| priority);
    // Busy ones first, so that a plain order of numbers would serve them first.
    (0..count).for_each(|at| world.push(repos[at], 60));
    for _ in 0..150 {
        if forgets {
            world.scheduler = Scheduler::restore(policy(), Moment(0), world.store.snapshot());
            world.join();
        }
        match dice.below(12) {
            0 => world.push(repos[dice.below(repos.len())], 1 + dice.below(3)),
            _ => world.finish_oldest(),
        }
    }
    world.broken()
}

/// Lets urgent jobs arrive without end, as fast as a runner finishes them, while one that is not urgent waits. Returns
/// how S37 was broken.
fn starved(seed: u64, twist: fn(i32) -> i32) -> Option<String> {
    let mut dice = Dice::new(seed);
    let (low, high) = (dice.below(4) as i32 - 3, 1 + dice.below(5) as i32);
    let mut world = Shares::new(1, twist);
    world.push_of("a", 2, high);
    world.push_of("a", 1, low);
    // A minute of waiting makes up for a priority, so the job has its turn before this time.
    let patience_ms = 60_000 * u64::try_from(high - low).unwrap_or(0);
    while world.now < patience_ms + 60_000 {
        world.now += dice.ms(5_000, 20_000);
        world.push_of("a", 1, high);
        world.finish_oldest();
    }
    let waits = world.store.jobs[&JobId(3)].attempts == 0;
    world.broken().or_else(|| waits.then(|| format!("j3 of priority {low} starves behind those of {high}")))
}

#[test]
fn no_job_starves_behind_urgent_ones() {
    for seed in 0..50 {
        assert_eq!(starved(seed, |priority| priority), None, "seed {seed}");
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "in how many worlds each sabotage shows is worth reading")]
fn the_sabotage_of_priorities_that_waiting_does_not_raise_is_caught() {
    let caught = (0..10).filter(|seed| starved(*seed, |priority| priority * 100).is_some()).count();
    println!("{:<22} {:<6} {caught:>5} of {:>5}", "WaitingRaisesNothing", "S37", 10);
    assert!(caught > 0);
}

#[test]
fn no_repository_is_passed_over_without_end() {
    for seed in 0..50 {
        assert_eq!(broken(seed, false), None, "seed {seed}");
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "in how many worlds each sabotage shows is worth reading")]
fn the_sabotage_of_forgetting_who_was_served_is_caught() {
    let caught = (0..10).filter(|seed| broken(*seed, true).is_some()).count();
    println!("{:<22} {:<6} {caught:>5} of {:>5}", "ForgetsShares", "S37", 10);
    assert!(caught > 0);
}
