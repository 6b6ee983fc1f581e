//! Faults, and what people do meanwhile. Each world picks a few kinds, so that some worlds see one kind often
//! and some see many kinds together.

use surveil::model::reason::TimeoutReason;
use surveil::model::{AttemptId, BuildId, CommitId, JobId, Outcome, RefName};

use crate::dispatcher::{Input, Question};
use crate::history::Fact;
use crate::network::{Cut, Up};
use crate::plans::new_commit;
use crate::runner::ProcessId;
use crate::world::{Happening, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Push,
    /// Moves a branch back to an earlier commit.
    ForcePush,
    /// Moves a branch to and fro for a while, between two commits or between a commit and nothing.
    ToAndFro,
    /// Moves a branch back to where it was before its last move.
    Back,
    DeleteBranch,
    NewBranch,
    /// Makes a tag, or moves one.
    Tag,
    /// Makes or moves the head of a pull request.
    Pull,
    /// A person asks for a build, perhaps of uncommitted work. The request may be sent more than once.
    Submit,
    /// A person starts a held job.
    Start,
    Cancel,
    CancelJob,
    Rerun,
    /// A person runs a task again that has written further tasks.
    RerunWriter,
    DrainByOperator,
    ResumeByOperator,
    BreakSession,
    /// One end learns of the cut much later.
    HalfOpen,
    SlowNetwork,
    CutOff,
    Crash,
    Pause,
    DiskFull,
    KillRunner,
    FreezeRunner,
    DrainRunner,
    StopRunner,
    SecondProcess,
    /// A runner reports that another runner's attempt has passed.
    Liar,
    KillObserver,
}

/// Actions that happen in all worlds, and faults that happen only in some.
const PEOPLE: &[Fault] = &[
    Fault::Push,
    Fault::Push,
    Fault::Push,
    Fault::ForcePush,
    Fault::ToAndFro,
    Fault::DeleteBranch,
    Fault::NewBranch,
    Fault::Tag,
    Fault::Pull,
    Fault::Submit,
    Fault::Start,
    Fault::Start,
];
const TROUBLES: &[Fault] = &[
    Fault::Cancel,
    Fault::CancelJob,
    Fault::Rerun,
    Fault::DrainByOperator,
    Fault::BreakSession,
    Fault::BreakSession,
    Fault::HalfOpen,
    Fault::SlowNetwork,
    Fault::CutOff,
    Fault::CutOff,
    Fault::Crash,
    Fault::Crash,
    Fault::Crash,
    Fault::Pause,
    Fault::DiskFull,
    Fault::KillRunner,
    Fault::FreezeRunner,
    Fault::DrainRunner,
    Fault::StopRunner,
    Fault::SecondProcess,
    Fault::Liar,
    Fault::KillObserver,
];

impl World {
    /// Plans all faults; returns when they are over.
    pub(crate) fn plan_faults(&mut self) -> u64 {
        let calm_at = self.dice.ms(5_000, 60_000);
        let mut kinds: Vec<Fault> = (0..1 + self.dice.below(6)).filter_map(|_| self.dice.pick(TROUBLES)).collect();
        if self.is_deploying {
            kinds.push(Fault::CutOff);
        }
        for _ in 0..self.dice.below(8) {
            self.plan_fault(PEOPLE, calm_at);
        }
        let many = if self.dice.percent(20) { 40 } else { 10 };
        for _ in 0..1 + self.dice.below(many) {
            self.plan_fault(&kinds, calm_at);
        }
        calm_at
    }

    fn plan_fault(&mut self, kinds: &[Fault], calm_at: u64) {
        let at = self.dice.ms(200, calm_at);
        if let Some(fault) = self.dice.pick(kinds) {
            self.plan(at, Happening::Fault(fault));
        }
    }

