//! Reads a task file's text into tasks, and goes on after each mistake, so that all are found at once. `keys` reads the
//! value of each key, `graph` checks how the tasks depend on one another.

use std::collections::HashSet;
use std::sync::Arc;

use toml::de::DeTable;

use super::context::PlanContext;
use super::draft::{Draft, PlacedTask};
use super::findings::Findings;
use super::keys::KEYS;
use super::limits::{EXAMPLE, MAX_TASK_BYTES, MAX_TASKS, NAME_RULE};
use super::mistake::{Mistake, quote};
use super::suggest::{nearest, nearest_key};
use super::value::{TableEntry, entries, kind};
use super::{command, foreign, graph};
use crate::model::{Recipe, Script, TaskName, TaskSpec};

/// The size of the largest file in which all errors of the TOML are looked for, and not only the first.
const MAX_RECOVERED_BYTES: usize = 64 * 1024;

/// Errors of the TOML that are looked at.
const MAX_ERRORS: usize = 1000;

/// Reads and checks the tasks of a file, in its order. They may be used only if no mistake was found.
pub(super) fn read_tasks(text: &str, context: PlanContext<'_>, found: &mut Findings) -> Vec<PlacedTask> {
    match DeTable::parse(text) {
        Ok(document) => read_document(document.get_ref(), context, found),
        // Further errors are looked for only in a file of the usual size, because a hostile one has millions.
        Err(first) if text.len() > MAX_RECOVERED_BYTES => {
            found.mistake(syntax_mistake(&first, text));
            Vec::new()
        }
        Err(_) => {
            let (document, errors) = DeTable::parse_recoverable(text);
            let lines = syntax_mistakes(&errors, text, found);
            // The rest of the file can be judged if only values lack their quotes, because the keys are known then.
            if errors.iter().all(|error| error.message().starts_with("string values must be quoted")) {
                let mut rest = Findings::default();
                read_document(document.get_ref(), context, &mut rest);
                rest.forget_lines(text, &lines);
                found.append(rest);
            }
            Vec::new()
        }
    }
}

fn read_document(document: &DeTable<'_>, context: PlanContext<'_>, found: &mut Findings) -> Vec<PlacedTask> {
    let mut tasks = Vec::new();
    // Names that are in the file and give no task, because of another mistake. Needs of them are no mistake.
    let mut broken = HashSet::new();
    let mut count = 0;
    for top in entries(document) {
        if top.key != "task" {
            broken.insert(top.key);
            broken.extend(entries_of_table(&top).map(|entry| entry.key));
            found.mistake(unknown_table(&top));
            continue;
        }
        let help = format!("write each task as a table with its name, such as\n{EXAMPLE}");
        let Some(table) = found.unless_wrong(top.table(&help)) else { continue };
        for entry in entries(table) {
            count += 1;
            if count > MAX_TASKS {
                let message = format!("a commit has at most {MAX_TASKS} tasks");
                found.mistake(Mistake::new(entry.key_place, message, "let one task run several of these"));
                break;
            }
            match read_task(&entry, context, found) {
                Some(task) => tasks.push(task),
                None => drop(broken.insert(entry.key)),
            }
        }
    }
    if count == 0 && !found.has_mistakes() {
        found.mistake(Mistake::new(0..0, "the file has no tasks", format!("write one, such as\n{EXAMPLE}")));
    }
    graph::check_needs(&tasks, &broken, found);
    tasks
}

/// The entries of a value that should not be there, if it is a table.
fn entries_of_table<'t, 'i>(top: &TableEntry<'t, 'i>) -> impl Iterator<Item = TableEntry<'t, 'i>> {
    top.value.get_ref().as_table().map(entries).unwrap_or_default().into_iter()
}

/// Reads a task. Returns it also if its keys have mistakes, as long as its name can be needed by others.
fn read_task(task: &TableEntry<'_, '_>, context: PlanContext<'_>, found: &mut Findings) -> Option<PlacedTask> {
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
    let mut draft = Draft::new(context);
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
    let Draft { context: _, recipe, placement, needs, found: of_task } = draft;
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
    Some(PlacedTask { spec, name_place: task.key_place.clone(), needs })
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

/// Adds the errors in the TOML itself, in the parser's words, and returns their lines. One error often causes others on
/// its line, so the first of each line is enough.
fn syntax_mistakes(errors: &[toml::de::Error], text: &str, found: &mut Findings) -> HashSet<usize> {
    let mut mistakes: Vec<Mistake> = errors.iter().take(MAX_ERRORS).map(|error| syntax_mistake(error, text)).collect();
    mistakes.sort_by_key(|mistake| mistake.place.start);
    let mut lines = HashSet::new();
    let mut repeated_table = None;
    for mistake in mistakes {
        let (at, line) = (mistake.place.start.min(text.len()), mistake.line(text));
        // All keys of a table that is there twice are there twice.
        let is_of_table = repeated_table.is_some_and(|start: usize| !text[start..at].contains("\n["));
        let is_repetition = mistake.message.starts_with("duplicate key");
        let is_told = lines.contains(&line) || is_repetition && is_of_table;
        if !is_told {
            lines.insert(line);
            found.mistake(mistake);
        }
        if is_repetition && text[..at].rsplit('\n').next().is_some_and(|before| before.starts_with('[')) {
            repeated_table = Some(at);
        }
    }
    lines
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
    } else if let Some(answer) = foreign::answer(name) {
        format!("the only key here is `task`; {answer}")
    } else if nearest(name, ["task"]).is_some() || nearest_key(name).is_some() || top.value.get_ref().is_table() {
        format!("the only key here is `task`; write each task as a table with its name, such as\n{EXAMPLE}")
    } else {
        "the only key here is `task`".to_owned()
    };
    Mistake::new(top.key_place.clone(), format!("unknown key {}", quote(name)), help)
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

fn table_help(name: &str) -> String {
    let name = if TaskName::new(name).is_ok() && !name.contains('.') { name } else { "NAME" };
    format!("write it as a table, `[task.{name}]`, with its keys below")
}
