//! The section of a log that belongs to one step. Pure.

use std::ops::Range;

use crate::cli::CliError;
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::protocol::operator::{BuildReport, JobReport, StepReport};

/// A section of an attempt's log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) build: u64,
    pub(super) task: String,
    pub(super) number: u32,
    pub(super) bytes: Range<u64>,
}

/// Finds a step by its name, else by its number from 1. Without `task` the build must have one task with steps, without
/// `number` the newest attempt is meant.
pub(super) fn of_step(
    report: &BuildReport,
    task: Option<&str>,
    number: Option<u32>,
    step: &str,
) -> Result<Section, CliError> {
    let none = |text: String| CliError::Refused(Refusal::new(ErrorCode::NotFound, text));
    let build = report.build;
    let job = job_of(report, task).map_err(&none)?;
    let task = &job.task;
    let attempt = match number {
        Some(number) => job.attempts.iter().find(|attempt| attempt.number == number),
        None => job.attempts.last(),
    };
    let Some(attempt) = attempt else {
        return Err(none(format!("task {task} of build b{build} has no such attempt")));
    };
    if attempt.outcome.is_none() {
        let text = format!(
            "attempt {} of b{build}/{task} has not ended: until then only its whole log can be printed",
            attempt.number
        );
        return Err(none(text));
    }
    if attempt.steps.is_empty() {
        return Err(none(format!("attempt {} of b{build}/{task} has no steps", attempt.number)));
    }
    let by_number = || step.parse::<usize>().ok().and_then(|number| attempt.steps.get(number.checked_sub(1)?));
    let found: Option<&StepReport> = attempt.steps.iter().find(|it| it.name == step).or_else(by_number);
    let Some(found) = found else {
        let names: Vec<String> = attempt.steps.iter().map(|step| format!("`{}`", step.name)).collect();
        let text = format!("b{build}/{task} has no step `{}`; it has {}", Refusal::quote(step), names.join(", "));
        return Err(none(text));
    };
    let bytes = found.log_start..found.log_end;
    Ok(Section { build, task: task.clone(), number: attempt.number, bytes })
}

fn job_of<'r>(report: &'r BuildReport, task: Option<&str>) -> Result<&'r JobReport, String> {
    let build = report.build;
    if let Some(task) = task {
        let job = report.jobs.iter().find(|job| job.task == task);
        return job.ok_or_else(|| format!("build b{build} has no task `{}`", Refusal::quote(task)));
    }
    let has_steps = |job: &&JobReport| job.attempts.iter().any(|attempt| !attempt.steps.is_empty());
    let with_steps: Vec<&JobReport> = report.jobs.iter().filter(has_steps).collect();
    match with_steps.as_slice() {
        [only] => Ok(only),
        [] => Err(format!("no attempt of build b{build} that has ended has steps")),
        several => {
            let names: Vec<&str> = several.iter().map(|job| job.task.as_str()).collect();
            Err(format!("several tasks of build b{build} have steps: name one of {}", names.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::support::{attempt, build, job};
    use crate::protocol::operator::AttemptReport;

    fn with_steps(number: u32) -> AttemptReport {
        let step = |name: &str, start| StepReport {
            name: name.into(),
            log_start: start,
            log_end: start + 10,
            ..StepReport::default()
        };
        AttemptReport { steps: vec![step("build", 5), step("2", 20), step("test", 35)], ..attempt(number) }
    }

    #[test]
    fn a_step_is_found_by_name_or_number_in_the_newest_attempt_or_another() {
        let running = AttemptReport { outcome: None, steps: vec![], ..attempt(3) };
        let report = build(
            12,
            "running",
            vec![
                job("lint", "passed", vec![attempt(1)]),
                job("test", "running", vec![with_steps(1), with_steps(2), running]),
            ],
        );
        let found = |task, number, step| of_step(&report, task, number, step).map(|section| section.bytes);
        assert_eq!(found(Some("test"), Some(2), "test").unwrap(), 35..45);
        assert_eq!(found(None, Some(1), "1").unwrap(), 5..15);
        assert_eq!(found(None, Some(1), "2").unwrap(), 20..30, "a name comes before a number");
        assert_eq!(found(None, Some(1), "3").unwrap(), 35..45);
        for (task, number, step, why) in [
            (None, None, "test", "attempt 3 of b12/test has not ended"),
            (None, Some(1), "4", "b12/test has no step `4`; it has `build`, `2`, `test`"),
            (None, Some(1), "0", "b12/test has no step `0`"),
            (None, Some(9), "test", "task test of build b12 has no such attempt"),
            (Some("lint"), None, "test", "attempt 1 of b12/lint has no steps"),
            (Some("tset"), None, "test", "build b12 has no task `tset`"),
        ] {
            let error = found(task, number, step).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        let none = build(12, "passed", vec![job("lint", "passed", vec![attempt(1)])]);
        assert!(of_step(&none, None, None, "x").unwrap_err().to_string().contains("no attempt of build b12"));
    }
}
