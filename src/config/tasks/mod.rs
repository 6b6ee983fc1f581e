//! The tasks that a commit asks for: from its task file, else from executable files in a directory.
//!
//! The dispatcher reads them from the commit itself, `surveil check` and `surveil run` from a directory. All tasks are
//! checked together here, so that later code may trust a [`TaskSpec`]. Anybody who may commit writes the file: whatever
//! it contains, reading it must end soon, must not panic, and must not exhaust a thread's stack.

mod context;
mod directory;
mod graph;
mod keys;
mod limits;
mod mistake;
mod parse;
mod suggest;
mod value;

use crate::model::{Need, TaskName, TaskSpec};
use limits::EXAMPLE;
use mistake::Mistake;

pub use context::PlanContext;
pub use directory::{check_directory, fallback_plan};
pub use limits::{MAX_TASK_FILE_BYTES, TASK_DIRECTORY, TASK_FILE};
pub use mistake::TaskFileError;

/// Reads a task file that is called `name` in errors. Returns the tasks in the order of the file.
pub fn parse_tasks(name: &str, text: &[u8], context: PlanContext<'_>) -> Result<Vec<TaskSpec>, TaskFileError> {
    if text.len() > MAX_TASK_FILE_BYTES {
        let name = mistake::visible(name);
        let text = format!(
            "{name}:1:1: the file is larger than {} MiB\n = help: keep recipes in scripts and call those",
            MAX_TASK_FILE_BYTES >> 20
        );
        return Err(TaskFileError { text });
    }
    let text = std::str::from_utf8(text).map_err(|error| {
        let at = error.valid_up_to();
        let help = "save the file as UTF-8; in strings, write other bytes as escapes of the shell";
        // Lossy conversion does not change the text before the place, so the place is the same in the new text.
        Mistake::new(at..at + 1, "the file is not UTF-8", help).explain(name, &String::from_utf8_lossy(text))
    })?;
    let read = || {
        let tasks = parse::read_tasks(text, context)?;
        graph::check_needs(&tasks)?;
        let with_needs = |task: parse::PlacedTask| {
            let mut spec = task.spec;
            spec.placement.needs = task.needs.iter().map(|need| need_of(&need.value)).collect();
            spec
        };
        Ok(tasks.into_iter().map(with_needs).collect())
    };
    read().map_err(|mistake: Mistake| mistake.explain(name, text))
}

fn need_of(name: &str) -> Need {
    Need::passed(TaskName::new(name).expect("a task of that name was found"))
}

/// Returns the advice for a commit that has no tasks.
#[must_use]
pub fn no_tasks_text() -> String {
    format!(
        "there are no tasks: write a file named {TASK_FILE} at the root of the repository, such as\n\n{}\n\n\
         or put executable files into {TASK_DIRECTORY}/; each is then a task of its own",
        EXAMPLE.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
    )
}

#[cfg(test)]
mod tests;
