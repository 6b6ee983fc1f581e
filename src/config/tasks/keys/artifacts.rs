//! The key `artifacts`: the files that a task leaves. An entry is a glob, or a table with a name, globs and rules.

use toml::Spanned;
use toml::de::DeValue;

use super::super::draft::Draft;
use super::super::findings::Findings;
use super::super::limits::{MAX_ARTIFACT_NAME_CHARS, MAX_ARTIFACTS, MAX_GLOBS, MAX_KEEP_FOR_MS};
use super::super::mistake::{Mistake, quote};
use super::super::suggest::nearest;
use super::super::value::{Placed, TableEntry, entries, kind};
use super::execution::read_duration;
use super::when::path_glob;
use crate::model::{ArtifactRule, KeptOn};

/// The keys of a table in the list.
const ARTIFACT_KEYS: [&str; 5] = ["name", "paths", "on", "keep_for", "required"];
const HELP: &str = "write a list of globs, such as `artifacts = [\"dist/**\"]`, or of tables,\n\
                    such as `artifacts = [{ name = \"coverage\", paths = [\"coverage.xml\"], on = \"always\" }]`";
const GLOB_HELP: &str = "a glob begins at the root of the work tree, such as `dist/**` or `!dist/*.tmp`";

/// The JSON Schema of `artifacts`.
pub(super) const ARTIFACTS_SCHEMA: &str = r#"{
    "type": "array",
    "maxItems": 100,
    "items": {
        "type": ["string", "object"],
        "minLength": 1,
        "required": ["name", "paths"],
        "additionalProperties": false,
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 60},
            "paths": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 100},
            "on": {"type": "string", "enum": ["passed", "failed", "always"]},
            "keep_for": {"type": "string", "pattern": "^([0-9]+(d|h|m|s|ms))+$"},
            "required": {"type": "boolean"}
        }
    }
}"#;

/// Reads the value of `artifacts`. The globs that stand in the list itself are one artifact together.
pub(super) fn read_artifacts(entry: &TableEntry<'_, '_>, draft: &mut Draft<'_>) -> Result<(), Mistake> {
    let Some(list) = entry.value.get_ref().as_array() else {
        return Err(entry.wrong(format!("`artifacts` must be a list, this is {}", kind(entry.value.get_ref())), HELP));
    };
    let mut plain = ArtifactRule::new(ArtifactRule::PLAIN_NAME);
    let mut rules: Vec<ArtifactRule> = Vec::new();
    for item in list.iter() {
        let place = item.span();
        if let Some(text) = item.get_ref().as_str() {
            let glob = Placed { place, value: text };
            draft.found.unless_wrong(add_glob(&mut plain.paths, &glob));
            continue;
        }
        let read = read_rule(item, &mut draft.found);
        let Some(rule) = draft.found.unless_wrong(read).flatten() else { continue };
        if rules.iter().any(|other| other.name == rule.name) || rule.name == ArtifactRule::PLAIN_NAME {
            let message = match rule.name.as_str() {
                ArtifactRule::PLAIN_NAME => "`files` is the name of the globs that stand in the list itself".to_owned(),
                name => format!("two artifacts are called {}", quote(name)),
            };
            draft.found.mistake(Mistake::new(place, message, "give each artifact a name of its own"));
            continue;
        }
        rules.push(rule);
    }
    if !plain.paths.is_empty() {
        rules.insert(0, plain);
    }
    if rules.len() > MAX_ARTIFACTS {
        let help = "let several globs stand for one artifact: `paths` is a list";
        return Err(entry.wrong(format!("a task has at most {MAX_ARTIFACTS} artifacts"), help));
    }
    draft.recipe.artifacts = rules;
    Ok(())
}

/// Adds a glob to those of an artifact.
fn add_glob(paths: &mut Vec<String>, glob: &Placed<&str>) -> Result<(), Mistake> {
    let wrong = |message: String, help: &str| Err(Mistake::new(glob.place.clone(), message, help));
    path_glob(glob, GLOB_HELP)?;
    if paths.is_empty() && glob.value.starts_with('!') {
        let message = format!("{} takes back nothing, because no glob comes before it", quote(glob.value));
        return wrong(message, "the last glob that matches a path decides: write what is taken back behind the others");
    }
    if paths.len() == MAX_GLOBS {
        return wrong(format!("an artifact has at most {MAX_GLOBS} globs"), "let one glob stand for several paths");
    }
    paths.push(glob.value.to_owned());
    Ok(())
}

