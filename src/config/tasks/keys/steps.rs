//! The key `steps`: several commands in place of `run`. A step is a string, which is its script, or a table.

use std::collections::HashSet;

use toml::Spanned;
use toml::de::DeValue;

use super::super::draft::{Draft, Run, StepDraft};
use super::super::findings::Findings;
use super::super::foreign::Level;
use super::super::limits::{MAX_STEP_NAME_CHARS, MAX_STEPS};
use super::super::mistake::{Mistake, quote};
use super::super::shell::read_shell;
use super::super::suggest::{nearest, without_signs};
use super::super::value::{TableEntry, entries, kind};
use super::super::{command, foreign};
use super::execution;
use crate::model::visible;

/// The JSON Schema of `steps`.
pub(super) const STEPS_SCHEMA: &str = r#"{"type": "array", "minItems": 1, "maxItems": 50, "items": {
    "type": ["string", "object"], "minLength": 1, "required": ["run"], "additionalProperties": false, "properties": {
    "name": {"type": "string", "minLength": 1, "maxLength": 60},
    "run": {"type": ["string", "array"], "minLength": 1, "items": {"type": "string"}, "minItems": 1},
    "shell": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 64},
    "dir": {"type": "string", "minLength": 1},
    "env": {"type": "object", "additionalProperties": {"type": "string"}},
    "timeout": {"type": "string", "pattern": "^([0-9]+(d|h|m|s|ms))+$"},
    "always": {"type": "boolean"}}}}"#;

/// The keys of a step.
const STEP_KEYS: [&str; 7] = ["name", "run", "shell", "dir", "env", "timeout", "always"];
/// Characters of a command that are the name of a step without one.
const DEFAULT_NAME_CHARS: usize = 60;
const HELP: &str = "write a list of commands, such as `steps = [\"cargo build\", \"cargo test\"]`,\n\
                    or of tables, such as `steps = [{ name = \"test\", run = \"cargo test\", timeout = \"5m\" }]`";

/// Reads the value of `steps`.
pub(super) fn read_steps(entry: &TableEntry<'_, '_>, draft: &mut Draft<'_>) -> Result<(), Mistake> {
    let Some(list) = entry.value.get_ref().as_array() else {
        return Err(entry.wrong(format!("`steps` must be a list, this is {}", kind(entry.value.get_ref())), HELP));
    };
    if list.is_empty() {
        return Err(entry.wrong("`steps` is empty", HELP));
    }
    if list.len() > MAX_STEPS {
        let help = "put commands that belong together into one step, or into tasks of their own";
        return Err(entry.wrong(format!("a task has at most {MAX_STEPS} steps"), help));
    }
    let mut steps = Vec::with_capacity(list.len());
    for item in list.iter() {
        let read = read_step(item, &mut draft.found);
        steps.extend(draft.found.unless_wrong(read).flatten());
    }
    name_all(&mut steps, &mut draft.found);
    draft.steps = Some(steps);
    Ok(())
}

/// Reads one step. Returns `None` if a part of it is a mistake in `found` already.
fn read_step(item: &Spanned<DeValue<'_>>, found: &mut Findings) -> Result<Option<StepDraft>, Mistake> {
    let wrong = |message: String, help: &str| Mistake::new(item.span(), message, help);
    let value = item.get_ref();
    if value.as_str().is_some() {
        let entry = TableEntry { key: "steps", key_place: item.span(), value: item };
        return Ok(command::parse_run(&entry, found)?.map(StepDraft::new));
    }
    let Some(table) = value.as_table() else {
        let help =
            if value.is_array() { "a program with its arguments is `{ run = [\"make\", \"test\"] }`" } else { HELP };
        return Err(wrong(format!("a step must be a string or a table, this is {}", kind(value)), help));
    };
    let (mut run, mut has_run) = (None, false);
    let mut step = StepDraft::new(command::placeholder());
    for entry in entries(table) {
        let read = match entry.key {
            "name" => read_name(&entry).map(|name| step.name = Some(name)),
            "run" => {
                has_run = true;
                command::parse_run(&entry, found).map(|read| run = read)
            }
            "shell" => read_shell(&entry, found).map(|shell| step.shell = shell),
            "dir" => execution::read_dir(&entry).map(|dir| step.dir = dir),
            "env" => execution::variables(&entry, found).map(|env| step.env = env),
            "timeout" => execution::read_timeout(&entry, "that of the task alone").map(|ms| step.timeout_ms = Some(ms)),
            "always" => entry.flag().map(|always| step.always = always),
            _ => {
                // A misspelt `run` is called unknown, and not missing too.
                has_run |= is_command(entry.key) || nearest(entry.key, STEP_KEYS) == Some("run");
                Err(unknown_key(&entry))
            }
        };
        found.unless_wrong(read);
    }
    if !has_run {
        return Err(wrong("a step has no `run`".to_owned(), "say what it does, such as `{ run = \"make test\" }`"));
    }
    Ok(run.map(|run| StepDraft { run, ..step }))
}

