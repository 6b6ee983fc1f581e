//! A world in one thread: virtual time, a queue of future events, and all processes. The same seed makes the same
//! world, to the last message.

use std::collections::{BTreeMap, BTreeSet};

use surveil::model::{Ability, AttemptId, BuildSource, Moment, RefName, RepoName, SessionId, WallTime};
use surveil::scheduler::Event;

use crate::checkers;
use crate::dice::Dice;
use crate::dispatcher::{Dispatcher, Input, Question, TERMS};
use crate::faults::Fault;
use crate::history::{Broken, Fact, History, Promise};
use crate::leavings::Left;
use crate::network::{Network, Peer};
use crate::observer::{Observer, ObserverId, Repo};
use crate::plans::new_commit;
use crate::realstore::RealStore;
use crate::runner::{Alarm, Host, Process, ProcessId};
use crate::sabotage::Sabotage;
use crate::schedules::Calendar;
use crate::twists::Twisted;
use crate::written_tasks::WrittenFile;

/// Time within which every build must end after faults have stopped. Jobs of one group that no runner fits are given up
/// one after the other, each when its patience of 30 s is over.
const CALM_MS: u64 = 2_400_000;
/// Delay until observers connect once more after faults have stopped.
const RECONNECT_MS: u64 = 100_000;

/// An event with the time at which it happens.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    ArriveUp(SessionId),
    EndUp(SessionId),
    ArriveDown(SessionId),
    EndDown(SessionId),
    StartDispatcher,
    Batch(u64),
    Room(u64),
    Heartbeat(u64),
    LeaseCheck(u64),
    Schedules(u64),
    /// An event of another thread of the dispatcher, such as the result of a start of a runner.
    Told(u64, Event),
    Boot(usize),
    Runner(ProcessId, Alarm),
    Look(ObserverId),
    Fault(Fault),
    Submit(Box<BuildSource>),
    Calm,
    RestartObservers,
    ResumeAll,
}

/// How a world is made.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Setting {
    pub(crate) seed: u64,
    pub(crate) sabotage: Option<Sabotage>,
    /// Whether the real store runs beside the fold.
    pub(crate) real_store: bool,
    /// Seed of the wall clocks: each value makes other jumps.
    pub(crate) wall: u64,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) dice: Dice,
    wall: Dice,
    /// The wall clock of a world with schedules.
    pub(crate) calendar: Option<Calendar>,
    queue: BTreeMap<(u64, u64), Happening>,
    sequence: u64,
    pub(crate) history: History,
    pub(crate) broken: Vec<Broken>,
    pub(crate) network: Network,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) hosts: Vec<Host>,
    pub(crate) processes: BTreeMap<ProcessId, Process>,
    pub(crate) last_process: u64,
    pub(crate) observers: Vec<Observer>,
    pub(crate) last_observer: u64,
    pub(crate) repos: Vec<Repo>,
    pub(crate) slow_until: u64,
    pub(crate) is_calm: bool,
    /// Long exclusive tasks and runners that are cut off, which rarely meet in an ordinary world.
    pub(crate) is_deploying: bool,
    pub(crate) sabotage: Option<Sabotage>,
    /// State of the sabotages: to which runner each attempt was leased, and when the last tick came.
    pub(crate) holders: BTreeMap<AttemptId, SessionId>,
    /// Reports by runners about attempts that they do not hold. Their answers are not checked.
    pub(crate) lies: BTreeSet<(SessionId, AttemptId)>,
    pub(crate) last_tick: Option<Moment>,
    pub(crate) twisted: Twisted,
    /// The files of further tasks that attempts wrote. They lie beside the results until those are answered.
    pub(crate) files: BTreeMap<AttemptId, WrittenFile>,
    /// Other things that attempts left.
    pub(crate) left: BTreeMap<AttemptId, Left>,
}

/// The result of a world.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) history: History,
    pub(crate) broken: Vec<Broken>,
}

/// Runs a world and checks every promise.
pub(crate) fn live(setting: Setting) -> Story {
    let mut world = World::new(setting);
    world.run();
    let World { history, mut broken, .. } = world;
    broken.extend(checkers::check(&history, &TERMS));
    Story { history, broken }
}

