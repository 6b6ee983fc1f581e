//! The commands of an attempt of a slot, with their environment.

use std::ffi::OsString;
use std::path::Path;

use super::assignment::Assignment;
use super::command_places::CommandPlaces;
use super::environment::{AttemptFacts, AttemptPlaces, attempt_environment};
use super::output_file::VARIABLE as OUTPUT_FILE;
use super::slot_common::Common;
use super::step_env::{set_all, step_environment, with_all};
use super::steps::NextCommand;
use super::working_directory::working_directory;
use super::written_tasks::VARIABLE as WRITTEN_TASKS;
use crate::git::CommitText;
use crate::process::{Command, Limits};

/// An attempt, as far as its commands depend on it.
#[derive(Clone, Copy)]
pub(super) struct AttemptCommands<'a> {
    pub(super) common: &'a Common,
    pub(super) assignment: &'a Assignment,
    /// The number of the slot.
    pub(super) slot: usize,
    /// The text of the commit.
    pub(super) text: Option<&'a CommitText>,
    pub(super) tree: &'a Path,
    pub(super) temporary: &'a Path,
}

impl AttemptCommands<'_> {
    /// Returns the environment of a command that starts in this directory, with the variables of this machine for a
    /// program of it. `tool_cache` are the variables of the tool cache, `given` those of needed tasks, and those of the
    /// task.
    pub(super) fn environment(
        &self,
        directory: &Path,
        is_program: bool,
        tool_cache: &[(OsString, OsString)],
        given: [&[(String, String)]; 2],
    ) -> Vec<(OsString, OsString)> {
        let Self { common, assignment, slot, text, tree, temporary } = *self;
        let before = assignment.before.map(|commit| commit.to_string());
        let facts = AttemptFacts {
            build: assignment.build.0,
            task: &assignment.task,
            id: assignment.attempt.0,
            number: assignment.number,
            repo: assignment.repo.as_str(),
            url: assignment.url.as_deref(),
            reference: Some(&assignment.reference),
            event: assignment.event.as_deref(),
            is_trusted: assignment.is_trusted,
            default_branch: assignment.default_branch.as_deref(),
            slots: assignment.slots,
            before: before.as_deref(),
            commit: &assignment.commit.to_string(),
            text,
            runner: &common.runner,
            slot,
        };
        let places = AttemptPlaces { root: tree, directory, ceiling: common.layout.root(), temporary };
        // A container has the variables of its image, and none of this machine's.
        let inherited = if is_program { &*common.inherited } else { &[] };
        // The task's own variables win over those of its tool cache.
        attempt_environment(&with_all(inherited, tool_cache), &facts, &places, given)
    }

    /// Makes a command. An error is the reason why the task cannot be started.
    pub(super) fn command(
        &self,
        command: &NextCommand<'_>,
        places: &CommandPlaces<'_>,
        changes: &[(OsString, OsString)],
    ) -> Result<Command, String> {
        let CommandPlaces { directories, file, outputs, written, tool_cache, secrets, ports } = *places;
        let needed = self.assignment.needed.as_ref().map_err(String::clone)?;
        let directory = working_directory(self.tree, command.dir)?;
        let is_program = self.assignment.recipe.image.is_none();
        let mut env = self.environment(&directory, is_program, tool_cache, [needed, &self.assignment.recipe.env]);
        set_all(&mut env, vec![(OUTPUT_FILE.into(), outputs.path().into())]);
        set_all(&mut env, secrets.to_vec());
        set_all(&mut env, ports.to_vec());
        if let (Some(step), Some(file)) = (command.step, file) {
            step_environment(&mut env, step, file, changes)?;
        }
        if let Some(written) = written {
            set_all(&mut env, vec![(WRITTEN_TASKS.into(), written.path().into())]);
        }
        Ok(Command {
            script: command.script.clone(),
            directory,
            env,
            timeout_ms: command.timeout_ms,
            grace_ms: self.common.grace_ms,
            view: directories.view.clone(),
            limits: Limits::of(&self.assignment.recipe),
        })
    }
}
