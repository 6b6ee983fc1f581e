//! No circle of imports between the files of a room: each file can then be read with only the files below it in mind.
//!
//! The files of a room are the nodes. An edge leads from a file to each file of its room that it names in a path, in a
//! `use` or in the code, outside comments and `mod tests`. A path that ends at a re-export of a `mod.rs` leads to the
//! file that has the item. So a `mod.rs` that only introduces its children has no edges: neither `mod child;` nor a
//! re-export is one, unless the `mod.rs` uses the name itself. Methods are not followed: a file that adds methods to
//! the type of another file imports that file, and not the other way round.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::{files, is_test_code, root};

/// A path of names from the top of the crate.
type Path = Vec<String>;

/// One file.
struct File {
    module: Path,
    /// Its name for people.
    name: String,
    /// Paths that it imports, each with the name that it has here, and whether others may use it from here.
    uses: Vec<Use>,
    /// Its code without `use`, comments and tests.
    code: String,
}

struct Use {
    path: Path,
    name: String,
    is_public: bool,
}

#[test]
fn no_room_has_a_circle_of_imports() {
    let mut rooms: BTreeMap<String, Vec<File>> = BTreeMap::new();
    for path in files("src", ".rs") {
        let inside = path.strip_prefix(root().join("src")).unwrap().to_str().unwrap().to_owned();
        if is_test_code(&path) || !inside.contains('/') {
            continue;
        }
        let file = read(&inside, &fs::read_to_string(&path).unwrap());
        rooms.entry(file.module[0].clone()).or_default().push(file);
    }
    let broken: Vec<String> = rooms.values().flat_map(|files| circles(files)).collect();
    assert!(broken.is_empty(), "files that import one another: {broken:#?}");
}

/// Groups of files that reach one another, with the imports that make it so.
fn circles(files: &[File]) -> Vec<String> {
    let edges: Vec<BTreeSet<usize>> = (0..files.len()).map(|at| edges(files, at)).collect();
    let reach: Vec<BTreeSet<usize>> = (0..files.len()).map(|at| reachable(&edges, at)).collect();
    let mut circles = Vec::new();
    let mut told = BTreeSet::new();
    for at in 0..files.len() {
        let group: Vec<usize> =
            (0..files.len()).filter(|to| reach[at].contains(to) && reach[*to].contains(&at)).collect();
        if group.is_empty() || !told.insert(group.clone()) {
            continue;
        }
        let inside = |from: usize| edges[from].iter().filter(|to| group.contains(to)).map(|to| &*files[*to].name);
        let lines = group
            .iter()
            .map(|from| format!("{} -> {}", files[*from].name, inside(*from).collect::<Vec<_>>().join(", ")));
        circles.push(lines.collect::<Vec<_>>().join("; "));
    }
    circles
}

fn reachable(edges: &[BTreeSet<usize>], from: usize) -> BTreeSet<usize> {
    let (mut open, mut seen) = (edges[from].iter().copied().collect::<Vec<_>>(), BTreeSet::new());
    while let Some(at) = open.pop() {
        if seen.insert(at) {
            open.extend(&edges[at]);
        }
    }
    seen
}

/// The files of the room that this one names.
fn edges(files: &[File], at: usize) -> BTreeSet<usize> {
    let file = &files[at];
    let is_child =
        |name: &str| files.iter().any(|other| other.module == [&file.module[..], &[name.to_owned()]].concat());
    let mut found = BTreeSet::new();
    for import in &file.uses {
        // A re-export is for others, unless the name occurs here too.
        if !import.is_public || words(&file.code).any(|word| word == import.name) {
            found.extend(resolve(files, &import.path));
        }
    }
    for path in paths_in(&file.code) {
        let is_relative = ["crate", "super", "self"].contains(&path[0].as_str()) || is_child(&path[0]);
        if is_relative {
            found.extend(resolve(files, &absolute(&file.module, &path)));
        }
    }
    found.remove(&at);
    found
}

/// Returns the file that defines the item that the path names. Follows re-exports.
fn resolve(files: &[File], path: &[String]) -> Option<usize> {
    // The deepest module on the way.
    let (at, depth) = (1..=path.len())
        .rev()
        .find_map(|depth| files.iter().position(|file| file.module == path[..depth]).map(|at| (at, depth)))?;
    let Some(item) = path.get(depth) else { return Some(at) };
    // An import from outside under its own name resolves to itself.
    let is_it = |import: &&Use| import.is_public && import.name == *item && import.path != path;
    match files[at].uses.iter().find(is_it) {
        Some(import) => resolve(files, &import.path),
        None => Some(at),
    }
}

