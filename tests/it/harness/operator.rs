//! Questions of a test to the dispatcher, and waits. Changes arrive as events over an operator's session.

use serde_json::{Value, json};
use surveil::protocol::operator::{BuildReport, JobReport, RunnerReport, StatusReport};

use super::{World, until, wire::Wire};

impl World {
    /// The token of a role, as the dispatcher has written it.
    pub(crate) fn token(&self, role: &str) -> String {
        let path = self.data().join("tokens").join(role);
        std::fs::read_to_string(path).unwrap().trim().to_owned()
    }

    /// The report that `surveil status` prints.
    #[track_caller]
    pub(crate) fn status(&self) -> StatusReport {
        if self.network.is_some() {
            // The test itself is not in that network.
            let report = self.surveil(&["status", "--json", "--limit=1000"]).ok();
            return serde_json::from_str(&report).unwrap();
        }
        let mut operator = Wire::greet(self, "operator", "test");
        report(operator.ask(&json!({"type": "status", "limit": 1000})))
    }

    /// All builds, by number.
    pub(crate) fn builds(&self) -> Vec<BuildReport> {
        let mut builds = self.status().builds;
        builds.sort_by_key(|build| build.build);
        builds
    }

    /// Waits for a build that satisfies the condition, and returns it.
    #[track_caller]
    pub(crate) fn build_that(&self, what: &str, mut is_so: impl FnMut(&BuildReport) -> bool) -> BuildReport {
        if self.network.is_some() {
            let mut found = None;
            until(what, || {
                found = self.builds().into_iter().find(|build| is_so(build));
                found.is_some()
            });
            return found.unwrap();
        }
        let mut watching = Wire::greet(self, "operator", "test");
        let begun = watching.ask(&json!({"type": "watch"}));
        assert_eq!(begun["type"], "ok", "{begun}");
        // The watch does not report what happened before it began.
        let mut builds = self.builds();
        loop {
            if let Some(build) = builds.into_iter().find(|build| is_so(build)) {
                return build;
            }
            builds = vec![report(watching.hear_or(|| format!("a build {what}, but {:#?}", self.builds())))];
        }
    }

    /// Waits for the verdict on a commit.
    #[track_caller]
    pub(crate) fn finished(&self, commit: &str) -> BuildReport {
        self.build_that("is finished", |build| build.commit == commit && build.finished_ms.is_some())
    }

    /// Waits for the verdict on a commit, and checks that it is this one.
    #[track_caller]
    pub(crate) fn expect(&self, commit: &str, state: &str) -> BuildReport {
        let build = self.finished(commit);
        assert_eq!(build.state, state, "{build:#?}");
        build
    }

    /// Waits until a runner satisfies the condition.
    #[track_caller]
    pub(crate) fn runner_that(&self, name: &str, is_so: impl Fn(&RunnerReport) -> bool) {
        until(name, || self.status().runners.iter().any(|runner| runner.name == name && is_so(runner)));
    }

    #[track_caller]
    pub(crate) fn connected(&self, name: &str) {
        self.runner_that(name, |runner| runner.state == "connected");
    }

    /// The log of a task's newest attempt so far.
    #[track_caller]
    pub(crate) fn log_of(&self, build: &BuildReport, task: &str) -> String {
        self.surveil(&["logs", &build.build.to_string(), task]).ok()
    }
}

#[track_caller]
fn report<R: serde::de::DeserializeOwned>(message: Value) -> R {
    serde_json::from_value(message.clone()).unwrap_or_else(|error| panic!("{error} in {message}"))
}

/// The job of that task.
#[track_caller]
pub(crate) fn job<'a>(build: &'a BuildReport, task: &str) -> &'a JobReport {
    build.jobs.iter().find(|job| job.task == task).unwrap_or_else(|| panic!("no {task} in {build:#?}"))
}