    pub(crate) fn strike(&mut self, fault: Fault) {
        match fault {
            Fault::Push | Fault::ForcePush | Fault::DeleteBranch | Fault::NewBranch | Fault::Tag | Fault::Pull => {
                self.push(fault)
            }
            Fault::Submit => self.submit(),
            Fault::Start => self.start_held(),
            Fault::ToAndFro => {
                for step in 0..8 {
                    self.plan(self.now + step * 700, Happening::Fault(Fault::Back));
                }
            }
            Fault::Back => self.move_back(),
            Fault::Cancel | Fault::CancelJob | Fault::Rerun | Fault::DrainByOperator | Fault::ResumeByOperator => {
                self.operate(fault)
            }
            Fault::RerunWriter => self.rerun_writer(),
            Fault::BreakSession | Fault::HalfOpen => self.break_session(fault == Fault::HalfOpen),
            Fault::SlowNetwork => self.slow_until = self.now + self.dice.ms(1_000, 8_000),
            Fault::CutOff => self.cut_off(),
            Fault::Crash => {
                if self.dispatcher.scheduler.is_some() {
                    self.dispatcher.doom = Some(self.dice.below(14) as u32);
                }
            }
            Fault::Pause if self.dispatcher.scheduler.is_none() => {}
            Fault::Pause => {
                let most = if self.dice.percent(40) { 4_000 } else { 30_000 };
                let until = self.dispatcher.paused_until.max(self.now + self.dice.ms(500, most));
                self.dispatcher.paused_until = until;
                self.history.note(self.now, Fact::HeldUp { until });
            }
            Fault::DiskFull => self.dispatcher.disk_full_until = self.now + self.dice.ms(500, 20_000),
            Fault::KillRunner | Fault::DrainRunner | Fault::StopRunner => self.end_runner(fault),
            Fault::FreezeRunner => {
                let host = self.dice.below(self.hosts.len());
                let until = self.hosts[host].frozen_until.max(self.now + self.dice.ms(500, 60_000));
                self.hosts[host].frozen_until = until;
                self.history.note(self.now, Fact::Froze { name: self.hosts[host].name.clone(), until });
            }
            Fault::SecondProcess => {
                let host = self.dice.below(self.hosts.len());
                self.boot(host, true);
            }
            Fault::Liar => self.lie(),
            Fault::KillObserver => {
                let at = self.dice.below(self.observers.len());
                let repo = self.observers[at].repo;
                self.stop_observer(at);
                self.start_observer(repo);
            }
        }
    }

    /// A runner reports that attempts of others have passed.
    fn lie(&mut self) {
        let all: Vec<ProcessId> = self.processes.keys().copied().collect();
        let Some(id) = self.dice.pick(&all) else { return };
        let (process, store) = (&self.processes[&id], &self.dispatcher.store);
        let name = Some(self.hosts[process.host].name.clone());
        let of_others =
            store.attempts.values().filter(|it| it.outcome.is_none() && store.runner_name(it.runner) != name);
        let of_others: Vec<AttemptId> = of_others.map(|attempt| attempt.id).collect();
        let Some(session) = process.session.filter(|_| process.is_here) else { return };
        for attempt in of_others {
            self.lies.insert((session, attempt));
            self.send_up(session, Up::Started(attempt));
            self.send_up(session, Up::Results(attempt, Outcome::Passed));
        }
    }

    fn push(&mut self, kind: Fault) {
        let at = self.dice.below(self.repos.len());
        let (dice, repo) = (&mut self.dice, &mut self.repos[at]);
        let branches: Vec<RefName> = repo.heads.keys().cloned().collect();
        let existing = dice.pick(&branches);
        let reference = match kind {
            Fault::NewBranch => RefName::of_branch(["topic", "fix"][dice.below(2)]),
            Fault::Tag => RefName::new(["refs/tags/v1", "refs/tags/v2"][dice.below(2)]),
            Fault::Pull => RefName::new("refs/pull/1/head"),
            _ => existing.unwrap_or_else(|| RefName::of_branch("main")),
        };
        let head: Option<CommitId> = match kind {
            Fault::DeleteBranch => None,
            Fault::ForcePush => dice.pick(&repo.commits),
            Fault::NewBranch | Fault::Tag if dice.percent(60) => dice.pick(&repo.commits),
            _ => Some(new_commit(dice, repo)),
        };
        self.move_to(at, reference, head);
    }

    /// Undoes the last move of a repository, if faults are not over.
    fn move_back(&mut self) {
        let at = self.dice.below(self.repos.len());
        if let Some((reference, head)) = self.repos[at].before.clone().filter(|_| !self.is_calm) {
            self.move_to(at, reference, head);
        }
    }

    fn move_to(&mut self, at: usize, reference: RefName, head: Option<CommitId>) {
        let repo = &mut self.repos[at];
        let before = match head {
            Some(head) => repo.heads.insert(reference.clone(), head),
            None => repo.heads.remove(&reference),
        };
        repo.before = Some((reference.clone(), before));
        let repo = repo.name.clone();
        self.history.note(self.now, Fact::Pushed { repo, reference, head });
    }

