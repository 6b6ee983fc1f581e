//! The tasks that a commit asks for: from its task file, else from executable files in a directory.
//!
//! The dispatcher reads them from the commit itself, `surveil check` and `surveil run` from a directory. All tasks are
//! checked together here, so that later code may trust a [`TaskSpec`]. Anybody who may commit writes the file: whatever
//! it contains, reading it must end soon, must not panic, and must not exhaust a thread's stack.

mod context;
mod directory;
mod graph;
mod keys;
mod mistake;
mod parse;
mod suggest;
mod value;

use crate::model::{Need, TaskName, TaskSpec};
use mistake::Mistake;

pub use context::PlanContext;
pub use directory::{check_directory, fallback_plan};

/// The task file's name, at the root of a commit.
pub const TASK_FILE: &str = ".surveil.toml";
/// A commit without a task file has a task for each executable file directly in this directory.
pub const TASK_DIRECTORY: &str = "tasks";

/// The size of the largest task file that is read. A thousand tasks take a tenth of it; a larger file is a mistake or
/// an attack.
pub const MAX_TASK_FILE_BYTES: usize = 1 << 20;
/// The most tasks of one commit. Each is a job that is stored, shown in tables and sent in reports. A thousand of them,
/// with a few attempts each, still fit into one message of the protocol.
const MAX_TASKS: usize = 1000;
/// The most bytes of a task's script, environment and paths together. Linux starts no program with a longer argument
/// (`MAX_ARG_STRLEN`, execve(2)), and a task of this size fits into one message of the protocol, even fully escaped.
const MAX_TASK_BYTES: usize = 128 * 1024 - 1;

/// Advice in errors about names that cannot name a task.
const NAME_RULE: &str = "use 1 to 100 of A-Z a-z 0-9 . _ - and start with a letter or digit";
/// The example in errors about files without tasks.
const EXAMPLE: &str = "[task.test]\nrun = \"make test\"";

/// A mistake in a task file as text for people: line, column, the line itself, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct TaskFileError {
    pub text: String,
}

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
