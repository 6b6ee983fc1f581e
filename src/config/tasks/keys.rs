//! The keys of a task: the only list of them. The parser, the suggestions for misspelt keys, and the test of the table
//! in `docs/tasks.md` all follow it. A new key is one entry of [`KEYS`] with its reader here, a field of [`Recipe`] if
//! runners have to know it or of [`Placement`] if not, and the code that acts on it.

use std::ops::Range;
use std::sync::Arc;

use super::PlanContext;
use super::mistake::{Mistake, quote};
use super::value::{Placed, TableEntry, entries, kind};
use crate::config::quantity;
use crate::model::{Label, Placement, Recipe, Script};

/// The longest timeout: an attempt that takes longer is a service, and would occupy its slot for good.
pub(super) const MAX_TIMEOUT_MS: u64 = 30 * 24 * 60 * 60 * 1000;
/// The most retries of a failing task; more retries hide a defect.
pub(super) const MAX_RETRIES: u32 = 10;
/// Labels of one task, as many as the protocol lets a runner offer.
pub(super) const MAX_LABELS: usize = 64;
/// Paths that one task keeps. Each is looked up again whenever a work tree is cleaned.
pub(super) const MAX_KEEP: usize = 64;
/// Prefix of the variables that the runner sets. All of it is reserved, so that a later variable breaks nobody's file.
const RESERVED_ENV: &str = "SURVEIL_";

/// One key of a task.
#[cfg_attr(not(test), expect(dead_code, reason = "`row` is for the test of docs/tasks.md only"))]
pub(super) struct Key {
    pub(super) name: &'static str,
    /// The key's row in the table of `docs/tasks.md`, behind the name: the type of the value, the value of a task
    /// without this key, and the meaning in a few words.
    pub(super) row: &'static str,
    /// Words that other programs use for it, for people who come from there.
    pub(super) aliases: &'static [&'static str],
    /// Reads the value into the task.
    pub(super) read: fn(&TableEntry<'_, '_>, &mut Draft<'_>) -> Result<(), Mistake>,
}

/// A task whose keys are being read.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    /// For keys whose meaning depends on the occasion.
    #[expect(dead_code, reason = "no key depends on it yet")]
    pub(super) context: PlanContext<'a>,
    pub(super) recipe: Recipe,
    /// Without `needs`.
    pub(super) placement: Placement,
    /// Texts with their places: only `graph` knows whether they name tasks.
    pub(super) needs: Vec<Placed<Arc<str>>>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(context: PlanContext<'a>) -> Self {
        // The script is a placeholder: `run` is required.
        let recipe = Recipe::new(Script::Shell(String::new()));
        Self { context, recipe, placement: Placement::default(), needs: Vec::new() }
    }
}

/// All keys of a task, in the order of the documentation.
pub(super) static KEYS: [Key; 9] = [
    Key {
        name: "run",
        row: "string, or list of strings | required | the script, or the program with its arguments",
        aliases: &["command", "commands", "cmd", "script", "exec", "steps"],
        read: |entry, draft| read_run(entry).map(|script| draft.recipe.script = script),
    },
    Key {
        name: "needs",
        row: "list of task names | `[]` | tasks that must have passed before",
        aliases: &["depends", "depends_on", "dependencies", "requires", "after"],
        read: |entry, draft| read_needs(entry).map(|needs| draft.needs = needs),
    },
    Key {
        name: "env",
        row: "table of strings | `{}` | variables that are added to the environment",
        aliases: &["environment", "variables"],
        read: |entry, draft| read_env(entry).map(|env| draft.recipe.env = env),
    },
    Key {
        name: "timeout",
        row: r#"duration | `"1h"` | the longest that one attempt may take"#,
        aliases: &["timeout_minutes"],
        read: |entry, draft| read_timeout(entry).map(|ms| draft.recipe.timeout_ms = ms),
    },
    Key {
        name: "retries",
        row: "0 to 10 | `0` | how often a failed attempt is tried again",
        aliases: &["retry"],
        read: |entry, draft| entry.count(MAX_RETRIES).map(|count| draft.placement.retries = count),
    },
    Key {
        name: "allow_failure",
        row: "`true` or `false` | `false` | whether the build passes even if this task fails",
        aliases: &["continue_on_error"],
        read: |entry, draft| entry.flag().map(|flag| draft.placement.allow_failure = flag),
    },
    Key {
        name: "labels",
        row: "list of labels | `[]` | labels that a runner must have",
        aliases: &["tags", "runs_on"],
        read: |entry, draft| read_labels(entry).map(|labels| draft.placement.labels = labels),
    },
    Key {
        name: "keep",
        row: "list of paths | `[]` | paths that stay in the work tree for the next attempt there",
        aliases: &["cache"],
        read: |entry, draft| read_keep(entry).map(|paths| draft.recipe.keep = paths),
    },
    Key {
        name: "exclusive",
        row: "`true` or `false` | `false` | whether two attempts of this job must never overlap",
        aliases: &["concurrency"],
        read: |entry, draft| entry.flag().map(|flag| draft.recipe.exclusive = flag),
    },
];

/// Whether a task has a key of that name.
pub(super) fn is_key(name: &str) -> bool {
    KEYS.iter().any(|key| key.name == name)
}

fn read_run(entry: &TableEntry<'_, '_>) -> Result<Script, Mistake> {
    let help = "write a line for the shell, such as `run = \"make test\"`,\n\
                or a program with its arguments, such as `run = [\"make\", \"test\"]`";
    if let Some(line) = entry.value.get_ref().as_str() {
        refuse_nul(entry.value.span(), line)?;
        if line.trim().is_empty() {
            return Err(entry.wrong("`run` is empty", help));
        }
        return Ok(Script::stopping_at_failure(line));
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

fn read_needs(entry: &TableEntry<'_, '_>) -> Result<Vec<Placed<Arc<str>>>, Mistake> {
    let needs = entry.texts("list the names of tasks, such as `needs = [\"build\"]`")?;
    Ok(needs.into_iter().map(|need| Placed { place: need.place, value: need.value.into() }).collect())
}

fn read_env(entry: &TableEntry<'_, '_>) -> Result<Vec<(String, String)>, Mistake> {
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
            let is_plain = !value.is_array() && !value.is_table();
            let advice = if is_plain { "put the value in quotes" } else { "write a string" };
            let help = format!("{advice}: a variable of the environment is text");
            return Err(variable.wrong(format!("{} must be a string, this is {}", quote(name), kind(value)), help));
        };
        refuse_nul(variable.value.span(), text)?;
        variables.push((name.to_owned(), text.to_owned()));
    }
    Ok(variables)
}

fn read_timeout(entry: &TableEntry<'_, '_>) -> Result<u64, Mistake> {
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

fn read_labels(entry: &TableEntry<'_, '_>) -> Result<Vec<Label>, Mistake> {
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

fn read_keep(entry: &TableEntry<'_, '_>) -> Result<Vec<String>, Mistake> {
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
            let message = format!("a task keeps at most {MAX_KEEP} paths");
            return Err(Mistake::new(path.place, message, "keep the directory that holds them"));
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
