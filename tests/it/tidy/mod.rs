//! The house rules that a program can check: which room imports which, what every file begins with, how wide it is.

mod advisories;
mod circles;
mod promises;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms, and the rooms of ours that each may import. `cli`, `lib` and `fuzz` see everything.
const ROOMS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("protocol", &["model"]),
    ("clock", &["model"]),
    ("threads", &[]),
    ("locked", &[]),
    ("error_chain", &[]),
    ("log_limiter", &["model"]),
    ("quoting", &[]),
    ("shutdown", &["threads"]),
    ("scheduler", &["model"]),
    ("store", &["model", "locked"]),
    ("git", &["model", "clock", "threads", "locked", "quoting"]),
    ("config", &["model"]),
    ("blobs", &["model", "threads", "clock"]),
    ("transport", &["protocol", "threads", "model", "clock"]),
    ("process", &["model", "threads", "clock"]),
    ("dispatcher", ROLE),
    ("observer", ROLE),
    ("runner", ROLE),
];

/// A role may import every room below, and never another role.
const ROLE: &[&str] = &[
    "model",
    "protocol",
    "clock",
    "threads",
    "locked",
    "error_chain",
    "log_limiter",
    "quoting",
    "shutdown",
    "scheduler",
    "store",
    "git",
    "blobs",
    "config",
    "transport",
    "process",
];

