//! An operator who speaks the protocol over a plain socket, so that what tests wait for comes as an event.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use surveil::protocol::hello::{Greeting, Hello, Opening, Role};
use surveil::protocol::operator::{BuildReport, FromOperator, JobReport, RunnerReport, StatusReport, ToOperator};

use super::{PATIENCE, World, now, until};

/// Well within what any test's dispatcher takes for silence.
const PING_EVERY: Duration = Duration::from_secs(1);

pub(crate) struct Operator {
    stream: BufReader<TcpStream>,
    deadline: Instant,
}

impl Operator {
    pub(crate) fn connect(world: &World) -> Self {
        let stream = TcpStream::connect(world.address()).unwrap();
        let mut operator = Self { stream: BufReader::new(stream), deadline: now() + PATIENCE };
        let hello = Hello {
            version: 1,
            min_version: 1,
            role: Role::Operator,
            name: "test".into(),
            incarnation: 1,
            token: world.token("operator"),
            program: String::new(),
            listens_at: None,
            callback_key: None,
        };
        operator.send(&Opening::Hello(hello));
        let greeting = operator.receive();
        assert!(matches!(greeting, Greeting::Welcome(_)), "{greeting:?}");
        operator
    }

    pub(crate) fn ask(&mut self, question: &FromOperator) -> ToOperator {
        self.send(question);
        self.receive()
    }

    fn send(&mut self, message: &impl Serialize) {
        let line = serde_json::to_string(message).unwrap() + "\n";
        self.stream.get_mut().write_all(line.as_bytes()).unwrap();
    }

    /// The next message that is no answer to a ping; pings as often as it must to stay welcome.
    #[track_caller]
    fn receive<M: DeserializeOwned>(&mut self) -> M {
        let mut line = Vec::new();
        loop {
            self.stream.get_mut().set_read_timeout(Some(PING_EVERY)).unwrap();
            match self.stream.read_until(b'\n', &mut line) {
                Ok(_) if line == b"{\"type\":\"ack\"}\n" => line.clear(),
                Ok(_) => break,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    assert!(now() < self.deadline, "no such news in time");
                    self.send(&FromOperator::Ping);
                }
                Err(error) => panic!("no news: {error}"),
            }
        }
        serde_json::from_slice(&line).unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(&line)))
    }
}

impl World {
    /// The secret of a role, as the dispatcher has written it.
    pub(crate) fn token(&self, role: &str) -> String {
        let path = self.data().join("tokens").join(role);
        std::fs::read_to_string(path).unwrap().trim().to_owned()
    }

    /// What `surveil status` would print.
    #[track_caller]
    pub(crate) fn status(&self) -> StatusReport {
        match Operator::connect(self).ask(&FromOperator::Status { repo: None, limit: 1000 }) {
            ToOperator::Status(report) => report,
            other => panic!("{other:?}"),
        }
    }

    /// The builds there are, by number.
    pub(crate) fn builds(&self) -> Vec<BuildReport> {
        let mut builds = self.status().builds;
        builds.sort_by_key(|build| build.build);
        builds
    }

    /// Waits for a build that is like this, and returns it as it is then.
    #[track_caller]
    pub(crate) fn build_that(&self, what: &str, mut is_so: impl FnMut(&BuildReport) -> bool) -> BuildReport {
        let mut watching = Operator::connect(self);
        let begun = watching.ask(&FromOperator::Watch);
        assert!(matches!(begun, ToOperator::Ok { .. }), "{begun:?}");
        // What happened before the watch began is not told by it.
        let mut builds = self.builds();
        loop {
            if let Some(build) = builds.into_iter().find(|build| is_so(build)) {
                return build;
            }
            assert!(now() < watching.deadline, "in vain: a build {what}, among {:#?}", self.builds());
            builds = match watching.receive() {
                ToOperator::Build(build) => vec![build],
                other => panic!("{other:?}"),
            };
        }
    }

    /// Waits for the verdict on a commit.
    #[track_caller]
    pub(crate) fn finished(&self, commit: &str) -> BuildReport {
        self.build_that("is finished", |build| build.commit == commit && build.finished_ms.is_some())
    }

    /// Waits for the verdict on a commit, which is to be this.
    #[track_caller]
    pub(crate) fn expect(&self, commit: &str, state: &str) -> BuildReport {
        let build = self.finished(commit);
        assert_eq!(build.state, state, "{build:#?}");
        build
    }

    /// Waits until a runner is like this.
    #[track_caller]
    pub(crate) fn runner_that(&self, name: &str, is_so: impl Fn(&RunnerReport) -> bool) {
        until(name, || self.status().runners.iter().any(|runner| runner.name == name && is_so(runner)));
    }

    #[track_caller]
    pub(crate) fn connected(&self, name: &str) {
        self.runner_that(name, |runner| runner.state == "connected");
    }

    /// The log of a task's newest attempt, as far as it is there.
    #[track_caller]
    pub(crate) fn log_of(&self, build: &BuildReport, task: &str) -> String {
        self.surveil(&["logs", &build.build.to_string(), task]).ok()
    }
}

/// The job of that task.
#[track_caller]
pub(crate) fn job<'a>(build: &'a BuildReport, task: &str) -> &'a JobReport {
    build.jobs.iter().find(|job| job.task == task).unwrap_or_else(|| panic!("no {task} in {build:#?}"))
}
