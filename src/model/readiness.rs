//! Whether a task may start, as far as the tasks that it needs are concerned. The dispatcher and `surveil run` both
//! decide by this.

use super::reason::{LeftOutReason, SkipReason};
use super::{Condition, Ending, EndingKind, TaskSpec};

/// The decision about a task that follows from the tasks that it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// The task may start.
    Ready,
    /// Some of them have not ended.
    NotYet,
    /// The task never starts, and this is its ending.
    Never(Ending),
}

impl Readiness {
    /// Judges the tasks that one task needs, each with the condition and with its ending, if it has ended.
    pub fn of<'a>(needs: impl IntoIterator<Item = (Condition, Option<EndingKind>, &'a TaskSpec)>) -> Self {
        let (mut is_open, mut wants_failure, mut has_failure) = (false, false, false);
        for (condition, ending, needed) in needs {
            wants_failure |= condition == Condition::Failed;
            let Some(how) = ending else {
                is_open = true;
                continue;
            };
            match (condition, condition.is_met(how, needed)) {
                (Condition::Passed, false) => {
                    let reason = SkipReason::NeedNotPassed { task: needed.name.clone(), how };
                    return Self::Never(Ending::Skipped(Box::new(reason)));
                }
                (Condition::Failed, is_met) => has_failure |= is_met,
                (Condition::Passed, true) | (Condition::Finished, _) => {}
            }
        }
        match (is_open, wants_failure && !has_failure) {
            (true, _) => Self::NotYet,
            (false, true) => Self::Never(Ending::LeftOut(Box::new(LeftOutReason::NothingFailed))),
            (false, false) => Self::Ready,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Script, TaskName};
    use super::*;

    #[test]
    fn a_condition_decides_over_all_needs_together() {
        use EndingKind::{Cancelled, Errored, Failed, LeftOut, Passed, Skipped};
        let strict = TaskSpec::new(TaskName::recorded("a"), Script::Shell(String::new()));
        let mut lenient = strict.clone();
        lenient.placement.allow_failure = true;
        let judge = |condition, endings: &[Option<EndingKind>], task: &TaskSpec| match Readiness::of(
            endings.iter().map(|ending| (condition, *ending, task)),
        ) {
            Readiness::Ready => "ready",
            Readiness::NotYet => "not yet",
            Readiness::Never(ending) => ending.word(),
        };
        let all = |endings: &[Option<EndingKind>], task| {
            [Condition::Passed, Condition::Failed, Condition::Finished].map(|condition| judge(condition, endings, task))
        };
        assert_eq!(all(&[None, Some(Passed)], &strict), ["not yet"; 3]);
        assert_eq!(all(&[None, Some(Failed)], &strict), ["skipped", "not yet", "not yet"]);
        assert_eq!(all(&[Some(Passed), Some(LeftOut)], &strict), ["ready", "left_out", "ready"]);
        for bad in [Failed, Errored, Cancelled, Skipped] {
            assert_eq!(all(&[Some(bad), Some(Passed)], &strict), ["skipped", "ready", "ready"], "{bad:?}");
        }
        assert_eq!(all(&[Some(Failed)], &lenient), ["ready", "left_out", "ready"], "an allowed failure is none");
        assert_eq!(all(&[Some(Cancelled)], &lenient), ["skipped", "ready", "ready"]);
    }
}
