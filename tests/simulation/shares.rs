//! A world without faults in which repositories compete for few slots, so that shares can be judged (S37).

use std::collections::VecDeque;

use surveil::model::{
    AttemptId, BuildSource, CommitId, Incarnation, Isolation, LogSummary, Moment, Outcome, Plan, Record, RefName,
    RepoName, RunnerName, Script, SessionId, TaskName, TaskSpec, Trigger, WallTime,
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
}

impl Shares {
    fn tell(&mut self, event: Event) {
        for effect in self.scheduler.handle(Moment(0), WallTime(0), event) {
            if let Effect::Persist(record) = &effect {
                self.store.apply(record).expect("the store takes it");
                if let Record::AttemptLeased(attempt) = record {
                    self.running.push_back(attempt.id);
                }
            }
            self.history.note(0, Fact::Decided(effect));
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
            holding: self.running.iter().copied().collect(),
            warm: Vec::new(),
            spawned: false,
            spawn: None,
            draining: false,
        };
        self.tell(Event::RunnerJoined(joined));
    }

    fn push(&mut self, repo: &str, tasks: usize) {
        self.commits += 1;
        let commit = CommitId::from_bytes(&[self.commits; 20]).expect("20 bytes");
        let reference = RefName::of_branch(format!("b{}", self.commits));
        let (subject, author) = (String::new(), String::new());
        let repo = RepoName::new(repo).expect("a plain word");
        let source =
            BuildSource { repo, commit, trigger: Trigger::of_move(reference, None, vec![], Some(0)), subject, author };
        let task = |n| TaskSpec::new(TaskName::recorded(&format!("t{n}")), Script::Shell("true".into()));
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
        });
    }
}

/// Returns how S37 was broken. A dispatcher that `forgets` is restarted before every event.
fn broken(seed: u64, forgets: bool) -> Option<String> {
    let mut dice = Dice::new(seed);
    let slots = 1 + dice.below(3) as u32;
    let repos = ["a", "b", "c", "d"];
    let count = 2 + dice.below(3);
    let (scheduler, store, history) = (Scheduler::new(policy()), Fold::default(), History::default());
    let mut world = Shares { scheduler, store, history, running: VecDeque::new(), commits: 0, session: 0, slots };
    world.join();
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
    let broken = checkers::check_from_outside(&world.history, &TERMS);
    broken.into_iter().find(|broken| broken.promise == Promise::S37).map(|broken| broken.text)
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
