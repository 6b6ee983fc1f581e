//! The outcomes of `surveil run`: their meaning for the tasks, and the summary.

use super::local_build::Done;
use super::output::painted;
use super::{CliError, Output, human};
use crate::model::reason::{ErrorReason, TaskFailure};
use crate::model::{Ending, JobState, Outcome, Verdict};

/// Returns the ending that an outcome means, the word that tells it best, and the words to print after that.
pub(crate) fn judged(outcome: &Outcome, detail: Option<String>) -> (Ending, &'static str, String) {
    let how = detail.map(|detail| format!(" ({detail})")).unwrap_or_default();
    let (ending, word) = match outcome {
        Outcome::Passed => (Ending::Passed, "passed"),
        Outcome::Failed(_) => (Ending::Failed, "failed"),
        Outcome::Killed(_) => (Ending::Failed, "killed"),
        Outcome::TimedOut(_) => (Ending::Failed, "timed out"),
        Outcome::Cancelled => (Ending::Cancelled(None), "cancelled"),
        Outcome::CouldNotStart(why) => {
            (Ending::Errored(Box::new(ErrorReason::CouldNotStart { text: why.clone() })), "errored")
        }
        // On a runner the attempt would be lost, and tried on another one. Here there is only this machine.
        Outcome::Lost(why) => {
            (Ending::Errored(Box::new(ErrorReason::CouldNotStart { text: why.to_string() })), "errored")
        }
    };
    (ending, word, how)
}

/// The failure that may be tried again, if the outcome is one.
pub(crate) fn failure(outcome: &Outcome) -> Option<TaskFailure> {
    match outcome {
        Outcome::Failed(code) => Some(TaskFailure::ExitCode { exit_code: *code }),
        Outcome::Killed(signal) => Some(TaskFailure::Signal { signal: *signal }),
        Outcome::TimedOut(_) => Some(TaskFailure::TimedOut),
        Outcome::Passed | Outcome::Cancelled | Outcome::CouldNotStart(_) | Outcome::Lost(_) => None,
    }
}

/// Prints the result of the run, and returns the verdict.
pub(crate) fn summarize(done: &[Done], took_ms: u64, out: &mut Output) -> Result<Verdict, CliError> {
    let states: Vec<_> = done.iter().map(|done| JobState::Finished(done.ending.clone())).collect();
    let allowed = done.iter().map(|done| done.task.placement.allow_failure);
    let verdict = Verdict::of(states.iter().zip(allowed)).unwrap_or(Verdict::Errored);
    if done.len() > 1 {
        out.line("")?;
        for Done { task, ending, word } in done {
            let detail = ending.detail().map(|why| format!(" ({why})")).unwrap_or_default();
            let excuse =
                if task.placement.allow_failure && *ending == Ending::Failed { " (allowed to fail)" } else { "" };
            out.line(format_args!("  {}: {}{detail}{excuse}", task.name, painted(word)))?;
        }
        out.line(format_args!("{} in {}", painted(verdict.word()), human::duration(took_ms)))?;
    }
    Ok(verdict)
}
