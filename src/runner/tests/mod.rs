//! Tests of the runner as a whole: stories of its decisions, and conversations of a running one with a scripted
//! dispatcher.

mod conversations;
mod scene;
mod stories;
mod taking;
mod tool_cache;
mod workspaces;

use crate::model::{AttemptId, BuildId, Recipe, RefName, RepoName, Script, TaskName};
use crate::runner::assignment::Assignment;

/// A lease of the attempt, whose task does nothing.
pub(super) fn assignment(attempt: u64) -> Assignment {
    Assignment {
        attempt: AttemptId(attempt),
        lease_ms: 1000,
        build: BuildId(1),
        number: 1,
        repo: RepoName::new("app").unwrap(),
        reference: RefName::of_branch("main"),
        event: None,
        is_trusted: None,
        default_branch: None,
        slots: 1,
        before: None,
        url: None,
        needed: Ok(Vec::new()),
        cache_scopes: Vec::new(),
        taken: Ok(Vec::new()),
        commit: "ab".repeat(20).parse().unwrap(),
        task: TaskName::new("test").unwrap(),
        recipe: Recipe::new(Script::Shell("true".into())).into(),
    }
}
