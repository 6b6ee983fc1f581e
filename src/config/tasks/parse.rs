//! Reads a task file's text into tasks. Each task is checked by itself; `graph` checks how they depend on one another,
//! and `keys` reads the value of each key.

use std::ops::Range;
use std::sync::Arc;

use toml::de::DeTable;

use super::context::PlanContext;
use super::keys::{self, Draft, KEYS};
use super::limits::{EXAMPLE, MAX_TASK_BYTES, MAX_TASKS, NAME_RULE};
use super::mistake::{Mistake, quote};
use super::suggest::{nearest, nearest_key};
use super::value::{Placed, TableEntry, entries, kind};
use crate::model::{Recipe, Script, TaskName, TaskSpec};

/// A task, with the places of its name and of its needs.
#[derive(Debug)]
pub(super) struct PlacedTask {
    pub(super) spec: TaskSpec,
    pub(super) name_place: Range<usize>,
    pub(super) needs: Vec<Placed<Arc<str>>>,
}

/// Reads the tasks of a file, in its order.
pub(super) fn read_tasks(text: &str, context: PlanContext<'_>) -> Result<Vec<PlacedTask>, Mistake> {
    let document = DeTable::parse(text).map_err(|error| syntax_mistake(&error, text))?;
    let mut tasks = Vec::new();
    for top in entries(document.get_ref()) {
        if top.key != "task" {
            return Err(unknown_table(&top));
        }
        let help = format!("write each task as a table with its name, such as\n{EXAMPLE}");
        for entry in entries(top.table(&help)?) {
            if tasks.len() == MAX_TASKS {
                let message = format!("a commit has at most {MAX_TASKS} tasks");
                return Err(Mistake::new(entry.key_place, message, "let one task run several of these"));
            }
            tasks.push(read_task(&entry, context)?);
        }
    }
    if tasks.is_empty() {
        return Err(Mistake::new(0..0, "the file has no tasks", format!("write one, such as\n{EXAMPLE}")));
    }
    Ok(tasks)
}

fn read_task(task: &TableEntry<'_, '_>, context: PlanContext<'_>) -> Result<PlacedTask, Mistake> {
    let name = task.key;
    let Some(table) = task.value.get_ref().as_table() else {
        let message = format!("task {} must be a table, this is {}", quote(name), kind(task.value.get_ref()));
        return Err(Mistake::new(task.key_place.clone(), message, table_help(name)));
    };
    let Ok(checked_name) = TaskName::new(name) else {
        return Err(Mistake::new(task.key_place.clone(), format!("{} cannot name a task", quote(name)), NAME_RULE));
    };
    let keys = entries(table);
    // Unknown keys are found before any value is read, so that a misspelt `run` is called unknown and not missing.
    let mut readers = Vec::with_capacity(keys.len());
    for entry in &keys {
        let key = KEYS.iter().find(|key| key.name == entry.key).ok_or_else(|| unknown_key(entry, name))?;
        readers.push((key.read, entry));
    }
    let mut draft = Draft::new(context);
    for (read, entry) in readers {
        read(entry, &mut draft)?;
    }
    let Draft { context: _, recipe, placement, needs } = draft;
    if !table.contains_key("run") {
        let help = "add a line that says what to do, such as `run = \"make test\"`";
        return Err(Mistake::new(task.key_place.clone(), format!("task `{name}` has no `run`"), help));
    }
    if task_bytes(&recipe) > MAX_TASK_BYTES {
        let message = format!("task `{name}` is longer than {} KiB", (MAX_TASK_BYTES + 1) / 1024);
        return Err(Mistake::new(task.key_place.clone(), message, "put what it does into a script and run that"));
    }
    let spec = TaskSpec { name: checked_name, recipe: Arc::new(recipe), placement };
    Ok(PlacedTask { spec, name_place: task.key_place.clone(), needs })
}

/// Returns the approximate size of a recipe in the message to a runner.
fn task_bytes(recipe: &Recipe) -> usize {
    let script = match &recipe.script {
        Script::Shell(line) => line.len(),
        Script::Program(words) => words.iter().map(|word| word.len() + 1).sum(),
    };
    let env: usize = recipe.env.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    script + env + recipe.keep.iter().map(|path| path.len() + 1).sum::<usize>()
}

/// Makes the mistake for an error in the TOML itself, in the parser's words.
fn syntax_mistake(error: &toml::de::Error, text: &str) -> Mistake {
    let place = error.span().unwrap_or(text.len()..text.len());
    let message = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
    let help = if message.starts_with("duplicate key") {
        "give each task, and each key of a task, only once"
    } else {
        "the file is TOML, see https://toml.io: a key, `=`, and a value; text stands in quotes"
    };
    Mistake::new(place, message, help)
}

fn unknown_table(top: &TableEntry<'_, '_>) -> Mistake {
    let name = top.key;
    let looks_like_a_task = top.value.get_ref().as_table().is_some_and(|table| table.contains_key("run"));
    let help = if looks_like_a_task && TaskName::new(name).is_ok() {
        table_help(name)
    } else if nearest(name, ["task"]).is_some() || keys::is_key(name) || top.value.get_ref().is_table() {
        format!("the only key here is `task`; write each task as a table with its name, such as\n{EXAMPLE}")
    } else {
        "the only key here is `task`".to_owned()
    };
    Mistake::new(top.key_place.clone(), format!("unknown key {}", quote(name)), help)
}

fn unknown_key(entry: &TableEntry<'_, '_>, task: &str) -> Mistake {
    let names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    let all = format!("the keys of a task are {}", names.join(", "));
    let help = match nearest_key(entry.key) {
        Some(key) => format!("write `{key}`; {all}"),
        None => all,
    };
    Mistake::new(entry.key_place.clone(), format!("unknown key {} in task `{task}`", quote(entry.key)), help)
}

fn table_help(name: &str) -> String {
    let name = if TaskName::new(name).is_ok() && !name.contains('.') { name } else { "NAME" };
    format!("write it as a table, `[task.{name}]`, with its keys below")
}
