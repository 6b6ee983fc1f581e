//! Scripts of a work tree whose first line ends with a carriage return: no system finds their interpreter.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path};

use super::mistake::quote;
use crate::model::{STOP_AT_FAILURE, Script, TaskSpec, visible};

/// Bytes of a script's first line that the kernel reads.
const SHEBANG_BYTES: u64 = 256;
/// Files that are looked at.
const MAX_FILES: usize = 1000;

/// Returns a warning for each such script below `directory` that a task names with a slash in its name.
pub(super) fn with_carriage_returns(directory: &Path, tasks: &[TaskSpec]) -> Vec<String> {
    let of_task = |task: &'_ TaskSpec| -> Vec<String> {
        let dir = task.recipe.dir.as_ref().map(|dir| format!("{dir}/")).unwrap_or_default();
        let scripts = std::iter::once(&task.recipe.script).chain(task.recipe.steps.iter().map(|step| &step.script));
        scripts.flat_map(named_files).map(|name| format!("{dir}{name}")).collect()
    };
    let named: BTreeSet<String> = tasks.iter().flat_map(of_task).collect();
    let warning = |name: String| {
        let interpreter = interpreter_with_return(&directory.join(&name))?;
        Some(format!(
            "{}: the first line ends with a carriage return (CRLF), so the system looks for an interpreter that is \
             called {}\n = help: save the file with LF line ends; `{} text eol=lf` in .gitattributes keeps them",
            visible(&name),
            quote(&format!("{interpreter}\\r")),
            visible(&name),
        ))
    };
    named.into_iter().take(MAX_FILES).filter_map(warning).collect()
}

/// Returns the words of a script that may be files of the work tree.
fn named_files(script: &Script) -> Vec<&str> {
    let words: Vec<&str> = match script {
        Script::Shell(text) => text.strip_prefix(STOP_AT_FAILURE).unwrap_or(text).split_whitespace().collect(),
        // A script with a shell of its own.
        Script::Program(words) => match words.as_slice() {
            [.., option, text] if option == "-c" => text.split_whitespace().collect(),
            words => words.iter().take(1).map(String::as_str).collect(),
        },
    };
    let trimmed = words.into_iter().map(|word| word.trim_matches(['"', '\'', ';', '(', ')', '&', '|']));
    let is_inside = |word: &&str| {
        word.contains('/')
            && Path::new(word).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
    };
    trimmed.filter(is_inside).map(|word| word.strip_prefix("./").unwrap_or(word)).collect()
}

/// Returns the interpreter of a script whose first line ends with a carriage return.
fn interpreter_with_return(path: &Path) -> Option<String> {
    if !path.symlink_metadata().ok()?.is_file() {
        return None;
    }
    let mut head = Vec::new();
    File::open(path).ok()?.take(SHEBANG_BYTES).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?.strip_suffix(b"\r")?;
    Some(String::from_utf8_lossy(line).trim().to_owned())
}
