//! Finds builds and tasks by the names that people give.

use super::error::OperationError;
use super::questions::Operations;
use crate::clock;
use crate::model::{Build, BuildId, Job};
use crate::store::BuildName;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

impl Operations {
    /// Returns the build of that name.
    pub(super) fn find(&self, name: &str) -> Result<Build, OperationError> {
        let mut missing = None;
        for reading in readings(name) {
            let id = match reading {
                BuildName::Number(number) => Some(BuildId(number)),
                BuildName::Commit(_) | BuildName::Latest => self.reader.find(&reading)?,
            };
            if let Some(build) = id.map(|id| self.reader.build(id)).transpose()?.flatten() {
                return Ok(build);
            }
            missing = missing.or(id);
        }
        let gone = missing.map(|id| self.removed(id)).transpose()?.flatten();
        Err(gone.unwrap_or_else(|| OperationError::NoBuild { name: name.to_owned() }))
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
        let tasks = jobs.into_iter().map(|job| job.task.name.clone()).collect();
        Err(OperationError::NoTask { build: build.id, task: task.to_owned(), tasks })
    }
}

/// Returns the possible meanings of a name, in the order in which they are tried. `b12`, `#12` and `12` are the build
/// 12; `b1234` and `1234` may also be the beginning of a commit.
fn readings(text: &str) -> Vec<BuildName> {
    if text == "latest" {
        return vec![BuildName::Latest];
    }
    let number = text.strip_prefix(['b', '#']).unwrap_or(text);
    // Nobody writes `+1` or `01` for a build, and `0123` begins a commit.
    let is_number = number.starts_with(|first: char| matches!(first, '1'..='9'));
    let number = number.parse().ok().filter(|_| is_number).map(BuildName::Number);
    let is_hex = text.len() >= 4 && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let commit = is_hex.then(|| BuildName::Commit(text.to_ascii_lowercase()));
    number.into_iter().chain(commit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_named_by_number_by_commit_or_as_the_latest() {
        let number = BuildName::Number;
        let commit = |text: &str| BuildName::Commit(text.to_owned());
        assert_eq!(readings("latest"), [BuildName::Latest]);
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
