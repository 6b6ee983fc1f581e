//! Translates the messages that pass into the scheduler's events and effects.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use serde_json::Value;
use surveil::model::reason::{LossReason, TimeoutReason};
use surveil::model::{
    AttemptId, Build, BuildId, BuildSource, Incarnation, Isolation, Job, JobId, LogSummary, Outcome, RefName, RepoName,
    RunnerName, SessionId, Trigger, Trust,
};
use surveil::scheduler::{Effect, Event, Lease, Reply, RequestId, RunnerCommand, RunnerJoined};

use super::{Attempt, Inner, KnownTask, Said};
use crate::faults::DOUBTFUL;
use crate::promises::history::{Announcement, Fact};
use crate::proxy::Frame;

/// A session, as far as its messages were seen.
#[derive(Debug, Default)]
pub(super) struct Session {
    is_runner: bool,
    name: Option<RunnerName>,
    incarnation: u64,
    pub(super) is_joined: bool,
    /// Announcements without an answer; `None` for a branch that was announced as gone.
    announced: VecDeque<Option<Announcement>>,
    /// Attempts whose result was sent in this session.
    reported: BTreeSet<AttemptId>,
    /// Attempts with messages after their end, to which `stale` may be the answer.
    ambiguous: BTreeSet<AttemptId>,
}

impl Inner {
    /// A message goes up.
    pub(super) fn hears(&mut self, connection: u64, link: &str, frame: &Frame) {
        let session = SessionId(connection);
        let attempt = frame.number("attempt").map(AttemptId);
        if frame.kind() == "results" {
            // A reported attempt has begun before.
            self.look(false);
        }
        let seen = self.sessions.entry(connection).or_default();
        if let Some(attempt) = attempt {
            let is_over = self.eyes.attempts().get(&attempt).is_some_and(Option::is_some);
            if frame.kind() == "results" {
                seen.reported.insert(attempt);
            } else if is_over || seen.reported.contains(&attempt) {
                seen.ambiguous.insert(attempt);
            }
        }
        let event = match frame.kind() {
            "hello" => {
                self.tally.sessions += 1;
                seen.is_runner = frame.text("role") == Some("runner");
                seen.name = frame.text("name").map(RunnerName::recorded);
                seen.incarnation = frame.number("incarnation").unwrap();
                return;
            }
            "register" => {
                seen.is_joined = true;
                let name: RunnerName = seen.name.clone().unwrap_or_else(|| RunnerName::recorded(link));
                let incarnation = Incarnation(seen.incarnation);
                Event::RunnerJoined(joined(session, name, incarnation, &frame.message))
            }
            "dispatch" => {
                seen.announced.push_back(Some(announcement(frame)));
                self.announced.push(frame.clone());
                return;
            }
            "gone" => return seen.announced.push_back(None),
            "status" => {
                let repo = RepoName::new(frame.text("repo").unwrap()).unwrap();
                self.sources.insert(repo, frame.text("source").unwrap().to_owned());
                return;
            }
            "ping" if seen.is_runner => Event::RunnerPinged { session, holding: attempts(&frame.message["holding"]) },
            "started" => Event::AttemptStarted { session, attempt: attempt.unwrap() },
            "draining" => Event::RunnerDraining { session },
            // Output is no sign of life, and a result counts only with its complete log: both are noted elsewhere.
            "results" => return self.reports(session, attempt.unwrap(), frame),
            "source" => Event::RunnerHeard { session },
            _ => return,
        };
        self.note(Fact::Arrived(event));
    }

