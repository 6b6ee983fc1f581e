//! What the shell sees. Scripts branch on these numbers and on nothing else, so they never change their meaning; they
//! are listed in `docs/operating.md` and at the end of `surveil --help`.

/// How the program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    /// What was asked for is done; a build that was waited for has passed.
    Ok,
    /// A build or a local run that was waited for has failed.
    Failed,
    /// The command line or the task file makes no sense.
    Usage,
    /// A build that was waited for could not be judged.
    Errored,
    /// A build that was waited for was cancelled.
    Cancelled,
    /// No dispatcher answers there.
    Unreachable,
    /// The dispatcher knows no such build or task.
    NotFound,
    /// Wrong token, refused by the dispatcher, or a port or directory that is in use.
    Refused,
    /// Something that should not happen, or that this machine would not do.
    Internal,
    /// Ended by Ctrl-C before it was done.
    Interrupted,
}

impl ExitCode {
    /// The exit code for a build's state, where it is a verdict.
    #[must_use]
    pub fn of_state(state: &str) -> Option<Self> {
        match state {
            "passed" => Some(Self::Ok),
            "failed" => Some(Self::Failed),
            "errored" => Some(Self::Errored),
            "cancelled" => Some(Self::Cancelled),
            _ => None,
        }
    }

    /// The number itself.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Errored => 3,
            Self::Cancelled => 4,
            Self::Unreachable => 5,
            Self::NotFound => 6,
            Self::Refused => 7,
            Self::Internal => 70,
            Self::Interrupted => 130,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Verdict;

    #[test]
    fn every_verdict_has_an_exit_code_of_its_own() {
        let code = |verdict: Verdict| ExitCode::of_state(verdict.word()).map(ExitCode::number);
        assert_eq!(code(Verdict::Passed), Some(0));
        assert_eq!(code(Verdict::Failed), Some(1));
        assert_eq!(code(Verdict::Errored), Some(3));
        assert_eq!(code(Verdict::Cancelled), Some(4));
        assert_eq!(ExitCode::of_state("running"), None);
        assert_eq!(ExitCode::of_state("queued"), None);
    }
}