impl World {
    fn new(setting: Setting) -> Self {
        let mut dice = Dice::new(setting.seed);
        let hosts = hosts(&mut dice);
        let count = 1 + dice.below(2);
        let is_deploying = dice.percent(8);
        let calendar = Calendar::of(setting.seed);
        let is_scheduled = calendar.is_some();
        let repos =
            ["app", "lib"].iter().take(count).map(|name| repo(&mut dice, name, (is_deploying, is_scheduled))).collect();
        let mut world = Self {
            now: 0,
            dice,
            wall: Dice::new(setting.wall ^ 0x57),
            calendar,
            queue: BTreeMap::new(),
            sequence: 0,
            history: History::default(),
            broken: Vec::new(),
            network: Network::default(),
            dispatcher: Dispatcher::default(),
            hosts,
            processes: BTreeMap::new(),
            last_process: 0,
            observers: Vec::new(),
            last_observer: 0,
            repos,
            slow_until: 0,
            is_calm: false,
            is_deploying,
            sabotage: setting.sabotage,
            holders: BTreeMap::new(),
            lies: BTreeSet::new(),
            last_tick: None,
            twisted: Twisted::default(),
            files: BTreeMap::new(),
            left: BTreeMap::new(),
        };
        if setting.real_store {
            match RealStore::new() {
                Ok(real) => world.dispatcher.real = Some(real),
                Err(text) => world.fail(Promise::Store, text),
            }
        }
        world.plan(0, Happening::StartDispatcher);
        for host in 0..world.hosts.len() {
            let at = world.dice.ms(0, 3_000);
            world.plan(at, Happening::Boot(host));
        }
        for repo in 0..world.repos.len() {
            for _ in 0..1 + world.dice.below(2) {
                world.start_observer(repo);
            }
        }
        let calm_at = world.plan_faults();
        world.plan(calm_at, Happening::Calm);
        world
    }

    fn run(&mut self) {
        let mut until = u64::MAX;
        let mut looked = 0;
        while let Some(((at, _), happening)) = self.queue.pop_first() {
            self.now = at;
            if matches!(happening, Happening::Calm) {
                until = at + CALM_MS;
            }
            match self.standstill(&happening) {
                Some(end) if end > at => self.plan(end, happening),
                _ => self.happen(happening),
            }
            // After a broken invariant or a refusal by the store, the rest of the story means nothing.
            if !self.broken.is_empty() || at > until {
                break;
            }
            if self.is_calm && at > looked + 1_000 {
                looked = at;
                if self.is_over() {
                    break;
                }
            }
        }
        let heads = |repo: &Repo| {
            let name = repo.name.clone();
            repo.heads.iter().map(|(reference, head)| (name.clone(), reference.clone(), *head)).collect::<Vec<_>>()
        };
        if self.broken.is_empty() {
            let heads = self.repos.iter().flat_map(heads).collect();
            self.history.note(self.now, Fact::Ended { heads });
        }
        let agreed = self.dispatcher.real.as_ref().map_or(Ok(()), |real| real.compare(&self.dispatcher.store));
        if let Err(text) = agreed {
            self.fail(Promise::Store, text);
        }
    }

    pub(crate) fn fail(&mut self, promise: Promise, text: String) {
        self.broken.push(Broken { promise, text, after: self.history.entries.len() });
    }