/// Reads a table of the list. Returns `None` if a part of it is a mistake in `found` already.
fn read_rule(item: &Spanned<DeValue<'_>>, found: &mut Findings) -> Result<Option<ArtifactRule>, Mistake> {
    let Some(table) = item.get_ref().as_table() else {
        let message = format!("an artifact must be a string or a table, this is {}", kind(item.get_ref()));
        return Err(Mistake::new(item.span(), message, HELP));
    };
    let mut rule = ArtifactRule::new("");
    let (mut has_name, mut has_paths, mut is_whole) = (false, false, true);
    for entry in entries(table) {
        let read = match entry.key {
            "name" => {
                has_name = true;
                read_name(&entry).map(|name| rule.name = name)
            }
            "paths" => {
                has_paths = true;
                read_paths(&entry, &mut rule.paths, found)
            }
            "on" => read_on(&entry).map(|on| rule.on = on),
            "keep_for" => {
                read_duration(&entry, MAX_KEEP_FOR_MS, "as long as its build").map(|ms| rule.keep_ms = Some(ms))
            }
            "required" => entry.flag().map(|required| rule.required = required),
            key => {
                let help = match (key, nearest(key, ARTIFACT_KEYS)) {
                    ("path" | "files" | "globs" | "src", _) => "write `paths`, a list of globs".to_owned(),
                    ("when", _) => "write `on`, such as `on = \"always\"`".to_owned(),
                    ("expire_in" | "retention" | "retention_days" | "retention-days" | "expires", _) => {
                        "write `keep_for`, such as `keep_for = \"30d\"`".to_owned()
                    }
                    ("if_no_files_found" | "if-no-files-found" | "optional", _) => {
                        "write `required = false` if a glob may match nothing".to_owned()
                    }
                    (_, Some(near)) => format!("write `{near}`"),
                    (_, None) => format!("the keys of an artifact are {}", ARTIFACT_KEYS.join(", ")),
                };
                Err(Mistake::new(entry.key_place.clone(), format!("unknown key {} in an artifact", quote(key)), help))
            }
        };
        is_whole &= found.unless_wrong(read).is_some();
    }
    if is_whole && !(has_name && has_paths) {
        let missing = if has_name { "paths" } else { "name" };
        return Err(Mistake::new(item.span(), format!("an artifact has no `{missing}`"), HELP));
    }
    Ok((is_whole && !rule.paths.is_empty()).then_some(rule))
}

fn read_name(entry: &TableEntry<'_, '_>) -> Result<String, Mistake> {
    let help = format!(
        "use 1 to {MAX_ARTIFACT_NAME_CHARS} of A-Z a-z 0-9 . _ - and start with a letter or digit, such as \
         `name = \"coverage\"`"
    );
    let name = entry.text(&help)?;
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let has_length = (1..=MAX_ARTIFACT_NAME_CHARS).contains(&name.len());
    if !has_length || !name.chars().all(is_fine) || !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(entry.wrong(format!("{} cannot name an artifact", quote(name)), help));
    }
    Ok(name.to_owned())
}

fn read_paths(entry: &TableEntry<'_, '_>, paths: &mut Vec<String>, found: &mut Findings) -> Result<(), Mistake> {
    let texts = entry.texts(GLOB_HELP, found)?;
    if texts.is_empty() {
        return Err(entry.wrong("`paths` is empty", GLOB_HELP));
    }
    for text in texts {
        found.unless_wrong(add_glob(paths, &text));
    }
    Ok(())
}

fn read_on(entry: &TableEntry<'_, '_>) -> Result<KeptOn, Mistake> {
    let help = "write `on = \"failed\"` or `\"always\"`, or leave it out for `\"passed\"`";
    let text = entry.text(help)?;
    let known = KeptOn::WORDS.iter().find(|(word, _)| *word == text);
    known.map(|(_, on)| *on).ok_or_else(|| {
        let message = format!("`on` must be `passed`, `failed` or `always`, this is {}", quote(text));
        entry.wrong(message, help)
    })
}
