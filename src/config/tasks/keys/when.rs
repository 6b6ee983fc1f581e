//! Reader of the key `when`: the builds in which a task runs.

use super::super::draft::Draft;
use super::super::foreign::{self, Level};
use super::super::limits::{MAX_GLOB_BYTES, MAX_GLOBS};
use super::super::mistake::{Mistake, quote};
use super::super::suggest::nearest;
use super::super::value::{Placed, TableEntry, entries};
use crate::model::glob::matches_no_ref;
use crate::model::{TriggerEvent, When};

/// The JSON Schema of `when`.
pub(super) const WHEN_SCHEMA: &str = r#"{"type": "object", "additionalProperties": false, "minProperties": 1, "properties": {
    "branches": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 100},
    "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 100},
    "events": {"type": "array", "minItems": 1, "items": {"enum":
        ["push", "tag", "pull", "ref", "schedule", "manual", "try"]}},
    "changed": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 100}}}"#;

/// Keys of the table.
const NAMES: [&str; 4] = ["branches", "tags", "events", "changed"];
const EXAMPLE: &str = "such as `when = { branches = [\"main\"], changed = [\"src/**\"] }`";
const PATHS_HELP: &str = "a glob begins at the root of the repository, such as `changed = [\"src/**\", \"!**/*.md\"]`";

pub(super) fn read_when(entry: &TableEntry<'_, '_>, draft: &mut Draft<'_>) -> Result<(), Mistake> {
    if let Some(word) = entry.value.get_ref().as_str() {
        return Err(entry.wrong("`when` must be a table, this is a string", advice_for_word(word)));
    }
    let table = entry.table(&format!("write a table, {EXAMPLE}"))?;
    let mut when = When::default();
    for list in entries(table) {
        let read = match list.key {
            "branches" => read_names(&list, BRANCHES, draft).map(|globs| when.branches = globs),
            "tags" => read_names(&list, TAGS, draft).map(|globs| when.tags = globs),
            "events" => read_events(&list, draft).map(|events| when.events = events),
            "changed" => read_paths(&list, draft).map(|globs| when.changed = globs),
            _ => Err(unknown(&list)),
        };
        draft.found.unless_wrong(read);
    }
    if table.is_empty() {
        return Err(entry.wrong("`when` is empty", format!("say when the task runs, {EXAMPLE}, or leave it out")));
    }
    if let Some(message) = contradiction(&when) {
        draft.found.warning(Mistake::new(entry.key_place.clone(), message, "leave the list out, or add an event"));
    }
    draft.placement.when = Some(Box::new(when));
    Ok(())
}

/// Returns the advice for a word in place of the table, as GitLab has it.
fn advice_for_word(word: &str) -> String {
    match word {
        "manual" => "write `manual = true`: the task is held until `surveil start BUILD TASK`".to_owned(),
        "always" => "write `run_if = \"finished\"`: the task runs however those that it needs have ended".to_owned(),
        "on_failure" => "write `run_if = \"failed\"`: the task runs if one that it needs has not passed".to_owned(),
        "on_success" => "leave it out: a task runs if those that it needs have passed".to_owned(),
        "never" => "put `#` before the lines of the task".to_owned(),
        "delayed" => "there is no delay; `manual = true` lets a person start the task".to_owned(),
        other => match TriggerEvent::of_word(other) {
            Some(event) => format!("write `when = {{ events = [\"{}\"] }}`", event.word()),
            None => format!("write a table, {EXAMPLE}"),
        },
    }
}

/// Answers a key that `when` does not have, also those that other systems have in its place.
fn unknown(list: &TableEntry<'_, '_>) -> Mistake {
    let all = format!("the keys here are {}", NAMES.join(", "));
    let help = match (foreign::answer(Level::When, list.key), nearest(list.key, NAMES)) {
        (Some(answer), _) => answer.to_owned(),
        (None, Some(near)) => format!("write `{near}`; {all}"),
        (None, None) => all,
    };
    Mistake::new(list.key_place.clone(), format!("unknown key {} in `when`", quote(list.key)), help)
}

