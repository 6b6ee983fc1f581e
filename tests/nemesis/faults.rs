//! The nemesis: dice decide all faults, so that a seed repeats them. (The processes react in their own time: the same
//! seed makes the same faults, not the same story.)

mod people;

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use surveil::model::{CommitId, RefName, RepoName};
use surveil::scheduler::RequestId;

use crate::canary::Canary;
use crate::cast::{Cast, TERMS};
use crate::dice::Dice;
use crate::echo;
use crate::harness::{Repository, World, is_encrypted, now, until};
use crate::promises::history::Fact;
use crate::proxy::{Cut, Frame, Link, Spoil, Tap, Way};
use crate::tasks::{KnownTask, Place};
use crate::wait;
use crate::witness::Witness;

pub(crate) use people::DOUBTFUL;

/// A fault, or an action of people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    Push,
    ForcePush,
    NewBranch,
    DeleteBranch,
    Cancel,
    Rerun,
    KillDispatcher,
    StopDispatcher,
    KillRunner,
    EndRunner,
    FreezeRunner,
    KillObserver,
    Cut,
    Silence,
    OneWay,
    TearLine,
    Flip,
    Slow,
    Double,
    Replay,
    Echo,
    SecondProcess,
}

const FAULTS: &[(Fault, u32)] = &[
    (Fault::Push, 30),
    (Fault::ForcePush, 3),
    (Fault::NewBranch, 3),
    (Fault::DeleteBranch, 2),
    (Fault::Cancel, 5),
    (Fault::Rerun, 5),
    (Fault::KillDispatcher, 7),
    (Fault::StopDispatcher, 3),
    (Fault::KillRunner, 6),
    (Fault::EndRunner, 1),
    (Fault::FreezeRunner, 3),
    (Fault::KillObserver, 3),
    (Fault::Cut, 8),
    (Fault::Silence, 3),
    (Fault::OneWay, 4),
    (Fault::TearLine, 6),
    (Fault::Slow, 4),
    (Fault::Double, 6),
    (Fault::Replay, 8),
    (Fault::Echo, 4),
    (Fault::SecondProcess, 2),
];

/// A byte that is changed on its way, which nobody notices without encryption.
const FLIP: (Fault, u32) = (Fault::Flip, 6);

/// An action for a later time.
#[derive(Debug, Clone, Copy)]
enum Later {
    StartDispatcher,
    ResumeDispatcher,
    StartRunner(usize),
    ThawRunner(usize),
    StartObserver(usize),
    KillTwin,
}

pub(crate) struct Nemesis<'a> {
    world: &'a World,
    witness: Arc<Witness>,
    place: Place,
    canary: Canary,
    pub(crate) cast: Cast<'a>,
    repositories: Vec<Repository<'a>>,
    heads: Vec<BTreeMap<String, CommitId>>,
    commits: Vec<Vec<CommitId>>,
    dice: Dice,
    /// Separate dice for people, because they wait when much work is left, and that must not change the other faults.
    people: Dice,
    later: BTreeMap<(u64, u64), Later>,
    sequence: u64,
    echo: Link,
    /// A branch was announced as new once more after it was gone.
    has_echoed_a_gone_branch: bool,
    twin: Option<crate::harness::Process>,
    pub(crate) struck: BTreeMap<Fault, usize>,
}