    pub(crate) fn plan(&mut self, at: u64, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((at.max(self.now), self.sequence), happening);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::ArriveUp(session) => self.arrive_up(session),
            Happening::EndUp(session) => self.end_up(session),
            Happening::ArriveDown(session) => self.arrive_down(session),
            Happening::EndDown(session) => self.end_down(session),
            Happening::StartDispatcher => self.start_dispatcher(),
            Happening::Batch(start) => self.run_batch(start),
            Happening::Room(start) => self.room_again(start),
            Happening::Heartbeat(start) => self.tick(start, Event::HeartbeatCheck),
            Happening::LeaseCheck(start) => self.tick(start, Event::LeaseCheck),
            Happening::Schedules(start) => self.check_schedules(start),
            Happening::Told(start, event) => self.told(start, event),
            Happening::Boot(host) => self.boot(host, false),
            Happening::Runner(process, alarm) => self.runner_alarm(process, alarm),
            Happening::Look(observer) => self.look(observer),
            Happening::Fault(fault) => self.strike(fault),
            Happening::Submit(source) => self.ask_for(source),
            Happening::Calm => self.calm_down(),
            Happening::RestartObservers => self.restart_observers(),
            Happening::ResumeAll => self.resume_all(),
        }
    }

    /// Time until which the event's process stands still, if it does.
    fn standstill(&self, happening: &Happening) -> Option<u64> {
        let frozen = |id: &ProcessId| self.processes.get(id).map(|process| self.hosts[process.host].frozen_until);
        match happening {
            Happening::ArriveUp(_)
            | Happening::EndUp(_)
            | Happening::Batch(_)
            | Happening::Room(_)
            | Happening::Heartbeat(_)
            | Happening::LeaseCheck(_)
            | Happening::Schedules(_)
            | Happening::Told(..) => Some(self.dispatcher.paused_until),
            Happening::ArriveDown(session) | Happening::EndDown(session) => match self.network.peer(*session)? {
                Peer::Runner(process) => frozen(&process),
                Peer::Observer(_) => None,
            },
            Happening::Runner(process, _) => frozen(process),
            Happening::Boot(host) => Some(self.hosts[*host].frozen_until),
            Happening::StartDispatcher
            | Happening::Look(_)
            | Happening::Fault(_)
            | Happening::Submit(_)
            | Happening::Calm
            | Happening::RestartObservers
            | Happening::ResumeAll => None,
        }
    }

    /// Stops faults, repairs what they left as an operator would, and restarts the observers.
    fn calm_down(&mut self) {
        self.is_calm = true;
        self.history.note(self.now, Fact::Calm);
        self.slow_until = self.now;
        (self.dispatcher.doom, self.dispatcher.disk_full_until) = (None, self.now);
        let beside: Vec<ProcessId> = self
            .processes
            .iter()
            .filter(|(id, process)| self.hosts[process.host].main != Some(**id))
            .map(|(id, _)| *id)
            .collect();
        for process in beside {
            self.kill(process);
        }
        self.restart_observers();
        // Messages of the old observers may still arrive; the next comparison of heads corrects them.
        self.plan(self.now + RECONNECT_MS, Happening::RestartObservers);
        self.resume_all();
    }

    /// Lets drained runners take jobs again, as soon as there is a dispatcher.
    fn resume_all(&mut self) {
        if self.dispatcher.scheduler.is_none() {
            return self.plan(self.now + 1_000, Happening::ResumeAll);
        }
        for host in 0..self.hosts.len() {
            let name = self.hosts[host].name.to_string();
            self.enqueue(Input::Ask(Question::Resume(name), None));
        }
    }

    fn restart_observers(&mut self) {
        for at in (0..self.observers.len()).rev() {
            self.stop_observer(at);
        }
        for repo in 0..self.repos.len() {
            self.start_observer(repo);
        }
    }

    /// Nothing is left to do: every build has its verdict and every head its build.
    fn is_over(&self) -> bool {
        let store = &self.dispatcher.store;
        let accepted = |repo: &Repo| {
            let of_repo = store.heads.iter().filter(|((name, _), _)| *name == repo.name);
            of_repo.map(|((_, reference), head)| (reference, &head.commit)).eq(repo.heads.iter())
        };
        store.builds.values().all(|build| build.verdict.is_some()) && self.repos.iter().all(accepted)
    }

    /// Lets the wall clocks jump: no decision may depend on them, except for schedules.
    pub(crate) fn wall(&mut self) -> WallTime {
        if let Some(calendar) = &self.calendar {
            return calendar.at(self.now);
        }
        WallTime(1_700_000_000_000 + (self.wall.roll() >> 28) as i64)
    }
}

fn hosts(dice: &mut Dice) -> Vec<Host> {
    let mut hosts = vec![Host::new("w1", if dice.percent(50) { &["gpu", "linux"] } else { &["linux"] }, 2)];
    if dice.percent(75) {
        hosts.push(Host::new("w2", &["linux"], 1));
    }
    // The program of the third host is older than artifacts and secrets.
    let abilities = [Ability::Artifacts, Ability::Secrets].map(Ability::label);
    for host in &mut hosts {
        host.labels.extend(abilities.iter().cloned());
        host.labels.sort();
    }
    if dice.percent(40) {
        hosts.push(Host::new("w3", if dice.percent(50) { &["gpu"] } else { &[] }, 1));
    }
    hosts
}

fn repo(dice: &mut Dice, name: &str, (is_deploying, is_scheduled): (bool, bool)) -> Repo {
    let name = RepoName::new(name).expect("a plain word");
    let (heads, commits, plans) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
    let mut repo = Repo { name, is_deploying, is_scheduled, heads, before: None, commits, plans };
    let first = new_commit(dice, &mut repo);
    repo.heads.insert(RefName::of_branch("main"), first);
    if dice.percent(25) {
        repo.heads.insert(RefName::new("refs/tags/v1"), first);
    }
    repo
}
