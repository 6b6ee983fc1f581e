//! Submodules as a commit describes them, and as the facts of its source tell them.

use std::fmt::Write;

use git2::Oid;

use super::modules_file::{MODULES_MAX, parse};
use super::place;
use crate::git::facts::{Module, SourceFacts, path_fault};
use crate::git::without_secrets;
use crate::model::{Depth, Submodules};

/// Reads a file `.gitmodules` beside a URL, which is the first line. A file that is read says the same after it is
/// written again; no URL that is given to git is an option or the name of a program; and a submodule that may be sent
/// is received as it was.
///
/// # Panics
///
/// If an invariant is broken.
pub fn modules_file(bytes: &[u8]) {
    let (base, file) = bytes.iter().position(|byte| *byte == b'\n').map_or((bytes, &[][..]), |at| bytes.split_at(at));
    let Some(described) = parse(file) else { return };
    assert!(described.len() <= MODULES_MAX);
    let mut text = String::new();
    for module in &described {
        let _ = writeln!(text, "[submodule {}]", quoted(&module.name));
        for (key, value) in [("path", &module.path), ("url", &module.url)] {
            let _ = value.as_ref().map(|value| writeln!(text, "\t{key} = {}", quoted(value)));
        }
    }
    assert_eq!(parse(text.as_bytes()).as_ref(), Some(&described), "{text}");
    let base = String::from_utf8_lossy(base);
    for module in described {
        let (Some(path), Some(url)) = (module.path, module.url) else { continue };
        let Ok(url) = place::resolve(&base, &url) else { continue };
        let helper = url.split_once("::").map(|(before, _)| before);
        let is_program =
            helper.is_some_and(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)));
        assert!(!url.starts_with('-') && !is_program && !url.contains(char::is_control), "{url}");
        let shown = place::shown(&url);
        assert_eq!(without_secrets(&shown), shown, "{url}");
        if path_fault(&path).is_none() && path_fault(&module.name).is_none() {
            let commit = Oid::from_bytes(&[7; 20]).expect("it is as long as one");
            let mut facts = SourceFacts::of(Depth::ALONE);
            facts.has_submodules = Submodules::Recursive;
            facts.submodules.insert(path, Module { commit, name: module.name, url: shown });
            assert_eq!(SourceFacts::parse(&facts.encode()), Some(facts));
        }
    }
}

/// Reads the facts of a source, as a peer sends them. Facts that are read say the same after they are written again,
/// and no path or name in them leads out of a repository.
///
/// # Panics
///
/// If an invariant is broken.
pub fn facts(bytes: &[u8]) {
    let Some(facts) = SourceFacts::parse(bytes) else { return };
    let written = facts.encode();
    let read = SourceFacts::parse(&written).expect("it is what was read");
    assert_eq!(read.encode(), written);
    // A text that people see may lose its control characters.
    let (problems, lfs_problems) = (facts.problems.clone(), facts.lfs_problems.clone());
    assert_eq!(SourceFacts { problems, lfs_problems, ..read }, facts);
    for (path, module) in &facts.submodules {
        assert!(path_fault(path).is_none() && path_fault(&module.name).is_none(), "{path} {module:?}");
        assert!(!module.url.contains(char::is_control), "{module:?}");
    }
    for name in facts.tags.keys() {
        let is_sound = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
        assert!(name.split('/').all(is_sound) && !name.contains(|c: char| c.is_control() || c == ' '), "{name}");
    }
}

/// Returns a text in the quotes of git-config(1).
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    const LINES: [&str; 14] = [
        "https://ada:secret@h/team/app.git\n",
        "host:app\n",
        "[submodule \"a\"]\n",
        "[submodule \"../b\\\"\"]\r\n",
        "path = lib/a\n",
        "path = \"a\\tb\" # c\n",
        "url = ../lib.git\n",
        "url = ../:x\n",
        "url = \"ext::sh -c x\"\n",
        "url = https://ada:secret@h/?k=v\n",
        "url = -u\\\nx\n",
        "history 5\n",
        "tags\ntag aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa v1\n",
        "submodules direct\nsubmodule aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa a b\thttps://h/x\tlib/a b\nproblem \tx\n",
    ];

    proptest! {
        #[test]
        fn submodules_and_facts_are_read_or_refused(lines in prop::collection::vec(select(&LINES[..]), 0..8)) {
            modules_file(lines.concat().as_bytes());
            facts(lines.concat().as_bytes());
        }

        #[test]
        fn any_bytes_are_submodules_and_facts_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            modules_file(&bytes);
            facts(&[b"history 1\n", &bytes[..]].concat());
        }
    }
}
