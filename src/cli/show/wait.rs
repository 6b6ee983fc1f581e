//! Asks for one build, and waits for its verdict over all restarts of the dispatcher. Prints nothing.

use crate::cli::CliError;
use crate::cli::operator_flags::OperatorFlags;
use crate::cli::report::short;
use crate::cli::session::Session;
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::protocol::operator::{BuildReport, FromOperator, ToOperator};

/// Asks for the named build, in its present state.
pub(crate) fn build_named(session: &mut Session, typed: &str) -> Result<BuildReport, CliError> {
    let answer = session.ask(&FromOperator::Show { build: typed.to_owned(), repo: None, branch: None })?;
    if let ToOperator::Build(report) = answer { Ok(*report) } else { Err(CliError::Unexpected("`show`")) }
}

/// Waits until the build has its verdict, over all restarts of the dispatcher. The session is that of the report.
pub(crate) fn until_finished(
    operator: &OperatorFlags,
    session: Session,
    known: BuildReport,
) -> Result<BuildReport, CliError> {
    if known.finished_ms.is_some() {
        return Ok(known);
    }
    operator.persist(session, |session| finished(operator, session, &known))
}

/// Waits until the build has its verdict. `known` is an earlier report of it, maybe of before the dispatcher restarted.
fn finished(operator: &OperatorFlags, session: &mut Session, known: &BuildReport) -> Result<BuildReport, CliError> {
    let mut watching = operator.connect()?.watch()?;
    // The watch does not report earlier changes, so the build is asked for again after it has begun.
    let report = build_named(session, &known.build.to_string())?;
    same_build(known, &report)?;
    if report.finished_ms.is_some() {
        return Ok(report);
    }
    let _alive = watching.keep_alive()?;
    loop {
        let ToOperator::Build(now) = watching.next()? else { return Err(CliError::Unexpected("`watch`")) };
        if now.build == report.build && now.finished_ms.is_some() {
            return Ok(*now);
        }
    }
}

/// Checks that a number still means the same build. A dispatcher that comes back with another data directory counts
/// anew, and the verdict on another commit must not pass for the one that is awaited.
pub(crate) fn same_build(known: &BuildReport, now: &BuildReport) -> Result<(), CliError> {
    let identity = |report: &BuildReport| (report.repo.clone(), report.commit.clone(), report.created_ms);
    if identity(known) == identity(now) {
        return Ok(());
    }
    let (build, commit) = (known.build, short(&known.commit));
    let text =
        format!("the dispatcher came back without build b{build} of commit {commit}: b{build} is another one now");
    Err(CliError::Refused(Refusal::new(ErrorCode::NotFound, text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ExitCode;
    use crate::cli::tests::support::build;

    #[test]
    fn a_number_that_means_another_build_now_is_no_verdict() {
        let known = build(12, "running", vec![]);
        let finished = build(12, "passed", vec![]);
        same_build(&known, &finished).unwrap();
        let other_commit = BuildReport { commit: "0".repeat(40), ..finished.clone() };
        let other_repo = BuildReport { repo: "other".into(), ..finished.clone() };
        let later = BuildReport { created_ms: known.created_ms + 1, ..finished };
        for other in [other_commit, other_repo, later] {
            let error = same_build(&known, &other).unwrap_err();
            assert_eq!(error.exit_code(), ExitCode::NotFound);
            assert!(error.to_string().contains("b12 is another one now"), "{error}");
        }
    }
}