impl<'a> Nemesis<'a> {
    pub(crate) fn new(world: &'a World, seed: u64) -> Self {
        let place = Place::new(&world.path(""));
        let canary = Canary::new(1);
        let witness = Witness::new(&world.data(), place.clone(), canary.clone());
        // Builds of nearly all branches are trusted, so that their tasks get the secret.
        fs::create_dir_all(world.data()).unwrap();
        people::trust(world, false);
        let cast = Cast::new(world, witness.clone());
        canary.plant(world);
        let echo = Link::open("echo", world, witness.clone() as Arc<dyn Tap>);
        let mut nemesis = Self {
            world,
            witness,
            place,
            canary,
            cast,
            repositories: ["app", "lib"].map(|name| world.repository(name)).into(),
            heads: vec![BTreeMap::new(); 2],
            commits: vec![Vec::new(); 2],
            dice: Dice::new(seed),
            people: Dice::new(!seed),
            later: BTreeMap::new(),
            sequence: 0,
            echo,
            has_echoed_a_gone_branch: false,
            twin: None,
            struck: BTreeMap::new(),
        };
        for repository in 0..2 {
            nemesis.push_to(repository, "main", None);
            nemesis.push_to(repository, DOUBTFUL, None);
        }
        for (name, repository) in [("o1", "app"), ("o2", "app"), ("o3", "lib")] {
            nemesis.cast.add_observer(name, repository);
        }
        for (name, slots) in [("w1", 3), ("w2", 2), ("w3", 1)] {
            nemesis.cast.add_runner(name, slots);
        }
        nemesis
    }

    /// Applies faults for this long.
    pub(crate) fn rage(&mut self, how_long: Duration) {
        let end = self.witness.now() + u64::try_from(how_long.as_millis()).unwrap();
        let mut buried = 0;
        while self.witness.now() < end {
            let gap = self.dice.ms(10, 250);
            let next = self.witness.now() + gap;
            self.live_until(next);
            if next > buried + 500 {
                buried = next;
                self.cast.bury();
                self.look_for_canary(&["data/surveil.db-wal", "work-w1/spool", "work-w2/spool", "work-w3/spool"]);
            }
            let fault = self.roll();
            if self.strike(fault) {
                *self.struck.entry(fault).or_default() += 1;
            }
        }
    }

    /// Ends all faults and waits until every build has ended; returns whether that was in time.
    pub(crate) fn calm(&mut self, patience: Duration) -> bool {
        self.later.clear();
        drop(self.twin.take());
        self.cast.calm();
        if self.has_echoed_a_gone_branch {
            // The dispatcher counts the branch as present until an observer compares the heads anew. A real observer
            // does so with its next look, but an echo has no observer behind it.
            self.cast.interrupt_observers();
        }
        self.witness.note(Fact::Calm);
        let deadline = now() + patience;
        while now() < deadline {
            wait(50);
            self.cast.bury();
            let is_over = self.witness.unfinished().is_empty() && self.cast.is_buried();
            if is_over && self.accepted() == Some(self.heads()) && self.witness.unfinished().is_empty() {
                return true;
            }
        }
        false
    }

    /// Searches for the secret in all processes, in what the roles of this world printed, and in these files.
    pub(crate) fn look_for_canary(&self, paths: &[&str]) {
        let processes = self.canary.in_processes().into_iter();
        let printed = self.world.said().into_iter().filter_map(|(name, bytes)| {
            self.canary.seen_in(&bytes).map(|form| format!("in what {name} printed, {form}"))
        });
        let files = paths.iter().flat_map(|path| self.canary.in_files(&self.world.path(path)));
        let files = files.map(|(path, form)| format!("in {}, {form}", path.display()));
        for place in processes.chain(printed).chain(files) {
            self.witness.note(Fact::SecretSeen { place });
        }
    }

    /// Number of changed bytes that were delivered, after which no connection went on. Checks that all connections of
    /// processes were of the kind that is tested.
    pub(crate) fn flipped(&self) -> usize {
        let links = || self.cast.observers.iter().chain(&self.cast.runners).map(|role| &role.link);
        let kinds: Vec<[usize; 2]> = links().map(Link::kinds).collect();
        let right = usize::from(is_encrypted());
        assert!(kinds.iter().all(|kinds| kinds[right] > 0 && kinds[1 - right] == 0), "plain and encrypted: {kinds:?}");
        until("each connection with a changed byte is over", || links().all(|link| link.flipped().is_some()));
        links().filter_map(Link::flipped).sum()
    }

    pub(crate) fn witness(&self) -> &Arc<Witness> {
        &self.witness
    }

    /// The repositories' heads.
    pub(crate) fn heads(&self) -> Vec<(RepoName, RefName, CommitId)> {
        let of = |(at, heads): (usize, &BTreeMap<String, CommitId>)| {
            heads.iter().map(|(branch, head)| (repo(at), RefName::of_branch(branch), *head)).collect::<Vec<_>>()
        };
        self.heads.iter().enumerate().flat_map(of).collect()
    }