/// Reads the texts of a list that must have some.
fn texts<'t>(list: &TableEntry<'t, '_>, help: &str, draft: &mut Draft<'_>) -> Result<Vec<Placed<&'t str>>, Mistake> {
    let is_empty = list.value.get_ref().as_array().is_some_and(|array| array.is_empty());
    let texts = list.texts(help, &mut draft.found)?;
    if is_empty {
        let message = format!("`{}` is empty, so the task would never run", list.key);
        return Err(list.wrong(message, "name at least one, or leave the list out"));
    }
    if texts.len() > MAX_GLOBS {
        let message = format!("`{}` has at most {MAX_GLOBS} entries", list.key);
        return Err(list.wrong(message, "let one glob stand for several names: `*` is any text"));
    }
    Ok(texts)
}

fn read_events(list: &TableEntry<'_, '_>, draft: &mut Draft<'_>) -> Result<Vec<TriggerEvent>, Mistake> {
    let words = TriggerEvent::ALL.map(|event| event.word());
    let help = format!("the events are {}", words.join(", "));
    let mut events = Vec::new();
    for text in texts(list, &help, draft)? {
        let read = TriggerEvent::of_word(text.value).ok_or_else(|| {
            let meant = match text.value {
                "pull_request" | "merge_request" | "pull_request_target" | "merge_request_event" => Some("pull"),
                "cron" | "scheduled" => Some("schedule"),
                "workflow_dispatch" | "web" | "api" | "deployment" => Some("manual"),
                "release" => Some("tag"),
                other => nearest(other, words),
            };
            let advice = meant.map(|word| format!("write `{word}`; ")).unwrap_or_default();
            Mistake::new(text.place.clone(), format!("{} is no event", quote(text.value)), format!("{advice}{help}"))
        });
        let Some(event) = draft.found.unless_wrong(read) else { continue };
        if !events.contains(&event) {
            events.push(event);
        }
    }
    Ok(events)
}

