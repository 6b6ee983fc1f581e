//! Wishes of a file's tasks about the commit's source beside its tree, found without reading the file as a whole. An
//! observer and `surveil submit` have to know it before the dispatcher has read the file.
//!
//! Every table that may hold keys of a task counts, used or not. Mistakes are passed over: the dispatcher tells them.

use toml::de::{DeTable, DeValue};

use super::context::PlanContext;
use super::draft::Draft;
use super::keys::KEYS;
use super::limits::MAX_TASK_FILE_BYTES;
use super::value::entries;
use crate::model::SourceNeeds;

/// The keys that say it.
const NAMES: [&str; 4] = ["history", "tags", "submodules", "lfs"];

/// Returns what the tasks of a file want together; nothing for a file that cannot be read.
#[must_use]
pub fn source_needs(text: &[u8]) -> SourceNeeds {
    let Some(text) = str::from_utf8(text).ok().filter(|text| text.len() <= MAX_TASK_FILE_BYTES) else {
        return SourceNeeds::NOTHING;
    };
    // Most files have none of the keys.
    if !NAMES.iter().any(|name| text.contains(name)) {
        return SourceNeeds::NOTHING;
    }
    let Ok(document) = DeTable::parse(text) else { return SourceNeeds::NOTHING };
    let mut needs = SourceNeeds::NOTHING;
    for top in entries(document.get_ref()) {
        let Some(table) = top.value.get_ref().as_table() else { continue };
        if top.key == "defaults" {
            needs = needs.and(of_table(table));
        } else if matches!(top.key, "task" | "template") {
            let tasks = entries(table);
            needs = tasks
                .iter()
                .filter_map(|task| task.value.get_ref().as_table())
                .map(of_task)
                .fold(needs, SourceNeeds::and);
        }
    }
    needs
}

/// Returns what a task wants, or a cell of its matrix.
fn of_task(table: &DeTable<'_>) -> SourceNeeds {
    let cells = entries(table).into_iter().find(|entry| entry.key == "matrix_include");
    let cells = cells.and_then(|entry| entry.value.get_ref().as_array()).into_iter().flat_map(|list| list.iter());
    let cells = cells.filter_map(|cell| DeValue::as_table(cell.get_ref()));
    cells.map(of_table).fold(of_table(table), SourceNeeds::and)
}

fn of_table(table: &DeTable<'_>) -> SourceNeeds {
    let mut draft = Draft::new(PlanContext::Unknown);
    for entry in entries(table) {
        if let Some(key) = KEYS.iter().find(|key| key.name == entry.key && NAMES.contains(&key.name)) {
            drop((key.read)(&entry, &mut draft));
        }
    }
    draft.recipe.source_needs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Submodules;

    fn needs(text: &str) -> (String, bool) {
        let SourceNeeds { history, tags, .. } = source_needs(text.as_bytes());
        (history.to_string(), tags)
    }

    #[test]
    fn the_most_that_any_table_of_keys_asks_for_is_wanted() {
        let of = |depth: &str, tags| (depth.to_owned(), tags);
        assert_eq!(needs("[task.a]\nrun = 'x'"), of("1", false));
        assert_eq!(
            needs("[task.a]\nrun = 'x'\nhistory = 5\r\n[task.b]\nrun = 'x'\nhistory = 3\ntags = true"),
            of("5", true)
        );
        assert_eq!(needs("[defaults]\nhistory = 'full'\n[task.a]\nrun = 'x'\nhistory = 3"), of("full", false));
        assert_eq!(needs("[template.t]\ntags = true\n[task.a]\nrun = 'x'\nextends = ['t']"), of("1", true));
        let cells = "[task.a]\nrun = 'x'\nmatrix = { tags = [true] }\nmatrix_include = [{ tags = 'x', history = 7 }]";
        assert_eq!(needs(cells), of("7", false));
        let submodules = |value: &str| source_needs(format!("[task.a]\nsubmodules = {value}").as_bytes()).submodules;
        let (direct, all) = (Submodules::Direct, Submodules::Recursive);
        assert!(source_needs(b"[defaults]\nlfs = true").lfs && !source_needs(b"[task.a]\nlfs = 'yes'").lfs);
        assert_eq!((submodules("true"), submodules("'recursive'"), submodules("'x'")), (direct, all, Submodules::No));
    }

    /// A newer dispatcher may know keys that this program does not.
    #[test]
    fn what_is_not_understood_is_passed_over() {
        let of = |depth: &str, tags| (depth.to_owned(), tags);
        let text =
            "[task.a]\nunknown = 1\nhistory = 9\ntags = ['gpu']\nrun = 3\n[else]\nhistory = 20\n[task.b]\nhistory = 0";
        assert_eq!(needs(text), of("9", false));
        for text in ["history = 5", "[task.a", "[task]\na = 1\nhistory = 5", "[[task]]\nhistory = 5"] {
            assert_eq!(needs(text), of("1", false), "{text}");
        }
        assert_eq!(source_needs(b"[task.a]\nhistory = 5\n# \xff"), SourceNeeds::NOTHING);
    }
}
