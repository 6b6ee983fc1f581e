//! All processes: a dispatcher, observers and runners, each of the latter behind a link; and the faults
//! that can be done to them.

use std::process::Command;
use std::sync::Arc;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use surveil::model::{Incarnation, RunnerName};

use crate::harness::{Process, World, text};
use crate::promises::history::Fact;
use crate::promises::terms::Terms;
use crate::proxy::{Cut, Link, Tap};
use crate::wait;
use crate::witness::Witness;

/// The dispatcher's settings, which the promises are checked against.
pub(crate) const TERMS: Terms = Terms {
    heartbeat_ms: 300,
    timeout_ms: 2_500,
    reconnect_ms: 600,
    lease_check_ms: 100,
    queue_timeout_ms: 24 * 60 * 60 * 1_000,
    max_losses: 5,
};

/// Time after which no process of a killed runner may be left; its supervisors need a moment to notice.
const REMAINS_MS: u64 = 20_000;

/// An observer or a runner.
pub(crate) struct Role {
    pub(crate) name: String,
    pub(crate) link: Link,
    arguments: Vec<String>,
    process: Option<Process>,
    /// Counts its starts.
    start: u32,
    is_frozen: bool,
}

pub(crate) struct Cast<'a> {
    world: &'a World,
    witness: Arc<Witness>,
    dispatcher: Option<Process>,
    pub(crate) observers: Vec<Role>,
    pub(crate) runners: Vec<Role>,
    /// Starts of runners that were killed, with the time of the kill.
    dead: Vec<(String, String, u64)>,
}

impl<'a> Cast<'a> {
    /// A dispatcher without peers.
    pub(crate) fn new(world: &'a World, witness: Arc<Witness>) -> Self {
        let mut cast =
            Self { world, witness, dispatcher: None, observers: Vec::new(), runners: Vec::new(), dead: Vec::new() };
        cast.start_dispatcher();
        cast
    }

    pub(crate) fn start_dispatcher(&mut self) {
        if self.dispatcher.is_none() {
            self.witness.note(Fact::Started);
            let flags = [
                format!("--heartbeat-interval={}ms", TERMS.heartbeat_ms),
                format!("--heartbeat-timeout={}ms", TERMS.timeout_ms),
                format!("--reconnect-window={}ms", TERMS.reconnect_ms),
                format!("--max-losses={}", TERMS.max_losses),
                // So few that some are removed at each start.
                "--keep-artifact-builds=15".to_owned(),
            ];
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            self.dispatcher = Some(self.world.dispatcher(&flags));
        }
    }

    /// Whether there was one to be killed.
    pub(crate) fn kill_dispatcher(&mut self) -> bool {
        self.miss_dispatcher();
        let Some(dispatcher) = self.dispatcher.take() else { return false };
        dispatcher.kill();
        self.witness.crashed("killed");
        true
    }

    /// Checks that the dispatcher has not ended by itself: no message may end it.
    fn miss_dispatcher(&self) {
        let Some(dispatcher) = &self.dispatcher else { return };
        let id = WaitId::Pid(Pid::from_raw(i32::try_from(dispatcher.pid()).unwrap()).unwrap());
        // Peeks without reaping the process, which another function waits for.
        let end = waitid(id, WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT).unwrap();
        assert!(end.is_none(), "the dispatcher ended by itself");
    }

    /// Stops the dispatcher until that time.
    pub(crate) fn stop_dispatcher(&mut self, ms: u64) -> bool {
        let Some(dispatcher) = &self.dispatcher else { return false };
        self.witness.note(Fact::HeldUp { until: self.witness.now() + ms });
        dispatcher.signal(Signal::STOP);
        true
    }

    pub(crate) fn resume_dispatcher(&mut self) {
        if let Some(dispatcher) = &self.dispatcher {
            dispatcher.signal(Signal::CONT);
        }
    }

    pub(crate) fn add_observer(&mut self, name: &str, repository: &str) {
        let link = Link::open(name, self.world, self.witness.clone() as Arc<dyn Tap>);
        let path = self.world.path(repository);
        let arguments =
            vec!["observer".into(), text(&path).into(), "--branch=*".into(), "--interval=300ms".into(), link.flag()];
        self.observers.push(Role::new(name, link, arguments));
        let last = self.observers.len() - 1;
        self.start_observer(last);
    }

    pub(crate) fn add_runner(&mut self, name: &str, slots: u32) {
        let link = Link::open(name, self.world, self.witness.clone() as Arc<dyn Tap>);
        self.runners.push(Role::new(name, link, Vec::new()));
        let last = self.runners.len() - 1;
        let work = self.world.path(&format!("work-{name}"));
        let role = &mut self.runners[last];
        role.arguments = vec![
            "runner".into(),
            format!("--name={name}"),
            format!("--work={}", work.display()),
            format!("--slots={slots}"),
            "--min-free=1MiB".into(),
            "--grace=1s".into(),
            role.link.flag(),
        ];
        self.start_runner(last);
    }

