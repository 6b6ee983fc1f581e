//! A task file's text into tasks, each looked at by itself; how they hang together is looked at in `graph`.

use std::ops::Range;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::mistake::{Mistake, quote};
use super::suggest::nearest_key;
use super::value::{Entry, Placed, entries, kind};
use super::{EXAMPLE, MAX_KEEP, MAX_LABELS, MAX_RETRIES, MAX_TASK_BYTES, MAX_TASKS, MAX_TIMEOUT_MS, NAME_RULE};
use crate::config::quantity;
use crate::model::{Label, Script, TaskName, TaskSpec};

/// The keys of a task, in the order of the documentation.
pub(super) const KEYS: [&str; 9] =
    ["run", "needs", "env", "timeout", "retries", "allow_failure", "labels", "keep", "exclusive"];
/// What the runner sets for itself. Reserved as a whole, so that a later variable breaks nobody's file.
const RESERVED_ENV: &str = "SURVEIL_";

/// A task, and where its name and its needs stand.
#[derive(Debug)]
pub(super) struct PlacedTask {
    pub(super) spec: TaskSpec,
    pub(super) name_place: Range<usize>,
    pub(super) needs: Vec<Placed<Arc<str>>>,
}

/// The tasks of a file, in its order.
pub(super) fn read_tasks(text: &str) -> Result<Vec<PlacedTask>, Mistake> {
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
            tasks.push(read_task(&entry)?);
        }
    }
    if tasks.is_empty() {
        return Err(Mistake::new(0..0, "the file has no tasks", format!("write one, such as\n{EXAMPLE}")));
    }
    Ok(tasks)
}

fn read_task(task: &Entry<'_, '_>) -> Result<PlacedTask, Mistake> {
    let name = task.key;
    let table = task.value.get_ref().as_table();
    let Some(table) = table else {
        let message = format!("task {} must be a table, this is {}", quote(name), kind(task.value.get_ref()));
        return Err(Mistake::new(task.key_place.clone(), message, table_help(name)));
    };
    let Ok(checked_name) = TaskName::new(name) else {
        return Err(Mistake::new(task.key_place.clone(), format!("{} cannot name a task", quote(name)), NAME_RULE));
    };
    let keys = entries(table);
    // First, because a `run` that is misspelt is better called that than missing.
    if let Some(unknown) = keys.iter().find(|entry| !KEYS.contains(&entry.key)) {
        return Err(unknown_key(unknown, name));
    }
    let mut spec = TaskSpec::new(checked_name, Script::Shell(String::new()));
    let (mut has_run, mut needs) = (false, Vec::new());
    for entry in &keys {
        match entry.key {
            "run" => {
                spec.script = read_run(entry)?;
                has_run = true;
            }
            "needs" => needs = read_needs(entry)?,
            "env" => spec.env = read_env(entry)?,
            "timeout" => spec.timeout_ms = read_timeout(entry)?,
            "retries" => spec.retries = entry.count(MAX_RETRIES)?,
            "allow_failure" => spec.allow_failure = entry.flag()?,
            "labels" => spec.labels = read_labels(entry)?,
            "keep" => spec.keep = read_keep(entry)?,
            "exclusive" => spec.exclusive = entry.flag()?,
            _ => unreachable!("unknown keys were refused above"),
        }
    }
    if !has_run {
        let help = "add a line that says what to do, such as `run = \"make test\"`";
        return Err(Mistake::new(task.key_place.clone(), format!("task `{name}` has no `run`"), help));
    }
    if task_bytes(&spec) > MAX_TASK_BYTES {
        let message = format!("task `{name}` is longer than {} KiB", (MAX_TASK_BYTES + 1) / 1024);
        return Err(Mistake::new(task.key_place.clone(), message, "put what it does into a script and run that"));
    }
    Ok(PlacedTask { spec, name_place: task.key_place.clone(), needs })
}

