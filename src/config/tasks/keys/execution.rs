//! Readers of the keys that say what is executed, and where it stands on the runner's disk: environment, limits, files.

use super::super::PlanContext;
use super::super::draft::Draft;
use super::super::findings::Findings;
use super::super::limits::{MAX_KEEP, MAX_TIMEOUT_MS};
use super::super::mistake::{Mistake, quote};
use super::super::tree_path::{PathAdvice, parts_of_path};
use super::super::value::{Placed, TableEntry, entries, kind, refuse_nul};
use crate::config::quantity;

/// Prefix of the variables that the runner sets. All of it is reserved, so that a later variable breaks nobody's file.
pub(super) const RESERVED_ENV: &str = "SURVEIL_";
const KEEP: PathAdvice = PathAdvice {
    key: "keep",
    help: "name a file or directory below the root of the repository, such as `keep = [\"target\"]`",
    // For paths that people keep elsewhere, where nothing is cleaned anyway.
    outside: "name a file or directory below the root of the repository, such as `keep = [\"target\"]`;\n\
              nothing outside the work tree is cleaned: a cache in the home directory stays by itself,\n\
              or let the tool put it into the tree, such as by `env = { CARGO_HOME = \".cargo\" }`",
};
const DIR: PathAdvice = PathAdvice {
    key: "dir",
    help: "name a directory below the root of the repository, such as `dir = \"crates/core\"`",
    outside: "name a directory below the root of the repository, such as `dir = \"crates/core\"`;\n\
              a script reaches any other by `cd`",
};

pub(super) fn read_env(entry: &TableEntry<'_, '_>, draft: &mut Draft<'_>) -> Result<(), Mistake> {
    let variables = variables(entry, &mut draft.found)?;
    draft.recipe.env.extend(variables);
    Ok(())
}

/// Returns the variables of a table. Those that are none are mistakes in `found`.
pub(crate) fn variables(entry: &TableEntry<'_, '_>, found: &mut Findings) -> Result<Vec<(String, String)>, Mistake> {
    let table = entry.table("write a table, such as `env = { LEVEL = \"2\" }`")?;
    Ok(entries(table).iter().filter_map(|variable| found.unless_wrong(read_variable(variable))).collect())
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

pub(super) fn read_timeout(entry: &TableEntry<'_, '_>, without: &str) -> Result<u64, Mistake> {
    read_duration(entry, MAX_TIMEOUT_MS, without)
}

/// Reads a duration. Without the key there is `instead`.
pub(crate) fn read_duration(entry: &TableEntry<'_, '_>, max_ms: u64, instead: &str) -> Result<u64, Mistake> {
    let name = entry.key;
    let help = format!("write numbers with units (d, h, m, s, ms), such as `{name} = \"1h30m\"`");
    let text = entry.text(&help)?;
    match quantity::duration_ms(text) {
        None => Err(entry.wrong(format!("{} is not a duration", quote(text)), help)),
        Some(0) => Err(entry.wrong(format!("`{name}` must be more than 0"), format!("leave it out for {instead}"))),
        Some(ms) if ms > max_ms => {
            let most = match max_ms / (24 * 60 * 60 * 1000) {
                0 => format!("{} minutes", max_ms / 60_000),
                days => format!("{days} days"),
            };
            Err(entry.wrong(format!("`{name}` must be at most {most}"), help))
        }
        Some(ms) => Ok(ms),
    }
}

pub(super) fn read_expand(entry: &TableEntry<'_, '_>, draft: &mut Draft<'_>) -> Result<(), Mistake> {
    draft.recipe.expand = entry.flag()?;
    if draft.recipe.expand && matches!(draft.context, PlanContext::WrittenBy(_)) {
        let help =
            "leave `expand` out, and write all tasks into this file: tasks that a task wrote cannot write further ones";
        return Err(Mistake::new(entry.key_place.clone(), "`expand` cannot stand in a file that a task wrote", help));
    }
    Ok(())
}

pub(super) fn read_keep(entry: &TableEntry<'_, '_>, draft: &mut Draft<'_>) -> Result<(), Mistake> {
    for path in entry.texts(KEEP.help, &mut draft.found)? {
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
    let parts = parts_of_path(path, &KEEP)?;
    if parts.is_empty() {
        let message = format!("{} names nothing inside the work tree", quote(path.value));
        return Err(Mistake::new(path.place.clone(), message, KEEP.help));
    }
    Ok(parts.join("/"))
}

/// Returns the value of `dir`; `None` for the root of the repository.
pub(super) fn read_dir(entry: &TableEntry<'_, '_>) -> Result<Option<String>, Mistake> {
    let value = entry.text(DIR.help)?;
    let parts = parts_of_path(&Placed { place: entry.value.span(), value }, &DIR)?;
    if value.is_empty() {
        return Err(entry.wrong("`dir` is empty", DIR.help));
    }
    Ok(Some(parts.join("/")).filter(|path| !path.is_empty()))
}
