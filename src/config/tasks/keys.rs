//! The keys of a task: the only list of them. The parser, the suggestions for misspelt keys, and the test of the table
//! in `docs/tasks.md` all follow it. A new key is one entry of [`KEYS`] with its reader here, a field of [`Recipe`] if
//! runners have to know it or of [`Placement`] if not, and the code that acts on it.

use super::command::{self, refuse_nul};
use super::draft::Draft;
use super::mistake::{Mistake, quote};
use super::value::{Placed, TableEntry, entries, kind};
use crate::config::quantity;
use crate::model::Label;

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
const KEEP_HELP: &str = "name a file or directory below the root of the repository, such as `keep = [\"target\"]`";
/// For paths that people keep elsewhere, where nothing is cleaned anyway.
const OUTSIDE_HELP: &str = "name a file or directory below the root of the repository, such as `keep = [\"target\"]`;\n\
                            nothing outside the work tree is cleaned: a cache in the home directory stays by itself,\n\
                            or let the tool put it into the tree, such as by `env = { CARGO_HOME = \".cargo\" }`";

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

/// All keys of a task, in the order of the documentation.
pub(super) static KEYS: [Key; 9] = [
    Key {
        name: "run",
        row: "string, or list of strings | required | the script, or the program with its arguments",
        aliases: &["command", "commands", "cmd", "script", "exec", "steps"],
        read: command::read_run,
    },
    Key {
        name: "needs",
        row: "list of task names | `[]` | tasks that must have passed before",
        aliases: &["depends", "depends_on", "dependencies", "requires", "after", "need"],
        read: read_needs,
    },
    Key {
        name: "env",
        row: "table of strings | `{}` | variables that are added to the environment",
        aliases: &["environment", "variables", "envs", "vars"],
        read: read_env,
    },
    Key {
        name: "timeout",
        row: r#"duration | `"1h"` | the longest that one attempt may take"#,
        aliases: &["timeout_minutes", "timeout_in_minutes", "time_limit"],
        read: |entry, draft| read_timeout(entry).map(|ms| draft.recipe.timeout_ms = ms),
    },
    Key {
        name: "retries",
        row: "0 to 10 | `0` | how often a failed attempt is tried again",
        aliases: &["retry", "attempts"],
        read: |entry, draft| entry.count(MAX_RETRIES).map(|count| draft.placement.retries = count),
    },
    Key {
        name: "allow_failure",
        row: "`true` or `false` | `false` | whether the build passes even if this task fails",
        aliases: &["continue_on_error", "soft_fail", "allow_failures"],
        read: |entry, draft| entry.flag().map(|flag| draft.placement.allow_failure = flag),
    },
    Key {
        name: "labels",
        row: "list of labels | `[]` | labels that a runner must have",
        aliases: &["tags", "runs_on", "agents", "agent", "runner", "pool", "queue", "executor", "resource_class"],
        read: read_labels,
    },
    Key {
        name: "keep",
        row: "list of paths | `[]` | paths that stay in the work tree for the next attempt there",
        aliases: &["cache"],
        read: read_keep,
    },
    Key {
        name: "exclusive",
        row: "`true` or `false` | `false` | whether attempts of this task must never overlap, over all builds of the repository",
        aliases: &["concurrency", "resource_group", "lock", "concurrency_group"],
        read: |entry, draft| entry.flag().map(|flag| draft.recipe.exclusive = flag),
    },
];

fn read_needs(entry: &TableEntry<'_, '_>, draft: &mut Draft<'_>) -> Result<(), Mistake> {
    let needs = entry.texts("list the names of tasks, such as `needs = [\"build\"]`", &mut draft.found)?;
    draft.needs = needs.into_iter().map(|need| Placed { place: need.place, value: need.value.into() }).collect();
    Ok(())
}

fn read_env(entry: &TableEntry<'_, '_>, draft: &mut Draft<'_>) -> Result<(), Mistake> {
    for variable in entries(entry.table("write a table, such as `env = { LEVEL = \"2\" }`")?) {
        let read = read_variable(&variable);
        draft.recipe.env.extend(draft.found.unless_wrong(read));
    }
    Ok(())
}

