//! The file of further tasks that a task of a build wrote: read and checked as the file of a commit, before the core
//! hears of it.

use std::sync::Arc;

use super::connection::Session;
use super::shared::Shared;
use crate::config;
use crate::dispatcher::choice;
use crate::dispatcher::mirrors::with_facts;
use crate::error_chain::chain;
use crate::model::{BuildId, BuildSource, CommitId, Plan, TaskSpec};
use crate::protocol::limits::MAX_WRITTEN_BYTES;
use crate::threads;

/// Returns the plan of the tasks that join the build of the task, or the mistake in the file, for people. The stack of
/// a runner's session is too small for reading one, so a thread of its own does that.
pub(super) fn plan(
    session: &Session,
    source: &Arc<BuildSource>,
    (build, task): (BuildId, &Arc<TaskSpec>),
    text: String,
) -> Result<Plan, String> {
    let (shared, source, task) = (Arc::clone(&session.shared), Arc::clone(source), Arc::clone(task));
    let name = format!("s{}-tasks", session.id.0 % 100_000);
    let read = threads::spawn_large(&name, move || read(&shared, &source, (build, &task), &text));
    let failed = |why: &str| format!("the dispatcher could not read the tasks: {why}");
    read.map_err(|error| failed(&error.to_string()))?.join().unwrap_or_else(|_| Err(failed("its thread ended")))
}

/// Returns the plan of the tasks that join the build of the task, or the mistake in the file, for people.
fn read(
    shared: &Shared,
    source: &BuildSource,
    (build, task): (BuildId, &TaskSpec),
    text: &str,
) -> Result<Plan, String> {
    if text.len() > MAX_WRITTEN_BYTES {
        return Err(format!("the file is larger than {} KiB", MAX_WRITTEN_BYTES >> 10));
    }
    let mut plan = config::parse_written(task, text.as_bytes()).map_err(|mistake| mistake.text)?;
    let mirror = shared.mirrors.open(&source.repo, source.commit);
    let mirror = mirror.map_err(|error| format!("the dispatcher could not read the source: {}", chain(&error)))?;
    plan = with_facts(plan, &mirror, source.commit).map_err(|without| without.of_written())?;
    if plan.tasks.iter().any(|task| task.spec.placement.when.is_some()) {
        let ancestors = ancestors(shared, build);
        choice::choose(&mut plan, source, &ancestors, |scope| shared.readers.open()?.passes(scope), &mirror);
    }
    mirror.return_to_pool();
    Ok(plan)
}

/// Returns the commits before that of a build of a new ref. They are recorded with the build.
fn ancestors(shared: &Shared, build: BuildId) -> Vec<CommitId> {
    let facts = match shared.readers.open().and_then(|reader| reader.build(build)) {
        Ok(found) => found.and_then(|build| build.settings.for_written),
        Err(error) => {
            log::warn!("could not read where the ref of {build} comes from: {}: all of its tasks run", chain(&error));
            None
        }
    };
    let ids = facts.map(|facts| facts.ancestors).unwrap_or_default();
    ids.iter().filter_map(|id| id.parse().ok()).collect()
}
