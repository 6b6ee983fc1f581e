//! The key `cache`: files that are restored before the task and saved after it passed. An entry is a table with the
//! globs of its key, and paths.

use toml::Spanned;
use toml::de::DeValue;

use super::super::draft::Draft;
use super::super::findings::Findings;
use super::super::limits::{MAX_CACHE_PATHS, MAX_CACHES, MAX_GLOBS};
use super::super::mistake::{Mistake, quote};
use super::super::suggest::nearest;
use super::super::tree_path::{PathAdvice, parts_of_path};
use super::super::value::{Placed, TableEntry, entries, kind};
use super::when::path_glob;
use crate::model::{CacheRule, Recipe};

/// The keys of a table in the list.
const CACHE_KEYS: [&str; 2] = ["key", "paths"];
const HELP: &str = "write a table for each cache, such as\n\
                    [[task.test.cache]]\nkey = [\"Cargo.lock\"]\npaths = [\"target\", \"~/.cargo/registry\"]";
const KEY_HELP: &str = "list the files whose contents decide, as globs, such as `key = [\"Cargo.lock\"]`";
const PATH: PathAdvice = PathAdvice {
    key: "paths",
    help: "write plain paths, such as `paths = [\"target\", \"~/.cargo/registry\"]`",
    outside: "write a path of the work tree, or one below the home directory, such as `~/.cargo/registry`",
};

/// The JSON Schema of `cache`.
pub(super) const CACHE_SCHEMA: &str = r#"{
    "type": "array",
    "maxItems": 16,
    "items": {
        "type": "object",
        "required": ["key", "paths"],
        "additionalProperties": false,
        "properties": {
            "key": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 100},
            "paths": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 64}
        }
    }
}"#;

/// Reads the value of `cache`.
pub(super) fn read_caches(entry: &TableEntry<'_, '_>, draft: &mut Draft<'_>) -> Result<(), Mistake> {
    let Some(list) = entry.value.get_ref().as_array() else {
        return Err(
            entry.wrong(format!("`cache` must be a list of tables, this is {}", kind(entry.value.get_ref())), HELP)
        );
    };
    if list.len() > MAX_CACHES {
        let help = "let one cache have several paths: `paths` is a list";
        return Err(entry.wrong(format!("a task has at most {MAX_CACHES} caches"), help));
    }
    draft.recipe.caches.clear();
    for item in list.iter() {
        let read = read_rule(item, &mut draft.found);
        let Some(rule) = draft.found.unless_wrong(read).flatten() else { continue };
        draft.recipe.caches.push(rule);
    }
    Ok(())
}

/// Reads a table of the list. Returns `None` if a part of it is a mistake in `found` already.
fn read_rule(item: &Spanned<DeValue<'_>>, found: &mut Findings) -> Result<Option<CacheRule>, Mistake> {
    let Some(table) = item.get_ref().as_table() else {
        let message = format!("a cache must be a table, this is {}", kind(item.get_ref()));
        return Err(Mistake::new(item.span(), message, HELP));
    };
    let mut rule = CacheRule { key: Vec::new(), paths: Vec::new() };
    let (mut has_key, mut has_paths, mut is_whole) = (false, false, true);
    for entry in entries(table) {
        let read = match entry.key {
            "key" => {
                has_key = true;
                read_globs(&entry, &mut rule.key, found)
            }
            "paths" => {
                has_paths = true;
                read_paths(&entry, &mut rule.paths, found)
            }
            key => {
                let help = match (key, nearest(key, CACHE_KEYS)) {
                    ("path" | "files" | "directories" | "folders", _) => "write `paths`, a list of paths".to_owned(),
                    ("restore-keys" | "restore_keys" | "fallback_keys", _) => {
                        "leave it out: if no cache has the key, the newest one of the same paths is restored".to_owned()
                    }
                    ("policy" | "when" | "save-always", _) => {
                        "leave it out: a cache is restored before the task, and saved after it passed".to_owned()
                    }
                    (_, Some(near)) => format!("write `{near}`"),
                    (_, None) => format!("the keys of a cache are {}", CACHE_KEYS.join(", ")),
                };
                Err(Mistake::new(entry.key_place.clone(), format!("unknown key {} in a cache", quote(key)), help))
            }
        };
        is_whole &= found.unless_wrong(read).is_some();
    }
    if is_whole && !(has_key && has_paths) {
        let missing = if has_key { "paths" } else { "key" };
        return Err(Mistake::new(item.span(), format!("a cache has no `{missing}`"), HELP));
    }
    Ok((is_whole && !rule.key.is_empty() && !rule.paths.is_empty()).then_some(rule))
}

