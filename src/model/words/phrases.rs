//! Parts of sentences, and the texts of outcomes.

use std::fmt::Display;

use crate::model::reason::TimeoutReason;
use crate::model::{GroupName, LogSummary, Outcome, RunnerName, StepRecord, visible};

/// The person who gave an order, as the subject of a sentence.
pub(super) fn person(by: Option<&str>) -> String {
    by.map_or_else(|| "an operator".to_owned(), visible)
}

/// The exit code, the signal or the reason that goes with an outcome.
#[must_use]
pub fn outcome_detail(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Failed(code) => Some(format!("exit code {code}")),
        Outcome::Killed(signal) => Some(format!("signal {signal}")),
        Outcome::CouldNotStart(why) => Some(why.clone()),
        Outcome::Lost(reason) => Some(reason.to_string()),
        Outcome::TimedOut(reason) => reason.detail(),
        Outcome::Passed | Outcome::Cancelled => None,
    }
}

/// Like [`outcome_detail`], of an attempt with these steps: names the step that decided.
#[must_use]
pub fn attempt_detail(outcome: &Outcome, steps: &[StepRecord]) -> Option<String> {
    let detail = outcome_detail(outcome)?;
    // The text of a step's own timeout names it.
    let is_named = matches!(outcome, Outcome::TimedOut(TimeoutReason::Step { .. }));
    let Some(step) = steps.iter().find(|step| step.outcome.as_ref() == Some(outcome) && !is_named) else {
        return Some(detail);
    };
    // A sentence would seem to end with the step (`… which does not exist in step`).
    let is_sentence = matches!(outcome, Outcome::CouldNotStart(_) | Outcome::Lost(_));
    Some(if is_sentence {
        format!("step `{}`: {detail}", step.name)
    } else {
        format!("{detail} in step `{}`", step.name)
    })
}

/// Why output of an attempt is missing: the runner or the dispatcher said so, or the attempt was lost and could not
/// deliver all of it. A cancelled attempt's log ends with the cancel, and nothing of it is missing.
#[must_use]
pub fn missing_output(outcome: &Outcome, log: &LogSummary) -> Option<String> {
    match (&log.missing, outcome) {
        (Some(why), _) => Some(why.clone()),
        (None, Outcome::Lost(reason)) => Some(reason.to_string()),
        (None, _) => None,
    }
}

/// Why a drained runner gets no jobs, by whose order if the name is known, and how that ends.
#[must_use]
pub fn drained_words(runner: &RunnerName, by: Option<&str>) -> String {
    format!("drained by {}: no jobs until `surveil resume {runner}`", by.unwrap_or("an operator"))
}

/// Formats `exclusive`, or `in group staging`: what makes the jobs of a task take turns.
pub(super) fn taking_turns(group: Option<&GroupName>) -> String {
    group.map_or_else(|| "exclusive".to_owned(), |group| format!("in group {group}"))
}

pub(super) fn until_resumed(runner: &RunnerName) -> String {
    format!("it gets no jobs until `surveil resume {runner}`")
}

/// The outcome in words: `timed out`.
#[must_use]
pub fn outcome_words(outcome: &Outcome) -> String {
    outcome.word().replace('_', " ")
}

/// The verb for a number of things.
pub(super) fn are(number: usize) -> &'static str {
    if number == 1 { "is" } else { "are" }
}

/// Formats a number of things: `1 job`, `3 jobs`.
pub(super) fn count(number: u64, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

pub(super) fn join<T: Display>(items: &[T], between: &str) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_that_decided_is_named_without_becoming_a_part_of_a_sentence() {
        let detail = |outcome: Outcome| {
            let step = |name: &str, outcome| StepRecord { name: name.into(), outcome, duration_ms: None, log: 0..0 };
            let steps = [step("first", Some(Outcome::Passed)), step("run", Some(outcome.clone()))];
            attempt_detail(&outcome, &steps).unwrap()
        };
        assert_eq!(detail(Outcome::Failed(4)), "exit code 4 in step `run`");
        let why = "./x asks for the interpreter /y, which does not exist";
        assert_eq!(detail(Outcome::CouldNotStart(why.into())), format!("step `run`: {why}"));
        let outcome = Outcome::CouldNotStart(why.into());
        assert_eq!(attempt_detail(&outcome, &[]).as_deref(), Some(why));
    }
}
