//! The tasks that a commit asks for: from its task file, else from executable files in a directory.
//!
//! The dispatcher reads them from the commit itself, `surveil check` and `surveil run` from a directory. All tasks are
//! checked together here, so that later code may trust a [`TaskSpec`]. Anybody who may commit writes the file: whatever
//! it contains, reading it must end soon, must not panic, and must not exhaust a thread's stack.

mod build;
mod choice;
mod command;
mod context;
mod directory;
mod doubts;
mod draft;
mod file;
mod findings;
mod foreign;
mod graph;
mod inherited;
mod interpreters;
mod keys;
mod layers;
mod limits;
mod matrix;
mod misplaced;
mod mistake;
mod names;
mod parse;
mod replace;
mod schedules;
mod schema;
mod service_tables;
mod services;
mod shell;
mod source_needs;
mod suggest;
mod takes;
mod task;
mod templates;
mod top_level;
mod tree_path;
mod unfold;
mod value;

use std::borrow::Cow;

use crate::model::{Ability, BuildSettings, Need, Plan, Take, TaskName, TaskSpec, visible};
use draft::PlacedTask;
use limits::{EXAMPLE, MAX_PROBLEM_MISTAKES};
use parse::FileContents;

pub use choice::{UnknownTask, choose_tasks};
pub use context::PlanContext;
pub use directory::{check_directory, fallback_plan, no_file_text};
use limits::WRITTEN_FILE;
pub use limits::{MAX_TASK_FILE_BYTES, TASK_DIRECTORY, TASK_FILE};
pub use mistake::TaskFileError;
pub use schedules::CheckedSchedule;
pub use schema::schema;
pub use source_needs::source_needs;
pub(crate) use suggest::nearest;
// For the operator's file, which is read in the same way.
pub(super) use findings::Findings;
pub(super) use keys::{BRANCHES, RefKind, TAGS, name_glob};
pub(super) use limits::{MAX_GLOB_BYTES, MAX_GLOBS, MAX_SHOWN_MISTAKES};
pub(super) use mistake::{Mistake, quote};
pub(super) use parse::document;
pub(super) use value::{Placed, TableEntry, entries};

/// The tasks of a work tree, and what in them is probably not meant.
#[derive(Debug, PartialEq, Eq)]
pub struct CheckedTasks {
    pub tasks: Vec<TaskSpec>,
    pub schedules: Vec<CheckedSchedule>,
    /// Of the build as a whole.
    pub settings: BuildSettings,
    /// Texts for people, each with its place in the file.
    pub warnings: Vec<String>,
}

/// Reads a task file that is called `name` in errors. Returns the plan for this occasion, or the first
/// `MAX_PROBLEM_MISTAKES` mistakes: the text is stored with a build.
pub fn parse_tasks(name: &str, text: &[u8], context: PlanContext<'_>) -> Result<Plan, TaskFileError> {
    let (FileContents { tasks, settings, schedules }, _) = read_file(name, text, context, MAX_PROBLEM_MISTAKES)?;
    let plan = Plan { settings, ..Plan::of(tasks.into_iter().map(with_needs).collect()) };
    Ok(schedules::apply(schedules, context, plan))
}

/// Reads the file that a task of a build wrote for further tasks. Each of them gets the name of that task before its
/// own, and needs it besides what it needs in the file. A file without tasks gives a plan without any.
pub fn parse_written(writer: &TaskSpec, text: &[u8]) -> Result<Plan, TaskFileError> {
    let parent = &writer.name;
    let context = PlanContext::WrittenBy(parent);
    let (FileContents { mut tasks, .. }, _) = read_file(WRITTEN_FILE, text, context, MAX_PROBLEM_MISTAKES)?;
    let name = |own: &TaskName| TaskName::written_by(parent, own);
    let explain = |mistake: Mistake| {
        let shown = with_newlines(&String::from_utf8_lossy(text)).into_owned();
        mistake.explain(WRITTEN_FILE, &shown)
    };
    // A name in `take` is that of a task of the file, if there is one.
    let has_namesake = tasks.iter().any(|task| task.spec.name.written() == &**parent);
    for task in &mut tasks {
        let Ok(long) = name(&task.spec.name) else {
            let message = format!("the name of a task is too long: {}", mistake::quote(&task.spec.name));
            let help = format!("it has at most 100 characters together with `{parent}/`, which stands before it");
            return Err(explain(Mistake::new(task.name_place.clone(), message, help)));
        };
        task.spec.name = long;
        let take = match &task.take {
            Some(_) if has_namesake => Take::Nothing,
            Some(_) | None => takes::of_parent(task, writer).map_err(explain)?,
        };
        let parent = Need { take, ..Need::passed(parent.clone()) };
        let own = task.needed.drain(..).filter_map(|need| Some(Need { task: name(&need.task).ok()?, ..need }));
        task.needed = std::iter::once(parent).chain(own).collect();
        let labels = &mut task.spec.placement.labels;
        labels.push(Ability::Expand.label());
        labels.sort();
    }
    Ok(Plan::of(tasks.into_iter().map(with_needs).collect()))
}

/// Reads a task file as [`parse_tasks`] does, and tells all mistakes, or the tasks with all warnings.
fn check_tasks(name: &str, text: &[u8]) -> Result<CheckedTasks, TaskFileError> {
    let (FileContents { tasks, settings, schedules }, mut found) =
        read_file(name, text, PlanContext::Unknown, MAX_SHOWN_MISTAKES)?;
    doubts::look_at(&tasks, &mut found);
    let warnings = found.warnings(name, &with_newlines(&String::from_utf8_lossy(text)));
    Ok(CheckedTasks { tasks: tasks.into_iter().map(with_needs).collect(), settings, schedules, warnings })
}

/// Reads the tasks of a file. In an error, `shown` mistakes are shown.
fn read_file(
    name: &str,
    text: &[u8],
    context: PlanContext<'_>,
    shown: usize,
) -> Result<(FileContents, Findings), TaskFileError> {
    let text = &*readable(name, text)?;
    let mut found = Findings::default();
    let contents = parse::read_tasks(text, context, &mut found);
    if found.has_mistakes() { Err(found.error(name, text, shown)) } else { Ok((contents, found)) }
}

/// Returns the text of a file that is called `name` in errors, with [`with_newlines`].
pub(super) fn readable<'t>(name: &str, text: &'t [u8]) -> Result<Cow<'t, str>, TaskFileError> {
    if text.len() > MAX_TASK_FILE_BYTES {
        let name = visible(name);
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
    Ok(with_newlines(text))
}

/// Returns the text with `\n` at the end of each line. TOML leaves the line ends within a string of several lines open.
/// A shell takes a carriage return for a part of the last word, so there are none, wherever the file was edited. An
/// escape, `\r`, stays.
fn with_newlines(text: &str) -> Cow<'_, str> {
    if text.contains("\r\n") { text.replace("\r\n", "\n").into() } else { Cow::Borrowed(text) }
}

fn with_needs(task: PlacedTask) -> TaskSpec {
    let mut spec = task.spec;
    let condition = task.run_if;
    spec.placement.needs = task.needed.into_iter().map(|need| Need { condition, ..need }).collect();
    if spec.takes_artifacts() {
        spec.placement.labels.push(Ability::Take.label());
        spec.placement.labels.sort();
    }
    spec
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
