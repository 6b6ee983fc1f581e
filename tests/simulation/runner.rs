//! Runners: machines with a name and slots, and the processes that run there. A process decides as
//! `src/runner/machine.rs` does; what it executes takes virtual time and has real ends.

use std::collections::{BTreeMap, VecDeque};

use surveil::model::{AttemptId, Incarnation, Isolation, Label, Outcome, RunnerName, SessionId};
use surveil::scheduler::{Lease, RunnerCommand, RunnerJoined};

use crate::dispatcher::{HEARTBEAT_MS, TIMEOUT_MS};
use crate::history::Fact;
use crate::network::{Down, Peer, Up};
use crate::world::{Happening, World};

/// Time after which an unanswered result is sent again.
const REPEAT_MS: u64 = 6_000;
/// The longest pause between two attempts to connect.
const REDIAL_MAX_MS: u64 = 3_000;
/// The longest time that an attempt takes to end after it was told to.
pub(crate) const GRACE_MS: u64 = 4_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ProcessId(pub(crate) u64);

/// A machine.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) name: RunnerName,
    pub(crate) labels: Vec<Label>,
    pub(crate) slots: usize,
    /// Results on disk that the dispatcher has not answered.
    pub(crate) journal: BTreeMap<AttemptId, Outcome>,
    /// Time until which the machine has no network.
    pub(crate) cut_until: u64,
    pub(crate) frozen_until: u64,
    /// The process that owns the journal.
    pub(crate) main: Option<ProcessId>,
}

impl Host {
    pub(crate) fn new(name: &str, labels: &[&str], slots: usize) -> Self {
        let labels = labels.iter().map(|label| Label::recorded(label)).collect();
        let journal = BTreeMap::new();
        Self { name: RunnerName::recorded(name), labels, slots, journal, cut_until: 0, frozen_until: 0, main: None }
    }

    pub(crate) fn wipe(&mut self) {
        self.journal.clear();
    }
}

/// A runner's process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) host: usize,
    pub(crate) incarnation: Incarnation,
    pub(crate) session: Option<SessionId>,
    /// The dispatcher has answered the registration.
    pub(crate) is_here: bool,
    pub(crate) held: BTreeMap<AttemptId, Held>,
    pub(crate) waiting: VecDeque<Box<Lease>>,
    /// Time at which the last answered ping was sent.
    pub(crate) renewed: u64,
    /// Unanswered pings, and the registration before them.
    asked: VecDeque<u64>,
    /// Heartbeats without a message from the dispatcher.
    silent_beats: u64,
    backoff: u64,
    /// Another process holds its name, so the next attempt to connect waits longer.
    is_refused: bool,
    is_draining: bool,
    pub(crate) is_stopping: bool,
}

#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) phase: Phase,
    pub(crate) lease: Option<Box<Lease>>,
    /// The reason for ending it early, if it is ended early.
    pub(crate) ending: Option<Early>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Waiting,
    Executing { began: bool },
    Ended { outcome: Outcome, said: Option<u64> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Early {
    Cancelled,
    Gone,
    CutOff,
    Stopped,
}

/// An action of a process that is due at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alarm {
    Dial,
    Beat,
    Begin(AttemptId),
    /// The attempt's process ends, by itself or because it was told to.
    End(AttemptId, bool),
    /// Without word from the dispatcher, an exclusive attempt has to end now.
    CutOff(AttemptId),
    Exit,
}

impl World {
    /// Starts a runner's process, beside an existing one if asked for.
    pub(crate) fn boot(&mut self, host: usize, beside: bool) {
        if self.hosts[host].main.is_some() && !beside {
            return;
        }
        self.last_process += 1;
        let id = ProcessId(self.last_process);
        let incarnation = Incarnation(self.dice.roll() >> 1);
        let mut held = BTreeMap::new();
        if !beside {
            self.hosts[host].main = Some(id);
            for (attempt, outcome) in &self.hosts[host].journal {
                let phase = Phase::Ended { outcome: outcome.clone(), said: None };
                held.insert(*attempt, Held { phase, lease: None, ending: None });
            }
        }
        let process = Process {
            host,
            incarnation,
            session: None,
            is_here: false,
            held,
            waiting: VecDeque::new(),
            renewed: self.now,
            asked: VecDeque::new(),
            silent_beats: 0,
            backoff: 0,
            is_refused: false,
            is_draining: false,
            is_stopping: false,
        };
        self.processes.insert(id, process);
        self.history.note(self.now, Fact::Booted { name: self.hosts[host].name.clone(), incarnation });
        self.plan(self.now + 1, Happening::Runner(id, Alarm::Dial));
        self.plan(self.now + HEARTBEAT_MS, Happening::Runner(id, Alarm::Beat));
    }

    /// Ends the process and everything that it executed.
    pub(crate) fn kill(&mut self, id: ProcessId) {
        let Some(process) = self.processes.remove(&id) else { return };
        for (attempt, held) in &process.held {
            if held.phase == (Phase::Executing { began: true }) {
                self.history.note(self.now, Fact::Over { attempt: *attempt, outcome: None });
            }
        }
        let host = &mut self.hosts[process.host];
        let name = host.name.clone();
        if host.main == Some(id) {
            host.main = None;
            let back = self.dice.ms(100, 6_000);
            self.plan(self.now + back, Happening::Boot(process.host));
        }
        self.history.note(self.now, Fact::Died { name, incarnation: process.incarnation });
        if let Some(session) = process.session {
            self.hang_up(session);
        }
    }