    /// The heads that the dispatcher has accepted, as it tells an observer.
    pub(crate) fn accepted(&self) -> Option<Vec<(RepoName, RefName, CommitId)>> {
        let mut accepted = Vec::new();
        for at in 0..2 {
            let heads = echo::heads(self.world, &repo(at), &self.witness.source(&repo(at))?);
            accepted.extend(heads.into_iter().map(|(branch, head)| (repo(at), branch, head)));
        }
        accepted.sort();
        Some(accepted)
    }

    fn roll(&mut self) -> Fault {
        let faults = || FAULTS.iter().chain(is_encrypted().then_some(&FLIP));
        let all: u32 = faults().map(|(_, weight)| weight).sum();
        let mut number = u32::try_from(self.dice.below(all as usize)).unwrap();
        for (fault, weight) in faults() {
            if number < *weight {
                return *fault;
            }
            number -= weight;
        }
        Fault::Push
    }

    fn live_until(&mut self, at: u64) {
        loop {
            let now = self.witness.now();
            let due = self.later.first_key_value().map(|((at, _), _)| *at).filter(|due| *due <= now.max(at));
            match due {
                Some(due) if due <= now => {
                    let Some((_, later)) = self.later.pop_first() else { continue };
                    self.undo(later);
                }
                Some(due) => wait(due - now),
                None if now >= at => return,
                None => wait(at - now),
            }
        }
    }

    fn undo(&mut self, later: Later) {
        match later {
            Later::StartDispatcher => self.cast.start_dispatcher(),
            Later::ResumeDispatcher => self.cast.resume_dispatcher(),
            Later::StartRunner(at) => self.cast.start_runner(at),
            Later::ThawRunner(at) => self.cast.thaw_runner(at),
            Later::StartObserver(at) => self.cast.start_observer(at),
            Later::KillTwin => drop(self.twin.take()),
        }
    }

    fn plan(&mut self, ms: u64, later: Later) {
        self.sequence += 1;
        self.later.insert((self.witness.now() + ms, self.sequence), later);
    }

    /// Whether a fault could be applied.
    fn strike(&mut self, fault: Fault) -> bool {
        let runner = self.dice.below(self.cast.runners.len());
        let observer = self.dice.below(self.cast.observers.len());
        match fault {
            Fault::Push | Fault::ForcePush | Fault::NewBranch | Fault::DeleteBranch => self.push(fault),
            Fault::Cancel => self.cancel(),
            Fault::Rerun => self.rerun(),
            Fault::KillDispatcher => {
                let down = if self.dice.percent(15) { self.dice.ms(2_600, 5_000) } else { self.dice.ms(0, 700) };
                self.plan(down, Later::StartDispatcher);
                self.cast.kill_dispatcher()
            }
            Fault::StopDispatcher => {
                let ms = self.dice.ms(100, 4_000);
                self.plan(ms, Later::ResumeDispatcher);
                self.cast.stop_dispatcher(ms)
            }
            Fault::KillRunner | Fault::EndRunner => {
                let down = self.dice.ms(0, 2_000);
                self.plan(down, Later::StartRunner(runner));
                if fault == Fault::KillRunner { self.cast.kill_runner(runner) } else { self.cast.end_runner(runner) }
            }
            Fault::FreezeRunner => {
                let (ms, alone) = (self.dice.ms(200, 5_000), self.dice.percent(30));
                self.plan(ms, Later::ThawRunner(runner));
                self.cast.freeze_runner(runner, ms, alone)
            }
            Fault::KillObserver => {
                let down = self.dice.ms(0, 800);
                self.plan(down, Later::StartObserver(observer));
                self.cast.kill_observer(observer)
            }
            Fault::Cut | Fault::Silence | Fault::OneWay | Fault::TearLine | Fault::Flip => self.cut(fault),
            Fault::Slow | Fault::Double => self.spoil(fault),
            Fault::Replay => self.replay(runner),
            Fault::Echo => self.say_old_announcement(),
            Fault::SecondProcess => self.start_twin(runner),
        }
    }