    pub(crate) fn start_observer(&mut self, at: usize) {
        self.observers[at].start(self.world);
    }

    pub(crate) fn start_runner(&mut self, at: usize) {
        if self.runners[at].start(self.world) {
            let name = RunnerName::recorded(&self.runners[at].name);
            self.witness.note(Fact::Booted { name, incarnation: Incarnation(u64::from(self.runners[at].start)) });
        }
    }

    pub(crate) fn kill_observer(&mut self, at: usize) -> bool {
        let Some(process) = self.observers[at].process.take() else { return false };
        process.kill();
        true
    }

    pub(crate) fn kill_runner(&mut self, at: usize) -> bool {
        // A frozen process cannot end.
        self.thaw_runner(at);
        let Some(process) = self.runners[at].process.take() else { return false };
        process.kill();
        let name = self.runners[at].name.clone();
        let incarnation = Incarnation(u64::from(self.runners[at].start));
        self.witness.note(Fact::Died { name: RunnerName::recorded(&name), incarnation });
        self.dead.push((name, self.runners[at].mark(), self.witness.now()));
        true
    }

    /// Asks a runner to end.
    pub(crate) fn end_runner(&mut self, at: usize) -> bool {
        self.thaw_runner(at);
        let Some(mut process) = self.runners[at].process.take() else { return false };
        process.signal(Signal::TERM);
        // The first signal drains; a second one, unless the kernel merges both, ends running attempts.
        wait(200);
        process.signal(Signal::TERM);
        process.exit_code();
        let name = self.runners[at].name.clone();
        self.dead.push((name, self.runners[at].mark(), self.witness.now()));
        true
    }

    /// Freezes the runner, alone or with all its processes.
    pub(crate) fn freeze_runner(&mut self, at: usize, ms: u64, alone: bool) -> bool {
        if self.runners[at].is_frozen || self.runners[at].process.is_none() {
            return false;
        }
        self.runners[at].is_frozen = true;
        let name = RunnerName::recorded(&self.runners[at].name);
        self.witness.note(Fact::Froze { name, until: self.witness.now() + ms });
        if let Some(process) = &self.runners[at].process {
            process.signal(Signal::STOP);
        }
        if !alone {
            self.signal_all(at, Signal::STOP);
        }
        true
    }

    pub(crate) fn thaw_runner(&mut self, at: usize) {
        if std::mem::take(&mut self.runners[at].is_frozen) {
            self.signal_all(at, Signal::CONT);
            let name = RunnerName::recorded(&self.runners[at].name);
            self.witness.note(Fact::Thawed { name });
        }
    }

    fn signal_all(&self, at: usize, signal: Signal) {
        for process in self.world.processes(&[&self.runners[at].mark()]) {
            let pid = process.split(':').next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
            // The process may have ended meanwhile.
            kill_process(pid.unwrap(), signal).ok();
        }
    }

    /// Checks that no process is left of runners that were killed long enough ago, and that the dispatcher is there.
    pub(crate) fn bury(&mut self) {
        self.miss_dispatcher();
        let (now, world, witness) = (self.witness.now(), self.world, &self.witness);
        self.dead.retain(|(name, mark, since)| {
            let left = world.processes(&[mark]);
            let is_overdue = !left.is_empty() && now > since + REMAINS_MS;
            if is_overdue {
                witness.note(Fact::Remained { name: RunnerName::recorded(name), processes: left.clone() });
            }
            !left.is_empty() && !is_overdue
        });
    }

    /// Whether all that was killed is gone.
    pub(crate) fn is_buried(&self) -> bool {
        self.dead.is_empty()
    }

    /// Ends all faults of processes.
    pub(crate) fn calm(&mut self) {
        self.resume_dispatcher();
        self.start_dispatcher();
        for at in 0..self.runners.len() {
            self.thaw_runner(at);
            self.start_runner(at);
            self.runners[at].link.heal();
        }
        for at in 0..self.observers.len() {
            self.observers[at].link.heal();
            self.start_observer(at);
        }
    }

    /// Makes connected observers dial again and compare the heads anew.
    pub(crate) fn interrupt_observers(&self) {
        for observer in &self.observers {
            observer.link.cut(Cut::Close);
        }
    }
}

impl Role {
    fn new(name: &str, link: Link, arguments: Vec<String>) -> Self {
        Self { name: name.to_owned(), link, arguments, process: None, start: 0, is_frozen: false }
    }

    /// A variable in the environment of this start and of all its children.
    fn mark(&self) -> String {
        format!("NEMESIS_START={}.{}", self.name, self.start)
    }

    /// Whether it was started now, and was not there already.
    fn start(&mut self, world: &World) -> bool {
        if self.process.is_some() {
            return false;
        }
        self.start += 1;
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let mut command: Command = world.command(&arguments);
        command.env("NEMESIS_START", format!("{}.{}", self.name, self.start));
        self.process = Some(world.start_command(&self.name, command));
        true
    }
}
