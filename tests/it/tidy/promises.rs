//! The table of promises names code and tests that exist, and each promise that a test names is in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::{files, root};

/// The rows of docs/promises.md by their numbers, each with its cells.
fn rows() -> BTreeMap<String, Vec<String>> {
    let text = fs::read_to_string(root().join("docs/promises.md")).unwrap();
    let mut rows = BTreeMap::new();
    for line in text.lines() {
        let cells: Vec<String> = line.split('|').map(|cell| cell.trim().to_owned()).collect();
        let number = cells.get(1).cloned().unwrap_or_default();
        if is_number(&number) {
            assert_eq!(cells.len(), 7, "the row of {number} has another number of columns");
            assert_eq!(rows.insert(number.clone(), cells), None, "{number} has two rows");
        }
    }
    rows
}

/// Whether a word is the number of a promise, such as S38 or L2.
fn is_number(word: &str) -> bool {
    let digits = word.strip_prefix(['S', 'L']).unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// `a/{b,c}.rs` as `a/b.rs` and `a/c.rs`.
fn expanded(path: &str) -> Vec<String> {
    let Some((before, rest)) = path.split_once('{') else { return vec![path.to_owned()] };
    let (names, after) = rest.split_once('}').unwrap();
    names.split(',').map(|name| format!("{before}{name}{after}")).collect()
}

/// The texts between backquotes.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn is_there(path: &str) -> bool {
    root().join(path).exists() || root().join(format!("{path}.rs")).exists()
}

/// The files and folders that a cell of "Tried by" names, from the top of the repository.
fn tried_by(cell: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let outside_parentheses: String = cell.split(['(', ')']).step_by(2).collect();
    for part in outside_parentheses.split(';').map(str::trim) {
        let (kind, names) = part.split_once(' ').unwrap_or((part, ""));
        // Commas also separate words that say more about the test before them.
        let names = names.split(',').map(|name| name.split_whitespace().next().unwrap_or_default());
        match kind.trim_matches('`') {
            "lib" => paths.extend(names.map(|name| format!("src/{}", name.replace("::", "/")))),
            "it" | "process" => {
                let directory = format!("tests/{}", kind.trim_matches('`'));
                paths.extend(names.filter(|name| *name != "in").map(|name| format!("{directory}/{name}")));
            }
            "fuzz" => paths.extend(quoted(part).into_iter().map(|target| format!("tests/fuzz/{target}"))),
            file if file.ends_with(".rs") || file.ends_with('/') => paths.push(format!("src/{file}")),
            _ => {}
        }
    }
    paths
}

#[test]
fn each_promise_is_kept_and_tried_by_files_that_exist() {
    let mut missing = Vec::new();
    for (number, cells) in rows() {
        let (kept, tried) = (&cells[3], &cells[4]);
        assert!(!kept.is_empty() && !tried.is_empty(), "{number} does not say where it is kept and tried");
        let kept = quoted(kept).into_iter().filter(|path| path.contains('/') && !path.contains('*'));
        let kept = kept.flat_map(expanded).map(|path| format!("src/{path}"));
        missing
            .extend(kept.chain(tried_by(tried)).filter(|path| !is_there(path)).map(|path| format!("{number}: {path}")));
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn each_promise_that_a_test_names_is_in_the_table() {
    let rows = rows();
    let directories = ["src", "tests"].into_iter().flat_map(|directory| files(directory, ".rs"));
    for path in directories.filter(|path| path.as_path() != root().join(Path::new(file!()))) {
        for line in fs::read_to_string(&path).unwrap().lines().filter(|line| line.trim_start().starts_with("//")) {
            for word in line.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| is_number(word)) {
                assert!(rows.contains_key(word), "{}: {word} is not in docs/promises.md", path.display());
            }
        }
    }
}

/// Those that come later join this list when they are kept.
#[test]
fn no_promise_up_to_those_about_trust_is_left_out() {
    let rows = rows();
    for number in (1..=42).map(|number| format!("S{number}")) {
        assert!(rows.contains_key(&number), "{number} has no row");
    }
}