fn read_globs(entry: &TableEntry<'_, '_>, key: &mut Vec<String>, found: &mut Findings) -> Result<(), Mistake> {
    let texts = entry.texts(KEY_HELP, found)?;
    if texts.is_empty() {
        return Err(entry.wrong("`key` is empty", KEY_HELP));
    }
    if texts.len() > MAX_GLOBS {
        return Err(entry.wrong(format!("a key has at most {MAX_GLOBS} globs"), "let one glob stand for several files"));
    }
    for text in texts {
        if found.unless_wrong(path_glob(&text, KEY_HELP)).is_some() {
            key.push(text.value.to_owned());
        }
    }
    Ok(())
}

fn read_paths(entry: &TableEntry<'_, '_>, paths: &mut Vec<String>, found: &mut Findings) -> Result<(), Mistake> {
    let texts = entry.texts(PATH.help, found)?;
    if texts.is_empty() {
        return Err(entry.wrong("`paths` is empty", PATH.help));
    }
    if texts.len() > MAX_CACHE_PATHS {
        let help = "name the directory that holds them";
        return Err(entry.wrong(format!("a cache has at most {MAX_CACHE_PATHS} paths"), help));
    }
    for text in texts {
        let Some(path) = found.unless_wrong(cached_path(&text)) else { continue };
        if let Some(other) = paths.iter().find(|other| overlap(other, &path)) {
            let message = format!("{} and {} are one in the other", quote(&path), quote(other));
            found.mistake(Mistake::new(text.place.clone(), message, "name the outer one alone"));
            continue;
        }
        paths.push(path);
    }
    Ok(())
}

/// Returns the path without what changes nothing, such as `./`.
fn cached_path(text: &Placed<&str>) -> Result<String, Mistake> {
    let in_home = text.value.strip_prefix(CacheRule::HOME);
    let below = Placed { place: text.place.clone(), value: in_home.unwrap_or(text.value) };
    let parts = parts_of_path(&below, &PATH)?;
    if parts.is_empty() {
        let what = if in_home.is_some() { "the whole home directory" } else { "the whole work tree" };
        let message = format!("{} is {what}", quote(text.value));
        return Err(Mistake::new(text.place.clone(), message, PATH.help));
    }
    Ok(format!("{}{}", if in_home.is_some() { CacheRule::HOME } else { "" }, parts.join("/")))
}

/// Whether one of the paths is the other one, or in it.
fn overlap(one: &str, other: &str) -> bool {
    let is_in = |inner: &str, outer: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    is_in(one, other) || is_in(other, one)
}

/// Returns what is wrong with the caches of a task whose other keys are read, and what to do about it.
pub(crate) fn wrong_caches(recipe: &Recipe) -> Option<(String, &'static str)> {
    let paths: Vec<&String> = recipe.caches.iter().flat_map(|rule| &rule.paths).collect();
    for (at, path) in paths.iter().enumerate() {
        if let Some(kept) = recipe.keep.iter().find(|kept| overlap(kept, path)) {
            let help =
                "use one of both: `keep` leaves a path in one runner's work tree, a cache takes it to every runner";
            return Some((
                format!("the cached path {} and the kept path {} are one in the other", quote(path), quote(kept)),
                help,
            ));
        }
        if let Some(other) = paths[..at].iter().find(|other| overlap(other, path)) {
            let help = "let each path be in one cache of the task";
            return Some((
                format!("the paths {} and {} of two caches are one in the other", quote(other), quote(path)),
                help,
            ));
        }
        if recipe.image.is_some() && path.starts_with(CacheRule::HOME) {
            let help =
                "cache a path of the work tree, and tell the tool of it: `env = { npm_config_cache = \".npm\" }`";
            return Some((format!("the cached path {} goes with the container of the `image`", quote(path)), help));
        }
    }
    None
}