    pub(crate) fn runner_alarm(&mut self, id: ProcessId, alarm: Alarm) {
        if !self.processes.contains_key(&id) {
            return;
        }
        match alarm {
            Alarm::Dial => self.runner_dials(id),
            Alarm::Beat => self.beat(id),
            Alarm::Begin(attempt) => self.begin(id, attempt),
            Alarm::End(attempt, by_itself) => self.end_attempt(id, attempt, by_itself),
            Alarm::CutOff(attempt) => self.look_at_limit(id, attempt),
            Alarm::Exit => self.kill(id),
        }
    }

    fn runner_dials(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        if process.session.is_some() {
            return;
        }
        let host = &self.hosts[process.host];
        if self.dispatcher.scheduler.is_none() || host.cut_until > self.now {
            process.backoff = (process.backoff * 2).clamp(100, REDIAL_MAX_MS);
            let wait = process.backoff;
            return self.redial(id, wait);
        }
        process.backoff = 0;
        let session = self.network.dial(Peer::Runner(id));
        let Some(process) = self.processes.get_mut(&id) else { return };
        process.session = Some(session);
        (process.is_here, process.silent_beats) = (false, 0);
        process.asked = VecDeque::from([self.now]);
        let joined = RunnerJoined {
            session,
            name: host.name.clone(),
            incarnation: process.incarnation,
            slots: host.slots as u32,
            labels: host.labels.clone(),
            isolation: Isolation::Subreaper,
            tiers: None,
            holding: process.held.keys().copied().collect(),
            warm: Vec::new(),
            spawned: false,
            spawn: None,
            draining: process.is_draining,
        };
        self.send_up(session, Up::Register(Box::new(joined)));
    }

    fn redial(&mut self, id: ProcessId, wait: u64) {
        let at = self.now + self.dice.ms(wait / 2 + 1, wait + 2);
        self.plan(at, Happening::Runner(id, Alarm::Dial));
    }

    fn beat(&mut self, id: ProcessId) {
        self.plan(self.now + HEARTBEAT_MS, Happening::Runner(id, Alarm::Beat));
        let Some(process) = self.processes.get_mut(&id) else { return };
        if process.is_draining && process.held.is_empty() {
            return self.kill(id);
        }
        let Some(session) = process.session else { return };
        process.silent_beats += 1;
        if process.silent_beats * HEARTBEAT_MS > TIMEOUT_MS {
            self.hang_up(session);
            return self.runner_loses(id, session);
        }
        if !process.is_here {
            return;
        }
        process.asked.push_back(self.now);
        let holding = process.held.keys().copied().collect();
        let now = self.now;
        let mut again = Vec::new();
        for (attempt, held) in &mut process.held {
            if let Phase::Ended { outcome, said: Some(said) } = &mut held.phase
                && *said + REPEAT_MS <= now
            {
                *said = now;
                again.push((*attempt, outcome.clone()));
            }
        }
        self.send_up(session, Up::Ping(holding));
        for (attempt, outcome) in again {
            self.send_up(session, Up::Results(attempt, outcome));
        }
    }

    pub(crate) fn runner_loses(&mut self, id: ProcessId, session: SessionId) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        if process.session != Some(session) {
            return;
        }
        (process.session, process.is_here) = (None, false);
        for held in process.held.values_mut() {
            if let Phase::Ended { said, .. } = &mut held.phase {
                *said = None;
            }
        }
        let wait = if std::mem::take(&mut process.is_refused) { 1_500 } else { self.dice.ms(1, 200) };
        self.redial(id, wait);
    }

    pub(crate) fn runner_hears(&mut self, id: ProcessId, session: SessionId, message: Down) {
        let Down::Runner(message) = message else { return };
        let Some(process) = self.processes.get_mut(&id) else { return };
        if process.session != Some(session) {
            return;
        }
        process.silent_beats = 0;
        match message {
            RunnerCommand::Registered { gone, .. } => self.registered(id, session, gone),
            RunnerCommand::NameTaken { .. } => process.is_refused = true,
            RunnerCommand::Lease(lease) => self.leased(id, lease),
            RunnerCommand::Cancel { attempt } => self.cancelled(id, attempt),
            message @ (RunnerCommand::Recorded { attempt } | RunnerCommand::Stale { attempt }) => {
                let is_recorded = matches!(message, RunnerCommand::Recorded { .. });
                if self.lies.contains(&(session, attempt)) {
                    return;
                }
                self.history.note(self.now, Fact::Answered { session, attempt, is_recorded });
                self.gone(id, attempt);
            }
            RunnerCommand::Ack { gone } => {
                if let Some(sent) = process.asked.pop_front() {
                    process.renewed = process.renewed.max(sent);
                }
                for attempt in gone {
                    self.gone(id, attempt);
                }
            }
            RunnerCommand::Drain => self.drain(id),
        }
    }

    fn registered(&mut self, id: ProcessId, session: SessionId, gone: Vec<AttemptId>) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        process.is_here = true;
        if let Some(sent) = process.asked.pop_front() {
            process.renewed = process.renewed.max(sent);
        }
        for attempt in gone {
            self.gone(id, attempt);
        }
        let Some(process) = self.processes.get_mut(&id) else { return };
        let mut said = Vec::new();
        for (attempt, held) in &mut process.held {
            match &mut held.phase {
                Phase::Executing { began: true } => said.push(Up::Started(*attempt)),
                Phase::Ended { outcome, said: when } => {
                    *when = Some(self.now);
                    said.push(Up::Results(*attempt, outcome.clone()));
                }
                Phase::Waiting | Phase::Executing { began: false } => {}
            }
        }
        if process.is_draining {
            said.push(Up::Draining);
        }
        for message in said {
            self.send_up(session, message);
        }
    }

    pub(crate) fn drain(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        process.is_draining = true;
        if let (Some(session), true) = (process.session, process.is_here) {
            self.send_up(session, Up::Draining);
        }
    }
}
