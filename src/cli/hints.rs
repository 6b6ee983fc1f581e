//! Commands that are printed so that people paste them. They name the dispatcher and the repository as far as the shell
//! where they are read would not find them by itself, and every path is quoted.

use std::path::PathBuf;

use super::operator_flags::OperatorFlags;
use crate::git::Local;
use crate::model::CommitId;
use crate::protocol::operator::{BuildReport, JobReport};
use crate::quoting::{shell_path, shell_word};

/// The digits of a commit in a printed command: enough for the largest repositories.
const COMMIT_DIGITS: usize = 12;

/// The flags that printed commands need so that they work.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hints {
    /// The flags that name the dispatcher, such as ` --dispatch localhost:9001`; empty if it is found by default.
    pub(crate) connection: String,
    /// A repository that has the commits.
    repository: Option<PathBuf>,
}

impl Hints {
    /// For a command that was typed with these flags, in the current directory.
    pub(crate) fn of(flags: &OperatorFlags) -> Self {
        Self { connection: flags.typed(), repository: None }
    }

    /// For commits of a repository on this machine.
    pub(crate) fn in_repository(connection: String, repository: Option<PathBuf>) -> Self {
        Self { connection, repository }
    }

    /// Commands that show more of a failed job, and that reproduce it by hand.
    pub(crate) fn of_job(&self, build: &BuildReport, job: &JobReport) -> Vec<String> {
        if job.attempts.is_empty() {
            return Vec::new();
        }
        let (connection, task) = (&self.connection, shell_word(&job.task));
        let commit = build.commit.get(..COMMIT_DIGITS).unwrap_or(&build.commit);
        let run = |more: &str| format!("surveil run --clean --commit {} {task}{more}", shell_word(commit));
        let here = |more: &str| format!("reproduce: surveil run {task}{more}");
        let reproduce = match (&self.repository, &build.commit.parse()) {
            // No repository has the commit of a try.
            (Some(repository), _) if build.trigger == "try" => here(&format!(" --dir {}", shell_path(repository))),
            (None, _) if build.trigger == "try" => {
                format!("reproduce, where it was tried, as long as that work is there: surveil run {task}")
            }
            // Also from any directory of that repository.
            (_, Ok(commit)) if has_commit(*commit) => format!("reproduce: {}", run("")),
            (Some(repository), _) => format!("reproduce: {}", run(&format!(" --dir {}", shell_path(repository)))),
            (None, _) => format!("reproduce, in a clone of {}: {}", shell_word(&build.repo), run("")),
        };
        vec![format!("the whole log: surveil logs{connection} b{} {task}", build.build), reproduce]
    }
}

impl Hints {
    /// The command that starts a held job.
    pub(crate) fn of_held(&self, build: &BuildReport, job: &JobReport) -> String {
        format!("to start it: surveil start{} b{} {}", self.connection, build.build, shell_word(&job.task))
    }
}

/// Whether the repository of the current directory has the commit.
fn has_commit(commit: CommitId) -> bool {
    let local = Local::here().ok().flatten();
    local.is_some_and(|local| matches!(local.resolve(&commit.to_string()), Ok(Some(_))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::flags::ProofFlags;
    use crate::cli::tests::support::{attempt, build, job};
    use crate::model::Pin;

    #[test]
    fn hints_name_the_dispatcher_and_the_repository_in_quotes() {
        let flags = OperatorFlags {
            dispatch: vec!["h:1".parse().unwrap(), "[::1]:2".parse().unwrap()],
            proof: ProofFlags {
                pins: vec![Pin::new([0xab; 32])],
                token_file: Some("/my tokens/it's".into()),
                data: Some("/d".into()),
            },
        };
        let failed = job("test", "failed", vec![attempt(1)]);
        let build = build(12, "failed", vec![]);
        let elsewhere = Hints::of(&flags).of_job(&build, &failed);
        let pin = "ab".repeat(32);
        let typed = format!(r"--dispatch 'h:1,[::1]:2' --pin {pin} --token-file '/my tokens/it'\''s' --data /d");
        assert_eq!(elsewhere[0], format!("the whole log: surveil logs {typed} b12 test"));
        assert_eq!(elsewhere[1], "reproduce, in a clone of app: surveil run --clean --commit 4f2a91c04f2a test");
        let there = Hints::in_repository(String::new(), Some("/my repos/app".into())).of_job(&build, &failed);
        assert_eq!(there[0], "the whole log: surveil logs b12 test");
        assert_eq!(there[1], "reproduce: surveil run --clean --commit 4f2a91c04f2a test --dir '/my repos/app'");
        assert!(Hints::default().of_job(&build, &job("test", "skipped", vec![])).is_empty());
    }
}
