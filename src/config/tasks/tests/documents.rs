//! Task files of this repository: our own, those of `examples`, and those that the documents show. All of them pass
//! `surveil check` and are valid by the schema.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::config::tasks::keys::{BUILD_KEYS, SCHEDULE_KEYS};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A document of this repository.
pub(super) fn document(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// The files below a directory whose names end so.
fn below(directory: &str, ending: &str) -> Vec<PathBuf> {
    let mut open = vec![root().join(directory)];
    let mut files = Vec::new();
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                files.push(path);
            }
        }
    }
    files
}

/// All task files of this repository, with names for people.
pub(super) fn task_files() -> Vec<(String, String)> {
    let files = [vec![root().join(TASK_FILE)], below("examples", TASK_FILE)].concat();
    files.iter().map(|path| (path.display().to_string(), fs::read_to_string(path).unwrap())).collect()
}

/// All task files that the documents show, with names for people.
pub(super) fn shown_files() -> Vec<(String, String)> {
    let documents = [vec![root().join("README.md")], below("docs", ".md"), below("examples", ".md")].concat();
    let mut shown = Vec::new();
    for path in documents {
        // The files of that document are those of an operator.
        if path.ends_with("docs/operating.md") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let blocks = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
        shown.extend(blocks.map(|block| (path.display().to_string(), block.to_owned())));
    }
    shown
}

#[test]
fn the_examples_and_our_own_tasks_are_right() {
    let files = task_files();
    assert!(files.len() >= 9, "{}", files.len());
    for (name, text) in files {
        let checked = check_tasks(&name, text.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
        assert!(checked.tasks.len() > 1, "{name}");
        assert_eq!(checked.warnings, Vec::<String>::new(), "{name}");
    }
}

#[test]
fn what_the_documents_show_as_a_task_file_is_one() {
    let shown = shown_files();
    for (document, least) in [("docs/tasks.md", 20), ("README.md", 1)] {
        let count = shown.iter().filter(|(name, _)| name.ends_with(document)).count();
        assert!(count >= least, "{document} has {count} examples");
    }
    for (name, text) in shown {
        drop(read(&name, text.as_bytes()).unwrap_or_else(|error| panic!("{error}")));
    }
}

/// The table of other systems names only what there is: each word in its last column is a key, and each line one that
/// can be written.
#[test]
fn the_table_of_other_systems_names_our_keys() {
    let text = document("docs/coming-from.md");
    let names: Vec<&str> = KEYS.iter().map(|key| key.name).chain(BUILD_KEYS).chain(SCHEDULE_KEYS).collect();
    // Keys of steps, inputs and `retry`, and words of the commands.
    let others = ["always", "default", "description", "times", "pull", "tags", "branches", "events", "changed"];
    let mut count = 0;
    let mut variables = HashSet::new();
    for row in text.lines().filter(|line| line.starts_with("| ")) {
        let ours = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        for code in ours.split('`').skip(1).step_by(2) {
            count += 1;
            assert!(!code.starts_with("SURVEIL_") || variables.insert(code), "{row}: another row has `{code}`");
            let is_word = code.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            if is_word {
                assert!(names.contains(&code) || others.contains(&code), "{row}: there is no `{code}`");
            } else if let Some((key, value)) = code.split_once(" = ") {
                assert!(names.contains(&key) || others.contains(&key), "{row}: there is no `{key}`");
                let line = format!("{key} = {}", value.replace("\"…\"", "…").replace('…', "\"main\""));
                toml::from_str::<toml::Table>(&line).unwrap_or_else(|error| panic!("{row}: {error}"));
            }
        }
    }
    assert!(count > 50, "{count}");
}

#[test]
fn the_document_of_tasks_has_every_key_and_true_errors() {
    let text = document("docs/tasks.md");
    for key in KEYS {
        let Key { name, row, .. } = key;
        assert!(text.contains(&format!("\n### `{name}`\n")), "{name} has no section");
        let row = format!("\n| [`{name}`](#{name}) | {row} |\n");
        assert!(text.contains(&row), "not in the table:{row}");
    }
    assert_eq!(text.matches("\n| [`").count(), KEYS.len(), "the table has other rows");
    // The sections stand in the order of the table, and each shows its key.
    let sections: Vec<&str> = text.split("\n### `").skip(1).collect();
    let order: Vec<&str> = sections.iter().filter_map(|section| section.split('`').next()).collect();
    assert_eq!(order, KEYS.iter().map(|key| key.name).collect::<Vec<_>>());
    for (section, key) in sections.iter().zip(KEYS) {
        let section = section.split("\n## ").next().unwrap_or_default();
        let mut blocks = section.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
        assert!(blocks.any(|block| block.contains(&format!("{} = ", key.name))), "no example of {}", key.name);
    }
    for key in top_level::TOP_KEYS {
        assert!(text.contains(&format!("\n| `[{}", key.name)), "the table `{}` has no row", key.name);
    }
    for file in [
        "[task.build]\nrun = \"make\"\ntiemout = \"20m\"",
        "[task.build]\nrun = \"make\"\n\n[task.test]\nrun = \"make test\"\nneeds = [\"biuld\"]",
        "[task.a]\nrun = \"x\"\nneeds = [\"b\"]\n[task.b]\nrun = \"x\"\nneeds = [\"a\"]",
    ] {
        let error = read(TASK_FILE, file.as_bytes()).unwrap_err().text;
        assert!(text.contains(&format!("```\n{error}\n```")), "not in the document:\n{error}");
    }
}