    /// A result goes up; no process of the attempt may be left.
    fn reports(&mut self, session: SessionId, attempt: AttemptId, frame: &Frame) {
        if self.place.is_alive(attempt) {
            self.note(Fact::Left { attempt });
        }
        let log = LogSummary {
            bytes: frame.number("log_bytes").unwrap_or(0),
            crc32: u32::try_from(frame.number("log_crc32").unwrap_or(0)).unwrap(),
            missing: frame.text("log_missing").map(str::to_owned),
        };
        let name = self
            .sessions
            .get(&session.0)
            .and_then(|seen| seen.name.clone())
            .unwrap_or_else(|| RunnerName::recorded("?"));
        let (outcome, duration_ms) = (outcome(frame), frame.number("duration_ms"));
        self.said.push(Said { at: self.now(), session, name, attempt, outcome, log, duration_ms });
    }

    /// A message comes down: the facts that it promises must be durable by now.
    pub(super) fn says(&mut self, connection: u64, frame: &Frame) {
        let session = SessionId(connection);
        let attempt = frame.number("attempt").map(AttemptId);
        let promises = matches!(frame.kind(), "ok" | "stale" | "runtask" | "registered" | "cancel");
        if promises {
            self.look(false);
        }
        let is_runner = self.sessions.get(&connection).is_some_and(|seen| seen.is_runner);
        if !is_runner {
            if matches!(frame.kind(), "ok" | "stale" | "need_source" | "error") {
                self.answers_observer(connection, frame);
            }
            return;
        }
        let message = match frame.kind() {
            "registered" => {
                RunnerCommand::Registered { held: Vec::new(), gone: attempts(&frame.message["gone"]), drained: false }
            }
            "runtask" => {
                let incarnation = self.sessions.get(&connection).map(|seen| Incarnation(seen.incarnation));
                self.holders.extend(attempt.zip(incarnation));
                RunnerCommand::Lease(Box::new(self.lease_of(frame)))
            }
            "cancel" => RunnerCommand::Cancel { attempt: attempt.unwrap() },
            "ack" => RunnerCommand::Ack { gone: attempts(&frame.message["gone"]) },
            "drain" => RunnerCommand::Drain,
            "ok" => return self.answers(session, attempt.unwrap(), true),
            "stale" => return self.answers(session, attempt.unwrap(), false),
            "error" if frame.text("code") == Some("name_taken") => {
                RunnerCommand::NameTaken { runner: RunnerName::recorded("?") }
            }
            _ => return,
        };
        self.note(Fact::Released(Effect::Send { session, message }));
    }

    fn answers_observer(&mut self, connection: u64, frame: &Frame) {
        let announced = self.sessions.get_mut(&connection).and_then(|seen| seen.announced.pop_front()).flatten();
        if frame.kind() != "ok" {
            return;
        }
        let build = frame.number("build").map(BuildId);
        self.note(Fact::Released(Effect::Reply { request: RequestId(0), reply: Reply::Accepted { build, moves: 0 } }));
        if let (Some(announcement), Some(build)) = (announced, build) {
            self.tally.acknowledged += 1;
            self.note(Fact::Acknowledged { announcement, build });
        }
    }

    /// The dispatcher answers a message about an attempt.
    fn answers(&mut self, session: SessionId, attempt: AttemptId, is_recorded: bool) {
        let message = if is_recorded { RunnerCommand::Recorded { attempt } } else { RunnerCommand::Stale { attempt } };
        let is_of_result = self.sessions.get(&session.0).is_some_and(|seen| {
            seen.reported.contains(&attempt) && (is_recorded || !seen.ambiguous.contains(&attempt))
        });
        let said = self.said.iter().rev().find(|said| said.session == session && said.attempt == attempt);
        if let (true, Some(Said { at, outcome, log, duration_ms, .. })) = (is_of_result, said) {
            let (at, outcome, log, duration_ms) = (*at, outcome.clone(), log.clone(), *duration_ms);
            let event =
                Event::AttemptFinished { session, attempt, outcome, log, duration_ms, steps: vec![], execution: None };
            self.history.note(at, Fact::Arrived(event));
            self.note(Fact::Decided(Effect::Send { session, message: message.clone() }));
            self.note(Fact::Answered { session, attempt, is_recorded });
        }
        self.note(Fact::Released(Effect::Send { session, message }));
    }

