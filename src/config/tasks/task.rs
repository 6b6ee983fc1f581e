//! Reads the tables `[task.NAME]`: each is a task, or several mistakes.

use std::sync::Arc;

use super::draft::{Draft, FileDraft, PlacedTask};
use super::keys::{KEYS, nearest_key};
use super::limits::{EXAMPLE, MAX_TASK_BYTES, MAX_TASKS, NAME_RULE};
use super::mistake::{Mistake, quote};
use super::value::{TableEntry, entries, kind};
use super::{command, foreign};
use crate::model::{Recipe, Script, TaskName, TaskSpec};

/// Reads the table of all tasks.
pub(super) fn read_tasks<'t>(top: &TableEntry<'t, '_>, file: &mut FileDraft<'t>) {
    let help = format!("write each task as a table with its name, such as\n{EXAMPLE}");
    let Some(table) = file.found.unless_wrong(top.table(&help)) else { return };
    for entry in entries(table) {
        file.count += 1;
        if file.count > MAX_TASKS {
            let message = format!("a commit has at most {MAX_TASKS} tasks");
            file.found.mistake(Mistake::new(entry.key_place, message, "let one task run several of these"));
            break;
        }
        match read_task(&entry, file) {
            Some(task) => file.tasks.push(task),
            None => drop(file.broken.insert(entry.key)),
        }
    }
}

/// Reads a task. Returns it also if its keys have mistakes, as long as its name can be needed by others.
fn read_task(task: &TableEntry<'_, '_>, file: &mut FileDraft<'_>) -> Option<PlacedTask> {
    let found = &mut file.found;
    let name = task.key;
    let wrong = |message: String, help: String| Mistake::new(task.key_place.clone(), message, help);
    let Some(table) = task.value.get_ref().as_table() else {
        let message = format!("task {} must be a table, this is {}", quote(name), kind(task.value.get_ref()));
        found.mistake(wrong(message, table_help(name)));
        return None;
    };
    let checked_name = TaskName::new(name).ok();
    if checked_name.is_none() {
        found.mistake(wrong(format!("{} cannot name a task", quote(name)), NAME_RULE.to_owned()));
    }
    let mut draft = Draft::new(file.context);
    // A misspelt `run` is called unknown, and not missing too.
    let mut has_run = false;
    for entry in entries(table) {
        match KEYS.iter().find(|key| key.name == entry.key) {
            Some(key) => {
                has_run |= key.name == "run";
                let read = (key.read)(&entry, &mut draft);
                found.unless_wrong(read);
            }
            None => {
                has_run |= nearest_key(entry.key) == Some("run");
                found.mistake(unknown_key(&entry, name));
            }
        }
    }
    command::finish(&mut draft, table.contains_key("shell"));
    let Draft { recipe, placement, needs, texts, found: of_task, .. } = draft;
    found.append(of_task);
    if !has_run {
        let help = "add a line that says what to do, such as `run = \"make test\"`";
        found.mistake(wrong(format!("task {} has no `run`", quote(name)), help.to_owned()));
    }
    if task_bytes(&recipe) > MAX_TASK_BYTES {
        let message = format!("task {} is longer than {} KiB", quote(name), (MAX_TASK_BYTES + 1) / 1024);
        found.mistake(wrong(message, "put what it does into a script and run that".to_owned()));
    }
    let spec = TaskSpec { name: checked_name?, recipe: Arc::new(recipe), placement };
    Some(PlacedTask { spec, name_place: task.key_place.clone(), needs, texts })
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

fn unknown_key(entry: &TableEntry<'_, '_>, task: &str) -> Mistake {
    let names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    let all = format!("the keys of a task are {}", names.join(", "));
    let help = match (foreign::answer(entry.key), nearest_key(entry.key)) {
        (Some(answer), _) => answer.to_owned(),
        (None, Some("run")) if entry.value.get_ref().is_array() => command::advice_for_list(entry),
        (None, Some(key)) => format!("write `{key}`; {all}"),
        (None, None) => all,
    };
    let message = format!("unknown key {} in task {}", quote(entry.key), quote(task));
    Mistake::new(entry.key_place.clone(), message, help)
}

/// Returns the entries of a value that should not be there, if it is a table.
pub(super) fn entries_of_table<'t, 'i>(top: &TableEntry<'t, 'i>) -> impl Iterator<Item = TableEntry<'t, 'i>> {
    top.value.get_ref().as_table().map(entries).unwrap_or_default().into_iter()
}

/// Advises to write a task as a table.
pub(super) fn table_help(name: &str) -> String {
    let name = if TaskName::new(name).is_ok() && !name.contains('.') { name } else { "NAME" };
    format!("write it as a table, `[task.{name}]`, with its keys below")
}