    /// One of all links.
    fn link(&mut self) -> &Link {
        let (observers, runners) = (self.cast.observers.len(), self.cast.runners.len());
        // Runners have more to lose.
        let at = self.dice.below(observers + 2 * runners);
        if at < observers { &self.cast.observers[at].link } else { &self.cast.runners[(at - observers) / 2].link }
    }

    fn cut(&mut self, fault: Fault) -> bool {
        let way = if self.dice.percent(50) { Way::Up } else { Way::Down };
        let (is_polite, bytes) = (self.dice.percent(50), self.dice.below(60));
        let long = if self.dice.percent(60) { TERMS.timeout_ms * 4 / 5 } else { TERMS.timeout_ms * 2 };
        let until = now() + Duration::from_millis(self.dice.ms(50, long));
        let cut = match fault {
            Fault::Silence if is_polite => Cut::Silent,
            Fault::Silence => Cut::Hole(until),
            Fault::OneWay => Cut::OneWay(way, until),
            Fault::TearLine => Cut::MidLine(way, bytes),
            Fault::Flip => Cut::Flip(way, bytes),
            _ if is_polite => Cut::Close,
            _ => Cut::Reset,
        };
        if let Cut::Hole(until) = cut { self.link().block(until) > 0 } else { self.link().cut(cut) > 0 }
    }

    fn spoil(&mut self, fault: Fault) -> bool {
        let until = now() + Duration::from_millis(self.dice.ms(500, 4_000));
        let doubles = if fault == Fault::Double { 70 } else { 0 };
        let (is_slow, trickles) = (fault == Fault::Slow, self.dice.percent(50));
        let (delay, dice) = (self.dice.ms(2, 60), self.dice.roll());
        let delay_ms = if is_slow { delay } else { 0 };
        self.link().spoil(Spoil { until, delay_ms, trickles: is_slow && trickles, doubles, dice });
        true
    }

    /// A runner's earlier results, pieces of logs or starts arrive once more.
    fn replay(&mut self, runner: usize) -> bool {
        let roll = usize::try_from(self.dice.roll() % 1_000).unwrap();
        self.cast.runners[runner].link.say_again(|said| {
            let is_of_attempt = |frame: &&Frame| matches!(frame.kind(), "started" | "log" | "results");
            let of_attempts: Vec<&Frame> = said.iter().filter(is_of_attempt).collect();
            (!of_attempts.is_empty()).then(|| of_attempts[roll % of_attempts.len()].clone())
        })
    }

    /// An earlier announcement comes once more, from another observer.
    fn say_old_announcement(&mut self) -> bool {
        let old = self.witness.announcements();
        let Some(old) = self.dice.pick(&old) else { return false };
        let name = RepoName::new(old.text("repo").unwrap()).unwrap();
        let Some(source) = self.witness.source(&name) else { return false };
        let is_gone = (0..2).any(|at| repo(at) == name && !self.heads[at].contains_key(old.text("branch").unwrap()));
        // Noted whether it arrives or not: a missing answer does not tell.
        self.has_echoed_a_gone_branch |= is_gone && old.text("before").is_none();
        echo::say(self.world, self.echo.address.into(), &source, &old).is_some()
    }

    /// A second process by the name of a runner.
    fn start_twin(&mut self, runner: usize) -> bool {
        if self.twin.is_some() {
            return false;
        }
        let name = self.cast.runners[runner].name.clone();
        let work = format!("--work={}", self.world.path("work-twin").display());
        let flags = ["runner", &format!("--name={name}"), &work, "--min-free=1MiB", "--slots=1", &self.echo.flag()];
        self.twin = Some(self.world.start("twin", &flags));
        let ms = self.dice.ms(300, 2_000);
        self.plan(ms, Later::KillTwin);
        true
    }
}

fn repo(at: usize) -> RepoName {
    RepoName::new(["app", "lib"][at]).unwrap()
}
