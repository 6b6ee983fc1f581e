//! The common parts of containers of tasks and of services: their names, their limits, their places, and the text
//! of a container's whole life.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use super::control::quoted;
use super::error::ImageError;
use super::fill::{Values, fill};
use super::tool::Images;
use crate::config::TemplateWord;
use crate::model::{AttemptId, Recipe, Script};
use crate::process::{Command, Limits};

/// Time of a command whose end a watcher decides: none.
pub(super) const ENDLESS_MS: u64 = 10 * 365 * 24 * 60 * 60 * 1000;
/// Time between TERM and KILL for a tool whose container is gone.
pub(super) const TOOL_GRACE_MS: u64 = 100;

/// Makes the command of a tool's process, whose end a watcher decides.
pub(super) fn tool_command(images: &Images, script: Script) -> Command {
    Command {
        script,
        directory: "/".into(),
        env: images.run_env.clone(),
        timeout_ms: ENDLESS_MS,
        grace_ms: TOOL_GRACE_MS,
        view: None,
        limits: Limits::default(),
    }
}

/// Returns the shell's text for a container's whole life. The container is removed in it, so that no process of the
/// tool is swept while the tool still has work with the container.
pub(super) fn life_of_container(images: &Images, template: &[TemplateWord], values: &Values) -> Script {
    let line = |words: Vec<String>| {
        let words: Vec<Vec<u8>> = words.iter().map(|word| quoted(OsStr::new(word))).collect();
        String::from_utf8_lossy(&words.join(&b' ')).into_owned()
    };
    let run = line(fill(template, values));
    match &images.tool.stop {
        None => Script::Shell(format!("exec {run}")),
        Some(stop) => {
            let stop = line(fill(stop, values));
            Script::Shell(format!("{run}; code=$?; {stop} >/dev/null 2>&1; exit $code"))
        }
    }
}

/// Returns a name that no other container of this runner has.
pub(super) fn new_name(attempt: AttemptId, image: &str) -> Result<String, ImageError> {
    let random = getrandom::u32().map_err(io::Error::other);
    let random = random.map_err(|source| ImageError::Prepare { image: image.into(), source })?;
    Ok(format!("surveil-{attempt}-{random:08x}"))
}

/// Sets the limits of a task.
pub(super) fn set_limits(values: &mut Values, recipe: &Recipe) {
    if let Some(bytes) = recipe.memory_bytes {
        values.set("memory", bytes.to_string());
    }
    if let Some(processes) = recipe.processes {
        values.set("processes", processes.to_string());
    }
    if let Some(millicpus) = recipe.millicpus {
        values.set("cpus", format!("{}.{:03}", millicpus / 1000, millicpus % 1000));
    }
}

/// Returns a path as a template may have it between colons.
pub(super) fn bindable(path: &Path) -> Result<&str, ImageError> {
    path.to_str()
        .filter(|path| !path.contains([':', ',']))
        .ok_or_else(|| ImageError::Path { path: path.display().to_string() })
}
