//! Finds builds and tasks by the names that people give.

use super::error::OperationError;
use super::questions::Operations;
use crate::clock;
use crate::model::reason::NamedJobs;
use crate::model::{Build, BuildId, Job, JobId, TaskName};
use crate::store::{Scope, StoreError};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Most builds that are named to a person whose abbreviation fits several commits.
const CANDIDATES_MAX: u32 = 10;

/// A meaning that a name of a build may have.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reading {
    Number(u64),
    /// At least four hexadecimal digits.
    Commit(String),
    Latest,
}

impl Operations {
    /// Returns the build of that name, among all builds.
    pub(super) fn find(&self, name: &str) -> Result<Build, OperationError> {
        self.find_in(name, &Scope::default())
    }

    /// Returns the build of that name. An abbreviation that fits several commits is refused: a guess could cancel the
    /// wrong build. Of several builds of one commit, the newest is meant.
    pub(super) fn find_in(&self, name: &str, scope: &Scope) -> Result<Build, OperationError> {
        let mut missing = None;
        for reading in readings(name) {
            let found = match reading {
                // A number is a whole name, so it is never taken for the beginning of a commit.
                Reading::Number(number) => {
                    let id = BuildId(number);
                    if let Some(build) = self.reader.build(id)? {
                        return check_scope(build, scope);
                    }
                    missing = missing.or(Some(id));
                    None
                }
                Reading::Latest => self.reader.newest(scope)?,
                Reading::Commit(digits) => self.of_commit(name, &digits, scope)?,
            };
            if let Some(build) = found.map(|id| self.reader.build(id)).transpose()?.flatten() {
                return Ok(build);
            }
        }
        let gone = missing.map(|id| self.removed(id)).transpose()?.flatten();
        Err(gone.unwrap_or_else(|| OperationError::NoBuild { name: name.to_owned(), scope: scope.clone() }))
    }

    /// Returns the newest build of the one commit that begins so.
    fn of_commit(&self, name: &str, digits: &str, scope: &Scope) -> Result<Option<BuildId>, OperationError> {
        let mut found = self.reader.of_commit(digits, scope, CANDIDATES_MAX + 1)?;
        if found.len() <= 1 {
            return Ok(found.pop());
        }
        let has_more = found.len() > CANDIDATES_MAX as usize;
        found.truncate(CANDIDATES_MAX as usize);
        let named = found.into_iter().map(|id| self.reader.build(id)).collect::<Result<Vec<_>, StoreError>>()?;
        // One that was removed meanwhile is left out.
        let named = named.into_iter().flatten().collect();
        Err(OperationError::Ambiguous { name: name.to_owned(), named, has_more })
    }

    /// Returns why a build is not there any more, if there was one once.
    fn removed(&self, build: BuildId) -> Result<Option<OperationError>, OperationError> {
        if let Some((rule, at)) = self.reader.forgotten(build)? {
            let days = clock::wall().0.saturating_sub(at.0) / DAY_MS;
            return Ok(Some(OperationError::Removed { build, rule, days }));
        }
        let was_there = build.0 > 0 && build <= self.reader.last_build()?;
        Ok(was_there.then_some(OperationError::RemovedLongAgo { build }))
    }

    /// Returns the job of that task.
    pub(super) fn job_of(&self, build: &Build, task: &str) -> Result<Job, OperationError> {
        let jobs = self.reader.jobs(build.id)?;
        if let Some(job) = jobs.iter().find(|job| job.task.name.as_str() == task) {
            return Ok(job.clone());
        }
        let tasks: Vec<TaskName> = jobs.into_iter().map(|job| job.task.name.clone()).collect();
        if tasks.is_empty() {
            return Err(OperationError::NoTasks { build: build.id, problem: build.problem.clone() });
        }
        Err(OperationError::NoTask { build: build.id, task: task.to_owned(), tasks })
    }

    /// Returns the jobs that a name means: that of the task, or those of all cells of the matrix.
    pub(super) fn jobs_of(&self, build: &Build, name: &str) -> Result<NamedJobs, OperationError> {
        let cells = self.reader.jobs(build.id)?.into_iter().filter(|job| job.task.name.cell().is_some());
        let cells: Vec<JobId> = cells.filter(|job| job.task.name.written() == name).map(|job| job.id).collect();
        match TaskName::new(name) {
            Ok(task) if !cells.is_empty() => Ok(NamedJobs { task, jobs: cells, is_matrix: true }),
            Ok(_) | Err(_) => {
                let job = self.job_of(build, name)?;
                Ok(NamedJobs { task: job.task.name.clone(), jobs: vec![job.id], is_matrix: false })
            }
        }
    }
}

/// Refuses a build that is not among those that were asked for.
fn check_scope(build: Build, scope: &Scope) -> Result<Build, OperationError> {
    let (repo, reference) = (&build.source.repo, &build.source.trigger.reference);
    let is_in = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is);
    if is_in(&scope.repo, repo.as_str()) && is_in(&scope.reference, reference.as_str()) {
        return Ok(build);
    }
    Err(OperationError::Elsewhere { build: build.id, repo: repo.clone(), reference: reference.clone() })
}

/// Returns the possible meanings of a name, in the order in which they are tried. `b12`, `#12` and `12` are the build
/// 12; `b1234` and `1234` may also be the beginning of a commit.
fn readings(text: &str) -> Vec<Reading> {
    if text == "latest" {
        return vec![Reading::Latest];
    }
    let number = text.strip_prefix(['b', '#']).unwrap_or(text);
    // Nobody writes `+1` or `01` for a build, and `0123` begins a commit.
    let is_number = number.starts_with(|first: char| matches!(first, '1'..='9'));
    let number = number.parse().ok().filter(|_| is_number).map(Reading::Number);
    let is_hex = text.len() >= 4 && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let commit = is_hex.then(|| Reading::Commit(text.to_ascii_lowercase()));
    number.into_iter().chain(commit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_named_by_number_by_commit_or_as_the_latest() {
        let number = Reading::Number;
        let commit = |text: &str| Reading::Commit(text.to_owned());
        assert_eq!(readings("latest"), [Reading::Latest]);
        for text in ["12", "b12", "#12"] {
            assert_eq!(readings(text), [number(12)], "{text}");
        }
        assert_eq!(readings("1234"), [number(1234), commit("1234")]);
        assert_eq!(readings("b185027123"), [number(185_027_123), commit("b185027123")]);
        assert_eq!(readings("#1234"), [number(1234)]);
        assert_eq!(readings("4F2A91C"), [commit("4f2a91c")]);
        assert_eq!(readings(&"7".repeat(40)), [commit(&"7".repeat(40))], "larger than any number");
        assert_eq!(readings("0123"), [commit("0123")]);
        for text in ["", "b", "#", "b12f/x", "4f2", "nonsense", "+1", "b+1", "#+1", "01", "b01", "0", "-1", "\u{661}"] {
            assert_eq!(readings(text), [], "{text}");
        }
    }
}