fn read(inside: &str, text: &str) -> File {
    let mut module: Path = inside.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|name| name == "mod") {
        module.pop();
    }
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let text: String =
        text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let (mut uses, mut code) = (Vec::new(), String::new());
    let mut rest = text.as_str();
    while let Some((start, end)) = next_use(rest) {
        code.push_str(&rest[..start]);
        let statement = &rest[start..end];
        let (visibility, tree) = statement.split_once("use ").unwrap_or_default();
        for path in expand(tree.trim_end_matches(';')) {
            let (path, name) = renamed(&path);
            let path = absolute(&module, &path);
            uses.push(Use { path, name, is_public: visibility.contains("pub") });
        }
        rest = &rest[end..];
    }
    code.push_str(rest);
    File { module, name: inside.to_owned(), uses, code }
}

/// Returns the places at which the next `use` statement begins, with its visibility, and ends.
fn next_use(text: &str) -> Option<(usize, usize)> {
    let mut line_start = 0;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim_start();
        if trimmed.starts_with("use ") || (trimmed.starts_with("pub") && trimmed.contains(" use ")) {
            let end = line_start + text[line_start..].find(';')? + 1;
            return Some((line_start, end));
        }
        line_start += line.len();
    }
    None
}

/// Every path of a tree such as `a::{b, c::{self, d as e}}`.
fn expand(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else { return vec![tree.to_owned()] };
    let (prefix, list) = (&tree[..open], &tree[open + 1..tree.rfind('}').unwrap_or(tree.len())]);
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&list[start..]);
    let parts = parts.into_iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| expand(part).into_iter().map(move |path| format!("{prefix}{path}"))).collect()
}

/// A path, and the name under which it is imported.
fn renamed(path: &str) -> (Path, String) {
    let (path, name) = path.split_once(" as ").map_or((path, None), |(path, name)| (path, Some(name.trim())));
    let mut path: Path = path.split("::").map(|part| part.trim().to_owned()).collect();
    if path.last().is_some_and(|last| last == "self" || last == "*") && path.len() > 1 {
        path.pop();
    }
    let name = name.map_or_else(|| path.last().cloned().unwrap_or_default(), str::to_owned);
    (path, name)
}

/// A path from the top of the crate; what comes from outside keeps its name and is in no room.
fn absolute(module: &[String], path: &[String]) -> Path {
    let mut base: Path = module.to_vec();
    let mut rest = path;
    match path.first().map(String::as_str) {
        Some("crate") => (base, rest) = (Vec::new(), &path[1..]),
        Some("self") => rest = &path[1..],
        _ => {}
    }
    while rest.first().is_some_and(|part| part == "super") {
        base.pop();
        rest = &rest[1..];
    }
    [base, rest.to_vec()].concat()
}

/// Every `a::b::c` of the code.
fn paths_in(code: &str) -> Vec<Path> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let texts = code.split(|c| !is_part(c)).filter(|text| text.contains("::") && !text.starts_with(':'));
    texts.map(|text| text.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect()).collect()
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
}

#[test]
fn a_circle_is_found_and_a_re_export_is_none() {
    let room = |texts: &[(&str, &str)]| texts.iter().map(|(name, text)| read(name, text)).collect::<Vec<_>>();
    let re_export = "mod a;\nmod b;\npub use a::A;\npub(crate) use b::{B, b as c};\n";
    let (a, b) = ("use super::B;\nstruct A(B);\n", "use crate::room::A;\nstruct B(A);\n");
    let found = circles(&room(&[("room/mod.rs", re_export), ("room/a.rs", a), ("room/b.rs", b)]));
    assert_eq!(found, ["room/a.rs -> room/b.rs; room/b.rs -> room/a.rs"]);
    let below = "// use super::B;\nstruct A;\n#[cfg(test)]\nmod tests {\n    use super::super::B;\n}\n";
    assert!(circles(&room(&[("room/mod.rs", re_export), ("room/a.rs", below), ("room/b.rs", b)])).is_empty());
    let uses_itself = format!("{re_export}fn f(a: A) {{}}\n");
    let through_parent = "struct A;\nfn g() {\n    super::f(A)\n}\n";
    let found = circles(&room(&[("room/mod.rs", &uses_itself), ("room/a.rs", through_parent), ("room/b.rs", b)]));
    assert_eq!(found, ["room/mod.rs -> room/a.rs; room/a.rs -> room/mod.rs"]);
}
