//! The passes of tasks, for a person who wants to know what a push would do before it is made.

use std::collections::HashMap;

use super::error::OperationError;
use super::questions::Operations;
use crate::model::{CommitId, RefName, RepoName, TaskName};
use crate::store::{Lineage, PassScope, Scope, TaskPass};

/// Written tasks that are told, so that an answer stays short.
const MAX_WRITTEN: usize = 1_000;

/// The tasks of a commit that may become a build of a ref.
pub(crate) struct PassesWanted {
    pub(crate) repo: RepoName,
    pub(crate) reference: RefName,
    /// The commit, and before it its first parents, the nearest first.
    pub(crate) commits: Vec<CommitId>,
    pub(crate) tasks: Vec<TaskName>,
}

/// What is known of a task.
pub(crate) struct TaskPast {
    pub(crate) task: TaskName,
    pub(crate) pass: Option<TaskPass>,
    pub(crate) median_ms: Option<u64>,
}

impl Operations {
    /// Returns what is known of the tasks, by the rules by which a build of them would be planned. Behind them come
    /// the tasks that they wrote in a build before, by name.
    pub(crate) fn passes(&self, wanted: PassesWanted) -> Result<Vec<TaskPast>, OperationError> {
        let PassesWanted { repo, reference, commits, tasks } = wanted;
        let known = self.reader.repos()?;
        if !known.contains(&repo) {
            return Err(OperationError::NoRepo { name: repo.to_string(), known });
        }
        let of_ref = Scope { repo: Some(repo.to_string()), reference: Some(reference.to_string()) };
        let is_new = self.reader.newest(&of_ref)?.is_none();
        let trust = self.trust.judge_stored(&repo, &reference, &*self.reader)?;
        let lineage = if is_new { Lineage::Commits(commits) } else { Lineage::Ref(reference) };
        let mut times: HashMap<_, _> = self.reader.pass_times(&repo, &tasks)?.into_iter().collect();
        let scope = PassScope { repo, lineage, trust, tasks };
        let passes = self.reader.passes(&scope)?.into_iter();
        let mut passes: HashMap<_, _> = passes.map(|pass| (pass.task.name.clone(), pass)).collect();
        let past = |task: TaskName| {
            let (pass, median_ms) = (passes.remove(&task), times.remove(&task));
            TaskPast { task, pass, median_ms }
        };
        let mut past: Vec<TaskPast> = scope.tasks.into_iter().map(past).collect();
        let mut written: Vec<(TaskName, u64)> = times.into_iter().collect();
        written.sort_unstable();
        let of_written = |(task, ms)| TaskPast { task, pass: None, median_ms: Some(ms) };
        past.extend(written.into_iter().take(MAX_WRITTEN).map(of_written));
        Ok(past)
    }
}