fn read_run(entry: &Entry<'_, '_>) -> Result<Script, Mistake> {
    let help = "write a line for the shell, such as `run = \"make test\"`,\n\
                or a program with its arguments, such as `run = [\"make\", \"test\"]`";
    if let Some(line) = entry.value.get_ref().as_str() {
        refuse_nul(entry.value.span(), line)?;
        if line.trim().is_empty() {
            return Err(entry.wrong("`run` is empty", help));
        }
        return Ok(Script::Shell(line.to_owned()));
    }
    if !entry.value.get_ref().is_array() {
        let message = format!("`run` must be a string or a list of strings, this is {}", kind(entry.value.get_ref()));
        return Err(entry.wrong(message, help));
    }
    let words = entry.texts(help)?;
    for word in &words {
        refuse_nul(word.place.clone(), word.value)?;
    }
    match words.first() {
        None => Err(entry.wrong("`run` is empty", help)),
        Some(program) if program.value.trim().is_empty() => {
            Err(Mistake::new(program.place.clone(), "`run` names no program", help))
        }
        Some(_) => Ok(Script::Program(words.iter().map(|word| word.value.to_owned()).collect())),
    }
}

fn read_needs(entry: &Entry<'_, '_>) -> Result<Vec<Placed<Arc<str>>>, Mistake> {
    let needs = entry.texts("list the names of tasks, such as `needs = [\"build\"]`")?;
    Ok(needs.into_iter().map(|need| Placed { place: need.place, value: need.value.into() }).collect())
}

fn read_env(entry: &Entry<'_, '_>) -> Result<Vec<(String, String)>, Mistake> {
    let table = entry.table("write a table, such as `env = { LEVEL = \"2\" }`")?;
    let mut variables = Vec::new();
    for variable in entries(table) {
        let name = variable.key;
        if name.is_empty() || name.contains('=') || name.contains(char::is_control) {
            let message = format!("{} cannot name a variable of the environment", quote(name));
            let help = "use a name without `=` and control characters, such as `LEVEL`";
            return Err(Mistake::new(variable.key_place, message, help));
        }
        if name.starts_with(RESERVED_ENV) {
            let message = format!("{} is reserved: the runner sets variables of that prefix", quote(name));
            return Err(Mistake::new(variable.key_place, message, "use another name"));
        }
        let value = variable.value.get_ref();
        let Some(text) = value.as_str() else {
            let help = match value {
                DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
                    "put the value in quotes: a variable of the environment is text"
                }
                DeValue::String(_) | DeValue::Array(_) | DeValue::Table(_) => {
                    "write a string: a variable of the environment is text"
                }
            };
            return Err(variable.wrong(format!("{} must be a string, this is {}", quote(name), kind(value)), help));
        };
        refuse_nul(variable.value.span(), text)?;
        variables.push((name.to_owned(), text.to_owned()));
    }
    Ok(variables)
}

fn read_timeout(entry: &Entry<'_, '_>) -> Result<u64, Mistake> {
    let help = "write numbers with units (d, h, m, s, ms), such as `timeout = \"1h30m\"`";
    let text = entry.text(help)?;
    match quantity::duration_ms(text) {
        None => Err(entry.wrong(format!("{} is not a duration", quote(text)), help)),
        Some(0) => Err(entry.wrong("`timeout` must be more than 0", "leave it out for the default of one hour")),
        Some(ms) if ms > MAX_TIMEOUT_MS => {
            let days = MAX_TIMEOUT_MS / (24 * 60 * 60 * 1000);
            Err(entry.wrong(format!("`timeout` must be at most {days} days"), help))
        }
        Some(ms) => Ok(ms),
    }
}

