//! The exit codes. Scripts branch on these numbers, so their meaning never changes. They are listed in
//! `docs/operating.md` and at the end of `surveil --help`.

use crate::model::{BuildState, Verdict};
use crate::protocol::operator::BuildReport;

/// How the program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// The command did its work; if it waited for a build, that has passed.
    Ok = 0,
    /// The awaited build, or a local run, has failed.
    Failed = 1,
    /// The command line or the task file makes no sense.
    Usage = 2,
    /// The awaited build errored: it has no verdict about the code.
    Errored = 3,
    /// The awaited build was cancelled.
    Cancelled = 4,
    /// No dispatcher answers, or it did not take the results of a runner that was told to end.
    Unreachable = 5,
    /// The dispatcher knows no such build, task, runner or repository.
    NotFound = 6,
    /// The token is wrong, the dispatcher refused, or a port or directory is in use.
    Refused = 7,
    /// A fault of the program, or an operation that this machine could not do.
    Internal = 70,
    /// SIGHUP ended the command before it was done.
    HungUp = 129,
    /// Ctrl-C ended the command before it was done.
    Interrupted = 130,
    /// The reader of the answer went away before its end.
    Unread = 141,
    /// SIGTERM ended the command before it was done.
    Terminated = 143,
}

impl ExitCode {
    /// The number that the shell sees.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The exit code for the state of an awaited build; `None` if the build is not finished.
    pub(crate) fn of_build(report: &BuildReport) -> Option<Self> {
        let BuildState::Finished(verdict) = BuildState::of_word(&report.state)? else { return None };
        Some(verdict.into())
    }
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Passed => Self::Ok,
            Verdict::Failed => Self::Failed,
            Verdict::Errored => Self::Errored,
            Verdict::Cancelled => Self::Cancelled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::support::build;

    #[test]
    fn every_verdict_has_an_exit_code_of_its_own() {
        let verdicts = [Verdict::Passed, Verdict::Failed, Verdict::Errored, Verdict::Cancelled];
        assert_eq!(verdicts.map(|verdict| ExitCode::from(verdict).number()), [0, 1, 3, 4]);
        for verdict in verdicts {
            assert_eq!(ExitCode::of_build(&build(1, verdict.word(), vec![])), Some(verdict.into()));
        }
        for state in ["running", "queued", "of_tomorrow"] {
            assert_eq!(ExitCode::of_build(&build(1, state, vec![])), None);
        }
    }
}