fn read_variable(variable: &TableEntry<'_, '_>) -> Result<(String, String), Mistake> {
    let (name, place) = (variable.key, variable.key_place.clone());
    if name.is_empty() || name.contains('=') || name.contains(char::is_control) {
        let message = format!("{} cannot name a variable of the environment", quote(name));
        let help = "use a name without `=` and control characters, such as `LEVEL`";
        return Err(Mistake::new(place, message, help));
    }
    if name.starts_with(RESERVED_ENV) {
        let message = format!("{} is reserved: the runner sets variables of that prefix", quote(name));
        return Err(Mistake::new(place, message, "use another name"));
    }
    let value = variable.value.get_ref();
    let Some(text) = value.as_str() else {
        let is_plain = !value.is_array() && !value.is_table();
        let advice = if is_plain { "put the value in quotes" } else { "write a string" };
        let help = format!("{advice}: a variable of the environment is text");
        return Err(variable.wrong(format!("{} must be a string, this is {}", quote(name), kind(value)), help));
    };
    refuse_nul(variable.value.span(), text)?;
    Ok((name.to_owned(), text.to_owned()))
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

fn read_labels(entry: &TableEntry<'_, '_>, draft: &mut Draft<'_>) -> Result<(), Mistake> {
    let help = "a label is WORD or KEY=VALUE, with letters, digits and . _ - + : @ / only,\n\
                such as `labels = [\"gpu\", \"os=linux\"]`";
    let mut labels = Vec::new();
    for label in entry.texts(help, &mut draft.found)? {
        let message = || format!("{} is not a label", quote(label.value));
        let read = Label::new(label.value).map_err(|_| Mistake::new(label.place.clone(), message(), help));
        labels.extend(draft.found.unless_wrong(read));
    }
    labels.sort();
    labels.dedup();
    if labels.len() > MAX_LABELS {
        let message = format!("a task has at most {MAX_LABELS} labels");
        return Err(entry.wrong(message, "name what a runner must offer, and no more"));
    }
    draft.placement.labels = labels;
    Ok(())
}

fn read_keep(entry: &TableEntry<'_, '_>, draft: &mut Draft<'_>) -> Result<(), Mistake> {
    for path in entry.texts(KEEP_HELP, &mut draft.found)? {
        let Some(plain) = draft.found.unless_wrong(kept_path(&path)) else { continue };
        let paths = &mut draft.recipe.keep;
        if paths.contains(&plain) {
            continue;
        }
        if paths.len() == MAX_KEEP {
            let message = format!("a task keeps at most {MAX_KEEP} paths");
            return Err(Mistake::new(path.place, message, "keep the directory that holds them"));
        }
        paths.push(plain);
    }
    Ok(())
}

/// Returns the path without what changes nothing, such as `./`, if it is a path below the root of the repository.
fn kept_path(path: &Placed<&str>) -> Result<String, Mistake> {
    let wrong = |why: &str, help: &str| Mistake::new(path.place.clone(), format!("{} {why}", quote(path.value)), help);
    refuse_nul(path.place.clone(), path.value)?;
    if path.value.starts_with(['/', '~']) || path.value.contains('$') {
        let why = if path.value.contains('$') {
            "is taken as it is, and nothing expands `$`"
        } else {
            "is not a path inside the work tree"
        };
        return Err(wrong(why, OUTSIDE_HELP));
    }
    if path.value.contains(['*', '?']) {
        return Err(wrong("is a pattern, and `keep` takes plain paths", KEEP_HELP));
    }
    let parts: Vec<&str> = path.value.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return Err(wrong("leads out of the work tree", KEEP_HELP));
    }
    if parts.iter().any(|part| part.eq_ignore_ascii_case(".git")) {
        return Err(wrong("belongs to git and cannot be kept", KEEP_HELP));
    }
    if parts.is_empty() {
        return Err(wrong("names nothing inside the work tree", KEEP_HELP));
    }
    Ok(parts.join("/"))
}