/// Outside packages that belong to some rooms alone, or to a folder of a room.
const PACKAGES: &[(&str, &[&str])] = &[
    ("git2", &["git", "fuzz/git", "fuzz/git_submodules"]),
    ("gix_glob", &["git"]),
    ("flate2", &["git", "fuzz/git"]),
    ("blake3", &["blobs"]),
    ("zstd", &["blobs"]),
    ("tar", &["cli", "fuzz/cli"]),
    ("rusqlite", &["store/sqlite"]),
    ("toml", &["config"]),
    ("rustls", &["transport"]),
    ("rcgen", &["transport"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("comfy_table", &["cli"]),
    ("indicatif", &["cli"]),
    ("jiff", &["cli", "config"]),
    ("croner", &["config"]),
    ("landlock", &["process"]),
    ("signal_hook", &["shutdown", "process"]),
    ("encoding_rs", &["git"]),
    ("wildmatch", &["model", "git"]),
    ("strsim", &["config", "cli"]),
    ("ring", &["dispatcher/secrets"]),
    ("aho_corasick", &["runner/masking"]),
    ("httparse", &["runner/tool_cache", "fuzz/tool_cache"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below a directory that ends so.
fn files(directory: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(directory)];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // Output of fuzzing is not source code.
                let is_made = ["target", "corpus", "artifacts", "coverage"].iter().any(|name| path.ends_with(name));
                open.extend((!is_made).then_some(path));
            } else if path.to_str().unwrap().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(!found.is_empty());
    found
}

/// The room that a file of `src` is in.
fn room(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).unwrap();
    inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// The rooms that a text names after `crate::`, outside comments.
fn imported(text: &str) -> Vec<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut rooms = Vec::new();
    for line in code {
        for part in line.split("crate::").skip(1) {
            let names = part.strip_prefix('{').map_or(part, |list| list.split('}').next().unwrap_or(list));
            for name in if part.starts_with('{') { names.split(", ").collect() } else { vec![names] } {
                let room: String = name.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                rooms.push(room);
            }
        }
    }
    rooms
}

#[test]
fn each_room_imports_only_what_it_may() {
    let mut broken = Vec::new();
    for path in files("src", ".rs") {
        let here = room(&path);
        let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == here) else { continue };
        // Tests may use what their room may not.
        if is_test_code(&path) {
            continue;
        }
        for there in imported(&fs::read_to_string(&path).unwrap()) {
            let is_room = ROOMS.iter().any(|(name, _)| *name == there) || there == "cli";
            if is_room && there != here && !allowed.contains(&&*there) {
                broken.push(format!("{} imports {there}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// The recipe has one form for the wire and the store; all other messages are made of the wire's own types.
#[test]
fn messages_know_nothing_of_the_model_but_the_recipe() {
    for path in files("src/protocol", ".rs") {
        for line in fs::read_to_string(&path).unwrap().lines() {
            let is_comment = line.trim_start().starts_with("//");
            let names = line.split("crate::model").skip(1).all(|rest| rest.starts_with("::recipe::"));
            assert!(is_comment || names, "{}: {line}", path.display());
        }
    }
}

/// The messages of the wire, as opposed to its limits and its codec.
const MESSAGES: &[&str] = &["protocol::hello", "protocol::observer", "protocol::operator", "protocol::runner"];

/// The files, and folders, that may see both messages and the model. `translate` files and folders turn one into the
/// other; `dispatcher/session` is the wire side of the dispatcher; a runner's greeting is over before there is anything
/// to translate; commands show reports as the wire has them.
const SEE_MESSAGES_AND_MODEL: &[&str] = &["dispatcher/session/", "runner/greeting.rs", "cli/"];

/// The files, and folders, of the dispatcher that may see the wire at all. Its core, its logs, its mirrors and its
/// operations speak words of the model.
const DISPATCHER_SEES_WIRE: &[&str] = &["dispatcher/session/", "dispatcher/translate/", "dispatcher/tokens.rs"];

/// The product code of a file: without its tests, and without comments.
fn product(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_wire_and_the_model_meet_in_few_files() {
    let mut broken = Vec::new();
    for path in files("src", ".rs") {
        let name = path.strip_prefix(root().join("src")).unwrap().to_str().unwrap();
        if is_test_code(&path) || ["protocol", "cli"].contains(&&*room(&path)) {
            continue;
        }
        let code = product(&path);
        let is_in = |places: &[&str]| places.iter().any(|place| name.starts_with(place));
        let has_messages = MESSAGES.iter().any(|message| code.contains(message));
        let has_model = imported(&code).iter().any(|room| room == "model");
        let translates = name.ends_with("/translate.rs") || name.contains("/translate/");
        if has_messages && has_model && !translates && !is_in(SEE_MESSAGES_AND_MODEL) {
            broken.push(format!("{name} sees messages of the wire and the model"));
        }
        let sees_wire = imported(&code).iter().any(|room| room == "protocol");
        if name.starts_with("dispatcher/") && sees_wire && !is_in(DISPATCHER_SEES_WIRE) {
            broken.push(format!("{name} sees the wire"));
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// The core waits for no disk but the store's.
#[test]
fn the_dispatchers_core_touches_no_file() {
    for path in files("src/dispatcher/core", ".rs") {
        let code = product(&path);
        assert!(!code.contains("fs::") && !code.contains("std::fs"), "{} reads or writes files", path.display());
    }
}

#[test]
fn every_room_is_in_the_table() {
    for path in files("src", ".rs") {
        let here = room(&path);
        let known = ROOMS.iter().any(|(name, _)| *name == here) || ["cli", "fuzz", "lib", "main"].contains(&&*here);
        assert!(known, "{} is in no room of the table", path.display());
    }
}

#[test]
fn outside_packages_stay_in_their_rooms() {
    let mut broken = Vec::new();
    for path in files("src", ".rs") {
        let inside = path.strip_prefix(root().join("src")).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        for (package, rooms) in PACKAGES {
            let uses = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .any(|line| line.contains(&format!("use {package}::")) || line.contains(&format!(" {package}::")));
            let may = rooms.iter().any(|room| inside.starts_with(room) || inside.with_extension("") == Path::new(room));
            if uses && !may {
                broken.push(format!("{} uses {package}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Reasons are data, and `model/words/` makes text of them. The texts of `invariants.rs` are for whoever breaks one.
#[test]
fn the_scheduler_composes_no_text() {
    let composing: Vec<PathBuf> = files("src/scheduler", ".rs")
        .into_iter()
        .filter(|path| !is_test_code(path) && !path.ends_with("invariants.rs"))
        .filter(|path| product(path).contains("format!("))
        .collect();
    assert!(composing.is_empty(), "{composing:#?}");
}

#[test]
fn unsafe_code_is_in_one_file() {
    let excused: Vec<String> = files("src", ".rs")
        .into_iter()
        .filter(|path| fs::read_to_string(path).unwrap().contains("expect(unsafe_code"))
        .map(|path| path.strip_prefix(root()).unwrap().display().to_string())
        .collect();
    assert_eq!(excused, ["src/process/kernel.rs"]);
}

/// Whether a file of `src` is test code: it, or a folder that it is in, is called `tests` or `fuzz`.
fn is_test_code(path: &Path) -> bool {
    let inside = path.strip_prefix(root().join("src")).unwrap().with_extension("");
    inside.iter().any(|name| name == "tests" || name == "fuzz")
}

#[test]
fn a_module_with_children_is_a_folder_with_a_mod_file() {
    let both = |path: &PathBuf| path.with_extension("").is_dir();
    let broken: Vec<_> = files("src", ".rs").into_iter().filter(|path| both(path)).collect();
    assert!(broken.is_empty(), "beside a folder of the same name: {broken:#?}");
}

#[test]
fn test_code_is_in_modules_called_tests() {
    let mut broken = Vec::new();
    for path in files("src", ".rs").into_iter().filter(|path| !is_test_code(path)) {
        let text = fs::read_to_string(&path).unwrap();
        let mut lines = text.lines().map(str::trim).take_while(|line| !line.ends_with("mod tests {"));
        while let Some(line) = lines.next() {
            let is_test = line == "#[test]" || line == "proptest! {";
            let mut named = "";
            if line == "#[cfg(test)]" || line == "#[cfg(any(test, fuzzing))]" {
                let item = lines.by_ref().find(|line| !line.starts_with("#[")).unwrap_or_default();
                let module =
                    item.split_once("mod ").filter(|(before, _)| before.is_empty() || before.starts_with("pub"));
                named = module.map_or("", |(_, name)| name.trim_end_matches([';', ' ', '{']));
            }
            if is_test || !["", "tests", "fuzz"].contains(&named) {
                broken.push(format!("{}: {line} {named}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_file_says_first_what_it_is() {
    for directory in ["src", "tests", "examples"] {
        for path in files(directory, ".rs") {
            assert!(fs::read_to_string(&path).unwrap().starts_with("//! "), "{} has no header", path.display());
        }
    }
}

#[test]
fn no_line_is_wider_than_120_columns() {
    let mut wide = Vec::new();
    for directory in ["src", "tests", "examples"] {
        for path in files(directory, ".rs") {
            for (number, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
                // A text cannot always be broken; everything else can.
                if line.chars().count() > 120 && !line.contains('"') {
                    wide.push(format!("{}:{}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(wide.is_empty(), "{wide:#?}");
}

#[test]
fn no_test_is_ignored_and_none_sleeps() {
    let (ignored, sleeps) = (format!("#[{}", "ignore"), format!("thread::{}", "sleep"));
    for directory in ["src", "tests"] {
        for path in files(directory, ".rs") {
            let text = fs::read_to_string(&path).unwrap();
            assert!(!text.contains(&ignored) && !text.contains(&sleeps), "{}", path.display());
        }
    }
}

/// A test file that no `mod` names is silently no test.
#[test]
fn every_file_of_the_tests_is_a_module() {
    for path in files("tests", ".rs") {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let directory = path.parent().unwrap();
        let has_own_programs = directory.ends_with("bench") || directory.ends_with("fuzz");
        if name == "main" || name == "mod" || has_own_programs {
            continue;
        }
        let folder = directory.file_name().unwrap().to_str().unwrap();
        let parents = [
            directory.join("main.rs"),
            directory.join("mod.rs"),
            directory.parent().unwrap().join(format!("{folder}.rs")),
        ];
        let named = parents.iter().filter_map(|parent| fs::read_to_string(parent).ok()).any(|text| {
            text.lines().any(|line| line.trim_start_matches("pub(crate) ").trim() == format!("mod {name};"))
        });
        assert!(named, "{} is no module", path.display());
    }
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut dead = Vec::new();
    let mut documents = files("docs", ".md");
    documents.push(root().join("README.md"));
    for path in documents {
        for part in fs::read_to_string(&path).unwrap().split("](").skip(1) {
            let target = part.split([')', '#']).next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !path.parent().unwrap().join(target).exists() {
                dead.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

#[test]
fn each_decision_has_a_number_of_its_own() {
    let mut titles = BTreeMap::new();
    for path in files("docs/decisions", ".md") {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let number: u32 = name[..4].parse().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(&format!("# {number}. ")), "{name} has another number in its title");
        assert_eq!(titles.insert(number, name), None, "a second document has the number {number}");
    }
}

#[test]
fn the_top_level_is_bare() {
    let expected = ["Cargo.lock", "Cargo.toml", "README.md", "docs", "examples", "src", "target", "tests"];
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name.starts_with('.') || expected.contains(&&*name), "{name} does not belong at the top level");
    }
}
