//! Which failures of a task are tried again, when and where. The number of retries is `Placement::retries`.

use serde::{Deserialize, Serialize};

use super::reason::TaskFailure;

/// The rule for retries of a task. The default is to try again after each failure, at once, on any runner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryRule {
    /// The failures after which an attempt is tried again; empty for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<RetryCause>,
    /// The time between the failure and the next attempt.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub delay_ms: u64,
    /// Whether runners on which it has not failed are preferred.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub elsewhere: bool,
}

/// A kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryCause {
    /// The process ended with this exit code.
    Exit(i32),
    /// A signal that Surveil did not send ended the process.
    Signal,
    /// The attempt took longer than it may.
    Timeout,
    /// Any failure.
    Failed,
}

impl RetryRule {
    /// Whether a task is tried again after this failure.
    #[must_use]
    pub fn names(&self, failure: &TaskFailure) -> bool {
        let is_it = |cause: &RetryCause| match (cause, failure) {
            (RetryCause::Failed, _) => true,
            (RetryCause::Exit(code), TaskFailure::ExitCode { exit_code }) => code == exit_code,
            (RetryCause::Signal, TaskFailure::Signal { .. }) | (RetryCause::Timeout, TaskFailure::TimedOut) => true,
            (RetryCause::Exit(_) | RetryCause::Signal | RetryCause::Timeout, _) => false,
        };
        self.on.is_empty() || self.on.iter().any(is_it)
    }

    /// Whether it is the default.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(ms: &u64) -> bool {
    *ms == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_names_failures_by_exit_code_signal_and_timeout() {
        let failures = [
            TaskFailure::ExitCode { exit_code: 75 },
            TaskFailure::ExitCode { exit_code: 1 },
            TaskFailure::Signal { signal: 9 },
            TaskFailure::TimedOut,
        ];
        let named = |on: &[RetryCause]| {
            let rule = RetryRule { on: on.to_vec(), ..RetryRule::default() };
            failures.each_ref().map(|failure| rule.names(failure))
        };
        assert_eq!(named(&[]), [true; 4]);
        assert_eq!(named(&[RetryCause::Failed]), [true; 4]);
        assert_eq!(named(&[RetryCause::Exit(75)]), [true, false, false, false]);
        assert_eq!(named(&[RetryCause::Signal, RetryCause::Timeout]), [false, false, true, true]);
    }
}
