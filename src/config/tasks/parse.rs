//! Reads a task file's text, and goes on after each mistake, so that all are found at once. `top_level` names the keys
//! at the top of the file, `keys` those of a task; `graph` checks how the tasks depend on one another.

use std::collections::HashSet;

use toml::de::DeTable;

use super::context::PlanContext;
use super::draft::PlacedTask;
use super::file::FileDraft;
use super::findings::Findings;
use super::foreign::Level;
use super::keys::nearest_key;
use super::limits::EXAMPLE;
use super::mistake::{Mistake, quote};
use super::schedules::{self, CheckedSchedule, Schedules};
use super::suggest::nearest;
use super::task::{entries_of_table, table_help};
use super::top_level::{self, TOP_KEYS};
use super::value::{TableEntry, entries};
use super::{graph, misplaced};
use crate::model::{BuildSettings, TaskName};

/// The size of the largest file in which all errors of the TOML are looked for, and not only the first.
const MAX_RECOVERED_BYTES: usize = 64 * 1024;

/// Errors of the TOML that are looked at.
const MAX_ERRORS: usize = 1000;

/// The contents of a file.
#[derive(Debug, Default)]
pub(super) struct FileContents {
    /// In the order of the file.
    pub(super) tasks: Vec<PlacedTask>,
    /// Of the build as a whole.
    pub(super) settings: BuildSettings,
    pub(super) schedules: Schedules,
}

/// Reads and checks the contents of a file. They may be used only if no mistake was found.
pub(super) fn read_tasks(text: &str, context: PlanContext<'_>, found: &mut Findings) -> FileContents {
    match DeTable::parse(text) {
        Ok(document) => read_document(document.get_ref(), context, found),
        // Further errors are looked for only in a file of the usual size, because a hostile one has millions.
        Err(first) if text.len() > MAX_RECOVERED_BYTES => {
            found.mistake(syntax_mistake(&first, text));
            FileContents::default()
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
            FileContents::default()
        }
    }
}

fn read_document(document: &DeTable<'_>, context: PlanContext<'_>, found: &mut Findings) -> FileContents {
    let mut file = FileDraft::new(context);
    let tops = entries(document);
    let is_written = matches!(context, PlanContext::WrittenBy(_));
    for top in tops.iter().filter(|top| is_written && matches!(top.key, "build" | "schedule")) {
        let message = format!("`{}` cannot stand in a file that a task wrote", top.key);
        let help =
            "write it into the task file of the commit; the keys here are `defaults`, `template`, `service`, `task`";
        file.found.mistake(Mistake::new(top.key_place.clone(), message, help));
    }
    // The keys are read in the order of their table: tasks depend on tables that may stand behind them.
    for key in TOP_KEYS {
        for top in tops.iter().filter(|top| top.key == key.name) {
            (key.read)(top, &mut file);
        }
    }
    for top in tops.iter().filter(|top| !TOP_KEYS.iter().any(|key| key.name == top.key)) {
        file.broken.insert(top.key);
        file.broken.extend(entries_of_table(top).map(|entry| entry.key));
        file.found.mistake(unknown_table(top));
    }
    file.services.look_for_unused(&mut file.found);
    let FileDraft { settings, mut tasks, matrices, schedules, broken, count, found: of_file, .. } = file;
    found.append(of_file);
    if count == 0 && !is_written && !found.has_mistakes() {
        found.mistake(Mistake::new(0..0, "the file has no tasks", format!("write one, such as\n{EXAMPLE}")));
    }
    let parent = if let PlanContext::WrittenBy(parent) = context { Some(parent) } else { None };
    graph::find_needs(&mut tasks, &matrices, &broken, parent, found);
    schedules::check_tasks(&schedules, &tasks, &broken, found);
    FileContents { tasks, settings, schedules: schedules.into_iter().map(CheckedSchedule::from).collect() }
}

/// Reads a text as TOML. The first error of the TOML is a mistake.
pub(crate) fn document<'t>(text: &'t str, found: &mut Findings) -> Option<DeTable<'t>> {
    match DeTable::parse(text) {
        Ok(document) => Some(document.into_inner()),
        Err(error) => {
            found.mistake(syntax_mistake(&error, text));
            None
        }
    }
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
        "give each table, and each key in it, only once"
    } else {
        "the file is TOML, see https://toml.io: a key, `=`, and a value; text stands in quotes"
    };
    Mistake::new(place, message, help)
}

fn unknown_table(top: &TableEntry<'_, '_>) -> Mistake {
    let name = top.key;
    let is_command = |key: &str| nearest_key(key).is_some_and(|key| matches!(key, "run" | "steps"));
    let looks_like_a_task = entries_of_table(top).any(|entry| is_command(entry.key));
    let help = if looks_like_a_task && TaskName::plain(name).is_ok() {
        table_help(name)
    } else if name == "templates" && top.value.get_ref().is_table() {
        "write `[template.NAME]`: a template is a table with its name, and tasks take keys from it by `extends`"
            .to_owned()
    } else if let Some(answer) = misplaced::answer(Level::File, name) {
        answer
    } else if nearest(name, TOP_KEYS.iter().map(|key| key.name)).is_some()
        || nearest_key(name).is_some()
        || top.value.get_ref().is_table()
    {
        format!("{}; write each task as a table with its name, such as\n{EXAMPLE}", top_level::known())
    } else {
        top_level::known()
    };
    Mistake::new(top.key_place.clone(), format!("unknown key {}", quote(name)), help)
}
