//! The tool cache: an endpoint by which the build tools of an attempt share their results with later attempts, without
//! any set-up of theirs. It speaks HTTP in the dialects of ccache, sccache, Bazel, Gradle, Turborepo and Nx; Go reaches
//! it by `surveil cacheprog`.
//!
//! Each attempt has an endpoint of its own (`server.rs`), at a path that nobody else knows, which ends with it. Behind
//! it is the runner's disk tier (`disk.rs`), and behind that the dispatcher, for all runners (`shared/`). The lease
//! names the scopes that the attempt reads and the one that it writes; the dispatcher decides that. Nothing here may
//! fail a task: what does not work is a miss, or is not kept.

mod body;
mod connection;
mod disk;
mod entry;
// The file is compiled as a part of this room, so that it sees the room's private items.
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/tool_cache.rs"]
pub(crate) mod fuzz;
mod go;
mod head;
mod index;
mod limits;
mod link;
mod rights;
mod server;
mod shared;
#[cfg(test)]
mod tests;
mod tiers;
mod tool;
mod variables;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::assignment::Assignment;
use crate::process::View;
use rights::Rights;
use server::Endpoint;
use variables::{Files, Means, variables};

pub use go::{GO_ADDRESS, serve_go};
pub(super) use tiers::Tiers;

/// The tool cache of one attempt. Dropping it ends its endpoint, and removes its files.
#[derive(Debug)]
pub(super) struct ToolCache {
    endpoint: Endpoint,
    variables: Vec<(OsString, OsString)>,
    _files: Files,
}

/// Where an attempt is executed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings<'a> {
    /// The path beside which the attempt's files lie.
    pub(super) beside: &'a Path,
    /// The attempt's `TMPDIR`.
    pub(super) temporary: &'a Path,
    /// The variables that it inherits.
    pub(super) inherited: &'a [(OsString, OsString)],
    /// The part of the machine that it sees; `None` for all.
    pub(super) view: Option<&'a View>,
}

impl ToolCache {
    /// Opens the tool cache of an attempt whose task asks for one. If it cannot be had, a line tells why, and the task
    /// is executed all the same.
    pub(super) fn of(
        assignment: &Assignment,
        tiers: &Arc<Tiers>,
        surroundings: Surroundings<'_>,
        tell: &mut dyn FnMut(&str),
    ) -> Option<Self> {
        if !assignment.recipe.tool_cache {
            return None;
        }
        let opened = Self::open(assignment, tiers, surroundings);
        opened.inspect_err(|why| tell(&format!("surveil: no tool cache: {why}"))).ok()
    }

    fn open(assignment: &Assignment, tiers: &Arc<Tiers>, surroundings: Surroundings<'_>) -> Result<Self, String> {
        let Assignment { recipe, cache_scopes, .. } = assignment;
        if recipe.image.is_some() {
            return Err("a container has a network of its own".to_owned());
        }
        if !recipe.network {
            return Err("the task has no network, and tools reach the cache over loopback".to_owned());
        }
        if tiers.disk.is_off() {
            return Err("this runner keeps none (--tool-cache-size)".to_owned());
        }
        let Some(own) = cache_scopes.first() else {
            return Err("the dispatcher does not say what the task may read and write; it is too old".to_owned());
        };
        let rights = Rights {
            repo: assignment.repo.to_string(),
            reads: cache_scopes.clone(),
            writes: own.clone(),
            build: assignment.build.0,
            task: assignment.task.to_string(),
            attempt: assignment.attempt.0,
        };
        let endpoint =
            Endpoint::open(rights, tiers.clone()).map_err(|error| format!("it cannot be opened: {error}"))?;
        let url = endpoint.url();
        let Surroundings { beside, temporary, inherited, view } = surroundings;
        let files = Files::write(beside, &url).map_err(|error| format!("its files cannot be written: {error}"))?;
        let program = own_program().filter(|program| view.is_none_or(|view| is_visible(program, view)));
        let means = Means { program: program.as_deref(), temporary, inherited };
        let variables = variables(&url, &files, means);
        Ok(Self { endpoint, variables, _files: files })
    }

    /// The variables by which tools find it.
    pub(super) fn variables(&self) -> &[(OsString, OsString)] {
        &self.variables
    }

    /// Ends it, and tells in a line what was asked of it. `waits`: a moment for what the dispatcher does not have yet.
    pub(super) fn end(self, waits: bool, tell: &mut dyn FnMut(&str)) {
        if waits {
            self.endpoint.finish();
        }
        if let Some(summary) = self.endpoint.summary() {
            tell(&format!("surveil: {summary}"));
        }
    }
}

/// Whether an attempt with this view finds this file at its path. What is shown in place of a directory hides it.
fn is_visible(file: &Path, view: &View) -> bool {
    let replaced = view.given.iter().filter(|given| given.at != given.from).map(|given| &given.at);
    !view.guard.hidden.iter().chain(replaced).any(|above| file.starts_with(above)) && !file.starts_with("/dev/shm")
}

/// Returns the file of this program, unless it was replaced while it runs.
fn own_program() -> Option<PathBuf> {
    std::env::current_exe().ok().filter(|path| path.exists())
}
