//! The question of an operator for the passes of tasks, and its answer.

use crate::dispatcher::operations::{PassesWanted, TaskPast};
use crate::dispatcher::translate;
use crate::model::{RefName, TaskName};
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::protocol::limits::{MAX_ANCESTORS, MAX_ASKED_TASKS, MAX_BRANCH_BYTES};
use crate::protocol::operator::{PassQuestion, PassReport, PassesReport};

/// Returns the question of `passes`. Its mistakes refuse the question only.
pub(super) fn wanted(question: &PassQuestion) -> Result<PassesWanted, Refusal> {
    let refused = |text: String| Refusal::new(ErrorCode::Refused, text);
    let PassQuestion { repo: name, reference, commits, tasks } = question;
    let (commit_count, task_count) = (commits.len(), tasks.len());
    if commit_count > MAX_ANCESTORS + 1 || task_count > MAX_ASKED_TASKS || reference.len() > MAX_BRANCH_BYTES {
        let text = format!(
            "a question about passes names at most {} commits and {MAX_ASKED_TASKS} tasks, and a ref of at most \
             {MAX_BRANCH_BYTES} bytes",
            MAX_ANCESTORS + 1
        );
        return Err(refused(text));
    }
    let name_of = |task: &String| TaskName::new(task).map_err(|error| refused(error.to_string()));
    Ok(PassesWanted {
        repo: translate::repo(name).map_err(|refusal| refused(refusal.text))?,
        reference: RefName::new(reference),
        commits: commits
            .iter()
            .map(|id| translate::commit(id))
            .collect::<Result<_, _>>()
            .map_err(|it| refused(it.text))?,
        tasks: tasks.iter().map(name_of).collect::<Result<_, _>>()?,
    })
}

/// Makes the answer.
pub(super) fn report(tasks: Vec<TaskPast>) -> PassesReport {
    let is_known = |past: &TaskPast| past.pass.is_some() || past.median_ms.is_some();
    let told = |past: TaskPast| {
        let pass = past.pass.as_ref();
        PassReport {
            task: past.task.to_string(),
            build: pass.map(|pass| pass.build.0),
            commit: pass.map(|pass| pass.commit.to_string()),
            definition: pass.map(|pass| pass.task.definition()),
            median_ms: past.median_ms,
        }
    };
    PassesReport { tasks: tasks.into_iter().filter(is_known).map(told).collect() }
}