    fn operate(&mut self, kind: Fault) {
        if self.dispatcher.scheduler.is_none() {
            return;
        }
        let store = &self.dispatcher.store;
        let builds: Vec<BuildId> = store.builds.keys().copied().collect();
        let open: Vec<BuildId> = store.builds.values().filter(|b| b.verdict.is_none()).map(|b| b.id).collect();
        let Some(build) = self.dice.pick(if kind == Fault::Rerun { &builds } else { &open }) else { return };
        let jobs: Vec<JobId> = store.jobs.values().filter(|job| job.build == build).map(|job| job.id).collect();
        let question = match kind {
            Fault::CancelJob => Question::Cancel(build, self.dice.pick(&jobs)),
            Fault::Rerun => {
                let only = self.dice.pick(&jobs).filter(|_| self.dice.percent(30));
                Question::Rerun(build, self.dice.percent(60), only)
            }
            Fault::DrainByOperator => {
                let host = self.dice.below(self.hosts.len());
                // The operator may have to rely on the answer at once.
                if self.dice.percent(50) {
                    self.dispatcher.doom = Some(self.dice.below(40) as u32);
                }
                if self.dice.percent(50) {
                    let back = self.now + self.dice.ms(200, 20_000);
                    self.plan(back, Happening::Fault(Fault::ResumeByOperator));
                }
                Question::Drain(self.hosts[host].name.to_string())
            }
            Fault::ResumeByOperator => {
                let host = self.dice.below(self.hosts.len());
                Question::Resume(self.hosts[host].name.to_string())
            }
            _ => Question::Cancel(build, None),
        };
        self.enqueue(Input::Ask(question, None));
        // People who cancel often want the same build again at once.
        if kind == Fault::Cancel && self.dice.percent(50) {
            self.enqueue(Input::Ask(Question::Rerun(build, true, None), None));
        }
    }

    fn break_session(&mut self, is_half_open: bool) {
        let whole = self.network.whole();
        let Some(session) = self.dice.pick(&whole) else { return };
        let (mut up_ms, mut down_ms) = (self.dice.ms(1, 60), self.dice.ms(1, 60));
        if is_half_open {
            let late = self.dice.ms(1_000, 20_000);
            *(if self.dice.percent(50) { &mut up_ms } else { &mut down_ms }) = late;
        }
        self.cut(session, Cut { up_ms, down_ms, loses_up: true, loses_down: true });
    }

    /// A machine loses its network without a word to anyone.
    fn cut_off(&mut self) {
        let host = self.dice.below(self.hosts.len());
        let ms = if self.is_deploying { self.dice.ms(30_000, 90_000) } else { self.dice.ms(300, 70_000) };
        self.hosts[host].cut_until = self.hosts[host].cut_until.max(self.now + ms);
        let of_host: Vec<ProcessId> =
            self.processes.iter().filter(|(_, process)| process.host == host).map(|(id, _)| *id).collect();
        for process in of_host {
            if let Some(session) = self.processes[&process].session {
                let cut = Cut { up_ms: 90_000, down_ms: 90_000, loses_up: true, loses_down: true };
                self.cut(session, cut);
            }
        }
    }

    fn end_runner(&mut self, kind: Fault) {
        let all: Vec<ProcessId> = self.processes.keys().copied().collect();
        let Some(process) = self.dice.pick(&all) else { return };
        match kind {
            Fault::DrainRunner => self.drain(process),
            Fault::StopRunner => self.stop(process),
            _ => {
                if self.dice.percent(30) {
                    let host = self.processes[&process].host;
                    self.hosts[host].wipe();
                }
                self.kill(process);
            }
        }
    }

    /// Duration of a task.
    pub(crate) fn execution_ms(&mut self) -> u64 {
        match self.dice.below(20) {
            // Keeps the time short within which every build must end.
            _ if self.is_calm => self.dice.ms(50, 4_000),
            _ if self.is_deploying => self.dice.ms(1_000, 90_000),
            0..2 => self.dice.ms(0, 20),
            2..15 => self.dice.ms(50, 4_000),
            15..18 => self.dice.ms(4_000, 25_000),
            _ => self.dice.ms(25_000, 90_000),
        }
    }

    /// The outcome of a task that ends by itself.
    pub(crate) fn natural_outcome(&mut self) -> Outcome {
        match self.dice.below(20) {
            0..12 => Outcome::Passed,
            12 => Outcome::Failed(75),
            13..15 => Outcome::Failed(1),
            15 => Outcome::Killed(9),
            16 => Outcome::TimedOut(TimeoutReason::Whole),
            17 => Outcome::CouldNotStart("no such program".into()),
            _ if self.is_calm => Outcome::Passed,
            _ => Outcome::Lost("the disk was full".into()),
        }
    }
}