/// A kind of ref: its word, its namespace, and an example of a glob.
pub(crate) type RefKind = (&'static str, &'static str, &'static str);
pub(crate) const BRANCHES: RefKind = ("branch", "refs/heads/", "`branches = [\"main\", \"release/*\"]`");
pub(crate) const TAGS: RefKind = ("tag", "refs/tags/", "`tags = [\"v*\"]`");

fn read_names(list: &TableEntry<'_, '_>, kind: RefKind, draft: &mut Draft<'_>) -> Result<Vec<String>, Mistake> {
    let mut globs = Vec::new();
    for text in texts(list, &format!("list names or globs, such as {}", kind.2), draft)? {
        let Some(glob) = draft.found.unless_wrong(name_glob(&text, kind)) else { continue };
        if !globs.contains(&glob) {
            globs.push(glob);
        }
    }
    Ok(globs)
}

/// Checks a name or a glob of refs of this kind, and returns it without their namespace.
pub(crate) fn name_glob(text: &Placed<&str>, (kind, namespace, example): RefKind) -> Result<String, Mistake> {
    let help = format!("give the name of a {kind}, or a glob, such as {example}");
    let wrong = |why: &str| Err(Mistake::new(text.place.clone(), format!("{} {why}", quote(text.value)), &*help));
    let glob = text.value.strip_prefix(namespace).unwrap_or(text.value);
    if glob.len() > MAX_GLOB_BYTES {
        return wrong("is too long for a glob");
    }
    if glob.starts_with("refs/") {
        return wrong(&format!("is no {kind}"));
    }
    match matches_no_ref(glob, kind) {
        Some(why) => wrong(&why),
        None => Ok(glob.to_owned()),
    }
}

fn read_paths(list: &TableEntry<'_, '_>, draft: &mut Draft<'_>) -> Result<Vec<String>, Mistake> {
    let mut globs: Vec<String> = Vec::new();
    let mut is_added = false;
    // Globs that still match something, and the last one that takes back.
    let (mut left, mut taken) = (Vec::<&str>::new(), None);
    for text in texts(list, PATHS_HELP, draft)? {
        let takes_back = text.value.starts_with('!');
        if takes_back && !is_added {
            let message = format!("{} takes back nothing, because no glob comes before it", quote(text.value));
            let help = "the last glob that matches a path decides: write what is taken back behind what it is taken\n\
                        from, such as `changed = [\"**\", \"!docs/**\"]`";
            draft.found.mistake(Mistake::new(text.place, message, help));
            continue;
        }
        is_added |= !takes_back;
        if draft.found.unless_wrong(path_glob(&text, PATHS_HELP)).is_none() {
            continue;
        }
        globs.push(text.value.to_owned());
        if let Some(back) = text.value.strip_prefix('!') {
            left.retain(|glob| !covers(back, glob));
            taken = Some(text);
        } else {
            left.push(text.value);
        }
    }
    if let Some(taken) = taken.filter(|_| left.is_empty()) {
        let message = format!("{} takes back all that the globs before it match", quote(taken.value));
        draft.found.mistake(Mistake::new(taken.place, message, "leave it out, or add a glob of paths that count"));
    }
    Ok(globs)
}

/// Whether each path that the second glob matches surely matches the first one, too.
fn covers(wide: &str, narrow: &str) -> bool {
    let directory = |glob: &'_ str| glob.strip_suffix("/**").or(glob.strip_suffix('/')).unwrap_or(glob).to_owned();
    let (wide, narrow) = (directory(wide), directory(narrow));
    if matches!(&*wide, "**" | "**/*") || wide == narrow {
        return true;
    }
    !wide.contains(['*', '?']) && narrow.strip_prefix(&*wide).is_some_and(|below| below.starts_with('/'))
}

/// Checks a glob for paths: it must be able to match some path of a commit. `example` is advice for one that is not.
pub(super) fn path_glob(text: &Placed<&str>, example: &str) -> Result<(), Mistake> {
    let wrong =
        |why: &str, help: &str| Err(Mistake::new(text.place.clone(), format!("{} {why}", quote(text.value)), help));
    let glob = text.value.strip_prefix('!').unwrap_or(text.value);
    if glob.len() > MAX_GLOB_BYTES {
        return wrong("is too long for a glob", example);
    }
    if glob.is_empty() || glob == "/" {
        return wrong("matches no path", example);
    }
    if glob.starts_with('!') {
        return wrong("takes back twice", example);
    }
    if glob.starts_with(['/', '~']) {
        return wrong("matches no path: a glob begins at the root of the repository, without a slash", example);
    }
    if glob.contains(['[', ']', '{', '}']) {
        let help = "`?` is one character, `*` any number of them within a name, `**` any number of directories;\n\
                    write one glob for each alternative";
        return wrong("has classes or alternatives, which globs here do not have", help);
    }
    if glob.contains('\\') || glob.contains(char::is_control) {
        return wrong("has a character that no glob has: directories are separated by `/`", example);
    }
    for name in glob.strip_suffix('/').unwrap_or(glob).split('/') {
        match name {
            "" => return wrong("matches no path: there is no name between two slashes", example),
            "." | ".." => return wrong("matches no path: a path has no `.` and `..`", example),
            "**" => {}
            _ if name.eq_ignore_ascii_case(".git") => {
                return wrong("matches no path: a commit has nothing below `.git`", example);
            }
            _ if name.contains("**") => {
                let help = "`**` stands in place of a whole name for any number of directories: write `**/*.js` for\n\
                            `**.js`, and `src/**` for all that is below `src`";
                return wrong("has `**` as a part of a name", help);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Returns a list that chooses nothing, because of the events.
fn contradiction(when: &When) -> Option<String> {
    use TriggerEvent::{Manual, Pull, Push, Ref, Schedule, Tag};
    let only = |events: &[TriggerEvent]| !when.events.is_empty() && when.events.iter().all(|it| events.contains(it));
    let list = if !when.branches.is_empty() && only(&[Tag, Pull, Ref]) {
        "branches"
    } else if !when.tags.is_empty() && only(&[Push, Pull, Ref, Schedule]) {
        "tags"
    } else if !when.changed.is_empty() && only(&[Tag, Schedule, Manual]) {
        "changed"
    } else {
        return None;
    };
    let events: Vec<&str> = when.events.iter().map(|event| event.word()).collect();
    Some(format!("`{list}` chooses nothing in builds of the event {}", events.join(" or ")))
}
