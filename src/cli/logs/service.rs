//! The task whose service is meant. Pure.

use crate::cli::CliError;
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::protocol::operator::{BuildReport, JobReport};

/// Returns the name of the task with this service. Without `task`, one task of the build must have it.
pub(super) fn task_with(report: &BuildReport, task: Option<&str>, service: &str) -> Result<String, CliError> {
    let none = |text: String| Err(CliError::Refused(Refusal::new(ErrorCode::NotFound, text)));
    let build = report.build;
    let has = |job: &&JobReport| job.services.iter().any(|name| name == service);
    let Some(task) = task else {
        let with: Vec<&str> = report.jobs.iter().filter(has).map(|job| job.task.as_str()).collect();
        return match with.as_slice() {
            [only] => Ok((*only).to_owned()),
            [] => none(format!("no task of build b{build} has a service `{}`", Refusal::quote(service))),
            several => none(format!(
                "several tasks of build b{build} have a service `{service}`: name one of {}",
                several.join(", ")
            )),
        };
    };
    let Some(job) = report.jobs.iter().find(|job| job.task == task) else {
        return none(format!("build b{build} has no task `{}`", Refusal::quote(task)));
    };
    if has(&job) {
        return Ok(task.to_owned());
    }
    let its = if job.services.is_empty() { String::new() } else { format!("; it has {}", job.services.join(", ")) };
    none(format!("b{build}/{task} has no service `{}`{its}", Refusal::quote(service)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::support::{build, job};

    #[test]
    fn a_service_is_found_in_the_task_that_is_named_or_in_the_only_one() {
        let with = |name: &str, services: &[&str]| JobReport {
            services: services.iter().map(|service| (*service).to_owned()).collect(),
            ..job(name, "passed", vec![])
        };
        let jobs = vec![with("lint", &[]), with("test", &["db", "mq"]), with("load", &["db"])];
        let report = build(12, "passed", jobs);
        let found = |task, service| task_with(&report, task, service);
        assert_eq!(found(None, "mq").unwrap(), "test");
        assert_eq!(found(Some("load"), "db").unwrap(), "load");
        for (task, service, why) in [
            (None, "db", "several tasks of build b12 have a service `db`: name one of test, load"),
            (None, "x", "no task of build b12 has a service `x`"),
            (Some("test"), "x", "b12/test has no service `x`; it has db, mq"),
            (Some("lint"), "db", "b12/lint has no service `db`"),
            (Some("tset"), "db", "build b12 has no task `tset`"),
        ] {
            let error = found(task, service).unwrap_err().to_string();
            assert!(error.ends_with(why), "{error}");
        }
    }
}