fn read_name(entry: &TableEntry<'_, '_>) -> Result<super::super::value::Placed<String>, Mistake> {
    let help = format!("use at most {MAX_STEP_NAME_CHARS} characters on one line, such as `name = \"unit tests\"`");
    let name = entry.text(&help)?;
    if name.trim().is_empty() || name.chars().count() > MAX_STEP_NAME_CHARS || visible(name) != name {
        return Err(entry.wrong(format!("{} cannot name a step", quote(name)), help));
    }
    Ok(super::super::value::Placed { place: entry.value.span(), value: name.trim().to_owned() })
}

/// Whether other programs call the command of a step so.
fn is_command(key: &str) -> bool {
    command::OTHER_WORDS.contains(&&*without_signs(key))
}

fn unknown_key(entry: &TableEntry<'_, '_>) -> Mistake {
    let help = match entry.key {
        "if" | "when" | "condition" => {
            "`always = true` lets a step run whatever happened before; it asks for anything else in its script"
                .to_owned()
        }
        key => match (is_command(key), foreign::answer(Level::Step, key), nearest(key, STEP_KEYS)) {
            (true, ..) => "write `run`, such as `run = \"make test\"`".to_owned(),
            (false, Some(answer), _) => answer.to_owned(),
            (false, None, Some(near)) => format!("write `{near}`"),
            (false, None, None) => format!("the keys of a step are {}", STEP_KEYS.join(", ")),
        },
    };
    Mistake::new(entry.key_place.clone(), format!("unknown key {} in a step", quote(entry.key)), help)
}

/// Gives each step without a name that of its command. Steps that share a name cannot be told apart.
fn name_all(steps: &mut [StepDraft], found: &mut Findings) {
    let mut taken = HashSet::new();
    for name in steps.iter().filter_map(|step| step.name.as_ref()) {
        if !taken.insert(name.value.clone()) {
            let message = format!("two steps are called {}", quote(&name.value));
            found.mistake(Mistake::new(name.place.clone(), message, "give each step a name of its own"));
        }
    }
    for step in steps.iter_mut().filter(|step| step.name.is_none()) {
        let plain = default_name(&step.run.value);
        let numbered = (2..).map(|number| format!("{plain} ({number})"));
        let free = std::iter::once(plain.clone()).chain(numbered).find(|name| !taken.contains(name));
        let value = free.unwrap_or(plain);
        taken.insert(value.clone());
        step.name = Some(super::super::value::Placed { place: step.run.place.clone(), value });
    }
}

/// Returns the first line of a command, shortened.
fn default_name(run: &Run) -> String {
    let line = match run {
        Run::Text(text) => {
            let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            lines.clone().find(|line| !line.starts_with('#')).or_else(|| lines.next()).unwrap_or_default().to_owned()
        }
        Run::List(words) => words.join(" "),
    };
    let line = visible(&line);
    match line.char_indices().nth(DEFAULT_NAME_CHARS) {
        Some((end, _)) => format!("{}…", line[..end].trim_end()),
        None => line,
    }
}
