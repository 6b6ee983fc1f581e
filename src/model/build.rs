//! The build of a commit, which carries the verdict.

use super::reason::CancelReason;
use super::{BuildId, BuildSettings, CommitId, Ending, JobState, RepoName, Trigger, WallTime};

worded! {
    /// The result of a build: a pure function of the endings of its jobs.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Verdict: word {
        Passed = "passed",
        Failed = "failed",
        /// Some job could not be judged, or the commit's task file could not be read.
        Errored = "errored",
        Cancelled = "cancelled",
    }
}

impl Verdict {
    /// Returns the verdict over jobs, each given as its state and whether it may fail; `None` while the verdict waits
    /// for any of them. A failure outweighs an error, and an error a cancel. Jobs that are held or left out count for
    /// nothing: a build that has no others has passed. A build without jobs is errored: it checked nothing.
    pub fn of<'a>(jobs: impl IntoIterator<Item = (&'a JobState, bool)>) -> Option<Self> {
        let (mut failed, mut errored, mut cancelled, mut any) = (false, false, false, false);
        for (state, allow_failure) in jobs {
            any = true;
            let ending = match state {
                JobState::Finished(ending) => ending,
                JobState::Held => continue,
                JobState::Waiting | JobState::Queued | JobState::Leased(_) => return None,
            };
            match ending {
                Ending::Passed | Ending::LeftOut(_) => {}
                Ending::Failed => failed |= !allow_failure,
                Ending::Errored(_) => errored |= !allow_failure,
                // A build that took too long has failed, as a task that did.
                Ending::Cancelled(Some(reason)) if matches!(**reason, CancelReason::BuildTimedOut { .. }) => {
                    failed |= !allow_failure;
                }
                Ending::Cancelled(_) => cancelled = true,
                // The ending that caused the skip counts already.
                Ending::Skipped(_) => {}
            }
        }
        Some(match (any, failed, errored, cancelled) {
            (false, ..) => Self::Errored,
            (_, true, ..) => Self::Failed,
            (_, _, true, _) => Self::Errored,
            (_, _, _, true) => Self::Cancelled,
            _ => Self::Passed,
        })
    }
}

/// The state of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildState {
    /// No job has been leased yet.
    Queued,
    Running,
    Finished(Verdict),
}

impl BuildState {
    /// The state's name on the wire and for people. That of a finished build is its verdict.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Finished(verdict) => verdict.word(),
        }
    }

    /// Returns the state of a name; `None` for a name of a newer program.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        let verdicts = [Verdict::Passed, Verdict::Failed, Verdict::Errored, Verdict::Cancelled];
        let states = [Self::Queued, Self::Running].into_iter().chain(verdicts.map(Self::Finished));
        states.into_iter().find(|state| state.word() == word)
    }
}

/// The identity of a build, which is repository, commit and trigger, and facts about the commit for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildSource {
    pub repo: RepoName,
    pub commit: CommitId,
    pub trigger: Trigger,
    /// The commit's subject line.
    pub subject: String,
    /// The commit's author, as `Name <address>`.
    pub author: String,
}

/// A build, as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    pub id: BuildId,
    pub source: BuildSource,
    pub created_at: WallTime,
    /// The time of the newest rerun. What a build took is counted from then on.
    pub rerun_at: Option<WallTime>,
    pub finished_at: Option<WallTime>,
    pub verdict: Option<Verdict>,
    /// The reason why the build has no jobs: a broken task file, or no tasks.
    pub problem: Option<String>,
    pub settings: BuildSettings,
}

#[cfg(test)]
mod tests {
    use super::super::reason::{ErrorReason, LeftOutReason, SkipReason};
    use super::super::{EndingKind, TaskName};
    use super::*;

    #[test]
    fn the_verdict_is_the_worst_of_what_counts() {
        let task = TaskName::recorded("test");
        let (passed, failed, errored, cancelled, skipped, left_out, late) = (
            Ending::Passed,
            Ending::Failed,
            Ending::Errored(Box::new(ErrorReason::CouldNotStart { text: String::new() })),
            Ending::Cancelled(None),
            Ending::Skipped(Box::new(SkipReason::NeedNotPassed { task, how: EndingKind::Failed })),
            Ending::LeftOut(Box::new(LeftOutReason::NotAsked)),
            Ending::Cancelled(Some(Box::new(CancelReason::BuildTimedOut { timeout_ms: 1 }))),
        );
        let verdict = |endings: &[(&Ending, bool)]| {
            let jobs: Vec<_> = endings.iter().map(|(it, allow)| (JobState::Finished((*it).clone()), *allow)).collect();
            Verdict::of(jobs.iter().map(|(state, allow)| (state, *allow)))
        };
        assert_eq!(verdict(&[]), Some(Verdict::Errored));
        assert_eq!(verdict(&[(&passed, false), (&failed, true)]), Some(Verdict::Passed));
        assert_eq!(verdict(&[(&errored, false), (&failed, false), (&skipped, false)]), Some(Verdict::Failed));
        assert_eq!(verdict(&[(&errored, false), (&cancelled, false)]), Some(Verdict::Errored));
        assert_eq!(verdict(&[(&passed, false), (&cancelled, false)]), Some(Verdict::Cancelled));
        assert_eq!(verdict(&[(&left_out, false), (&left_out, false)]), Some(Verdict::Passed));
        assert_eq!(verdict(&[(&left_out, false), (&cancelled, false)]), Some(Verdict::Cancelled));
        assert_eq!(verdict(&[(&late, false), (&cancelled, false), (&passed, false)]), Some(Verdict::Failed));
        assert_eq!(verdict(&[(&late, true), (&passed, false)]), Some(Verdict::Passed));
        let failed = JobState::Finished(failed);
        assert_eq!(Verdict::of([(&failed, false), (&JobState::Queued, false)]), None);
        assert_eq!(Verdict::of([(&failed, false), (&JobState::Held, false)]), Some(Verdict::Failed));
        assert_eq!(Verdict::of([(&JobState::Held, false)]), Some(Verdict::Passed));
    }
}