fn read_labels(entry: &Entry<'_, '_>) -> Result<Vec<Label>, Mistake> {
    let help = "a label is WORD or KEY=VALUE, with letters, digits and . _ - + : @ / only,\n\
                such as `labels = [\"gpu\", \"os=linux\"]`";
    let mut labels = Vec::new();
    for label in entry.texts(help)? {
        let message = || format!("{} is not a label", quote(label.value));
        labels.push(Label::new(label.value).map_err(|_| Mistake::new(label.place.clone(), message(), help))?);
    }
    labels.sort();
    labels.dedup();
    if labels.len() > MAX_LABELS {
        let message = format!("a task has at most {MAX_LABELS} labels");
        return Err(entry.wrong(message, "name what a runner must offer, and no more"));
    }
    Ok(labels)
}

fn read_keep(entry: &Entry<'_, '_>) -> Result<Vec<String>, Mistake> {
    let help = "name a file or directory below the root of the repository, such as `keep = [\"target\"]`";
    let mut paths: Vec<String> = Vec::new();
    for path in entry.texts(help)? {
        let wrong = |why: &str| Mistake::new(path.place.clone(), format!("{} {why}", quote(path.value)), help);
        refuse_nul(path.place.clone(), path.value)?;
        if path.value.starts_with(['/', '~']) {
            return Err(wrong("is not a path inside the work tree"));
        }
        if path.value.contains('*') {
            return Err(wrong("is a pattern, and `keep` takes plain paths"));
        }
        let parts: Vec<&str> = path.value.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        if parts.contains(&"..") {
            return Err(wrong("leads out of the work tree"));
        }
        if parts.iter().any(|part| part.eq_ignore_ascii_case(".git")) {
            return Err(wrong("belongs to git and cannot be kept"));
        }
        if parts.is_empty() {
            return Err(wrong("names nothing inside the work tree"));
        }
        let plain = parts.join("/");
        if paths.contains(&plain) {
            continue;
        }
        if paths.len() == MAX_KEEP {
            return Err(Mistake::new(
                path.place,
                format!("a task keeps at most {MAX_KEEP} paths"),
                "keep the directory that holds them",
            ));
        }
        paths.push(plain);
    }
    Ok(paths)
}

fn refuse_nul(place: Range<usize>, text: &str) -> Result<(), Mistake> {
    if text.contains('\0') {
        let help = "leave it out: no program can be given one";
        return Err(Mistake::new(place, "the text has a NUL character", help));
    }
    Ok(())
}

/// What a runner is sent for a task, about.
fn task_bytes(spec: &TaskSpec) -> usize {
    let script = match &spec.script {
        Script::Shell(line) => line.len(),
        Script::Program(words) => words.iter().map(|word| word.len() + 1).sum(),
    };
    let env: usize = spec.env.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    script + env + spec.keep.iter().map(|path| path.len() + 1).sum::<usize>()
}

/// A mistake in the TOML itself, in the parser's words.
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

fn unknown_table(top: &Entry<'_, '_>) -> Mistake {
    let name = top.key;
    let looks_like_a_task = top.value.get_ref().as_table().is_some_and(|table| table.contains_key("run"));
    let help = if looks_like_a_task && TaskName::new(name).is_ok() {
        table_help(name)
    } else if nearest_key(name, &["task"]).is_some() || KEYS.contains(&name) || top.value.get_ref().is_table() {
        format!("the only key here is `task`; write each task as a table with its name, such as\n{EXAMPLE}")
    } else {
        "the only key here is `task`".to_owned()
    };
    Mistake::new(top.key_place.clone(), format!("unknown key {}", quote(name)), help)
}

fn unknown_key(entry: &Entry<'_, '_>, task: &str) -> Mistake {
    let all = format!("the keys of a task are {}", KEYS.join(", "));
    let help = match nearest_key(entry.key, &KEYS) {
        Some(key) => format!("write `{key}`; {all}"),
        None => all,
    };
    Mistake::new(entry.key_place.clone(), format!("unknown key {} in task `{task}`", quote(entry.key)), help)
}

fn table_help(name: &str) -> String {
    let name = if TaskName::new(name).is_ok() && !name.contains('.') { name } else { "NAME" };
    format!("write it as a table, `[task.{name}]`, with its keys below")
}