    fn lease_of(&self, frame: &Frame) -> Lease {
        let attempt = AttemptId(frame.number("attempt").unwrap());
        let job = self.leased.get(&attempt).map_or(JobId(0), |leased| leased.attempt.job);
        let commit = frame.text("commit").unwrap().parse().unwrap();
        let source = BuildSource {
            repo: RepoName::new(frame.text("repo").unwrap()).unwrap(),
            commit,
            trigger: Trigger::of_move(RefName::of_branch(frame.text("branch").unwrap()), None, Vec::new(), Some(0)),
            subject: String::new(),
            author: String::new(),
        };
        let name = frame.message["task"]["name"].as_str().unwrap();
        let task = self.plans.get(&commit).and_then(|plan| plan.iter().find(|task| task.name == name));
        Lease {
            attempt,
            build: BuildId(frame.number("build").unwrap()),
            job,
            number: u32::try_from(frame.number("number").unwrap()).unwrap(),
            lease_ms: frame.number("lease_ms").unwrap(),
            source: Arc::new(source),
            task: Arc::new(task.expect("a commit of this test").spec()),
        }
    }

    pub(super) fn builds_seen(&mut self, build: &Build, jobs: &[Job]) {
        let (trigger, doubtful) = (&build.source.trigger, RefName::of_branch(DOUBTFUL));
        assert!(trigger.trust == Trust::Trusted || trigger.reference == doubtful, "the operator's file says so");
        let plan = self.plans.get(&build.source.commit).cloned().unwrap_or_default();
        for job in jobs {
            if let Some(task) = plan.iter().find(|task| *job.task.name == *task.name) {
                self.jobs.insert(job.id, (build.source.repo.clone(), task.clone()));
            }
        }
    }

    pub(super) fn task_of(&self, attempt: &Attempt) -> Option<(RepoName, KnownTask)> {
        self.jobs.get(&attempt.job).cloned()
    }
}

fn attempts(list: &Value) -> Vec<AttemptId> {
    list.as_array().into_iter().flatten().filter_map(Value::as_u64).map(AttemptId).collect()
}

fn joined(session: SessionId, name: RunnerName, incarnation: Incarnation, message: &Value) -> RunnerJoined {
    RunnerJoined {
        session,
        name,
        incarnation,
        slots: u32::try_from(message["slots"].as_u64().unwrap()).unwrap(),
        labels: Vec::new(),
        isolation: Isolation::Subreaper,
        tiers: None,
        holding: attempts(&message["holding"]),
        warm: Vec::new(),
        spawned: false,
        spawn: None,
        draining: message["draining"].as_bool().unwrap_or(false),
    }
}

fn announcement(frame: &Frame) -> Announcement {
    Announcement {
        repo: RepoName::new(frame.text("repo").unwrap()).unwrap(),
        reference: RefName::of_branch(frame.text("branch").unwrap()),
        before: frame.text("before").map(|before| before.parse().unwrap()),
        after: frame.text("commit").unwrap().parse().unwrap(),
    }
}

fn outcome(frame: &Frame) -> Outcome {
    let code = || i32::try_from(frame.message["code"].as_i64().unwrap()).unwrap();
    let reason = || frame.text("reason").unwrap().to_owned();
    match frame.text("outcome").unwrap() {
        "passed" => Outcome::Passed,
        "failed" => Outcome::Failed(code()),
        "killed" => Outcome::Killed(code()),
        "timed_out" => Outcome::TimedOut(TimeoutReason::Whole),
        "cancelled" => Outcome::Cancelled,
        "could_not_start" => Outcome::CouldNotStart(reason()),
        "lost" => Outcome::Lost(LossReason::reported(frame.text("reason_code"), reason())),
        other => panic!("the outcome {other} is not of the protocol"),
    }
}
